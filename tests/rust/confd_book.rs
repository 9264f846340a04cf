//! The queries to ganeti-confd that are open: which datagrams count, when they are answered, and when they are sent again.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use serde_json::{json, Value};
use zkcoord::confd::book::{Book, Exchange, Manner, To, LIFETIME};
use zkcoord::confd::packet::Discard;
use zkcoord::confd::quorum::needed;
use zkcoord::confd::request::Request;
use zkcoord::Error;

use super::confd::{book, datagram, key, message, peer, request, KEY, MASTER};

const UNREACHABLE: &str = "network unreachable";

/// The datagrams that are sent to some of the peers, all of which can be sent to.
fn sent(exchange: &mut Exchange, to: To) -> Vec<(IpAddr, Vec<u8>)> {
    let mut sent = vec![];
    exchange.send(to, |peer, datagram| {
        sent.push((peer, datagram.to_vec()));
        None
    });
    sent
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

#[test]
fn a_peer_counts_once_and_one_that_was_not_asked_does_not() {
    let now = Instant::now();
    let mut book = book(3, now);
    assert_eq!(book.take(MASTER, peer(4), now), Err(Discard::NotAsked));
    for _ in 0..5 {
        assert!(book.take(MASTER, peer(1), now + seconds(0.25)).is_ok());
    }
    let heard = book.get("a-salt").unwrap();
    assert_eq!((heard.heard().len(), heard.is_answered()), (1, false));
    assert_eq!(heard.heard()[0].after, seconds(0.25));
    assert!(book.take(MASTER, peer(3), now).is_ok());
    assert!(book.get("a-salt").unwrap().is_answered());
    assert_eq!(book.take(&datagram(&message(0, &json!(1), 1), "another", KEY), peer(1), now), Err(Discard::NotOpen));
}

#[test]
fn a_newer_reply_of_one_peer_replaces_its_older_one() {
    let now = Instant::now();
    let mut book = book(1, now);
    for (serial, expected) in [(42, 42), (43, 43), (41, 43)] {
        book.take(&datagram(&message(0, &json!(serial), serial), "a-salt", KEY), peer(1), now).unwrap();
        assert_eq!(book.get("a-salt").unwrap().verdict().answer.unwrap().serial, expected);
    }
    assert!(book.get("a-salt").unwrap().verdict().is_consistent);
}

#[test]
fn a_query_expires_ten_seconds_later_or_after_the_wait_for_it() {
    let now = Instant::now();
    let mut waited = book(2, now);
    assert!(waited.expire(now + LIFETIME - seconds(0.001)).is_empty());
    waited.await_for("a-salt", seconds(5.0), now);
    assert!(waited.expire(now + LIFETIME).is_empty());
    assert_eq!(waited.take(MASTER, peer(1), now + seconds(15.0)), Err(Discard::NotOpen));
    assert_eq!(waited.expire(now + seconds(15.0)), ["a-salt"]);
    assert!(waited.is_empty());
}

#[test]
fn a_salt_is_open_once() {
    let now = Instant::now();
    let again =
        book(1, now).open(request(0, Value::Null).unwrap(), vec![peer(1)], 1, now, 0).map(|exchange| exchange.needed());
    assert!(matches!(again, Err(Error::Argument { argument: "rsalt", .. })));
}

#[test]
fn only_those_who_have_not_replied_are_sent_to_again_three_times_with_growing_pauses() {
    let now = Instant::now();
    let mut book = book(3, now);
    book.await_for("a-salt", seconds(8.0), now);
    book.take(MASTER, peer(2), now).unwrap();
    let mut at = vec![];
    for tenth in 0..100 {
        for due in book.due(now + seconds(f64::from(tenth) / 10.0)) {
            at.push(tenth);
            assert_eq!(sent(due, To::Silent).into_iter().map(|(peer, _)| peer).collect::<Vec<_>>(), [peer(1), peer(3)]);
        }
    }
    assert_eq!(at, [5, 30, 70]);
    assert_eq!(book.next_sending(), None);
}

#[test]
fn a_long_wait_sends_again_until_its_end_and_never_what_is_too_old_for_the_servers() {
    let now = Instant::now();
    for (limit, expected) in [(16.0, [0, 6, 14]), (60.0, [0, 22, 52]), (1000.0, [0, 240, 240])] {
        let mut book = book(1, now);
        book.await_for("a-salt", seconds(limit), now);
        let mut at = vec![];
        for tenth in 0..10_000 {
            if book.due(now + seconds(f64::from(tenth) / 10.0)).next().is_some() {
                at.push(tenth / 10);
            }
        }
        assert_eq!(at, expected, "{limit}");
    }
}

#[test]
fn a_peer_that_cannot_be_sent_to_is_remembered_by_its_query_alone() {
    let now = Instant::now();
    let mut book = Book::new(key(), 3, Manner::Ganetis);
    let mut tries = 0;
    for number in 0..100 {
        let request = Request::new(3, Value::Null, format!("salt-{number}")).unwrap();
        let exchange = book.open(request, vec![peer(1), peer(2)], 1, now, 1_764_160_000).unwrap();
        exchange.send(To::All, |to, _| (to == peer(2)).then(|| UNREACHABLE.to_owned()));
        assert_eq!(exchange.unsent(), [(peer(2), UNREACHABLE.to_owned())]);
        for exchange in book.unanswered() {
            exchange.send(To::Unsent, |to, _| {
                tries += 1;
                Some(UNREACHABLE.to_owned()).filter(|_| to == peer(2))
            });
            assert_eq!(exchange.unsent().len(), 1);
        }
        let reply = datagram(&message(0, &json!("node1"), 42), &format!("salt-{number}"), KEY);
        book.take(&reply, peer(1), now).unwrap();
    }
    // An answered query is not sent any more, so that each costs as much as the first.
    assert_eq!(tries, 100);
    assert_eq!(book.expire(now + LIFETIME).len(), 100);
    assert!(book.is_empty());
}

fn strict(asked: u8, now: Instant) -> Book {
    let mut book = Book::new(key(), 3, Manner::Strict);
    let peers = (1..=asked).map(peer).collect();
    book.open(request(3, Value::Null).unwrap(), peers, needed(asked.into()), now, 1_764_160_000).unwrap();
    book
}

#[test]
fn a_reply_that_is_sent_again_from_the_address_of_another_peer_is_not_the_reply_of_that_one() {
    let now = Instant::now();
    let mut book = strict(3, now);
    let salts: Vec<_> = sent(book.due(now + seconds(1.0)).next().unwrap(), To::All)
        .into_iter()
        .map(|(_, sent)| {
            let envelope: Value = serde_json::from_slice(&sent[4..]).unwrap();
            serde_json::from_str::<Value>(envelope["msg"].as_str().unwrap()).unwrap()["rsalt"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(salts, ["a-salt-0", "a-salt-1", "a-salt-2"]);
    let stale = datagram(&message(0, &json!("node1"), 41), &salts[0], KEY);
    assert!(book.hear(&stale, peer(1), now).is_ok());
    for other in [2, 3] {
        assert_eq!(book.hear(&stale, peer(other), now), Err(Discard::NotAsked));
    }
    for unknown in ["a-salt", "a-salt-", "a-salt-3", "a-salt-0-0"] {
        let reply = datagram(&message(0, &json!("node1"), 99), unknown, KEY);
        assert!(book.hear(&reply, peer(1), now).is_err(), "{unknown}");
    }
    assert!(!book.get("a-salt").unwrap().is_answered());
    assert!(book.hear(&datagram(&message(0, &json!("node2"), 42), &salts[2], KEY), peer(3), now).is_ok());
    let found = book.get("a-salt").unwrap();
    assert_eq!((found.is_answered(), found.verdict().answer.unwrap().serial), (true, 42));
}

#[test]
fn a_server_that_cannot_read_its_configuration_makes_no_query_answered_until_all_have_replied() {
    let now = Instant::now();
    let says = |book: &mut Book, number: u8, reply: &str| {
        let sent = datagram(reply, &format!("a-salt-{}", number - 1), KEY);
        book.hear(&sent, peer(number), now).unwrap();
        let found = book.get("a-salt").unwrap();
        (found.answers(), found.is_answered())
    };
    let (broken, none) = (message(1, &json!("Cannot load"), 0), message(1, &json!("ECodeNoEnt"), 0));
    let mut one = strict(3, now);
    assert_eq!(says(&mut one, 1, &broken), (0, false));
    assert_eq!(says(&mut one, 2, &message(0, &json!("node1"), 41)), (1, false));
    assert_eq!(says(&mut one, 3, &message(0, &json!("node2"), 42)), (2, true));
    let mut two = strict(3, now);
    assert_eq!(says(&mut two, 1, &broken), (0, false));
    assert_eq!(says(&mut two, 2, &broken), (0, false));
    assert_eq!(says(&mut two, 3, &none), (1, true));
    assert!(two.get("a-salt").unwrap().verdict().answer.unwrap().is_no_such_entry());
}

#[test]
fn an_address_of_ipv4_that_comes_through_a_socket_of_ipv6_is_the_one_that_was_asked() {
    let now = Instant::now();
    let mut book = book(1, now);
    assert!(book.take(MASTER, "::ffff:127.0.0.1".parse().unwrap(), now).is_ok());
    assert_eq!(book.get("a-salt").unwrap().heard()[0].peer, peer(1));
}

#[test]
fn a_short_wait_sends_again_within_it_and_an_answered_query_not_at_all() {
    let now = Instant::now();
    let mut short = book(1, now);
    short.await_for("a-salt", seconds(0.8), now);
    let at: Vec<_> = (0..80).filter(|it| short.due(now + seconds(f64::from(*it) / 100.0)).next().is_some()).collect();
    assert_eq!(at, [10, 30, 70]);
    let mut answered = book(1, now);
    answered.take(MASTER, peer(1), now).unwrap();
    assert_eq!(answered.next_sending(), None);
    assert!(answered.due(now + seconds(9.0)).next().is_none());
}

#[test]
fn many_waits_of_no_time_do_not_send_all_at_once() {
    let now = Instant::now();
    let mut polled = book(1, now);
    let mut at = vec![];
    for millisecond in 0..300 {
        let then = now + seconds(f64::from(millisecond) / 1000.0);
        polled.await_for("a-salt", seconds(0.001), then);
        if polled.due(then).next().is_some() {
            at.push(millisecond);
        }
    }
    assert_eq!(at, [20, 41, 62]);
}
