//! A caller's handle on an ensemble: a session when one is needed, and the one loop that tries again.
//!
//! An attempt that lost its reply is repeated in the same session while that lives, and in a new one after that. An
//! attempt must be such that repeating it does no harm; what it does to that end is in the table of its recipe.

use std::future::Future;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

#[cfg(feature = "gssapi")]
use crate::connect::kerberos::note_missing_tickets;
use crate::connect::probe::{why_silent, Findings};
use crate::connect::settings::{Identity, Settings};
use crate::error::{Error, Result};
use crate::session::shared::{Reservation, Sessions};
use crate::session::{auth_failed, Attempt, Failure, Session, Unacknowledged, PAUSE, UNCHANGED, UNKNOWN};
use crate::wait::deadline::Deadline;
use crate::wait::{Budget, Cancel, Cut};

/// An ensemble as one caller sees it: the sessions to share, and the caller's settings.
#[derive(Clone, Debug)]
pub struct Client {
    sessions: Arc<Sessions>,
    settings: Arc<Settings>,
    identity: Arc<Identity>,
    reservation: Arc<Reservation>,
}

/// How an outage ends a call, once the call has had a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outage {
    /// After the time in which an ensemble has to answer. Calls that only want an answer use it.
    IsLimited,
    /// When the call's own time is up. Calls that wait for other contenders use it.
    IsOutlasted,
}

impl Client {
    /// A handle. No session is opened before a call needs one.
    #[must_use]
    pub fn new(sessions: Arc<Sessions>, settings: Arc<Settings>) -> Self {
        let identity = Arc::new(settings.identity.clone());
        let reservation = Arc::new(sessions.reserve(&identity, 0));
        Self { sessions, settings, identity, reservation }
    }

    /// The same client for a caller that watches paths of so many bytes at one time. It may use another session.
    pub(crate) fn watching(&self, bytes: usize) -> Self {
        Self { reservation: Arc::new(self.sessions.reserve(&self.identity, bytes)), ..self.clone() }
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
        Error::Unreachable { hosts: self.settings.hosts(), waited, advice: known.unwrap_or_else(general) }
    }

    pub(crate) fn connection_lost(&self, path: &str, consequence: &'static str) -> Error {
        Error::ConnectionLost { hosts: self.settings.hosts(), path: path.to_owned(), consequence }
    }

    pub(crate) fn cancelled(&self, budget: &Budget, path: &str, consequence: &'static str) -> Error {
        Error::Cancelled { path: path.to_owned(), by: budget.cancelled_by(), consequence }
    }

    /// The session with this id, if it is not over. None is opened.
    pub(crate) async fn existing(&self, id: i64) -> Option<Session> {
        self.sessions.existing(&self.identity, id).await
    }

    /// Notes that this process is about to remove a znode because its owner wants that.
    pub(crate) fn removes(&self, path: &str) {
        self.sessions.removes(path);
    }

    /// Whether this process has removed a znode whose loss somebody waits for. It is asked once.
    pub(crate) fn has_removed(&self, path: &str) -> bool {
        self.sessions.has_removed(path)
    }

    /// Runs a task that tidies up for a caller who has gone.
    pub(crate) fn in_background<F>(self, work: impl FnOnce(Cancel) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.sessions.in_background(work);
    }

    async fn session_within(&self, limit: Deadline, budget: &Budget, path: &str) -> Result<Session> {
        let started = Instant::now();
        let findings = Findings::default();
        let opening = async {
            loop {
                let mut held = self.reservation.shared.session.lock().await;
                let session = match held.as_ref().filter(|session| !session.is_over()) {
                    Some(session) => session.clone(),
                    None => {
                        let _opening = self.reservation.shared.opening();
                        // Boxed, because opening is rare and its future is large: every call would carry room for it.
                        let opened = Box::pin(Session::open(&self.identity, path, &findings)).await?;
                        self.sessions.tend(&self.reservation.shared, opened.id(), self.identity.idle_timeout);
                        held.insert(opened).clone()
                    }
                };
                drop(held);
                if !self.connected(&session, &findings).await {
                    continue;
                }
                // The session may have moved since to a server that does not do SASL.
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

    /// As [`Session::connected`]. Meanwhile the findings say which tickets are missing: the protocol client only tries
    /// on.
    async fn connected(&self, session: &Session, findings: &Findings) -> bool {
        #[cfg(feature = "gssapi")]
        if self.identity.has_ticket() {
            return tokio::select! {
                connected = session.connected() => connected,
                never = note_missing_tickets(&self.identity, findings) => match never {},
            };
        }
        let _ = findings;
        session.connected().await
    }

    /// Runs `attempt` until it has an answer: in the same session while that lives, and in a new one after that.
    /// Nothing else in this crate decides whether an attempt is repeated.
    ///
    /// # Errors
    /// [`Cut`] where the time is up or the caller gives up, with the attempt dropped where it stood. Within the result:
    /// the attempt's own final error, or [`Error::Unreachable`], [`Error::AuthFailed`], [`Error::Tls`],
    /// [`Error::Cancelled`] where no session is to be had.
    pub(crate) async fn attempts<T, F, A>(
        &self,
        budget: &Budget,
        path: &str,
        outage: Outage,
        mut attempt: F,
    ) -> std::result::Result<Result<T>, Cut>
    where
        F: FnMut(Session) -> A,
        A: Future<Output = Attempt<T>>,
    {
        let work = async {
            let mut outlasts = false;
            loop {
                let limit = if outlasts { Deadline::NEVER } else { Deadline::after(Instant::now(), budget.reach()) };
                let session = self.session_within(limit, budget, path).await?;
                outlasts = outage == Outage::IsOutlasted;
                // Closing a session does not wait for the attempts in it.
                let closing = session.closing();
                let attempted = tokio::select! {
                    biased;
                    attempted = attempt(session) => attempted,
                    () = closing.cancelled() => Err(Failure::Gone),
                };
                match attempted {
                    Ok(answer) => return Ok(answer),
                    Err(Failure::Final(error)) => return Err(error),
                    Err(Failure::Gone) => {}
                    Err(Failure::Lost) => tokio::time::sleep(PAUSE).await,
                }
            }
        };
        budget.race(Deadline::NEVER, work).await
    }

    /// Runs an attempt that only reads, until it has an answer.
    pub(crate) async fn answer<T, F, A>(&self, budget: &Budget, path: &str, attempt: F) -> Result<T>
    where
        F: FnMut(Session) -> A,
        A: Future<Output = Attempt<T>>,
    {
        self.write(budget, path, &Unacknowledged::new(UNCHANGED), attempt).await
    }

    /// As [`Client::answer`], for an attempt that may write and be repeated. Where it is cut short while a write is
    /// unacknowledged, the error says what that means for the caller.
    pub(crate) async fn write<T, F, A>(
        &self,
        budget: &Budget,
        path: &str,
        unacknowledged: &Unacknowledged,
        attempt: F,
    ) -> Result<T>
    where
        F: FnMut(Session) -> A,
        A: Future<Output = Attempt<T>>,
    {
        let unknown = || self.connection_lost(path, unacknowledged.consequence());
        match self.attempts(budget, path, Outage::IsLimited, attempt).await {
            Err(Cut::TimedOut) | Ok(Err(Error::Unreachable { .. } | Error::AuthFailed { .. } | Error::Tls { .. }))
                if unacknowledged.is_any() =>
            {
                Err(unknown())
            }
            Ok(Err(Error::Cancelled { .. })) | Err(Cut::Cancelled) => {
                Err(self.cancelled(budget, path, unacknowledged.consequence()))
            }
            Ok(outcome) => outcome,
            Err(Cut::TimedOut) => Err(self.unreachable(budget.elapsed())),
        }
    }
}
