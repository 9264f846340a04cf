//! What this process has made in one session: znodes that it remembers, and ephemeral znodes that keep the session
//! open.
//!
//! The session knows nothing of what the znodes are. A recipe chooses the keys under which it remembers them.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// The znodes of one session that somebody in this process cares about.
#[derive(Debug, Default)]
pub(super) struct Owned {
    /// The names of znodes, in the order in which they were remembered, by the key that a recipe has chosen.
    remembered: HashMap<String, Vec<String>>,
    /// The paths of ephemeral znodes that somebody relies on. The servers remove them when the session ends.
    ephemerals: HashSet<String>,
    /// Those of them whose names nobody uses again.
    alone: HashSet<String>,
}

impl Owned {
    /// Remembers a znode under a key, once.
    pub(super) fn remember(&mut self, key: &str, name: &str) {
        let names = self.remembered.entry(key.to_owned()).or_default();
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }

    /// Forgets a znode that was remembered under a key.
    pub(super) fn forget(&mut self, key: &str, name: &str) {
        if let Some(names) = self.remembered.get_mut(key) {
            names.retain(|known| known != name);
            if names.is_empty() {
                self.remembered.remove(key);
            }
        }
    }

    /// The names remembered under a key.
    pub(super) fn remembered(&self, key: &str) -> Vec<String> {
        self.remembered.get(key).cloned().unwrap_or_default()
    }

    /// Notes an ephemeral znode that somebody relies on.
    pub(super) fn rely_on(&mut self, path: &str) {
        self.ephemerals.insert(path.to_owned());
    }

    /// The same, of a znode whose name nobody uses again.
    pub(super) fn rely_alone_on(&mut self, path: &str) {
        self.rely_on(path);
        self.alone.insert(path.to_owned());
    }

    /// Notes that nobody relies on an ephemeral znode any more.
    pub(super) fn rely_no_more_on(&mut self, path: &str) {
        self.ephemerals.remove(path);
        self.alone.remove(path);
    }

    /// The ephemeral znodes of the session that somebody relies on, in order.
    #[cfg(feature = "python")]
    pub(super) fn relied_on(&self) -> Vec<String> {
        let mut paths: Vec<_> = self.ephemerals.iter().cloned().collect();
        paths.sort_unstable();
        paths
    }

    /// Those whose names nobody uses again.
    pub(super) fn relied_on_alone(&self) -> Vec<String> {
        self.alone.iter().cloned().collect()
    }

    /// Whether somebody relies on an ephemeral znode of the session.
    pub(super) fn is_relied_on(&self) -> bool {
        !self.ephemerals.is_empty()
    }
}

/// What a session has deleted that an earlier one had left.
#[derive(Debug, Default)]
pub(super) struct Cleared {
    /// The id of that session, and what this process had made in it.
    pub(super) earlier: Option<(i64, Arc<Mutex<Owned>>)>,
    /// When each znode was deleted.
    pub(super) deleted: HashMap<String, Instant>,
}

#[cfg(test)]
mod tests {
    use super::Owned;

    #[test]
    fn what_is_remembered_comes_back_in_order_and_once() {
        let mut owned = Owned::default();
        for name in ["b", "a", "b"] {
            owned.remember("key", name);
        }
        assert_eq!(owned.remembered("key"), ["b", "a"]);
        owned.forget("key", "b");
        owned.forget("another", "a");
        assert_eq!(owned.remembered("key"), ["a"]);
        owned.forget("key", "a");
        assert!(owned.remembered.is_empty(), "a key without names takes no memory");
    }

    #[test]
    fn only_ephemerals_keep_a_session_open() {
        let mut owned = Owned::default();
        owned.remember("key", "a");
        assert!(!owned.is_relied_on());
        owned.rely_on("/a");
        owned.rely_on("/b");
        owned.rely_no_more_on("/a");
        assert!(owned.is_relied_on());
        owned.rely_no_more_on("/b");
        assert!(!owned.is_relied_on());
    }
}
