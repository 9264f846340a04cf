"""Calls that wait, in threads of the test's own process."""

from __future__ import annotations

import threading
from collections.abc import Callable
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

    def result(self, limit: float = 30.0) -> Any:
        """What the call returned or raised; fails if it is still under way."""
        self._thread.join(limit)
        assert self.done, f"still waiting after {limit} s"
        if self._error:
            raise self._error[0]
        return self._outcome[0]


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
