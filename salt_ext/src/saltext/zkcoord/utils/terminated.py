"""
A job that is terminated while it holds a slot or a lease.

Salt ends such a job by a signal. The processes that the job has started (a command, a state in a process of its own) go
on for a while, and ``salt-call`` does not end them at all. If the slot were given back at once, its next holder would
act beside them. So the signal's handler first ends the processes that were started under the slot, and the slot is
given back after that.
"""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import psutil

log = logging.getLogger(__name__)

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

# Seconds for the processes to end after SIGTERM, and after SIGKILL.
_GRACE = 5.0
_KILLED = 2.0
_PAUSE = 0.02


class Guard:
    """Ends the processes that this one has started since the guard was set up, before a signal ends this one itself."""

    def __init__(self) -> None:
        """Set up the guard. Only the main thread of a process gets signals: in any other, there is nothing to guard."""
        self._pid = os.getpid()
        self._before = set(_descendants())
        self._handlers: dict[int, Any] = {}
        if threading.current_thread() is not threading.main_thread():
            return
        for number in _SIGNALS:
            handler = signal.getsignal(number)
            if handler not in (None, signal.SIG_IGN):
                self._handlers[number] = handler
                signal.signal(number, self._handle)

    def remove(self) -> None:
        """Restore the handlers that were there before, where nobody has set others since."""
        for number, handler in self._handlers.items():
            if signal.getsignal(number) == self._handle:
                signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        # A child that was forked since has inherited this handler, and has started nothing under the slot.
        if os.getpid() == self._pid:
            self.end_started()
        handler: Callable[[int, FrameType | None], object] | int = self._handlers[number]
        if callable(handler):
            handler(number, frame)
        else:  # the default action ends a process without giving anything back
            sys.exit(128 + number)

    def end_started(self) -> None:
        """End the processes that were started since the guard was set up: by SIGTERM, and then by SIGKILL."""
        for end, limit in ((psutil.Process.terminate, _GRACE), (psutil.Process.kill, _KILLED)):
            deadline = time.monotonic() + limit
            signalled: set[psutil.Process] = set()
            while started := [process for process in _descendants() if process not in self._before]:
                for process in started:
                    if process not in signalled:
                        signalled.add(process)
                        _quietly(lambda process=process, end=end: end(process))
                if time.monotonic() > deadline:
                    break
                time.sleep(_PAUSE)
            else:
                return
        names = ", ".join(f"{process.pid}" for process in started)
        log.error("Processes that were started under a slot do not end: %s. The slot is given back all the same", names)


def _descendants() -> list[psutil.Process]:
    """The processes that this one has started, and theirs; not those that have ended, and wait to be reaped."""
    found = _quietly(lambda: psutil.Process().children(recursive=True)) or []
    return [process for process in found if _quietly(process.status) not in (None, psutil.STATUS_ZOMBIE)]


def _quietly(query: Callable[[], Any]) -> Any:
    """Answer ``None`` for a process that is gone by now."""
    try:
        return query()
    except psutil.Error:
        return None
