//! The three ways in which an attempt fails, and which of them an error of the protocol client means.

use std::time::Duration;

use zookeeper_client as zk;

use crate::connect::findings::why_refused;
use crate::connect::settings::Identity;
use crate::error::Error;

/// The pause between a lost connection and the next request on the session. Without it, a server that answers every
/// request by hanging up would be asked in a tight loop.
pub(crate) const PAUSE: Duration = Duration::from_millis(50);

/// What a call that only reads has left behind when it is cut short.
pub(crate) const UNCHANGED: &str = "nothing was changed";

/// What the protocol client says of one request.
pub(crate) type Reply<T> = std::result::Result<T, zk::Error>;

/// What became of one attempt in one session.
pub(crate) type Attempt<T> = std::result::Result<T, Failure>;

/// How one attempt failed, and what may be done about it.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// The reply was lost. The server may have carried the request out, and the session may go on.
    Lost,
    /// The session is over, and the servers remove all its ephemeral znodes.
    Gone,
    /// Trying again will not help.
    Final(Error),
}

/// What servers answer that keep a session to themselves, and do not tell the others of it either.
const EPHEMERAL_ON_LOCAL_SESSION: i32 = -120;
const LOCAL_SESSION: &str =
    "the servers keep local sessions, which have no ephemeral znodes and so no queue node: set \
    localSessionsUpgradingEnabled on them, or localSessionsEnabled no more";

/// Whether an error is a server's answer, which says that it changed nothing.
pub(super) fn is_refusal(error: &zk::Error) -> bool {
    use zk::Error as E;
    matches!(
        error,
        E::NoAuth
            | E::NoNode
            | E::NodeExists
            | E::NotEmpty
            | E::BadVersion
            | E::BadArguments(_)
            | E::InvalidAcl
            | E::NoChildrenForEphemerals
            | E::NotReadOnly
            | E::QuotaExceeded
            | E::ReconfigDisabled
            | E::MarshallingError
            | E::Unimplemented
            | E::UnexpectedErrorCode(_)
    )
}

/// What an error of the protocol client means for a request to `action` the znode at `path`, in a session of `identity`
/// that `is_over`, or is not.
pub(super) fn of(error: &zk::Error, action: &'static str, path: &str, identity: &Identity, is_over: bool) -> Failure {
    use zk::Error as E;
    match error {
        E::NoAuth => Failure::Final(Error::NoAuth { action, path: path.to_owned(), user: identity.user() }),
        E::AuthFailed => Failure::Final(auth_failed(identity, path, why_refused(identity))),
        E::SessionExpired | E::ClientClosed => Failure::Gone,
        E::InvalidAcl => {
            let reason = "the servers do not take its ACL: they have no such scheme, or its scheme no such id";
            Failure::Final(Error::Server { action, path: path.to_owned(), reason: reason.to_owned() })
        }
        error if is_refusal(error) => {
            let reason = match error {
                E::UnexpectedErrorCode(EPHEMERAL_ON_LOCAL_SESSION) => LOCAL_SESSION.to_owned(),
                error => error.to_string(),
            };
            Failure::Final(Error::Server { action, path: path.to_owned(), reason })
        }
        _ if is_over => Failure::Gone,
        _ => Failure::Lost,
    }
}

/// The error for credentials that the servers have refused, or do not know.
pub(crate) fn auth_failed(identity: &Identity, path: &str, reason: &'static str) -> Error {
    Error::AuthFailed { hosts: identity.hosts(), path: path.to_owned(), user: identity.user(), reason }
}
