//! What is granted now. Pure: requests in their order, grants and policy go in, decisions come out.

use std::collections::{BTreeMap, BTreeSet};

use super::document::{Grant, Grants, Request};
use super::policy::Policy;
use super::window::seconds;

/// Bytes of the data of a request that is granted. What `Asked::check` lets through is less.
const LONGEST_DATA: usize = 64 * 1024;
/// Bytes of the requests that one transaction writes, and of a lock's grants. With the policy's check and what leaves the
/// queue they are within the 1 MiB that servers take.
const MOST_CARRIED: usize = 192 * 1024;
const MOST_GRANTS: usize = 700 * 1024;
/// Bytes of a write in a transaction beside path and data; and what a grant grows by when the next write dates it.
const FRAME: usize = 32;
const DATED: usize = 64;

/// What a decision makes of the grants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The grants as they are to be written.
    pub grants: Grants,
    /// Which of the requests are granted now, in the order of the queue.
    pub granted: Vec<usize>,
    /// Grants that are over because their request is gone, by unit.
    pub over: Vec<(String, Grant)>,
    /// Whether some are left to the next decision, because one transaction does not carry all.
    pub is_cut: bool,
}

impl Plan {
    /// Whether there is anything to write.
    #[must_use]
    pub fn is_change(&self) -> bool {
        !self.granted.is_empty() || !self.over.is_empty()
    }

    /// Leaves to the next decision what one transaction does not carry, from the end of the queue. `parent`: bytes of the
    /// path below which the requests are.
    pub fn fit(&mut self, requests: &[Request], parent: usize) {
        let size = |unit: &str, grant: &Grant| serde_json::to_vec(&(unit, grant)).map_or(0, |text| text.len()) + DATED;
        let mut stored: usize = self.grants.0.iter().map(|(unit, grant)| size(unit, grant)).sum();
        let of = |index: &usize| requests.get(*index).map_or(0, |it| parent + it.znode.len() + it.data.len() + FRAME);
        let mut carried: usize = self.granted.iter().map(of).sum();
        while stored > MOST_GRANTS || carried > MOST_CARRIED {
            let Some(last) = self.granted.pop() else { return };
            self.is_cut = true;
            carried -= of(&last);
            let unit = requests.get(last).map_or("", |request| &request.unit);
            stored -= self.grants.0.remove(unit).map_or(0, |grant| size(unit, &grant));
        }
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
    let mut plan = Plan { grants: Grants(valid), over: over.into_iter().collect(), ..Plan::default() };
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
        let is_short = request.data.len() <= LONGEST_DATA;
        is_short
            && policy.per.iter().all(|(label, most)| {
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
    if request.data.len() > LONGEST_DATA {
        return Some(format!(
            "its data has {} bytes, and more than {LONGEST_DATA} are never granted",
            request.data.len()
        ));
    }
    if policy.limit(members) == Some(0) {
        let party = policy.party().unwrap_or_default();
        return Some(format!("the party {party} has no members, of whom the policy takes a percentage"));
    }
    None
}
