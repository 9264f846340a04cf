//! Who runs the tasks of a process: the threads that wait for them, and one of its own while none does.
//!
//! A thread that runs its own call sends the request and reads the answer itself; to hand them to another
//! thread and back would be two wake-ups more. While no thread waits, the stand-in runs what has to go on: heartbeats,
//! and tidying up. Calls come one after the other, so that at first it only looks in now and then, and is in nobody's
//! way; later it stays, and leaves when somebody calls.
//! Between two looks at its call a thread may be kept by Python, and runs nothing: then the stand-in comes too.
//!
//! Kerberos is different. Its library blocks the thread that it is called on, which must not be one that has
//! signals to look for. With it the runtime has a thread that runs all tasks always.

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
/// How often the stand-in looks in while nobody waits.
const VISIT_EVERY: Duration = Duration::from_millis(100);
/// How often it looks whether those who wait still do.
const CHECK_EVERY: Duration = Duration::from_millis(250);
/// How long nobody has waited before the stand-in stays.
const STAY_AFTER: Duration = Duration::from_secs(1);
/// How often all tasks have had their turn before the stand-in leaves, so that a request is on its way by then:
/// once for the call, once for the connection.
const ROUNDS: usize = 2;

/// A runtime, and those who drive it.
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

    /// Whether nobody waits, and if so, whether the stand-in stays.
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

    /// Sends the stand-in away: polled after the work, which has sent its request then.
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
