//! The crate's error as the Python classes of `zkcoord.errors`, which Python owns.

use pyo3::import_exception;
use pyo3::prelude::*;

use crate::error::{Error, Refusal, Untrusted};

import_exception!(zkcoord.errors, ArgumentError);
import_exception!(zkcoord.errors, AuthFailed);
import_exception!(zkcoord.errors, BadVersion);
import_exception!(zkcoord.errors, Cancelled);
import_exception!(zkcoord.errors, ConnectionLost);
import_exception!(zkcoord.errors, Inconsistent);
import_exception!(zkcoord.errors, InUse);
import_exception!(zkcoord.errors, InternalError);
import_exception!(zkcoord.errors, LimitMismatch);
import_exception!(zkcoord.errors, NoAuth);
import_exception!(zkcoord.errors, NoNode);
import_exception!(zkcoord.errors, NodeExists);
import_exception!(zkcoord.errors, MemberNotReadyError);
import_exception!(zkcoord.errors, MembersSyncingError);
import_exception!(zkcoord.errors, NoAnswer);
import_exception!(zkcoord.errors, NoQuorum);
import_exception!(zkcoord.errors, NoUnitFoundError);
import_exception!(zkcoord.errors, NotServing);
import_exception!(zkcoord.errors, QuorumLeaderNotFoundError);
import_exception!(zkcoord.errors, ReconfigConflict);
import_exception!(zkcoord.errors, ReconfigDisabled);
import_exception!(zkcoord.errors, ReconfigForbidden);
import_exception!(zkcoord.errors, ReconfigInProgress);
import_exception!(zkcoord.errors, UnsafeStep);
import_exception!(zkcoord.errors, WordRefused);
import_exception!(zkcoord.errors, OutOfResources);
import_exception!(zkcoord.errors, PolicyMismatch);
import_exception!(zkcoord.errors, ServerError);
import_exception!(zkcoord.errors, TlsFailed);
import_exception!(zkcoord.errors, TooFewReplies);
import_exception!(zkcoord.errors, UnknownEntry);
import_exception!(zkcoord.errors, Unreachable);

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        let arguments = (error.to_string(), error.path().map(str::to_owned));
        match error {
            Error::Argument { .. } => ArgumentError::new_err(arguments),
            Error::LimitMismatch { .. } => LimitMismatch::new_err(arguments),
            Error::PolicyMismatch { .. } => PolicyMismatch::new_err(arguments),
            Error::InUse { .. } => InUse::new_err(arguments),
            Error::NoAuth { .. } => NoAuth::new_err(arguments),
            Error::AuthFailed { .. } | Error::NoTicket { .. } => AuthFailed::new_err(arguments),
            Error::Tls { .. } => TlsFailed::new_err(arguments),
            Error::Unreachable { .. } => Unreachable::new_err(arguments),
            Error::ConnectionLost { .. } | Error::DescriptorsClosed { .. } => ConnectionLost::new_err(arguments),
            Error::Resources { .. } => OutOfResources::new_err(arguments),
            Error::Cancelled { .. } | Error::Forked => Cancelled::new_err(arguments),
            Error::NoNode { .. } => NoNode::new_err(arguments),
            Error::NodeExists { .. } => NodeExists::new_err(arguments),
            Error::BadVersion { .. } => BadVersion::new_err(arguments),
            Error::Server { .. } => ServerError::new_err(arguments),
            Error::Ensemble { refusal, .. } => of_ensemble(refusal, arguments),
            Error::Confd { untrusted, .. } => of_confd(untrusted, arguments),
            Error::Internal(_) => InternalError::new_err(arguments),
        }
    }
}

fn of_ensemble(refusal: Refusal, arguments: (String, Option<String>)) -> PyErr {
    match refusal {
        Refusal::Syncing => MembersSyncingError::new_err(arguments),
        Refusal::NotReady => MemberNotReadyError::new_err(arguments),
        Refusal::NoQuorum => NoQuorum::new_err(arguments),
        Refusal::Unsafe => UnsafeStep::new_err(arguments),
        Refusal::Conflict => ReconfigConflict::new_err(arguments),
        Refusal::InProgress => ReconfigInProgress::new_err(arguments),
        Refusal::Disabled => ReconfigDisabled::new_err(arguments),
        Refusal::Forbidden => ReconfigForbidden::new_err(arguments),
        Refusal::NoLeader => QuorumLeaderNotFoundError::new_err(arguments),
        Refusal::NoServer => NoUnitFoundError::new_err(arguments),
        Refusal::WordRefused => WordRefused::new_err(arguments),
        Refusal::NotServing => NotServing::new_err(arguments),
        Refusal::NoAnswer => NoAnswer::new_err(arguments),
    }
}

fn of_confd(untrusted: Untrusted, arguments: (String, Option<String>)) -> PyErr {
    match untrusted {
        Untrusted::NoReply => Unreachable::new_err(arguments),
        Untrusted::TooFew => TooFewReplies::new_err(arguments),
        Untrusted::Inconsistent => Inconsistent::new_err(arguments),
        Untrusted::NoSuchEntry => UnknownEntry::new_err(arguments),
        Untrusted::Refused => ServerError::new_err(arguments),
    }
}

/// The exception for a call that a signal has ended, or whose end came together with a signal. The outcome of the call
/// is not lost: an error is the cause of the exception, and an answer is its attribute `answer`.
pub(super) fn interrupted(
    py: Python<'_>,
    signal: &str,
    path: &str,
    result: Result<PyResult<Py<PyAny>>, Error>,
) -> PyErr {
    match result {
        Err(cancelled @ Error::Cancelled { .. }) => cancelled.into(),
        Err(error) => {
            let raised = Cancelled::new_err((format!("cancelled by {signal} over {path}: {error}"), path.to_owned()));
            raised.set_cause(py, Some(error.into()));
            raised
        }
        Ok(Err(error)) => error,
        Ok(Ok(answer)) => {
            let shown = answer.bind(py).repr().map_or_else(|_| "there".to_owned(), |shown| shown.to_string());
            let message = format!("cancelled by {signal} over {path}, when the answer had come already: {shown}");
            let raised = Cancelled::new_err((message, path.to_owned()));
            let _ = raised.value(py).setattr("answer", answer);
            raised
        }
    }
}
