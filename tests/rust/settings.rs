use std::time::Duration;

use proptest::prelude::*;
use zkcoord::connect::credentials::UserSource;
use zkcoord::connect::hosts::DEFAULT_HOSTS;
use zkcoord::connect::settings::Settings;
use zkcoord::connect::source::Source;
use zkcoord::Error;

fn hosts(items: &[&str]) -> Source {
    Source { hosts: Some(items.iter().map(|&item| item.to_owned()).collect()), ..Source::default() }
}

fn shown(items: &[&str]) -> String {
    Settings::resolve(hosts(items), Source::default()).unwrap().hosts()
}

fn user(username: &str, password: &str) -> Source {
    let (username, password) = (Some(username.to_owned()), Some(password.to_owned().into()));
    Source { user: UserSource { username, password, ..UserSource::default() }, ..Source::default() }
}

fn refused(source: Source) -> &'static str {
    match Settings::resolve(source, Source::default()).unwrap_err() {
        Error::Argument { argument, .. } => argument,
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_said_is_the_local_server_and_nobody() {
    let settings = Settings::resolve(Source::default(), Source::default()).unwrap();
    assert_eq!((settings.hosts().as_str(), settings.identity.user().as_str()), (DEFAULT_HOSTS, "anonymous"));
    assert!(settings.acl.is_empty());
    assert_eq!(settings.connect_timeout, Duration::from_secs(10));
}

#[test]
fn hosts_are_taken_in_every_form_of_the_stock_module() {
    assert_eq!(shown(&["a:1,b"]), "a:1,b:2181");
    assert_eq!(shown(&["a:1", "b:2"]), "a:1,b:2");
    assert_eq!(shown(&[" a:1 , b:2 "]), "a:1,b:2");
    for chrooted in [&["a:1,b:2/x/y"][..], &["a:1", "b:2/x/y"], &["a:1", "b:2", "/x/y"], &["a:1/x/y", "b:2/x/y/"]] {
        assert_eq!(shown(chrooted), "a:1,b:2/x/y", "{chrooted:?}");
    }
    assert_eq!(shown(&["a:1/"]), "a:1");
    assert_eq!(shown(&["[::1]:2182,[fe80::1%eth0]"]), "[::1]:2182,[fe80::1%eth0]:2181");
}

#[test]
fn hosts_that_do_not_parse_are_refused() {
    let cases: [&[&str]; 16] = [
        &[""],
        &["a:"],
        &["a:0"],
        &["a:65536"],
        &["a:x"],
        &[":1"],
        &["a,,b"],
        &["a,"],
        &["::1"],
        &["[::1"],
        &["[a]:1"],
        &["[::1]x"],
        &["a b:1"],
        &["a:1/../b"],
        &["a:1/x", "b:2/y"],
        &["/x"],
    ];
    for case in cases {
        assert_eq!(refused(hosts(case)), "zk_hosts", "{case:?}");
    }
    assert_eq!(refused(Source { hosts: Some(Vec::new()), ..Source::default() }), "zk_hosts");
}

#[test]
fn half_of_the_credentials_are_refused() {
    let mut only_user = user("u", "p");
    only_user.user.password = None;
    assert_eq!(refused(only_user), "username");
    let mut only_password = user("u", "p");
    only_password.user.username = None;
    assert_eq!(refused(only_password), "password");
    assert_eq!(refused(user("u:v", "p")), "username");
    let mut unknown = user("u", "p");
    unknown.user.scheme = Some("kerberos".to_owned());
    assert_eq!(refused(unknown), "scheme");
}

#[test]
fn what_might_be_a_secret_in_an_address_is_not_echoed() {
    let error = Settings::resolve(hosts(&["user:hunter2@a:1"]), Source::default()).unwrap_err().to_string();
    assert!(error.contains('@') && !error.contains("hunter2"), "{error}");
}

#[test]
fn timeouts_out_of_range_are_refused() {
    for seconds in [Duration::ZERO, Duration::MAX] {
        assert_eq!(refused(Source { session_timeout: Some(seconds), ..Source::default() }), "session_timeout");
        assert_eq!(refused(Source { connect_timeout: Some(seconds), ..Source::default() }), "connect_timeout");
    }
}

#[test]
fn an_argument_wins_over_the_profile_key_by_key() {
    let explicit = Source { connect_timeout: Some(Duration::from_secs(3)), ..hosts(&["a:1"]) };
    let profile = Source { session_timeout: Some(Duration::from_secs(4)), ..user("u", "p") };
    let profile =
        Source { hosts: Some(vec!["b:2".to_owned()]), connect_timeout: Some(Duration::from_secs(5)), ..profile };
    let profile = Source { send_credentials_to_any_host: Some(true), ..profile };
    let settings = Settings::resolve(explicit, profile).unwrap();
    assert_eq!((settings.hosts().as_str(), settings.identity.user().as_str()), ("a:1", "digest:u"));
    assert_eq!(settings.connect_timeout, Duration::from_secs(3));
}

#[test]
fn who_shares_a_session_is_told_by_everything_but_the_acl_and_the_chroot() {
    let resolve = |source| Settings::resolve(source, Source::default()).unwrap().identity;
    let base = resolve(Source { hosts: hosts(&["a:1"]).hosts, ..user("u", "p") });
    assert_eq!(base, resolve(Source { hosts: hosts(&["a:1"]).hosts, ..user("u", "p") }));
    assert_eq!(base, resolve(Source { hosts: hosts(&["a:1/c"]).hosts, ..user("u", "p") }));
    for other in [
        Source { hosts: hosts(&["a:1"]).hosts, ..user("u", "q") },
        Source { hosts: hosts(&["a:1"]).hosts, ..user("v", "p") },
        Source { idle_timeout: Some(Duration::from_secs(2)), hosts: hosts(&["a:1"]).hosts, ..user("u", "p") },
        Source { session_timeout: Some(Duration::from_secs(2)), hosts: hosts(&["a:1"]).hosts, ..user("u", "p") },
        hosts(&["a:1"]),
    ] {
        assert_ne!(base, resolve(other));
    }
}

#[test]
fn a_path_is_below_the_chroot() {
    let settings = Settings::resolve(hosts(&["a:1/app"]), Source::default()).unwrap();
    assert_eq!(settings.path("lock/web").unwrap(), "/app/lock/web");
}

proptest! {
    #[test]
    fn a_password_is_never_shown(password in "[a-z]{4}S3cret[a-z]{4}") {
        let source = user("u", &password);
        let shown = format!("{source:?}");
        let settings = Settings::resolve(source, Source::default()).unwrap();
        let shown = format!("{shown} {settings:?} {:?}", settings.identity);
        prop_assert_eq!(shown.find("S3cret"), None);
    }

    #[test]
    fn any_text_is_hosts_or_an_error(text in ".*") {
        if let Ok(settings) = Settings::resolve(hosts(&[&text]), Source::default()) {
            let again = settings.hosts();
            prop_assert_eq!(shown(&[&again]), again);
        }
    }
}
