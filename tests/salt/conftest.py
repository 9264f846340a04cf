"""What the tests with real Salt share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import NoNodeError

from tests.support.salt import LONG, Minionless


@pytest.fixture
def minionless(tmp_path: Path) -> Iterator[Callable[..., Minionless]]:
    """Make a `Minionless`; what it has started ends with the test."""
    made: list[Minionless] = []

    def make(version: str = "3008", **config: object) -> Minionless:
        made.append(Minionless(tmp_path / f"minionless-{len(made)}", version, **config))
        return made[-1]

    yield make
    for each in made:
        each.end()


@pytest.fixture
def salt_call(minionless: Callable[..., Minionless], hosts: str) -> Minionless:
    """`salt-call --local` of the newest Salt, with the ensemble as its default and as profile `blue`."""
    return minionless(
        zookeeper={"hosts": hosts, "session_timeout": LONG, "blue": {"hosts": hosts.split(",")}}
    )


@pytest.fixture
def children(zk: KazooClient) -> Callable[[str], list[str]]:
    """The children of a znode as the leader knows them; none if there is no such znode."""

    def children(path: str) -> list[str]:
        zk.sync(path)
        try:
            return zk.get_children(path)
        except NoNodeError:
            return []

    return children


@pytest.fixture
def waiters(children: Callable[[str], list[str]], root: str) -> Callable[[], list[str]]:
    """The places in the queue of the test's own pool."""
    return lambda: children(f"{root}-__lock__")
