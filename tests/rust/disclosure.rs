//! Which servers a configured secret may go to.

use proptest::prelude::*;
use serde_json::json;
use zkcoord::connect::credentials::UserSource;
use zkcoord::connect::settings::Settings;
use zkcoord::connect::source::Source;
use zkcoord::connect::tls::TlsSource;
use zkcoord::Error;

use crate::acl::entry;

fn at(hosts: &str) -> Source {
    Source { hosts: Some(vec![hosts.to_owned()]), ..Source::default() }
}

fn user() -> UserSource {
    let (username, password) = (Some("u".to_owned()), Some("hunter2".to_owned().into()));
    UserSource { username, password, ..UserSource::default() }
}

fn tls() -> TlsSource {
    TlsSource { use_ssl: Some(true), ca_certs: Some("/ca.pem".to_owned()), ..TlsSource::default() }
}

fn certificate() -> TlsSource {
    TlsSource { certfile: Some("/me.pem".to_owned()), ..tls() }
}

/// A profile with hosts and a password.
fn prod() -> Source {
    Source { user: user(), profile: Some("prod".to_owned()), ..at("zk1:2181,[2001:db8::8]:2182/salt") }
}

fn outcome(explicit: Source, configured: Source) -> Result<Settings, (&'static str, String)> {
    Settings::resolve(explicit, configured).map_err(|error| match error {
        Error::Argument { argument, reason } => (argument, reason),
        other => panic!("{other:?}"),
    })
}

fn refusal(explicit: Source, configured: Source) -> (&'static str, String) {
    outcome(explicit, configured).unwrap_err()
}

fn user_of(explicit: Source, configured: Source) -> String {
    outcome(explicit, configured).unwrap().identity.user()
}

#[test]
fn a_password_goes_to_the_configured_hosts_however_they_are_written_and_to_no_others() {
    for known in
        ["zk1", "ZK1:2181", " zk1 ", "zk1/other", "[2001:DB8:0::8]:2182", "zk1,[2001:db8:0:0::8]:2182", "tcp://zk1"]
    {
        assert_eq!(user_of(at(known), prod()), "digest:u", "{known}");
    }
    assert_eq!(user_of(Source::default(), prod()), "digest:u");
    for other in ["evil", "zk1:2182", "zk1,evil", "[2001:db8::8]", "zk1.evil", "[::1]:2181", "127.0.0.1"] {
        let (argument, reason) = refusal(at(other), prod());
        assert_eq!(argument, "zk_hosts", "{other}");
        assert!(reason.contains("is not among the hosts of profile 'prod'") && !reason.contains("hunter2"), "{reason}");
        assert!(!reason.contains('\n'));
    }
}

#[test]
fn what_the_error_says_to_do_helps() {
    let (_, reason) = refusal(at("evil"), prod());
    assert!(
        reason.ends_with("name those hosts, give username and password too, or set send_credentials_to_any_host there")
    );
    assert_eq!(user_of(Source { user: user(), ..at("evil") }, prod()), "digest:u");
    let open = Source { send_credentials_to_any_host: Some(true), ..prod() };
    assert_eq!(user_of(at("evil"), open), "digest:u");
}

#[test]
fn arguments_cannot_turn_it_off() {
    let explicit = Source { send_credentials_to_any_host: Some(true), ..at("evil") };
    assert_eq!(refusal(explicit, prod()).0, "zk_hosts");
    let closed = Source { send_credentials_to_any_host: Some(false), ..prod() };
    assert_eq!(refusal(at("evil"), closed).0, "zk_hosts");
}

#[test]
fn a_part_of_the_credentials_does_not_replace_them() {
    let other = UserSource { username: Some("v".to_owned()), ..UserSource::default() };
    assert_eq!(refusal(Source { user: other, ..at("evil") }, prod()).0, "zk_hosts");
    let other = UserSource { scheme: Some("digest".to_owned()), ..UserSource::default() };
    assert_eq!(refusal(Source { user: other, ..at("evil") }, prod()).0, "zk_hosts");
    let password = UserSource { password: Some("mine".to_owned().into()), ..UserSource::default() };
    assert_eq!(user_of(Source { user: password, ..at("evil") }, prod()), "digest:u", "a name is no secret");
}

#[test]
fn what_is_no_secret_goes_anywhere() {
    let profile = Source { session_timeout: Some(std::time::Duration::from_secs(5)), ..at("zk1") };
    let settings = outcome(at("other"), profile.clone()).unwrap();
    assert_eq!((settings.hosts().as_str(), settings.identity.user().as_str()), ("other:2181", "anonymous"));
    let acl = vec![entry(json!("creator_all")), entry(json!({"scheme": "ip", "id": "10.0.0.0/8", "perms": "r"}))];
    let with_acl = Source { default_acl: Some(acl), ..profile };
    assert!(outcome(Source { user: user(), ..at("other") }, with_acl).is_ok());
}

#[test]
fn where_no_hosts_are_configured_it_goes_to_those_that_are_given() {
    let profile = Source { hosts: None, ..prod() };
    assert_eq!(user_of(at("other"), profile.clone()), "digest:u");
    let above = Source { hosts_above: Some(vec!["zk1:2181".to_owned()]), ..profile };
    assert_eq!(user_of(at("zk1"), above.clone()), "digest:u");
    let (argument, reason) = refusal(at("other"), above.clone());
    assert_eq!(argument, "zk_hosts");
    assert!(reason.contains("of the section that profile 'prod' is in"), "{reason}");
    for unreadable in [vec![], vec!["sdb://vault/hosts".to_owned()], vec!["a b".to_owned()]] {
        assert_eq!(
            refusal(at("other"), Source { hosts_above: Some(unreadable.clone()), ..above.clone() }).0,
            "zk_hosts"
        );
        assert_eq!(refusal(at("other"), Source { hosts: Some(unreadable), ..above.clone() }).0, "zk_hosts");
    }
}

#[test]
fn an_acl_with_passwords_or_digests_is_a_secret() {
    let digest = "u:D/InIHSb7yEEbrWz8b9l71RjZJU=";
    for secret in [
        json!({"username": "u", "password": "p", "read": true}),
        json!({"scheme": "digest", "id": digest, "perms": "r"}),
    ] {
        let acl = |value: &serde_json::Value| Some(vec![entry(value.clone())]);
        let profile = Source { default_acl: acl(&secret), ..at("zk1") };
        let (argument, reason) = refusal(at("evil"), profile.clone());
        assert_eq!(argument, "zk_hosts");
        assert!(reason.contains("give a default_acl too"), "{reason}");
        assert!(outcome(Source { default_acl: acl(&secret), ..at("evil") }, profile.clone()).is_ok());
        assert!(outcome(at("zk1"), profile).is_ok());
    }
}

#[test]
fn a_ticket_that_the_configuration_asks_for_is_a_secret() {
    let ticket =
        UserSource { scheme: Some("sasl".to_owned()), mechanism: Some("GSSAPI".to_owned()), ..UserSource::default() };
    let (argument, reason) = refusal(at("evil"), Source { user: ticket.clone(), ..at("zk1") });
    assert_eq!(argument, "zk_hosts");
    assert!(reason.contains("Kerberos ticket"), "{reason}");
    let explicit = Source { user: ticket, ..at("evil") };
    assert!(!matches!(outcome(explicit, at("zk1")), Err(("zk_hosts", _))), "who asks for it himself may name any host");
}

#[test]
fn a_certificate_is_a_secret_where_it_is_shown() {
    let profile = |tls| Source { tls, ..at("zk1") };
    let unverified = TlsSource { verify_certs: Some(false), ..certificate() };
    let (argument, reason) = refusal(at("evil"), profile(unverified));
    assert_eq!(argument, "zk_hosts");
    assert!(reason.contains("give certfile and keyfile too"), "{reason}");
    let own = TlsSource { certfile: Some("/own.pem".to_owned()), ..TlsSource::default() };
    let unverified = TlsSource { verify_certs: Some(false), ..certificate() };
    assert!(outcome(Source { tls: own, ..at("other") }, profile(unverified)).is_ok());
    let plain = TlsSource { use_ssl: Some(false), ..certificate() };
    assert!(outcome(at("other"), profile(plain)).is_ok(), "without TLS nobody sees it");
}

#[test]
fn tls_that_verifies_the_name_by_the_configured_authorities_is_enough() {
    let profile = Source { user: user(), tls: certificate(), ..at("zk1") };
    assert_eq!(user_of(at("zk9"), profile.clone()), "digest:u");
    assert_eq!(user_of(at("tcp+tls://zk9"), profile.clone()), "digest:u");
    let named = Source { tls: TlsSource { use_ssl: None, ..certificate() }, ..at("tcp+tls://zk1") };
    assert_eq!(user_of(at("tcp+tls://zk9"), Source { user: user(), ..named }), "digest:u");
    let lax = TlsSource { verify_certs: Some(false), ..certificate() };
    assert_eq!(refusal(at("zk9"), Source { tls: lax, ..profile.clone() }).0, "zk_hosts");
    let without_ca = Source { tls: TlsSource::default(), ..profile };
    assert_eq!(refusal(Source { tls: tls(), ..at("zk9") }, without_ca).0, "zk_hosts", "the authority is the caller's");
}

#[test]
fn arguments_cannot_weaken_how_the_configured_servers_are_made_sure_of() {
    let profile = || Source { user: user(), tls: tls(), profile: Some("prod".to_owned()), ..at("zk1") };
    let cases = [
        ("use_ssl", TlsSource { use_ssl: Some(false), ..TlsSource::default() }),
        ("ca_certs", TlsSource { ca_certs: Some("/evil.pem".to_owned()), ..TlsSource::default() }),
        ("verify_certs", TlsSource { verify_certs: Some(false), ..TlsSource::default() }),
    ];
    for (argument, weaker) in cases {
        for hosts in [None, at("zk1").hosts, at("evil").hosts] {
            let explicit = Source { hosts, tls: weaker.clone(), ..Source::default() };
            let (refused, reason) = refusal(explicit.clone(), profile());
            assert_eq!(refused, argument);
            assert!(reason.contains(&format!("leave {argument} out")), "{reason}");
            assert!(outcome(Source { user: user(), ..explicit.clone() }, profile()).is_ok());
            let open = Source { send_credentials_to_any_host: Some(true), ..profile() };
            assert!(outcome(explicit, open).is_ok());
        }
    }
    let lax = Source { tls: TlsSource { verify_certs: Some(false), ..tls() }, ..profile() };
    let stricter = TlsSource { verify_certs: Some(true), ..TlsSource::default() };
    assert_eq!(user_of(Source { tls: stricter, ..Source::default() }, lax), "digest:u");
}

proptest! {
    #[test]
    fn no_password_goes_to_a_host_that_is_not_configured(
        known in prop::collection::vec("[a-d]{1,2}(:[1-3])?", 1..4),
        given in prop::collection::vec("[a-dA-D]{1,2}(:[1-3])?", 1..4),
    ) {
        let full = |host: &String| {
            let host = host.to_ascii_lowercase();
            if host.contains(':') { host } else { format!("{host}:2181") }
        };
        let are_known = given.iter().all(|host| known.iter().map(full).any(|it| it == full(host)));
        let profile = Source { user: user(), ..at(&known.join(",")) };
        prop_assert_eq!(outcome(at(&given.join(",")), profile).is_ok(), are_known);
    }
}
