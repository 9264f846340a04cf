//! What a coordinator grants: never above the limit, in the order of the queue, and everybody who can be.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use serde_json::{json, Value};
use zkcoord::recipe::coordinator::decide::{decide, expired, grant, hopeless, Plan};
use zkcoord::recipe::coordinator::document::{check_decision, labels, Asked, Grant, Grants, Request};
use zkcoord::recipe::coordinator::names;
use zkcoord::recipe::coordinator::policy::Policy;
use zkcoord::recipe::coordinator::window::Window;

fn policy(value: Value) -> Policy {
    Policy::parse(&value).unwrap_or_else(|error| panic!("{value}: {error}"))
}

fn request(unit: &str, czxid: i64, labels: &[(&str, &str)]) -> Request {
    let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let asked = Asked { labels, ..Asked::default() };
    Request {
        unit: unit.to_owned(),
        znode: unit.to_owned(),
        czxid,
        since: 0,
        seen: 0,
        asked,
        data: Vec::new(),
        version: 0,
    }
}

fn granted(requests: &[Request], plan: &Plan) -> Vec<String> {
    plan.granted.iter().map(|index| requests[*index].unit.clone()).collect()
}

fn held(requests: &[Request], units: &[&str]) -> Grants {
    let of = |unit: &str| requests.iter().find(|request| request.unit == unit).unwrap();
    Grants(units.iter().map(|unit| ((*unit).to_owned(), grant(of(unit), "test", None))).collect())
}

fn queue() -> Vec<Request> {
    vec![
        request("web1", 10, &[("rack", "r1")]),
        request("web2", 11, &[("rack", "r1")]),
        request("web3", 12, &[("rack", "r2")]),
        request("web4", 13, &[]),
    ]
}

#[test]
fn serial_grants_to_the_first_and_then_to_nobody() {
    let requests = queue();
    let plan = decide(&Policy::serial(), &requests, &Grants::default(), "web9", 0, true);
    assert_eq!(granted(&requests, &plan), ["web1"]);
    assert_eq!(plan.grants.0["web1"].request, 10);
    assert_eq!(plan.grants.0["web1"].by.as_deref(), Some("web9"));
    let again = decide(&Policy::serial(), &requests, &plan.grants, "web9", 0, true);
    assert!(!again.is_change(), "{again:?}");
}

#[test]
fn a_grant_counts_only_for_the_very_request_that_was_granted() {
    let mut requests = queue();
    let grants = held(&requests, &["web1"]);
    requests.remove(0);
    requests.push(request("web1", 20, &[("rack", "r1")]));
    let plan = decide(&Policy::serial(), &requests, &grants, "test", 0, true);
    assert_eq!(plan.over.iter().map(|(unit, _)| unit.as_str()).collect::<Vec<_>>(), ["web1"]);
    assert_eq!(granted(&requests, &plan), ["web2"], "who asks again is at the end of the queue");
}

#[test]
fn a_rack_that_is_full_holds_up_nobody_else() {
    let requests = queue();
    let per_rack = policy(json!({"per": "rack"}));
    let plan = decide(&per_rack, &requests, &Grants::default(), "test", 0, true);
    assert_eq!(granted(&requests, &plan), ["web1", "web3"]);
    assert!(hopeless(&per_rack, &requests[3], 0).unwrap().contains("\"rack\""));
    assert_eq!(hopeless(&per_rack, &requests[0], 0), None);
}

#[test]
fn parts_of_a_policy_hold_together() {
    let requests = queue();
    let both = policy(json!({"max": 1, "per": {"rack": 1}}));
    let plan = decide(&both, &requests, &held(&requests, &["web3"]), "test", 0, true);
    assert_eq!(granted(&requests, &plan), [""; 0]);
    let plan = decide(&both, &requests, &Grants::default(), "test", 0, false);
    assert!(!plan.is_change(), "no window is open");
}

#[test]
fn a_percentage_is_rounded_down_but_not_to_nobody() {
    let quarter = policy(json!({"max": "25%", "party": "/web"}));
    let limits: Vec<_> = [0, 1, 3, 4, 7, 8, 1000].map(|members| quarter.limit(members)).to_vec();
    assert_eq!(limits, [Some(0), Some(1), Some(1), Some(1), Some(1), Some(2), Some(250)]);
    assert!(hopeless(&quarter, &queue()[0], 0).unwrap().contains("/web has no members"));
    assert_eq!(hopeless(&quarter, &queue()[0], 1), None);
}

#[test]
fn grants_of_an_operator_count_like_others() {
    let requests = queue();
    let grants = held(&requests, &["web1", "web2"]);
    let plan = decide(&policy(json!({"max": 2})), &requests, &grants, "test", 0, true);
    assert!(!plan.is_change());
}

#[test]
fn what_a_program_decides_is_not_decided_here() {
    let requests = queue();
    let plan = decide(&policy(json!({"custom": "Mine"})), &requests, &Grants::default(), "test", 0, true);
    assert!(!plan.is_change());
}

#[test]
fn policies_have_one_form_and_one_text() {
    for (given, stored, text) in [
        (json!("serial"), json!({"max": 1}), "serial"),
        (json!({"max": "3"}), json!({"max": 3}), "max 3"),
        (json!({"max": "25%", "party": "web/"}), json!({"max": "25%", "party": "/web"}), "max 25% of /web"),
        (json!({"per": "rack"}), json!({"per": {"rack": 1}}), "per rack 1"),
        (json!("{\"max\": 2}"), json!({"max": 2}), "max 2"),
        (
            json!({"window": {"days": ["sunday", "SAT"], "from": "2:00", "to": "04:30", "zone": "Europe/Berlin"}}),
            json!({"window": [{"days": ["sat", "sun"], "from": "02:00", "to": "04:30", "zone": "Europe/Berlin"}]}),
            "window sat,sun 02:00-04:30 Europe/Berlin",
        ),
        (
            json!({"window": [{"from": "22:00", "to": "24:00"}], "max": 2, "per": {"rack": 1, "zone": 2}}),
            json!({"max": 2, "per": {"rack": 1, "zone": 2}, "window": [{"from": "22:00", "to": "00:00", "zone": "UTC"}]}),
            "max 2 and per rack 1 and per zone 2 and window 22:00-00:00 UTC",
        ),
    ] {
        let parsed = policy(given);
        assert_eq!(parsed.to_json(), stored);
        assert_eq!(parsed.to_string(), text);
        assert_eq!(policy(parsed.to_json()), parsed, "it reads what it writes");
    }
}

#[test]
fn a_policy_that_means_nothing_is_refused_and_says_why() {
    for (given, why) in [
        (json!("seriall"), "must be serial"),
        (json!({}), "says nothing"),
        (json!({"max": 0}), "at least 1"),
        (json!({"max": true}), "whole number"),
        (json!({"max": "0%", "party": "/web"}), "between 1% and 100%"),
        (json!({"max": "25%"}), "needs the party"),
        (json!({"max": 2, "party": "/web"}), "for a percentage only"),
        (json!({"maximum": 2}), "\"maximum\" is not known"),
        (json!({"per": {}}), "must name a label"),
        (json!({"per": {"rack": 0}}), "per rack"),
        (json!({"window": []}), "1 to 16"),
        (json!({"window": {"from": "2", "to": "3"}}), "\"from\""),
        (json!({"window": {"from": "02:00", "to": "25:00"}}), "\"to\""),
        (json!({"window": {"from": "02:00", "to": "03:00", "zone": "Berlin"}}), "no time zone"),
        (json!({"window": {"from": "02:00", "to": "03:00", "days": ["someday"]}}), "mon, tue"),
        (json!({"window": {"from": "02:00", "to": "03:00", "hours": 1}}), "\"hours\" is not known"),
        (json!({"custom": "Mine", "max": 1}), "goes with nothing else"),
        (json!(7), "must be serial"),
    ] {
        let error = Policy::parse(&given).expect_err("it is refused").to_string();
        assert!(error.starts_with("policy: ") && error.contains(why), "{given}: {error}");
    }
}

#[test]
fn a_label_that_counts_is_asked_for() {
    let per_rack = policy(json!({"per": "rack"}));
    let error = per_rack.check_labels(&BTreeMap::new()).unwrap_err().to_string();
    assert_eq!(error, "labels: the policy is per rack 1, so that the request needs \"rack\"");
    per_rack.check_labels(&labels(&json!({"rack": 7})).unwrap()).unwrap();
    assert!(labels(&json!({"rack": ["r1"]})).is_err() && labels(&json!("rack")).is_err());
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn window(value: Value) -> Window {
    Window::parse(&value).unwrap()
}

#[test]
fn a_window_is_open_in_its_own_time_zone() {
    let night = window(json!({"days": ["sat"], "from": "02:00", "to": "04:00", "zone": "Europe/Berlin"}));
    assert!(night.is_open(at("2026-11-28T01:00:00Z")), "two o'clock in Berlin");
    assert!(night.is_open(at("2026-07-04T00:00:00Z")), "in summer it is two hours");
    assert!(!night.is_open(at("2026-11-28T03:00:00Z")), "its end is not in it");
    assert!(!night.is_open(at("2026-11-27T01:30:00Z")), "a Friday");
}

#[test]
fn a_window_past_midnight_belongs_to_the_day_on_which_it_begins() {
    let night = window(json!({"days": ["fri"], "from": "22:00", "to": "02:00"}));
    for (time, open) in [
        ("2026-11-27T21:59:59Z", false),
        ("2026-11-27T22:00:00Z", true),
        ("2026-11-28T01:59:59Z", true),
        ("2026-11-28T02:00:00Z", false),
        ("2026-11-27T01:00:00Z", false),
        ("2026-11-28T22:00:00Z", false),
    ] {
        assert_eq!(night.is_open(at(time)), open, "{time}");
    }
    assert_eq!(night.next_opening(at("2026-11-28T00:00:00Z")), Some(at("2026-12-04T22:00:00Z")));
    assert_eq!(night.next_opening(at("2026-11-27T21:00:00Z")), Some(at("2026-11-27T22:00:00Z")));
}

#[test]
fn clocks_that_change_move_a_window_and_lose_none() {
    // At two o'clock Berlin's clocks go to three.
    for (from, to, opens, closes) in [
        ("02:15", "02:45", "2026-03-29T01:15:00Z", "2026-03-29T01:45:00Z"),
        ("02:00", "03:00", "2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z"),
        ("02:00", "04:00", "2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z"),
        ("02:30", "03:10", "2026-03-29T01:30:00Z", "2026-03-29T02:10:00Z"),
        ("23:00", "02:30", "2026-03-28T22:00:00Z", "2026-03-29T01:30:00Z"),
    ] {
        let lost = window(json!({"from": from, "to": to, "zone": "Europe/Berlin"}));
        let (opens, closes) = (at(opens), at(closes));
        assert_eq!(lost.next_opening(at("2026-03-28T12:00:00Z")).unwrap(), opens, "{lost}");
        let second = std::time::Duration::from_secs(1);
        let seen = [opens - second, opens, closes - second, closes].map(|time| lost.is_open(time));
        assert_eq!(seen, [false, true, true, false], "{lost}");
    }
    // At three they go back to two: the hour is there twice, and so is the window.
    let twice = window(json!({"from": "02:00", "to": "03:00", "zone": "Europe/Berlin"}));
    assert!(twice.is_open(at("2026-10-25T00:30:00Z")) && twice.is_open(at("2026-10-25T01:30:00Z")));
}

#[test]
fn only_who_has_said_so_expires_and_only_when_it_is_not_seen() {
    let mut requests = queue();
    requests[0].asked.expires = Some(60.0);
    requests[1].asked.expires = Some(60.0);
    requests[1].seen = 50_000;
    assert_eq!(expired(&requests, 60_000), BTreeSet::new());
    assert_eq!(expired(&requests, 60_001), BTreeSet::from([10]));
    assert_eq!(expired(&requests, i64::MIN), BTreeSet::new(), "a clock that was set back drops nobody");
}

#[test]
fn what_is_written_is_read_again_and_the_newest_write_dates_its_grants() {
    use zkcoord::recipe::coordinator::document::Grants as Document;
    let requests = queue();
    let mut grants: Document = held(&requests, &["web1"]);
    grants.complete(1_700_000_000_000, 77);
    assert_eq!((grants.0["web1"].granted, grants.0["web1"].token), (Some(1_700_000_000_000), Some(77)));
    grants.complete(1_800_000_000_000, 99);
    assert_eq!(grants.0["web1"].token, Some(77), "it is put down once");
    let asked = Asked { reason: Some("kernel".to_owned()), expires: Some(1.5), ..requests[0].asked.clone() };
    assert_eq!(Asked::decode(&asked.encode()), asked);
    assert_eq!(Asked::decode(b"\xff made by hand"), Asked::default());
}

#[test]
fn a_document_of_grants_that_is_full_takes_no_more() {
    let long = |number: i64| request(&format!("{number:0250}"), number, &[]);
    let requests: Vec<_> = (1..4000).map(long).collect();
    let mut plan = decide(&policy(json!({"max": 9999})), &requests, &Grants::default(), "test", 0, true);
    let (mut grants, mut rounds) = (Grants::default(), 0);
    while !plan.granted.is_empty() {
        plan.fit(&requests, 100);
        grants = plan.grants;
        grants.complete(1_700_000_000_000, i64::MAX);
        plan = decide(&policy(json!({"max": 9999})), &requests, &grants, "test", 0, true);
        rounds += 1;
        assert!(rounds < 100);
        plan.fit(&requests, 100);
    }
    let bytes = serde_json::to_vec(&grants.0).unwrap().len();
    assert!(plan.is_cut && (500_000..720_000).contains(&bytes), "{bytes}");
}

#[test]
fn what_is_too_long_is_refused() {
    assert!(check_decision(&"x".repeat(512), Some(&"x".repeat(1024))).is_ok());
    assert!(check_decision(&"x".repeat(513), None).is_err() && check_decision("x", Some(&"x".repeat(1025))).is_err());
    let long = |bytes| Asked { reason: Some("x".repeat(bytes)), ..Asked::default() };
    assert!(long(1024).check().is_ok() && long(1025).check().is_err());
    let expires = |seconds| Asked { expires: Some(seconds), ..Asked::default() }.check();
    assert!(expires(1.0).is_ok() && expires(0.5).is_err() && expires(f64::NAN).is_err());
    let many = (0..17).map(|number| (number.to_string(), String::new())).collect();
    assert!(Asked { labels: many, ..Asked::default() }.check().is_err());
    assert!(names::encode("unit", &"x".repeat(256)).is_err() && names::encode("unit", "").is_err());
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let max = prop_oneof![
        Just(json!({})),
        (1u32..5).prop_map(|number| json!({"max": number})),
        (1u32..=100).prop_map(|percent| json!({"max": format!("{percent}%"), "party": "/p"})),
    ];
    let per = prop_oneof![
        Just(json!({})),
        Just(json!({"window": {"days": ["sat"], "from": "02:00", "to": "04:00"}})),
        (1u32..3).prop_map(|number| json!({"per": {"rack": number}})),
        (1u32..3, 1u32..3).prop_map(|(rack, zone)| json!({"per": {"rack": rack, "zone": zone}})),
    ];
    (max, per).prop_map(|(mut max, per)| {
        max.as_object_mut().unwrap().extend(per.as_object().unwrap().clone());
        if max.as_object().unwrap().is_empty() {
            Policy::serial()
        } else {
            policy(max)
        }
    })
}

/// Requests in their order, and the grants of some of them, and of others that are gone.
fn any_state() -> impl Strategy<Value = (Vec<Request>, Grants)> {
    let labels = (prop::option::of(0u8..3), prop::option::of(0u8..2));
    (vec((labels, any::<bool>(), 1i64..4), 0..9), btree_map("gone[0-3]", 1i64..50, 0..3)).prop_map(|(asked, gone)| {
        let mut grants: BTreeMap<String, Grant> =
            gone.into_iter().map(|(unit, czxid)| (unit, grant(&request("x", czxid, &[]), "test", None))).collect();
        let mut czxid = 100;
        let mut requests = Vec::new();
        for (index, ((rack, zone), is_held, gap)) in asked.into_iter().enumerate() {
            czxid += gap;
            let mut own = request(&format!("u{index}"), czxid, &[]);
            own.asked.labels.extend(rack.map(|rack| ("rack".to_owned(), rack.to_string())));
            own.asked.labels.extend(zone.map(|zone| ("zone".to_owned(), zone.to_string())));
            if is_held {
                grants.insert(own.unit.clone(), grant(&own, "test", None));
            }
            requests.push(own);
        }
        (requests, Grants(grants))
    })
}

/// Whether one more grant is within the policy beside those that `held` are: written down anew, and not as it is in the
/// decision.
fn is_within(policy: &Policy, held: &[&Request], more: &Request, members: usize) -> bool {
    let limit = policy.limit(members).is_none_or(|limit| held.len() < limit);
    limit
        && policy.per.iter().all(|(label, most)| match more.asked.labels.get(label) {
            None => false,
            Some(value) => {
                let alike = held.iter().filter(|other| other.asked.labels.get(label) == Some(value));
                alike.count() < *most as usize
            }
        })
}

proptest! {
    #[test]
    fn grants_are_within_the_policy_in_order_and_as_many_as_can_be(
        policy in any_policy(), (requests, grants) in any_state(), members in 0usize..20, is_open in any::<bool>(),
    ) {
        let plan = decide(&policy, &requests, &grants, "test", members, is_open);
        let is_held = |request: &&Request| grants.0.get(&request.unit).is_some_and(|it| it.request == request.czxid);
        let mut held: Vec<_> = requests.iter().filter(is_held).collect();
        for (index, request) in requests.iter().enumerate() {
            if is_held(&request) {
                prop_assert_eq!(&plan.grants.0[&request.unit], &grants.0[&request.unit], "a grant stays as it is");
                continue;
            }
            let could = is_open && is_within(&policy, &held, request, members);
            // Never beyond the policy; nobody who can be granted is passed over, whoever is behind it; everybody is.
            prop_assert_eq!(plan.granted.contains(&index), could, "{} of {:?}", request.unit, plan);
            if could {
                held.push(request);
                prop_assert_eq!(plan.grants.0[&request.unit].request, request.czxid);
            }
        }
        for request in requests.iter().filter(|request| !plan.grants.0.contains_key(&request.unit)) {
            prop_assert!(!is_open || !is_within(&policy, &held, request, members), "{} could be granted still", request.unit);
        }
        prop_assert_eq!(plan.grants.0.len(), held.len());
    }

    #[test]
    fn what_one_transaction_does_not_carry_is_left_to_the_next_and_all_are_granted_in_order(
        sizes in vec(0usize..70_000, 1..40),
    ) {
        let mut requests: Vec<_> = sizes.iter().zip(1..).map(|(size, czxid)| {
            Request { data: vec![b'x'; *size], ..request(&format!("u{czxid}"), czxid, &[]) }
        }).collect();
        let (mut grants, mut turns) = (Grants::default(), Vec::new());
        loop {
            let mut plan = decide(&policy(json!({"max": 1000})), &requests, &grants, "test", 0, true);
            plan.fit(&requests, 100);
            let carried: usize = plan.granted.iter().map(|index| requests[*index].data.len()).sum();
            prop_assert!(carried <= 192 * 1024, "{}", carried);
            prop_assert_eq!(plan.grants.0.len(), grants.0.len() + plan.granted.len());
            turns.extend(granted(&requests, &plan));
            grants = plan.grants.clone();
            if !plan.is_cut {
                break;
            }
            prop_assert!(!plan.granted.is_empty(), "each time somebody is granted");
        }
        requests.retain(|request| hopeless(&Policy::serial(), request, 0).is_none());
        prop_assert_eq!(turns, requests.into_iter().map(|request| request.unit).collect::<Vec<_>>());
    }

    #[test]
    fn to_decide_again_changes_nothing(policy in any_policy(), (requests, grants) in any_state(), members in 0usize..20) {
        let plan = decide(&policy, &requests, &grants, "one", members, true);
        let again = decide(&policy, &requests, &plan.grants, "other", members, true);
        prop_assert!(!again.is_change(), "{:?} then {:?}", plan, again);
        prop_assert_eq!(again.grants, plan.grants);
    }

    #[test]
    fn everybody_has_a_turn_under_serial_and_in_order(units in btree_set("[a-z]{1,4}", 1..9), seed in any::<u64>()) {
        let mut units: Vec<_> = units.into_iter().collect();
        units.sort_by_key(|unit| uuid::Uuid::new_v5(&uuid::Uuid::from_u64_pair(seed, 0), unit.as_bytes()));
        let mut requests: Vec<_> = units.iter().zip(1..).map(|(unit, czxid)| request(unit, czxid, &[])).collect();
        let (mut grants, mut turns) = (Grants::default(), Vec::new());
        while !requests.is_empty() {
            let plan = decide(&Policy::serial(), &requests, &grants, "test", 0, true);
            turns.extend(granted(&requests, &plan));
            prop_assert_eq!(plan.grants.0.len(), 1);
            requests.retain(|request| !plan.grants.0.contains_key(&request.unit));
            grants = plan.grants;
        }
        prop_assert_eq!(turns, units);
    }

    #[test]
    fn every_name_is_one_znode_and_comes_back(name in "\\PC{1,40}|[./%]{1,5}|.{1,40}", other in ".{1,40}") {
        let encoded = names::encode("unit", &name).unwrap();
        prop_assert_eq!(names::decode(&encoded), name.clone());
        let path = zkcoord::path::normalise(&format!("/r/{encoded}")).unwrap();
        prop_assert_eq!(path, format!("/r/{encoded}"), "one znode, and valid");
        prop_assert_eq!(name == other, encoded == names::encode("unit", &other).unwrap());
    }

    #[test]
    fn any_data_is_read_or_refused(data in vec(any::<u8>(), 0..60), text in ".*") {
        use zkcoord::recipe::coordinator::policy::Policy;
        let _ = (Asked::decode(&data), Policy::decode("/p", &data), names::decode(&text));
        let _ = Policy::parse(&Value::String(text));
    }

    #[test]
    fn a_window_that_opens_is_open_then_and_was_not_before(
        days in btree_set(0usize..7, 1..7), from in 0i32..96, to in 0i32..96, near in -90_000i64..90_000,
        change in prop::sample::select(vec![1_774_746_000i64, 1_792_890_000, 1_772_953_200, 1_793_512_800, 1_800_000_000]),
        zone in prop::sample::select(vec!["Europe/Berlin", "America/New_York"]),
    ) {
        prop_assume!(from != to);
        let seconds = change + near;
        let time = |quarters: i32| format!("{:02}:{:02}", quarters / 4, quarters % 4 * 15);
        let names = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
        let days: Vec<_> = days.into_iter().map(|day| names[day]).collect();
        let given = json!({"days": days, "from": time(from), "to": time(to), "zone": zone});
        let (window, now) = (window(given), Timestamp::from_second(seconds).unwrap());
        let opening = window.next_opening(now).expect("within nine days");
        prop_assert!(opening > now);
        prop_assert!(window.is_open(opening), "{} {}", window, opening);
    }
}
