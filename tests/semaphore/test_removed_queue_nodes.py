"""Somebody deletes queue nodes: the waiters queue again at once, and are shown. And queue nodes of nobody."""

from collections import Counter

import pytest
from zkcoord import errors, hold, lock, lock_holders, status, unlock
from zkcoord.testing import Op

from tests.support.calls import Waiting, children, queue


def nodes(zk, root):
    return {zk.get(f"{root}-__lock__/{name}")[0].decode(): name for name in children(zk, f"{root}-__lock__")}


@pytest.fixture
def waiting(hosts, root, zk, wait_until):
    """A slot that is held, and two who wait for it: one as the first in the queue, and one behind."""
    assert lock(root, hosts, identifier="h")
    waiters = {}
    for name in ("first", "second"):
        waiters[name] = Waiting(lock, root, hosts, identifier=name)
        wait_until(lambda name=name: name in queue(zk, root), f"{name} waits")
    return waiters


def delete_at_once(zk, *parents):
    """Delete znodes with their children in one transaction: waiters come back faster than one after the other."""
    transaction = zk.transaction()
    for parent in parents:
        for name in children(zk, parent):
            transaction.delete(f"{parent}/{name}")
        transaction.delete(parent)
    assert all(outcome is True for outcome in transaction.commit())


def let_them_through(hosts, root, waiting, order):
    unlock(root, hosts, identifier="h")
    for name in order:
        assert waiting[name].result() is True
        unlock(root, hosts, identifier=name)


@pytest.mark.parametrize("removed", ["first", "second"])
def test_a_waiter_whose_queue_node_was_deleted_queues_again_at_once_at_the_end(
    hosts, root, zk, wait_until, waiting, removed
):
    before = nodes(zk, root)
    other = {"first": "second", "second": "first"}[removed]
    zk.delete(f"{root}-__lock__/{before[removed]}")
    wait_until(lambda: queue(zk, root) == [other, removed], "it is at the end of the queue", 2)
    assert nodes(zk, root)[removed] != before[removed]
    assert [waiter["identifier"] for waiter in status(root, hosts)["waiters"]] == [other, removed]
    assert not waiting[removed].done
    let_them_through(hosts, root, waiting, [other, removed])
    assert queue(zk, root) == []


def test_a_queue_that_was_deleted_is_made_again(hosts, root, zk, wait_until, waiting):
    delete_at_once(zk, f"{root}-__lock__")
    wait_until(lambda: sorted(queue(zk, root)) == ["first", "second"], "both queue again", 2)
    let_them_through(hosts, root, waiting, queue(zk, root))


def test_a_pool_that_was_deleted_with_its_queue_is_made_again(hosts, root, zk, wait_until, waiting):
    delete_at_once(zk, f"{root}-__lock__", root)
    # The slot is free: nobody holds a lease any more.
    wait_until(lambda: sum(waiter.done for waiter in waiting.values()) == 1, "one has it", 5)
    held = lock_holders(root, hosts)
    assert len(held) == 1
    assert zk.get(root)[0] == b"1"
    other = {"first": "second", "second": "first"}[held[0]]
    wait_until(lambda: queue(zk, root) == [other], "and the other waits")
    unlock(root, hosts, identifier=held[0])
    assert waiting[other].result() is True
    unlock(root, hosts, identifier=other)


def test_the_data_of_a_queue_node_may_be_changed(hosts, root, zk, wait_until, waiting):
    place = nodes(zk, root)["second"]
    for _ in range(3):
        zk.set(f"{root}-__lock__/{place}", b"second")
    zk.delete(f"{root}-__lock__/{place}")
    wait_until(lambda: nodes(zk, root).get("second") not in (None, place), "it is watched still", 2)
    let_them_through(hosts, root, waiting, ["first", "second"])


def test_to_watch_the_own_queue_node_costs_one_request_a_wait(proxies, hosts, root, zk, wait_until):
    lock(root, hosts, identifier="h")
    first = Waiting(lock, root, proxies.hosts, identifier="first")
    wait_until(lambda: queue(zk, root) == ["first"], "it waits")
    second = Waiting(lock, root, proxies.hosts, identifier="second")
    wait_until(lambda: queue(zk, root) == ["first", "second"], "it waits")
    unlock(root, hosts, identifier="h")
    assert first.result()
    unlock(root, hosts, identifier="first")
    assert second.result()
    counts = sum((proxy.counts for proxy in proxies), Counter())
    assert counts[Op.EXISTS] == 2, "one for each of the waiters, though the second has waited twice"
    assert counts[Op.GET_DATA] <= 3, "one for each wait, of which the second's last may find the slot free already"
    unlock(root, hosts, identifier="second")


def test_whoever_may_not_read_the_own_queue_node_waits_all_the_same(hosts, root):
    blind = [{"scheme": "world", "id": "anyone", "perms": "cd"}]
    pool = f"{root}-pool"
    assert lock(pool, hosts, identifier="h", ephemeral_lease=True)
    waiter = Waiting(lock, pool, hosts, identifier="w", default_acl=blind, ephemeral_lease=True, timeout=1)
    assert waiter.result() is False


class TestQueueNodesOfNobody:
    """What a restored backup leaves behind."""

    @pytest.fixture
    def restored(self, root, zk):
        """A persistent queue node before all others, as kazoo names them."""
        zk.create(root, b"1")
        orphan = f"{root}-__lock__/{'f' * 32}__lock__0000000000"
        zk.create(orphan, b"web1", makepath=True)
        return orphan

    def test_status_marks_it(self, hosts, root, zk, restored, wait_until):
        zk.create(f"{root}-__lock__/notes", b"no queue node at all")
        waiter = Waiting(lock, root, hosts, identifier="w", timeout=20)
        wait_until(lambda: len(status(root, hosts)["waiters"]) == 2, "w waits")
        told = status(root, hosts)["waiters"]
        assert [(it["identifier"], it["orphan"], it["session"] is None) for it in told] == [
            ("web1", True, True),
            ("w", False, False),
        ]
        assert told[0]["place"] == restored.rpartition("/")[2]
        zk.delete(restored)
        assert waiter.result() is True

    def test_who_gets_no_slot_is_told_of_it(self, hosts, root, restored):
        with pytest.raises(errors.TimedOut) as raised:
            hold(root, hosts, identifier="w", timeout=0.3)
        assert "though nobody holds one now" in str(raised.value)
        assert f"the queue node {restored} belongs to no session" in str(raised.value)

    def test_below_a_chroot_it_is_named_as_the_caller_would(self, hosts, root, zk):
        zk.create(f"{root}/pool", b"1", makepath=True)
        zk.create(f"{root}/pool-__lock__/{'f' * 32}__lock__0000000000", b"web1", makepath=True)
        with pytest.raises(errors.TimedOut, match="the queue node /pool-__lock__/ffff"):
            hold("/pool", f"{hosts}{root}", timeout=0.3)

    def test_a_child_that_is_no_queue_node_blocks_nobody_and_is_not_named(self, hosts, root, zk):
        zk.create(root, b"1")
        zk.create(f"{root}-__lock__/notes", b"by hand", makepath=True)
        assert lock(root, hosts, identifier="a", timeout=1)
        with pytest.raises(errors.TimedOut, match=r"held by 'a'$"):
            hold(root, hosts, identifier="b", timeout=0.3)

    def test_a_restored_lease_of_kazoo_is_a_holder_like_any_other(self, hosts, root, zk):
        zk.create(root, b"1")
        zk.create(f"{root}/{'d' * 12}4{'d' * 3}a{'d' * 15}", b"web1")
        (holder,) = status(root, hosts)["holders"]
        assert (holder["identifier"], holder["ephemeral"]) == ("web1", False)
        assert unlock(root, hosts, identifier="web1") is True
