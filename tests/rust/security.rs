use proptest::prelude::*;
use zkcoord::connect::credentials::UserSource;
use zkcoord::connect::settings::Settings;
use zkcoord::connect::source::Source;
use zkcoord::connect::tls::TlsSource;
use zkcoord::secret::Secret;
use zkcoord::Error;

fn at(hosts: &str, tls: TlsSource) -> Source {
    Source { hosts: Some(vec![hosts.to_owned()]), tls, ..Source::default() }
}

fn said(value: &str) -> Option<String> {
    Some(value.to_owned())
}

fn with_ca() -> TlsSource {
    TlsSource { ca_certs: said("/ca.pem"), ..TlsSource::default() }
}

fn with_tls() -> TlsSource {
    TlsSource { use_ssl: Some(true), ..with_ca() }
}

fn resolved(source: Source) -> Settings {
    Settings::resolve(source, Source::default()).unwrap()
}

fn refused(source: Source) -> &'static str {
    match Settings::resolve(source, Source::default()).unwrap_err() {
        Error::Argument { argument, .. } => argument,
        other => panic!("{other:?}"),
    }
}

#[test]
fn tls_is_asked_for_by_a_setting_or_by_the_name_of_every_server() {
    assert_eq!(resolved(at("a,b/c", with_tls())).hosts(), "tcp+tls://a:2181,tcp+tls://b:2181/c");
    assert_eq!(
        resolved(at("a,b/c", with_tls())).identity,
        resolved(at("tcp+tls://a,tcp+tls://b/c", with_ca())).identity
    );
    assert_eq!(resolved(at("tcp://a", TlsSource::default())).hosts(), "a:2181");
    for some in ["tcp+tls://a,b", "a,tcp+tls://b", "tcp+tls://a,tcp://b", "tcp+tls://a,tcp+tls:///c", "tcp+ssl://a"] {
        assert_eq!(refused(at(some, with_ca())), "zk_hosts", "{some}");
    }
}

#[test]
fn plain_text_is_never_spoken_where_something_asks_for_tls() {
    let asked = |use_ssl| TlsSource { use_ssl: Some(use_ssl), ..with_ca() };
    assert_eq!(refused(at("tcp://a", asked(true))), "use_ssl");
    assert_eq!(refused(at("tcp+tls://a", asked(false))), "use_ssl");
    assert_eq!(refused(at("a", with_ca())), "ca_certs");
    assert_eq!(refused(at("a", TlsSource { verify_certs: Some(true), ..TlsSource::default() })), "verify_certs");
    assert_eq!(resolved(at("a", asked(false))).hosts(), "a:2181", "it was said in so many words");
    let profile = Source { tls: with_tls(), ..Source::default() };
    let argument = Source { hosts: Some(vec!["tcp://a".to_owned()]), ..Source::default() };
    assert!(Settings::resolve(argument, profile).is_err());
}

#[test]
fn half_of_a_certificate_is_refused() {
    assert_eq!(refused(at("a", TlsSource { ca_certs: None, ..with_tls() })), "ca_certs");
    assert_eq!(refused(at("a", TlsSource { keyfile: said("k"), ..with_tls() })), "keyfile");
    let password = Some(Secret::from("p".to_owned()));
    assert_eq!(refused(at("a", TlsSource { keyfile_password: password, ..with_tls() })), "keyfile_password");
}

#[test]
fn a_name_that_no_certificate_can_have_is_refused() {
    for name in ["a..b", "[fe80::1%eth0]", "-a"] {
        assert_eq!(refused(at(name, with_tls())), "zk_hosts", "{name}");
    }
    for name in ["a", "a.b", "10.0.0.1", "[::1]:2281"] {
        resolved(at(name, with_tls()));
    }
}

#[test]
fn names_are_verified_unless_that_is_said() {
    assert!(!resolved(at("a", with_tls())).identity.is_unverified());
    let unverified = TlsSource { verify_certs: Some(false), ..with_tls() };
    assert!(resolved(at("a", unverified)).identity.is_unverified());
    assert!(!resolved(at("a", TlsSource::default())).identity.is_unverified(), "there is nothing to verify");
}

#[test]
fn whatever_tls_is_made_of_makes_another_session() {
    let certificate = || TlsSource { certfile: said("c"), ..with_tls() };
    let password = |text: &str| Some(Secret::from(text.to_owned()));
    let different = [
        TlsSource::default(),
        with_tls(),
        TlsSource { ca_certs: said("/other.pem"), ..with_tls() },
        TlsSource { verify_certs: Some(false), ..with_tls() },
        certificate(),
        TlsSource { keyfile: said("k"), ..certificate() },
        TlsSource { keyfile: said("k"), keyfile_password: password("p"), ..certificate() },
        TlsSource { keyfile: said("k"), keyfile_password: password("q"), ..certificate() },
    ];
    let identities: Vec<_> = different.into_iter().map(|tls| resolved(at("a", tls)).identity).collect();
    for (index, one) in identities.iter().enumerate() {
        assert!(identities.iter().skip(index + 1).all(|other| one != other), "{one:?}");
    }
    assert_eq!(identities[4], resolved(at("a", TlsSource { keyfile: said("c"), ..certificate() })).identity);
}

fn login(scheme: Option<&str>, mechanism: Option<&str>, named: bool) -> Source {
    let user = UserSource {
        scheme: scheme.map(str::to_owned),
        mechanism: mechanism.map(str::to_owned),
        username: named.then(|| "u".to_owned()),
        password: named.then(|| Secret::from("p".to_owned())),
    };
    Source { user, ..Source::default() }
}

#[test]
fn sasl_is_never_nobody() {
    assert_eq!(resolved(login(Some("sasl"), None, true)).identity.user(), "sasl:u");
    assert_eq!(resolved(login(Some("sasl"), Some("DIGEST-MD5"), true)).identity.user(), "sasl:u");
    assert_ne!(resolved(login(Some("sasl"), None, true)).identity, resolved(login(None, None, true)).identity);
    assert_eq!(refused(login(Some("sasl"), None, false)), "username");
    assert_eq!(refused(login(Some("sasl"), Some("PLAIN"), true)), "mechanism");
    assert_eq!(refused(login(Some("digest"), Some("DIGEST-MD5"), true)), "mechanism");
    assert_eq!(refused(login(None, Some("DIGEST-MD5"), true)), "mechanism");
}

#[cfg(not(feature = "gssapi"))]
#[test]
fn kerberos_that_is_not_built_in_is_an_error() {
    assert_eq!(refused(login(Some("sasl"), Some("GSSAPI"), false)), "mechanism");
}

#[cfg(feature = "gssapi")]
#[test]
fn with_kerberos_the_ticket_names_the_user() {
    assert_eq!(resolved(login(Some("sasl"), Some("GSSAPI"), false)).identity.user(), "sasl:GSSAPI");
    assert_eq!(refused(login(Some("sasl"), Some("GSSAPI"), true)), "username");
}

proptest! {
    #[test]
    fn a_secret_is_never_shown(password in "[a-z]{4}S3cret[a-z]{4}", scheme in prop_oneof![Just("sasl"), Just("digest")]) {
        let secret = || Some(Secret::from(password.clone()));
        let tls = TlsSource { certfile: said("c"), keyfile_password: secret(), ..with_tls() };
        let mut source = Source { tls, ..login(Some(scheme), None, true) };
        source.user.password = secret();
        let shown = format!("{source:?} {:?} {:?} {:?}", source.tls, source.user, secret());
        let settings = resolved(source);
        let shown = format!("{shown} {settings:?} {:?} {}", settings.identity, settings.identity.user());
        prop_assert_eq!(shown.find("S3cret"), None);
    }

    #[test]
    fn any_text_with_tls_is_hosts_or_an_error(text in "(tcp(\\+tls)?://)?.*") {
        if let Ok(settings) = Settings::resolve(at(&text, with_ca()), Source::default()) {
            let shown = settings.hosts();
            let again = Settings::resolve(at(&shown, with_ca()), Source::default()).unwrap();
            prop_assert_eq!(shown, again.hosts());
            prop_assert_eq!(settings.identity, again.identity);
        }
    }
}
