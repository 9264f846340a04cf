"""How Python hears that a timed lease of this process is renewed late, or lost: one thread listens for all of them.

The core renews leases by itself, also while Python is busy, and calls nobody. So a thread of Python waits for its news,
from the first lease that is held until the last one has ended.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, field
from functools import partial

from zkcoord import _core
from zkcoord._call import call
from zkcoord._lease_calls import failed
from zkcoord.errors import Cancelled, Error, no_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Listener = Callable[[str, str, str | None], None]

_PAUSE = 0.2
# Seconds that the news of a lease wait for a listener which another thread is calling at that moment.
_LISTENER_TIME = 1


@dataclass
class _Listening:
    """A lease, and who is called with its news: one call at a time, so that a loss is heard before what follows it."""

    lease: _core.TimedLease
    listener: Listener
    # A listener may give the lease back itself.
    turn: threading.RLock = field(default_factory=threading.RLock)
    is_lost: bool = False


class _Listeners:
    """The listeners of one process. A forked child has none of its parent's."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.guard = threading.Lock()
        self.by_hold: dict[str, _Listening] = {}
        self.is_running = False


_listeners = _Listeners()


def _own() -> _Listeners:
    global _listeners  # noqa: PLW0603 - one for each process
    if _listeners.pid != os.getpid():
        _listeners = _Listeners()
    return _listeners


def listen(lease: _core.TimedLease, listener: Listener) -> None:
    """Have `listener` called with ``("late" | "lost", why, who has it)`` until `forget`.

    The lease is referred to until then: the core does not renew a lease that nobody refers to.

    Raises:
        OutOfResources: No thread can be started.
    """
    own = _own()
    with own.guard:
        own.by_hold[lease.hold] = _Listening(lease, listener)
        if own.is_running:
            return
        try:
            threading.Thread(target=_wait, args=(own,), name="zkcoord-lease", daemon=True).start()
        except RuntimeError as err:
            del own.by_hold[lease.hold]
            raise no_thread() from err
        own.is_running = True


def settle(lease: _core.TimedLease) -> None:
    """Call the listener in this thread where the lease is lost, and the listener has not heard that yet."""
    loss = lease.loss()
    if loss is not None:
        _tell(_own(), lease.hold, "lost", *loss)


def forget(lease: _core.TimedLease) -> None:
    """Forget the listener of a lease, after it has heard that the lease is lost, where it is."""
    settle(lease)
    drop(lease)


def drop(lease: _core.TimedLease) -> None:
    """Forget the listener of a lease."""
    own = _own()
    with own.guard:
        own.by_hold.pop(lease.hold, None)


def _wait(own: _Listeners) -> None:
    while True:
        with own.guard:
            settings = next((heard.lease.connection_settings for heard in own.by_hold.values()), None)
            if settings is None:
                own.is_running = False
                return
        try:
            news = call(partial(_core.lease_news, settings), None, None, True)
        except Cancelled:  # `close`, or the end of the process, has cancelled all calls
            time.sleep(_PAUSE)
            continue
        except Error as err:
            _tell_all(own, f"it cannot be watched any more ({err})")
            time.sleep(_PAUSE)
            continue
        if news is not None:
            hold, kind, why, by = news
            _safely(own, hold, kind, why, by)


def _tell_all(own: _Listeners, why: str) -> None:
    with own.guard:
        leases = [heard.lease for heard in own.by_hold.values()]
    for lease in leases:
        lease.give_up()
        _safely(own, lease.hold, "lost", why, None)


def _safely(own: _Listeners, hold: str, kind: str, why: str, by: str | None) -> None:
    """Call the listener, and log all that it raises: also a ``sys.exit`` must not end the thread of all leases."""
    try:
        _tell(own, hold, kind, why, by)
    except BaseException:
        failed()


def _tell(own: _Listeners, hold: str, kind: str, why: str, by: str | None) -> None:
    with own.guard:
        heard = own.by_hold.get(hold)
    if heard is None:
        return
    # A slow listener holds up neither the release of its lease nor, for long, the news of others.
    has_turn = heard.turn.acquire(timeout=_LISTENER_TIME)
    try:
        with own.guard:
            # Another thread may have reported the loss meanwhile, or have dropped the listener.
            is_due = own.by_hold.get(hold) is heard and not heard.is_lost
            heard.is_lost |= is_due and kind == "lost"
        if is_due:
            heard.listener(kind, why, by)
    finally:
        if has_turn:
            heard.turn.release()
        if kind == "lost":
            drop(heard.lease)
