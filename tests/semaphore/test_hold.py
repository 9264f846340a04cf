"""`hold`: a slot as a value. It gives its own lease back and no other, and tells when it is lost."""

import random
import signal
import threading
import uuid

import pytest
import zkcoord
from zkcoord import Connection, errors, hold, lock, lock_holders, status, unlock
from zkcoord.testing import Op, proxied

from tests.support.calls import Waiting, children, queue, together, wait_until


def holders(zk, pool):
    """The identifiers of the leases, by way of kazoo."""
    return sorted(zk.get(f"{pool}/{name}")[0].decode() for name in children(zk, pool))


def test_it_holds_a_slot_to_the_end_of_the_block(hosts, root, zk):
    with hold(root, hosts, identifier="a") as held:
        assert holders(zk, root) == ["a"]
        (lease,) = children(zk, root)
        stat = zk.get(f"{root}/{lease}")[1]
        assert (held.path, held.identifier, held.lease) == (root, "a", lease)
        assert (held.token, int(held.session, 16)) == (stat.czxid, stat.ephemeralOwner)
        held.check()
    assert holders(zk, root) == queue(zk, root) == []
    assert held.release() is False
    with pytest.raises(errors.SlotLost, match="has given back"):
        held.check()


def test_it_is_free_again_when_the_work_raises(hosts, root, zk):
    def work():
        with hold(root, hosts, identifier="a"):
            raise LookupError("nginx does not start")

    with pytest.raises(LookupError):
        work()
    assert holders(zk, root) == []


def test_later_holders_have_greater_tokens(hosts, root):
    tokens = []
    for identifier in "abca":
        with hold(root, hosts, identifier=identifier) as held:
            tokens.append(held.token)
    assert tokens == sorted(set(tokens))


def test_no_slot_in_time_is_an_error_that_names_the_holders(hosts, root, zk):
    lock(root, hosts, identifier="operator")
    with pytest.raises(errors.TimedOut, match=rf"no slot at {root} within 0 s, held by 'operator'") as caught:
        hold(root, hosts, identifier="a", timeout=0)
    assert isinstance(caught.value, TimeoutError)
    assert (caught.value.path, caught.value.kind) == (root, "timed_out")
    assert queue(zk, root) == []


def test_below_a_chroot_its_path_is_the_callers(hosts, root):
    with hold("/pool", f"{hosts}{root}") as held:
        assert held.path == "/pool"


class TestOneIdentifier:
    """Several leases of one identifier are one slot, until the last of them is gone."""

    @pytest.mark.parametrize("first_out", [0, 1])
    def test_whichever_ends_first_nobody_else_gets_in_before_both_have_ended(self, hosts, root, zk, first_out):
        both = [hold(root, hosts, identifier="a"), hold(root, hosts, identifier="a", timeout=0)]
        assert holders(zk, root) == ["a", "a"]
        waiter = Waiting(lock, root, hosts, identifier="w")
        assert both.pop(first_out).release() is True
        assert holders(zk, root) == ["a"]
        assert not waiter.done
        assert both.pop().release() is True
        assert waiter.result() is True

    @pytest.mark.parametrize("ephemeral", [True, False])
    def test_an_inner_one_may_be_a_process_of_its_own(self, hosts, root, zk, script, ephemeral):
        with hold(root, hosts, identifier="a", ephemeral_lease=ephemeral) as outer:
            inner = script(
                "import signal; signal.signal(signal.SIGUSR1, lambda *_: None)\n"
                "with zkcoord.hold(root, hosts, identifier='a', timeout=5): print('in', flush=True); signal.pause()"
            )
            assert inner.line() == "in"
            assert holders(zk, root) == ["a", "a"]
            inner.signal(signal.SIGUSR1)
            inner.result()
            assert children(zk, root) == [outer.lease]
        assert holders(zk, root) == []

    def test_with_kazoo_waiting(self, hosts, root, zk, wait_until):
        first, second = hold(root, hosts, identifier="a"), hold(root, hosts, identifier="a")
        semaphore = zk.Semaphore(root, "kazoo")
        waiting = Waiting(semaphore.acquire, timeout=30)
        wait_until(lambda: len(children(zk, f"{root}-__lock__")) == 1, "kazoo waits")
        first.release()
        assert lock_holders(root, hosts) == ["a"]
        second.release()
        assert waiting.result() is True
        semaphore.release()

    @pytest.mark.parametrize("limit", [1, 2])
    def test_at_random_there_are_never_more_holders_than_slots(self, hosts, root, zk, limit):
        draw, held = random.Random(limit), []
        for _ in range(150):
            if held and draw.random() < 0.5:
                assert held.pop(draw.randrange(len(held))).release() is True
            else:
                with_what = {"max_concurrency": limit, "timeout": 0, "ephemeral_lease": draw.random() < 0.7}
                try:
                    held.append(hold(root, hosts, identifier=draw.choice("abc"), **with_what))
                except errors.TimedOut:
                    assert len({it.identifier for it in held}) <= limit
            assert holders(zk, root) == sorted(it.identifier for it in held)
            assert len({*holders(zk, root)}) <= limit
        for each in held:
            each.release()


class TestOnlyItsOwn:
    """No call removes a lease that it did not take, `unlock` by identifier apart."""

    def test_what_an_operator_has_locked_stays(self, hosts, root, zk):
        lock(root, hosts, identifier="a")
        before = children(zk, root)
        with hold(root, hosts, identifier="a"):
            assert len(children(zk, root)) == 2
        assert children(zk, root) == before
        assert unlock(root, hosts, identifier="a") is True

    def test_what_an_operator_unlocks_is_what_was_locked_by_hand(self, hosts, root, zk, script):
        lock(root, hosts, identifier="a")
        code = "held = zkcoord.hold(root, hosts, identifier='a'); print(held.lease); signal.pause()"
        job = script(code)
        lease = job.line()
        assert unlock(root, hosts, identifier="a") is True
        assert children(zk, root) == [lease], "the job is at it still"
        assert unlock(root, hosts, identifier="a") is True
        assert children(zk, root) == []
        job.signal(signal.SIGINT)  # at whose end the session ends with it
        job.wait()

    def test_a_lock_of_the_same_process_does_not_take_a_hold_for_its_own(self, hosts, root, zk):
        with hold(root, hosts, identifier="a") as held:
            assert lock(root, hosts, identifier="a", ephemeral_lease=True)
            assert len(children(zk, root)) == 2
            assert unlock(root, hosts, identifier="a", ephemeral_lease=True)
            assert children(zk, root) == [held.lease]

    def test_a_child_that_is_forked_off_leaves_its_parents_hold_alone(self, hosts, root, zk, script):
        process = script("""
            import os
            with zkcoord.hold(root, hosts, identifier="a") as held:
                if os.fork() == 0:
                    try:
                        held.release()
                    except zkcoord.errors.ArgumentError as error:
                        print(error, flush=True)
                    sys.exit()  # through the end of the block
                os.wait()
                print(zkcoord.lock_holders(root, hosts), flush=True)
        """)
        assert "forked off" in process.line()
        assert process.line() == "['a']"
        process.result()
        assert holders(zk, root) == []


class TestKept:
    """A hold that stays when its process dies."""

    def test_it_stays_and_the_next_of_its_kind_takes_its_place(self, hosts, root, zk, script, wait_until):
        dying = script(
            "import signal; held = zkcoord.hold(root, hosts, identifier='a', ephemeral_lease=False, session_timeout=1);"
            "print(held.lease); signal.pause()"
        )
        left = dying.line()
        dying.signal(signal.SIGKILL)
        wait_until(lambda: children(zk, f"{root}-__lock__") == [], "nothing tells any more that its process lives")
        assert children(zk, root) == [left]
        with pytest.raises(errors.TimedOut):
            hold(root, hosts, identifier="b", timeout=0)
        with hold(root, hosts, identifier="a", ephemeral_lease=False) as held:
            assert children(zk, root) == [held.lease] != [left]
        assert children(zk, root) == []

    def test_while_its_process_lives_the_next_takes_a_lease_beside_it(self, hosts, root, zk):
        first = hold(root, hosts, identifier="a", ephemeral_lease=False)
        second = hold(root, hosts, identifier="a", ephemeral_lease=False)
        assert sorted(children(zk, root)) == sorted([first.lease, second.lease])
        assert first.release()
        assert children(zk, root) == [second.lease]
        assert second.release()
        assert children(zk, f"{root}-__lock__") == []

    def test_kazoo_waits_for_it_and_gets_its_turn(self, hosts, root, zk):
        held = hold(root, hosts, identifier="a", ephemeral_lease=False)
        semaphore = zk.Semaphore(root, "kazoo")
        waiting = Waiting(semaphore.acquire, timeout=30)
        assert status(root, hosts)["waiters"] == [] or not waiting.done
        held.release()
        assert waiting.result() is True
        semaphore.release()


class TestLoss:
    """A hold that is gone, and was not given back."""

    def test_a_lease_that_somebody_removes_is_lost(self, hosts, root, zk, script):
        told = threading.Event()
        held = hold(root, hosts, identifier="a", on_lost=told.set)
        assert not held.lost.is_set()
        zk.delete(f"{root}/{held.lease}")
        assert held.lost.wait(10)
        assert told.wait(10)
        with pytest.raises(errors.SlotLost, match=f"'a' has lost its slot at {root}"):
            held.check()
        assert held.release() is False

    def test_a_block_that_lost_its_slot_ends_with_that(self, hosts, root):
        def work(error=None):
            with hold(root, hosts, identifier="a"):
                unlock(root, hosts, identifier="a")
                if error:
                    raise error

        with pytest.raises(errors.SlotLost):
            work()
        with pytest.raises(LookupError):
            work(LookupError())

    def test_to_give_it_back_is_no_loss(self, hosts, root):
        told = []
        with hold(root, hosts, identifier="a", on_lost=lambda: told.append(1)) as held:
            lost = held.lost
        assert not lost.wait(0.5)
        assert not told

    def test_the_end_of_its_session_is_a_loss(self, proxies, hosts, root, wait_until):
        held = hold(root, proxies.hosts, identifier="a", session_timeout=1)
        lost = held.lost
        for proxy in proxies:
            proxy.stall()
        assert lost.wait(20)
        for proxy in proxies:
            proxy.resume()
        wait_until(lambda: lock_holders(root, hosts) == [], "the servers have ended its session")
        assert held.release() is False

    def test_a_lock_tells_it_too(self, hosts, root, zk):
        told = threading.Event()
        assert lock(root, hosts, identifier="a", ephemeral_lease=True, on_lost=told.set)
        zk.delete(f"{root}/{children(zk, root)[0]}")
        assert told.wait(10)


@pytest.fixture(scope="module")
def untold(ensemble):
    """Calls that cannot be told what they came to, of each kind, all at once."""

    def give_back(case):
        function, ephemeral = case
        root, hosts = f"/untold-{uuid.uuid4().hex[:8]}", ensemble.hosts
        lock(root, hosts, identifier="h")
        with proxied(ensemble) as proxies, Connection(proxies.hosts, session_timeout=4) as connection:
            lock_holders(root, connection=connection)
            options = {"connection": connection, "timeout": 2, "ephemeral_lease": ephemeral}
            waiter = Waiting(function, root, identifier="b", **options)
            wait_until(lambda: [it["identifier"] for it in status(root, hosts)["waiters"]] == ["b"], "b waits")
            for proxy in proxies:
                proxy.drop_reply(Op.MULTI)
                proxy.drop_reply(Op.SYNC, count=1000)
            unlock(root, hosts, identifier="h")
            with pytest.raises(errors.ConnectionLost, match=f"{root}: a slot may be held; it is given back"):
                waiter.result()
            for proxy in proxies:
                proxy.heal()
            wait_until(lambda: lock_holders(root, hosts) == [], "it is given back")

    return together(give_back, [(function, ephemeral) for function in (lock, hold) for ephemeral in (True, False)])


class TestCertainty:
    """Whoever was told that a slot may be held holds none in the end."""

    @pytest.mark.parametrize("ephemeral", [True, False])
    @pytest.mark.parametrize("function", [lock, hold])
    def test_what_nobody_could_tell_is_given_back(self, untold, function, ephemeral):
        untold[function, ephemeral].result()

    def test_a_release_that_failed_is_completed_after_the_outage(self, proxies, hosts, root, wait_until):
        held = hold(root, proxies.hosts, identifier="a")
        for proxy in proxies:
            proxy.refuse()
        with pytest.raises(errors.Error):
            held.release(timeout=0.3)
        assert lock_holders(root, hosts) == ["a"]
        for proxy in proxies:
            proxy.accept()
        wait_until(lambda: lock_holders(root, hosts) == [], "it was given back in the background")
        assert held.release() is True, "it is gone after a release"

    def test_an_explicit_timeout_outlasts_an_outage(self, proxies, hosts, root):
        lock(root, proxies.hosts, identifier="a", connect_timeout=0.3)
        for proxy in proxies:
            proxy.refuse()
        unlocking = Waiting(unlock, root, proxies.hosts, identifier="a", timeout=30, connect_timeout=0.3)
        threading.Event().wait(1.5)
        assert not unlocking.done
        for proxy in proxies:
            proxy.accept()
        assert unlocking.result() is True
        assert zkcoord.lock_holders(root, hosts) == []


@pytest.mark.zookeeper("3.9")
@pytest.mark.parametrize("ephemeral", [True, False], ids=["ephemeral", "kept"])
def test_a_hold_that_may_not_read_its_own_lease_says_so_and_leaves_none(hosts, root, zk, ephemeral):
    """ZooKeeper 3.9 tells only a reader about a znode, and so whoever else has no fencing token."""
    lock(root, hosts, identifier="first", max_concurrency=2)
    others = {"username": "others", "password": "secret", "allperms": True}
    with pytest.raises(errors.NoAuth, match=rf"read {root}/\w+ as anonymous"):
        hold(root, hosts, identifier="a", max_concurrency=2, ephemeral_lease=ephemeral, default_acl=others, timeout=5)
    assert len(zk.get_children(root)) == 1
    assert zk.get_children(f"{root}-__lock__") == []
