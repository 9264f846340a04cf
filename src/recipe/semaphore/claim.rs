//! Who wants a slot of which pool, and on what terms. Pure.

use std::borrow::Cow;
use std::sync::OnceLock;

use zookeeper_client as zk;

use super::limit::Limit;
use super::names;
use super::reason::Reason;
use crate::acl;
use crate::connect::settings::Settings;
use crate::error::{Error, Result};

/// The most bytes of an identifier. A server hangs up on a request beyond 1 MiB, and does not say why.
const IDENTIFIER_LIMIT: usize = 64 * 1024;

/// What a claim does where its identifier has a lease in the pool already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terms {
    /// It is satisfied with a lease that lasts as long as the claimed one would.
    Shared,
    /// It takes an ephemeral lease of its own beside the others. The slot is the identifier's until the last of its
    /// leases is gone.
    Own,
    /// As [`Terms::Own`], but the lease is persistent, and stays when its process dies. The identifier's next claim on
    /// these terms replaces it, unless its process still lives.
    Kept,
}

/// Who wants a slot of which pool.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The pool's full path.
    pub pool: String,
    /// The identifier that is to hold the slot.
    pub identifier: String,
    /// The most leases the pool may hold, at least 1. `None`: whatever the pool stores.
    pub limit: Option<u32>,
    /// Whether the lease ends with the session.
    pub ephemeral: bool,
    /// What it does with other leases of the identifier.
    pub terms: Terms,
    /// The ACL of the znodes that are created; empty for everything to everybody.
    pub acl: acl::List,
    /// Why the slot is to be held, which is kept beside the lease.
    pub reason: Option<Reason>,
    persistent_owner: String,
    /// Only asked for where the pool has leases.
    kept_owner: OnceLock<String>,
}

impl Claim {
    /// A claim on the pool at the caller's `path`, below the chroot of `settings`, as `lock` makes it.
    ///
    /// # Errors
    /// [`Error::Argument`]: a bad path, or an identifier too long for a request.
    pub fn new(
        settings: &Settings,
        path: &str,
        identifier: String,
        limit: Option<u32>,
        ephemeral: bool,
    ) -> Result<Self> {
        let pool = settings.path(path)?;
        if identifier.len() > IDENTIFIER_LIMIT {
            return Err(Error::argument("identifier", format!("must not be longer than {IDENTIFIER_LIMIT} bytes")));
        }
        let (persistent_owner, kept_owner) = (names::persistent_owner(&identifier), OnceLock::new());
        let (terms, acl) = (Terms::Shared, settings.acl.clone());
        Ok(Self { pool, identifier, limit, ephemeral, terms, acl, reason: None, persistent_owner, kept_owner })
    }

    /// The same claim on other terms: [`Terms::Own`], or [`Terms::Kept`] for a persistent lease.
    #[must_use]
    pub fn of_its_own(self) -> Self {
        let terms = if self.ephemeral { Terms::Own } else { Terms::Kept };
        Self { terms, ..self }
    }

    /// The same claim, with a reason that is kept beside the lease.
    #[must_use]
    pub fn because(self, reason: Option<Reason>) -> Self {
        Self { reason, ..self }
    }

    /// The data of the pool, where the claim makes it.
    ///
    /// # Errors
    /// [`Error::Argument`]: the claim obeys the number of the pool, and the pool stores none.
    pub(super) fn limit_to_store(&self) -> Result<String> {
        self.limit.map(Limit::encode).ok_or_else(|| {
            let reason =
                format!("{} stores no number that could be obeyed: give one, or call set_max first", self.pool);
            Error::argument("max_concurrency", reason)
        })
    }

    pub(super) fn acls(&self) -> zk::Acls<'_> {
        self.acl.of_new_znode()
    }

    pub(super) fn lease_options(&self) -> zk::CreateOptions<'_> {
        let mode = if self.ephemeral { zk::CreateMode::Ephemeral } else { zk::CreateMode::Persistent };
        mode.with_acls(self.acls())
    }

    /// How the name of the claimed lease begins, in a session.
    pub(super) fn owner(&self, session: i64) -> Cow<'_, str> {
        match self.terms {
            _ if self.ephemeral => self.ephemeral_owner(session).into(),
            Terms::Kept => self.kept_owner().into(),
            Terms::Shared | Terms::Own => self.persistent_owner().into(),
        }
    }

    /// The key under which a session remembers the leases that `lock` takes for this claim.
    pub(super) fn key(&self, session: i64) -> String {
        self.key_of(&self.owner(session))
    }

    /// The same, for leases of the claim's identifier whose names begin with `owner`.
    pub(super) fn key_of(&self, owner: &str) -> String {
        self.path(owner)
    }

    /// The path of a lease in the claim's pool.
    pub(super) fn path(&self, lease: &str) -> String {
        format!("{}/{lease}", self.pool)
    }

    /// How the names of the identifier's ephemeral leases begin, in a session.
    pub(super) fn ephemeral_owner(&self, session: i64) -> String {
        names::ephemeral_owner(&self.identifier, session)
    }

    /// How the names of the identifier's persistent leases begin that `lock` takes.
    pub(super) fn persistent_owner(&self) -> &str {
        &self.persistent_owner
    }

    /// How the names of the identifier's persistent leases begin that a hold has taken.
    pub(super) fn kept_owner(&self) -> &str {
        self.kept_owner.get_or_init(|| names::kept_owner(&self.identifier))
    }
}
