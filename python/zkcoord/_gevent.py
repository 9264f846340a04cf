"""Calls that a greenlet of gevent makes.

All greenlets of a thread run in turns, in that thread. A call of the core would stop them all, also the one that is to
give back the slot for which the call waits, and gevent would not see a signal meanwhile. So the call is made in a
thread of its own, and only the greenlet that has made it waits. An exception that ends the greenlet's wait
(``GreenletExit``, ``gevent.Timeout``, a ``KeyboardInterrupt``) cancels the call, and goes on when nothing of the call
is left.

The threads are not those of the hub's own pool, which has ten. Ten greenlets that wait would fill it, and the call that
is to free a slot for them, or the hub's resolver, would wait for ever.

gevent is not imported here: a program that has not imported it has no greenlets.
"""

from __future__ import annotations

import os
import sys
from _thread import get_native_id

from zkcoord import _core
from zkcoord.errors import Error, no_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias, TypeVar

    _T = TypeVar("_T")
    Wait: TypeAlias = tuple[float | None, _core.Cancel | None, bool]
    Listener: TypeAlias = Callable[[int], object]
    Work: TypeAlias = Callable[[Wait, Listener | None], _T]


# Seconds for giving back a lease that was taken for a greenlet which does not wait for it any more.
_A_MOMENT = 1.0

# The calls under way of this process.
_under_way: set[Call] = set()


def hub_of_this_greenlet() -> Any:
    """Return the hub that runs this thread's greenlets; None where there is none, or where it is the hub that calls."""
    gevent, local = sys.modules.get("gevent"), sys.modules.get("gevent._hub_local")
    if gevent is None or local is None or not hasattr(gevent, "getcurrent"):  # gevent is being imported
        return None
    hub = local.get_hub_if_exists()
    if hub is None:
        monkey = sys.modules.get("gevent.monkey")
        # Other threads than the main one have a hub only if they run greenlets.
        if monkey is None or get_native_id() != os.getpid() or not monkey.is_module_patched("threading"):
            return None
        hub = gevent.get_hub()
    return None if gevent.getcurrent() is hub else hub


class Call:
    """A call of the core in a thread of its own, for which one greenlet waits."""

    def __init__(
        self,
        hub: Any,
        work: Work[Any],
        timeout: float | None,
        cancel: _core.Cancel | None,
        raise_on_signal: bool,
        on_position: Listener | None,
    ) -> None:
        """Begin the call."""
        self._hub = hub
        # Only the caller may cancel its own `Cancel`, which other calls may have as well. This call has a child of it.
        self._cancel = cancel.child() if isinstance(cancel, _core.Cancel) else _core.Cancel()
        given = self._cancel if cancel is None or isinstance(cancel, _core.Cancel) else cancel
        self._work, self._wait = work, (timeout, given, raise_on_signal)
        self._listener, self._position = on_position, 0
        self._is_over = False
        self._answer: Any = None
        self._error: BaseException | None = None
        self._guard = _native("allocate_lock")()
        self._event = sys.modules["gevent.event"].Event()
        self._watcher = hub.loop.async_()
        self._watcher.start(self._event.set)
        _under_way.add(self)
        try:
            _native("start_new_thread")(self._run, ())
        except RuntimeError as err:
            self._forget()
            raise no_thread() from err

    def answer(self) -> Any:
        """Wait for the answer."""
        try:
            while not self._is_over:
                self._event.wait()
                self._event.clear()
                self._tell()
        except BaseException:
            self._end()
            raise
        self._forget()
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None  # its traceback has this frame, and so this object
        return self._answer

    def leave_to_parent(self) -> None:
        """Let the greenlet sleep in a forked child, as if it were a thread that the child does not have.

        The thread of the call is the parent's, and no answer will come here. So the hub waits for none any more.
        """
        self._watcher.stop()

    def _run(self) -> None:
        listener = self._listener if self._listener is None or not callable(self._listener) else self._note
        try:
            self._answer = self._work(self._wait, listener)
        except BaseException as err:
            self._error = err
        self._is_over = True
        self._wake()

    def _note(self, position: int) -> None:
        self._position = position
        self._wake()

    def _wake(self) -> None:
        with self._guard:
            if self._watcher is not None:
                self._watcher.send()

    def _tell(self) -> None:
        position, self._position = self._position, 0
        if position and self._listener is not None and not self._is_over:
            self._listener(position)

    def _end(self) -> None:
        """Cancel the call, wait until it is over, and give back what it has taken."""
        self._cancel.cancel()
        self._wait_on()
        if isinstance(self._answer, (_core.Hold, _core.TimedLease)):
            taken = self._answer
            try:
                Call(self._hub, lambda wait, _: taken.release(wait), _A_MOMENT, None, False, None)._wait_on()
            except Error:  # the call could not begin
                return

    def _wait_on(self) -> None:
        """Wait until the call is over, whatever is raised meanwhile. A call that is cancelled takes about a second."""
        while not self._is_over:
            try:
                self._event.wait()
            except BaseException:  # the greenlet raises the first exception, and not this one
                continue
            self._event.clear()
        self._forget()

    def _forget(self) -> None:
        _under_way.discard(self)
        with self._guard:
            watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.stop()
            watcher.close()


def _native(name: str) -> Any:
    """A function of `_thread` as it is without gevent's patches."""
    monkey = sys.modules.get("gevent.monkey")
    return getattr(sys.modules["_thread"], name) if monkey is None else monkey.get_original("_thread", name)


def _after_fork() -> None:
    calls = [*_under_way]
    _under_way.clear()
    for call in calls:
        call.leave_to_parent()


os.register_at_fork(after_in_child=_after_fork)
