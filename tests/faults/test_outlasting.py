"""A time that the caller names is obeyed through an outage by whatever writes; without one a call gives up soon."""

import contextlib
import time

import pytest
from zkcoord import Connection, errors, hold, lock, lock_holders, set_max, unlock, znode

from tests.support.calls import Waiting

OUTAGE = 1.5
"""Seconds; three times as long as an ensemble is looked for here."""
ANYONE = {"scheme": "world", "id": "anyone", "perms": "a"}


CALLS = {
    "unlock": lambda root, at: unlock(root, identifier="a", **at),
    "set_max": lambda root, at: set_max(root, 2, **at)["new"] == 2,
    "forced lock": lambda root, at: lock(root, identifier="b", force=True, **at),
    "create": lambda root, at: znode.create(f"{root}-new", "x", **at) == f"{root}-new",
    "set": lambda root, at: [znode.set(f"{root}-old", "x", **at)],
    "set_acls": lambda root, at: [znode.set_acls(f"{root}-old", ANYONE, **at)],
    "delete": lambda root, at: [znode.delete(f"{root}-old", **at)],
}


@pytest.fixture
def connection(proxies, hosts, root):
    """Of a process that is connected when the outage begins."""
    znode.create(f"{root}-old", "", hosts)
    connection = Connection(proxies.hosts, connect_timeout=0.5)
    assert lock(root, connection=connection, identifier="a")
    return connection


@pytest.mark.parametrize("call", CALLS)
def test_a_call_with_time_outlasts_an_outage(proxies, connection, root, call):
    for proxy in proxies:
        proxy.refuse()
    calling = Waiting(CALLS[call], root, {"connection": connection, "timeout": 30})
    time.sleep(OUTAGE)
    assert not calling.done
    for proxy in proxies:
        proxy.accept()
    # A write that was on its way when the outage began is not repeated: it is done, or not known to be.
    with contextlib.suppress(*(() if call not in ("set", "set_acls", "delete") else (errors.ConnectionLost,))):
        assert calling.result()


@pytest.mark.parametrize("call", CALLS)
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


@pytest.mark.parametrize("call", CALLS)
def test_its_time_is_all_that_it_takes(proxies, connection, root, call):
    for proxy in proxies:
        proxy.refuse()
    started = time.monotonic()
    with pytest.raises((errors.Unreachable, errors.ConnectionLost)):
        CALLS[call](root, {"connection": connection, "timeout": OUTAGE})
    assert OUTAGE <= time.monotonic() - started < OUTAGE + 2


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


def test_an_unlock_with_a_minute_outlasts_an_outage_of_thirteen_seconds(ensemble, hosts, root):
    """As long as the servers keep a silent session by default, and longer than an ensemble is looked for by default."""
    lock(root, hosts, identifier="a", ephemeral_lease=False)
    for server in ensemble.servers:
        server.pause()
    try:
        calling = Waiting(unlock, root, hosts, identifier="a", timeout=60)
        time.sleep(13)
        assert not calling.done
    finally:
        for server in ensemble.servers:
            server.resume()
    assert calling.result(60) is True
    ensemble.wait_ready()
    assert lock_holders(root, hosts) == []
