//! The choice of a server: its rules, and a simulation of sessions whose servers fail.

use std::time::Duration;

use fastrand::Rng;
use zkcoord::connect::choice::{Choice, Turn};

const SESSION: Duration = Duration::from_secs(10);

fn choice(servers: usize) -> Choice<usize> {
    Choice::new(servers, SESSION)
}

/// Tries a server, which fails.
fn fail(choice: &mut Choice<usize>, server: usize) {
    assert_eq!(choice.turn(server, 0.5), Turn::Now);
    let address = choice.address(server, &[server], 0.5).unwrap();
    choice.failed(server, &address);
}

#[test]
fn one_that_has_failed_waits_until_the_others_have_been_tried() {
    let mut choice = choice(3);
    fail(&mut choice, 1);
    assert_eq!(choice.turn(1, 0.5), Turn::Another);
    fail(&mut choice, 2);
    assert_eq!(choice.turn(1, 0.5), Turn::Another);
    assert_eq!(choice.turn(2, 0.5), Turn::Another);
    fail(&mut choice, 0);
    assert!((0..3).all(|server| matches!(choice.turn(server, 0.5), Turn::After(_))));
    choice.begin_round();
    assert_eq!(choice.turn(0, 0.5), Turn::Another, "it has failed last");
    assert_eq!(choice.turn(1, 0.5), Turn::Now);
}

#[test]
fn a_name_has_all_its_addresses_tried_and_the_last_that_failed_last() {
    let mut choice = choice(1);
    let mut tried = Vec::new();
    for _ in 0..3 {
        assert_eq!(choice.turn(0, 0.5), Turn::Now);
        let address = choice.address(0, &[10, 11, 12], fastrand::f64()).unwrap();
        choice.failed(0, &address);
        tried.push(address);
    }
    assert_eq!(choice.address(0, &[10, 11, 12], 0.5), None);
    let last = tried[2];
    tried.sort_unstable();
    assert_eq!(tried, [10, 11, 12]);
    choice.begin_round();
    for dice in 0..100 {
        assert_ne!(choice.clone().address(0, &[10, 11, 12], f64::from(dice) / 100.0), Some(last));
    }
}

#[test]
fn a_name_that_moves_has_its_new_address_tried() {
    let mut choice = choice(1);
    assert_eq!(choice.address(0, &[10], 0.5), Some(10));
    choice.failed(0, &10);
    assert!(matches!(choice.turn(0, 0.5), Turn::After(_)));
    choice.begin_round();
    assert_eq!(choice.address(0, &[20], 0.5), Some(20));
}

#[test]
fn one_that_has_answered_a_probe_is_next_though_it_had_failed() {
    let mut choice = choice(3);
    fail(&mut choice, 2);
    choice.prefer(2, 2);
    assert_eq!((choice.turn(0, 0.5), choice.turn(2, 0.5)), (Turn::Another, Turn::Now));
    assert_eq!(choice.address(2, &[2], 0.5), Some(2));
    assert_eq!(choice.turn(0, 0.5), Turn::Now, "it is preferred once");
}

#[test]
fn a_preferred_one_whose_name_is_not_known_any_more_holds_nobody_up() {
    let mut choice = choice(2);
    choice.prefer(1, 1);
    choice.name_failed(1);
    assert_eq!(choice.turn(0, 0.5), Turn::Now);
}

#[test]
fn pauses_grow_within_bounds_and_begin_anew_after_a_session() {
    let mut choice = choice(1);
    let pause = |choice: &Choice<usize>, dice| match choice.turn(0, dice) {
        Turn::After(pause) => pause,
        other => panic!("{other:?}"),
    };
    let mut before = Duration::ZERO;
    for _ in 0..40 {
        fail(&mut choice, 0);
        let (least, most) = (pause(&choice, 0.0), pause(&choice, 1.0));
        assert!(most >= before && least * 2 == most && most <= SESSION / 4);
        before = most;
        choice.begin_round();
    }
    assert_eq!(before, SESSION / 4);
    choice.connected();
    fail(&mut choice, 0);
    assert_eq!(pause(&choice, 1.0), Duration::from_millis(100));
}

#[test]
fn addresses_are_spread() {
    let mut counts = [0; 3];
    for _ in 0..3000 {
        counts[choice(1).address(0, &[0, 1, 2], fastrand::f64()).unwrap()] += 1;
    }
    assert!(counts.iter().all(|count| (800..1200).contains(count)), "{counts:?}");
}

/// How a server treats those who connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    Serves,
    /// It refuses, or closes at once, as one that serves only reads does.
    Refuses,
    /// It is stopped, or behind a filter, or sends a byte a second.
    Silent,
}

/// Seconds, as what a client does takes them with a session of `timeout` seconds.
struct Costs {
    timeout: f64,
    /// Whether it chooses, and asks the others while a server is silent; or takes what comes next in its list.
    asks: bool,
}

impl Costs {
    /// Until the client gives up a connection that has become silent, from when the servers heard of the session last: it
    /// looks every twentieth of the timeout.
    fn noticed(&self) -> f64 {
        self.timeout * 0.45
    }

    /// Until a silent server is left: for another one that answers a probe, or because the client gives it up.
    fn left(&self) -> f64 {
        if self.asks {
            let overdue = (self.timeout / 20.0).clamp(0.1, 0.5);
            overdue + (self.timeout / 5.0).min(1.0).max(overdue)
        } else {
            self.timeout * 0.4
        }
    }
}

/// The times at which the servers change, and how: never more than a minority fails at a time.
fn history(rng: &mut Rng, servers: usize, timeout: f64) -> Vec<(f64, Vec<Server>)> {
    let mut at = 0.0;
    let mut all = Vec::new();
    for _ in 0..rng.usize(1..8) {
        let mut states = vec![Server::Serves; servers];
        for _ in 0..rng.usize(1..=(servers - 1) / 2) {
            states[rng.usize(0..servers)] = if rng.u8(0..3) == 0 { Server::Refuses } else { Server::Silent };
        }
        all.push((at, states));
        at += timeout * (0.01 + 2.0 * rng.f64() * rng.f64());
    }
    all
}

/// Whether a session outlives its servers' failures. The client's list is shuffled for each loss, as the protocol client
/// does it.
fn outlives(rng: &mut Rng, servers: usize, timeout: f64, asks: bool) -> bool {
    let history = history(rng, servers, timeout);
    let state = |server: usize, now: f64| {
        history.iter().rev().find(|(since, _)| *since <= now).map_or(Server::Serves, |(_, states)| states[server])
    };
    let costs = Costs { timeout, asks };
    let mut choice: Choice<usize> = Choice::new(servers, Duration::from_secs_f64(timeout));
    choice.connected();
    let mut current = rng.usize(0..servers);
    for (since, states) in &history {
        if states[current] == Server::Serves {
            continue;
        }
        // The last word was heard up to a ping before.
        let heard = since - rng.f64() * timeout * 0.15;
        let mut now = if states[current] == Server::Silent { heard + costs.noticed() } else { *since };
        choice.address(current, &[current], rng.f64());
        choice.failed(current, &current);
        let mut list: Vec<usize> = (0..servers * 32).map(|entry| entry % servers).collect();
        rng.shuffle(&mut list);
        let mut list = list.into_iter();
        loop {
            if now > heard + timeout {
                return false;
            }
            // Beyond its first pass the client pauses, and the session would not be kept.
            let Some(server) = list.next() else { return false };
            match if asks { choice.turn(server, rng.f64()) } else { Turn::Now } {
                Turn::Another => continue,
                Turn::After(pause) => {
                    now += pause.as_secs_f64();
                    choice.begin_round();
                    if choice.turn(server, 0.0) != Turn::Now {
                        continue;
                    }
                }
                Turn::Now => {}
            }
            if asks && choice.address(server, &[server], rng.f64()).is_none() {
                continue;
            }
            match state(server, now) {
                Server::Serves => {
                    choice.connected();
                    current = server;
                    break;
                }
                Server::Refuses => now += 0.002,
                Server::Silent => {
                    now += costs.left();
                    if !asks {
                        continue;
                    }
                    let serving = (0..servers).filter(|other| state(*other, now) == Server::Serves);
                    let serving: Vec<usize> = serving.collect();
                    let found = serving[rng.usize(0..serving.len())];
                    choice.failed(server, &server);
                    choice.prefer(found, found);
                    continue;
                }
            }
            choice.failed(server, &server);
        }
    }
    true
}

#[test]
fn no_session_is_lost_that_could_be_kept() {
    let histories = std::env::var("ZKCOORD_HISTORIES").map_or(20_000, |number| number.parse().unwrap());
    let seed = fastrand::u64(..);
    let mut rng = Rng::with_seed(seed);
    for number in 0..histories {
        let (servers, timeout) = (rng.choice([3, 5]).unwrap(), rng.choice([1.0, 2.0, 10.0, 30.0]).unwrap());
        assert!(outlives(&mut rng, servers, timeout, true), "history {number} of seed {seed}");
    }
}

#[test]
fn the_simulation_loses_sessions_of_a_client_that_does_not_choose() {
    let mut rng = Rng::new();
    let lost = (0..2000).filter(|_| !outlives(&mut rng, 5, 10.0, false)).count();
    assert!(lost > 20, "{lost} of 2000");
}

/// The connections that a server sees in each tenth of a second when an ensemble is there again after so many seconds.
fn returning(rng: &mut Rng, clients: usize, outage: f64) -> Vec<usize> {
    let mut tenths = vec![0; 200];
    for _ in 0..clients {
        let mut choice: Choice<usize> = Choice::new(1, SESSION);
        let mut now = 0.0;
        loop {
            let _ = choice.address(0, &[0], rng.f64());
            if now >= outage {
                tenths[((now - outage) * 10.0) as usize] += 1;
                break;
            }
            choice.failed(0, &0);
            let Turn::After(pause) = choice.turn(0, rng.f64()) else { panic!("nobody else is there") };
            now += pause.as_secs_f64();
            choice.begin_round();
        }
    }
    tenths
}

#[test]
fn a_fleet_does_not_come_back_in_one_moment() {
    let mut rng = Rng::new();
    for outage in [6.0, 10.0, 30.0, 60.0] {
        let tenths = returning(&mut rng, 10_000, outage);
        let most = tenths.iter().max().unwrap();
        assert!(*most <= 1000, "{most} of 10,000 in a tenth of a second after {outage} s");
        let last = tenths.iter().rposition(|count| *count > 0).unwrap();
        assert!(last <= 25, "all are back within a quarter of the session's timeout");
    }
}
