"""What the tests of a coordinator share: one coordinator for each test, below a root of its own."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import pytest
from zkcoord import grants


@pytest.fixture
def at(hosts: str, root: str) -> SimpleNamespace:
    """The functions of `zkcoord.grants` on the test's own coordinator, and what it is called."""
    place = {"zk_hosts": hosts, "root": root, "key": "k"}
    names = ("acquire", "release", "handle", "grant", "queue", "locks", "granted", "set_policy", "grant_if", "foretell")
    functions = {name: partial(getattr(grants, name), **place) for name in names}
    return SimpleNamespace(**functions, place=place, path=f"{root}/k")


@pytest.fixture
def held(at: SimpleNamespace):
    """The units that are granted a lock, and those that wait, in their order."""

    def held(lock: str = "restart") -> tuple[list[str], list[str]]:
        found = at.queue(lock)
        return [it["unit"] for it in found["holders"]], [it["unit"] for it in found["waiters"]]

    return held
