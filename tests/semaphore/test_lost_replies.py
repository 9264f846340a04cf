"""The server has acted, and its reply is lost: nothing is done twice, nobody is told a lie."""

import pytest
from zkcoord import errors, lock, lock_holders, unlock
from zkcoord.testing import Op

from tests.support.calls import Waiting, children, queue, settings


@pytest.fixture
def proxies(proxies):
    """With the proof, at the end, that each kind of request asked for was in fact lost."""
    proxies.wanted = set()
    yield proxies
    assert proxies.wanted
    assert {opcode for proxy in proxies for opcode in proxy.dropped} == proxies.wanted


def drop(proxies, opcode, count=1):
    proxies.wanted.add(opcode)
    for proxy in proxies:
        proxy.drop_reply(opcode, count)


def drop_request(proxies, opcode):
    proxies.wanted.add(opcode)
    for proxy in proxies:
        proxy.drop_request(opcode)


@pytest.mark.parametrize("lose", [drop, drop_request], ids=["reply", "request"])
@pytest.mark.parametrize("opcode", [Op.CREATE2, Op.MULTI_READ, Op.MULTI], ids=lambda op: op.name)
def test_a_lock_is_taken_once(proxies, hosts, root, zk, lose, opcode):
    assert lock(root, proxies.hosts, identifier="first")
    assert unlock(root, proxies.hosts, identifier="first")
    lose(proxies, opcode)
    assert lock(root, proxies.hosts, identifier="a", timeout=30) is True
    assert lock_holders(root, hosts) == ["a"]
    assert queue(zk, root) == [], "no second place"
    assert len(children(zk, root)) == 1


@pytest.mark.parametrize("lose", [drop, drop_request], ids=["reply", "request"])
def test_an_ephemeral_lock_is_taken_once(proxies, hosts, root, zk, lose):
    assert lock(root, proxies.hosts, identifier="first")
    assert unlock(root, proxies.hosts, identifier="first")
    lose(proxies, Op.MULTI)
    assert lock(root, proxies.hosts, identifier="a", timeout=30, ephemeral_lease=True) is True
    assert lock_holders(root, hosts) == ["a"]
    assert len(children(zk, root)) == 1


@pytest.mark.parametrize("lose", [drop, drop_request], ids=["reply", "request"])
def test_a_fresh_path_is_made_once(proxies, hosts, root, zk, lose):
    lose(proxies, Op.CREATE2)
    assert lock(f"{root}/pool", proxies.hosts, identifier="a", timeout=30) is True
    assert queue(zk, f"{root}/pool") == []
    assert lock_holders(f"{root}/pool", hosts) == ["a"]


@pytest.mark.parametrize("lose", [drop, drop_request], ids=["reply", "request"])
def test_an_unlock_says_true_once_and_means_it(proxies, hosts, root, lose):
    assert lock(root, proxies.hosts, identifier="a")
    lose(proxies, Op.DELETE)
    assert unlock(root, proxies.hosts, identifier="a", timeout=10) is True
    assert lock_holders(root, hosts) == []
    assert unlock(root, proxies.hosts, identifier="a") is False


@pytest.mark.parametrize("lose", [drop, drop_request], ids=["reply", "request"])
def test_force_takes_one_slot(proxies, hosts, root, zk, lose):
    assert lock(root, proxies.hosts, identifier="a")
    lose(proxies, Op.MULTI)
    assert lock(root, proxies.hosts, identifier="b", force=True) is True
    assert sorted(lock_holders(root, hosts)) == ["a", "b"]


@pytest.mark.parametrize("lose", [drop, drop_request], ids=["reply", "request"])
@pytest.mark.parametrize("opcode", [Op.SYNC, Op.GET_CHILDREN, Op.MULTI_READ], ids=lambda op: op.name)
def test_reading_is_repeated(proxies, root, lose, opcode):
    assert lock(root, proxies.hosts, identifier="a")
    lose(proxies, opcode)
    assert lock_holders(root, proxies.hosts) == ["a"]


def test_a_waiter_that_gives_up_while_the_reply_to_its_entry_is_lost_leaves_nothing(
    proxies, hosts, root, zk, wait_until
):
    lock(root, hosts, identifier="a")
    assert lock(root, proxies.hosts, identifier="b", timeout=0) is False
    drop(proxies, Op.CREATE2)
    assert lock(root, proxies.hosts, identifier="b", timeout=0) is False
    wait_until(lambda: queue(zk, root) == [], "no place is left")


def test_when_nobody_can_say_whether_it_is_held_the_error_says_so(proxies, hosts, root, zk, wait_until):
    """The transaction for the lease is done, its reply never comes, and the time is up."""
    assert lock(root, hosts, identifier="a")
    short = settings(session_timeout=2)
    waiter = Waiting(lock, root, proxies.hosts, identifier="b", timeout=2, config_get=short)
    wait_until(lambda: queue(zk, root) == ["b"], "b waits")
    drop(proxies, Op.MULTI)
    drop(proxies, Op.SYNC, count=1000)
    unlock(root, hosts, identifier="a")
    with pytest.raises(errors.ConnectionLost, match=rf"{root}: a slot may be held"):
        waiter.result()
    for proxy in proxies:
        proxy.heal()
    wait_until(lambda: lock_holders(root, hosts) == [], "what nobody wants is given back")
