"""A request that was lost with its connection, and that a server carries out after all, when others have followed."""

import time

import pytest
from kazoo.exceptions import NoNodeError
from zkcoord import errors, lock, lock_holders, set_max, unlock
from zkcoord.testing import Op

from tests.support.calls import Waiting, children, queue


@pytest.fixture
def proxy(proxies):
    """The only way to the ensemble: the session comes back to the server that it has left."""
    return proxies[0]


def held(proxy, opcode, count=1):
    return lambda: proxy.dropped[opcode] >= count


def test_a_late_unlock_takes_nothing_that_was_taken_since(proxy, hosts, root):
    assert lock(root, proxy.address, identifier="a")
    proxy.hold_request(Op.DELETE)
    assert unlock(root, proxy.address, identifier="a")
    assert lock(root, proxy.address, identifier="a")
    assert proxy.send_held() == 1
    assert lock_holders(root, proxy.address) == ["a"]
    assert unlock(root, hosts, identifier="a")


def test_a_late_place_is_swept_and_blocks_nobody(proxy, hosts, root, zk, wait_until):
    lock(root, hosts, identifier="a")
    lock_holders(root, proxy.address)
    proxy.hold_request(Op.CREATE2)
    waiter = Waiting(lock, root, proxy.address, identifier="b")
    wait_until(lambda: queue(zk, root) == ["b"], "b has come in by another place")
    before = children(zk, f"{root}-__lock__")
    assert proxy.send_held() == 1
    wait_until(lambda: len(children(zk, f"{root}-__lock__")) == 2, "the first place has come")
    wait_until(lambda: children(zk, f"{root}-__lock__") == before, "it was swept", 20)
    unlock(root, hosts, identifier="a")
    assert waiter.result() is True


def test_a_late_place_of_a_waiter_that_gave_up_is_swept(proxy, hosts, root, zk, wait_until):
    lock(root, hosts, identifier="a")
    lock_holders(root, proxy.address)
    proxy.hold_request(Op.CREATE2)
    assert lock(root, proxy.address, identifier="b", timeout=0) is False
    assert proxy.send_held() == 1
    wait_until(lambda: queue(zk, root) == ["b"], "the place has come")
    wait_until(lambda: queue(zk, root) == [], "it was swept", 20)


@pytest.mark.parametrize("force", [False, True])
def test_a_late_transaction_takes_no_second_slot(proxy, hosts, root, zk, force):
    lock(root, hosts, identifier="a", max_concurrency=4)
    lock_holders(root, proxy.address)
    proxy.hold_request(Op.MULTI)
    assert lock(root, proxy.address, identifier="b", max_concurrency=4, force=force)
    assert proxy.send_held() == 1
    assert sorted(lock_holders(root, proxy.address)) == ["a", "b"]
    assert len(children(zk, root)) == 2
    assert queue(zk, root) == []


def test_late_transactions_of_one_who_was_told_false_do_nothing(proxy, hosts, root, zk, wait_until):
    lock(root, hosts, identifier="a")
    unlock(root, hosts, identifier="a")
    lock_holders(root, proxy.address)
    proxy.hold_request(Op.MULTI, count=1000)
    try:
        told = lock(root, proxy.address, identifier="b", timeout=2)
    except errors.ConnectionLost as error:
        told = str(error)
    proxy.heal()
    lock_holders(root, proxy.address)
    wait_until(lambda: queue(zk, root) == [], "the place is gone")
    assert proxy.send_held() > 1
    time.sleep(0.5)
    assert told is False or "a slot may be held" in told
    assert lock_holders(root, proxy.address) == []


def test_whose_late_transaction_comes_before_the_second_is_not_told_that_it_holds_nothing(
    proxy, hosts, root, wait_until
):
    """The second is refused, since the lease is there. The time is up before the pool could be looked at again."""
    lock(root, hosts, identifier="a")
    unlock(root, hosts, identifier="a")
    lock_holders(root, proxy.address)
    proxy.hold_request(Op.MULTI)
    proxy.send_held_before(Op.MULTI)
    waiter = Waiting(lock, root, proxy.address, identifier="b", timeout=2)
    while not proxy.counts[Op.MULTI]:
        time.sleep(0.001)
    proxy.drop_reply(Op.CREATE2, count=1000)
    try:
        told = waiter.result()
    except errors.ConnectionLost as error:
        told = str(error)
    assert told is True or "a slot may be held" in told
    assert proxy.dropped[Op.MULTI] == 1
    proxy.heal()
    if told is True:
        assert lock_holders(root, hosts) == ["b"]
    else:
        wait_until(lambda: lock_holders(root, hosts) == [], "it was given back")


def test_a_pool_that_is_founded_late_was_announced(proxy, root, zk, wait_until):
    path = f"{root}/pool"
    lock_holders(path, proxy.address)
    proxy.hold_request(Op.MULTI, count=1000)
    with pytest.raises(errors.ConnectionLost, match=f"{path}: a slot may be held; it is given back as soon as"):
        lock(path, proxy.address, identifier="a", timeout=1)
    with pytest.raises(NoNodeError):
        zk.get(path)
    proxy.heal()
    assert lock_holders(path, proxy.address) == []
    assert proxy.send_held() > 0
    wait_until(lambda: zk.exists(path), "it came late")
    wait_until(lambda: lock_holders(path, proxy.address) == [], "it was given back")
    assert unlock(path, proxy.address, identifier="a") is False


def test_a_limit_that_was_lowered_on_the_way_holds(proxy, hosts, root, zk, wait_until):
    """The transaction for the lease was sent by one who had seen the old limit."""
    lock(root, hosts, identifier="a", max_concurrency=2)
    lock_holders(root, proxy.address)
    proxy.delay(0.3)
    waiter = Waiting(lock, root, proxy.address, identifier="b", max_concurrency=2, timeout=4)
    wait_until(lambda: queue(zk, root) == ["b"], "b has come in, and learns of it in a moment")
    assert set_max(root, 1, zk_hosts=hosts)["overshoot"] == 0
    assert waiter.result() is False
    assert proxy.counts[Op.MULTI] == 1, "it was refused"
    assert lock_holders(root, hosts) == ["a"]


def test_an_unlock_by_an_old_note_does_not_say_true_over_a_newer_lease(proxy, hosts, root):
    assert lock(root, proxy.address, identifier="a")
    assert unlock(root, hosts, identifier="a")
    assert lock(root, hosts, identifier="a"), "taken anew by another process, which holds it"
    proxy.drop_reply(Op.DELETE)
    with pytest.raises(errors.ConnectionLost, match="may have been given back, or not"):
        unlock(root, proxy.address, identifier="a")
    assert lock_holders(root, hosts) == ["a"]
    assert unlock(root, proxy.address, identifier="a") is True


def test_an_unlock_that_is_repeated_leaves_the_lease_that_kazoo_took_since_under_the_same_name(proxy, root, zk):
    name = f"{root}/0123456789abcdef0123456789abcdef"
    zk.create(root, b"1")
    zk.create(name, b"a")
    lock_holders(root, proxy.address)
    proxy.drop_reply(Op.DELETE)
    proxy.delay(0.2)
    unlocking = Waiting(unlock, root, proxy.address, identifier="a")
    while zk.exists(name):
        time.sleep(0.001)
    zk.create(name, b"a")
    assert unlocking.result() is True, "what was there when it was called is gone"
    assert proxy.dropped[Op.DELETE] == 1
    assert zk.exists(name)
