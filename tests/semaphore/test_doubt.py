"""Cut short with a reply missing, a call says that it does not know; and never knows better than it does."""

import pytest
import zkcoord
from zkcoord import errors, lock, lock_holders, set_max, unlock
from zkcoord.testing import Op

from tests.support.calls import Waiting, queue, settings

SHORT = settings(session_timeout=2)


def test_a_forced_slot(proxies, hosts, root):
    lock(root, hosts, identifier="a")
    lock_holders(root, proxies.hosts, config_get=SHORT)
    for proxy in proxies:
        proxy.drop_reply(Op.MULTI)
        proxy.drop_reply(Op.CREATE_SESSION, count=1000)
    with pytest.raises(errors.ConnectionLost, match=rf"{root}: a slot may be held"):
        lock(root, proxies.hosts, identifier="b", force=True, ephemeral_lease=True, timeout=2, config_get=SHORT)


def test_an_unlock(proxies, hosts, root):
    lock(root, proxies.hosts, identifier="a", config_get=SHORT)
    for proxy in proxies:
        proxy.drop_reply(Op.DELETE, count=1000)
    with pytest.raises(errors.ConnectionLost, match="may have been given back, or not"):
        unlock(root, proxies.hosts, identifier="a", timeout=1, config_get=SHORT)
    assert lock_holders(root, hosts) == []


def test_an_unlock_of_nothing_is_false_even_if_the_listing_is_lost(proxies, hosts, root):
    lock(root, hosts, identifier="a")
    lock_holders(root, proxies.hosts)
    for proxy in proxies:
        proxy.drop_reply(Op.GET_CHILDREN)
    assert unlock(root, proxies.hosts, identifier="b") is False
    assert any(proxy.dropped[Op.GET_CHILDREN] for proxy in proxies)


def test_a_changed_limit(proxies, hosts, root):
    lock(root, proxies.hosts, identifier="a", config_get=SHORT)
    for proxy in proxies:
        proxy.drop_reply(Op.SET_DATA, count=1000)
        proxy.drop_reply(Op.CREATE_SESSION, count=1000)
    with pytest.raises(errors.ConnectionLost, match="may have been changed, or not"):
        set_max(root, 2, zk_hosts=proxies.hosts, timeout=1, config_get=SHORT)


def test_a_changed_limit_whose_reply_is_lost_is_read(proxies, hosts, root):
    lock(root, proxies.hosts, identifier="a", config_get=SHORT)
    for proxy in proxies:
        proxy.drop_reply(Op.SET_DATA)
    changed = set_max(root, 2, proxies.hosts, timeout=10, config_get=SHORT)
    assert (changed["old"], changed["new"]) == (1, 2)
    assert any(proxy.dropped[Op.SET_DATA] for proxy in proxies)


def test_a_limit_that_another_has_changed_since_is_not_changed_back(proxies, hosts, root, zk, wait_until):
    lock(root, hosts, identifier="a")
    lock_holders(root, proxies.hosts, config_get=SHORT)
    for proxy in proxies:
        proxy.hold_request(Op.SET_DATA)
        proxy.drop_reply(Op.CREATE_SESSION, count=1000)
    changing = Waiting(set_max, root, 2, proxies.hosts, timeout=10, config_get=SHORT)
    wait_until(lambda: any(proxy.dropped[Op.SET_DATA] for proxy in proxies), "the change is on its way")
    zk.set(root, b"5")
    zk.set(root, b"7")
    for proxy in proxies:
        proxy.heal()
    with pytest.raises(errors.ConnectionLost, match="may have been changed, or not"):
        changing.result()
    assert zk.get(root)[0] == b"7"


def test_a_pool_that_a_change_of_the_limit_makes_is_made_once(proxies, hosts, root, zk):
    lock_holders(root, proxies.hosts, config_get=SHORT)
    for proxy in proxies:
        proxy.drop_reply(Op.CREATE2)
    changed = set_max(root, 3, proxies.hosts, timeout=10, config_get=SHORT)
    assert (changed["old"], changed["new"]) == (None, 3)
    assert zk.get(root)[0] == b"3"


def test_closing_while_another_thread_waits_ends_its_wait(hosts, root, zk, wait_until):
    lock(root, hosts, identifier="a")
    waiter = Waiting(lock, root, hosts, identifier="b", ephemeral_lease=True)
    wait_until(lambda: queue(zk, root) == ["b"], "b waits")
    zkcoord.close()
    with pytest.raises(errors.Cancelled, match=r"cancelled by close\(\)"):
        waiter.result()
    assert queue(zk, root) == []


def test_a_waiter_outlives_an_outage_longer_than_the_search_for_an_ensemble(proxies, hosts, root, zk, wait_until):
    lock(root, hosts, identifier="a")
    short = settings(session_timeout=1, connect_timeout=0.5)
    waiter = Waiting(lock, root, proxies.hosts, identifier="b", config_get=short)
    wait_until(lambda: queue(zk, root) == ["b"], "b waits")
    for proxy in proxies:
        proxy.refuse()
    wait_until(lambda: queue(zk, root) == [], "its session is over")
    wait_until(lambda: not waiter.done, "it waits on")
    unlock(root, hosts, identifier="a")
    for proxy in proxies:
        proxy.accept()
    assert waiter.result() is True
