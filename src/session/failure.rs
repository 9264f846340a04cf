//! What a server answers, and what it means when it does not: the three ways in which an attempt fails.

use std::time::Duration;

use zookeeper_client as zk;

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
            | E::MarshallingError
            | E::Unimplemented
            | E::UnexpectedErrorCode(_)
    )
}
