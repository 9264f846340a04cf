//! Whatever is in ZooKeeper, and whatever a caller writes: it is read, or refused, and nothing panics.
//! `make fuzz` runs these, and all other properties, many more times.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use zkcoord::connect::credentials::UserSource;
use zkcoord::connect::settings::Settings;
use zkcoord::connect::source::Source;
use zkcoord::path;
use zkcoord::recipe::identifier;
use zkcoord::recipe::party::names::{member, Member};
use zkcoord::recipe::queue::{names as queue_names, order};
use zkcoord::recipe::semaphore::limit::{has_room, Limit};
use zkcoord::recipe::semaphore::names as lease_names;
use zkcoord::secret::Secret;
use zkcoord::Error;

/// What looks like a connect string: its parts, in any order.
fn connect_string() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        "[a-z0-9.-]{0,9}",
        Just(":".to_owned()),
        Just(",".to_owned()),
        Just("/".to_owned()),
        Just("[".to_owned()),
        Just("]".to_owned()),
        Just("::1".to_owned()),
        Just("%eth0".to_owned()),
        Just("@".to_owned()),
        "[0-9]{1,6}",
        "\\PC{0,3}",
        any::<char>().prop_map(String::from),
    ];
    vec(part, 0..12).prop_map(|parts| parts.concat())
}

/// What looks like a child of a pool, a queue or a party.
fn child() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        "[0-9a-f]{32}",
        "[0-9a-f]{1,33}",
        Just("__lock__".to_owned()),
        Just("__party__".to_owned()),
        Just("-".to_owned()),
        "-?[0-9]{10}",
        "[0-9]{0,25}",
        "\\PC{0,33}",
    ];
    vec(part, 0..5).prop_map(|parts| parts.concat())
}

fn resolve(hosts: Vec<String>) -> Result<Settings, Error> {
    Settings::resolve(Source { hosts: Some(hosts), ..Source::default() }, Source::default())
}

proptest! {
    #[test]
    fn any_connect_string_is_servers_or_refused(items in vec(connect_string(), 1..4)) {
        match resolve(items) {
            Ok(settings) => {
                let hosts = settings.hosts();
                let (servers, _) = hosts.split_at(hosts.find('/').unwrap_or(hosts.len()));
                for server in servers.split(',') {
                    let (host, port) = server.rsplit_once(':').unwrap();
                    prop_assert!(!host.is_empty() && port.parse::<u16>().unwrap() > 0, "{}", hosts);
                }
                prop_assert_eq!(resolve(vec![hosts.clone()]).unwrap().hosts(), hosts);
            }
            Err(Error::Argument { argument, .. }) => prop_assert_eq!(argument, "zk_hosts"),
            Err(other) => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn credentials_in_a_connect_string_are_not_echoed(user in "[a-z]{3}", host in "[a-z]{3}", port in any::<u16>()) {
        let error = resolve(vec![format!("{user}:canary-password@{host}:{port}")]).unwrap_err().to_string();
        prop_assert!(!error.contains("canary"), "{}", error);
    }

    #[test]
    fn any_settings_are_taken_or_refused(
        scheme in prop::option::of("\\PC*"), mechanism in prop::option::of("\\PC*"), username in prop::option::of(".*"), password in prop::option::of(".*"),
        session in prop::option::of(any::<u64>()), connect in prop::option::of(any::<u64>()),
    ) {
        let source = Source {
            user: UserSource { scheme, mechanism, username, password: password.map(Secret::from) },
            session_timeout: session.map(Duration::from_millis),
            connect_timeout: connect.map(Duration::from_millis),
            ..Source::default()
        };
        let _ = Settings::resolve(source, Source::default());
    }

    #[test]
    fn any_path_is_below_its_chroot_or_refused(root in connect_string(), text in connect_string()) {
        if let (Ok(root), Ok(path)) = (path::chroot(&root), path::normalise(&text)) {
            if let Ok(full) = path::below(&root, &path) {
                prop_assert!(full.starts_with(&root) && !full.split('/').any(|part| part == ".."));
                prop_assert!(!full.starts_with("/zookeeper/") && full != "/zookeeper");
                let mut parents = path::parents(&full);
                prop_assert!(parents.all(|parent| full[parent.len()..].starts_with('/') && full.starts_with(parent)));
            }
        }
        let _ = path::any(&text);
    }

    #[test]
    fn any_child_of_a_queue_is_a_place_or_none(queue in vec(child(), 0..9), mine in 0..9_usize, prefix in child()) {
        for name in &queue {
            if let Some(sequence) = queue_names::sequence(name) {
                let digits = format!("{sequence:010}");
                prop_assert!(name.ends_with(&digits) || sequence <= 0, "{} {}", name, sequence);
            }
        }
        let mine = queue.get(mine).cloned().unwrap_or_default();
        let standing = order::standing(&queue, &mine);
        let position = order::position(&queue, &mine);
        prop_assert_eq!(standing == order::Standing::Absent, position.is_none());
        prop_assert_eq!(standing == order::Standing::First, position == Some(1));
        if let order::Standing::Behind { predecessor } = standing {
            prop_assert!(queue_names::sequence(predecessor) < queue_names::sequence(&mine));
        }
        if let Some(own) = order::own_node(&queue, &prefix) {
            prop_assert!(own.starts_with(&prefix));
        }
    }

    #[test]
    fn any_child_of_a_pool_or_a_party_is_a_name(name in child()) {
        if lease_names::tells_identifier(&name) {
            prop_assert_eq!(name.len(), 32);
        }
        if let Some(Member::Named(identifier)) = member(&name) {
            prop_assert!(name.ends_with(identifier));
        }
    }

    #[test]
    fn a_derived_name_tells_its_identifier_and_no_other(one in ".*", other in ".*", session in any::<i64>()) {
        let lease = lease_names::lease(&lease_names::persistent_owner(&one));
        prop_assert!(lease_names::tells_identifier(&lease));
        prop_assert!(!lease_names::tells_identifier(&lease_names::lease(&lease_names::ephemeral_owner(&one, session))));
        prop_assert_eq!(one == other, lease_names::is_of(&lease, &lease_names::persistent_owner(&other)));
    }

    #[test]
    fn any_bytes_are_a_limit(data in vec(any::<u8>(), 0..40)) {
        match Limit::decode(&data) {
            Limit::Unset => prop_assert!(data.is_empty()),
            Limit::Number(number) => prop_assert_eq!(
                std::str::from_utf8(&data).unwrap().trim().trim_start_matches('+').parse::<i64>().unwrap(), number
            ),
            Limit::Foreign => {}
        }
    }

    #[test]
    fn what_is_written_is_read(limit in any::<u32>()) {
        prop_assert_eq!(Limit::decode(Limit::encode(limit).as_bytes()), Limit::Number(i64::from(limit)));
    }

    #[test]
    fn almost_a_number_is_a_number_or_foreign(data in "[ \t\n+-]{0,2}[0-9]{0,25}[ \t\n]{0,2}") {
        let _ = Limit::decode(data.as_bytes());
    }

    #[test]
    fn any_bytes_are_an_identifier(data in vec(any::<u8>(), 0..40), room in (0..20_usize, any::<i64>())) {
        let shown = identifier::decode(&data);
        prop_assert!(shown.len() <= 3 * data.len());
        let quoted = [b"b'", data.as_slice(), b"'"].concat();
        prop_assert_eq!(identifier::of_waiter(&quoted), shown);
        let _ = (identifier::of_waiter(&data), has_room(room.0, room.1));
    }
}
