//! Cancelling: how a caller who gives up ends a wait, and says why.

use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

/// A way to make waits end, and to say why. Cancelling one cancels its children.
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    token: CancellationToken,
    reason: Arc<OnceLock<&'static str>>,
    parent: Option<Arc<Cancel>>,
    /// The handle with which a caller can end this wait, and perhaps others.
    handle: CancellationToken,
}

impl Cancel {
    /// One that is cancelled with `self`, or alone.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { token: self.token.child_token(), parent: Some(Arc::new(self.clone())), ..Self::default() }
    }

    /// The same `Cancel`, which a caller's `handle` cancels as well.
    #[must_use]
    pub fn with_handle(self, handle: CancellationToken) -> Self {
        Self { handle, ..self }
    }

    /// Waits until it is cancelled.
    pub(crate) async fn cancelled(&self) {
        tokio::select! {
            () = self.token.cancelled() => {}
            () = self.handle.cancelled() => {}
        }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.token.is_cancelled() || self.handle.is_cancelled()
    }

    /// Ends all waits under this and its children. The first reason given stays.
    pub fn cancel(&self, by: &'static str) {
        let _ = self.reason.set(by);
        self.token.cancel();
    }

    /// Why it was cancelled.
    #[must_use]
    pub fn by(&self) -> &'static str {
        let inherited = || self.parent.as_ref().map_or("the caller", |parent| parent.by());
        self.reason.get().copied().unwrap_or_else(inherited)
    }
}
