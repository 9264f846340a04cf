//! What is granted now. Pure: requests in their order, grants and policy go in, decisions come out.

use std::collections::{BTreeMap, BTreeSet};

use super::document::{Grant, Grants, Request};
use super::policy::Policy;
use super::window::seconds;

/// What a decision makes of the grants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The grants as they are to be written.
    pub grants: Grants,
    /// Which of the requests are granted now, in the order of the queue.
    pub granted: Vec<usize>,
    /// Grants that are over because their request is gone, by unit.
    pub over: Vec<(String, Grant)>,
}

impl Plan {
    /// Whether there is anything to write.
    #[must_use]
    pub fn is_change(&self) -> bool {
        !self.granted.is_empty() || !self.over.is_empty()
    }
}

/// What is granted now. `requests` are in the order of their czxids, without those that are about to be given back.
/// `by`: in whose name. `members`: how many are in the party that the policy counts. `is_open`: whether a window of the
/// policy is open.
///
/// Requests are looked at in their order, and each is granted that the policy lets in beside those that are granted by
/// then. So the first come first as far as the policy allows, and after that nobody is left who could be granted.
#[must_use]
pub fn decide(policy: &Policy, requests: &[Request], grants: &Grants, by: &str, members: usize, is_open: bool) -> Plan {
    let there: BTreeMap<&str, &Request> = requests.iter().map(|request| (request.unit.as_str(), request)).collect();
    let is_valid = |unit: &str, grant: &Grant| there.get(unit).is_some_and(|request| request.czxid == grant.request);
    let (valid, over): (BTreeMap<_, _>, BTreeMap<_, _>) =
        grants.0.clone().into_iter().partition(|(unit, grant)| is_valid(unit, grant));
    let mut plan = Plan { grants: Grants(valid), granted: Vec::new(), over: over.into_iter().collect() };
    if !is_open || policy.custom.is_some() {
        return plan;
    }
    let mut count = Count::of(requests.iter().filter(|request| plan.grants.0.contains_key(&request.unit)), policy);
    let limit = policy.limit(members);
    for (index, request) in requests.iter().enumerate() {
        if limit.is_some_and(|limit| count.all >= limit) {
            break;
        }
        if !plan.grants.0.contains_key(&request.unit) && count.admits(request, policy) {
            count.add(request, policy);
            plan.granted.push(index);
            plan.grants.0.insert(request.unit.clone(), grant(request, by, None));
        }
    }
    plan
}

/// A grant that is about to be written.
#[must_use]
pub fn grant(request: &Request, by: &str, reason: Option<&str>) -> Grant {
    let (by, reason) = (Some(by.to_owned()), reason.map(str::to_owned));
    Grant { request: request.czxid, granted: None, token: None, by, reason }
}

/// How many are granted, all together and for each value of the labels that count.
#[derive(Debug, Default)]
struct Count {
    all: usize,
    by_label: BTreeMap<(String, String), u32>,
}

impl Count {
    fn of<'a>(granted: impl Iterator<Item = &'a Request>, policy: &Policy) -> Self {
        let mut count = Self::default();
        granted.for_each(|request| count.add(request, policy));
        count
    }

    fn add(&mut self, request: &Request, policy: &Policy) {
        self.all += 1;
        for label in policy.per.keys() {
            if let Some(value) = request.asked.labels.get(label) {
                *self.by_label.entry((label.clone(), value.clone())).or_default() += 1;
            }
        }
    }

    /// Whether one more of these labels is within the policy. A request without a label that counts never is.
    fn admits(&self, request: &Request, policy: &Policy) -> bool {
        policy.per.iter().all(|(label, most)| {
            let value = request.asked.labels.get(label);
            value.is_some_and(|value| self.by_label.get(&(label.clone(), value.clone())).unwrap_or(&0) < most)
        })
    }
}

/// Which of the requests may be dropped at this time of the servers: those whose unit has not been seen for so long as
/// it has said itself.
#[must_use]
pub fn expired(requests: &[Request], now: i64) -> BTreeSet<i64> {
    let is_over = |request: &&Request| {
        let unseen = seconds(now.saturating_sub(request.seen).max(0));
        request.asked.expires.is_some_and(|most| unseen > most)
    };
    requests.iter().filter(is_over).map(|request| request.czxid).collect()
}

/// Why a request can never be granted as things are, if so.
#[must_use]
pub fn hopeless(policy: &Policy, request: &Request, members: usize) -> Option<String> {
    if let Some(label) = policy.per.keys().find(|label| !request.asked.labels.contains_key(*label)) {
        return Some(format!("it has no label {label:?}, by which the policy counts"));
    }
    if policy.limit(members) == Some(0) {
        let party = policy.party().unwrap_or_default();
        return Some(format!("the party {party} has no members, of whom the policy takes a percentage"));
    }
    None
}
