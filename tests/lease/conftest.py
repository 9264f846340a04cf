"""What the tests of timed leases share."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kazoo.client import KazooClient
from zkcoord.lease import LeaseLocker

QUICK = {"lease_duration": 2.0, "renew_deadline": 1.0, "retry_period": 0.25}
"""A lease that is over soon."""
LONG_LEASE = {"lease_duration": 600.0, "retry_period": 0.25}
"""A lease that is not over in any test."""


@pytest.fixture
def path(root: str) -> str:
    """A lease of the test's own."""
    return f"{root.lower()}/lease"


@pytest.fixture
def lockers(hosts: str, path: str) -> Iterator[Callable[..., LeaseLocker]]:
    """Make a locker for the test's lease. What is held in the end is given back."""
    made: list[LeaseLocker] = []

    def make(owner: str = "a", zk_hosts: str = hosts, **options: Any) -> LeaseLocker:
        made.append(LeaseLocker(path, owner, zk_hosts, **{**LONG_LEASE, **options}))
        return made[-1]

    yield make
    for locker in made:
        if locker.held:
            locker.unlock()


@pytest.fixture
def record(zk: KazooClient, path: str) -> Callable[[], dict[str, Any]]:
    """What the znode holds."""
    return lambda: json.loads(zk.get(path)[0])


@pytest.fixture
def queued(zk: KazooClient, path: str) -> Callable[[], list[str]]:
    """The owners in the queue, the first one first."""

    def queued() -> list[str]:
        from kazoo.exceptions import NoNodeError

        try:
            places = sorted(zk.get_children(f"{path}-__wait__"), key=lambda name: name[-10:])
        except NoNodeError:
            return []
        owners = []
        for place in places:
            try:
                owners.append(zk.get(f"{path}-__wait__/{place}")[0].decode())
            except NoNodeError:
                continue
        return owners

    return queued
