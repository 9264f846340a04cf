"""The asyncio task that awaits a call in a worker thread: ``await asyncio.to_thread(zkcoord.lock, ...)``.

Asyncio tells a worker thread nothing when the task that awaits it is cancelled: the thread would wait on, take the slot
for nobody, and keep the program from ending (python/cpython#107505). `zkcoord.aio` is made for asyncio; here a program
that does not use it is kept from losing a slot. How a worker thread finds its future is a detail of Python. Where that
is not as expected, the call is not cancelled with its task.
"""

from __future__ import annotations

import sys
import time

from zkcoord._core import Cancel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import Future
    from typing import Any


# The threads of asyncio's own executor, where `to_thread` and `run_in_executor(None, ...)` run.
_NAME = "asyncio_"
# Seconds that the event loop, which has just started this thread, may take to chain its future to that of the thread.
_LIMIT = 0.1
_PAUSE = 0.0005


def cancelled_with_its_future() -> Cancel | None:
    """Return a `Cancel` that ends with the asyncio future which awaits this thread's call; None where there is none."""
    workers, threading = sys.modules.get("concurrent.futures.thread"), sys.modules.get("threading")
    if workers is None or threading is None or not threading.current_thread().name.startswith(_NAME):
        return None
    future = None
    limit = time.monotonic() + _LIMIT
    try:
        while future is None and time.monotonic() < limit:
            if (future := _asyncio_future(workers._WorkItem.run.__code__)) is None:
                time.sleep(_PAUSE)
    except (AttributeError, KeyError, ValueError):
        return None
    if future is None:
        return None
    cancel = Cancel()

    def end(future: Future[Any]) -> None:
        if future.cancelled():
            cancel.cancel()

    try:
        future.get_loop().call_soon_threadsafe(future.add_done_callback, end)
    except RuntimeError:  # the loop is closed: nobody awaits the call any more
        cancel.cancel()
    return cancel


def _asyncio_future(run: object) -> Future[Any] | None:
    """Return the asyncio future that is chained to the one which this thread works for."""
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_code is run:
            return _chained(frame.f_locals["self"].future)
    return None


def _chained(future: Any) -> Future[Any] | None:
    for callback in tuple(future._done_callbacks):
        cells = dict(zip(callback.__code__.co_freevars, callback.__closure__ or (), strict=False))
        if "destination" in cells:
            found: Future[Any] = cells["destination"].cell_contents
            return found
    return None
