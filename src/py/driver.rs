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
//! A build with Kerberos is different. Its library blocks the thread that it is called on, and that must not be a
//! thread which looks for signals. So the runtime has one thread that runs all tasks always.

use std::convert::Infallible;
use std::future::{pending, Future};
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use futures::future::lazy;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use tokio::task::{yield_now, JoinHandle};

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

/// A runtime, and the threads that drive it.
pub(super) struct Driver {
    runtime: Runtime,
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
        let runtime = builder.enable_io().enable_time().build()?;
        let turns = Turns { callers: 0, idle_since: Instant::now(), stand_in: StandIn::Unborn };
        Ok(Self { runtime, turns: Mutex::new(turns), called: Notify::new() })
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

    /// Begins a task. From within the runtime, so that nobody is woken for what the caller is about to run itself.
    pub(super) fn spawn<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.runtime.block_on(lazy(|_| tokio::spawn(task)))
    }

    /// Waits for `work`, and runs the tasks meanwhile.
    pub(super) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        let turn = Turn::begin(self);
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                done = work => done,
                never = turn.take_over() => match never {},
            }
        })
    }

    /// As [`Driver::block_on`], for at most `limit`.
    pub(super) fn block_on_for<T>(&self, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
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
            self.runtime.block_on(async {
                if stays {
                    self.called.notified().await;
                }
                for _ in 0..ROUNDS {
                    yield_now().await;
                }
            });
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
