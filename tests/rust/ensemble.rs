//! The quorums of an ensemble, and the decision over a step: pure.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;
use zkcoord::ensemble::configuration::{Configuration, Line, Member};
use zkcoord::ensemble::decision::{decide, steps, to_ask, Change, Mode, Seen, Standing, Step};
use zkcoord::ensemble::quorum::{critical, defect, is_quorum};
use zkcoord::error::Refusal;

/// Voters 1..=n, and observers after them, each on a host of its own.
fn ensemble(voters: i64, observers: i64) -> Configuration {
    let line = |id: i64| {
        let role = if id <= voters { "participant" } else { "observer" };
        Member::parse(&format!("server.{id}=h{id}:2888:3888:{role};2181")).unwrap()
    };
    Configuration { version: 7, ..Configuration::of((1..=voters + observers).map(line)) }
}

fn grouped(groups: &[&[i64]], weights: &[(i64, u32)]) -> Configuration {
    let voters = groups.iter().flat_map(|group| group.iter()).copied().max().unwrap_or(0);
    let mut found = ensemble(voters, 0);
    found.lines.extend((0..).zip(groups).map(|(id, members)| Line::Group(id, members.to_vec())));
    found.lines.extend(weights.iter().map(|(id, weight)| Line::Weight(*id, *weight)));
    found
}

fn set(ids: &[i64]) -> BTreeSet<i64> {
    ids.iter().copied().collect()
}

#[test]
fn a_quorum_is_more_than_half_of_the_voters() {
    assert!(is_quorum(&ensemble(3, 2), &set(&[1, 2])));
    assert!(!is_quorum(&ensemble(3, 2), &set(&[1, 4, 5])), "observers do not vote");
    assert!(!is_quorum(&ensemble(4, 0), &set(&[1, 2])));
    assert!(!is_quorum(&Configuration::default(), &set(&[])));
    assert_eq!(critical(&ensemble(3, 0), &set(&[1, 2])), set(&[1, 2]));
    assert_eq!(critical(&ensemble(3, 1), &set(&[1, 2, 3, 4])), set(&[]));
}

#[test]
fn with_groups_it_is_more_than_half_of_the_groups_that_weigh_anything() {
    let three = grouped(&[&[1, 2, 3], &[4, 5, 6], &[7, 8, 9]], &[]);
    assert!(is_quorum(&three, &set(&[1, 2, 4, 5])));
    assert!(!is_quorum(&three, &set(&[1, 2, 3, 4, 7])), "five of nine, and of one group only a majority");
    let weighed = grouped(&[&[1, 2, 3], &[4, 5], &[6]], &[(1, 5), (6, 0)]);
    assert!(!is_quorum(&weighed, &set(&[1, 2, 3])), "one of two groups that count");
    assert!(is_quorum(&weighed, &set(&[1, 4, 5])));
    assert!(!is_quorum(&weighed, &set(&[2, 3, 4, 5])), "server 1 weighs more than the rest of its group");
}

#[test]
fn what_servers_could_not_run_has_a_reason() {
    assert_eq!(defect(&ensemble(3, 1)), None);
    assert!(defect(&ensemble(0, 2)).unwrap().contains("no participant"));
    assert!(defect(&grouped(&[&[1], &[3]], &[])).unwrap().contains("server.2 votes, and is in no group"));
    assert!(defect(&grouped(&[&[1, 2], &[2]], &[])).unwrap().contains("server.2 is in two groups"));
    assert!(defect(&grouped(&[&[1]], &[(9, 1)])).unwrap().contains("server.9"));
}

fn synced(configuration: Configuration) -> Seen {
    let leads = |id| if id == 1 { Mode::Leader } else { Mode::Follower };
    let members = configuration.members().map(|member| (member.id, Standing::Synced(leads(member.id)))).collect();
    Seen { configuration, members, ..Seen::default() }
}

fn join(text: &str) -> Step {
    Step::Join(Member::parse(text).unwrap())
}

fn ready(mut seen: Seen, id: i64) -> Seen {
    seen.joining.insert(id, Standing::Synced(Mode::Follower));
    seen
}

fn refusal(seen: &Seen, step: &Step) -> (Refusal, String) {
    decide(seen, step).expect_err("it is refused")
}

const FOURTH: &str = "server.4=h4:2888:3888:participant;2181";

#[test]
fn a_server_joins_that_follows_already_and_for_the_version_that_was_seen() {
    let seen = ready(synced(ensemble(3, 0)), 4);
    assert_eq!(to_ask(&seen.configuration, &join(FOURTH)).len(), 1);
    let plan = decide(&seen, &join(FOURTH)).unwrap().unwrap();
    assert_eq!((plan.from, plan.change), (7, Change::Incremental(vec![FOURTH.to_owned()], vec![])));
    assert_eq!(plan.target, ensemble(4, 0));
    assert_eq!(decide(&synced(ensemble(3, 0)), &join("server.2=h2:2888:3888;2181")).unwrap(), None, "it is there");
    assert_eq!(decide(&synced(ensemble(3, 0)), &Step::Leave(9)).unwrap(), None, "it is gone");
}

#[test]
fn a_server_that_is_not_ready_does_not_join() {
    for (standing, what) in [
        (Standing::Silent("refused the connection".to_owned()), "refused the connection"),
        (Standing::Syncing, "not currently serving"),
        (Standing::Alone, "stands alone"),
        (Standing::Synced(Mode::Leader), "leads an ensemble of its own"),
    ] {
        let mut seen = synced(ensemble(3, 0));
        seen.joining.insert(4, standing);
        let (kind, reason) = refusal(&seen, &join(FOURTH));
        assert_eq!(kind, Refusal::NotReady);
        assert!(reason.contains("server.4") && reason.contains(what), "{reason}");
    }
    assert_eq!(refusal(&synced(ensemble(3, 0)), &join(FOURTH)).0, Refusal::NotReady, "nobody has asked it");
}

#[test]
fn a_server_of_another_ensemble_does_not_join() {
    let mut seen = ready(synced(ensemble(3, 0)), 4);
    seen.guests = Some(0);
    let (kind, reason) = refusal(&seen, &join(FOURTH));
    assert_eq!(kind, Refusal::NotReady);
    assert!(reason.contains("server.4") && reason.contains("another ensemble"), "{reason}");
    seen.guests = Some(1);
    assert!(decide(&seen, &join(FOURTH)).unwrap().is_some());
    assert!(decide(&seen, &Step::Leave(2)).unwrap().is_some(), "it is only about those that join");
}

#[test]
fn no_id_and_no_address_is_taken_twice() {
    for line in [
        "server.3=other:2888:3888;2181",
        "server.4=h3:2888:9999;2182",
        "server.4=h4:3888:4888|h2:1:3888;2181",
        "server.4=H3:1:2;2181",
    ] {
        let (kind, reason) = refusal(&ready(synced(ensemble(3, 0)), 4), &join(line));
        assert_eq!(kind, Refusal::Unsafe, "{line}");
        assert!(reason.contains("taken"), "{reason}");
    }
}

#[test]
fn a_step_that_loses_the_quorum_is_refused() {
    let mut seen = synced(ensemble(3, 0));
    seen.members.insert(2, Standing::Silent("refused the connection".to_owned()));
    let (kind, reason) = refusal(&seen, &Step::Leave(3));
    assert_eq!(kind, Refusal::NoQuorum);
    assert!(reason.contains("server.2 refused the connection"), "{reason}");
    assert!(decide(&seen, &Step::Leave(2)).unwrap().is_some(), "the dead one may go");
    seen.members.insert(3, Standing::Silent("refused the connection".to_owned()));
    assert!(refusal(&seen, &Step::Leave(3)).1.contains("no quorum of the members is in sync now"));
}

#[test]
fn the_last_participant_stays() {
    assert_eq!(refusal(&synced(ensemble(1, 2)), &Step::Leave(1)).0, Refusal::Unsafe);
    assert_eq!(refusal(&synced(ensemble(1, 2)), &Step::Whole(ensemble(0, 3))).0, Refusal::Unsafe);
    assert_eq!(refusal(&Seen::default(), &join(FOURTH)).0, Refusal::Unsafe, "a server that stands alone");
}

#[test]
fn no_second_step_before_the_first_is_in_sync() {
    let mut seen = ready(synced(ensemble(4, 0)), 5);
    seen.members.insert(4, Standing::Syncing);
    let fifth = join("server.5=h5:2888:3888;2181");
    assert_eq!(refusal(&seen, &fifth).0, Refusal::Syncing);
    assert_eq!(refusal(&seen, &Step::Leave(2)).0, Refusal::Syncing);
    assert!(decide(&seen, &Step::Leave(4)).unwrap().is_some(), "the one that does not get in step may go");
}

#[test]
fn an_observer_that_is_to_vote_counts_for_no_quorum_before_it_follows() {
    let mut seen = synced(ensemble(3, 1));
    seen.members.insert(4, Standing::Synced(Mode::Observer));
    let vote = join("server.4=h4:2888:3888:participant;2181");
    assert!(decide(&seen, &vote).unwrap().is_some(), "three of four vote");
    seen.members.insert(3, Standing::Silent("refused the connection".to_owned()));
    let (kind, reason) = refusal(&seen, &vote);
    assert_eq!(kind, Refusal::NoQuorum);
    assert!(reason.contains("server.4 observes still"), "{reason}");
    let mut seen = synced(ensemble(4, 0));
    seen.members.insert(4, Standing::Synced(Mode::Observer));
    seen.members.insert(3, Standing::Silent("refused the connection".to_owned()));
    assert_eq!(seen.synced(), set(&[1, 2]), "promoted, and not there yet");
    assert_eq!(refusal(&seen, &Step::Leave(3)).0, Refusal::NoQuorum);
    let mut seen = synced(ensemble(3, 0));
    seen.joining.insert(4, Standing::Synced(Mode::Observer));
    assert!(decide(&seen, &join(FOURTH)).unwrap().is_some());
    seen.members.insert(3, Standing::Silent("refused the connection".to_owned()));
    assert_eq!(refusal(&seen, &join(FOURTH)).0, Refusal::NoQuorum, "who observes its new ensemble does not vote yet");
}

#[test]
fn a_member_that_is_named_by_its_line_goes_only_while_its_id_is_its_own() {
    let seen = synced(ensemble(4, 0));
    let named = |text| Step::LeaveOnly(Member::parse(text).unwrap());
    let plan = decide(&seen, &named(FOURTH)).unwrap().unwrap();
    assert_eq!(plan.change, Change::Incremental(vec![], vec!["4".to_owned()]));
    let (kind, reason) = refusal(&seen, &named("server.4=gone:2888:3888;2181"));
    assert_eq!(kind, Refusal::Unsafe);
    assert!(reason.contains("is no member: id 4 is server.4=h4:2888:3888"), "{reason}");
    assert_eq!(decide(&seen, &named("server.9=h9:2888:3888;2181")).unwrap(), None, "it is gone");
}

#[test]
fn whoever_votes_comes_before_whoever_votes_no_more_and_the_leader_is_last_among_each() {
    let parse = |line: &str| Member::parse(line).unwrap();
    let wanted = [
        parse("server.1=h1:2888:3888:observer;2181"),
        parse("server.2=h2:2888:3888:observer;2181"),
        parse("server.3=h3:2888:3888:participant;2181"),
        parse("server.4=h4:2888:3888:participant;2181"),
        parse("server.5=h5:2888:3888:participant;2181"),
    ];
    let join = |number: usize| Step::Join(wanted[number].clone());
    assert_eq!(steps(&ensemble(3, 1), &wanted, Some(1)), [join(3), join(4), join(1), join(0)]);
    let moved = [parse("server.1=x1:2888:3888;2181"), parse("server.2=x2:2888:3888;2181")];
    let first = steps(&ensemble(2, 0), &moved, Some(1));
    assert_eq!(first, [Step::Leave(2), Step::Join(moved[1].clone()), Step::Leave(1), Step::Join(moved[0].clone())]);
}

#[test]
fn groups_are_changed_whole() {
    let seen = ready(synced(grouped(&[&[1, 2], &[3, 4], &[5]], &[(5, 2)])), 6);
    assert_eq!(refusal(&seen, &join("server.6=h6:2888:3888;2181")).0, Refusal::Unsafe);
    let plan = decide(&seen, &Step::Leave(5)).unwrap().unwrap();
    let Change::Whole(lines) = plan.change else { panic!("not whole") };
    assert!(lines.contains(&"group.1=3:4".to_owned()) && !lines.iter().any(|line| line.contains('5')), "{lines:?}");
}

#[test]
fn exactly_these_members_are_reached_by_adding_before_removing_and_the_leader_goes_last() {
    let now = ensemble(3, 1);
    let wanted: Vec<Member> = [
        "server.2=h2:2888:3888:participant;2181",
        "server.4=h4:2888:3888:participant;2181",
        "server.5=h5:2888:3888:participant;2181",
        "server.3=elsewhere:2888:3888:participant;2181",
    ]
    .into_iter()
    .map(|line| Member::parse(line).unwrap())
    .collect();
    let all = steps(&now, &wanted, Some(1));
    assert_eq!(
        all,
        [
            Step::Join(wanted[1].clone()),
            Step::Join(wanted[2].clone()),
            Step::Leave(3),
            Step::Join(wanted[3].clone()),
            Step::Leave(1),
        ]
    );
    let members: Vec<_> = now.members().cloned().collect();
    assert_eq!(steps(&now, &members, None), []);
}

/// What a set of servers can do, by counting in another way than the code does.
mod brute {
    use super::*;

    /// Whether twice what is there is more than all, in each of more than half of the groups.
    pub(super) fn is_quorum(configuration: &Configuration, up: &BTreeSet<i64>) -> bool {
        let voters: Vec<i64> = configuration.voters().map(|voter| voter.id).collect();
        let weights = configuration.weights();
        let groups: Vec<Vec<i64>> = if configuration.is_hierarchical() {
            configuration.groups().map(|(_, members)| members.to_vec()).collect()
        } else {
            vec![voters.clone()]
        };
        let grouped = configuration.is_hierarchical();
        let mut counting = 0_i64;
        let mut won = 0_i64;
        for group in groups {
            let of = |id: &i64| i64::from(if grouped { weights.get(id).copied().unwrap_or(1) } else { 1 });
            let all: i64 = group.iter().map(of).sum();
            let there: i64 = group.iter().filter(|id| up.contains(id) && voters.contains(id)).map(of).sum();
            counting += i64::from(all > 0);
            won += i64::from(all > 0 && 2 * there > all);
        }
        counting > 0 && 2 * won > counting
    }
}

fn standing() -> impl Strategy<Value = Standing> {
    prop_oneof![
        4 => Just(Standing::Synced(Mode::Follower)),
        1 => Just(Standing::Synced(Mode::Observer)),
        2 => Just(Standing::Silent("is down".to_owned())),
        1 => Just(Standing::Syncing),
    ]
}

/// A small ensemble, perhaps with groups and weights, who is up, and a step.
fn situation() -> impl Strategy<Value = (Configuration, Vec<Standing>, Step, Standing)> {
    let (groups, weights) = (any::<bool>(), vec(0_u32..4, 7));
    (1..5_i64, 0..3_i64, groups, weights, vec(standing(), 8), 0..9_i64, 0..3_u8, standing()).prop_map(
        |(voters, observers, has_groups, weights, up, id, kind, is_ready)| {
            let mut now = ensemble(voters, observers);
            if has_groups {
                let (first, second): (Vec<i64>, Vec<i64>) = (1..=voters).partition(|id| id % 2 == 0);
                let groups = [first, second].into_iter().filter(|members| !members.is_empty());
                now.lines.extend((1..).zip(groups).map(|(id, members)| Line::Group(id, members)));
                now.lines.extend((1..=voters).zip(weights).map(|(id, weight)| Line::Weight(id, weight)));
            }
            let step = match kind {
                0 => Step::Leave(id),
                1 => join(&format!("server.{id}=h{id}:2888:3888:participant;2181")),
                _ => Step::Whole(now.without(id).with(Member::parse("server.8=h8:2888:3888;2181").unwrap())),
            };
            (now, up, step, is_ready)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn quorums_are_those_that_one_counts_by_hand((now, up, _, _) in situation()) {
        let all: Vec<i64> = now.members().map(|member| member.id).collect();
        let mut quorums = Vec::new();
        for bits in 0..(1_u32 << all.len()) {
            let members: BTreeSet<i64> =
                all.iter().enumerate().filter(|(bit, _)| bits & (1 << bit) != 0).map(|(_, id)| *id).collect();
            prop_assert_eq!(is_quorum(&now, &members), brute::is_quorum(&now, &members), "{:?}", members);
            if is_quorum(&now, &members) {
                quorums.push(members);
            }
        }
        for one in &quorums {
            for other in &quorums {
                prop_assert!(one.intersection(other).next().is_some(), "{:?} and {:?} could both decide", one, other);
            }
        }
        let there: BTreeSet<i64> = all.iter().zip(&up).filter(|(_, up)| up.is_synced()).map(|(id, _)| *id).collect();
        if is_quorum(&now, &there) {
            for id in &there {
                let mut without = there.clone();
                without.remove(id);
                prop_assert_eq!(critical(&now, &there).contains(id), !brute::is_quorum(&now, &without));
            }
        }
    }

    #[test]
    fn a_step_is_taken_only_if_the_ensemble_goes_on_with_those_that_are_up((now, up, step, is_ready) in situation()) {
        let of = |id: i64| &up[usize::try_from(id).unwrap()];
        let members: BTreeMap<i64, Standing> =
            now.members().map(|member| (member.id, of(member.id).clone())).collect();
        let joining: BTreeMap<i64, Standing> =
            to_ask(&now, &step).iter().map(|member| (member.id, is_ready.clone())).collect();
        // The leader counts followers, and no observers.
        let follows = |standing: &Standing| *standing == Standing::Synced(Mode::Follower);
        let there: BTreeSet<i64> = now.voters().map(|voter| voter.id).filter(|id| follows(of(*id))).collect();
        let seen = Seen { configuration: now.clone(), members, joining, guests: None };
        let after = |target: &Configuration| -> BTreeSet<i64> {
            let is_new = |id: i64| now.member(id).is_none();
            let voters = target.voters().map(|voter| voter.id);
            voters.filter(|id| follows(if is_new(*id) { &is_ready } else { of(*id) })).collect()
        };
        let catches_up = |target: &Configuration| {
            now.members().any(|it| target.member(it.id).is_some() && *of(it.id) == Standing::Syncing)
        };
        match decide(&seen, &step) {
            Ok(None) => {}
            Ok(Some(plan)) => {
                prop_assert!(brute::is_quorum(&now, &there), "it could not be committed");
                prop_assert!(brute::is_quorum(&plan.target, &after(&plan.target)), "it would stop");
                prop_assert!(plan.target.voters().next().is_some());
                prop_assert_eq!(plan.from, now.version);
                for member in plan.target.members() {
                    prop_assert!(now.member(member.id).is_some() || is_ready.is_synced(), "{member} is not up");
                }
                prop_assert!(!catches_up(&plan.target), "the step before is not finished");
            }
            // Nothing is refused that would go well.
            Err((Refusal::NoQuorum, _)) => {
                let target = match &step {
                    Step::Leave(id) | Step::LeaveOnly(Member { id, .. }) => now.without(*id),
                    Step::Join(member) => now.with(member.clone()),
                    Step::Whole(target) => target.clone(),
                };
                prop_assert!(!brute::is_quorum(&now, &there) || !brute::is_quorum(&target, &after(&target)));
            }
            Err((Refusal::NotReady, _)) => prop_assert!(!is_ready.is_synced()),
            Err((Refusal::Syncing, _)) => prop_assert!(now.members().any(|it| *of(it.id) == Standing::Syncing)),
            Err((Refusal::Unsafe, reason)) => {
                let is_explained = ["no participant", "in groups", "in no group", "taken"].iter().any(|it| reason.contains(it));
                prop_assert!(is_explained, "{}", reason);
            }
            Err((other, reason)) => prop_assert!(false, "{:?}: {}", other, reason),
        }
    }
}
