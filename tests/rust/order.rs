use proptest::prelude::*;
use zkcoord::recipe::party::names::{member, Member};
use zkcoord::recipe::queue::names as queue_names;
use zkcoord::recipe::queue::order::{own_node, pause_between_tellings, standing, Standing, TELL_EVERY};
use zkcoord::recipe::semaphore::limit::has_room;
use zkcoord::recipe::semaphore::names as lease_names;

fn node(sequence: u32) -> String {
    format!("{}{sequence:010}", queue_names::node())
}

#[test]
fn a_queue_is_the_pools_sibling() {
    assert_eq!(queue_names::queue("/lock/web"), "/lock/web-__lock__");
}

#[test]
fn a_place_is_named_as_kazoo_names_it() {
    let name = queue_names::node();
    let hex = name.strip_suffix("__lock__").unwrap();
    assert_eq!(hex.len(), 32);
    assert!(hex.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)));
    assert_ne!(queue_names::node(), name);
}

#[test]
fn sequences_are_ten_digits_after_the_last_mark() {
    assert_eq!(queue_names::sequence("abc__lock__0000000012"), Some(12));
    assert_eq!(queue_names::sequence("a__lock__0000000001__lock__0000000002"), Some(2));
    assert_eq!(queue_names::sequence("abc__lock__-2147483648"), Some(-2_147_483_648), "the counter has overflowed");
    for no_node in
        ["abc", "abc__lock__", "abc__lock__12", "abc__lock__00000000012", "abc__rlock__0000000001", "__lock__é"]
    {
        assert_eq!(queue_names::sequence(no_node), None, "{no_node}");
    }
}

#[test]
fn a_counter_that_is_used_up_gives_no_order() {
    let numbered = |number: &str| queue_names::is_in_order(&format!("abc__lock__{number}"));
    assert!(numbered("0000000000") && numbered("2147483646"));
    assert!(!numbered("2147483647"), "3.8 gives it again and again");
    assert!(!numbered("-2147483648") && !numbered("-000000001"), "older servers go on below zero");
}

#[test]
fn who_is_not_in_the_queue_is_absent() {
    let queue = [node(1), node(2)];
    assert_eq!(standing(&queue, &node(3)), Standing::Absent);
    assert_eq!(standing(&[], &node(3)), Standing::Absent);
}

#[test]
fn children_that_are_no_nodes_do_not_count() {
    let mine = node(5);
    let queue = ["notes".to_owned(), mine.clone(), "aaa__rlock__0000000001".to_owned()];
    assert_eq!(standing(&queue, &mine), Standing::First);
}

#[test]
fn room_is_below_the_limit_and_never_below_none() {
    assert!(has_room(0, 1) && has_room(2, 3));
    assert!(!has_room(1, 1) && !has_room(4, 3) && !has_room(0, 0) && !has_room(0, -1));
}

#[test]
fn the_lease_names_tell_their_kind() {
    let owner = lease_names::persistent_owner("web1");
    assert_eq!(owner, "aeacadf085c85f03", "what is on disk never changes");
    assert!(lease_names::tells_identifier(&lease_names::lease(&owner)));
    assert!(!lease_names::tells_identifier(&lease_names::lease(&lease_names::ephemeral_owner("web1", 7))));
    assert!(!lease_names::tells_identifier(&uuid::Uuid::new_v4().simple().to_string()), "kazoo's have to be read");
    assert!(!lease_names::tells_identifier("a-foreign-child") && !lease_names::tells_identifier(""));
}

#[test]
fn both_kinds_of_members_are_known_and_nothing_else() {
    let hex = "0123456789abcdef0123456789abcdef";
    assert_eq!(member(&format!("{hex}__party__")), Some(Member::InData));
    assert_eq!(member(&format!("{hex}-web-1")), Some(Member::Named("web-1")));
    assert_eq!(member(&format!("{hex}-x__party__")), Some(Member::Named("x__party__")));
    for other in ["ready", hex, "web-1", &format!("{hex}__party__x"), "ééééééééééééééééééééé"] {
        assert_eq!(member(other), None, "{other}");
    }
}

proptest! {
    /// Every contender but the first watches the one right before it, whatever order a server lists
    /// them in: a chain, so that each release wakes one.
    #[test]
    fn the_queue_is_a_chain(mut sequences in prop::collection::btree_set(any::<i32>(), 1..20), seed in any::<u64>()) {
        let sorted: Vec<String> = std::mem::take(&mut sequences)
            .into_iter()
            .map(|sequence| format!("{}{sequence:010}", queue_names::node()))
            .filter(|name| queue_names::sequence(name).is_some())
            .collect();
        let mut listed = sorted.clone();
        listed.sort_by_key(|name| uuid::Uuid::new_v5(&uuid::Uuid::from_u64_pair(seed, 0), name.as_bytes()));
        for (index, name) in sorted.iter().enumerate() {
            let expected = match index {
                0 => Standing::First,
                _ => Standing::Behind { predecessor: &sorted[index - 1] },
            };
            prop_assert_eq!(standing(&listed, name), expected);
        }
    }

    #[test]
    fn names_do_not_order_the_queue(a in "[0-9a-f]{32}", b in "[0-9a-f]{32}", low in 0u32..1000, gap in 1u32..1000) {
        let (first, second) = (format!("{a}__lock__{low:010}"), format!("{b}__lock__{:010}", low + gap));
        let queue = [second.clone(), first.clone()];
        prop_assert_eq!(standing(&queue, &first), Standing::First);
        prop_assert_eq!(standing(&queue, &second), Standing::Behind { predecessor: &first });
    }

    #[test]
    fn of_two_own_queue_nodes_the_first_counts(low in 0u32..1000, gap in 1u32..1000) {
        let prefix = queue_names::node();
        let (first, second) = (format!("{prefix}{low:010}"), format!("{prefix}{:010}", low + gap));
        let queue = [node(1), second, first.clone(), node(2)];
        prop_assert_eq!(own_node(&queue, &prefix), Some(first.as_str()));
        prop_assert_eq!(own_node(&queue[..1], &prefix), None);
    }

    /// Every waiter reads the whole queue now and then. However long that is, a waiter reads on average no more than a
    /// hundred names a second, and one near the head has its position every second.
    #[test]
    fn positions_cost_a_waiter_the_same_in_a_queue_of_any_length(length in 1_usize..20_000) {
        let pauses = (1..=length).map(|position| pause_between_tellings(position, length));
        let names: f64 = pauses.map(|pause| length as f64 / pause.as_secs_f64()).sum();
        prop_assert!(names <= 151.0 * length as f64, "{} names a second and waiter", names / length as f64);
        prop_assert_eq!(pause_between_tellings(1, length), TELL_EVERY);
        prop_assert_eq!(pause_between_tellings(50, length), TELL_EVERY);
        prop_assert!(pause_between_tellings(length, 0) <= pause_between_tellings(length, length));
    }

    #[test]
    fn lease_names_are_kazoos_in_form_and_distinct(a in ".{0,20}", b in ".{0,20}", session in any::<i64>()) {
        let owners = [lease_names::persistent_owner(&a), lease_names::ephemeral_owner(&a, session)];
        for owner in &owners {
            let name = lease_names::lease(owner);
            prop_assert_eq!(name.len(), 32);
            prop_assert!(lease_names::is_of(&name, owner));
            prop_assert_ne!(&name, &lease_names::lease(owner), "no two leases have one name");
            prop_assert!(name.bytes().all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase()));
        }
        prop_assert_eq!(a == b, owners[0] == lease_names::persistent_owner(&b));
        prop_assert_eq!(a == b, owners[1] == lease_names::ephemeral_owner(&b, session));
        prop_assert_ne!(&owners[1], &lease_names::ephemeral_owner(&a, session.wrapping_add(1)));
    }

    #[test]
    fn any_name_is_looked_at(name in ".*") {
        let _ = (queue_names::sequence(&name), member(&name), lease_names::tells_identifier(&name));
    }
}
