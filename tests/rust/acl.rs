use proptest::prelude::*;
use serde_json::json;
use zkcoord::acl::{digest, from_keywords, Keywords};
use zkcoord::Error;
use zookeeper_client::Permission;

fn keywords(value: serde_json::Value) -> Keywords {
    serde_json::from_value(value).unwrap()
}

fn refusal(value: serde_json::Value) -> String {
    match from_keywords("default_acl", &[keywords(value)]).unwrap_err() {
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
    let dict = keywords(json!({"username": "u", "password": "p", "read": true, "create": true, "write": false}));
    let acl = from_keywords("default_acl", &[dict]).unwrap();
    assert_eq!(acl[0].permission(), Permission::READ | Permission::CREATE);
    assert_eq!((acl[0].scheme(), acl[0].id()), ("digest", digest("u", "p").as_str()));
}

#[test]
fn allperms_is_everything_and_digits_are_a_password() {
    let acl = from_keywords("default_acl", &[keywords(json!({"username": "u", "password": 1234, "allperms": true}))])
        .unwrap();
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

proptest! {
    #[test]
    fn a_password_is_never_shown(password in "[a-z]{8}Secret", key in "[a-z]{3,9}") {
        let dict = keywords(json!({"username": "u", "password": [password.clone()], key: password}));
        let shown = format!("{dict:?}");
        let error = from_keywords("default_acl", &[dict]).unwrap_err();
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
        match from_keywords("default_acl", &[keywords(dict)]) {
            Ok(acl) => {
                for (permission, flag) in all.into_iter().zip(flags) {
                    prop_assert_eq!(acl[0].permission().has(permission), flag);
                }
            }
            Err(_) => prop_assert!(flags.iter().all(|flag| !flag)),
        }
    }
}
