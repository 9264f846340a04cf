"""`evict`: a slot is taken away from whoever holds it, and the holder learns by whom."""

import asyncio
import json
import os
import socket
import time
from collections import Counter

import pytest
from kazoo.security import make_digest_acl
from zkcoord import Connection, aio, errors, evict, hold, lock, lock_holders, remove_pool, status, unlock
from zkcoord.testing import Op

from tests.support.calls import children, wait_until

KINDS = pytest.mark.parametrize("ephemeral", [True, False], ids=["ephemeral", "kept"])


def notices(zk, root):
    found = {}
    for name in children(zk, f"{root}-__reason__"):
        if name.endswith("-evicted"):
            data, stat = zk.get(f"{root}-__reason__/{name}")
            found[name.removesuffix("-evicted")] = (json.loads(data)["evicted"], stat.ephemeralOwner)
    return found


@KINDS
@pytest.mark.parametrize("reason", [None, "kernel update"], ids=["silent", "explained"])
def test_a_hold_is_taken_away_and_its_holder_learns_by_whom(hosts, root, zk, ephemeral, reason):
    told = []
    held = hold(root, hosts, "a", ephemeral_lease=ephemeral, reason=reason, on_lost=lambda: told.append("lost"))
    other = Connection(hosts, session_timeout=9)
    evicted = evict(root, "a", "the rack is gone", connection=other, by="ann", job="T-1")
    assert evicted == {"path": root, "identifier": "a", "leases": [held.lease]}
    assert lock_holders(root, hosts) == []
    wait_until(lambda: told == ["lost"], "the holder is told")
    ((notice, owner),) = notices(zk, root).values()
    whence = {"host": socket.gethostname(), "pid": os.getpid(), "job": "T-1"}
    assert (notice, owner) == ({"by": "ann", "reason": "the rack is gone", **whence}, 0)
    with pytest.raises(errors.SlotLost) as caught:
        held.check()
    process = f"(on {socket.gethostname()}, pid {os.getpid()}, job T-1)"
    assert str(caught.value) == (
        f"'a' has lost its slot at {root}: ann {process} has taken it away: the rack is gone, "
        "somebody else may have held it too"
    )
    assert held.release() is False
    assert children(zk, f"{root}-__lock__") == [], "no liveness node is left"
    assert children(zk, f"{root}-__reason__") == [f"{held.lease}-evicted"], "nor its reason"


@pytest.mark.parametrize("reason", [None, "work"], ids=["silent", "explained"])
def test_a_block_ends_with_the_error_that_names_the_evictor(hosts, root, reason):
    with (
        pytest.raises(errors.SlotLost, match=r"somebody .* has taken it away: enough"),
        hold(root, hosts, "a", reason=reason),
    ):
        evict(root, "a", "enough", hosts)


def test_the_holder_learns_it_though_others_unlock_meanwhile(hosts, root, script):
    held = hold(root, hosts, "a", reason="work")
    evict(root, "a", "enough", hosts)
    others = """
        zkcoord.lock(root, hosts, identifier="b", reason="more work")
        zkcoord.close()
        print(zkcoord.unlock(root, hosts, identifier="b"), zkcoord.unlock(root, hosts, identifier="c"))
    """
    assert script(others).result() == "True False"
    with pytest.raises(errors.SlotLost, match=r"somebody .* has taken it away: enough"):
        held.check()


def test_whoever_evicts_its_own_process_is_told_of_the_loss(hosts, root):
    told = []
    assert lock(root, hosts, identifier="a", ephemeral_lease=True, on_lost=lambda: told.append("lost"))
    evict(root, "a", "enough", hosts)
    wait_until(lambda: told == ["lost"], "it is a loss, whoever did it")


def test_a_loss_by_the_session_is_told_at_once_and_nobody_is_asked(proxies, root):
    """What somebody is told who may act no more must not wait for why."""
    held = hold(root, connection=Connection(proxies.hosts, session_timeout=1), identifier="a", on_lost=lambda: None)
    for proxy in proxies:
        proxy.stall()
    assert held.lost.wait(20)
    wait_until(lambda: is_over(held), "its session is over", 20)
    before = sum((proxy.counts for proxy in proxies), Counter())
    with pytest.raises(errors.SlotLost, match=r"may have held it too$"):
        held.check(timeout=5)
    assert sum((proxy.counts for proxy in proxies), Counter()) == before


def is_over(held):
    try:
        held.check(timeout=0.2)
    except errors.SlotLost:
        return True
    except errors.Unreachable:
        return False
    return False


def test_all_leases_of_the_identifier_go_and_no_other(hosts, root, zk):
    lock(root, hosts, identifier="b", max_concurrency=9)
    lock(root, hosts, identifier="a", max_concurrency=9)
    holds = [hold(root, hosts, "a", 9, ephemeral_lease=ephemeral) for ephemeral in (True, True, False)]
    kazoo = zk.Semaphore(root, "a", max_leases=9)
    kazoo.acquire(timeout=10)
    evicted = evict(root, "a", "enough", hosts)
    assert len(evicted["leases"]) == len({*evicted["leases"]}) == 5
    assert {one.lease for one in holds} < {*evicted["leases"]}
    assert [it["identifier"] for it in status(root, hosts)["holders"]] == ["b"]
    assert lock(root, hosts, identifier="a", max_concurrency=9, timeout=5) is True, "it may lock again"


def test_who_holds_nothing_loses_nothing(hosts, root, zk):
    assert evict(root, "a", "enough", hosts)["leases"] == []
    assert zk.exists(root) is None
    lock(root, hosts, identifier="b")
    assert evict(root, "a", "enough", hosts)["leases"] == []
    assert lock_holders(root, hosts) == ["b"]


def test_a_waiter_gets_the_slot(hosts, root):
    from tests.support.calls import Waiting

    lock(root, hosts, identifier="a")
    waiter = Waiting(lock, root, hosts, identifier="b", timeout=30)
    wait_until(lambda: len(status(root, hosts)["waiters"]) == 1, "it waits")
    evict(root, "a", "gone for good", hosts)
    assert waiter.result() is True


def test_notices_go_with_the_pool_and_with_time(hosts, root, zk):
    lock(root, hosts, identifier="a", max_concurrency=3)
    evict(root, "a", "first", hosts)
    assert len(notices(zk, root)) == 1
    lock(root, hosts, identifier="b", max_concurrency=3, reason="work")
    evict(root, "b", "second", hosts)
    assert sorted(notice["reason"] for notice, _ in notices(zk, root).values()) == ["first", "second"]
    assert [it["reason"] for it in status(root, hosts)["holders"]] == []
    assert remove_pool(root, hosts) is True
    assert zk.exists(f"{root}-__reason__") is None


def test_a_notice_that_is_old_is_deleted_by_the_next_eviction(hosts, root, zk, script, wrong_clock):
    lock(root, hosts, identifier="a", max_concurrency=3)
    lock(root, hosts, identifier="b", max_concurrency=3)
    evict(root, "a", "first", hosts)
    evict(root, "nobody", "nothing", hosts)
    assert [notice["reason"] for notice, _ in notices(zk, root).values()] == ["first"]
    wrong_clock(days=2)
    evicted = script("print(len(zkcoord.evict(root, 'b', 'second', hosts)['leases']))").result()
    assert evicted == "1"
    assert [notice["reason"] for notice, _ in notices(zk, root).values()] == ["second"]


@pytest.mark.parametrize("lose", ["drop_reply", "drop_request"])
@KINDS
def test_a_lost_reply_evicts_once_and_tells_once(proxies, hosts, root, zk, lose, ephemeral):
    held = hold(root, hosts, "a", ephemeral_lease=ephemeral, reason="r")
    for proxy in proxies:
        getattr(proxy, lose)(Op.MULTI)
    evicted = evict(root, "a", "enough", proxies.hosts, timeout=30)
    assert sum(proxy.dropped[Op.MULTI] for proxy in proxies) >= 1
    assert evicted["leases"] == [held.lease]
    assert [*notices(zk, root)] == [held.lease]


def test_where_the_acl_forbids_the_notice_the_slot_is_taken_away_all_the_same(hosts, root, zk):
    lock(root, hosts, identifier="a")
    zk.create(f"{root}-__reason__", acl=[make_digest_acl("nobody", "secret", all=True)])
    assert len(evict(root, "a", "enough", hosts)["leases"]) == 1
    assert lock_holders(root, hosts) == []


def test_who_may_not_delete_is_told_what_is_missing(hosts, root, zk):
    owner = {"username": "owner", "password": "secret"}
    acl = [{**owner, "allperms": True}, {"scheme": "world", "id": "anyone", "perms": "r"}]
    lock(root, hosts, identifier="a", **owner, default_acl=acl)
    with pytest.raises(errors.NoAuth, match=f"not permitted to delete {root}/[0-9a-f]* as anonymous"):
        evict(root, "a", "enough", hosts)
    assert lock_holders(root, hosts) == ["a"]


@pytest.mark.parametrize(
    ("argument", "value"),
    [("identifier", ""), ("identifier", ["a"]), ("reason", ""), ("reason", " "), ("reason", "x" * 1025), ("by", "")],
)
def test_wrong_arguments_are_refused(hosts, root, argument, value):
    given = {"path": root, "identifier": "a", "reason": "r", "zk_hosts": hosts, argument: value}
    lock(root, hosts, identifier="a")
    with pytest.raises(errors.ArgumentError, match=f"^{argument}: "):
        evict(**given)
    assert lock_holders(root, hosts) == ["a"]


def test_what_somebody_has_written_does_not_reach_a_terminal(hosts, root):
    with pytest.raises(errors.SlotLost) as caught, hold(root, hosts, "a"):
        evict(root, "a", "\x1b[2Jroot\nis \u202eroot", hosts, by="\x07")
    assert "\\u{1b}[2Jroot\\nis \\u{202e}root" in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b'{"evicted": 5}',
        b'{"evicted": {"by": 7}}',
        b"\xff",
        b"null",
        b'{"evicted": {}, "x": "' + b"y" * 20_000 + b'"}',
    ],
)
def test_a_notice_that_is_none_of_ours_says_nothing(hosts, root, zk, data):
    held = hold(root, hosts, "a", reason="r")
    zk.delete(f"{root}/{held.lease}")
    zk.create(f"{root}-__reason__/{held.lease}-evicted", data)
    with pytest.raises(errors.SlotLost) as caught:
        held.check()
    assert str(caught.value) == f"'a' has lost its slot at {root}: somebody else may have held it too"


def test_an_identifier_that_locks_and_is_evicted_over_and_over(hosts, root):
    """The lease of that moment is taken away, or none."""
    end, evictions = time.monotonic() + 3, 0
    while time.monotonic() < end:
        lock(root, hosts, identifier="a")
        evictions += len(evict(root, "a", "again", hosts)["leases"])
        assert unlock(root, hosts, identifier="a") is False
    assert evictions > 10


def test_it_is_there_for_asyncio(hosts, root):
    async def run():
        held = await aio.hold(root, hosts, "a")
        lost = held.lost
        assert (await aio.evict(root, "a", "enough", hosts))["leases"] == [held.lease]
        await asyncio.wait_for(lost.wait(), 20)

    asyncio.run(run())


class TestSalt:
    @pytest.fixture(autouse=True)
    def configured(self, config, hosts):
        config["zookeeper:hosts"] = hosts

    def test_it_answers_with_what_it_did_and_the_log_has_it(self, shim, root, caplog, context):
        shim.lock(root, identifier="a")
        evicted = shim.evict(root, "a", "web1 is gone", by="ann")
        assert {**evicted, "leases": len(evicted["leases"])} == {
            "path": root,
            "identifier": "a",
            "leases": 1,
            "by": "ann",
            "reason": "web1 is gone",
        }
        assert f"Slot taken away by ann: {root}, a, because: web1 is gone" in caplog.text
        assert context == {}
        assert shim.lock_holders(root) == []

    def test_the_user_of_the_job_is_who_does_it(self, shim, root):
        shim.lock(root, identifier="a")
        assert shim.evict(root, "a", "r", __pub_user="sudo_ann", __pub_jid="20261127")["by"] == "sudo_ann"

    def test_where_nobody_held_a_slot_the_exit_code_says_so(self, shim, root, context):
        assert shim.evict(root, "a", "r")["leases"] == []
        assert context["retcode"] == 1

    def test_wrong_arguments_are_salts(self, shim, root, invocation_error):
        with pytest.raises(invocation_error, match=r"^reason: "):
            shim.evict(root, "a", "")
