//! The one error of this crate.

use std::time::Duration;

/// Znodes that one message names.
const MOST_NAMED: usize = 10;

/// The result of everything here that can fail.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a call gave no answer. One line for the person who reads it, and no secret in it.
///
/// "No" is not an error: a wait that runs out of time says so in its result.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An argument or a setting was refused; nothing was sent.
    #[error("{argument}: {reason}")]
    Argument {
        /// The argument's name, as the caller wrote it.
        argument: &'static str,
        /// What was wrong, and what is right.
        reason: String,
    },
    /// The pool stores another limit than the one asked for; nothing was changed.
    #[error(
        "{path} is a pool of max_concurrency {stored}, but {wanted} was asked for: \
         ask for {stored}, or change the number stored in {path}"
    )]
    LimitMismatch {
        /// The pool.
        path: String,
        /// The number in the pool's data.
        stored: i64,
        /// The number the caller gave.
        wanted: u32,
    },
    /// The lock has another policy than the one asked for; nothing was changed.
    #[error(
        "the lock {path} has the policy {stored}, but {wanted} was asked for: \
         ask for {stored}, or change the policy of the lock{remains}"
    )]
    PolicyMismatch {
        /// The znode with the policy.
        path: String,
        /// The policy of the lock.
        stored: String,
        /// The policy that the caller gave.
        wanted: String,
        /// What is there all the same; empty where the caller has no request.
        remains: String,
    },
    /// Somebody uses a pool that was to be removed; nothing was changed.
    #[error("{path} is in use: {reason}; nothing was removed")]
    InUse {
        /// The pool.
        path: String,
        /// Who uses it.
        reason: String,
    },
    /// The ACL of a znode forbids what was needed.
    #[error(
        "not permitted to {} {path} as {user}: {} gives no {action} permission; \
         give other credentials or change the ACL",
        verb(action),
        whose(action)
    )]
    NoAuth {
        /// The permission that was missing: `read`, `write`, `create`, `delete`, `admin`.
        action: &'static str,
        /// The znode.
        path: String,
        /// `scheme:user`, or `anonymous`.
        user: String,
    },
    /// The ensemble refused the credentials.
    #[error("{hosts} refused {user}, on the way to {path}: {reason}")]
    AuthFailed {
        /// The connect string.
        hosts: String,
        /// The znode that was asked for.
        path: String,
        /// `scheme:user`, or `anonymous`.
        user: String,
        /// What to check.
        reason: &'static str,
    },
    /// There is no Kerberos ticket to show to any server, and waiting will not change that.
    #[error("{hosts} cannot be asked for {path}: no Kerberos ticket for {reason}")]
    NoTicket {
        /// The connect string.
        hosts: String,
        /// The znode that was asked for.
        path: String,
        /// What Kerberos says of each server, and what to do.
        reason: String,
    },
    /// No server can be used, and waiting will not change that: its certificate, ours, or TLS to a port without.
    #[error("no server can be used: {reason}")]
    Tls {
        /// What is wrong with each server.
        reason: String,
    },
    /// No server answered in time.
    #[error("no ZooKeeper server answered within {:.1} s, tried {hosts}: {advice}", .waited.as_secs_f64())]
    Unreachable {
        /// The connect string.
        hosts: String,
        /// How long it was tried.
        waited: Duration,
        /// Where the hosts come from; what is known against some servers, or what to check.
        advice: String,
    },
    /// The connection was lost and the outcome could not be learned in time.
    #[error("lost the connection to {hosts} over {path}: {consequence}")]
    ConnectionLost {
        /// The connect string.
        hosts: String,
        /// The znode in question.
        path: String,
        /// What the caller may, and may not, rely on.
        consequence: &'static str,
    },
    /// This process has no descriptor, no thread or no memory left for a call.
    #[error("cannot {action}: {reason}")]
    Resources {
        /// What it was needed for.
        action: &'static str,
        /// The operating system's word for it, and what to do.
        reason: String,
    },
    /// Somebody in this process has closed its file descriptors.
    #[error(
        "the file descriptors of this process were closed, and with them its connections to the servers. {}. \
         The next call opens new ones",
        remaining(left)
    )]
    DescriptorsClosed {
        /// The paths of ephemeral znodes that somebody relied on, and how long the servers keep the silent session of each.
        left: Vec<(String, Duration)>,
    },
    /// The caller gave up.
    #[error("cancelled by {by} over {path}: {consequence}")]
    Cancelled {
        /// What was waited for.
        path: String,
        /// A signal's name, or what else ended the wait.
        by: &'static str,
        /// What the caller may, and may not, rely on.
        consequence: &'static str,
    },
    /// A signal handler or a listener has forked during the call, and this is the child.
    #[error("cancelled by a fork: the call is its parent's, and this child has no part in it")]
    Forked,
    /// There is no such znode.
    #[error("{path} does not exist")]
    NoNode {
        /// The znode.
        path: String,
    },
    /// There is such a znode already.
    #[error("{path} exists already")]
    NodeExists {
        /// The znode.
        path: String,
    },
    /// The znode was changed by somebody else.
    #[error("{path} is not at version {wanted}: it was changed meanwhile")]
    BadVersion {
        /// The znode.
        path: String,
        /// The version that was to be changed.
        wanted: i32,
    },
    /// The ensemble refused a request for a reason of its own, such as a quota.
    #[error("could not {action} {path}: {reason}")]
    Server {
        /// What was tried.
        action: &'static str,
        /// The znode.
        path: String,
        /// The server's word for it.
        reason: String,
    },
    /// A question about an ensemble has no answer now, or a change of it must not be made.
    #[error("{reason}")]
    Ensemble {
        /// Which of them, for programs.
        refusal: Refusal,
        /// What was seen, and what to do.
        reason: String,
    },
    /// The master candidates of a Ganeti cluster give no answer that can be trusted.
    #[error("{reason}")]
    Confd {
        /// Why not, for programs.
        untrusted: Untrusted,
        /// What was seen, and what to do.
        reason: String,
    },
    /// A defect of this library.
    #[error("internal error, please report it: {0}")]
    Internal(String),
}

/// Why an ensemble is not changed, or not told of.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Members are catching up, and no other step may begin.
    Syncing,
    /// A server that is to join, or to be waited for, does not serve.
    NotReady,
    /// There would be no quorum after the step, or there is none before it.
    NoQuorum,
    /// The step would break the ensemble.
    Unsafe,
    /// Somebody else has changed the ensemble since the step was planned.
    Conflict,
    /// Another change is being made.
    InProgress,
    /// The servers are told to refuse changes.
    Disabled,
    /// The caller may not write `/zookeeper/config`.
    Forbidden,
    /// No server leads.
    NoLeader,
    /// No server answers.
    NoServer,
    /// A server does not answer the question, and has no AdminServer that does.
    WordRefused,
    /// A server runs, and does not serve.
    NotServing,
    /// A server answers what cannot be the answer.
    NoAnswer,
}

impl Refusal {
    /// Its name, as one of [`Error::kind`].
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::Syncing => "members_syncing",
            Self::NotReady => "member_not_ready",
            Self::NoQuorum => "no_quorum",
            Self::Unsafe => "unsafe_step",
            Self::Conflict => "reconfig_conflict",
            Self::InProgress => "reconfig_in_progress",
            Self::Disabled => "reconfig_disabled",
            Self::Forbidden => "reconfig_forbidden",
            Self::NoLeader => "no_leader",
            Self::NoServer => "no_server",
            Self::WordRefused => "word_refused",
            Self::NotServing => "not_serving",
            Self::NoAnswer => "no_answer",
        }
    }
}

/// Why what the master candidates of a Ganeti cluster have replied is no answer.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Untrusted {
    /// Nobody has replied.
    NoReply,
    /// Not as many have replied as make an answer.
    TooFew,
    /// They contradict each other, and none of them is known to be newer.
    Inconsistent,
    /// They have no such node, instance, address or path.
    NoSuchEntry,
    /// They cannot answer, for a reason of their own.
    Refused,
}

impl Untrusted {
    /// Its name, as one of [`Error::kind`].
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::NoReply => "unreachable",
            Self::TooFew => "too_few_replies",
            Self::Inconsistent => "inconsistent",
            Self::NoSuchEntry => "unknown_entry",
            Self::Refused => "server",
        }
    }
}

/// What is left where descriptors were closed.
fn remaining(left: &[(String, Duration)]) -> String {
    let Some(longest) = left.iter().map(|(_, timeout)| timeout.as_secs_f64()).reduce(f64::max) else {
        return "No ephemeral znode was lost".to_owned();
    };
    let named = left.iter().take(MOST_NAMED).map(|(path, _)| path.as_str()).collect::<Vec<_>>().join(", ");
    let more = left
        .len()
        .checked_sub(MOST_NAMED)
        .filter(|more| *more > 0)
        .map_or_else(String::new, |more| format!(" and {more} more"));
    format!(
        "The servers remove what was ephemeral within {longest:.1} s, and until then it is still there: {named}{more}"
    )
}

fn verb(permission: &'static str) -> &'static str {
    match permission {
        "admin" => "change the ACL of",
        other => other,
    }
}

/// To create and to delete are permissions of the parent. What could not be created may be a parent of the path, or
/// a queue node below it.
fn whose(permission: &'static str) -> &'static str {
    match permission {
        "create" => "its ACL, or one above it,",
        "delete" => "the ACL of its parent",
        _ => "its ACL",
    }
}

impl Error {
    /// A machine-readable name from a closed set: one per variant, but for who is not let in, or gave up.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Argument { .. } => "argument",
            Self::LimitMismatch { .. } => "limit_mismatch",
            Self::PolicyMismatch { .. } => "policy_mismatch",
            Self::InUse { .. } => "in_use",
            Self::NoAuth { .. } => "no_auth",
            Self::AuthFailed { .. } | Self::NoTicket { .. } => "auth_failed",
            Self::Tls { .. } => "tls",
            Self::Unreachable { .. } => "unreachable",
            Self::ConnectionLost { .. } | Self::DescriptorsClosed { .. } => "connection_lost",
            Self::Resources { .. } => "resources",
            Self::Cancelled { .. } | Self::Forked => "cancelled",
            Self::NoNode { .. } => "no_node",
            Self::NodeExists { .. } => "node_exists",
            Self::BadVersion { .. } => "bad_version",
            Self::Server { .. } => "server",
            Self::Ensemble { refusal, .. } => refusal.kind(),
            Self::Confd { untrusted, .. } => untrusted.kind(),
            Self::Internal(_) => "internal",
        }
    }

    /// The znode the error is about, where there is one.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        match self {
            Self::LimitMismatch { path, .. }
            | Self::PolicyMismatch { path, .. }
            | Self::InUse { path, .. }
            | Self::NoAuth { path, .. }
            | Self::AuthFailed { path, .. }
            | Self::NoTicket { path, .. }
            | Self::ConnectionLost { path, .. }
            | Self::Cancelled { path, .. }
            | Self::NoNode { path }
            | Self::NodeExists { path }
            | Self::BadVersion { path, .. }
            | Self::Server { path, .. } => Some(path),
            Self::Argument { .. }
            | Self::Tls { .. }
            | Self::Unreachable { .. }
            | Self::Resources { .. }
            | Self::DescriptorsClosed { .. }
            | Self::Forked
            | Self::Ensemble { .. }
            | Self::Confd { .. }
            | Self::Internal(_) => None,
        }
    }

    /// That the operating system gave nothing for what `action` needs.
    #[must_use]
    pub fn resources(action: &'static str, error: &std::io::Error) -> Self {
        let advice = match error.kind() {
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::OutOfMemory => {
                "this process, its user or its container may have no more (ulimit -u, pids.max), or there is no memory for \
                 a stack"
            }
            _ => "close what is open, or allow more (ulimit -n)",
        };
        Self::Resources { action, reason: format!("{error}: {advice}") }
    }

    pub(crate) fn ensemble(refusal: Refusal, reason: impl Into<String>) -> Self {
        Self::Ensemble { refusal, reason: reason.into() }
    }

    pub(crate) fn argument(argument: &'static str, reason: impl Into<String>) -> Self {
        Self::Argument { argument, reason: reason.into() }
    }
}
