//! Which thread runs the tasks of a process: the threads that wait for their calls, and a stand-in while none of them
//! does.
//!
//! A thread that runs its own call sends the request and reads the answer itself. To hand both to another thread and
//! back would be two wake-ups more. While no thread waits, the stand-in thread runs the tasks that have to go on:
//! heartbeats, and deleting what callers have left. At first it runs them for a moment every [`VISIT_EVERY`], so that
//! it is in nobody's way where one call follows another. After [`STAY_AFTER`] it stays, and leaves when a thread calls.
//!
//! Python may keep a thread busy between two visits to its call. The stand-in runs the tasks then as well.
//!
//! Where the descriptors of the process were closed, nobody runs anything any more: see [`canary`](super::canary).
//!
//! A build with Kerberos is different. Its library blocks the thread that it is called on, and that must not be a
//! thread which looks for signals. So the runtime has one thread that runs all tasks always.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::{pending, poll_fn, Future};
use std::io;
use std::panic;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use futures::future::lazy;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use tokio::task::{yield_now, JoinHandle};
use tokio_util::sync::CancellationToken;

use super::canary::{Canary, Dead};

const NAME: &str = "zkcoord";
const HAS_ITS_OWN_THREAD: bool = cfg!(feature = "gssapi");
/// How often the stand-in runs the tasks for a moment while no thread waits.
const VISIT_EVERY: Duration = Duration::from_millis(100);
/// How often the stand-in checks whether the threads that wait still do.
const CHECK_EVERY: Duration = Duration::from_millis(250);
/// How long no thread has waited before the stand-in stays.
const STAY_AFTER: Duration = Duration::from_secs(1);
/// How often all tasks have had their turn before the stand-in leaves: once for the call, and once for the connection,
/// so that the request of the call is on its way by then.
const ROUNDS: usize = 2;

thread_local! {
    /// Whether this thread runs a call of its own.
    static CALLS: Cell<bool> = const { Cell::new(false) };
    /// Lets the answer that this thread waits for be polled before the runtime's tasks.
    static ROOT: Cell<Option<Waker>> = const { Cell::new(None) };
}

/// A runtime, and the threads that drive it.
pub(super) struct Driver {
    runtime: Runtime,
    canary: Arc<Canary>,
    /// Tells those who wait beside a thread that runs all tasks.
    dead: CancellationToken,
    turns: Mutex<Turns>,
    called: Notify,
}

struct Turns {
    /// The threads that wait now.
    callers: usize,
    /// When the last of them stopped.
    idle_since: Instant,
    stand_in: StandIn,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum StandIn {
    Unborn,
    Away,
    Stays,
}

impl Driver {
    pub(super) fn new() -> io::Result<Self> {
        let mut builder = if HAS_ITS_OWN_THREAD {
            let mut builder = Builder::new_multi_thread();
            builder.worker_threads(1).thread_name(NAME);
            builder
        } else {
            Builder::new_current_thread()
        };
        let (canary, dead) = (Canary::new()?, CancellationToken::new());
        let check = {
            let (canary, dead) = (canary.clone(), dead.clone());
            move |is_over: bool| leave_if_dead(&canary, &dead, is_over)
        };
        let after = check.clone();
        let runtime = builder.on_thread_park(move || check(false)).on_thread_unpark(move || after(true));
        let runtime = runtime.enable_io().enable_time().build()?;
        let turns = Turns { callers: 0, idle_since: Instant::now(), stand_in: StandIn::Unborn };
        Ok(Self { runtime, canary, dead, turns: Mutex::new(turns), called: Notify::new() })
    }

    /// Makes sure that tasks go on while nobody waits.
    pub(super) fn start(&'static self) -> io::Result<()> {
        let mut turns = self.turns();
        if turns.stand_in == StandIn::Unborn && !HAS_ITS_OWN_THREAD {
            thread::Builder::new().name(NAME.to_owned()).spawn(|| self.stand_in())?;
            turns.stand_in = StandIn::Away;
        }
        Ok(())
    }

    /// Whether the descriptors were closed that the runtime needs.
    pub(super) fn is_dead(&self) -> bool {
        self.canary.is_dead()
    }

    /// Runs the runtime until `work` ends: the only way to do so.
    fn drive<T>(&self, work: impl Future<Output = T>) -> Result<T, Dead> {
        if self.is_dead() {
            return Err(Dead);
        }
        let dead = poll_fn(|cx| {
            ROOT.set(Some(cx.waker().clone()));
            // Asking the kernel at each poll took 5 us a call. It is asked before and after each wait, which wakes this.
            if self.canary.is_known_dead() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        });
        let driven = self.canary.watched(|| {
            self.runtime.block_on(async {
                tokio::select! {
                    biased;
                    () = dead => Err(Dead),
                    done = work => Ok(done),
                    () = self.dead.cancelled() => Err(Dead),
                }
            })
        });
        ROOT.set(None);
        driven.and_then(|done| done)
    }

    /// As [`Driver::drive`], for a call.
    fn drive_call<T>(&self, work: impl Future<Output = T>) -> Result<T, Dead> {
        CALLS.set(true);
        let done = self.drive(work);
        CALLS.set(false);
        done
    }

    /// Begins a task. From within the runtime, so that nobody is woken for what the caller is about to run itself.
    pub(super) fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> Result<JoinHandle<T>, Dead> {
        self.drive_call(lazy(|_| tokio::spawn(task)))
    }

    /// Waits for `work`, and runs the tasks meanwhile.
    pub(super) fn block_on<T>(&self, work: impl Future<Output = T>) -> Result<T, Dead> {
        let turn = Turn::begin(self);
        self.drive_call(async {
            tokio::select! {
                biased;
                done = work => done,
                never = turn.take_over() => match never {},
            }
        })
    }

    /// As [`Driver::block_on`], for at most `limit`.
    pub(super) fn block_on_for<T>(&self, limit: Duration, work: impl Future<Output = T>) -> Result<Option<T>, Dead> {
        self.block_on(async { tokio::time::timeout(limit, work).await.ok() })
    }

    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stand_in(&self) {
        let mut rest = VISIT_EVERY;
        loop {
            thread::sleep(rest);
            let Some(stays) = self.is_needed() else {
                rest = CHECK_EVERY;
                continue;
            };
            rest = VISIT_EVERY;
            let stayed = self.drive(async {
                if stays {
                    self.called.notified().await;
                }
                for _ in 0..ROUNDS {
                    yield_now().await;
                }
            });
            if stayed.is_err() {
                return;
            }
            self.turns().stand_in = StandIn::Away;
        }
    }

    /// `None`: a thread waits. Otherwise whether the stand-in stays.
    fn is_needed(&self) -> Option<bool> {
        let mut turns = self.turns();
        if turns.callers > 0 {
            return None;
        }
        let stays = turns.idle_since.elapsed() > STAY_AFTER;
        if stays {
            turns.stand_in = StandIn::Stays;
        }
        Some(stays)
    }
}

/// Called by the runtime before and after each wait for its descriptors. Where they were closed, nothing of the runtime is
/// run any more: what it would write, or close, may be the program's by now. `is_over`: the wait is over.
fn leave_if_dead(canary: &Canary, dead: &CancellationToken, is_over: bool) {
    if !canary.is_dead() {
        return;
    }
    match ROOT.take() {
        // It is looked at before any task, and ends.
        Some(root) if is_over => root.wake(),
        // They were closed a moment ago, and the runtime would panic now. This is the same without a report.
        Some(_) if CALLS.get() => panic::resume_unwind(Box::new(Dead)),
        _ => {
            if HAS_ITS_OWN_THREAD {
                dead.cancel();
            }
            loop {
                thread::park();
            }
        }
    }
}

/// A thread's wait.
struct Turn<'a> {
    driver: &'a Driver,
    displaces: bool,
}

impl<'a> Turn<'a> {
    fn begin(driver: &'a Driver) -> Self {
        let mut turns = driver.turns();
        turns.callers += 1;
        Self { driver, displaces: turns.stand_in == StandIn::Stays }
    }

    /// Sends the stand-in away. It is polled after the work, which has sent its request by then.
    async fn take_over(&self) -> Infallible {
        if self.displaces {
            self.driver.called.notify_one();
        }
        pending().await
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut turns = self.driver.turns();
        turns.callers -= 1;
        turns.idle_since = Instant::now();
    }
}
