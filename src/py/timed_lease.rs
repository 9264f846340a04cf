//! Timed leases: taking and keeping one, renewing it and giving it back.

use std::sync::Arc;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use pyo3::IntoPyObjectExt;

use super::arguments::{flag, scalar, seconds, text, Given};
use super::call::{plain, Call, Listener, Purpose, Undo};
use super::connection::Settings as Connection;
use super::runtime::{id, Id, Process};
use crate::client::Client;
use crate::connect::settings::Settings;
use crate::error::Result;
use crate::recipe::timed_lease::claim::lasting;
use crate::recipe::timed_lease::clock::Moment;
use crate::recipe::timed_lease::{self as leases, Claim, End, Hold, News, Pace, Rule, Taken, Tell};
use crate::wait::deadline::Deadline;
use crate::wait::{Budget, Cut};

/// `(lease_duration, use_observed_time, max_clock_skew)`.
type Terms<'py> = (Bound<'py, PyAny>, Bound<'py, PyAny>, Option<Bound<'py, PyAny>>);
/// `(renew_deadline, retry_period, release_on_cancel)`.
type PaceOf<'py> = (Bound<'py, PyAny>, Bound<'py, PyAny>, Bound<'py, PyAny>);
fn claim(
    settings: &Settings,
    path: &Bound<'_, PyAny>,
    who: &Bound<'_, PyAny>,
    by_name: bool,
    terms: &Terms<'_>,
) -> Result<Claim> {
    let (duration, rule) = agreed(terms)?;
    Claim::new(settings, &text("path", path)?, scalar("owner", who)?, by_name, duration, rule)
}

/// For how long a claim is to last, and by which rule another's ends.
fn agreed(terms: &Terms<'_>) -> Result<(Duration, Rule)> {
    let (duration, observed, skew) = terms;
    let duration = lasting(seconds("lease_duration", duration)?)?;
    let max_clock_skew = skew.as_ref().map(|skew| seconds("max_clock_skew", skew)).transpose()?;
    let rule = match flag("use_observed_time", Some(observed))? {
        true => Rule::Observed { max_clock_skew },
        false => Rule::RecordedTime,
    };
    Ok((duration, rule))
}

fn pace(value: &PaceOf<'_>, duration: Duration) -> Result<Pace> {
    let (deadline, period, release) = value;
    let pace = Pace {
        renew_deadline: seconds("renew_deadline", deadline)?,
        retry_period: seconds("retry_period", period)?,
        release_on_cancel: flag("release_on_cancel", Some(release))?,
    };
    pace.check(duration)?;
    Ok(pace)
}

/// Checks the terms of a claim, and the durations of a hold where there are some, without asking anybody. Whether the end
/// of another's lease is observed, and not read from the record.
#[pyfunction]
#[pyo3(signature = (terms, keep=None))]
pub(super) fn lease_check(terms: Terms<'_>, keep: Option<PaceOf<'_>>) -> PyResult<bool> {
    let (duration, rule) = agreed(&terms)?;
    keep.map(|keep| pace(&keep, duration)).transpose()?;
    Ok(rule != Rule::RecordedTime)
}

/// The arguments of Python's own classes, of which the core only checks the kind.
fn name_of(name: &str) -> &'static str {
    const NAMES: [&str; 4] = ["owner", "identity", "max_tolerable_expired_lease", "unlock_with_retry_period"];
    NAMES.into_iter().find(|known| *known == name).unwrap_or("argument")
}

/// The seconds of an argument of this name.
#[pyfunction]
pub(super) fn lease_seconds(name: &str, value: &Bound<'_, PyAny>) -> PyResult<f64> {
    Ok(seconds(name_of(name), value)?.as_secs_f64())
}

/// The scalar of an argument of this name, as text.
#[pyfunction]
pub(super) fn lease_scalar(name: &str, value: &Bound<'_, PyAny>) -> PyResult<String> {
    Ok(scalar(name_of(name), value)?)
}

/// The seconds of a timeout: none for ever, 0 for once.
#[pyfunction]
pub(super) fn lease_timeout(timeout: Given<'_, '_>) -> PyResult<Option<f64>> {
    Ok(timeout.map(|it| seconds("timeout", it)).transpose()?.map(|timeout| timeout.as_secs_f64()))
}

/// Takes the lease: a hold that is renewed, where `keep` says how; otherwise what was taken, as a tuple. `False`: the time
/// was up.
#[pyfunction]
#[allow(clippy::too_many_arguments)]
pub(super) fn lease_acquire<'py>(
    py: Python<'py>,
    path: &Bound<'py, PyAny>,
    who: &Bound<'py, PyAny>,
    by_name: bool,
    terms: Terms<'py>,
    keep: Option<PaceOf<'py>>,
    on_position: Given<'_, 'py>,
    connection: &Bound<'py, PyAny>,
    wait: &Bound<'py, PyAny>,
) -> PyResult<Py<PyAny>> {
    let call = Call::new(connection, wait)?;
    let claim = claim(&call.settings, path, who, by_name, &terms)?;
    let pace = keep.as_ref().map(|keep| pace(keep, claim.duration)).transpose()?;
    let (positions, listener) = match on_position {
        Some(callable) => Listener::new(callable).map(|(positions, listener)| (Some(positions), Some(listener)))?,
        None => (None, None),
    };
    let (settings, about) = (call.settings.clone(), claim.path.clone());
    let undo = |taken: &Option<(Taken, Option<Hold>)>, client, by| {
        let (taken, hold) = taken.as_ref()?;
        let (taken, hold) = (taken.clone(), hold.clone());
        Some(Box::pin(async move {
            if let Some(hold) = hold {
                hold.abandon();
            }
            leases::undo(&client, &taken, by).await
        }) as Undo)
    };
    let answer = |py: Python<'_>, taken: Option<(Taken, Option<Hold>)>| match taken {
        None => plain(py, false),
        Some((_, Some(hold))) => plain(py, Py::new(py, TimedLease::new(settings, hold))?),
        Some((taken, None)) => taken_of(&taken).into_py_any(py),
    };
    call.run_with(
        py,
        &about,
        Purpose::Waits,
        listener,
        move |client, budget| async move {
            let taken = leases::acquire(&client, claim, &budget, positions).await?;
            Ok(taken.map(|taken| {
                let hold = pace.map(|pace| leases::keep(&client, taken.clone(), pace, teller()));
                (taken, hold)
            }))
        },
        undo,
        answer,
    )
}

/// Token, transitions, until when it is held by `CLOCK_BOOTTIME`, who held it before, whether it is new.
fn taken_of(taken: &Taken) -> (i64, i64, f64, Option<String>, bool) {
    let ends = taken.ends().0.as_secs_f64();
    (taken.token, taken.transitions, ends, taken.from.clone(), taken.is_new)
}

/// Seconds until a moment; negative once it is over.
pub(super) fn left(moment: Moment) -> f64 {
    let now = Moment::now();
    moment.since(now).as_secs_f64() - now.since(moment).as_secs_f64()
}

/// Where the news of this process's leases go.
fn teller() -> Tell {
    let news = Process::existing().map(|process| process.news.clone());
    Arc::new(move |hold, item| {
        if let Some(news) = &news {
            news.tell(hold, item);
        }
    })
}

/// Waits for the next that a lease of this process tells: the hold's unique name, `late` or `lost`, why, and who holds it.
/// `None`: nothing for a while.
#[pyfunction]
pub(super) fn lease_news<'py>(
    py: Python<'py>,
    connection: &Bound<'py, PyAny>,
    wait: &Bound<'py, PyAny>,
) -> PyResult<Py<PyAny>> {
    let call = Call::new(connection, wait)?;
    let work = |client: Client, budget: Budget| async move {
        let Some(news) = Process::existing().map(|process| process.news.clone()) else { return Ok(None) };
        match budget.race(Deadline::NEVER, news.next()).await {
            Ok(item) => Ok(item),
            Err(Cut::TimedOut) => Ok(None),
            Err(Cut::Cancelled) => Err(client.cancelled(&budget, "timed leases", "they are watched no more")),
        }
    };
    let answer = |py: Python<'_>, item: Option<(String, News)>| match item {
        None => plain(py, py.None()),
        Some((hold, News::Late(refusal))) => (hold, "late", refusal.unwrap_or_default(), py.None()).into_py_any(py),
        Some((hold, News::Lost(end))) => {
            let by = if let End::TakenOver(by) = &end { Some(by.clone()) } else { None };
            (hold, "lost", end.text(), by).into_py_any(py)
        }
    };
    call.run(py, "timed leases", Purpose::Asks, work, answer)
}

/// A lease that this process holds, and renews.
#[pyclass(frozen, module = "zkcoord._core")]
pub(super) struct TimedLease {
    settings: Arc<Settings>,
    lease: Hold,
    process: Id,
}

impl TimedLease {
    fn new(settings: Arc<Settings>, lease: Hold) -> Self {
        Self { settings, lease, process: id() }
    }

    fn connection<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Connection>> {
        Connection(self.settings.clone()).into_pyobject(py)
    }
}

impl Drop for TimedLease {
    fn drop(&mut self) {
        if self.process == id() {
            // Nobody is left who could give it back: it runs out.
            self.lease.stop();
        } else {
            // What a forked child has inherited must not be dropped: its locks may be held by threads that are not here.
            std::mem::forget(self.lease.clone());
        }
    }
}

#[pymethods]
impl TimedLease {
    /// The record, as the caller named it: below the chroot.
    #[getter]
    fn path(&self) -> String {
        self.settings.shown(&self.lease.claim().path)
    }

    #[getter]
    fn owner(&self) -> &str {
        &self.lease.claim().owner
    }

    /// The unique name of the hold.
    #[getter]
    fn hold(&self) -> &str {
        &self.lease.claim().hold
    }

    #[getter]
    fn token(&self) -> i64 {
        self.lease.token()
    }

    /// How often the lease has changed hands.
    #[getter]
    fn transitions(&self) -> i64 {
        self.lease.transitions()
    }

    /// Who held it before, whose lease was over.
    #[getter]
    fn taken_from(&self) -> Option<&str> {
        self.lease.from()
    }

    /// Whether this process has taken it: not so in a child that was forked off since.
    #[getter]
    fn is_own(&self) -> bool {
        self.process.is_of_this_process()
    }

    #[getter]
    fn connection_settings(&self) -> Connection {
        Connection(self.settings.clone())
    }

    /// How often it was renewed.
    #[getter]
    fn renewals(&self) -> i64 {
        self.lease.renewals()
    }

    /// Seconds until it ends by the clock, negative once it is over; how it has ended, if it has, and who has it now.
    fn state(&self) -> (f64, Option<&'static str>, Option<String>) {
        let end = self.lease.ended();
        let by = match &end {
            Some(End::TakenOver(by)) => Some(by.clone()),
            _ => None,
        };
        let kind = end.map(|end| match end {
            End::Released => "released",
            End::Overdue => "overdue",
            End::TakenOver(_) => "taken over",
            End::Freed | End::Deleted | End::Overwritten | End::Unrenewed => end.text(),
        });
        (left(self.lease.ends()), kind, by)
    }

    /// The record as it was last written, or seen, and its version.
    fn record<'py>(&self, py: Python<'py>) -> (Bound<'py, PyBytes>, i32) {
        let (data, version, _) = self.lease.record();
        (PyBytes::new(py, &data), version)
    }

    /// Why it is lost, and who has it now. `None`: it is held, or was given back.
    fn loss(&self) -> Option<(&'static str, Option<String>)> {
        match self.lease.ended() {
            None | Some(End::Released) => None,
            Some(End::TakenOver(by)) => Some((End::TakenOver(String::new()).text(), Some(by))),
            Some(end) => Some((end.text(), None)),
        }
    }

    /// This process cannot renew it any more.
    fn give_up(&self) {
        self.lease.give_up();
    }

    /// Renews it now. Why it has ended, where it has.
    fn renew<'py>(&self, py: Python<'py>, wait: &Bound<'py, PyAny>) -> PyResult<Py<PyAny>> {
        let call = Call::new(self.connection(py)?.as_any(), wait)?;
        let lease = self.lease.clone();
        let work = |client, budget| async move { leases::renew(&client, &lease, &budget).await };
        let answer = |py, end: Option<End>| plain(py, end.map(|end| end.text()));
        call.run(py, &self.lease.claim().path, Purpose::Changes, work, answer)
    }

    /// Gives it back. `False`: it was this hold's no more.
    fn release<'py>(&self, py: Python<'py>, wait: &Bound<'py, PyAny>) -> PyResult<Py<PyAny>> {
        let call = Call::new(self.connection(py)?.as_any(), wait)?;
        let lease = self.lease.clone();
        let work = |client, budget| async move { lease.release(&client, &budget).await };
        call.run(py, &self.lease.claim().path, Purpose::Changes, work, plain)
    }
}
