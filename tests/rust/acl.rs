use proptest::prelude::*;
use serde_json::json;
use zkcoord::acl::{
    bits, check_creator, digest, from_entries, lets_everybody_change, needs_password, word, Entry, Field,
};
use zkcoord::Error;
use zookeeper_client::Permission;

fn text(text: String) -> Field {
    Field::Text(text.into())
}

pub(crate) fn entry(value: serde_json::Value) -> Entry {
    let field = |value| match value {
        serde_json::Value::Null => Field::Nothing,
        serde_json::Value::Bool(flag) => Field::Flag(flag),
        serde_json::Value::Number(number) => number.as_i64().map_or(Field::Other, |it| text(it.to_string())),
        serde_json::Value::String(it) => text(it),
        _ => Field::Other,
    };
    match value {
        serde_json::Value::String(word) => Entry::Word(word.into()),
        serde_json::Value::Object(pairs) => {
            Entry::Keywords(pairs.into_iter().map(|(key, value)| (key, field(value))).collect())
        }
        other => panic!("{other}"),
    }
}

fn refusal(value: serde_json::Value) -> String {
    match from_entries("default_acl", &[entry(value)]).unwrap_err() {
        Error::Argument { argument: "default_acl", reason } => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_digest_is_that_of_zookeepers_own_generator() {
    // The example of ZooKeeper's administrator's guide, for super:test.
    assert_eq!(digest("super", "test"), "super:D/InIHSb7yEEbrWz8b9l71RjZJU=");
}

#[test]
fn permissions_that_are_true_are_granted() {
    let dict = entry(json!({"username": "u", "password": "p", "read": true, "create": true, "write": false}));
    let acl = from_entries("default_acl", &[dict]).unwrap();
    assert_eq!(acl[0].permission(), Permission::READ | Permission::CREATE);
    assert_eq!((acl[0].scheme(), acl[0].id()), ("digest", digest("u", "p").as_str()));
}

#[test]
fn allperms_is_everything_and_digits_are_a_password() {
    let acl =
        from_entries("default_acl", &[entry(json!({"username": "u", "password": 1234, "allperms": true}))]).unwrap();
    assert_eq!(acl[0].permission(), Permission::ALL);
    assert_eq!(acl[0].id(), digest("u", "1234"));
}

#[test]
fn what_does_not_belong_is_refused_by_its_key() {
    let cases = [
        (json!({"username": "u", "password": "p", "raed": true}), "unknown key"),
        (json!({"username": "u", "password": "p", "read": "yes"}), "read must be true or false"),
        (json!({"username": "u", "password": "p"}), "permits nothing"),
        (json!({"username": "u", "password": "p", "read": false}), "permits nothing"),
        (json!({"username": "u", "read": true}), "password is missing"),
        (json!({"username": "", "password": "p", "read": true}), "username is missing"),
        (json!({"password": "p", "read": true}), "username is missing"),
        (json!({"username": "u:v", "password": "p", "read": true}), "must not contain ':'"),
        (json!({"username": ["u"], "password": "p", "read": true}), "username must be text"),
    ];
    for (dict, expected) in cases {
        let reason = refusal(dict.clone());
        assert!(reason.contains(expected), "{dict}: {reason}");
    }
}

/// Permissions, scheme and id.
fn shown(value: serde_json::Value) -> (i32, String, String) {
    let acl = from_entries("acls", &[entry(value)]).unwrap();
    (bits(acl[0].permission()), acl[0].scheme().to_owned(), acl[0].id().to_owned())
}

#[test]
fn entries_of_any_scheme_are_taken() {
    let hashed = digest("u", "p");
    let cases = [
        (json!("creator_all"), (31, "auth", "")),
        (json!({"scheme": "auth", "perms": "cdrwa"}), (31, "auth", "")),
        (json!({"scheme": "world", "perms": "r"}), (1, "world", "anyone")),
        (json!({"scheme": "world", "id": "anyone", "perms": "all"}), (31, "world", "anyone")),
        (json!({"scheme": "ip", "id": "10.0.0.0/8", "perms": "rw"}), (3, "ip", "10.0.0.0/8")),
        (json!({"scheme": "ip", "id": "2001:db8::1", "perms": "rr"}), (1, "ip", "2001:db8::1")),
        (json!({"scheme": "digest", "id": hashed.clone(), "perms": "cd"}), (12, "digest", hashed.as_str())),
        (json!({"scheme": "sasl", "id": "minion", "perms": "a"}), (16, "sasl", "minion")),
        (json!({"scheme": "x509", "id": "CN=web1,O=acme", "perms": "w"}), (2, "x509", "CN=web1,O=acme")),
        (json!({"scheme": "custom", "id": 7, "perms": "r"}), (1, "custom", "7")),
    ];
    for (value, (permissions, scheme, id)) in cases {
        assert_eq!(shown(value.clone()), (permissions, scheme.to_owned(), id.to_owned()), "{value}");
    }
}

#[test]
fn what_no_scheme_has_is_refused() {
    let cases = [
        (json!("creator"), "an unknown word"),
        (json!(""), "an unknown word"),
        (json!({"scheme": "world", "id": "everybody", "perms": "r"}), "is anyone"),
        (json!({"scheme": "auth", "id": "u", "perms": "r"}), "has no id"),
        (json!({"scheme": "super", "id": "u", "perms": "r"}), "may do everything"),
        (json!({"scheme": "digest", "id": "u:p", "perms": "r"}), "28 characters"),
        (json!({"scheme": "digest", "id": digest("", "p"), "perms": "r"}), "28 characters"),
        (json!({"scheme": "ip", "id": "10.0.0.0/33", "perms": "r"}), "is an address"),
        (json!({"scheme": "ip", "id": "web1", "perms": "r"}), "is an address"),
        (json!({"scheme": "ip", "perms": "r"}), "id is missing"),
        (json!({"scheme": "ip", "id": ["10.0.0.1"], "perms": "r"}), "id must be text"),
        (json!({"scheme": "ip", "id": "10.0.0.1"}), "perms is missing"),
        (json!({"scheme": "ip", "id": "10.0.0.1", "perms": "rx"}), "letters of cdrwa"),
        (json!({"scheme": "ip", "id": "10.0.0.1", "perms": "r", "read": true}), "an unknown key"),
        (json!({"scheme": "a b", "id": "c", "perms": "r"}), "must be a word"),
        (json!({"scheme": null, "id": "c", "perms": "r"}), "scheme is missing"),
    ];
    for (value, expected) in cases {
        let reason = refusal(value.clone());
        assert!(reason.contains(expected), "{value}: {reason}");
    }
}

#[test]
fn a_creator_who_is_nobody_has_no_such_acl() {
    let acl = from_entries("acls", &[entry(json!("creator_all"))]).unwrap();
    assert!(check_creator("acls", &acl, true).is_ok());
    let error = check_creator("acls", &acl, false).unwrap_err();
    assert!(error.to_string().contains("need a creator with credentials"), "{error}");
    let acl = from_entries("acls", &[entry(json!({"scheme": "world", "perms": "r"}))]).unwrap();
    assert!(check_creator("acls", &acl, false).is_ok());
}

#[test]
fn an_acl_too_long_for_a_request_is_refused() {
    let one = entry(json!({"username": "u".repeat(40_000), "password": "p", "read": true}));
    assert!(from_entries("acls", std::slice::from_ref(&one)).is_ok());
    assert!(from_entries("acls", &[one.clone(), one]).is_err());
}

#[test]
fn a_digest_is_in_no_debug() {
    let acl = from_entries("acls", &[entry(json!({"username": "u", "password": "p", "read": true}))]).unwrap();
    assert_eq!(format!("{acl:?}"), "[1 redacted]");
}

proptest! {
    #[test]
    fn any_dict_is_taken_or_refused_and_not_echoed(
        pairs in prop::collection::btree_map(
            prop_oneof!["[a-z]{1,8}", Just("scheme".to_owned()), Just("id".to_owned()), Just("perms".to_owned()),
                        Just("username".to_owned()), Just("password".to_owned()), Just("read".to_owned())],
            prop_oneof![
                any::<bool>().prop_map(Field::Flag), any::<i64>().prop_map(|it| text(it.to_string())),
                Just(Field::Nothing), Just(Field::Other), ".*".prop_map(text),
                "(world|auth|digest|ip|all|rw)".prop_map(text), "canary-[0-9]{6}".prop_map(text),
            ],
            0..6,
        ),
    ) {
        let secret = |key: &str| key == "password" || key == "id" || key == "perms" || key == "scheme";
        let canaries: Vec<_> = pairs.iter().filter(|(key, _)| secret(key)).filter_map(|(_, value)| match value {
            Field::Text(text) if text.reveal().starts_with("canary-") => Some(text.reveal().to_owned()),
            _ => None,
        }).collect();
        let entry = Entry::Keywords(pairs);
        let mut shown = format!("{entry:?}");
        match from_entries("acls", &[entry]) {
            Ok(acl) => {
                prop_assert!(!acl[0].scheme().is_empty());
                shown.push_str(&format!("{acl:?}"));
            }
            Err(error) => shown.push_str(&format!("{error} {error:?}")),
        }
        for canary in canaries {
            prop_assert!(!shown.contains(&canary), "{}", shown);
        }
    }

    #[test]
    fn any_word_is_taken_or_refused_and_not_echoed(word in "\\PC*") {
        let refused = from_entries("acls", &[Entry::Word(word.clone().into())]);
        if word != "creator_all" {
            let shown = refused.unwrap_err().to_string();
            prop_assert!(word.len() < 8 || !shown.contains(&word), "{}", shown);
        }
    }

    #[test]
    fn a_password_is_never_shown(password in "[a-z]{8}Secret", key in "[a-z]{3,9}") {
        let dict = entry(json!({"username": "u", "password": [password.clone()], key: password}));
        let shown = format!("{dict:?}");
        let error = from_entries("default_acl", &[dict]).unwrap_err();
        let shown = format!("{shown} {error} {error:?}");
        prop_assert_eq!(shown.find("Secret"), None);
    }

    #[test]
    fn exactly_the_permissions_asked_for_are_granted(flags in any::<[bool; 5]>()) {
        let names = ["read", "write", "create", "delete", "admin"];
        let all = [Permission::READ, Permission::WRITE, Permission::CREATE, Permission::DELETE, Permission::ADMIN];
        let mut dict = json!({"username": "u", "password": "p"});
        for (name, flag) in names.iter().zip(flags) {
            dict[*name] = json!(flag);
        }
        match from_entries("default_acl", &[entry(dict)]) {
            Ok(acl) => {
                for (permission, flag) in all.into_iter().zip(flags) {
                    prop_assert_eq!(acl[0].permission().has(permission), flag);
                }
            }
            Err(_) => prop_assert!(flags.iter().all(|flag| !flag)),
        }
    }
}

fn parsed(text: &str, password: Option<&str>) -> Result<String, String> {
    let password = password.map(|text| text.to_owned().into());
    let list = word("acl", text, password.as_ref()).and_then(|entry| from_entries("acl", &[entry]));
    list.map(|list| zkcoord::acl::text(&list[0])).map_err(|error| error.to_string())
}

#[test]
fn an_entry_is_a_word_and_the_word_is_printed_again() {
    let hash = "super:D/InIHSb7yEEbrWz8b9l71RjZJU=";
    let same = ["world:anyone:r", "auth::cdrwa", "ip:10.0.0.0/8:cr", "ip:fe80::1:w", "sasl:deploy:a", "x509:CN=a:b:c"];
    for text in same {
        assert_eq!(parsed(text, None), Ok(text.to_owned()));
    }
    assert_eq!(parsed(&format!("digest:{hash}:rw"), None), Ok(format!("digest:{hash}:rw")));
    assert_eq!(parsed("digest:super:rw", Some("test")), Ok(format!("digest:{hash}:rw")));
    assert_eq!(parsed("creator_all", None), Ok("auth::cdrwa".to_owned()));
    assert!(needs_password("digest:super:rw"));
    assert!(!needs_password(&format!("digest:{hash}:rw")));
}

#[test]
fn a_word_that_is_no_entry_is_refused_and_never_echoed() {
    let wrong =
        ["", "hunter2", "a:b", ":anyone:r", "digest:u:hunter2:r", "digest:u:r", "world:hunter2:r", "ip:hunter2:r"];
    for text in wrong {
        let reason = parsed(text, None).unwrap_err();
        assert!(!reason.contains("hunter2"), "{reason}");
    }
    assert!(parsed("digest::r", Some("secret")).is_err());
    assert!(parsed("world:anyone:rx", None).is_err());
}

#[test]
fn everybody_may_change_what_is_open_for_more_than_reading() {
    let open = |text: &str| {
        let list = from_entries("acl", &[word("acl", text, None).unwrap()]).unwrap();
        lets_everybody_change(&list[0])
    };
    assert!(open("world:anyone:cdrwa"));
    assert!(open("world:anyone:c"));
    assert!(!open("world:anyone:r"));
    assert!(!open("sasl:deploy:all"));
}

proptest! {
    #[test]
    fn any_word_is_parsed_or_refused(
        text in any::<String>(),
        scheme in "[a-z]{0,5}",
        id in ".{0,12}",
        perms in "[cdrwax]{0,5}",
    ) {
        let _ = parsed(&text, Some("secret"));
        if let Ok(printed) = parsed(&format!("{scheme}:{id}:{perms}"), Some("secret")) {
            prop_assert_eq!(parsed(&printed, None), Ok(printed.clone()));
        }
    }
}
