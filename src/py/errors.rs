//! The crate's error as the Python classes of `zkcoord.errors`, which Python owns.

use pyo3::import_exception;
use pyo3::prelude::*;

use crate::error::Error;

import_exception!(zkcoord.errors, ArgumentError);
import_exception!(zkcoord.errors, AuthFailed);
import_exception!(zkcoord.errors, BadVersion);
import_exception!(zkcoord.errors, Cancelled);
import_exception!(zkcoord.errors, ConnectionLost);
import_exception!(zkcoord.errors, InternalError);
import_exception!(zkcoord.errors, LimitMismatch);
import_exception!(zkcoord.errors, NoAuth);
import_exception!(zkcoord.errors, NoNode);
import_exception!(zkcoord.errors, NodeExists);
import_exception!(zkcoord.errors, OutOfResources);
import_exception!(zkcoord.errors, ServerError);
import_exception!(zkcoord.errors, TlsFailed);
import_exception!(zkcoord.errors, Unreachable);

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        let arguments = (error.to_string(), error.path().map(str::to_owned));
        match error {
            Error::Argument { .. } => ArgumentError::new_err(arguments),
            Error::LimitMismatch { .. } => LimitMismatch::new_err(arguments),
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
            Error::Internal(_) => InternalError::new_err(arguments),
        }
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
