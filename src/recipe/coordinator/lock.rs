//! A coordinator and its locks: which znodes are theirs.

use super::names;
use crate::acl;
use crate::connect::settings::Settings;
use crate::error::Result;

/// One coordinator: a key below a root.
#[derive(Clone, Debug)]
pub struct Home {
    /// Its full path, `<root>/<key>` below the chroot.
    pub path: String,
    /// The chroot, below which the parties of policies are.
    chroot: String,
    acl: acl::List,
}

impl Home {
    /// The coordinator `key` below the caller's `root`.
    ///
    /// # Errors
    /// [`crate::Error::Argument`].
    pub fn new(settings: &Settings, root: &str, key: &str) -> Result<Self> {
        let path = format!("{}/{}", settings.path(root)?, names::encode("key", key)?);
        Ok(Self { path, chroot: settings.chroot.clone(), acl: settings.acl.clone() })
    }

    /// Where the requests of all locks are.
    #[must_use]
    pub fn requests(&self) -> String {
        format!("{}/requests", self.path)
    }

    /// The znode that is written to learn the servers' time.
    pub(super) fn clock(&self) -> String {
        format!("{}/clock", self.path)
    }

    /// One of its locks.
    ///
    /// # Errors
    /// [`crate::Error::Argument`].
    pub fn lock(&self, name: &str) -> Result<Lock> {
        let encoded = names::encode("lock", name)?;
        let (requests, grants) = (format!("{}/{encoded}", self.requests()), format!("{}/grants/{encoded}", self.path));
        Ok(Lock { home: self.clone(), name: name.to_owned(), requests, grants })
    }
}

/// A lock of a coordinator.
#[derive(Clone, Debug)]
pub struct Lock {
    /// The coordinator.
    pub home: Home,
    /// What it is called.
    pub name: String,
    /// The full path of the znode with the policy, below which the requests are.
    pub requests: String,
    /// The full path of the znode with the grants.
    pub grants: String,
}

impl Lock {
    /// The path of a unit's request.
    ///
    /// # Errors
    /// [`crate::Error::Argument`].
    pub fn request(&self, unit: &str) -> Result<String> {
        Ok(format!("{}/{}", self.requests, names::encode("unit", unit)?))
    }

    /// The full path of a party that a policy names.
    pub(super) fn party(&self, path: &str) -> String {
        format!("{}{path}", self.home.chroot)
    }

    /// The ACL of the znodes that are created; empty for everything to everybody.
    pub(super) fn acl(&self) -> &acl::List {
        &self.home.acl
    }
}
