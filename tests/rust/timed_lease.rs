use std::time::Duration;

use proptest::prelude::*;
use zkcoord::connect::settings::Settings;
use zkcoord::connect::source::Source;
use zkcoord::recipe::timed_lease::clock::Moment;
use zkcoord::recipe::timed_lease::judge::{standing, verdict, Sight, Stamp, Standing, Times, Verdict};
use zkcoord::recipe::timed_lease::lock_record::{whole_seconds, HoldMember};
use zkcoord::recipe::timed_lease::{names, steps, Claim, LockRecord, Pace, Rule, Whose};

const OBSERVED: Rule = Rule::Observed { max_clock_skew: Some(Duration::from_secs(1)) };
const WALL: &str = "2026-01-02T03:04:05.000006Z";

fn settings() -> Settings {
    Settings::resolve(Source { hosts: Some(vec!["a/chroot".into()]), ..Source::default() }, Source::default()).unwrap()
}

fn claim(owner: &str, by_name: bool) -> Claim {
    Claim::new(&settings(), "/leases/web", owner.into(), by_name, Duration::from_millis(1500), OBSERVED).unwrap()
}

fn record(json: &str) -> LockRecord {
    LockRecord::from_json("/a", json.as_bytes()).unwrap()
}

fn refusal(json: &str) -> String {
    LockRecord::from_json("/a", json.as_bytes()).unwrap_err().to_string()
}

const FOREIGN: &str = r#"{"holderIdentity":"b","leaseDurationSeconds":15,"leaseTransitions":4}"#;

mod what_is_stored {
    use super::*;

    #[test]
    fn a_record_has_the_originals_members_and_ours_beside_them() {
        let taken = steps::taken(None, &claim("a", false), WALL);
        let json: serde_json::Value = serde_json::from_str(&taken.to_json()).unwrap();
        let hold = json["zkcoord"]["hold"].clone();
        assert_eq!(
            json,
            serde_json::json!({
                "holderIdentity": "a", "leaseDurationSeconds": 2, "acquireTime": WALL, "renewTime": WALL,
                "leaseTransitions": 0,
                "zkcoord": {"hold": hold, "transition": 0, "durationNanoseconds": 1_500_000_000_u64},
            })
        );
        assert_eq!(record(&taken.to_json()).duration, Duration::from_millis(1500));
    }

    #[test]
    fn members_of_others_keep_the_text_that_they_have() {
        let json =
            r#"{"holderIdentity":"","leaseTransitions":3,"strategy":{"b":1e400, "a":[1.0,18446744073709551616]}}"#;
        let released = steps::released(&steps::taken(Some(&record(json)), &claim("a", false), WALL), WALL);
        assert!(released.to_json().contains(r#""strategy":{"b":1e400, "a":[1.0,18446744073709551616]}"#));
        let fresh = record(FOREIGN).with_unknown_of(&released);
        assert!(fresh.to_json().contains("1e400"), "also under a record that was made from nothing");
    }

    #[test]
    fn what_is_no_record_is_told_and_not_shown() {
        for (json, why) in [
            ("5", "no JSON object"),
            ("[]", "no JSON object"),
            ("{", "no JSON object"),
            ("{}", "no holderIdentity"),
            (r#"{"holderIdentity":5}"#, "holderIdentity is not text"),
            (r#"{"holderIdentity":"a"}"#, "no leaseDurationSeconds"),
            (r#"{"holderIdentity":"a","leaseDurationSeconds":-1}"#, "leaseDurationSeconds is not a whole number"),
            (r#"{"holderIdentity":"a","leaseDurationSeconds":1.5}"#, "leaseDurationSeconds is not a whole number"),
            (r#"{"holderIdentity":"","renewTime":5}"#, "renewTime is not text"),
            (r#"{"holderIdentity":"","leaseTransitions":"x"}"#, "leaseTransitions is not a whole number"),
        ] {
            let refused = refusal(json);
            assert!(refused.contains(why) && refused.contains("/a holds no record"), "{json}: {refused}");
        }
        assert!(!refusal("\u{1b}[2J").contains('\u{1b}'));
        assert!(LockRecord::from_json("/a", b"\xff").is_err());
        assert!(LockRecord::from_json("/a", b"").unwrap().is_free(), "a znode that a parent was made of");
        let deep = format!(r#"{{"holderIdentity":"","x":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert!(LockRecord::from_json("/a", deep.as_bytes()).is_ok(), "it is not looked into");
    }

    #[test]
    fn nothing_that_is_ours_counts_for_a_holder_that_came_after() {
        let ours = r#""zkcoord":{"hold":"h","token":7,"transition":3,"durationNanoseconds":1500000000}"#;
        let of = |transitions: i64, seconds: i64| {
            record(&format!(
                r#"{{"holderIdentity":"b","leaseDurationSeconds":{seconds},"leaseTransitions":{transitions},{ours}}}"#
            ))
        };
        assert_eq!(of(3, 2).hold, Some(HoldMember { id: "h".into(), by_name: false, token: Some(7) }));
        assert_eq!(of(3, 2).duration, Duration::from_millis(1500));
        assert_eq!(of(4, 2).hold, None, "another program has taken it, and kept what it does not know");
        assert_eq!(of(3, 9).duration, Duration::from_secs(9), "another program has made it longer");
        assert_eq!(record(&of(4, 2).to_json()).hold, None);
    }

    proptest! {
        #[test]
        fn any_record_comes_back(holder in ".*", seconds in 0..4_000_000_000_u64, transitions in 0..i64::MAX, other in ".*") {
            let member = serde_json::to_string(&other).unwrap();
            let json = format!(
                r#"{{"holderIdentity":{},"leaseDurationSeconds":{seconds},"leaseTransitions":{transitions},"x":{member}}}"#,
                serde_json::to_string(&holder).unwrap()
            );
            let read = record(&json);
            prop_assert_eq!(&read.holder, &holder);
            prop_assert_eq!(read.duration.as_secs(), seconds);
            prop_assert_eq!(record(&read.to_json()).to_json(), read.to_json());
            let ending = format!("\"x\":{member}}}");
            prop_assert!(read.to_json().ends_with(&ending));
        }

        #[test]
        fn any_duration_is_exact_and_never_too_short_for_those_who_know_seconds(nanoseconds in 1..u64::MAX / 2) {
            let claim = Claim { duration: Duration::from_nanos(nanoseconds), ..claim("a", true) };
            let json = steps::taken(None, &claim, WALL).to_json();
            prop_assert_eq!(record(&json).duration, claim.duration);
            let seconds: serde_json::Value = serde_json::from_str(&json).unwrap();
            prop_assert!(Duration::from_secs(seconds["leaseDurationSeconds"].as_u64().unwrap()) >= claim.duration);
            prop_assert!(whole_seconds(claim.duration) - claim.duration.as_secs() <= 1);
        }

        #[test]
        fn no_data_at_all_makes_it_panic(data in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = LockRecord::from_json("/a", &data);
        }
    }
}

mod who_has_it {
    use super::*;

    #[test]
    fn a_hold_is_one_hold_whatever_its_owners_name() {
        let (mine, other) = (claim("a", false), claim("a", false));
        let taken = steps::taken(None, &mine, WALL);
        assert_eq!(standing(None, &mine), Standing::Free);
        assert_eq!(standing(Some(&steps::released(&taken, WALL)), &mine), Standing::Free);
        assert_eq!(standing(Some(&taken), &mine), Standing::Taken);
        assert_eq!(standing(Some(&taken), &other), Standing::Held);
        assert_eq!(standing(Some(&taken), &claim("a", true)), Standing::Held);
        assert_eq!(standing(Some(&record(FOREIGN)), &claim("b", false)), Standing::Held);
    }

    #[test]
    fn by_name_an_owner_has_what_any_of_its_processes_took() {
        let taken = steps::taken(None, &claim("a", true), WALL);
        assert_eq!(standing(Some(&taken), &claim("a", true)), Standing::OwnByName);
        assert_eq!(standing(Some(&taken), &claim("a", false)), Standing::Held);
        assert_eq!(standing(Some(&taken), &claim("b", true)), Standing::Held);
        assert_eq!(standing(Some(&record(FOREIGN)), &claim("b", true)), Standing::OwnByName);
    }

    fn whose(claim: &Claim) -> Whose<'_> {
        Whose::Hold { claim, ends: Moment::now() }
    }

    #[test]
    fn whose_it_is_to_give_back() {
        let (mine, other) = (claim("a", false), claim("a", false));
        let taken = steps::taken(None, &mine, WALL);
        assert!(whose(&mine).is_it(&taken) && Whose::Owner("a").is_it(&taken) && Whose::Anybody.is_it(&taken));
        assert!(!whose(&other).is_it(&taken) && !Whose::Owner("b").is_it(&taken));
        let mut renamed = taken.clone();
        renamed.holder = "b".into();
        assert!(!whose(&mine).is_it(&renamed));
        let free = steps::released(&taken, WALL);
        assert!(!whose(&mine).is_it(&free) && !Whose::Owner("").is_it(&free) && !Whose::Anybody.is_it(&free));
    }

    #[test]
    fn the_token_is_that_of_the_taking_and_renewals_keep_it() {
        let taken = steps::taken(Some(&record(FOREIGN)), &claim("a", false), WALL);
        assert_eq!(taken.transitions, 5);
        assert_eq!(steps::token(&taken, 77), Some(77));
        let renewed = steps::renewed(&taken, taken.duration, Some(77), WALL);
        assert_eq!(steps::token(&record(&renewed.to_json()), 99), Some(77));
        assert_eq!(steps::token(&record(FOREIGN), 99), None);
    }

    #[test]
    fn who_is_written_by_hand_inherits_no_hold_and_the_holder_keeps_its_token() {
        let taken = steps::taken(None, &claim("a", true), WALL);
        let mut other = taken.clone();
        other.holder = "b".into();
        assert_eq!(steps::updated(other.clone(), &taken, 77).hold, None);
        let mut longer = taken.clone();
        longer.duration = Duration::from_secs(99);
        let longer = steps::updated(longer, &taken, 77);
        assert_eq!((steps::token(&longer, 99), longer.duration), (Some(77), Duration::from_secs(99)));
        other.hold = claimed("b");
        assert_eq!(steps::updated(other.clone(), &taken, 77).hold, other.hold, "what is said of b is kept");
        assert_eq!(steps::updated(taken.clone(), &record(FOREIGN), 77).hold, taken.hold);
    }

    fn claimed(owner: &str) -> Option<HoldMember> {
        steps::taken(None, &claim(owner, true), WALL).hold
    }

    #[test]
    fn a_foreign_holder_that_is_renewed_by_name_has_one_token_from_then_on() {
        let first = steps::named(record(FOREIGN), 77);
        let second = steps::named(steps::renewed(&first, first.duration, Some(77), WALL), 88);
        assert_eq!((steps::token(&first, 99), steps::token(&second, 99)), (Some(77), Some(77)));
        assert_eq!(standing(Some(&first), &claim("b", true)), Standing::OwnByName);
    }
}

mod when_it_is_over {
    use super::*;

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    /// A lease of 10 s, changed at 1000 s of the servers' clock, seen from 50 s of ours on.
    fn times(now: f64, stamp: Option<(f64, f64)>) -> Times {
        Times {
            duration: seconds(10.0),
            sight: Sight::of(None, 7, Moment(seconds(50.0))),
            modified: 1_000_000,
            renewed: Some(seconds(5000.0)),
            #[allow(clippy::cast_possible_truncation)]
            stamp: stamp.map(|(servers, at)| Stamp {
                milliseconds: (servers * 1000.0).round() as i64,
                at: Moment(seconds(at)),
            }),
            wall: seconds(5000.0),
            now: Moment(seconds(now)),
        }
    }

    #[test]
    fn a_version_counts_from_when_it_was_seen_first() {
        let first = Sight::of(None, 7, Moment(seconds(1.0)));
        assert_eq!(Sight::of(Some(first), 7, Moment(seconds(5.0))), first);
        assert_ne!(Sight::of(Some(first), 8, Moment(seconds(5.0))), first);
    }

    #[test]
    fn by_ones_own_clock_after_the_whole_duration() {
        let alone = Rule::Observed { max_clock_skew: None };
        assert_eq!(verdict(alone, &times(59.999, None)), Verdict::In(seconds(60.0) - seconds(59.999)));
        for rule in [alone, OBSERVED, Rule::RecordedTime] {
            assert_eq!(verdict(rule, &times(60.0, None)), Verdict::Over);
        }
    }

    #[test]
    fn by_the_servers_clock_with_the_margin() {
        assert_eq!(verdict(OBSERVED, &times(50.0, None)), Verdict::AskServers);
        assert_eq!(verdict(OBSERVED, &times(50.0, Some((1011.0, 50.0)))), Verdict::In(seconds(0.001)));
        assert_eq!(verdict(OBSERVED, &times(50.0, Some((1011.001, 50.0)))), Verdict::Over);
        assert_eq!(verdict(OBSERVED, &times(50.0, Some((1004.0, 50.0)))), Verdict::In(seconds(7.001)));
        assert_eq!(verdict(OBSERVED, &times(57.5, Some((1004.0, 50.0)))), Verdict::AskServers);
        let after_the_stamp = verdict(OBSERVED, &times(50.0, Some((999.0, 50.0))));
        assert_eq!(after_the_stamp, Verdict::In(seconds(10.0)), "one's own clock is first then");
    }

    #[test]
    fn by_the_recorded_time_where_somebody_wants_that() {
        let at = |wall: f64| Times { wall: seconds(wall), ..times(50.0, None) };
        assert_eq!(verdict(Rule::RecordedTime, &at(5010.001)), Verdict::Over);
        assert!(matches!(verdict(Rule::RecordedTime, &at(5009.0)), Verdict::In(_)));
        let no_time = Times { renewed: None, ..at(9000.0) };
        assert_eq!(verdict(Rule::RecordedTime, &no_time), Verdict::In(seconds(10.0)));
        for (text, known) in [("2026-01-02T03:04:05Z", true), ("2026-01-02T03:04:05.5Z", true), ("soon", false)] {
            let mut record = LockRecord::default();
            record.renewed = Some(text.into());
            assert_eq!(record.renewed_since_epoch().is_some(), known, "{text}");
        }
    }

    proptest! {
        /// The holder sends a renewal, the leader stamps it, the contender reads it: later and later. Whatever the clocks
        /// show and however long each takes, the lease is over for the contender only after it is for the holder.
        #[test]
        fn it_is_over_for_others_only_after_it_is_for_its_holder(
            duration in 1..20_000_u32, to_leader in 0..5000_u32, to_reader in 0..5000_u32, waited in 0..40_000_u32,
            stamped in prop::option::of((0..40_000_u32, -1000..=1000_i64)), own_clock in 0..1_000_000_u32,
        ) {
            // True milliseconds, from the moment before the renewal was sent.
            let (modified, seen) = (to_leader, to_leader + to_reader);
            let now = seen + waited;
            let own = |at: u32| Moment(Duration::from_millis(u64::from(own_clock + at)));
            // The stamp is made by a leader whose clock may differ by a second from that of the other.
            let stamp = stamped.filter(|(at, _)| modified + at <= now).map(|(at, differs)| Stamp {
                milliseconds: 1_000_000 + i64::from(modified + at) + differs,
                at: own(modified + at),
            });
            let times = Times {
                duration: Duration::from_millis(u64::from(duration)),
                sight: Sight::of(None, 7, own(seen)),
                modified: 1_000_000 + i64::from(modified),
                renewed: None,
                stamp,
                wall: Duration::ZERO,
                now: own(now),
            };
            match verdict(OBSERVED, &times) {
                Verdict::Over => prop_assert!(now >= duration),
                Verdict::In(left) => prop_assert!(!left.is_zero() && left <= times.duration),
                Verdict::AskServers => {}
            }
        }

        /// Nobody waits for ever: after what a verdict says, and a stamp where it asks for one, the lease is over.
        #[test]
        fn a_dead_holders_lease_is_over_in_the_end(duration in 1..20_000_u32, late in 0..60_000_u32) {
            let rule = OBSERVED;
            let (mut now, mut stamp, mut rounds) = (0_u64, None, 0);
            let at = |now: u64| Moment(Duration::from_millis(now));
            loop {
                let times = Times {
                    duration: Duration::from_millis(u64::from(duration)),
                    sight: Sight::of(None, 7, at(0)),
                    modified: 1_000_000,
                    renewed: None,
                    stamp,
                    wall: Duration::ZERO,
                    now: at(now),
                };
                match verdict(rule, &times) {
                    Verdict::Over => break,
                    Verdict::AskServers => {
                        let milliseconds = 1_000_000 + i64::try_from(u64::from(late) + now).unwrap();
                        stamp = Some(Stamp { milliseconds, at: at(now) });
                    }
                    Verdict::In(left) => now += u64::try_from(left.as_millis()).unwrap() + 1,
                }
                rounds += 1;
                prop_assert!(rounds < 10);
            }
            let needed = (u64::from(duration) + 1001).saturating_sub(u64::from(late)).min(u64::from(duration));
            prop_assert!(now <= needed + 10, "{} > {}", now, needed);
        }
    }
}

mod what_is_asked_for {
    use super::*;

    #[test]
    fn the_name_of_a_lease_is_in_lower_case_and_its_namespace_as_it_is() {
        assert_eq!(claim("a", false).path, "/chroot/leases/web");
        for (given, meant) in [("/Prod/Web", "/Prod/web"), ("/Web", "/web"), ("Web", "web"), ("/A/B/", "/A/b")] {
            assert_eq!(names::lower_cased(given), meant);
        }
        assert_eq!(names::queue("/a/b"), "/a/b-__wait__");
        assert!(names::is_queue("b-__wait__") && !names::is_queue("b"));
        for (path, said) in [("/leases/prod/web", "prod/web"), ("/web", "web"), ("/", "")] {
            assert_eq!(names::described(path), said);
        }
    }

    #[test]
    fn nobody_is_no_owner_and_no_time_is_no_duration() {
        let refused = |owner: &str, duration| {
            Claim::new(&settings(), "/a", owner.into(), false, duration, OBSERVED).unwrap_err().to_string()
        };
        assert!(refused("", Duration::from_secs(1)).contains("owner: is empty"));
        assert!(refused(&"x".repeat(70_000), Duration::from_secs(1)).contains("owner: must not be longer"));
        assert!(refused("a", Duration::ZERO).contains("lease_duration"));
        assert!(refused("a", Duration::MAX).contains("lease_duration"));
    }

    #[test]
    fn durations_are_checked_as_the_original_does() {
        let pace = |deadline: f64, period: f64| Pace {
            renew_deadline: Duration::from_secs_f64(deadline),
            retry_period: Duration::from_secs_f64(period),
            release_on_cancel: false,
        };
        let refused = |duration: f64, pace: Pace| {
            pace.check(Duration::from_secs_f64(duration)).map_err(|error| error.to_string()).err()
        };
        assert_eq!(refused(60.0, pace(10.0, 2.0)), None);
        assert!(refused(10.0, pace(10.0, 2.0)).unwrap().starts_with("lease_duration: is 10 s, and must be more than"));
        assert!(refused(60.0, pace(2.4, 2.0))
            .unwrap()
            .starts_with("renew_deadline: is 2.4 s, and must be more than 1.2"));
        assert!(refused(60.0, pace(10.0, 0.0)).unwrap().starts_with("retry_period"));
    }
}
