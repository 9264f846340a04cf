"""Calls that wait, in threads of the test's own process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from kazoo.client import KazooClient
from kazoo.exceptions import NoNodeError


class Waiting:
    """A call under way in a thread."""

    def __init__(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self._outcome: list[Any] = []
        self._error: list[BaseException] = []
        self._thread = threading.Thread(target=self._run, args=(function, args, kwargs), daemon=True)
        self._thread.start()

    def _run(self, function: Callable[..., Any], args: Any, kwargs: Any) -> None:
        try:
            self._outcome.append(function(*args, **kwargs))
        except BaseException as error:
            self._error.append(error)

    @property
    def done(self) -> bool:
        return not self._thread.is_alive()

    def ended(self, limit: float = 30.0) -> bool:
        """Wait until the call has ended, in whatever way; False if it is still under way then."""
        self._thread.join(limit)
        return self.done

    def result(self, limit: float = 30.0) -> Any:
        """What the call returned or raised; fails if it is still under way."""
        assert self.ended(limit), f"still waiting after {limit} s"
        if self._error:
            raise self._error[0]
        return self._outcome[0]


def together(function: Callable[..., Any], cases: Iterable[Any], at_once: int = 16) -> dict[Any, Future[Any]]:
    """Call a function for every case, many at once, and wait for the end of all.

    For tests that mostly wait, each for itself: the first of them has all cases tried, and each asks for the result of
    its own, or for the error that it ended with.
    """
    with ThreadPoolExecutor(at_once) as threads:
        return {case: threads.submit(function, case) for case in cases}


def wait_until(condition: Callable[[], object], what: str, limit: float = 15.0) -> None:
    """Wait for something that can be seen, and fail with its name."""
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, f"not within {limit} s: {what}"
        time.sleep(0.01)


def children(zk: KazooClient, path: str) -> list[str]:
    """The children as the leader knows them; none of a znode that does not exist."""
    zk.sync("/")
    try:
        return zk.get_children(path)
    except NoNodeError:
        return []


def queue(zk: KazooClient, pool: str) -> list[str]:
    """The identifiers in a pool's queue, the first one first."""
    places = sorted(children(zk, f"{pool}-__lock__"), key=lambda name: name[-10:])
    found = []
    for place in places:
        try:
            found.append(zk.get(f"{pool}-__lock__/{place}")[0].decode())
        except NoNodeError:
            continue
    return found


def settings(**values: object) -> Callable[[str, object], object]:
    """A `config_get` that knows `zookeeper:KEY` for the given keys."""
    known = {f"zookeeper:{key}": value for key, value in values.items()}
    return lambda key, default=None: known.get(key, default)


PATIENCE = settings(connect_timeout=3600)
"""Longer than any test may take: who gives up before has not waited for it."""
