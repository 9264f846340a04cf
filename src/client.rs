//! A caller's handle on an ensemble: a session when one is needed, and the one loop that tries again.
//!
//! An attempt that lost its reply is repeated in the same session while that lives, and in a new one after that. An
//! attempt must be such that repeating it does no harm; what it does to that end is in the table of its recipe.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::connect::findings::Findings;
#[cfg(feature = "gssapi")]
use crate::connect::kerberos::note_missing_tickets;
use crate::connect::settings::{Settings, DEFAULT_BUFFER};
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
    reservation: Arc<Reservation>,
}

/// Bytes of a request from which on a connection that is lost over it raises the question whether the servers take it.
const LONG: usize = 64 * 1024;

/// How an outage ends a call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outage<'a> {
    /// After the time in which an ensemble has to answer. Calls that only want an answer use it.
    Limited,
    /// As [`Outage::Limited`] until this is true, because a server has let the call wait for others; then as
    /// [`Outage::Outlasted`]. A call that finds the servers gone has the same answer, whether they went a moment before it
    /// or a second.
    OutlastedFrom(&'a AtomicBool),
    /// When the call's own time is up. Tasks in the background use it.
    Outlasted,
}

impl Client {
    /// A handle. No session is opened before a call needs one.
    #[must_use]
    pub fn new(sessions: Arc<Sessions>, settings: Arc<Settings>) -> Self {
        let reservation = Arc::new(sessions.reserve(&settings.identity, 0));
        Self { sessions, settings, reservation }
    }

    /// The same client for a caller that watches paths of so many bytes at one time. It may use another session.
    pub(crate) fn watching(&self, bytes: usize) -> Self {
        Self { reservation: Arc::new(self.sessions.reserve(&self.settings.identity, bytes)), ..self.clone() }
    }

    /// The caller's settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn unreachable(&self, waited: Duration) -> Error {
        let found = self.reservation.shared.findings.text(&self.settings.identity);
        let advice = format!("{}; {found}", self.settings.origin);
        Error::Unreachable { hosts: self.settings.hosts(), waited, advice }
    }

    /// Why the session that this client has, or waits for, has no connection now; `None` where it has one.
    #[must_use]
    pub fn outage(&self) -> Option<String> {
        let shared = &self.reservation.shared;
        let is_connected = shared.session.try_lock().is_ok_and(|held| held.as_ref().is_some_and(Session::is_connected));
        (!is_connected).then(|| shared.findings.text(&self.settings.identity))
    }

    pub(crate) fn connection_lost(&self, path: &str, consequence: &'static str) -> Error {
        Error::ConnectionLost { hosts: self.settings.hosts(), path: path.to_owned(), consequence }
    }

    pub(crate) fn cancelled(&self, budget: &Budget, path: &str, consequence: &'static str) -> Error {
        Error::Cancelled { path: path.to_owned(), by: budget.cancelled_by(), consequence }
    }

    /// The session with this id, if it is not over. None is opened.
    pub(crate) async fn existing(&self, id: i64) -> Option<Session> {
        self.sessions.existing(&self.settings.identity, id).await
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

    /// Runs a task that renews what this process holds, until the sessions end.
    pub(crate) fn renewing<F>(self, work: impl FnOnce(Cancel) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.sessions.renewing(work);
    }

    /// The session, where it has a connection and there is nothing to wait for.
    fn connected_session(&self) -> Option<Session> {
        let held = self.reservation.shared.session.try_lock().ok()?;
        held.as_ref().filter(|session| session.is_connected() && session.is_checked()).cloned()
    }

    /// A session with a connection. `in_vain`: it is given up where it is certain that no server can be used now.
    async fn session_within(&self, limit: Deadline, budget: &Budget, path: &str, in_vain: bool) -> Result<Session> {
        let started = Instant::now();
        let findings = &self.reservation.shared.findings;
        if limit != Deadline::NEVER {
            findings.hurry();
        }
        let opening = async {
            loop {
                // Whoever opens a session may do so for as long as an outage lasts.
                let mut held = tokio::select! {
                    biased;
                    held = self.reservation.shared.session.lock() => held,
                    () = findings.in_vain(), if in_vain => return Err(self.unreachable(started.elapsed())),
                };
                let session = match held.as_ref().filter(|session| !session.is_over()) {
                    Some(session) => session.clone(),
                    None => {
                        // It is told once, however long it takes to open another.
                        if let Some(over) = held.as_ref().filter(|over| !over.closing().is_cancelled()) {
                            let (id, hosts) = (over.id(), self.settings.identity.hosts());
                            log::warn!("session {id:#x} at {hosts} is over, and with it what was ephemeral in it");
                            over.closing().cancel();
                        }
                        let opening = self.reservation.shared.opening();
                        let opened = Box::pin(Session::open(&self.settings.identity, path, findings, in_vain)).await?;
                        // Whoever closes the sessions waits for what follows, which takes a second at most.
                        drop(opening);
                        if let Some(earlier) = held.as_ref() {
                            opened.clear_after(earlier).await;
                        }
                        findings.opened();
                        self.sessions.tend(&self.reservation.shared, opened.id(), self.settings.identity.idle_timeout);
                        held.insert(opened).clone()
                    }
                };
                drop(held);
                let connected = tokio::select! {
                    biased;
                    connected = self.connected(&session, findings) => connected,
                    () = findings.in_vain(), if in_vain => return Err(self.unreachable(started.elapsed())),
                    // The servers take the connections of others, so that a new session is to be had. One whose
                    // ephemeral znodes somebody relies on is not given up before it is certainly over.
                    () = findings.disowned(), if !session.is_relied_on() => {
                        let mut held = self.reservation.shared.session.lock().await;
                        if let Some(lost) = held.take_if(|held| held.id() == session.id()) {
                            lost.closing().cancel();
                        }
                        false
                    }
                };
                if !connected {
                    continue;
                }
                // The session may have moved since to a server that does not do SASL.
                match session.checked().await {
                    Ok(Some(session)) => return Ok(session),
                    Ok(None) => return Err(auth_failed(&self.settings.identity, path, UNKNOWN)),
                    Err(_) => tokio::time::sleep(PAUSE).await,
                }
            }
        };
        match budget.race(limit, opening).await {
            Ok(Err(Error::Unreachable { .. })) => Err(self.unreachable(started.elapsed())),
            Ok(outcome) => outcome,
            Err(Cut::TimedOut) => Err(self.unreachable(started.elapsed())),
            Err(Cut::Cancelled) => Err(self.cancelled(budget, path, UNCHANGED)),
        }
    }

    /// As [`Session::connected`]. Meanwhile the findings say which tickets are missing: the protocol client only tries
    /// on.
    async fn connected(&self, session: &Session, findings: &Findings) -> bool {
        #[cfg(feature = "gssapi")]
        if self.settings.identity.has_ticket() {
            return tokio::select! {
                connected = session.connected() => connected,
                never = note_missing_tickets(&self.settings.identity, findings) => match never {},
            };
        }
        let _ = findings;
        session.connected().await
    }

    /// Refuses a request of so many bytes that the servers do not take, of which `data` are the caller's. Beyond what all
    /// servers take, these are asked first, by a session of its own: they would answer the request itself by closing the
    /// connection that others share.
    ///
    /// # Errors
    /// [`Error::Argument`]; [`Error::Cancelled`].
    pub(crate) async fn check_length(&self, bytes: usize, data: usize, budget: &Budget, path: &str) -> Result<()> {
        let limit = self.settings.identity.longest_request();
        let refused = |why: &str| {
            let bound = if self.settings.identity.max_buffer.is_some() { "max_buffer is" } else { "servers take" };
            let reason = format!("is too long with {data} bytes; {bound} {limit}, path and ACL included{why}");
            Err(Error::argument("value", reason))
        };
        if bytes > limit && self.settings.identity.max_buffer.is_some() {
            return refused("");
        }
        if bytes <= (DEFAULT_BUFFER as usize) {
            return Ok(());
        }
        match self.takes(bytes, budget, path).await? {
            Some(true) => Ok(()),
            Some(false) => refused(&format!(", and these hang up on {bytes} (their jute.maxbuffer is less)")),
            None if self.settings.identity.max_buffer.is_some() => Ok(()),
            None => refused(", unless their jute.maxbuffer is greater, as max_buffer can say; none could be asked"),
        }
    }

    /// Whether the servers take a request of so many bytes. `None`: none has answered.
    async fn takes(&self, bytes: usize, budget: &Budget, path: &str) -> Result<Option<bool>> {
        let lengths = &self.reservation.shared.lengths;
        if let Some(known) = lengths.known(bytes) {
            return Ok(Some(known));
        }
        let asking = async {
            let session =
                Box::pin(Session::open(&self.settings.identity, path, &Findings::default(), true)).await.ok()?;
            let takes = session.takes(bytes).await;
            session.close().await;
            takes
        };
        match budget.race(Deadline::after(Instant::now(), budget.reach()), asking).await {
            Ok(takes) => {
                if let Some(is_taken) = takes {
                    lengths.note(bytes, is_taken);
                }
                Ok(takes)
            }
            Err(Cut::TimedOut) => Ok(None),
            Err(Cut::Cancelled) => Err(self.cancelled(budget, path, UNCHANGED)),
        }
    }

    /// What a connection means that was lost over a long request: an error where the servers do not take it, so that it is
    /// not sent again, to the harm of all who share the session.
    async fn lost_over(&self, bytes: usize, budget: &Budget, path: &str) -> Result<()> {
        if bytes < LONG || self.takes(bytes, budget, path).await? != Some(false) {
            return Ok(());
        }
        let reason = format!(
            "the servers hang up on a request of {bytes} bytes: their jute.maxbuffer is less. Tell it by max_buffer"
        );
        Err(Error::Server { action: "ask for", path: path.to_owned(), reason })
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
        outage: Outage<'_>,
        mut attempt: F,
    ) -> std::result::Result<Result<T>, Cut>
    where
        F: FnMut(Session) -> A,
        A: Future<Output = Attempt<T>>,
    {
        let work = async {
            let mut outlasts = matches!(outage, Outage::Outlasted);
            loop {
                let limit = if outlasts { Deadline::NEVER } else { Deadline::after(Instant::now(), budget.reach()) };
                let in_vain = !outlasts && !budget.is_patient();
                let session = match self.connected_session() {
                    Some(session) if !budget.is_cancelled() => session,
                    // In a box, because this is rare and its future is large: every call would carry room for it.
                    _ => Box::pin(self.session_within(limit, budget, path, in_vain)).await?,
                };
                // Closing a session does not wait for the attempts in it.
                let closing = session.closing();
                let session = session.for_attempt();
                let own = session.clone();
                let attempted = tokio::select! {
                    biased;
                    attempted = attempt(session) => attempted,
                    () = closing.cancelled() => Err(Failure::Gone),
                };
                outlasts = match outage {
                    Outage::Limited => false,
                    Outage::OutlastedFrom(waits) => waits.load(Ordering::Relaxed),
                    Outage::Outlasted => true,
                };
                match attempted {
                    Ok(answer) => return Ok(answer),
                    Err(Failure::Final(error)) => return Err(error),
                    Err(Failure::Gone) => {}
                    Err(Failure::Lost) => {
                        Box::pin(self.lost_over(own.longest_sent(), budget, path)).await?;
                        tokio::time::sleep(PAUSE).await;
                    }
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
        match self.attempts(budget, path, Outage::Limited, attempt).await {
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
