//! The line that says how a wait goes: who is in front, and for how long.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use zkcoord::client::Client;
use zkcoord::recipe::semaphore::{self, Status};
use zkcoord::wait::deadline::Timeout;
use zkcoord::wait::{Budget, Cancel};

use crate::arguments::OutputOptions;
use crate::print::{age, note, ordinal, shown};

/// A wait that is over so soon needs no line.
const QUIET: Duration = Duration::from_millis(300);
/// How often ages are counted up.
const TICK: Duration = Duration::from_secs(1);
/// Holders that one line names.
const NAMED: usize = 3;

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
    } else if output.verbose {
        Manner::Lines
    } else if io::stderr().is_terminal() {
        Manner::OneLine
    } else {
        Manner::Silent
    }
}

/// Tells how a wait goes, until it is dropped.
pub(crate) async fn tell(manner: Manner, client: Client, pool: String, mut positions: watch::Receiver<usize>) {
    if manner == Manner::Silent || positions.wait_for(|position| *position > 0).await.is_err() {
        return std::future::pending().await;
    }
    tokio::time::sleep(QUIET).await;
    let _line = Line(manner);
    loop {
        let position = *positions.borrow_and_update();
        let budget = Budget::answer(Timeout::Forever, client.settings().connect_timeout, Cancel::default());
        let status = semaphore::status(&client, &pool, &budget).await.ok();
        let seen = Instant::now();
        if manner == Manner::Lines {
            note(&text(position, status.as_ref(), 0.0));
        }
        loop {
            if manner == Manner::OneLine {
                let line = text(position, status.as_ref(), seen.elapsed().as_secs_f64());
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

/// Clears the line, when it is told no more.
struct Line(Manner);

impl Drop for Line {
    fn drop(&mut self) {
        if self.0 == Manner::OneLine {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }
}

/// `waiting, 3rd of 5, held by web1 for 2m 5s`.
fn text(position: usize, status: Option<&Status>, since: f64) -> String {
    let Some(status) = status else { return format!("waiting, {}", ordinal(position)) };
    let all = status.waiters.len().max(position);
    let mut text = format!("waiting, {} of {all}", ordinal(position));
    for (index, holder) in status.holders.iter().take(NAMED).enumerate() {
        let lead = if index == 0 { ", held by " } else { ", " };
        text += &format!("{lead}{} for {}", shown(&holder.identifier), age(holder.age + since));
    }
    if status.holders.len() > NAMED {
        text += &format!(" and {} more", status.holders.len() - NAMED);
    }
    if let Some(orphan) = status.waiters.first().filter(|first| first.orphan) {
        let node = format!("{}-__lock__/{}", status.path, orphan.queue_node);
        text += &format!("; the first queue node, {}, belongs to nobody and blocks the others", shown(&node));
    }
    text
}
