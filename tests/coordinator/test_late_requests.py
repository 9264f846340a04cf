"""A request that was lost with its connection, and that a server carries out after all, when others have followed."""

from __future__ import annotations

import pytest
from zkcoord import Cancel, errors
from zkcoord.testing import Op

from tests.support.calls import Waiting


@pytest.fixture
def proxy(proxies):
    """The only way to the ensemble: the session comes back to the server that it has left."""
    return proxies[0]


@pytest.fixture
def near(at, proxy):
    """A lock that was there before, by way of the proxy, with an open session."""
    at.acquire("restart", "a")
    at.release("restart", "a")
    near = {"zk_hosts": proxy.address, "timeout": 30}
    at.locks(zk_hosts=proxy.address)
    return near


MULTI = Op.MULTI


def test_a_late_request_is_not_filed_again_once_it_was_granted_and_given_back(at, held, near, proxy):
    proxy.hold_request(MULTI)
    assert at.acquire("restart", "b", **near)["granted"]
    assert at.release("restart", "b", **near)["granted"]
    assert proxy.send_held() == 1
    at.locks(zk_hosts=proxy.address)
    assert held() == ([], [])


def test_a_late_grant_takes_nothing_from_the_next(at, held, near, proxy):
    at.acquire("restart", "x")
    at.acquire("restart", "b", **near)
    at.acquire("restart", "c")
    proxy.hold_request(MULTI)
    assert at.release("restart", "x", **near)["effects"]["granted"] == ["b"]
    assert at.release("restart", "b", **near)["effects"]["granted"] == ["c"]
    assert proxy.send_held() == 1
    at.locks(zk_hosts=proxy.address)
    assert held() == (["c"], [])


def test_a_late_release_takes_nothing_that_was_asked_for_since(at, held, near, proxy):
    old = at.acquire("restart", "b", **near)["request"]
    proxy.hold_request(MULTI)
    assert at.release("restart", "b", **near)["granted"]
    new = at.acquire("restart", "b", **near)["request"]
    assert new > old
    assert proxy.send_held() == 1
    at.locks(zk_hosts=proxy.address)
    assert held() == (["b"], [])


def test_a_late_sign_of_life_changes_no_later_request(at, near, proxy, zk):
    at.acquire("restart", "b", reason="old", expires=60)
    proxy.hold_request(MULTI)
    at.acquire("restart", "b", expires=60, **near)
    at.release("restart", "b", **near)
    at.acquire("restart", "b", reason="new", expires=60)
    assert proxy.send_held() == 1
    at.locks(zk_hosts=proxy.address)
    assert b'"new"' in zk.get(f"{at.path}/requests/restart/b")[0]


def test_a_late_drop_takes_nothing_from_a_unit_that_was_seen_meanwhile(at, held, near, proxy, zk, wait_until):
    at.acquire("restart", "u", expires=1)
    at.acquire("restart", "next")
    seen = zk.exists(f"{at.path}/requests/restart/u").mtime

    def has_expired():
        zk.set(at.path, b"")
        return zk.exists(at.path).mtime > seen + 1000

    wait_until(has_expired, "a second has passed on the servers")
    proxy.hold_request(MULTI, 1000)
    cancel = Cancel()
    dropping = Waiting(at.handle, "restart", cancel=cancel, **near)
    wait_until(lambda: proxy.dropped[MULTI], "the drop is on its way")
    cancel.cancel()
    with pytest.raises(errors.Cancelled, match="may have been granted"):
        dropping.result()
    assert at.acquire("restart", "u")["granted"], "it is there, and finds its grant"
    proxy.heal()
    at.locks(zk_hosts=proxy.address)
    assert proxy.send_held() >= 1
    at.locks(zk_hosts=proxy.address)
    assert held() == (["u"], ["next"])
