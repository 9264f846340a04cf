"""The server has acted, or not, and nobody knows: no lease is held twice, and nobody is told a lie."""

import time

import pytest
from zkcoord import Cancel, errors, lease
from zkcoord.lease import LeaseLocker
from zkcoord.testing import Op

from tests.support.calls import Waiting, wait_until

from .conftest import QUICK


def lose(proxies, what, opcode, count=1):
    for proxy in proxies:
        getattr(proxy, f"drop_{what}")(opcode, count)


def lost(proxies):
    return {opcode for proxy in proxies for opcode in proxy.dropped}


def dropped(proxies):
    return sum(proxy.dropped[Op.SET_DATA] for proxy in proxies)


@pytest.fixture
def free(zk, path):
    """A lease that was held before, so that to take it is one write."""
    zk.create(path, b'{"holderIdentity":"","leaseDurationSeconds":1,"leaseTransitions":0}', makepath=True)


@pytest.mark.parametrize("what", ["reply", "request"])
def test_it_is_taken_once(proxies, lockers, free, record, zk, path, what):
    locker = lockers("a", proxies.hosts, retry_period=20, renew_deadline=60)
    lease.status(path, proxies.hosts)  # a session
    lose(proxies, what, Op.SET_DATA)
    assert locker.lock(30) is True
    assert locker.fencing_token == zk.get(path)[1].mzxid, "it is the transaction that took it"
    locker.renew()
    assert lost(proxies) == {Op.SET_DATA}
    stored = record()
    assert (stored["holderIdentity"], stored["leaseTransitions"]) == ("a", 1)
    assert record()["zkcoord"]["token"] == locker.fencing_token
    assert locker.fencing_token < zk.get(path)[1].mzxid


@pytest.mark.parametrize("what", ["reply", "request"])
def test_a_waiter_takes_it_once_and_leaves_the_queue_with_that(proxies, lockers, free, record, queued, what):
    holder, waiter = lockers("h"), lockers("a", proxies.hosts)
    holder.lock()
    waiting = Waiting(waiter.lock, 30)
    wait_until(lambda: queued() == ["a"], "a waits")
    lose(proxies, what, Op.MULTI)
    assert holder.unlock()
    assert waiting.result() is True
    assert lost(proxies) == {Op.MULTI}
    assert (record()["holderIdentity"], record()["leaseTransitions"]) == ("a", 2)
    assert queued() == []


@pytest.mark.parametrize("what", ["reply", "request"])
def test_it_is_made_once(proxies, lockers, record, path, zk, what):
    locker = lockers("a", proxies.hosts)
    lease.status(path, proxies.hosts)
    lose(proxies, what, Op.CREATE2, 2)  # the parent, and the record
    assert locker.lock(30) is True
    assert lost(proxies) == {Op.CREATE2}
    assert record()["holderIdentity"] == "a"
    assert locker.fencing_token == zk.get(path)[1].czxid


@pytest.mark.parametrize("what", ["reply", "request"])
def test_a_renewal_that_is_lost_is_made_up_for(proxies, lockers, free, zk, path, what):
    locker = lockers("a", proxies.hosts, **QUICK)
    locker.lock()
    for number in range(1, 4):
        lose(proxies, what, Op.SET_DATA)
        wait_until(lambda number=number: dropped(proxies) >= number, "one is lost")
        renewals = locker._lease.renewals
        wait_until(lambda renewals=renewals: locker._lease.renewals > renewals, "it is renewed all the same")
    assert locker.held
    locker.check()
    assert locker.unlock() is True


@pytest.mark.parametrize("what", ["reply", "request"])
def test_it_is_given_back_once(proxies, lockers, free, record, zk, path, what):
    locker = lockers("a", proxies.hosts, retry_period=20, renew_deadline=60)
    locker.lock()
    locker.renew()
    lose(proxies, what, Op.SET_DATA)
    assert locker.unlock() is True
    assert lost(proxies) == {Op.SET_DATA}
    assert record()["holderIdentity"] == ""
    assert locker.unlock() is False


def test_a_stale_version_after_a_lost_reply_is_read_anew(proxies, hosts, lockers, free, record):
    """The original tries with the version that it knew, until it gives up."""
    locker = lockers("a", proxies.hosts, retry_period=20, renew_deadline=60)
    locker.lock()
    lose(proxies, "reply", Op.SET_DATA)
    locker.renew()
    locker.renew()
    assert locker.unlock_with_retry() is True
    assert record()["holderIdentity"] == ""


def test_a_take_that_comes_late_takes_nothing(proxies, path, hosts, free, record, zk):
    """The caller has given up. A server carries the request out after that, once the client has come back to it."""
    (proxy, *_) = proxies
    cancel = Cancel()
    locker = LeaseLocker(path, "a", proxy.address, cancel=cancel)
    lease.status(path, proxy.address)
    proxy.hold_request(Op.SET_DATA, 1000)
    waiting = Waiting(locker.lock)
    wait_until(lambda: proxy.dropped[Op.SET_DATA] > 0, "the request is on its way")
    cancel.cancel()
    with pytest.raises(errors.ConnectionLost, match="the lease may be held; it is given back as soon as a server"):
        waiting.result()
    version = zk.get(path)[1].version
    proxy.heal()
    wait_until(lambda: zk.get(path)[1].version > version, "the version that it needs is taken away")
    assert proxy.send_held() > 0
    lease.status(path, proxy.address)
    assert record()["holderIdentity"] == ""
    assert record()["leaseTransitions"] == 0


def test_an_outage_that_is_shorter_than_the_lease_is_survived(proxies, lockers, free):
    events = []
    options = {"lease_duration": 6.0, "renew_deadline": 1.0, "retry_period": 0.25}
    locker = lockers("a", proxies.hosts, on_event=lambda kind, about: events.append(kind), **options)
    locker.lock()
    for proxy in proxies:
        proxy.refuse()
        proxy.cut()
    wait_until(lambda: "renewed_late" in events, "it is told that it is late")
    assert locker.held
    for proxy in proxies:
        proxy.accept()
    wait_until(lambda: locker.expires_in > 5, "it is renewed")
    assert events == ["acquired", "renewed_late"]
    assert locker.unlock() is True


def test_an_outage_that_is_longer_ends_it_and_the_next_may_have_it(proxies, lockers, free):
    import threading

    told = threading.Event()
    locker = lockers("a", proxies.hosts, on_lost=told.set, **QUICK)
    other = lockers("b")
    locker.lock()
    waiting = Waiting(other.lock, 30)
    for proxy in proxies:
        proxy.refuse()
        proxy.cut()
    assert told.wait(QUICK["lease_duration"] + 2)
    assert not locker.held
    with pytest.raises(errors.LeaseExpired, match="is overdue by"):
        locker.check()
    assert waiting.result() is True
    for proxy in proxies:
        proxy.accept()
    assert locker.unlock() is False
    assert other.held


def test_a_give_back_that_fails_leaves_a_lease_that_ends(proxies, lockers, free, record):
    locker = lockers("a", proxies.hosts, **QUICK)
    locker.lock()
    for proxy in proxies:
        proxy.refuse()
        proxy.cut()
    with pytest.raises(errors.Error):
        locker.unlock(timeout=0.3)
    assert not locker.held
    for proxy in proxies:
        proxy.accept()
    assert lockers("b").lock(10)
    assert locker.unlock() is False


def test_to_give_back_with_patience_outlasts_an_outage(proxies, lockers, free, record):
    locker = lockers("a", proxies.hosts, unlock_with_retry_period=20)
    locker.lock()
    for proxy in proxies:
        proxy.refuse()
        proxy.cut()
    waiting = Waiting(locker.unlock_with_retry)
    time.sleep(0.5)
    assert not waiting.done
    for proxy in proxies:
        proxy.accept()
    assert waiting.result() is True
    assert record()["holderIdentity"] == ""


def test_a_waiter_whose_session_expires_waits_on(proxies, lockers, free, queued):
    holder = lockers("h")
    holder.lock()
    waiting = Waiting(lockers("a", proxies.hosts, session_timeout=1).lock, 60)
    wait_until(lambda: queued() == ["a"], "a waits")
    for proxy in proxies:
        proxy.stall()
    wait_until(lambda: queued() == [], "its session is over")
    for proxy in proxies:
        proxy.resume()
    wait_until(lambda: queued() == ["a"], "it has queued again")
    holder.unlock()
    assert waiting.result() is True
