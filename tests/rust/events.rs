//! What has happened between two readings of a pool, and of a znode.

use std::collections::BTreeSet;

use zkcoord::recipe::semaphore::events::{events, Event};
use zkcoord::recipe::semaphore::{Holder, Reason, Status, Waiter};
use zkcoord::znode::follow::{changes, Change, Snapshot};
use zkcoord::znode::stat::Stat;

const EARLY: &str = "2026-11-26T12:00:00Z";
const LATE: &str = "2026-11-26T12:00:05Z";

fn pool(limit: Option<i64>) -> Status {
    Status {
        path: "/p".into(),
        exists: true,
        max_concurrency: limit,
        free: None,
        holders: Vec::new(),
        waiters: Vec::new(),
    }
}

fn holder(identifier: &str, token: i64, since: &str) -> Holder {
    Holder {
        identifier: identifier.into(),
        since: since.into(),
        age: 0.0,
        ephemeral: false,
        fencing_token: token,
        session: None,
        lease: format!("lease{token}"),
        why: Reason::default(),
    }
}

fn waiter(identifier: &str, position: usize, node: &str) -> Waiter {
    Waiter {
        identifier: identifier.into(),
        position,
        since: EARLY.into(),
        age: 0.0,
        session: Some("0x1".into()),
        orphan: false,
        queue_node: node.into(),
    }
}

fn taken(identifier: &str, token: i64) -> Event {
    let lease = format!("lease{token}");
    Event::Taken { identifier: identifier.into(), fencing_token: token, ephemeral: false, lease }
}

fn released(identifier: &str, token: i64) -> Event {
    let lease = format!("lease{token}");
    Event::Released { identifier: identifier.into(), fencing_token: token, ephemeral: false, lease }
}

#[test]
fn nothing_has_happened_to_a_pool_that_is_the_same() {
    let mut before = pool(Some(1));
    before.holders.push(holder("a", 1, EARLY));
    let mut after = before.clone();
    after.holders[0].age = 7.0;
    assert_eq!(events(&before, &after), []);
}

#[test]
fn a_pool_comes_with_its_limit_and_goes_without_one() {
    let missing = Status { exists: false, ..pool(None) };
    let made = [Event::PoolCreated, Event::LimitChanged { old: None, new: Some(2) }];
    assert_eq!(events(&missing, &pool(Some(2))), made);
    assert_eq!(events(&pool(Some(2)), &missing), [Event::PoolDeleted]);
    let lost = [Event::LimitChanged { old: Some(2), new: None }];
    assert_eq!(events(&pool(Some(2)), &pool(None)), lost);
}

#[test]
fn a_slot_that_passes_from_one_to_the_next_is_released_before_it_is_taken() {
    let (mut before, mut after) = (pool(Some(1)), pool(Some(1)));
    before.holders.push(holder("a", 1, EARLY));
    before.waiters.extend([waiter("b", 1, "n1"), waiter("c", 2, "n2")]);
    after.holders.push(holder("b", 2, LATE));
    after.waiters.push(waiter("c", 1, "n2"));
    let moved = Event::Moved { identifier: "c".into(), position: 1, from: 2, queue_node: "n2".into() };
    assert_eq!(events(&before, &after), [released("a", 1), taken("b", 2), moved]);
}

#[test]
fn a_contender_that_was_seen_twice_has_not_left_the_queue() {
    let (mut before, mut after) = (pool(Some(1)), pool(Some(1)));
    before.waiters.push(waiter("b", 1, "n1"));
    before.holders.push(holder("b", 2, LATE));
    after.holders.push(holder("b", 2, LATE));
    assert_eq!(events(&before, &after), []);
}

#[test]
fn a_contender_that_is_gone_without_a_slot_has_left() {
    let (mut before, after) = (pool(Some(1)), pool(Some(1)));
    before.waiters.push(waiter("b", 1, "n1"));
    assert_eq!(events(&before, &after), [Event::LeftQueue { identifier: "b".into(), queue_node: "n1".into() }]);
    let queued = Event::Queued { identifier: "b".into(), position: 1, queue_node: "n1".into() };
    assert_eq!(events(&after, &before), [queued]);
}

#[test]
fn a_lease_of_an_old_name_with_a_new_token_is_another() {
    let (mut before, mut after) = (pool(Some(1)), pool(Some(1)));
    before.holders.push(holder("a", 1, EARLY));
    after.holders.push(Holder { lease: "lease1".into(), ..holder("a", 9, LATE) });
    let Event::Taken { fencing_token: 9, .. } = &events(&before, &after)[1] else { panic!() };
}

fn snapshot(czxid: i64, mzxid: i64, children: &[&str]) -> Snapshot {
    let stat = Stat {
        kind: "persistent",
        created: EARLY.into(),
        modified: EARLY.into(),
        czxid,
        mzxid,
        pzxid: 0,
        version: 0,
        children_version: 0,
        acl_version: 0,
        session: None,
        bytes: 0,
        children: 0,
    };
    Snapshot { stat, children: children.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>() }
}

#[test]
fn a_znode_is_written_and_has_children_that_come_and_go() {
    let (old, new) = (snapshot(1, 1, &["a", "b"]), snapshot(1, 5, &["b", "c"]));
    let expected = [
        Change::Written { stat: new.stat.clone() },
        Change::ChildDeleted { child: "a".into() },
        Change::ChildCreated { child: "c".into() },
    ];
    assert_eq!(changes(Some(&old), Some(&new)), expected);
    assert_eq!(changes(Some(&old), Some(&old)), []);
    assert_eq!(changes(None, None), []);
}

#[test]
fn a_znode_that_was_made_anew_was_deleted_before() {
    let (old, new) = (snapshot(1, 1, &["a"]), snapshot(7, 7, &["a"]));
    let created = Change::Created { stat: new.stat.clone() };
    assert_eq!(
        changes(Some(&old), Some(&new)),
        [Change::Deleted, created.clone(), Change::ChildCreated { child: "a".into() }]
    );
    assert_eq!(changes(Some(&old), None), [Change::Deleted]);
}
