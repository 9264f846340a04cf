"""`max_concurrency="stored"`: the number of the pool is obeyed, whatever it is, and none is made up."""

import pytest
from zkcoord import aio, errors, hold, lock, lock_holders, set_max, status, unlock

from tests.support.calls import Waiting, children, queue, wait_until

STORED = {"max_concurrency": "stored"}


@pytest.mark.parametrize("take", [lock, hold])
@pytest.mark.parametrize("limit", [1, 2, 7])
def test_the_pools_number_is_the_limit(hosts, root, take, limit):
    set_max(root, limit, hosts)
    for number in range(limit):
        assert take(root, hosts, identifier=number, timeout=10, **STORED)
    assert lock(root, hosts, identifier="more", timeout=0, **STORED) is False
    assert status(root, hosts)["max_concurrency"] == limit


def test_a_change_of_the_number_is_all_that_it_takes(hosts, root):
    set_max(root, 1, hosts)
    assert lock(root, hosts, identifier="a", **STORED)
    waiter = Waiting(lock, root, hosts, identifier="b", timeout=30, **STORED)
    wait_until(lambda: [it["identifier"] for it in status(root, hosts)["waiters"]] == ["b"], "it waits")
    set_max(root, 2, hosts)
    assert waiter.result() is True
    set_max(root, 1, hosts)
    assert unlock(root, hosts, identifier="b", **STORED) is True
    assert lock(root, hosts, identifier="b", timeout=0, **STORED) is False
    assert lock_holders(root, hosts, **STORED) == ["a"]


def test_those_who_name_the_number_and_those_who_do_not_share_the_pool(hosts, root):
    assert lock(root, hosts, identifier="a", max_concurrency=2)
    assert lock(root, hosts, identifier="b", **STORED)
    assert lock(root, hosts, identifier="c", max_concurrency=2, timeout=0) is False
    with pytest.raises(errors.LimitMismatch):
        lock(root, hosts, identifier="c", max_concurrency=3, timeout=0)


@pytest.mark.parametrize("data", [None, b"", b" ", b"two"], ids=["no-pool", "empty", "blank", "foreign"])
@pytest.mark.parametrize("queued", [False, True], ids=["no-queue", "queue"])
@pytest.mark.parametrize("how", [{}, {"force": True}], ids=["wait", "force"])
def test_where_there_is_no_number_nothing_is_taken_and_nothing_is_made(hosts, root, zk, data, queued, how):
    if data is not None:
        zk.create(root, data)
    if queued:
        zk.create(f"{root}-__lock__")
    for take in (lock, hold):
        with pytest.raises(errors.ArgumentError, match=rf"^max_concurrency: {root} stores no number") as caught:
            take(root, hosts, identifier="a", timeout=10, **STORED, **how)
        assert caught.value.args[0].endswith("or call set_max first")
    assert children(zk, root) == []
    assert queue(zk, root) == []
    if data is None:
        assert zk.exists(root) is None
    else:
        assert zk.get(root)[0] == data
    set_max(root, 1, hosts) if data in (None, b"") else zk.set(root, b"1")
    assert lock(root, hosts, identifier="a", timeout=10, **STORED)


def test_a_waiter_outlasts_a_pool_whose_number_somebody_takes_away(hosts, root, zk):
    set_max(root, 1, hosts)
    assert lock(root, hosts, identifier="a", **STORED)
    waiter = Waiting(lock, root, hosts, identifier="b", timeout=30, **STORED)
    wait_until(lambda: queue(zk, root) == ["b"], "it waits")
    zk.set(root, b"")
    assert unlock(root, hosts, identifier="a")
    assert not waiter.ended(0.3), "no number lets it in"
    set_max(root, 1, hosts)
    assert waiter.result() is True


@pytest.mark.parametrize("wrong", ["Stored", "all", "", "0", 0])
def test_other_words_are_refused(hosts, root, wrong):
    with pytest.raises(errors.ArgumentError, match=r'^max_concurrency: must be a whole number.*or "stored"$'):
        lock(root, hosts, max_concurrency=wrong)


def test_set_max_needs_a_number(hosts, root):
    with pytest.raises(errors.ArgumentError, match=r"^max_concurrency: must be a whole number"):
        set_max(root, "stored", hosts)


def test_it_is_there_for_asyncio(hosts, root):
    import asyncio

    async def run():
        set_max(root, 1, hosts)
        async with aio.hold(root, hosts, "a", **STORED):
            assert await aio.lock(root, hosts, "b", timeout=0, **STORED) is False

    asyncio.run(run())


def test_the_state_obeys_it_and_foretells_it(states, shim, config, hosts, root):
    config["zookeeper:hosts"] = hosts
    states.__opts__["test"] = True
    foretold = states.lock(root, hosts, identifier="a", **STORED)
    assert (foretold["result"], "set_max" in foretold["comment"]) == (False, True)
    shim.set_max(root, 2)
    assert states.lock(root, hosts, identifier="a", **STORED)["result"] is None
    states.__opts__["test"] = False
    assert states.lock(root, hosts, identifier="a", timeout=5, **STORED)["result"] is True
    assert shim.lock_holders(root) == ["a"]
