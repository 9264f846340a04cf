"""End the sessions of a process with the process, so that ephemeral znodes do not linger.

No single hook runs at the end of every process, so there are four. A plain interpreter runs ``atexit``. A thread that
waits keeps an interpreter from ever coming that far, so that waits have to end when ``threading`` shuts down. A forked
worker (multiprocessing, a Salt job) ends in ``os._exit``, where ``atexit`` does not run and
``multiprocessing.util.Finalize`` does. A Salt job that is terminated runs only what was given to its process's
``register_finalize_method``. Each hook remembers its process id, because a forked child inherits the hooks.

This module imports nothing that takes long, and nothing later than at its own import: a fork in the middle of an import
leaves the child a module that is locked for ever. So it takes ``threading`` and the others from ``sys.modules``. Where
nobody has imported one of them, there is no hook to register with it.
"""

from __future__ import annotations

import atexit
import os
import sys
from _thread import get_ident

from zkcoord._core import _finish, _forked

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable
    from typing import Any

# How far the end of a process has come: threads other than the main one may not wait any more, or not call any more.
_NO_WAITS, _NO_CALLS = 1, 2

_pid = 0
_main = get_ident()
_threads: _Threads | None = None
_before_executors = False


class _Threads:
    """The threads of this process, once there can be any but the main one."""

    def __init__(self, threading: Any, bystanders: Iterable[threading.Thread]) -> None:
        """Take the module `threading`, and the threads that were there before the first call of zkcoord."""
        self.threading = threading
        new = sys.modules["_weakrefset"].WeakSet  # `threading` itself has imported it
        self.callers, self.bystanders = new(), new(bystanders)
        self.closer: threading.Thread | None = None


def enter() -> bool:
    """Note that this thread makes a call, and register the hooks for the end of its process.

    Return whether this is the main thread, on which Python runs signal handlers.
    """
    global _pid, _threads, _before_executors  # noqa: PLW0603 - one process, one state
    threading = sys.modules.get("threading")
    if is_first := os.getpid() != _pid:
        _pid = os.getpid()
        _threads, _before_executors = None, False
        atexit.register(_hook, _pid, _at_exit)
        _register_with_multiprocessing()
    if threading is None:
        return get_ident() == _main
    if _threads is None:
        _threads = _Threads(threading, threading.enumerate() if is_first else ())
        _before_executors = _register_with_threading()
    elif not _before_executors and "concurrent.futures.thread" in sys.modules:
        # `threading` runs the last registration first. The hook of `concurrent.futures` waits for its threads, which
        # may wait in a call of ours: so our hook is registered again, to end these waits before that.
        _before_executors = _register_with_threading()
    thread = threading.current_thread()
    _threads.callers.add(thread)
    return thread is threading.main_thread()


def _register_with_threading() -> bool:
    """Have waits ended when `threading` shuts down. Return whether that comes before executors wait for threads."""
    assert _threads is not None
    try:
        _threads.threading._register_atexit(_hook, _pid, _at_end)
    except (AttributeError, RuntimeError):  # the function is private, or `threading` is shutting down already
        return True
    return "concurrent.futures.thread" in sys.modules


def _register_with_multiprocessing() -> None:
    util = sys.modules.get("multiprocessing.util")
    if util is None:
        return
    util.Finalize(None, _hook, (_pid, _at_end), exitpriority=0)
    own = sys.modules["multiprocessing.process"].current_process()
    if hasattr(own, "register_finalize_method"):  # Salt's
        own.register_finalize_method(lambda pid=_pid: _hook(pid, _at_once))


def _hook(pid: int, end: Callable[[], None]) -> None:
    if os.getpid() == pid:
        end()


def _at_exit() -> None:
    _finish(True, _NO_CALLS)


def _at_once() -> None:
    _finish(True, _NO_WAITS)


def _at_end() -> None:
    """End all waits now, and the sessions when all threads have ended that may work under a lease.

    Those are threads that have called zkcoord, or that began after its first call. Other threads were there before, and
    may be there for ever, as one of a Salt minion is: to wait for them would keep the process from ending.
    """
    assert _threads is not None
    threading = _threads.threading
    own = (threading.main_thread(), threading.current_thread(), _threads.closer)
    workers = [
        thread
        for thread in threading.enumerate()
        if thread not in own and not thread.daemon and (thread in _threads.callers or thread not in _threads.bystanders)
    ]
    _finish(not workers, _NO_WAITS)
    if workers and _threads.closer is None:
        _threads.closer = threading.Thread(target=_close_after, args=(workers,), name="zkcoord-close", daemon=False)
        try:
            _threads.closer.start()
        except RuntimeError:  # it is too late for a new thread, and the hook of `atexit` ends the sessions later
            _threads.closer = None


def _close_after(workers: Iterable[threading.Thread]) -> None:
    for worker in workers:
        worker.join()
    _finish(True, _NO_WAITS)


def _after_fork() -> None:
    global _main  # noqa: PLW0603
    _main = get_ident()
    _forked()


os.register_at_fork(after_in_child=_after_fork)
