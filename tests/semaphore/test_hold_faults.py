"""Holds under faults: taken once, lost as soon as they are lost, and given back after whatever outage."""

import threading
import time
import uuid

import pytest
from zkcoord import Connection, errors, hold, lock, lock_holders, unlock, znode
from zkcoord.testing import Op, proxied

from tests.support.calls import Waiting, children, queue, together, wait_until

SHORT = 1.0
"""Seconds of a session that is to expire."""


def every(proxies, verb, *arguments):
    for proxy in proxies:
        getattr(proxy, verb)(*arguments)


def lose_session(proxies, hosts, root, wait_until):
    """Keep the servers from hearing of a session until they have ended it."""
    every(proxies, "stall")
    wait_until(lambda: lock_holders(root, hosts) == [], "the lease has gone with its session")


@pytest.mark.parametrize("lose", ["drop_reply", "drop_request"])
@pytest.mark.parametrize("opcode", [Op.CREATE2, Op.MULTI_READ, Op.MULTI, Op.EXISTS], ids=lambda op: op.name)
@pytest.mark.parametrize("ephemeral", [True, False], ids=["ephemeral", "kept"])
def test_it_is_taken_once_and_knows_its_token(proxies, hosts, root, zk, lose, opcode, ephemeral):
    hold(root, proxies.hosts, identifier="first").release()
    every(proxies, lose, opcode)
    with hold(root, proxies.hosts, identifier="a", timeout=30, ephemeral_lease=ephemeral) as held:
        assert any(proxy.dropped[opcode] for proxy in proxies)
        assert children(zk, root) == [held.lease]
        assert held.token == zk.exists(f"{root}/{held.lease}").czxid
        assert [it for it in children(zk, f"{root}-__lock__") if it != held.lease] == [], "no second place"
        held.check()
    assert children(zk, root) == children(zk, f"{root}-__lock__") == []


@pytest.mark.parametrize("lose", ["drop_reply", "drop_request"])
@pytest.mark.parametrize("ephemeral", [True, False], ids=["ephemeral", "kept"])
def test_a_fresh_path_has_one_lease_whose_token_is_known(proxies, root, zk, lose, ephemeral):
    every(proxies, lose, Op.MULTI)
    with hold(root, proxies.hosts, identifier="a", timeout=30, ephemeral_lease=ephemeral) as held:
        assert any(proxy.dropped[Op.MULTI] for proxy in proxies)
        assert children(zk, root) == [held.lease]
        assert held.token == zk.exists(f"{root}/{held.lease}").czxid
    assert children(zk, root) == children(zk, f"{root}-__lock__") == []


@pytest.mark.parametrize("lose", ["drop_reply", "drop_request"])
@pytest.mark.parametrize("ephemeral", [True, False], ids=["ephemeral", "kept"])
def test_a_release_whose_reply_is_lost_says_true_and_means_it(proxies, hosts, root, zk, lose, ephemeral):
    held = hold(root, proxies.hosts, identifier="a", ephemeral_lease=ephemeral)
    every(proxies, lose, Op.DELETE)
    assert held.release(timeout=10) is True
    assert any(proxy.dropped[Op.DELETE] for proxy in proxies)
    assert lock_holders(root, hosts) == []
    assert held.release() is False


def test_the_same_goes_for_the_end_of_a_block(proxies, hosts, root):
    with hold(root, proxies.hosts, identifier="a"):
        every(proxies, "drop_reply", Op.DELETE)
    assert lock_holders(root, hosts) == []


@pytest.fixture(scope="module")
def losses(ensemble):
    """Each fault to a session of its own, all at once."""

    def lose(case):
        fault, timeout = case
        root, lost_at = f"/told-{uuid.uuid4().hex[:8]}", []
        with proxied(ensemble) as proxies, Connection(proxies.hosts, session_timeout=timeout) as connection:
            held = hold(root, connection=connection, identifier="a", on_lost=lambda: lost_at.append(clock()))
            time.sleep(1)
            started = clock()
            every(proxies, fault)
            with hold(root, ensemble.hosts, identifier="next", timeout=30) as after:
                got_in = clock()
                told = held.lost.wait(0.2)
                greater = after.token > held.token
            every(proxies, "heal")
        return told, greater, lost_at[0] - started, lost_at[0] - got_in

    clock = time.monotonic
    return together(lose, [(fault, timeout) for fault in ("stall", "refuse") for timeout in (2, 5)])


class TestLoss:
    """Who holds a slot hears when it does not hold it any more."""

    def test_everything_tells_of_a_session_that_has_expired(self, proxies, hosts, root, wait_until):
        told = threading.Event()
        connection = Connection(proxies.hosts, session_timeout=SHORT)
        held = hold(root, connection=connection, identifier="a", on_lost=told.set)
        started = time.monotonic()
        lose_session(proxies, hosts, root, wait_until)
        assert held.lost.wait(5)
        assert told.wait(5)
        assert time.monotonic() - started < SHORT + 5
        every(proxies, "resume")
        with pytest.raises(errors.SlotLost, match=rf"'a' has lost its slot at {root}") as caught:
            held.check()
        assert (caught.value.path, caught.value.kind) == (root, "slot_lost")
        assert held.release() is False

    @pytest.mark.parametrize("fault", ["stall", "refuse"])
    @pytest.mark.parametrize("timeout", [2, 5])
    def test_it_is_told_no_later_than_the_next_holder_gets_in(self, losses, fault, timeout):
        """What is done under a lost slot would be done at the same time as the work of the next."""
        told, greater, after_the_fault, after_the_next = losses[fault, timeout].result()
        assert told, "it is told by then"
        assert greater
        assert after_the_fault > timeout / 2, "nor much earlier"
        assert after_the_next < 0.1

    def test_many_that_watch_ask_as_seldom_as_one(self, proxies, root):
        """The servers are asked in place of the pings that they would get else."""
        connection = Connection(proxies.hosts, session_timeout=4)
        options = {"connection": connection, "max_concurrency": 20}
        held = [hold(root, identifier=number, on_lost=print, **options) for number in range(20)]
        time.sleep(1)
        before = sum(proxy.counts[Op.EXISTS] for proxy in proxies)
        time.sleep(4)
        asked = sum(proxy.counts[Op.EXISTS] for proxy in proxies) - before
        assert 4 <= asked <= 16
        assert [each.release() for each in held] == [True] * 20

    def test_a_lock_hears_of_it_too(self, proxies, hosts, root, wait_until):
        told = threading.Event()
        connection = Connection(proxies.hosts, session_timeout=SHORT)
        assert lock(root, connection=connection, identifier="a", ephemeral_lease=True, on_lost=told.set)
        lose_session(proxies, hosts, root, wait_until)
        assert told.wait(5)

    def test_a_block_that_has_lost_it_ends_with_that(self, proxies, hosts, root, wait_until):
        def work():
            with hold(root, proxies.hosts, identifier="a", session_timeout=SHORT):
                lose_session(proxies, hosts, root, wait_until)
                every(proxies, "resume")

        with pytest.raises(errors.SlotLost):
            work()

    @pytest.mark.parametrize("watched", [True, False])
    def test_a_block_that_has_lost_it_in_an_outage_ends_with_that_too(self, proxies, root, watched):
        def work():
            with hold(root, proxies.hosts, identifier="a", session_timeout=SHORT, connect_timeout=2) as held:
                assert not watched or not held.lost.is_set()
                every(proxies, "refuse")
                time.sleep(3 * SHORT)

        with pytest.raises(errors.SlotLost) as caught:
            work()
        assert isinstance(caught.value.__cause__, errors.Unreachable)
        every(proxies, "accept")

    def test_to_release_again_after_an_outage_does_not_hide_that_it_was_lost(self, proxies, hosts, root, wait_until):
        held = hold(root, proxies.hosts, identifier="a", session_timeout=SHORT)
        lose_session(proxies, hosts, root, wait_until)
        time.sleep(SHORT)
        with hold(root, hosts, identifier="b"):
            with pytest.raises(errors.Unreachable):
                held.release(timeout=0.3)
            every(proxies, "resume")
            assert held.release(timeout=20) is False

    def test_a_lost_connection_is_no_loss(self, proxies, hosts, root):
        with hold(root, proxies.hosts, identifier="a") as held:
            lost = held.lost
            for _ in range(5):
                every(proxies, "cut")
                held.check()
            assert not lost.wait(0.5)

    def test_a_persistent_lease_is_not_lost_with_the_session(self, proxies, hosts, root, zk, wait_until):
        held = hold(root, proxies.hosts, identifier="a", session_timeout=SHORT, ephemeral_lease=False)
        lost = held.lost
        every(proxies, "stall")
        wait_until(lambda: children(zk, f"{root}-__lock__") == [], "its session has expired")
        every(proxies, "resume")
        held.check()
        assert not lost.is_set()
        zk.delete(f"{root}/{held.lease}")
        assert lost.wait(10), "a removal is noticed in the new session too"
        assert held.release() is False

    def test_while_nobody_can_tell_a_check_says_that_nobody_can_tell(self, proxies, hosts, root):
        held = hold(root, proxies.hosts, identifier="a")
        every(proxies, "refuse")
        with pytest.raises(errors.Unreachable):
            held.check(timeout=0.3)
        every(proxies, "accept")
        held.check()
        assert held.release() is True


@pytest.fixture(scope="module")
def timed(ensemble, observer):
    """A check and a release in an outage through which another thread waits, of either kind, both at once."""

    def call_both(ephemeral):
        root, hosts = f"/timed-{uuid.uuid4().hex[:8]}", ensemble.hosts
        with proxied(ensemble) as proxies, Connection(proxies.hosts, session_timeout=SHORT) as connection:
            lock(root, hosts, identifier="h")
            held = hold(f"{root}-2", connection=connection, identifier="a", ephemeral_lease=ephemeral)
            positions = []
            waiter = Waiting(lock, root, connection=connection, identifier="w", on_position=positions.append)
            # Its queue node is there before it knows that: an outage at that moment would be one at its start.
            wait_until(lambda: positions, "it waits")
            every(proxies, "refuse")
            assert held.lost if ephemeral else True
            time.sleep(3 * SHORT)
            for call in (held.check, held.release):
                calling = Waiting(call, timeout=0.5)
                # A slot whose session is over counts as lost; whether the servers keep it still, only they can tell.
                is_lost = ephemeral and call == held.check
                with pytest.raises(errors.SlotLost if is_lost else errors.Unreachable):
                    calling.result(3)
            every(proxies, "accept")
            unlock(root, hosts, identifier="h")
            return waiter.result()

    return together(call_both, [True, False])


@pytest.mark.parametrize("ephemeral", [True, False], ids=["ephemeral", "kept"])
def test_a_hold_obeys_its_time_though_another_thread_looks_for_a_session(timed, ephemeral):
    """A wait goes through an outage of any length, and opens a session as soon as there is somebody to open it with."""
    assert timed[ephemeral].result() is True


@pytest.fixture(scope="module")
def fresh(ensemble):
    """A call on a fresh path that is answered by nobody, of each kind, all at once."""

    def give_back(case):
        function, ephemeral = case
        root = f"/fresh-{uuid.uuid4().hex[:8]}"
        with proxied(ensemble) as proxies, Connection(proxies.hosts, session_timeout=SHORT) as connection:
            lock_holders(root, connection=connection)
            every(proxies, "drop_reply", Op.MULTI)
            every(proxies, "drop_reply", Op.CREATE_SESSION, 1000)
            with pytest.raises(errors.ConnectionLost, match=f"{root}: a slot may be held; it is given back"):
                function(root, connection=connection, identifier="b", timeout=1, ephemeral_lease=ephemeral)
            every(proxies, "heal")
            wait_until(lambda: lock_holders(root, ensemble.hosts) == [], "it is given back")
        return lock(root, ensemble.hosts, identifier="next", timeout=5)

    return together(give_back, [(function, ephemeral) for function in (lock, hold) for ephemeral in (True, False)])


@pytest.fixture(scope="module")
def found_late(ensemble, observer):
    """A persistent lease that nobody knows of until its session has ended, of each kind, at once."""

    def give_back(function):
        root = f"/late-{uuid.uuid4().hex[:8]}"
        lock(root, ensemble.hosts, identifier="h")
        with proxied(ensemble) as proxies, Connection(proxies.hosts, session_timeout=SHORT) as connection:
            options = {"connection": connection, "ephemeral_lease": False, "timeout": 2}
            waiter = Waiting(function, root, identifier="b", **options)
            wait_until(lambda: queue(observer, root) == ["b"], "b waits")
            every(proxies, "drop_reply", Op.MULTI)
            every(proxies, "drop_reply", Op.CREATE_SESSION, 1000)
            unlock(root, ensemble.hosts, identifier="h")
            with pytest.raises(errors.ConnectionLost):
                waiter.result()
            holders = lock_holders(root, ensemble.hosts)
            every(proxies, "refuse")
            time.sleep(3 * SHORT)
            every(proxies, "heal")
            wait_until(lambda: lock_holders(root, ensemble.hosts) == [], "it is given back in the next session")
        return holders

    return together(give_back, [lock, hold])


class TestCertainty:
    """Whoever was told that a slot may be held holds none in the end, and needs to do nothing for it."""

    @pytest.mark.parametrize("ephemeral", [True, False], ids=["ephemeral", "kept"])
    @pytest.mark.parametrize("function", [lock, hold])
    def test_on_a_fresh_path(self, fresh, function, ephemeral):
        assert fresh[function, ephemeral].result()

    @pytest.mark.parametrize("function", [lock, hold])
    def test_a_persistent_one_that_is_found_only_after_the_session(self, found_late, function):
        assert found_late[function].result() == ["b"]

    def test_a_request_that_comes_late_leaves_nothing_either(self, proxies, hosts, root, zk, wait_until):
        lock(root, hosts, identifier="h")
        waiter = Waiting(hold, root, proxies.hosts, identifier="b", timeout=2, session_timeout=4)
        wait_until(lambda: queue(zk, root) == ["b"], "b waits")
        every(proxies, "hold_request", Op.MULTI)
        every(proxies, "drop_reply", Op.SYNC, 1000)
        unlock(root, hosts, identifier="h")
        with pytest.raises(errors.ConnectionLost):
            waiter.result()
        every(proxies, "heal")
        wait_until(lambda: queue(zk, root) == [], "its place is gone")
        for proxy in proxies:
            if proxy._held and proxy._connections:
                proxy.send_held()
        wait_until(lambda: lock_holders(root, hosts) == [], "whatever came late is gone")

    @pytest.mark.parametrize("ephemeral", [True, False], ids=["ephemeral", "kept"])
    def test_a_release_that_nobody_has_answered(self, proxies, hosts, root, wait_until, ephemeral):
        held = hold(root, proxies.hosts, identifier="a", ephemeral_lease=ephemeral, session_timeout=4)
        every(proxies, "drop_request", Op.DELETE, 1000)
        with pytest.raises(errors.ConnectionLost, match="it is given back as soon as a server answers"):
            held.release(timeout=0.5)
        assert lock_holders(root, hosts) == ["a"]
        every(proxies, "heal")
        wait_until(lambda: lock_holders(root, hosts) == [], "it is given back")

    def test_a_block_that_ends_in_an_outage(self, proxies, hosts, root, wait_until):
        def work():
            with hold(root, proxies.hosts, identifier="a", connect_timeout=0.5):
                every(proxies, "refuse")

        with pytest.raises((errors.Unreachable, errors.ConnectionLost)):
            work()
        every(proxies, "accept")
        wait_until(lambda: lock_holders(root, hosts) == [], "it is given back")

    def test_a_block_that_fails_in_an_outage_says_what_it_failed_with(self, proxies, hosts, root, wait_until, caplog):
        def work():
            with hold(root, proxies.hosts, identifier="a", connect_timeout=0.5):
                every(proxies, "refuse")
                raise LookupError("nginx does not start")

        with pytest.raises(LookupError, match="nginx"):
            work()
        assert f"could not give back the slot at {root}" in caplog.text
        every(proxies, "accept")
        wait_until(lambda: lock_holders(root, hosts) == [], "it is given back")


class TestLingering:
    """The servers hear of a session that hears nothing of them, and keep its lease after its client has given it up."""

    def outlast(self, proxies, hosts, root, held):
        every(proxies, "trickle")
        time.sleep(2 * SHORT)
        assert lock_holders(root, hosts) == ["a"], "the servers have heard of its session"
        with pytest.raises((errors.SlotLost, errors.Unreachable)):
            held.check(timeout=0.2)
        every(proxies, "heal")

    def test_a_release_frees_the_slot_at_once(self, proxies, hosts, root):
        held = hold(root, proxies.hosts, identifier="a", session_timeout=SHORT)
        self.outlast(proxies, hosts, root, held)
        held.release()
        assert lock_holders(root, hosts) == []

    def test_who_has_learnt_of_its_loss_leaves_no_lease_behind(self, proxies, hosts, root, wait_until):
        held = hold(root, proxies.hosts, identifier="a", session_timeout=SHORT)
        assert not held.lost.is_set()
        self.outlast(proxies, hosts, root, held)
        assert held.lost.is_set()
        wait_until(lambda: lock_holders(root, hosts) == [], "its lease is deleted in the next session", 3)

    def test_who_locks_again_in_the_next_session_has_one_lease_and_not_two(self, proxies, hosts, root, zk):
        connection = Connection(proxies.hosts, session_timeout=SHORT)
        options = {"identifier": "a", "ephemeral_lease": True, "connection": connection}
        assert lock(root, **options)
        (before,) = children(zk, root)
        every(proxies, "trickle")
        time.sleep(2 * SHORT)
        assert lock_holders(root, hosts) == ["a"], "the servers have heard of its session"
        every(proxies, "heal")
        assert lock(root, **options)
        (after,) = children(zk, root)
        assert after != before
        assert unlock(root, **options)
        assert lock_holders(root, hosts) == []

    def test_a_znode_at_a_path_that_another_may_use_is_left_to_the_servers(self, proxies, hosts, root, zk):
        connection = Connection(proxies.hosts, session_timeout=SHORT)
        others = f"{root}/others"
        znode.create(others, b"", connection=connection, ephemeral=True, makepath=True)
        every(proxies, "trickle")
        time.sleep(2 * SHORT)
        zk.delete(others)
        zk.create(others, b"another's")
        every(proxies, "heal")
        assert znode.exists(root, connection=connection)
        assert children(zk, root) == ["others"]

    def test_an_unlock_that_clears_its_own_lease_leaves_another_process_alone(self, proxies, hosts, root):
        options = {"identifier": "a", "ephemeral_lease": True, "max_concurrency": 2}
        options["connection"] = Connection(proxies.hosts, session_timeout=SHORT)
        assert lock(root, **options)
        with hold(root, hosts, identifier="a", max_concurrency=2) as other:
            every(proxies, "trickle")
            time.sleep(2 * SHORT)
            assert lock_holders(root, hosts) == ["a", "a"]
            every(proxies, "heal")
            assert unlock(root, **options) is True
            other.check()
            assert lock_holders(root, hosts) == ["a"]
