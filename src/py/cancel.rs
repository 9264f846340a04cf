//! A handle by which one thread ends the wait of another.

use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use tokio_util::sync::CancellationToken;

use super::runtime::{id, Id};

/// Ends the calls that it is given to. It may be cancelled from any thread, before a call or during it, and stays so.
#[pyclass(frozen, module = "zkcoord._core")]
pub(super) struct Cancel {
    /// Never locked without the GIL, so that no fork finds it locked.
    token: Mutex<(Id, CancellationToken)>,
}

impl Cancel {
    /// The token of this process. A forked child begins with a copy of its own, as its parent's was left.
    pub(super) fn token(&self) -> CancellationToken {
        let mut token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        if token.0 != id() {
            let own = CancellationToken::new();
            if token.1.is_cancelled() {
                own.cancel();
            }
            // The parent's token has the parent's waits in it, and must not be dropped.
            std::mem::forget(std::mem::replace(&mut *token, (id(), own)));
        }
        token.1.clone()
    }
}

#[pymethods]
impl Cancel {
    #[new]
    fn new() -> Self {
        Self { token: Mutex::new((id(), CancellationToken::new())) }
    }

    /// End the calls that this was given to, and those that it will be given to. Does not wait for them.
    fn cancel(&self) {
        self.token().cancel();
    }

    /// One that is cancelled with this, or alone.
    fn child(&self) -> Self {
        Self { token: Mutex::new((id(), self.token().child_token())) }
    }

    /// Whether it was cancelled.
    #[getter]
    fn cancelled(&self) -> bool {
        self.token().is_cancelled()
    }
}
