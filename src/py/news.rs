//! What the timed leases of a process tell while nobody asks them: for one thread of Python, which waits for the next.

use std::fmt;

use tokio::sync::mpsc::{unbounded_channel, UnboundedReceiver, UnboundedSender};
use tokio::sync::Mutex;

use crate::recipe::timed_lease;

/// The unique name of a hold, and what it tells.
pub(super) type Item = (String, timed_lease::News);

/// News, in the order in which they came.
pub(super) struct News {
    sender: UnboundedSender<Item>,
    receiver: Mutex<UnboundedReceiver<Item>>,
}

impl Default for News {
    fn default() -> Self {
        let (sender, receiver) = unbounded_channel();
        Self { sender, receiver: Mutex::new(receiver) }
    }
}

impl fmt::Debug for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("News").finish_non_exhaustive()
    }
}

impl News {
    /// Notes what a hold tells.
    pub(super) fn tell(&self, hold: &str, news: timed_lease::News) {
        // The receiver is here, and so somebody takes it.
        let _ = self.sender.send((hold.to_owned(), news));
    }

    /// Waits for the next.
    pub(super) async fn next(&self) -> Option<Item> {
        self.receiver.lock().await.recv().await
    }
}
