"""The one way by which the public functions call the core, and what the core logs meanwhile."""

from __future__ import annotations

import sys

from zkcoord import _core, _gevent
from zkcoord._awaited import cancelled_with_its_future

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from zkcoord._gevent import Listener, Wait, Work

    _T = TypeVar("_T")


def call(work: Callable[[Wait], _T], timeout: float | None, cancel: _core.Cancel | None, raise_on_signal: bool) -> _T:
    """Call the core, and wait for its answer. `work` is called with ``(timeout, cancel, raise_on_signal)``.

    In a program on gevent only the greenlet that calls waits, and all others run on.
    """
    return _called(lambda wait, _: work(wait), timeout, cancel, raise_on_signal, None)


def wait_for(
    work: Work[_T],
    timeout: float | None,
    cancel: _core.Cancel | None,
    raise_on_signal: bool,
    on_position: Listener | None = None,
) -> _T:
    """As `call`, for a call that waits for others: it ends with the asyncio task that awaits it.

    `work` is called with `on_position` as well; in a greenlet of gevent, with what passes the position on to that.
    """
    cancel = cancelled_with_its_future() if cancel is None else cancel
    return _called(work, timeout, cancel, raise_on_signal, on_position)


def close() -> None:
    """End the sessions of this process now, and with them its ephemeral leases. Later calls open new sessions.

    Calls under way in other threads are cancelled: what they would get would be gone. A timed lease that a
    `zkcoord.lease.LeaseLocker` holds is not renewed any more, and counts as lost; with ``release_on_cancel`` it is
    given back.
    """
    call(lambda _: _core.close(), None, None, False)


def _called(
    work: Work[_T],
    timeout: float | None,
    cancel: _core.Cancel | None,
    raise_on_signal: bool,
    on_position: Listener | None,
) -> _T:
    if "gevent" in sys.modules and (hub := _gevent.hub_of_this_greenlet()) is not None:
        answer: _T = _gevent.Call(hub, work, timeout, cancel, raise_on_signal, on_position).answer()
        return answer
    return work((timeout, cancel, raise_on_signal), on_position)


def log(lines: list[tuple[int, str, float]]) -> None:
    """Log lines of the core: level, text, and how many seconds ago it was written. The core calls this.

    The logger is ``zkcoord.core``. Without a handler of the program's own its lines go nowhere: what a caller has to
    know, an exception says.
    """
    logging = sys.modules.get("logging")
    if logging is None or not hasattr(logging, "NullHandler"):  # or somebody imports it at this moment
        return
    logger = logging.getLogger("zkcoord.core")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    for level, text, age in lines:
        if age < 1:
            logger.log(level, "%s", text)
        else:
            logger.log(level, "%s (%.0f s ago)", text, age)
