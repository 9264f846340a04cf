"""Why a slot is held: kept beside its lease, shown with it, and gone with it."""

import json
import os
import socket

import pytest
from zkcoord import Connection, errors, hold, lock, lock_holders, status, unlock, znode
from zkcoord.testing import Op

from tests.support.calls import Waiting, children, together, wait_until

KINDS = pytest.mark.parametrize("ephemeral", [True, False], ids=["ephemeral", "kept"])
NOBODY = {"username": "nobody", "password": "secret", "allperms": True}
WHY = ("reason", "host", "pid", "job")


def tree(root):
    return f"{root}-__reason__"


def told(root, hosts):
    return {it["identifier"]: tuple(it[name] for name in WHY) for it in status(root, hosts)["holders"]}


def mine(reason, job=None):
    return (reason, socket.gethostname(), os.getpid(), job)


class TestKept:
    """It is there as long as the lease is, and no longer."""

    @KINDS
    @pytest.mark.parametrize("take", [lock, hold])
    @pytest.mark.parametrize("fresh", [True, False], ids=["fresh", "used"])
    def test_it_comes_and_goes_with_the_lease(self, hosts, root, zk, take, ephemeral, fresh):
        if not fresh:
            lock(root, hosts, identifier="other", max_concurrency=2)
        options = {"identifier": "a", "max_concurrency": 2, "ephemeral_lease": ephemeral}
        taken = take(root, hosts, reason="kernel update", job=20261126, **options)
        assert told(root, hosts)["a"] == mine("kernel update", "20261126")
        (node,) = children(zk, tree(root))
        assert bool(zk.exists(f"{tree(root)}/{node}").ephemeralOwner) is ephemeral
        assert zk.exists(f"{root}/{node}").czxid == zk.exists(f"{tree(root)}/{node}").czxid, "in one transaction"
        assert (taken.release() if take is hold else unlock(root, hosts, identifier="a")) is True
        assert children(zk, tree(root)) == []

    def test_who_gives_none_leaves_no_trace_of_it(self, hosts, root, zk):
        lock(root, hosts, identifier="a")
        assert told(root, hosts)["a"] == (None, None, None, None)
        assert zk.exists(tree(root)) is None

    def test_an_unlock_by_another_process_takes_it_along(self, hosts, root, zk, script):
        assert lock(root, hosts, identifier="a", reason="by hand")
        assert script("print(zkcoord.unlock(root, hosts, identifier='a'))").result() == "True"
        assert children(zk, tree(root)) == []

    def test_it_ends_with_the_process_that_holds_an_ephemeral_lease(self, hosts, root, zk, script):
        process = script("""
            print(zkcoord.lock(root, hosts, identifier="a", ephemeral_lease=True, reason="r"))
            print(zkcoord.status(root, hosts)["holders"][0]["reason"])
        """)
        assert process.result().split() == ["True", "r"]
        assert children(zk, tree(root)) == children(zk, root) == []

    def test_the_next_unlock_that_looks_for_leases_sweeps_what_kazoo_has_left(self, hosts, root, zk, script):
        lock(root, hosts, identifier="a", reason="one", max_concurrency=2)
        lock(root, hosts, identifier="b", reason="two", max_concurrency=2)
        (lease,) = (it["lease"] for it in status(root, hosts)["holders"] if it["identifier"] == "a")
        zk.delete(f"{root}/{lease}")
        assert told(root, hosts) == {"b": mine("two")}
        assert script("print(zkcoord.unlock(root, hosts, identifier='b'))").result() == "True"
        assert children(zk, tree(root)) == []

    def test_the_hold_that_takes_a_kept_lease_over_brings_its_own(self, hosts, root, zk, script):
        process = script("""
            zkcoord.hold(root, hosts, identifier="a", ephemeral_lease=False, reason="before")
            os._exit(0)
        """)
        assert process.wait(8) == 0
        wait_until(lambda: len(children(zk, f"{root}-__lock__")) == 0, "its liveness node is gone")
        with hold(root, hosts, identifier="a", ephemeral_lease=False, reason="after"):
            assert told(root, hosts) == {"a": mine("after")}
            assert len(children(zk, tree(root))) == 1
        assert children(zk, tree(root)) == []

    def test_many_at_once_on_a_fresh_path_each_have_theirs(self, hosts, root, zk):
        def take(number):
            return hold(root, hosts, identifier=number, max_concurrency=8, reason=f"reason {number}")

        held = [it.result() for it in together(take, list(range(8))).values()]
        assert told(root, hosts) == {str(number): mine(f"reason {number}") for number in range(8)}
        assert [it.release() for it in held] == [True] * 8
        assert children(zk, tree(root)) == []

    def test_a_waiter_that_gives_up_leaves_none(self, hosts, root, zk):
        lock(root, hosts, identifier="h", reason="first")
        assert lock(root, hosts, identifier="a", timeout=0.2, reason="second") is False
        assert len(children(zk, tree(root))) == 1
        waiter = Waiting(lock, root, hosts, identifier="w", reason="third")
        unlock(root, hosts, identifier="h")
        assert waiter.result() is True
        assert told(root, hosts) == {"w": mine("third")}


class TestFaults:
    @pytest.mark.parametrize("lose", ["drop_reply", "drop_request"])
    @pytest.mark.parametrize("opcode", [Op.CREATE2, Op.MULTI], ids=lambda op: op.name)
    @KINDS
    def test_a_lost_reply_leaves_one_reason_for_one_lease(self, proxies, hosts, root, zk, lose, opcode, ephemeral):
        hold(root, proxies.hosts, identifier="first").release()
        for proxy in proxies:
            getattr(proxy, lose)(opcode)
        with hold(root, proxies.hosts, identifier="a", timeout=30, ephemeral_lease=ephemeral, reason="r") as held:
            assert children(zk, root) == children(zk, tree(root)) == [held.lease]
            assert told(root, hosts) == {"a": mine("r")}
        assert children(zk, root) == children(zk, tree(root)) == []

    def test_it_goes_with_an_expired_session(self, proxies, hosts, root, zk):
        connection = Connection(proxies.hosts, session_timeout=1)
        held = hold(root, connection=connection, identifier="a", reason="r")
        for proxy in proxies:
            proxy.stall()
        wait_until(lambda: lock_holders(root, hosts) == [], "the lease has gone with its session")
        assert children(zk, tree(root)) == []
        for proxy in proxies:
            proxy.resume()
        assert held.release() is False

    @KINDS
    def test_a_tree_that_is_left_of_an_earlier_pool_is_used(self, hosts, root, zk, ephemeral):
        zk.create(tree(root))
        with hold(root, hosts, identifier="a", ephemeral_lease=ephemeral, reason="r"):
            assert told(root, hosts) == {"a": mine("r")}
        assert children(zk, tree(root)) == children(zk, f"{root}-__lock__") == []

    def test_a_tree_that_somebody_removes_is_made_again(self, hosts, root, zk):
        hold(root, hosts, identifier="a", reason="r").release()
        zk.delete(tree(root))
        with hold(root, hosts, identifier="a", reason="r"):
            assert told(root, hosts) == {"a": mine("r")}


class TestShown:
    """What somebody else has written there is shown, and never obeyed or believed."""

    @pytest.mark.parametrize(
        "data",
        [b"", b"no JSON", b"[1]", b'{"pid": "x"}', b'{"reason": 5}', b"\xff\xfe", b"{" * 100_000, b'"text"'],
        ids=["empty", "text", "list", "pid", "number", "bytes", "long", "string"],
    )
    def test_what_is_none_of_ours_says_nothing(self, hosts, root, zk, data):
        held = hold(root, hosts, identifier="a", reason="r")
        zk.set(f"{tree(root)}/{held.lease}", data)
        assert told(root, hosts) == {"a": (None, None, None, None)}
        assert held.release() is True

    def test_unknown_members_do_no_harm(self, hosts, root, zk):
        held = hold(root, hosts, identifier="a", reason="r")
        zk.set(f"{tree(root)}/{held.lease}", json.dumps({"reason": "new", "colour": "red"}).encode())
        assert told(root, hosts) == {"a": ("new", None, None, None)}
        held.release()

    def test_a_reason_that_may_not_be_read_hides_no_holder(self, hosts, root, zk):
        held = hold(root, hosts, identifier="a", reason="r")
        znode.set_acls(f"{tree(root)}/{held.lease}", [NOBODY], zk_hosts=hosts)
        znode.set_acls(tree(root), [NOBODY], zk_hosts=hosts)
        assert [it["identifier"] for it in status(root, hosts)["holders"]] == ["a"]
        assert told(root, hosts) == {"a": (None, None, None, None)}
        assert held.release() is True, "what cannot be tidied away is no reason to keep the slot"

    def test_it_takes_two_round_trips_with_reasons_too(self, proxies, root):
        with hold(root, proxies.hosts, identifier="a", reason="r"):
            status(root, proxies.hosts)
            before = sum(sum(proxy.counts.values()) for proxy in proxies)
            status(root, proxies.hosts)
            assert sum(sum(proxy.counts.values()) for proxy in proxies) - before <= 7


@pytest.mark.parametrize("reason", ["", "  ", "x" * 1025, "é" * 513])
def test_a_reason_that_is_none_or_too_long_is_refused_before_anything_is_sent(hosts, root, zk, reason):
    with pytest.raises(errors.ArgumentError, match=r"^reason: must not be"):
        lock(root, hosts, identifier="a", reason=reason)
    assert zk.exists(root) is None


def test_a_slot_is_taken_without_a_reason_that_the_acl_forbids(hosts, root):
    hold(root, hosts, identifier="a", reason="r").release()
    znode.set_acls(tree(root), [NOBODY], zk_hosts=hosts)
    with hold(root, hosts, identifier="a", reason="r"):
        assert told(root, hosts) == {"a": (None, None, None, None)}
    assert lock(root, hosts, identifier="a", reason="r")
    assert unlock(root, hosts, identifier="a")


def test_the_tree_may_be_used_by_whoever_may_use_the_queue(hosts, root):
    lock(root, hosts, identifier="first", max_concurrency=2)
    fleet = {"username": "fleet", "password": "secret"}
    with hold(root, hosts, identifier="a", max_concurrency=2, reason="r", default_acl={**fleet, "read": True}, **fleet):
        assert znode.get_acls(tree(root), zk_hosts=hosts) == znode.get_acls(f"{root}-__lock__", zk_hosts=hosts)
        assert lock(root, hosts, identifier="first", max_concurrency=2, reason="r")


@KINDS
def test_a_reason_that_is_left_of_a_lease_of_that_name_is_no_obstacle(proxies, hosts, root, zk, ephemeral):
    lock(root, hosts, identifier="h", reason="first")
    waiter = Waiting(hold, root, proxies.hosts, identifier="a", ephemeral_lease=ephemeral, reason="r", timeout=30)
    wait_until(lambda: status(root, hosts)["waiters"], "it waits")
    for proxy in proxies:
        proxy.drop_reply(Op.MULTI)
        proxy.drop_reply(Op.CREATE_SESSION, 1000)
    unlock(root, hosts, identifier="h")
    wait_until(lambda: lock_holders(root, hosts) == ["a"], "its lease is there, and it does not know")
    (lease,) = children(zk, root)
    zk.delete(f"{root}/{lease}")
    for proxy in proxies:
        proxy.heal()
    with waiter.result() as held:
        assert told(root, hosts) == {"a": mine("r")}
        assert children(zk, tree(root)) == [held.lease]
    assert children(zk, tree(root)) == children(zk, root) == []


class TestSalt:
    """What Salt's functions keep, and show."""

    def test_a_lock_keeps_the_reason_and_the_id_of_the_job(self, shim, hosts, root):
        assert shim.lock(root, hosts, identifier="a", reason="kernel update", __pub_jid="20261126190000000000")
        assert told(root, hosts) == {"a": mine("kernel update", "20261126190000000000")}
        assert shim.unlock(root, hosts, identifier="a")

    def test_one_that_is_too_long_is_cut_and_is_no_reason_to_refuse_the_slot(self, shim, hosts, root):
        assert shim.lock(root, hosts, identifier="a", reason="é" * 1000)
        assert told(root, hosts) == {"a": mine("é" * 512)}

    @pytest.mark.parametrize("reason", [None, "", "  "])
    def test_none_is_none(self, shim, hosts, root, reason):
        assert shim.lock(root, hosts, identifier="a", reason=reason, __pub_jid="1")
        assert told(root, hosts) == {"a": (None, None, None, None)}

    def test_run_keeps_it_while_the_function_runs(self, salt, root, zk):
        answer = salt.salt_call("zk_concurrency.run", root, "zk_concurrency.status", root, reason="look at it").value
        (holder,) = answer["holders"]
        assert (holder["reason"], holder["host"]) == ("look at it", socket.gethostname())
        assert children(zk, tree(root)) == []

    @pytest.mark.parametrize("function", ["lock", "held"])
    def test_a_state_run_keeps_it_with_its_job(self, salt, hosts, root, zk, function):
        slot = {f"zk_concurrency.{function}": [{"name": root}, {"reason": "a state"}]}
        look = [{"zk_concurrency.status": [{"path": root}]}, {"require": [{"zk_concurrency": "slot"}]}]
        salt.state("why", {"slot": slot, "seen": {"module.run": look}})
        ran = salt.salt_call("state.apply", "why")
        (seen,) = (it for it in ran.value.values() if it["__id__"] == "seen")
        (holder,) = seen["changes"]["zk_concurrency.status"]["holders"]
        assert (holder["reason"], holder["host"]) == ("a state", socket.gethostname())
        assert holder["job"].isdigit()
        assert len(children(zk, tree(root))) == (1 if function == "lock" else 0)

    def test_the_table_has_a_column_for_it_and_no_terminal_obeys_it(self, salt, hosts, root):
        lock(root, hosts, identifier="a", max_concurrency=2)
        assert "Why" not in salt.salt_call("zk_concurrency.status", root, options=("--out=zk_concurrency",)).stdout
        lock(root, hosts, identifier="b", max_concurrency=2, reason="up\x1b[2Jdate", job="7")
        shown = salt.salt_call("zk_concurrency.status", root, options=("--out=zk_concurrency",)).stdout
        assert "Why" in shown
        assert f"up\\x1b[2Jdate (pid {os.getpid()} on {socket.gethostname()}, job 7)" in shown
        assert "\x1b[2J" not in shown
