//! Ganeti's confd: datagrams, which of them count, and which answer to believe. The samples are ganeti-confd 3.0.2's.

use std::net::IpAddr;
use std::time::Instant;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{json, Value};
use zkcoord::confd::book::{Book, Manner};
use zkcoord::confd::key::Key;
use zkcoord::confd::packet::{self, Discard, Signed};
use zkcoord::confd::quorum::{coverage, needed, replies};
use zkcoord::confd::reply::{Reply, Status};
use zkcoord::confd::request::Request;
use zkcoord::confd::secrets::leave_out;
use zkcoord::confd::verdict::verdict;
use zkcoord::Error;

pub(crate) const KEY: &[u8] = b"0123456789abcdef0123456789abcdef01234567\n";
pub(crate) const MASTER: &[u8] = br#"plj0{"hmac":"94a234b014d38d45d9b2262e600183b22ae3048d","msg":"{\"protocol\":1,\"status\":0,\"answer\":\"node1.example.com\",\"serial\":42}","salt":"a-salt"}"#;

pub(crate) fn key() -> Key {
    Key::new(KEY.to_vec()).unwrap()
}

pub(crate) fn request(kind: i64, query: Value) -> Result<Request, Error> {
    Request::new(kind, query, "a-salt".to_owned())
}

pub(crate) fn peer(number: u8) -> IpAddr {
    [127, 0, 0, number].into()
}

fn ok(answer: Value, serial: i64) -> Reply {
    Reply { status: Status::Ok, answer, serial }
}

fn error(answer: Value) -> Reply {
    Reply { status: Status::Error, answer, serial: 0 }
}

/// A datagram as a server would send it, of any text in Latin-1.
pub(crate) fn datagram(message: &str, salt: &str, key: &[u8]) -> Vec<u8> {
    use hmac::{Hmac, KeyInit, Mac};
    let mut mac = Hmac::<sha1::Sha1>::new_from_slice(key).unwrap();
    mac.update(format!("{salt}{message}").as_bytes());
    let hmac = hex::encode(mac.finalize().into_bytes());
    let envelope = json!({"hmac": hmac, "msg": message, "salt": salt}).to_string();
    b"plj0".iter().copied().chain(envelope.chars().map(|letter| u8::try_from(letter).unwrap())).collect()
}

pub(crate) fn message(status: i64, answer: &Value, serial: i64) -> String {
    json!({"protocol": 1, "status": status, "answer": answer, "serial": serial}).to_string()
}

#[test]
fn a_reply_of_a_real_server_is_read() {
    let expected = Signed { salt: "a-salt".to_owned(), reply: ok(json!("node1.example.com"), 42) };
    assert_eq!(packet::reply(MASTER, &key()), Ok(expected));
}

#[test]
fn a_reply_with_latin_1_is_read_and_one_with_damaged_characters_is_not() {
    let error = br#"plj0{"hmac":"7ec66633239dc2b13ed1a0bb5e45ea23429daa7d","msg":"{\"protocol\":1,\"status\":1,\"answer\":\"Failure: prerequisites not met for this operation:\\nerror type: ECodeNoEnt, error details:\\nNode name caf%E9 not found\",\"serial\":0}","salt":"a-salt"}"#;
    let sent: Vec<u8> = String::from_utf8_lossy(error).replace("%E9", "\u{e9}").chars().map(|it| it as u8).collect();
    let reply = packet::reply(&sent, &key()).unwrap().reply;
    assert!(reply.answer.as_str().unwrap().ends_with("Node name café not found"));
    assert!(reply.is_no_such_entry());
    // The same, cut short by a server for which € is AC.
    let cut = br#"plj0{"hmac":"79ccc12ffbd62f872af021faf4a7f44fcde13a87","msg":"{\"protocol\":1,\"status\":0,\"answer\":\"caf%E9 %AC\",\"serial\":42}","salt":"a-salt"}"#;
    let sent: Vec<u8> = String::from_utf8_lossy(cut)
        .replace("%E9", "\u{e9}")
        .replace("%AC", "\u{ac}")
        .chars()
        .map(|it| it as u8)
        .collect();
    assert_eq!(packet::reply(&sent, &key()), Err(Discard::NotSigned));
}

#[test]
fn bytes_that_are_utf_8_by_chance_are_read_as_what_was_signed() {
    for text in ["Ã©", "é", "Â£Ã\u{9f}", "plain"] {
        let sent = datagram(&message(0, &json!(text), 7), "a", KEY);
        assert_eq!(packet::reply(&sent, &key()).unwrap().reply, ok(json!(text), 7), "{text}");
    }
}

#[test]
fn each_malformed_datagram_is_discarded_with_its_reason() {
    let signed = |text: &str| datagram(text, "a", KEY);
    let cases: Vec<(Vec<u8>, Discard)> = vec![
        (b"".to_vec(), Discard::NotOfTheProtocol),
        (b"plj".to_vec(), Discard::NotOfTheProtocol),
        (b"plj1{}".to_vec(), Discard::NotOfTheProtocol),
        (b"plj0".to_vec(), Discard::NotAnEnvelope),
        (b"plj0{".to_vec(), Discard::NotAnEnvelope),
        (b"plj0\xff\xfe".to_vec(), Discard::NotAnEnvelope),
        (br#"plj0{"msg": "{}", "salt": 5, "hmac": ""}"#.to_vec(), Discard::NotAnEnvelope),
        (br#"plj0{"msg": "{}", "salt": "a"}"#.to_vec(), Discard::NotAnEnvelope),
        (br#"plj0{"msg": "{}", "salt": "a", "hmac": "", "key_selector": ""}"#.to_vec(), Discard::NotAnEnvelope),
        (br#"plj0["{}", "a", ""]"#.to_vec(), Discard::NotAnEnvelope),
        (br#"plj0{"msg": "{}", "salt": "a", "hmac": "zz"}"#.to_vec(), Discard::NotSigned),
        (br#"plj0{"msg": "{}", "salt": "a", "hmac": ""}"#.to_vec(), Discard::NotSigned),
        (datagram(&message(0, &json!(1), 0), "a", b"another key"), Discard::NotSigned),
        (datagram(&message(0, &json!(1), 0), "a", &KEY[..40]), Discard::NotSigned),
        (signed("{"), Discard::NotAReply),
        (signed("[1, 0, 0, 42]"), Discard::NotAReply),
        (signed(r#"{"protocol": 1, "status": 0, "answer": 1}"#), Discard::NotAReply),
        (signed(r#"{"protocol": 1, "status": 3, "answer": 1, "serial": 1}"#), Discard::NotAReply),
        (signed(r#"{"protocol": 2, "status": 0, "answer": 1, "serial": 1}"#), Discard::NotAReply),
        (signed(r#"{"protocol": 1, "status": 0, "answer": 1, "serial": 1, "more": 1}"#), Discard::NotAReply),
        (signed(r#"{"protocol": 1, "status": 0, "answer": 1, "serial": "1"}"#), Discard::NotAReply),
    ];
    for (sent, reason) in cases {
        assert_eq!(packet::reply(&sent, &key()), Err(reason), "{}", String::from_utf8_lossy(&sent));
    }
    let nested = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    let deep = format!(r#"{{"protocol": 1, "status": 0, "answer": {nested}, "serial": 1}}"#);
    assert_eq!(packet::reply(&signed(&deep), &key()), Err(Discard::NotAReply));
}

#[test]
fn case_of_a_signature_and_order_of_members_do_not_matter() {
    let sent = String::from_utf8(MASTER.to_vec()).unwrap();
    let hmac = "94a234b014d38d45d9b2262e600183b22ae3048d";
    assert!(packet::reply(sent.replace(hmac, &hmac.to_uppercase()).as_bytes(), &key()).is_ok());
    let salt_first =
        sent.replace(r#"plj0{"hmac""#, r#"plj0{"salt":"a-salt","hmac""#).replace(r#","salt":"a-salt"}"#, "}");
    assert!(packet::reply(salt_first.as_bytes(), &key()).is_ok());
}

#[test]
fn a_request_is_signed_ascii_that_the_server_reads_to_its_end() {
    let asked = request(1, json!("café € 😀 \"q\"")).unwrap();
    let sent = packet::request(&asked, asked.salt(), &key(), 1_764_160_000).unwrap();
    assert!(sent.is_ascii());
    let envelope: Value = serde_json::from_slice(&sent[4..]).unwrap();
    assert_eq!(envelope["salt"], "1764160000");
    let text = envelope["msg"].as_str().unwrap();
    assert!(text.is_ascii());
    let expected = json!({"protocol": 1, "type": 1, "query": "café € 😀 \"q\"", "rsalt": "a-salt"});
    assert_eq!(serde_json::from_str::<Value>(text).unwrap(), expected);
    // Made by Python's hmac module.
    let plain = packet::request(&request(3, Value::Null).unwrap(), "a-salt", &key(), 1_764_160_000).unwrap();
    let plain: Value = serde_json::from_slice(&plain[4..]).unwrap();
    assert_eq!(plain["msg"], r#"{"protocol":1,"type":3,"query":null,"rsalt":"a-salt"}"#);
    assert_eq!(plain["hmac"], "53be2b9e03f7325f1d94fd5173c2353fcf2569cd");
}

#[test]
fn a_request_beyond_what_the_server_reads_is_refused() {
    let length = |text: usize| {
        packet::request(&request(10, json!("/".repeat(text))).unwrap(), "a-salt", &key(), 1_764_160_000)
            .map(|sent| sent.len())
    };
    let overhead = length(0).unwrap();
    assert_eq!(length(4096 - overhead), Ok(4096));
    let refused = length(4097 - overhead).unwrap_err().to_string();
    assert_eq!(refused, "query: is too long: the request would have 4097 bytes, and ganeti-confd reads 4096");
}

#[test]
fn what_the_servers_would_drop_is_not_sent() {
    for query in
        [json!(null), json!(""), json!({}), json!({"0": null, "1": "a"}), json!({"2": ["a"]}), json!({"3": [0, 2, 2]})]
    {
        assert!(request(2, query.clone()).is_ok(), "{query}");
    }
    for query in [
        json!(1),
        json!(true),
        json!(["a"]),
        json!({"4": "a"}),
        json!({"0": 1}),
        json!({"1": ["a"]}),
        json!({"2": "a"}),
        json!({"3": ["0"]}),
        json!({"3": [3]}),
        json!({"3": 0}),
    ] {
        assert!(matches!(request(2, query.clone()), Err(Error::Argument { argument: "query", .. })), "{query}");
    }
    for kind in [-1, 12, i64::MAX] {
        assert!(matches!(request(kind, Value::Null), Err(Error::Argument { argument: "type", .. })));
    }
    assert!(matches!(Request::new(0, Value::Null, String::new()), Err(Error::Argument { argument: "rsalt", .. })));
}

#[test]
fn so_many_are_asked_and_so_many_replies_are_needed() {
    assert_eq!((0..=8).map(needed).collect::<Vec<_>>(), [0, 1, 2, 2, 3, 3, 4, 4, 5]);
    assert_eq!([coverage(0, 3), coverage(0, 7), coverage(-1, 7), coverage(2, 7)], [Ok(3), Ok(6), Ok(7), Ok(2)]);
    assert!(coverage(8, 7).is_err() && coverage(-3, 7).is_err());
    assert_eq!([replies(None, 5), replies(Some(-1), 5), replies(Some(1), 5)], [Ok(3), Ok(5), Ok(1)]);
    assert!(replies(Some(6), 5).is_err() && replies(Some(0), 5).is_err() && replies(Some(-2), 5).is_err());
}

#[test]
fn a_key_is_not_shown_and_one_without_its_newline_is_recognised() {
    assert_eq!(
        format!("{:?} {:?}", key(), Book::new(key(), 0, Manner::Ganetis)),
        "[key] Book { key: [key], manner: Ganetis, retries: 0, open: {} }"
    );
    assert!(!key().seems_stripped());
    assert!(Key::new(KEY[..40].to_vec()).unwrap().seems_stripped());
    assert!(Key::new(Vec::new()).is_err());
}

#[test]
fn the_newest_answer_is_believed_and_an_error_never_outranks_one() {
    let (old, new, broken) = (ok(json!("a"), 41), ok(json!("b"), 42), error(json!("Failure: no configuration")));
    for order in [[&old, &new, &broken], [&broken, &new, &old], [&new, &broken, &old]] {
        let verdict = verdict(&order);
        assert_eq!((verdict.answer, verdict.is_consistent), (Some(&new), true));
    }
    let ahead = Reply { serial: 99, ..broken.clone() };
    assert_eq!(verdict(&[&ahead, &old]).answer, Some(&old));
    assert_eq!(verdict(&[&broken]).answer, Some(&broken));
    assert_eq!(verdict(&[]).answer, None);
}

#[test]
fn one_serial_with_two_contents_is_inconsistent_and_the_majority_is_named() {
    let (a, b) = (ok(json!({"x": 1}), 42), ok(json!({"x": 2}), 42));
    let several = verdict(&[&a, &b, &b]);
    assert_eq!((several.answer, several.is_consistent), (Some(&b), false));
    assert_eq!(verdict(&[&a, &b]).answer, Some(&a));
    // They contradict each other, though both are older than the answer.
    let newer = ok(json!({"x": 3}), 43);
    let older = verdict(&[&a, &newer, &b]);
    assert_eq!((older.answer, older.is_consistent), (Some(&newer), false));
    assert!(verdict(&[&ok(json!(4), 1), &ok(json!(4.0), 1)]).is_consistent);
    assert!(!verdict(&[&ok(json!(1), 1), &ok(json!(true), 1)]).is_consistent);
    assert!(!verdict(&[&ok(json!(u64::MAX), 1), &ok(json!(u64::MAX - 1), 1)]).is_consistent);
}

#[test]
fn no_such_entry_beside_an_answer_is_inconsistent_and_a_broken_server_is_not() {
    let answer = ok(json!("node1"), 42);
    for none in [json!(0), json!(2), json!("Failure: error type: ECodeNoEnt, Node name x not found")] {
        let both = [&error(none), &answer];
        assert_eq!((verdict(&both).answer, verdict(&both).is_consistent), (Some(&answer), false));
    }
    let broken = [error(json!("Cannot parse the configuration")), error(json!(1))];
    for broken in &broken {
        assert!(verdict(&[broken, &answer]).is_consistent);
        let none = error(json!("Failure: error type: ECodeNoEnt, Node name x not found"));
        for order in [[broken, broken, &none], [&none, broken, broken]] {
            assert_eq!(verdict(&order).answer, Some(&none));
        }
    }
    assert!(verdict(&[&error(json!(0)), &error(json!(2))]).is_consistent);
}

/// Queries of which one is open, to so many peers.
pub(crate) fn book(asked: u8, now: Instant) -> Book {
    let mut book = Book::new(key(), 3, Manner::Ganetis);
    let peers: Vec<_> = (1..=asked).map(peer).collect();
    book.open(request(3, Value::Null).unwrap(), peers, needed(asked.into()), now, 1_764_160_000).unwrap();
    book
}

#[test]
fn secrets_are_left_out_wherever_they_are() {
    let identity = |secret: Value| json!(["a", "b", 1, 2, 3, secret]);
    let disk = |secret| json!({"dev_type": "drbd", "logical_id": identity(secret), "children": []});
    let mut answer = json!([{"children": [disk(json!("s3cret"))]}, {"dev_type": "plain", "logical_id": ["vg", "lv"]},
        {"osparams_private": {"pw": "s3cret"}, "osparams": {"a": "b"}}, {"osparams_private_cluster": {"os": {"pw": "s3cret"}}}]);
    leave_out(&mut answer);
    assert!(!answer.to_string().contains("s3cret"));
    let expected = json!([{"children": [disk(Value::Null)]}, {"dev_type": "plain", "logical_id": ["vg", "lv"]},
        {"osparams_private": {"pw": null}, "osparams": {"a": "b"}}, {"osparams_private_cluster": {"os": {"pw": null}}}]);
    assert_eq!(answer, expected);
    let mut alone = identity(json!("s3cret"));
    leave_out(&mut alone);
    assert_eq!(alone, identity(Value::Null));
    // A row of the answer to node_drbd is no identity of a disk.
    let row = json!([["node1", 3, "inst1", "disk/0", "primary", "node2"]]);
    let mut left = row.clone();
    leave_out(&mut left);
    assert_eq!(left, row);
}

/// Text of the letters that a server can sign.
fn signed_text() -> BoxedStrategy<Value> {
    "[\u{0}-\u{ff}]{0,8}".prop_map(Value::from).boxed()
}

fn any_text() -> BoxedStrategy<Value> {
    prop_oneof!["\\PC{0,8}".prop_map(Value::from), signed_text()].boxed()
}

fn json_value(text: BoxedStrategy<Value>) -> impl Strategy<Value = Value> {
    let leaf =
        prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), any::<i64>().prop_map(Value::from), text,];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-z]{0,3}", inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

fn any_reply() -> impl Strategy<Value = Reply> {
    let status = prop_oneof![3 => Just(Status::Ok), 1 => Just(Status::Error)];
    (status, 0..3_u8, 0..3_i64).prop_map(|(status, answer, serial)| Reply { status, answer: json!(answer), serial })
}

proptest! {
    #[test]
    fn whatever_comes_is_a_reply_or_one_discarded_datagram(bytes in vec(any::<u8>(), 0..300), magic in any::<bool>()) {
        let now = Instant::now();
        let mut book = book(3, now);
        let sent = if magic { [b"plj0".as_slice(), &bytes].concat() } else { bytes };
        prop_assert!(book.take(&sent, peer(1), now).is_err());
        prop_assert!(book.get("a-salt").unwrap().heard().is_empty());
    }

    #[test]
    fn a_reply_that_was_changed_anywhere_does_not_count(at in 0..MASTER.len(), to in any::<u8>(), cut in any::<bool>()) {
        let now = Instant::now();
        let mut book = book(3, now);
        let mut sent = MASTER.to_vec();
        if cut { sent.truncate(at) } else { sent[at] = to }
        if let Ok(taken) = book.take(&sent, peer(1), now) {
            // A digit in another case, or blank space, is the same message.
            prop_assert_eq!(taken.reply, ok(json!("node1.example.com"), 42));
        }
    }

    #[test]
    fn what_a_server_signs_is_read_as_it_was(
        answer in json_value(signed_text()),
        serial in any::<i64>(),
        salt in "[ -~]{1,40}",
    ) {
        let text = message(0, &answer, serial);
        let signed = packet::reply(&datagram(&text, &salt, KEY), &key());
        prop_assert_eq!(signed, Ok(Signed { salt, reply: ok(answer, serial) }));
    }

    #[test]
    fn any_query_is_sent_as_it_is_or_refused(kind in -1..14_i64, query in json_value(any_text()), salt in "\\PC{0,40}") {
        let Ok(asked) = Request::new(kind, query.clone(), salt.clone()) else { return Ok(()) };
        let Ok(sent) = packet::request(&asked, &salt, &key(), 1_764_160_000) else { return Ok(()) };
        prop_assert!(sent.len() <= packet::LONGEST_REQUEST && sent.is_ascii());
        let envelope: Value = serde_json::from_slice(&sent[4..]).unwrap();
        let message: Value = serde_json::from_str(envelope["msg"].as_str().unwrap()).unwrap();
        prop_assert_eq!(message, json!({"protocol": 1, "type": kind, "query": query, "rsalt": salt}));
    }

    #[test]
    fn the_answer_is_outranked_by_no_reply_whatever_their_order(replies in vec(any_reply(), 0..7)) {
        let order: Vec<_> = replies.iter().collect();
        let found = verdict(&order);
        prop_assert_eq!(found.answer.is_none(), replies.is_empty());
        if let Some(answer) = found.answer {
            prop_assert!(replies.iter().all(|reply| !reply.outranks(answer)));
            prop_assert!(answer.is_ok() || replies.iter().all(|reply| !reply.is_ok()));
        }
        let backwards: Vec<_> = replies.iter().rev().collect();
        prop_assert_eq!(verdict(&backwards).is_consistent, found.is_consistent);
    }

    #[test]
    fn an_answer_without_secrets_is_otherwise_the_same(answer in json_value(any_text())) {
        let mut left = answer.clone();
        leave_out(&mut left);
        prop_assert_eq!(left, answer);
    }
}
