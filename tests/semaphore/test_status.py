"""`status`, `set_max`, and a waiter that hears its position."""

import re
import time
from collections import Counter

import pytest
from zkcoord import errors, lock, set_max, status, unlock
from zkcoord.testing import Op

from tests.support.calls import Waiting, children, queue


def test_a_missing_pool_has_nothing_and_is_not_made(hosts, root, zk):
    nothing = {"path": root, "max_concurrency": None, "free": None, "holders": [], "waiters": []}
    assert status(root, zk_hosts=hosts) == nothing
    zk.sync("/")
    assert zk.exists(root) is None


def test_holders_are_told_with_kind_age_token_and_session(hosts, root, zk):
    lock(root, hosts, identifier="a", max_concurrency=3)
    lock(root, hosts, identifier="b", max_concurrency=3, ephemeral_lease=True)
    told = status(root, zk_hosts=hosts)
    assert (told["max_concurrency"], told["free"]) == (3, 1)
    first, second = told["holders"]
    assert [first["identifier"], second["identifier"]] == ["a", "b"], "the longest holder first"
    for holder in (first, second):
        stat = zk.get(f"{root}/{holder['lease']}")[1]
        assert holder["fencing_token"] == stat.czxid
        assert holder["ephemeral"] is bool(stat.ephemeralOwner)
        assert holder["session"] == (hex(stat.ephemeralOwner) if stat.ephemeralOwner else None)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", holder["since"])
        assert abs(time.time() - stat.ctime / 1000 - holder["age"]) < 30
    assert first["fencing_token"] < second["fencing_token"]


def test_waiters_are_told_in_order_kazoos_included(hosts, root, zk, wait_until):
    lock(root, hosts, identifier="h")
    first = Waiting(lock, root, hosts, identifier="w1")
    wait_until(lambda: queue(zk, root) == ["w1"], "w1 waits")
    stock = zk.Semaphore(root, "stock web")
    second = Waiting(stock.acquire)
    wait_until(lambda: len(queue(zk, root)) == 2, "kazoo waits")
    waiters = status(root, zk_hosts=hosts)["waiters"]
    assert [(it["identifier"], it["position"]) for it in waiters] == [("w1", 1), ("stock web", 2)]
    assert all(it["session"] for it in waiters)
    unlock(root, hosts, identifier="h")
    assert first.result()
    unlock(root, hosts, identifier="w1")
    assert second.result()
    stock.release()


def test_a_limit_that_is_no_number_is_none_and_free_is_never_negative(hosts, root, zk):
    zk.create(root, b"ask ops")
    assert status(root, zk_hosts=hosts)["max_concurrency"] is None
    zk.set(root, b"1")
    for name in "ab":
        lock(root, hosts, identifier=name, force=True)
    assert status(root, zk_hosts=hosts)["free"] == 0


def test_a_status_is_two_round_trips_whatever_it_tells(proxies, root):
    for name in "abc":
        lock(root, proxies.hosts, identifier=name, max_concurrency=9)
    before = sum((proxy.counts for proxy in proxies), Counter())
    assert len(status(root, zk_hosts=proxies.hosts)["holders"]) == 3
    asked = sum((proxy.counts for proxy in proxies), Counter()) - before
    asked.pop(Op.PING, None)
    assert asked == {Op.SYNC: 1, Op.MULTI_READ: 2}, "a sync and a reading together, and then all leases"


def test_growing_wakes_the_waiter(hosts, root, zk, wait_until):
    lock(root, hosts, identifier="a")
    waiter = Waiting(lock, root, hosts, identifier="b")
    wait_until(lambda: queue(zk, root) == ["b"], "b waits")
    told = set_max(root, 2, zk_hosts=hosts)
    assert told == {"path": root, "old": 1, "new": 2, "holders": 1, "overshoot": 0}
    assert waiter.result() is True


def test_shrinking_evicts_nobody_and_tells_the_overshoot(hosts, root):
    for name in "abc":
        lock(root, hosts, identifier=name, max_concurrency=3)
    assert set_max(root, 1, zk_hosts=hosts)["overshoot"] == 2
    assert len(status(root, zk_hosts=hosts)["holders"]) == 3
    unlock(root, hosts, identifier="a")
    unlock(root, hosts, identifier="b")
    assert lock(root, hosts, identifier="d", timeout=0) is False, "one is in, and one may be"


def test_a_pool_that_is_not_there_is_made_with_the_limit(hosts, root, zk):
    assert set_max(f"{root}/deep", 4, zk_hosts=hosts)["old"] is None
    zk.sync("/")
    assert zk.get(f"{root}/deep")[0] == b"4"


def test_foreign_data_is_left_alone(hosts, root, zk):
    zk.create(root, b"ask ops")
    with pytest.raises(errors.ArgumentError, match="no number"):
        set_max(root, 2, zk_hosts=hosts)
    assert zk.get(root)[0] == b"ask ops"


@pytest.mark.parametrize("wrong", [0, -1, "many", None])
def test_a_wrong_limit_is_refused(hosts, root, zk, wrong):
    with pytest.raises(errors.ArgumentError, match=r"^max_concurrency: "):
        set_max(root, wrong, zk_hosts=hosts)
    assert children(zk, root) == []


def test_an_unknown_keyword_is_refused_by_its_name(root):
    with pytest.raises(errors.ArgumentError, match="zk_host is not known"):
        status(root, zk_host="a:1")


def test_a_waiter_hears_its_position_as_the_queue_moves(hosts, root, zk, wait_until):
    lock(root, hosts, identifier="h")
    ahead = []
    for count, name in enumerate(["w1", "w2"], 1):
        ahead.append(Waiting(lock, root, hosts, identifier=name))
        wait_until(lambda count=count: len(queue(zk, root)) == count, f"{name} waits")
    heard = []
    last = Waiting(
        lock,
        root,
        hosts,
        identifier="last",
        on_position=lambda position: position in heard[-1:] or heard.append(position),
    )
    wait_until(lambda: heard == [3], "it is third")
    unlock(root, hosts, identifier="h")
    assert ahead[0].result()
    wait_until(lambda: heard == [3, 2], "it is second, though its predecessor has not moved")
    unlock(root, hosts, identifier="w1")
    assert ahead[1].result()
    wait_until(lambda: heard == [3, 2, 1], "it is next")
    unlock(root, hosts, identifier="w2")
    assert last.result()


def test_what_the_listener_raises_ends_the_wait_and_leaves_nothing(hosts, root, zk):
    lock(root, hosts, identifier="h")

    def listener(position):
        raise LookupError(f"at {position}")

    with pytest.raises(LookupError, match="at 1"):
        lock(root, hosts, identifier="w", on_position=listener)
    assert queue(zk, root) == []


def test_a_listener_must_be_callable(hosts, root):
    with pytest.raises(errors.ArgumentError, match=r"^on_position: "):
        lock(root, hosts, on_position="me")
