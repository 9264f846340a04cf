"""`pools`: which there are; `remove_pool`: one that nobody uses, and no other."""

import asyncio
import threading
import time

import pytest
import zkcoord
from kazoo.security import make_acl, make_digest_acl
from zkcoord import Connection, aio, errors, hold, lease, lock, pools, remove_pool, status, unlock
from zkcoord.testing import Op

from tests.support.calls import Waiting, children, queue


def test_each_pool_is_listed_with_its_numbers_and_nothing_else_is(hosts, root, zk, wait_until):
    zk.create(f"{root}/db/notes", b"3", makepath=True)
    assert lock(f"{root}/web", hosts, "a", 2)
    assert lock(f"{root}/web", hosts, "b", 2, reason="a kernel")
    waiting = Waiting(lock, f"{root}/web", hosts, "c", 2)
    wait_until(lambda: queue(zk, f"{root}/web") == ["c"], "c waits")
    stock = zk.Semaphore(f"{root}/eu/db/main", "kazoo")
    stock.acquire()
    assert unlock(f"{root}/eu/db/main", hosts, "kazoo")
    with hold(f"{root}/web/deep", hosts, "kept", ephemeral_lease=False):
        found = pools(root, hosts)
    assert [(it["path"], it["held"], it["max_concurrency"], it["waiting"]) for it in found] == [
        (f"{root}/eu/db/main", 0, 1, 0),
        (f"{root}/web", 4, 2, 1),
        (f"{root}/web/deep", 1, 1, 0),
    ], "a pool below a pool takes up slots of it, as every child does"
    assert unlock(f"{root}/web", hosts, "a")
    remove_pool(f"{root}/web/deep", hosts)
    assert waiting.result()


def test_the_root_itself_may_be_one_and_the_default_is_all(hosts, root):
    assert lock(root, hosts, "a")
    assert pools(root, hosts) == [{"path": root, "max_concurrency": 1, "held": 1, "waiting": 0, "changes": 1}]
    assert unlock(root, hosts, "a")
    assert pools(root, hosts) == [{"path": root, "max_concurrency": 1, "held": 0, "waiting": 0, "changes": 2}]
    assert root in [pool["path"] for pool in pools(zk_hosts=hosts)]
    assert pools(f"{root}-__lock__", hosts) == []
    with pytest.raises(errors.NoNode):
        pools(f"{root}/missing", hosts)


def test_paths_are_below_the_chroot(hosts, root):
    assert lock(f"{root}/restart", hosts, "a", 2)
    assert lock(f"{root}/restart/web", hosts, "a")
    below = f"{hosts}{root}"
    assert [pool["path"] for pool in pools("/", below)] == ["/restart", "/restart/web"]
    assert pools("/restart/web", below) == pools("/restart", below)[1:]
    assert status("/restart/web", below)["holders"]


def test_neighbours_are_the_pools_with_the_same_parent(hosts, root, zk):
    from zkcoord._pool import neighbours

    assert neighbours(f"{root}/webb", hosts) == []
    for name in ("web", "db"):
        assert lock(f"{root}/{name}", hosts, "a")
    zk.create(f"{root}/notes")
    assert neighbours(f"{root}/webb", hosts) == [f"{root}/db", f"{root}/web"]
    assert neighbours("/webb", f"{hosts}{root}") == ["/db", "/web"]
    assert neighbours(f"{root}/web", hosts) is None
    assert neighbours(f"{root}/notes", hosts) is None


def test_what_must_not_be_read_is_passed_over(hosts, root, zk):
    mine = [make_digest_acl("owner", "secret", all=True)]
    assert lock(f"{root}/open", hosts, "a")
    zk.create(f"{root}/closed", b"2", acl=mine)
    zk.create(f"{root}/closed-__lock__", acl=mine)
    zk.create(f"{root}/half", b"2", acl=[make_acl("world", "anyone", read=True), *mine])
    zk.create(f"{root}/half-__lock__", acl=mine)
    nothing = {"max_concurrency": None, "held": None, "waiting": None, "changes": None}
    assert pools(root, hosts) == [
        {"path": f"{root}/closed", **nothing},
        {"path": f"{root}/half", **nothing, "max_concurrency": 2, "held": 0, "changes": 0},
        {"path": f"{root}/open", "max_concurrency": 1, "held": 1, "waiting": 0, "changes": 1},
    ]


def test_a_pool_that_nobody_uses_is_removed_whole(hosts, root, zk):
    assert lock(root, hosts, "a", 2, reason="a kernel")
    assert unlock(root, hosts, "a", 2)
    zk.create(f"{root}-__reason__/{'0' * 32}", b"{}")
    assert remove_pool(root, hosts) is True
    assert [zk.exists(f"{root}{of}") for of in ("", "-__lock__", "-__reason__")] == [None] * 3
    assert remove_pool(root, hosts) is False
    assert lock(root, hosts, "a", 7), "it is made anew, with another limit"


def test_a_queue_without_its_pool_is_removed(hosts, root, zk):
    zk.create(f"{root}-__lock__")
    assert remove_pool(root, hosts) is True
    assert zk.exists(f"{root}-__lock__") is None


def test_what_is_no_pool_is_left_alone(hosts, root, zk, wait_until):
    pool, record = f"{root}/web", f"{root.lower()}/lease"
    assert lock(pool, hosts, "7")
    [held] = children(zk, pool)
    waiting = Waiting(lock, pool, hosts, "8")
    wait_until(lambda: queue(zk, pool) == ["8"], "8 waits")
    [node] = zk.get_children(f"{pool}-__lock__")
    lease.take(record, "a", hosts, lease_duration=60)
    zk.create(f"{root}/config", b"3")
    zk.create(f"{root}/foreign", b"ask ops")
    zk.create(f"{root}/foreign-__lock__")
    paths = {
        f"{pool}/{held}": "has no queue beside it",
        f"{pool}-__lock__/{node}": "is ephemeral",
        record: "holds data that is no number",
        f"{root}/config": "has no queue beside it",
        f"{root}/foreign": "holds data that is no number",
    }
    for path, what in paths.items():
        with pytest.raises(errors.ArgumentError) as caught:
            remove_pool(path, hosts)
        assert str(caught.value).startswith(f"path: {path} {what}")
        assert zk.exists(path)
    assert unlock(pool, hosts, "7")
    assert waiting.result()


def test_a_kept_hold_is_no_waiter(hosts, root):
    with hold(root, hosts, "a", ephemeral_lease=False), pytest.raises(errors.InUse) as caught:
        remove_pool(root, hosts)
    assert "in use: 1 slot is held, 1 other znode is in its queue; nothing" in str(caught.value)


def test_a_reason_that_must_not_be_deleted_is_the_error(hosts, root, zk):
    assert lock(root, hosts, "a", reason="a kernel")
    assert unlock(root, hosts, "a")
    zk.create(f"{root}-__reason__/{'0' * 32}", b"{}")
    zk.set_acls(f"{root}-__reason__", [make_acl("world", "anyone", read=True)])
    with pytest.raises(errors.NoAuth, match="delete"):
        remove_pool(root, hosts, timeout=5)
    assert zk.exists(root)


def test_a_chroot_that_is_a_pool_has_no_name_below_it(hosts, root):
    assert lock(root, hosts, "a", 2)
    assert lock(f"{root}/web", hosts, "a")
    assert [pool["path"] for pool in pools("/", f"{hosts}{root}")] == ["/web"]


def test_a_pool_in_use_stays_as_it_is(hosts, root, zk, wait_until):
    assert lock(root, hosts, "a")
    with pytest.raises(errors.InUse) as caught:
        remove_pool(root, hosts)
    assert str(caught.value) == f"{root} is in use: 1 slot is held; nothing was removed"
    assert (caught.value.kind, caught.value.path) == ("in_use", root)
    waiting = Waiting(lock, root, hosts, "b")
    wait_until(lambda: queue(zk, root) == ["b"], "b waits")
    with pytest.raises(errors.InUse, match="1 slot is held, 1 waits"):
        remove_pool(root, hosts)
    unlock(root, hosts, "a")
    assert waiting.result()
    assert status(root, hosts)["max_concurrency"] == 1


def test_a_contender_that_comes_meanwhile_loses_nothing(hosts, root):
    """Four lock and unlock, while two remove the pool again and again: nobody is let in beside another."""
    within, most, over = [0], [0], threading.Event()
    guard = threading.Lock()

    def contend(who):
        for _ in range(10):
            assert lock(root, hosts, who, timeout=60)
            with guard:
                within[0] += 1
                most[0] = max(most[0], within[0])
            time.sleep(0.005)
            with guard:
                within[0] -= 1
            assert unlock(root, hosts, who)
            time.sleep(0.02)  # now and then nobody uses it

    def remove():
        removed = 0
        while not over.is_set():
            try:
                removed += remove_pool(root, hosts)
            except errors.InUse:
                continue
        return removed

    removing = [Waiting(remove) for _ in range(2)]
    contending = [Waiting(contend, f"host{number}") for number in range(4)]
    for one in contending:
        one.result()
    over.set()
    assert sum(one.result() for one in removing) > 0
    assert most == [1]


@pytest.mark.parametrize("lose", ["drop_reply", "drop_request"])
def test_a_lost_reply_is_not_a_second_removal(proxies, hosts, root, zk, lose):
    assert lock(root, hosts, "a")
    assert unlock(root, hosts, "a")
    for proxy in proxies:
        getattr(proxy, lose)(Op.MULTI)
    assert remove_pool(root, proxies.hosts, timeout=30) is True
    assert sum(proxy.dropped[Op.MULTI] for proxy in proxies) >= 1
    assert zk.exists(root) is None


def test_who_may_not_is_told_so(hosts, root, zk):
    for path in (root, f"{root}-__lock__"):
        zk.create(path, acl=[make_digest_acl("owner", "secret", all=True)])
    with pytest.raises(errors.NoAuth, match="read"):
        remove_pool(root, hosts)
    owner = Connection(hosts, scheme="digest", username="owner", password="secret")
    assert remove_pool(root, connection=owner) is True


def test_both_are_there_for_asyncio(hosts, root):
    async def run():
        assert await aio.lock(root, hosts, "a")
        assert [pool["held"] for pool in await aio.pools(root, hosts)] == [1]
        with pytest.raises(errors.InUse):
            await aio.remove_pool(root, hosts)
        assert await aio.unlock(root, hosts, "a")
        assert await aio.remove_pool(root, hosts) is True

    asyncio.run(run())


def test_salts_functions_answer_the_same(shim, config, hosts, root, zk):
    from salt.exceptions import CommandExecutionError

    config["zookeeper:hosts"] = hosts
    assert shim.lock(f"{root}/web", identifier="web1")
    assert shim.pools(root) == zkcoord.pools(root, hosts)
    with pytest.raises(CommandExecutionError, match="is in use: 1 slot is held"):
        shim.remove_pool(f"{root}/web")
    assert shim.unlock(f"{root}/web", identifier="web1")
    assert shim.remove_pool(f"{root}/web") is True
    assert shim.remove_pool(f"{root}/web") is False
    assert children(zk, root) == []
