//! One call of the core: a client, the time that it may take, and the signals that end it.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use zkcoord::client::Client;
use zkcoord::connect::settings::Settings;
use zkcoord::session::shared::Sessions;
use zkcoord::wait::deadline::Timeout;
use zkcoord::wait::{Budget, Cancel};
use zkcoord::{Error, Result};

use crate::signals::{self, Signal};
use crate::status::Status;

/// How long this program may take at its end to close its sessions.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// The calls of one run of this program.
#[derive(Debug)]
pub(crate) struct Calls {
    sessions: Arc<Sessions>,
    settings: Arc<Settings>,
    /// The signals that came. Each ends the wait of a call.
    pub(crate) signals: UnboundedReceiver<Signal>,
    /// A signal that came together with the answer of the last call.
    pub(crate) came: Option<i32>,
}

/// Why a call gave no answer.
#[derive(Debug)]
pub(crate) enum Ended {
    /// An error of the core.
    Failed(Error),
    /// A signal has ended the call.
    Signalled(i32, Error),
}

impl Ended {
    /// The exit status.
    pub(crate) fn status(&self) -> Status {
        match self {
            Self::Failed(error) => Status::of(error),
            Self::Signalled(number, _) => Status::signal(*number),
        }
    }

    /// The core's error.
    pub(crate) fn error(&self) -> &Error {
        match self {
            Self::Failed(error) | Self::Signalled(_, error) => error,
        }
    }
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// The answer of a command.
pub(crate) type Answer<T> = std::result::Result<T, Ended>;

impl Calls {
    /// Has to be called within a runtime of tokio.
    pub(crate) fn new(settings: Settings) -> io::Result<Self> {
        Ok(Self { sessions: Arc::default(), settings: Arc::new(settings), signals: signals::listen()?, came: None })
    }

    /// The settings of all calls.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// A client.
    pub(crate) fn client(&self) -> Client {
        Client::new(self.sessions.clone(), self.settings.clone())
    }

    /// A call that only wants an answer.
    pub(crate) async fn ask<T, F>(&mut self, work: impl FnOnce(Client, Budget) -> F) -> Answer<T>
    where
        F: Future<Output = Result<T>>,
    {
        let cancel = Cancel::default();
        let budget = Budget::answer(Timeout::Forever, self.settings.connect_timeout, cancel.clone());
        self.until_signal(cancel, work, budget).await
    }

    /// A call that changes something.
    pub(crate) async fn change<T, F>(&mut self, work: impl FnOnce(Client, Budget) -> F) -> Answer<T>
    where
        F: Future<Output = Result<T>>,
    {
        self.change_within(Timeout::Forever, work).await
    }

    /// A call that changes something, in a time that is obeyed through an outage.
    pub(crate) async fn change_within<T, F>(
        &mut self,
        timeout: Timeout,
        work: impl FnOnce(Client, Budget) -> F,
    ) -> Answer<T>
    where
        F: Future<Output = Result<T>>,
    {
        let cancel = Cancel::default();
        let budget = Budget::change(timeout, self.settings.connect_timeout, cancel.clone());
        self.until_signal(cancel, work, budget).await
    }

    /// A call that waits for something to happen.
    pub(crate) async fn wait<T, F>(&mut self, timeout: Timeout, work: impl FnOnce(Client, Budget) -> F) -> Answer<T>
    where
        F: Future<Output = Result<T>>,
    {
        let cancel = Cancel::default();
        let budget = Budget::waiting(timeout, self.settings.connect_timeout, cancel.clone());
        self.until_signal(cancel, work, budget).await
    }

    /// Runs a call. A signal cancels the call, which then ends in order. A second signal ends it where it stands.
    async fn until_signal<T, F>(
        &mut self,
        cancel: Cancel,
        work: impl FnOnce(Client, Budget) -> F,
        budget: Budget,
    ) -> Answer<T>
    where
        F: Future<Output = Result<T>>,
    {
        let mut work = std::pin::pin!(work(self.client(), budget));
        let mut came = None;
        loop {
            tokio::select! {
                biased;
                ended = &mut work => return match (ended, came) {
                    (Ok(answer), came) => {
                        self.came = came;
                        Ok(answer)
                    }
                    (Err(error), Some(number)) => Err(Ended::Signalled(number, error)),
                    (Err(error), None) => Err(Ended::Failed(error)),
                },
                Some(Signal { number, .. }) = self.signals.recv() => {
                    if let Some(first) = came {
                        let consequence = "it was cut short; what it has taken may be held until its session ends";
                        let path = self.settings.hosts();
                        let by = signals::name(number);
                        return Err(Ended::Signalled(first, Error::Cancelled { path, by, consequence }));
                    }
                    came = Some(number);
                    cancel.cancel(signals::name(number));
                }
            }
        }
    }

    /// Ends the sessions: the servers remove the ephemeral znodes that belong to them.
    pub(crate) async fn finish(self) {
        self.sessions.finish(CLOSE_LIMIT).await;
    }
}
