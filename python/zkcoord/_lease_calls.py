"""What the calls about timed leases share: one call of an object at a time, and listeners that may fail."""

from __future__ import annotations

import sys
import threading
import time

from zkcoord import _core, _gevent
from zkcoord.errors import ArgumentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Terms = tuple[float, bool, float | None]
    Pace = tuple[float, float, bool]

# Seconds between two tries of a greenlet. To block would stop all greenlets of its thread, also the one that has the
# turn.
_PAUSE = 0.01


class Turn:
    """One call of an object at a time. Entering it returns False where another call took too long."""

    def __init__(self, guard: threading.Lock, timeout: float | None) -> None:
        """Take the guard of the object, and how long to wait for a turn. Nothing is waited for yet."""
        self._guard, self._timeout = guard, timeout

    def __enter__(self) -> bool:
        """Wait for the turn. A greenlet lets others run meanwhile: the one that has the turn may be of its thread."""
        if "gevent" in sys.modules and _gevent.hub_of_this_greenlet() is not None:
            self._has = self._polled()
        else:
            limit = -1 if self._timeout is None else min(self._timeout, threading.TIMEOUT_MAX)
            self._has = self._guard.acquire(timeout=limit)
        return self._has

    def _polled(self) -> bool:
        end = None if self._timeout is None else time.monotonic() + self._timeout
        while not self._guard.acquire(blocking=False):
            if end is not None and time.monotonic() >= end:
                return False
            sys.modules["gevent"].sleep(_PAUSE)
        return True

    def __exit__(self, *_: object) -> None:
        """End the turn."""
        if self._has:
            self._guard.release()


def check_terms(name: str, terms: Terms, pace: Pace | None = None) -> None:
    """Refuse terms that are not valid, and log a warning of terms that compare the clocks of two hosts."""
    if not _core.lease_check(terms, pace):
        log(
            "warning",
            "%s: use_observed_time is false: where the clocks of two hosts differ by more than %s s, both hold it",
            (name, terms[0]),
        )


def check_callable(name: str, value: object) -> None:
    """Refuse a listener that cannot be called, and do so before there is anything to call it with."""
    if value is not None and not callable(value):
        raise ArgumentError(f"{name}: must be callable, or None")


def quietly(function: Callable[[], object]) -> None:
    """Call a listener, and log what it raises: an exception of a listener must not end a lease."""
    try:
        function()
    except Exception:
        failed()


def failed() -> None:
    """Log the exception of a listener."""
    import logging  # noqa: PLC0415 - it takes long, and is rarely needed

    logging.getLogger("zkcoord").exception("a listener of a timed lease failed")


def log(level: str, message: str, arguments: tuple[object, ...]) -> None:
    """Log a line of this package."""
    import logging  # noqa: PLC0415

    getattr(logging.getLogger("zkcoord"), level)(message, *arguments)
