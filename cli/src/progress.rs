//! The line that says how a wait goes: who is in front, and for how long.

use std::convert::Infallible;
use std::future::Future;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;
use zkcoord::client::Client;
use zkcoord::recipe::{semaphore, timed_lease};
use zkcoord::wait::deadline::Timeout;
use zkcoord::wait::{Budget, Cancel};

use crate::arguments::OutputOptions;
use crate::print::{age, held_by, note, ordinal, shown};

/// A wait that is over so soon needs no line.
const QUIET: Duration = Duration::from_millis(300);
/// How often ages are counted up.
const TICK: Duration = Duration::from_secs(1);
/// How to tell of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Not at all.
    Silent,
    /// A line for each change.
    Lines,
    /// One line that changes.
    OneLine,
}

/// The manner that options and terminal ask for.
pub(crate) fn manner(output: OutputOptions) -> Manner {
    if output.quiet {
        Manner::Silent
    } else if output.verbose > 0 {
        Manner::Lines
    } else if io::stderr().is_terminal() {
        Manner::OneLine
    } else {
        Manner::Silent
    }
}

/// Characters of a reason that a line shows.
const REASON: usize = 30;

/// Who is in front of a wait.
#[derive(Clone, Debug, Default)]
pub(crate) struct Front {
    /// Who holds what is waited for, for how many seconds, and why.
    holders: Vec<(String, f64, Option<String>)>,
    /// How many wait.
    waiting: usize,
    /// What else is to be known.
    more: Option<String>,
}

impl From<semaphore::Status> for Front {
    fn from(status: semaphore::Status) -> Self {
        let orphan = status.waiters.first().filter(|first| first.orphan);
        let more = orphan.map(|orphan| {
            let node = format!("{}-__lock__/{}", status.path, orphan.queue_node);
            format!("; the first queue node, {}, belongs to nobody and blocks the others", shown(&node))
        });
        let (waiting, holders) = (status.waiters.len(), status.holders.into_iter());
        let holders = holders.map(|holder| (holder.identifier, holder.age, holder.why.reason.map(short)));
        Self { holders: holders.collect(), waiting, more }
    }
}

impl From<timed_lease::Status> for Front {
    fn from(status: timed_lease::Status) -> Self {
        let since = |holder: &timed_lease::Holder| {
            let acquired = humantime::parse_rfc3339_weak(holder.acquired.as_ref()?).ok()?;
            Some(SystemTime::now().duration_since(acquired).ok()?.as_secs_f64())
        };
        let holders = status.holder.iter().map(|holder| (holder.owner.clone(), since(holder).unwrap_or(0.0), None));
        Self { holders: holders.collect(), waiting: status.waiters.len(), more: None }
    }
}

/// What of a reason fits into a line beside the holders.
fn short(reason: String) -> String {
    match reason.char_indices().nth(REASON) {
        Some((end, _)) => format!("{}...", &reason[..end]),
        None => reason,
    }
}

/// Waits for `waiting`, and runs `telling` meanwhile.
pub(crate) async fn beside<T>(telling: impl Future<Output = Infallible>, waiting: impl Future<Output = T>) -> T {
    tokio::select! {
        biased;
        done = waiting => done,
        never = telling => match never {},
    }
}

/// Tells how the wait for a slot goes, until it is dropped.
pub(crate) async fn tell(
    manner: Manner,
    client: Client,
    pool: String,
    positions: watch::Receiver<usize>,
) -> Infallible {
    let front = async || semaphore::status(&client, &pool, &asking(&client)).await.ok().map(Front::from);
    tell_by(manner, positions, front).await
}

/// Tells how the wait for a lease goes, until it is dropped.
pub(crate) async fn tell_of_lease(
    manner: Manner,
    client: Client,
    path: String,
    positions: watch::Receiver<usize>,
) -> Infallible {
    let front = async || timed_lease::status(&client, &path, &asking(&client)).await.ok().map(Front::from);
    tell_by(manner, positions, front).await
}

fn asking(client: &Client) -> Budget {
    Budget::answer(Timeout::Forever, client.settings().connect_timeout, Cancel::default())
}

async fn tell_by(
    manner: Manner,
    mut positions: watch::Receiver<usize>,
    front: impl AsyncFn() -> Option<Front>,
) -> Infallible {
    if manner == Manner::Silent || positions.wait_for(|position| *position > 0).await.is_err() {
        return std::future::pending().await;
    }
    tokio::time::sleep(QUIET).await;
    let _line = Line(manner);
    loop {
        let position = *positions.borrow_and_update();
        let front = front().await;
        let seen = Instant::now();
        if manner == Manner::Lines {
            note(&text(position, front.as_ref(), 0.0));
        }
        loop {
            if manner == Manner::OneLine {
                let line = text(position, front.as_ref(), seen.elapsed().as_secs_f64());
                let _ = write!(io::stderr().lock(), "\r\x1b[Kzkcoord: {line}");
            }
            match tokio::time::timeout(TICK, positions.changed()).await {
                Err(_) => {}
                Ok(Ok(())) => break,
                Ok(Err(_)) => return std::future::pending().await,
            }
        }
    }
}

/// Clears the line when the wait is over.
struct Line(Manner);

impl Drop for Line {
    fn drop(&mut self) {
        if self.0 == Manner::OneLine {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }
}

/// `waiting, 3rd of 5, held by web1 for 2m 5s (kernel update)`.
fn text(position: usize, front: Option<&Front>, since: f64) -> String {
    let Some(front) = front else { return format!("waiting, {}", ordinal(position)) };
    let all = front.waiting.max(position);
    let held = held_by(front.holders.iter().map(|(holder, seconds, reason)| {
        let why = reason.as_deref().map(|reason| format!(" ({})", shown(reason))).unwrap_or_default();
        format!("{} for {}{why}", shown(holder), age(seconds + since))
    }));
    let more = front.more.as_deref().unwrap_or_default();
    format!("waiting, {} of {all}{held}{more}", ordinal(position))
}
