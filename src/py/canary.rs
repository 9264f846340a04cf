//! Whether the file descriptors of this process are still those that it has opened.
//!
//! A program that becomes a daemon may close all descriptors of its process, with those of the runtime among them. Their
//! numbers are soon given to files of the program. Whoever then still used the runtime would write into those files, close
//! them, or panic. So one descriptor is opened together with the runtime and never used: when it is gone, or another, the
//! runtime is not touched any more, nor dropped.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};

thread_local! {
    /// What the runtime needs that this thread runs now.
    static RUNS: RefCell<Option<Arc<Canary>>> = const { RefCell::new(None) };
}

static HOOK: Once = Once::new();

/// A descriptor that nobody uses.
#[derive(Debug)]
pub(super) struct Canary {
    descriptor: File,
    identity: (u64, u64),
    is_dead: AtomicBool,
}

impl Canary {
    pub(super) fn new() -> io::Result<Arc<Self>> {
        // A socket has a number of its own in the kernel, which no other descriptor has.
        let (socket, _) = UnixStream::pair()?;
        let descriptor = File::from(OwnedFd::from(socket));
        let identity = identity(&descriptor)?;
        Ok(Arc::new(Self { descriptor, identity, is_dead: AtomicBool::new(false) }))
    }

    /// Whether the descriptors were closed.
    pub(super) fn is_dead(&self) -> bool {
        if !self.is_dead.load(Ordering::Acquire) && identity(&self.descriptor).is_ok_and(|it| it == self.identity) {
            return false;
        }
        self.kill();
        true
    }

    /// Whether a check saw the descriptors closed, or somebody killed the runtime. The kernel is not asked.
    pub(super) fn is_known_dead(&self) -> bool {
        self.is_dead.load(Ordering::Acquire)
    }

    /// Notes that the runtime must not be used any more.
    pub(super) fn kill(&self) {
        self.is_dead.store(true, Ordering::Release);
    }

    /// Runs `work`, which runs the runtime. A panic in it that comes from closed descriptors prints nothing.
    pub(super) fn watched<T>(self: &Arc<Self>, work: impl FnOnce() -> T) -> Result<T, Dead> {
        HOOK.call_once(be_silent_of_closed_descriptors);
        RUNS.set(Some(self.clone()));
        let ended = panic::catch_unwind(panic::AssertUnwindSafe(work));
        RUNS.set(None);
        ended.map_err(|_| {
            self.kill();
            Dead
        })
    }
}

/// The descriptors were closed: the runtime is not used any more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dead;

fn identity(descriptor: &File) -> io::Result<(u64, u64)> {
    descriptor.metadata().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// The hook is that of this extension alone: each has a standard library of its own.
fn be_silent_of_closed_descriptors() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let is_closed = |runs: &RefCell<Option<Arc<Canary>>>| {
            runs.try_borrow().is_ok_and(|canary| canary.as_ref().is_some_and(|canary| canary.is_dead()))
        };
        if !RUNS.try_with(is_closed).unwrap_or(false) {
            before(info);
        }
    }));
}
