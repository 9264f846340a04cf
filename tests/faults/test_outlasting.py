"""A time that the caller names is obeyed through an outage by whatever writes; without one a call gives up soon."""

import time

import pytest
from zkcoord import Connection, errors, hold, lock, lock_holders, set_max, unlock, znode

from tests.support.calls import Waiting

OUTAGE = 1.5
"""Seconds; three times as long as an ensemble is looked for here."""

CALLS = {
    "unlock": lambda root, at: unlock(root, identifier="a", **at),
    "set_max": lambda root, at: set_max(root, 2, **at)["new"] == 2,
    "forced lock": lambda root, at: lock(root, identifier="b", force=True, **at),
    "create": lambda root, at: znode.create(f"{root}-new", "x", **at) == f"{root}-new",
    "set": lambda root, at: znode.set(f"{root}-old", "x", **at)[4] == 1,
    "set_acls": lambda root, at: znode.set_acls(f"{root}-old", {"scheme": "world", "id": "anyone", "perms": "a"}, **at),
    "delete": lambda root, at: znode.delete(f"{root}-old", **at) is None,
}


@pytest.fixture
def connection(proxies, hosts, root):
    """Of a process that is connected when the outage begins."""
    znode.create(f"{root}-old", "", hosts)
    connection = Connection(proxies.hosts, connect_timeout=0.5, session_timeout=3)
    assert lock(root, connection=connection, identifier="a")
    return connection


@pytest.mark.parametrize("call", CALLS)
def test_a_call_with_time_outlasts_an_outage(proxies, connection, root, call):
    for proxy in proxies:
        proxy.refuse()
    time.sleep(0.2)  # it is known by then, and nothing is sent whose reply would be lost
    calling = Waiting(CALLS[call], root, {"connection": connection, "timeout": 30})
    time.sleep(OUTAGE)
    assert not calling.done
    for proxy in proxies:
        proxy.accept()
    assert calling.result()


@pytest.mark.parametrize("call", ["unlock", "set_max", "set"])
def test_a_call_with_time_outlasts_a_silence(proxies, connection, root, call):
    for proxy in proxies:
        proxy.stall()
    calling = Waiting(CALLS[call], root, {"connection": connection, "timeout": 30})
    time.sleep(OUTAGE)
    assert not calling.done
    for proxy in proxies:
        proxy.resume()
    assert calling.result()


@pytest.mark.parametrize("call", CALLS)
def test_a_call_without_gives_up_as_soon_as_an_ensemble_is_not_found(proxies, connection, root, call):
    for proxy in proxies:
        proxy.refuse()
    started = time.monotonic()
    with pytest.raises((errors.Unreachable, errors.ConnectionLost)):
        CALLS[call](root, {"connection": connection})
    assert time.monotonic() - started < OUTAGE
    for proxy in proxies:
        proxy.accept()


@pytest.mark.parametrize("call", ["unlock", "set_max", "create"])
def test_its_time_is_all_that_it_takes(proxies, connection, root, call):
    for proxy in proxies:
        proxy.refuse()
    started = time.monotonic()
    with pytest.raises((errors.Unreachable, errors.ConnectionLost)):
        CALLS[call](root, {"connection": connection, "timeout": OUTAGE})
    assert OUTAGE <= time.monotonic() - started < OUTAGE + 2
    for proxy in proxies:
        proxy.accept()


def test_a_release_outlasts_an_outage(proxies, hosts, root):
    held = hold(root, proxies.hosts, identifier="a", connect_timeout=0.5)
    for proxy in proxies:
        proxy.refuse()
    releasing = Waiting(held.release, 30)
    time.sleep(OUTAGE)
    assert not releasing.done
    for proxy in proxies:
        proxy.accept()
    assert releasing.result() is True
    assert lock_holders(root, hosts) == []


def test_a_first_call_outlasts_an_outage_too(proxies, hosts, root):
    lock(root, hosts, identifier="a")
    for proxy in proxies:
        proxy.refuse()
    calling = Waiting(unlock, root, proxies.hosts, identifier="a", connect_timeout=0.5, timeout=30)
    time.sleep(OUTAGE)
    assert not calling.done
    for proxy in proxies:
        proxy.accept()
    assert calling.result() is True


def test_an_unlock_with_a_minute_outlasts_an_outage_of_thirteen_seconds(proxies, hosts, root):
    """Longer than the servers keep a silent session by default, and than an ensemble is looked for by default."""
    lock(root, proxies.hosts, identifier="a")
    for proxy in proxies:
        proxy.refuse()
    calling = Waiting(unlock, root, proxies.hosts, identifier="a", timeout=60)
    time.sleep(13)
    assert not calling.done
    for proxy in proxies:
        proxy.accept()
    assert calling.result(60) is True
    assert lock_holders(root, hosts) == []
