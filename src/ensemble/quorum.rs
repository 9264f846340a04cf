//! Which members are a quorum: a majority of the voters, or of the groups of voters with their weights. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::ensemble::configuration::Configuration;

/// Whether these members, if they are up and in sync, can elect a leader and commit what it proposes.
///
/// Without groups that is more than half of the voters. With groups it is more than half of those groups that weigh
/// anything, each with more than half of its weight; a voter weighs 1 unless it is said otherwise.
#[must_use]
pub fn is_quorum(configuration: &Configuration, members: &BTreeSet<i64>) -> bool {
    let voters: BTreeSet<i64> = configuration.voters().map(|voter| voter.id).collect();
    let present = members.intersection(&voters);
    if !configuration.is_hierarchical() {
        return present.count() > voters.len() / 2;
    }
    let weights = configuration.weights();
    let weight = |id: &i64| u64::from(weights.get(id).copied().unwrap_or_else(|| u32::from(voters.contains(id))));
    let group_of: BTreeMap<i64, i64> =
        configuration.groups().flat_map(|(group, members)| members.iter().map(move |id| (*id, group))).collect();
    let mut all: BTreeMap<i64, u64> = BTreeMap::new();
    for (id, group) in &group_of {
        *all.entry(*group).or_default() += weight(id);
    }
    let mut there: BTreeMap<i64, u64> = BTreeMap::new();
    for id in present {
        if let Some(group) = group_of.get(id) {
            *there.entry(*group).or_default() += weight(id);
        }
    }
    let counting = all.values().filter(|weight| **weight > 0).count();
    let won = there.iter().filter(|(group, weight)| **weight > all[group] / 2).count();
    won > counting / 2
}

/// The members of a quorum without which it would be none: each of them alone. One failure among them stops the ensemble.
#[must_use]
pub fn critical(configuration: &Configuration, members: &BTreeSet<i64>) -> BTreeSet<i64> {
    let is_needed = |id: &i64| {
        let others = members.iter().copied().filter(|other| other != id).collect();
        !is_quorum(configuration, &others)
    };
    members.iter().copied().filter(is_needed).collect()
}

/// Why a configuration is none that servers could run: no voter, a voter in no group or in two, or an id that is no
/// member.
#[must_use]
pub fn defect(configuration: &Configuration) -> Option<String> {
    if configuration.voters().next().is_none() {
        return Some("it has no participant, and nobody could lead it".to_owned());
    }
    let named = configuration.groups().flat_map(|(_, members)| members.iter().copied());
    let named: Vec<i64> = named.collect();
    let unknown =
        named.iter().chain(configuration.weights().keys()).find(|id| configuration.member(**id).is_none()).copied();
    if let Some(id) = unknown {
        return Some(format!("it gives {id} a group or a weight, and has no server.{id}"));
    }
    if !configuration.is_hierarchical() {
        return None;
    }
    let times = |id: i64| named.iter().filter(|other| **other == id).count();
    configuration.voters().find_map(|voter| match times(voter.id) {
        1 => None,
        0 => Some(format!("server.{} votes, and is in no group", voter.id)),
        _ => Some(format!("server.{} is in two groups", voter.id)),
    })
}
