"""What a call costs, counted in requests on the wire."""

from collections import Counter

import pytest
from zkcoord import lock, lock_holders, party_members, unlock
from zkcoord.testing import Op

QUORUM_WRITES = (Op.CREATE, Op.CREATE2, Op.DELETE, Op.SET_DATA, Op.MULTI)


@pytest.fixture
def cost(proxies, root):
    """Run a call on an open session and count its requests, pings aside."""

    def requests():
        return sum((proxy.counts for proxy in proxies), Counter())

    def cost(function, *args, **kwargs):
        before = requests()
        outcome = function(args[0], proxies.hosts, *args[1:], **kwargs)
        spent = requests() - before
        del spent[Op.PING]
        return outcome, {Op(op): count for op, count in spent.items()}

    lock_holders(root, proxies.hosts)
    return cost


def test_an_uncontended_lock_is_two_quorum_writes_and_what_travels_with_them(cost, root):
    cost(lock, root, identifier="first")
    cost(unlock, root, identifier="first")
    held, spent = cost(lock, root, identifier="a")
    assert held is True
    assert spent == {Op.CREATE2: 1, Op.MULTI_READ: 1, Op.MULTI: 1}
    assert sum(count for op, count in spent.items() if op in QUORUM_WRITES) == 2


def test_the_first_lock_on_a_path_is_two_flights_too(cost, root):
    held, spent = cost(lock, f"{root}/deep/pool", identifier="a")
    assert held is True
    assert spent == {Op.CREATE2: 3, Op.MULTI_READ: 1, Op.MULTI: 1}, "the place, and two parents"
    assert cost(unlock, f"{root}/deep/pool", identifier="a")[0] is True


def test_an_unlock_is_one_quorum_write_and_nothing_else(cost, root):
    cost(lock, root, identifier="a")
    assert cost(unlock, root, identifier="a") == (True, {Op.DELETE: 1})


def test_an_unlock_by_another_looks_first_at_what_is_there_now(cost, root, hosts):
    lock(root, hosts, identifier="a")
    # The pool is listed, and in the same flight the reasons that may be beside its leases.
    assert cost(unlock, root, identifier="a") == (True, {Op.SYNC: 1, Op.GET_CHILDREN: 2, Op.DELETE: 1})


def test_an_ephemeral_lock_costs_no_more(cost, root):
    cost(lock, root, identifier="first")
    cost(unlock, root, identifier="first")
    assert sum(cost(lock, root, identifier="a", ephemeral_lease=True)[1].values()) == 3
    assert cost(unlock, root, identifier="a", ephemeral_lease=True) == (True, {Op.DELETE: 1})


def test_slots_that_others_hold_cost_no_more(cost, root):
    for name in "abc":
        cost(lock, root, identifier=name, max_concurrency=4)
    assert sum(cost(lock, root, identifier="d", max_concurrency=4)[1].values()) == 3


@pytest.mark.parametrize("holders", [1, 50])
def test_holders_are_two_reads_whatever_their_number(cost, root, zk, holders):
    zk.create(root)
    for number in range(holders):
        zk.create(f"{root}/{number:032x}", b"x")
    names, spent = cost(lock_holders, root)
    assert len(names) == holders
    assert spent == {Op.SYNC: 1, Op.GET_CHILDREN: 1, Op.MULTI_READ: 1}
    zk.delete(root, recursive=True)


def test_an_empty_pool_is_one_read(cost, root):
    assert cost(lock_holders, root) == ([], {Op.SYNC: 1, Op.GET_CHILDREN: 1})
    assert cost(party_members, root) == ([], {Op.SYNC: 1, Op.GET_CHILDREN: 1})
