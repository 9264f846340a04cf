//! An ensemble as its callers see it: a session when they need one, and attempts repeated until there is an answer.

use std::future::Future;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use crate::deadline::Deadline;
use crate::diagnosis::{why_silent, Findings};
use crate::error::{Error, Result};
#[cfg(feature = "gssapi")]
use crate::kerberos::note_lack;
use crate::registry::{Registry, Room};
use crate::session::{auth_failed, connection_lost, Doubt, Failure, Session, PAUSE, UNCHANGED, UNKNOWN};
use crate::settings::{Identity, Settings};
use crate::wait::{Budget, Cut};

/// An ensemble as one caller sees it: the sessions to share, and the caller's settings.
#[derive(Clone, Debug)]
pub struct Ensemble {
    registry: Arc<Registry>,
    settings: Arc<Settings>,
    identity: Arc<Identity>,
    room: Arc<Room>,
}

impl Ensemble {
    /// Nothing is opened before it is needed.
    #[must_use]
    pub fn new(registry: Arc<Registry>, settings: Settings) -> Self {
        let identity = Arc::new(settings.identity.clone());
        let room = Arc::new(registry.room(&identity, 0));
        Self { registry, settings: Arc::new(settings), identity, room }
    }

    /// The same ensemble for one who watches paths of so many bytes at a time: perhaps by way of another session.
    pub(crate) fn with_room(&self, bytes: usize) -> Self {
        Self { room: Arc::new(self.registry.room(&self.identity, bytes)), ..self.clone() }
    }

    /// The caller's settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn unreachable(&self, waited: Duration) -> Error {
        self.unreachable_for(waited, None)
    }

    fn unreachable_for(&self, waited: Duration, known: Option<String>) -> Error {
        let general = || why_silent(&self.identity).to_owned();
        Error::Unreachable { hosts: self.identity.hosts(), waited, advice: known.unwrap_or_else(general) }
    }

    pub(crate) fn connection_lost(&self, path: &str, consequence: &'static str) -> Error {
        connection_lost(&self.identity, path, consequence)
    }

    pub(crate) fn cancelled(&self, budget: &Budget, path: &str, consequence: &'static str) -> Error {
        Error::Cancelled { path: path.to_owned(), by: budget.cancelled_by(), consequence }
    }

    /// A session that is connected: the shared one, or a new one in its place if that is over.
    ///
    /// # Errors
    /// [`Error::Unreachable`] within the connect timeout or the budget, [`Error::AuthFailed`], [`Error::Tls`],
    /// [`Error::Cancelled`].
    pub(crate) async fn session(&self, budget: &Budget, path: &str) -> Result<Session> {
        self.session_within(Deadline::after(Instant::now(), self.settings.connect_timeout), budget, path).await
    }

    /// As [`Ensemble::session`], for one who has waited already: an outage ends the wait with the
    /// budget only.
    pub(crate) async fn session_again(&self, budget: &Budget, path: &str) -> Result<Session> {
        self.session_within(Deadline::NEVER, budget, path).await
    }

    async fn session_within(&self, limit: Deadline, budget: &Budget, path: &str) -> Result<Session> {
        let started = Instant::now();
        let findings = Findings::default();
        let opening = async {
            loop {
                let mut held = self.room.slot.session.lock().await;
                let session = match held.as_ref().filter(|session| !session.is_over()) {
                    Some(session) => session.clone(),
                    // Apart, because it is much, and rare: every call would carry room for it.
                    None => held.insert(Box::pin(Session::open(&self.identity, path, &findings)).await?).clone(),
                };
                drop(held);
                if !self.connected(&session, &findings).await {
                    continue;
                }
                // It may have moved to a server that does not do SASL since it was opened.
                match session.checked().await {
                    Ok(Some(session)) => return Ok(session),
                    Ok(None) => return Err(auth_failed(&self.identity, path, UNKNOWN)),
                    Err(_) => tokio::time::sleep(PAUSE).await,
                }
            }
        };
        match budget.race(limit, opening).await {
            Ok(outcome) => outcome,
            Err(Cut::TimedOut) => {
                let known = findings.into_inner().unwrap_or_else(PoisonError::into_inner);
                Err(self.unreachable_for(started.elapsed(), known))
            }
            Err(Cut::Cancelled) => Err(self.cancelled(budget, path, UNCHANGED)),
        }
    }

    /// As [`Session::connected`]. What the client lacks to connect again is noted: it only tries on.
    async fn connected(&self, session: &Session, findings: &Findings) -> bool {
        #[cfg(feature = "gssapi")]
        if self.identity.has_ticket() {
            return tokio::select! {
                connected = session.connected() => connected,
                never = note_lack(&self.identity, findings) => match never {},
            };
        }
        let _ = findings;
        session.connected().await
    }

    /// Runs an attempt that only reads, until it has an answer: on the same session while that lives,
    /// on a new one after that.
    pub(crate) async fn answer<T, F, A>(&self, budget: &Budget, path: &str, attempt: F) -> Result<T>
    where
        F: FnMut(Session) -> A,
        A: Future<Output = std::result::Result<T, Failure>>,
    {
        self.write(budget, path, &Doubt::new(UNCHANGED), attempt).await
    }

    /// As [`Ensemble::answer`], for an attempt that may write and be repeated. Cut short with a reply
    /// missing, the error says so.
    pub(crate) async fn write<T, F, A>(&self, budget: &Budget, path: &str, doubt: &Doubt, mut attempt: F) -> Result<T>
    where
        F: FnMut(Session) -> A,
        A: Future<Output = std::result::Result<T, Failure>>,
    {
        let work = async {
            loop {
                let session = match self.session(budget, path).await {
                    Err(error) if doubt.is_unanswered() && !matches!(error, Error::Cancelled { .. }) => {
                        return Err(self.connection_lost(path, doubt.consequence()));
                    }
                    session => session?,
                };
                match attempt(session).await {
                    Ok(answer) => return Ok(answer),
                    Err(Failure::Final(error)) => return Err(error),
                    Err(Failure::Gone) => {}
                    Err(Failure::Lost) => tokio::time::sleep(PAUSE).await,
                }
            }
        };
        match budget.race(Deadline::NEVER, work).await {
            Err(Cut::TimedOut) if doubt.is_unanswered() => Err(self.connection_lost(path, doubt.consequence())),
            Ok(Err(Error::Cancelled { .. })) | Err(Cut::Cancelled) => {
                Err(self.cancelled(budget, path, doubt.consequence()))
            }
            Ok(outcome) => outcome,
            Err(Cut::TimedOut) => Err(self.unreachable(budget.spent())),
        }
    }
}
