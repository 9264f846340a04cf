//! Signals that ask this program to end, and who has sent them.

use std::io;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::iterator::SignalsInfo;
use signal_hook::low_level::siginfo::Cause;
use tokio::sync::mpsc;

/// A signal that came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signal {
    /// Its number.
    pub(crate) number: i32,
    /// Whether the terminal has sent it, and so to the whole group of processes.
    pub(crate) is_of_terminal: bool,
}

/// The name of a signal that this program waits for.
pub(crate) fn name(number: i32) -> &'static str {
    match number {
        SIGINT => "SIGINT",
        SIGTERM => "SIGTERM",
        SIGHUP => "SIGHUP",
        _ => "a signal",
    }
}

/// From here on the signals come by this channel, and end this program no more.
pub(crate) fn listen() -> io::Result<mpsc::UnboundedReceiver<Signal>> {
    let mut signals = SignalsInfo::<WithOrigin>::new(heeded())?;
    let (sender, receiver) = mpsc::unbounded_channel();
    thread::Builder::new().name("signals".into()).spawn(move || {
        for origin in signals.forever() {
            let is_of_terminal = matches!(origin.cause, Cause::Kernel);
            if sender.send(Signal { number: origin.signal, is_of_terminal }).is_err() {
                return;
            }
        }
    })?;
    Ok(receiver)
}

/// The signals to wait for. One that whoever has started this program wants ignored, as `nohup` does, is left ignored.
fn heeded() -> Vec<i32> {
    let ignored = ignored().unwrap_or(0);
    [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|number| ignored & (1 << (number - 1)) == 0).collect()
}

/// The signals that this process ignores: a bit each.
fn ignored() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}
