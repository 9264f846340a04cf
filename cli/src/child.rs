//! The command that runs while a slot or a lease is held.

use std::ffi::OsString;
use std::future::Future;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use tokio::process::{Child, Command};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::descendants;
use crate::signals;
use crate::status::Status;

/// The pause between two looks for processes that are still there after SIGKILL.
const PAUSE: Duration = Duration::from_millis(10);
/// How long the kernel may take to end the processes that were sent SIGKILL. A process in an uninterruptible wait takes
/// longer, but it does nothing more once that wait is over.
const KILL_LIMIT: Duration = Duration::from_secs(2);

/// A running command.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
}

/// Starts a command. Its standard streams are those of this program.
///
/// # Errors
/// As of `execve`; [`status_of`] has the exit status.
pub(crate) fn start(command: &[OsString], environment: &[(&str, String)], dies_with_us: bool) -> io::Result<Running> {
    let (program, arguments) = command.split_first().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    descendants::adopt()?;
    let mut command = Command::new(program);
    command.args(arguments).envs(environment.iter().map(|(name, value)| (*name, value.as_str())));
    if dies_with_us {
        end_with_parent(&mut command);
    }
    Ok(Running { child: command.spawn()? })
}

/// Has the kernel end the command when this program ends, also by SIGKILL.
fn end_with_parent(command: &mut Command) {
    let parent = rustix::process::getpid();
    let set = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // Had the parent ended before this call, the kernel would not end the command any more: it does not start.
        if rustix::process::getppid() == Some(parent) {
            Ok(())
        } else {
            Err(io::Error::from(io::ErrorKind::Interrupted))
        }
    };
    // SAFETY: between fork and exec the closure makes two system calls and allocates nothing.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(set)
    };
}

/// The exit status for a command that could not be started, as a shell has it.
pub(crate) fn status_of(error: &io::Error) -> Status {
    if error.kind() == io::ErrorKind::NotFound {
        Status::NOT_FOUND
    } else {
        Status::NOT_EXECUTABLE
    }
}

impl Running {
    /// Waits until the command has ended. Signals to this program go to the command, unless the terminal has sent them
    /// to both.
    pub(crate) async fn ended(&mut self, signals: &mut UnboundedReceiver<signals::Signal>) -> io::Result<Status> {
        loop {
            tokio::select! {
                biased;
                ended = self.child.wait() => return ended.map(status),
                Some(signal) = signals.recv() => {
                    if !signal.is_of_terminal {
                        self.signal(signal.number);
                    }
                }
            }
        }
    }

    /// Sends a signal to the command.
    pub(crate) fn signal(&self, number: i32) {
        let pid = self.child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        if let (Some(pid), Some(signal)) = (pid, Signal::from_named_raw(number)) {
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    /// Ends the command and all processes that it has started: by SIGTERM, and by SIGKILL what is left when `over` is
    /// done.
    pub(crate) async fn stop(&mut self, over: impl Future<Output = ()>) {
        if descendants::signal(Signal::TERM) > 0 {
            let gone = async {
                let _ = self.child.wait().await;
                while descendants::signal(Signal::TERM) > 0 {
                    tokio::time::sleep(PAUSE * 10).await;
                }
            };
            tokio::select! {
                () = gone => {}
                () = over => {}
            }
        }
        let last = Instant::now() + KILL_LIMIT;
        while descendants::signal(Signal::KILL) > 0 && Instant::now() < last {
            let _ = tokio::time::timeout(PAUSE, self.child.wait()).await;
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn status(ended: ExitStatus) -> Status {
    match (ended.code(), ended.signal()) {
        (Some(code), _) => Status::exit(u8::try_from(code).unwrap_or(u8::MAX)),
        (None, Some(number)) => Status::signal(number),
        (None, None) => Status::DEFECT,
    }
}
