//! What was seen of a server that cannot be used, in words. Pure.

use std::fmt;
use std::io::{self, ErrorKind};

/// The errors of Linux for a process, and for a system, that has no descriptor left.
const NO_DESCRIPTOR: [i32; 2] = [24, 23];

/// What was seen of a server that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// The resolver knows no such name.
    NameUnknown(String),
    /// The resolver cannot say now.
    NameUnresolved(String),
    /// The resolver has not answered yet.
    Resolving,
    /// No thread could be started to resolve its name.
    NoThread,
    /// There is no file descriptor left for a connection.
    NoDescriptor,
    /// Nothing listens at the port.
    Refused,
    /// The network says that there is no way.
    Unreachable(String),
    /// Nothing answers the connection.
    NoConnection,
    /// It takes the connection, and does not answer.
    Silent,
    /// It takes the connection, and closes it at once.
    ClosedAtOnce,
    /// It says that it has no quorum.
    NoQuorum,
    /// It says that it serves reads alone.
    ReadOnly,
    /// It has closed the connection, or the network has.
    Lost,
    /// Its reply does not get on.
    Stalling,
}

impl Seen {
    pub(crate) fn of_resolving(error: &io::Error) -> Self {
        match error.kind() {
            // What the thread's start says.
            ErrorKind::WouldBlock | ErrorKind::OutOfMemory => Self::NoThread,
            _ if is_of_descriptors(error) => Self::NoDescriptor,
            _ => {
                let text = error.to_string();
                let reason = text.strip_prefix("failed to lookup address information: ").unwrap_or(&text);
                match reason.starts_with("Temporary failure") {
                    true => Self::NameUnresolved(reason.to_owned()),
                    false => Self::NameUnknown(reason.to_owned()),
                }
            }
        }
    }

    pub(crate) fn of_connecting(error: &io::Error) -> Self {
        match error.kind() {
            ErrorKind::ConnectionRefused => Self::Refused,
            ErrorKind::TimedOut => Self::NoConnection,
            _ if is_of_descriptors(error) => Self::NoDescriptor,
            _ => Self::Unreachable(error.to_string()),
        }
    }

    /// Of a connection over which so many bytes were received before its end, or this error.
    pub(crate) fn of_stream(received: usize, error: Option<&io::Error>) -> Self {
        match error.map(io::Error::kind) {
            None | Some(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) if received == 0 => Self::ClosedAtOnce,
            _ => Self::Lost,
        }
    }

    /// Whether waiting longer will not change what is seen now.
    pub(crate) fn is_certain(&self) -> bool {
        matches!(self, Self::NameUnknown(_) | Self::Refused)
    }
}

fn is_of_descriptors(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(|number| NO_DESCRIPTOR.contains(&number))
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NameUnknown(reason) => write!(f, "the name is not known ({reason})"),
            Self::NameUnresolved(reason) => write!(f, "the name cannot be resolved now ({reason})"),
            Self::Resolving => f.write_str("the name is not resolved yet: the resolver does not answer"),
            Self::NoThread => f.write_str(
                "this process can start no thread to resolve the name: Resource temporarily unavailable (ulimit -u, pids.max, or \
                 no memory for a stack)",
            ),
            Self::NoDescriptor => f.write_str("this process has no file descriptor left: Too many open files (ulimit -n)"),
            Self::Refused => f.write_str("refused the connection: no server listens there"),
            Self::Unreachable(reason) => write!(f, "cannot be connected to: {reason}"),
            Self::NoConnection => f.write_str("no answer to the connection: the host is down, or a filter drops it"),
            Self::Silent => f.write_str("connected, but silent: the server is stopped, or has no quorum"),
            Self::ClosedAtOnce => f.write_str(
                "closed the connection at once: the server has no quorum, or too many connections from this address",
            ),
            Self::NoQuorum => f.write_str("serves nobody now: it says that it has no quorum"),
            Self::ReadOnly => f.write_str("serves reads alone (read-only): it is cut off from the other servers"),
            Self::Lost => f.write_str("lost the connection"),
            Self::Stalling => f.write_str("sends its replies too slowly"),
        }
    }
}
