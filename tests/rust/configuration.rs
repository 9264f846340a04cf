//! The dynamic configuration of an ensemble: pure.

use proptest::collection::vec;
use proptest::prelude::*;
use zkcoord::ensemble::configuration::{Address, ClientAddress, Configuration, Line, Member, Role};

fn host() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z][a-z0-9-]{0,8}(\\.[a-z]{2,4})?",
        Just("10.1.2.3".to_owned()),
        Just("[2001:db8::8]".to_owned()),
        Just("[::1]".to_owned()),
        Just("[fe80::1%eth0]".to_owned()),
    ]
}

fn role() -> impl Strategy<Value = Option<Role>> {
    prop_oneof![Just(None), Just(Some(Role::Participant)), Just(Some(Role::Observer))]
}

fn member(id: i64) -> impl Strategy<Value = Member> {
    let address = (host(), 1..=u16::MAX, 1..=u16::MAX);
    let client = proptest::option::of((proptest::option::of(host()), 1..=u16::MAX));
    (vec(address, 1..4), role(), client).prop_map(move |(addresses, role, client)| Member {
        id,
        addresses: addresses
            .into_iter()
            .map(|(host, quorum, election)| Address { host, quorum, election, role })
            .collect(),
        client: client.map(|(host, port)| ClientAddress { host, port }),
    })
}

fn configuration() -> impl Strategy<Value = Configuration> {
    let ids = proptest::collection::btree_set(0_i64..300, 0..8);
    let members = ids.prop_flat_map(|ids| ids.into_iter().map(member).collect::<Vec<_>>());
    let groups = proptest::collection::btree_map(0_i64..9, vec(0_i64..300, 1..5), 0..3);
    let weights = proptest::collection::btree_map(0_i64..300, 0_u32..9, 0..3);
    (members, groups, weights, any::<u64>()).prop_map(|(members, groups, weights, version)| Configuration {
        lines: members
            .into_iter()
            .map(Line::Member)
            .chain(groups.into_iter().map(|(id, members)| Line::Group(id, members)))
            .chain(weights.into_iter().map(|(id, weight)| Line::Weight(id, weight)))
            .collect(),
        version,
    })
}

proptest! {
    #[test]
    fn what_is_printed_is_parsed_without_loss(configuration in configuration()) {
        let printed = configuration.to_string();
        let parsed = Configuration::parse(&printed).unwrap();
        prop_assert_eq!(&parsed, &configuration);
        prop_assert_eq!(parsed.to_string(), printed);
    }

    #[test]
    fn any_text_is_a_configuration_or_refused(text in "(server\\.|group\\.|weight\\.|version=|[0-9:;|=\\[\\]a-z\n]|\\PC){0,40}") {
        if let Ok(parsed) = Configuration::parse(&text) {
            prop_assert_eq!(Configuration::parse(&parsed.to_string()).unwrap(), parsed);
        }
    }
}

#[test]
fn a_configuration_of_real_servers_is_kept_to_the_letter() {
    for text in [
        "server.1=127.0.0.1:41263:39509:participant\nserver.2=127.0.0.1:43673:44013:participant;127.0.0.1:1\nversion=100000000",
        "server.7=[2001:db8::8]:2888:3888:observer;[2001:db8::8]:2181\nserver.1=a:1:2;2181\nversion=0",
        "server.1=a:1:2|b:1:2:participant;0.0.0.0:2181\nversion=ff",
        "server.1=a:1:2:participant\ngroup.1=1\nweight.1=3\nversion=1b",
        "server.1=a:1:2:participant\nsomething.new=1\nversion=1",
    ] {
        assert_eq!(Configuration::parse(text).unwrap().to_string(), text);
    }
    assert_eq!(Configuration::parse("").unwrap(), Configuration::default());
}

#[test]
fn what_is_no_member_is_refused_in_one_line_that_says_what_one_is() {
    for text in [
        "",
        "1",
        "server.1",
        "server.x=a:1:2",
        "server.-1=a:1:2",
        "server.1=a:1",
        "server.1=a:1:2:leader",
        "server.1=a:1:2:3:4",
        "server.1=::1:1:2",
        "server.1=[::1:1:2",
        "server.1=a:1:70000",
        "server.1=a:1:+2",
        "server.1=a:1:2;",
        "server.1=a:1:2;b:c",
        "server.1=a:1:2;1;2",
        "server.1=a:1:2:observer|b:1:2:participant",
        "server.1=a b:1:2",
        "server.1=a:1:2\nserver.2=b:1:2",
    ] {
        let error = Member::parse(text).unwrap_err().to_string();
        assert!(error.starts_with("member: ") && error.contains("server.ID=HOST:PORT:PORT"), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
    for text in ["server.1=a:1:2\nserver.1=b:1:2", "version=xyz", "group.a=1", "weight.1=-1", "weight.1=1\nweight.1=2"]
    {
        assert!(Configuration::parse(text).is_err(), "{text}");
    }
}

#[test]
fn clients_find_a_member_where_it_says_or_on_its_host() {
    let at = |text| Member::parse(text).unwrap().client_server();
    assert_eq!(at("server.1=a:1:2;2181").as_deref(), Some("a:2181"));
    assert_eq!(at("server.1=a:1:2;0.0.0.0:2181").as_deref(), Some("a:2181"));
    assert_eq!(at("server.1=[::1]:1:2;[::]:2181").as_deref(), Some("[::1]:2181"));
    assert_eq!(at("server.1=a:1:2;b:2181").as_deref(), Some("b:2181"));
    assert_eq!(at("server.1=a:1:2"), None);
}
