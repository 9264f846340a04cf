//! What servers answer to four-letter words, as text and as JSON: pure.

use proptest::collection::vec;
use proptest::prelude::*;
use zkcoord::ensemble::decision::{Mode, Standing};
use zkcoord::ensemble::status::http_date;
use zkcoord::ensemble::words::{behind, field, from_json, from_text, standing, version, zxid, Fields, Trouble, WORDS};

proptest! {
    #[test]
    fn any_bytes_are_an_answer_or_none(bytes in vec(any::<u8>(), 0..200), word in 0..8_usize) {
        let word = WORDS[word];
        let _ = from_text(word, &bytes);
        let _ = from_json(word, &bytes);
    }
}

const SRVR: &[u8] =
    b"Zookeeper version: 3.8.0-5a02a05, built on 2024-12-29 17:54 UTC\nLatency min/avg/max: 0/1.5/9\nReceived: 4\n\
    Sent: 3\nConnections: 1\nOutstanding: 0\nZxid: 0x100000003\nMode: follower\nNode count: 5\n";

#[test]
fn both_ways_say_the_same() {
    let text = from_text("srvr", SRVR).unwrap().unwrap();
    let json = br#"{"version": "3.8.0-5a02a05, built on 2024-12-29 17:54 UTC", "read_only": false, "node_count": 5,
        "server_stats": {"packets_sent": 3, "packets_received": 4, "server_state": "follower", "last_processed_zxid": 4294967299,
        "outstanding_requests": 0, "avg_latency": 1.5, "max_latency": 9, "min_latency": 0, "num_alive_client_connections": 1},
        "command": "server_stats", "error": null}"#;
    assert_eq!(from_json("srvr", json).unwrap(), text);
    let mntr =
        from_text("mntr", b"zk_version\t3.8.0\nzk_pending_syncs\t0\nzk_peer_state\tleading - broadcast\n").unwrap();
    let json = br#"{"version": "3.8.0", "pending_syncs": 0, "peer_state": "leading - broadcast", "command": "monitor", "error": null}"#;
    let sorted = |mut fields: Fields| {
        fields.sort();
        fields
    };
    assert_eq!(sorted(from_json("mntr", json).unwrap()), sorted(mntr.unwrap()));
    for (word, answer, json) in [
        ("ruok", "imok", r#"{"command": "ruok", "error": null}"#),
        ("isro", "rw", r#"{"read_only": false, "command": "is_read_only", "error": null}"#),
    ] {
        assert_eq!(from_text(word, answer.as_bytes()).unwrap().unwrap(), from_json(word, json.as_bytes()).unwrap());
    }
    let conf =
        from_text("conf", b"clientPort=1\nserverId=3\nmembership: \nserver.3=a:1:2\nversion=1f").unwrap().unwrap();
    assert_eq!(field(&conf, "membership"), Some("server.3=a:1:2\nversion=1f"));
    let json =
        from_json("conf", br#"{"client_port": 1, "server_id": 3, "command": "configuration", "error": null}"#).unwrap();
    assert_eq!((field(&json, "serverId"), field(&json, "clientPort")), (Some("3"), field(&conf, "clientPort")));
}

#[test]
fn a_refusal_is_no_answer_and_neither_is_garbage() {
    assert_eq!(from_text("mntr", b"mntr is not executed because it is not in the whitelist.\n"), Ok(None));
    let idle = b"This ZooKeeper instance is not currently serving requests\n";
    for word in ["srvr", "mntr", "stat", "conf", "cons"] {
        assert_eq!(from_text(word, idle), Err(Trouble::NotServing), "{word}");
    }
    for word in ["srvr", "mntr", "stat", "conf", "ruok", "isro", "envi"] {
        for garbage in [&b""[..], b"\x15\x03\x03\x00\x02", b"HTTP/1.1 400 Bad Request", b"\xff\xfe\x00", b"zk\n"] {
            assert!(matches!(from_text(word, garbage), Err(Trouble::Garbage(_))), "{word} {garbage:?}");
        }
    }
    for json in ["", "[]", "{}", "null", "<html>", r#"{"command": "x", "error": "Unknown command: x"}"#] {
        assert!(matches!(from_json("srvr", json.as_bytes()), Err(Trouble::Garbage(_))), "{json}");
    }
    let idle = br#"{"command": "monitor", "error": "This ZooKeeper instance is not currently serving requests"}"#;
    assert_eq!(from_json("mntr", idle), Err(Trouble::NotServing));
}

#[test]
fn a_value_keeps_all_behind_the_first_separator() {
    let found = from_text("srvr", b"Zookeeper version: 3.8.0: a: b\nMode: leader\n").unwrap().unwrap();
    assert_eq!(field(&found, "Zookeeper version"), Some("3.8.0: a: b"));
}

#[test]
fn a_server_is_in_sync_when_it_serves_and_nothing_says_otherwise() {
    let srvr = |mode: &str| Ok(vec![("Mode".to_owned(), mode.to_owned())]);
    let refused = || Err(Trouble::Refused("no".to_owned()));
    let peer = |state: &str| Ok(vec![("zk_peer_state".to_owned(), state.to_owned())]);
    assert_eq!(standing(&srvr("follower"), &refused()), Standing::Synced(Mode::Follower));
    assert_eq!(standing(&srvr("leader"), &peer("leading - broadcast")), Standing::Synced(Mode::Leader));
    assert_eq!(standing(&srvr("leader"), &peer("leading - synchronization")), Standing::Syncing);
    assert_eq!(standing(&srvr("follower"), &Err(Trouble::NotServing)), Standing::Syncing);
    assert_eq!(standing(&Err(Trouble::NotServing), &refused()), Standing::Syncing);
    assert_eq!(standing(&srvr("standalone"), &refused()), Standing::Alone);
    assert_eq!(standing(&srvr("read-only"), &refused()), Standing::ReadOnly);
    let dead = Err(Trouble::Unreachable("refused".to_owned()));
    assert_eq!(standing(&dead, &dead.clone()), Standing::Silent("refused".to_owned()));
}

#[test]
fn how_far_behind_and_of_what_version() {
    assert_eq!(behind(0x1_0000_0005, 0x1_0000_0003), 2);
    assert_eq!(behind(0x2_0000_0007, 0x1_0000_00ff), 7, "of the new epoch it has seen nothing");
    assert_eq!(behind(0x2_0000_0000, 0), 0);
    assert_eq!(behind(5, 9), 0, "it was asked later");
    assert_eq!((zxid("0x1f"), zxid("1f"), zxid("0x")), (Some(31), None, None));
    assert_eq!(version("3.8.0-${mvngit.commit.id}, built on 2024"), "3.8.0");
    let date = http_date("Thu, 26 Nov 2026 12:34:08 GMT").unwrap();
    assert_eq!(date.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs(), 1_795_696_448);
    assert_eq!(http_date("yesterday"), None);
}
