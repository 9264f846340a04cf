//! Exit statuses, and what they are for.

use std::process::ExitCode;

use zkcoord::error::{Refusal, Untrusted};
use zkcoord::Error;

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status(u8);

impl Status {
    /// It is done.
    pub(crate) const DONE: Self = Self(0);
    /// The answer is no: the time ran out, nothing is held, there is no such znode.
    pub(crate) const NO: Self = Self(1);
    /// An argument or a setting was refused; nothing was sent.
    pub(crate) const USAGE: Self = Self(2);
    /// No server can be used.
    pub(crate) const UNREACHABLE: Self = Self(3);
    /// The servers do not let this user do that.
    pub(crate) const DENIED: Self = Self(4);
    /// The connection was lost, and what became of the request is not known.
    pub(crate) const UNKNOWN: Self = Self(5);
    /// The slot, or the lease, was lost while the command ran.
    pub(crate) const LOST: Self = Self(6);
    /// A defect of this program.
    pub(crate) const DEFECT: Self = Self(70);
    /// The command cannot be run.
    pub(crate) const NOT_EXECUTABLE: Self = Self(126);
    /// There is no such command.
    pub(crate) const NOT_FOUND: Self = Self(127);

    /// The status of a command that has ended by itself.
    pub(crate) const fn exit(code: u8) -> Self {
        Self(code)
    }

    /// The status that a shell has for a program that a signal has ended.
    pub(crate) fn signal(number: i32) -> Self {
        Self(128 + u8::try_from(number).unwrap_or(127).min(127))
    }

    /// What an error of the core means.
    pub(crate) fn of(error: &Error) -> Self {
        match error {
            Error::Argument { .. } | Error::LimitMismatch { .. } | Error::PolicyMismatch { .. } => Self::USAGE,
            Error::Unreachable { .. } | Error::Tls { .. } | Error::Resources { .. } => Self::UNREACHABLE,
            Error::DescriptorsClosed { .. } => Self::UNREACHABLE,
            Error::Confd { untrusted: Untrusted::NoReply, .. } => Self::UNREACHABLE,
            Error::Ensemble { refusal: Refusal::Forbidden, .. } => Self::DENIED,
            Error::NoAuth { .. } | Error::AuthFailed { .. } | Error::NoTicket { .. } => Self::DENIED,
            Error::ConnectionLost { .. } | Error::Cancelled { .. } => Self::UNKNOWN,
            Error::Internal(_) | Error::Forked => Self::DEFECT,
            _ => Self::NO,
        }
    }
}

impl From<Status> for u8 {
    fn from(Status(code): Status) -> Self {
        code
    }
}

impl From<Status> for ExitCode {
    fn from(Status(code): Status) -> Self {
        code.into()
    }
}

/// Prints what is wrong with the arguments, or the help that was asked for.
pub(crate) fn of_usage(error: &clap::Error) -> Status {
    let status = if error.use_stderr() { Status::USAGE } else { Status::DONE };
    // Where the reader has closed the pipe there is nobody to tell.
    let _ = error.print();
    status
}

/// The table for the manual page and the help.
pub(crate) const TABLE: &str = "\
Exit status:
  0    done; of `run`, or else the status of the command itself
  1    no: the time ran out, nothing is held, there is no such znode
  2    an argument or a setting was refused, and nothing was sent
  3    no server can be used
  4    the servers do not permit it
  5    the connection was lost, and the outcome is not known
  6    the slot, or the lease, was lost while the command ran
  70   a defect of zkcoord
  126  the command cannot be executed
  127  there is no such command
  128+n  signal n has ended the command, or the wait for it";
