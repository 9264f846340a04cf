//! `status --watch`: a pool on the whole terminal, drawn again when it changes.

use std::time::Duration;

use signal_hook::consts::SIGINT;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio::time::Instant;
use zkcoord::client::Client;
use zkcoord::recipe::semaphore;
use zkcoord::wait::deadline::Timeout;
use zkcoord::Error;

use crate::arguments::OutputOptions;
use crate::call::{Answer, Calls, Ended};
use crate::commands::pool;
use crate::print::{age, shown, Form};
use crate::screen::{self, Input, Screen};
use crate::status::Status;

/// The least time between two drawings: changes may come in bursts.
const FRAME: Duration = Duration::from_millis(100);
/// How often ages are counted up.
const TICK: Duration = Duration::from_secs(1);

/// A status, and when it was read.
type Read = Option<(semaphore::Status, Instant)>;

/// Shows a pool until somebody ends it.
pub(crate) async fn view(calls: &mut Calls, pool: String, output: OutputOptions) -> Answer<Status> {
    let refused = |reason: &str| Err(Error::Argument { argument: "watch", reason: reason.to_owned() }.into());
    if output.form() == Form::Json {
        return refused("is for people at a terminal; `zkcoord events --json` prints an object for each change");
    }
    if !Screen::is_there() {
        return refused("standard output is no terminal; `zkcoord events` prints a line for each change");
    }
    let client = calls.client();
    let (sender, statuses) = watch::channel(Read::None);
    let following = calls.wait(Timeout::Forever, |client, budget| async move {
        let tell = |status| drop(sender.send_replace(Some((status, Instant::now()))));
        semaphore::follow(&client, &pool, &budget, tell).await
    });
    tokio::select! {
        biased;
        ended = following => match ended {
            Err(Ended::Signalled(number, _)) => Ok(Status::signal(number)),
            Err(ended) => Err(ended),
            Ok(()) => Ok(Status::DONE),
        },
        viewed = draw(&client, statuses) => match viewed {
            Ok(status) => Ok(status),
            Err(error) => refused(&format!("the terminal cannot be drawn on: {error}")),
        },
    }
}

/// Draws, until a key ends it.
async fn draw(client: &Client, mut statuses: watch::Receiver<Read>) -> std::io::Result<Status> {
    // The screen is taken only once the pool was read: the error of a pool that cannot be read stays on the terminal.
    if statuses.changed().await.is_err() {
        return std::future::pending().await;
    }
    let mut inputs = screen::inputs()?;
    let mut screen = Screen::open()?;
    let mut drawn = None;
    loop {
        if let Some((status, read)) = &*statuses.borrow_and_update() {
            screen.draw(&text(status, read.elapsed(), client.outage().as_deref()));
        }
        let last = *drawn.insert(Instant::now());
        if let Some(status) = next(&mut statuses, &mut inputs, last).await {
            return Ok(status);
        }
    }
}

/// Waits until there is something to draw, or until the view is to end: then the answer is the exit status.
async fn next(
    statuses: &mut watch::Receiver<Read>,
    inputs: &mut UnboundedReceiver<Input>,
    last: Instant,
) -> Option<Status> {
    let mut due = last + TICK;
    loop {
        tokio::select! {
            biased;
            input = inputs.recv() => match input {
                Some(Input::Redraw) => due = last + FRAME,
                Some(Input::Interrupt) => return Some(Status::signal(SIGINT)),
                Some(Input::Quit) | None => return Some(Status::DONE),
            },
            Ok(()) = statuses.changed(), if due > last + FRAME => due = last + FRAME,
            () = tokio::time::sleep_until(due) => return None,
        }
    }
}

/// The text to draw for a status whose age is `since`.
fn text(status: &semaphore::Status, since: Duration, outage: Option<&str>) -> String {
    let mut status = status.clone();
    let since = since.as_secs_f64();
    status.holders.iter_mut().for_each(|holder| holder.age += since);
    status.waiters.iter_mut().for_each(|waiter| waiter.age += since);
    let free = status.free.map_or_else(String::new, |free| format!("{free} free, "));
    let mut text = format!("{free}q ends this view\n");
    if let Some(reason) = outage {
        text += &format!("NO SERVER ANSWERS; this is of {} ago: {}\n", age(since), shown(reason));
    }
    text + &pool::text(&status)
}
