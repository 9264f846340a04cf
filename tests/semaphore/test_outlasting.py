"""A time that the caller names is obeyed through an outage by whatever writes; without one a call gives up soon."""

import contextlib
import time
import uuid
from typing import NamedTuple

import pytest
import zkcoord
from zkcoord import Connection, errors, hold, lock, lock_holders, set_max, unlock, znode
from zkcoord.testing import proxied

from tests.support.calls import Waiting

OUTAGE = 1.5
"""Seconds; three times as long as an ensemble is looked for here."""

LONG = 30
"""Seconds that a call has which outlasts it."""

CALLS = {
    "unlock": lambda root, at: unlock(root, identifier="a", **at),
    "set_max": lambda root, at: set_max(root, 2, **at)["new"] == 2,
    "forced lock": lambda root, at: lock(root, identifier="b", force=True, **at),
    "create": lambda root, at: znode.create(f"{root}-new", "x", **at) == f"{root}-new",
    "set": lambda root, at: znode.set(f"{root}-old", "x", **at)[4] == 1,
    "set_acls": lambda root, at: znode.set_acls(f"{root}-old", {"scheme": "world", "id": "anyone", "perms": "a"}, **at),
    "delete": lambda root, at: znode.delete(f"{root}-old", **at) is None,
}
SILENT = ["unlock", "set_max", "set"]
TIMED = ["unlock", "set_max", "create"]


class Tried(NamedTuple):
    """What became of a call in an outage."""

    waited: bool
    """It was under way when the outage ended."""
    seconds: float
    calling: Waiting


def through(ensemble, begin, end, given, session_timeout):
    """Try calls in one outage, each at a pool and with a session of its own, which is open when the outage begins.

    `given` has the time of each call, or None where it names none.
    """
    with proxied(ensemble) as proxies:
        ready = []
        for number, (call, timeout) in enumerate(given):
            root = f"/outlasting-{uuid.uuid4().hex[:8]}"
            znode.create(f"{root}-old", "", ensemble.hosts)
            # Another time, another session.
            own = session_timeout + number / 10
            connection = Connection(proxies.hosts, connect_timeout=0.5, session_timeout=own)
            assert lock(root, connection=connection, identifier="a")
            time_of_its_own = {} if timeout is None else {"timeout": timeout}
            ready.append((call, root, {"connection": connection, **time_of_its_own}))
        ended = {}

        def timed(key, call, root, at):
            started = time.monotonic()
            try:
                return CALLS[call](root, at)
            finally:
                ended[key] = time.monotonic() - started

        for proxy in proxies:
            getattr(proxy, begin)()
        calling = {key: Waiting(timed, key, *it) for key, it in zip(given, ready, strict=True)}
        time.sleep(OUTAGE)
        waited = {key: not it.done for key, it in calling.items()}
        for (_, timeout), it in zip(given, calling.values(), strict=True):
            assert timeout == LONG or it.ended(), "it ends in the outage"
        for proxy in proxies:
            getattr(proxy, end)()
        assert all(it.ended() for it in calling.values())
        zkcoord.close()
        return {key: Tried(waited[key], ended[key], it) for key, it in calling.items()}


@pytest.fixture(scope="module")
def outage(ensemble):
    return through(ensemble, "refuse", "accept", [(call, LONG) for call in CALLS], session_timeout=3)


@pytest.mark.parametrize("call", CALLS)
def test_a_call_with_time_outlasts_an_outage(outage, call):
    assert outage[call, LONG].waited
    # What was on its way when the outage began is not repeated by these three: it is done, or not known to be.
    with contextlib.suppress(*[errors.ConnectionLost] if call in ("set", "set_acls", "delete") else []):
        assert outage[call, LONG].calling.result()


@pytest.fixture(scope="module")
def silence(ensemble):
    # A connection that is silent for two fifths of this is given up, and what was sent over it is then in doubt.
    return through(ensemble, "stall", "resume", [(call, LONG) for call in SILENT], session_timeout=30)


@pytest.mark.parametrize("call", SILENT)
def test_a_call_with_time_outlasts_a_silence(silence, call):
    assert silence[call, LONG].waited
    assert silence[call, LONG].calling.result()


@pytest.fixture(scope="module")
def refused(ensemble):
    given = [*((call, None) for call in CALLS), *((call, OUTAGE) for call in TIMED)]
    return through(ensemble, "refuse", "accept", given, session_timeout=3)


@pytest.mark.parametrize("call", CALLS)
def test_a_call_without_gives_up_as_soon_as_an_ensemble_is_not_found(refused, call):
    tried = refused[call, None]
    with pytest.raises((errors.Unreachable, errors.ConnectionLost)):
        tried.calling.result()
    assert tried.seconds < OUTAGE


@pytest.mark.parametrize("call", TIMED)
def test_its_time_is_all_that_it_takes(refused, call):
    tried = refused[call, OUTAGE]
    with pytest.raises((errors.Unreachable, errors.ConnectionLost)):
        tried.calling.result()
    assert OUTAGE <= tried.seconds < OUTAGE + 2


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
