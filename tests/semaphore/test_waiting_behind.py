"""A reply is lost while others wait behind: the slot must not be held by one who was told it is not."""

import pytest
from zkcoord import lock, lock_holders, unlock
from zkcoord.testing import Op

from tests.support.calls import Waiting, children, queue


@pytest.mark.parametrize("ephemeral", [False, True])
@pytest.mark.parametrize("lose", ["drop_reply", "drop_request"])
@pytest.mark.parametrize("timeout", [None, 6])
def test_the_one_whose_reply_was_lost_holds_it_and_is_told(
    proxies, hosts, root, zk, wait_until, lose, timeout, ephemeral
):
    assert lock(root, hosts, identifier="h")
    kind = {"ephemeral_lease": ephemeral, "timeout": timeout}
    first = Waiting(lock, root, proxies.hosts, identifier="first", **kind)
    wait_until(lambda: queue(zk, root) == ["first"], "the first waits")
    second = Waiting(lock, root, hosts, identifier="second")
    wait_until(lambda: queue(zk, root) == ["first", "second"], "the second waits")
    for proxy in proxies:
        getattr(proxy, lose)(Op.MULTI)
    unlock(root, hosts, identifier="h")
    assert first.result() is True
    assert any(proxy.dropped[Op.MULTI] for proxy in proxies)
    assert lock_holders(root, hosts) == ["first"]
    assert not second.done
    unlock(root, hosts, identifier="first")
    assert second.result() is True
    assert queue(zk, root) == []
    assert len(children(zk, root)) == 1


def test_who_tries_once_is_not_refused_because_others_are_about_to_take_theirs(hosts, root):
    names = [f"n{number}" for number in range(8)]
    for _ in range(5):
        calls = [Waiting(lock, root, hosts, identifier=name, max_concurrency=8, timeout=0) for name in names]
        assert all(call.result() for call in calls)
        for name in names:
            assert unlock(root, hosts, identifier=name)
