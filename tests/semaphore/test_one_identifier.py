"""Several holds of one identifier are one slot until the last of them is gone, whoever looks and whoever waits."""

import json
import random
import subprocess
import sys
import threading

import pytest
from zkcoord import errors, hold, lock, lock_holders, unlock

from tests.support.calls import Waiting, children, queue

WORKER = """
import json, sys, zkcoord

root, hosts = sys.argv[1:]
held = {}
for line in sys.stdin:
    what, name, keywords = json.loads(line)
    if what == "take":
        try:
            taken = zkcoord.hold(root, hosts, **keywords)
        except zkcoord.errors.TimedOut:
            answer = None
        else:
            held[taken.lease] = taken
            answer = taken.lease
    elif what == "check":
        answer = all(hold.check() is None for hold in held.values())
    else:
        answer = held.pop(name).release()
    print(json.dumps(answer), flush=True)
"""


class Worker:
    """A process that takes holds and gives them back as it is told."""

    def __init__(self, root, hosts):
        command = [sys.executable, "-c", WORKER, root, hosts]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, what, name=None, **keywords):
        self.process.stdin.write(json.dumps([what, name, keywords]) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def end(self):
        self.process.stdin.close()
        self.process.wait(20)
        self.process.stdout.close()


@pytest.fixture
def workers(root, hosts):
    workers = [Worker(root, hosts) for _ in range(3)]
    yield workers
    for worker in workers:
        worker.end()


def leases(zk, pool):
    """The identifiers by the names of the leases, by way of kazoo."""
    return {name: zk.get(f"{pool}/{name}")[0].decode() for name in children(zk, pool)}


@pytest.mark.parametrize("limit", [1, 2])
@pytest.mark.parametrize("seed", range(2))
def test_in_several_processes_there_are_never_more_identifiers_than_slots(root, zk, workers, limit, seed):
    """Step by step, with the truth looked up after each."""
    draw, held = random.Random(f"{limit}-{seed}"), {}
    refused = shared = 0
    for _ in range(300):
        if held and draw.random() < 0.48:
            lease = draw.choice(sorted(held))
            worker, _ = held.pop(lease)
            assert worker.ask("release", lease) is True
        else:
            worker, identifier = draw.choice(workers), draw.choice("abc")
            options = {"max_concurrency": limit, "timeout": 0, "ephemeral_lease": draw.random() < 0.6}
            lease = worker.ask("take", identifier=identifier, **options)
            holders = {name for _, name in held.values()}
            if lease is None:
                # A slot is an identifier's, but kazoo counts leases: an identifier may take up several places.
                assert identifier not in holders
                assert len(held) >= limit
                refused += 1
            else:
                shared += identifier in holders
                assert len(holders | {identifier}) <= limit
                held[lease] = worker, identifier
        assert leases(zk, root) == {lease: name for lease, (_, name) in held.items()}
        assert queue(zk, root) == [] or not any(name.endswith("__lock__") for name in queue(zk, root))
    assert refused > 20
    assert shared > 20
    for worker in workers:
        assert worker.ask("check") is True
    for lease, (worker, _) in held.items():
        assert worker.ask("release", lease) is True
    assert children(zk, root) == children(zk, f"{root}-__lock__") == []


@pytest.mark.parametrize("limit", [1, 2])
def test_in_threads_that_start_and_end_as_they_like_there_are_never_more(hosts, root, zk, limit):
    """All at once; every state of the pool that kazoo gets to see is judged in the end, when all leases are known."""
    known, failures, seen = {}, [], set()
    ends = threading.Event()

    def work(number):
        draw, held = random.Random(number), []
        for _ in range(60):
            if held and draw.random() < 0.5:
                if held.pop(draw.randrange(len(held))).release() is not True:
                    failures.append("a hold was lost")
                continue
            identifier, kept = draw.choice("abc"), draw.random() < 0.4
            options = {"max_concurrency": limit, "timeout": draw.choice([0, 0.02, 0.3]), "ephemeral_lease": not kept}
            try:
                taken = hold(root, hosts, identifier=identifier, **options)
            except errors.TimedOut:
                continue
            known[taken.lease] = identifier
            held.append(taken)
        failures.extend("a hold was lost" for each in held if each.release() is not True)

    def watch():
        while not ends.is_set():
            seen.add(frozenset(children(zk, root)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ends.set()
    watcher.join()
    assert failures == []
    assert len(seen) > 20
    assert any(len(names) > limit for names in seen), "some identifiers had several leases at a time"
    for names in seen:
        assert len({known[name] for name in names}) <= limit
    assert children(zk, root) == children(zk, f"{root}-__lock__") == []


@pytest.mark.parametrize("kept", [False, True], ids=["ephemeral", "kept"])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_a_waiter_gets_in_when_all_are_gone_in_whatever_order(hosts, root, zk, wait_until, order, kept):
    held = [hold(root, hosts, identifier="a", timeout=5, ephemeral_lease=not kept) for _ in range(3)]
    waiter = Waiting(lock, root, hosts, identifier="w")
    wait_until(lambda: "w" in queue(zk, root), "w waits")
    for number in order:
        assert not waiter.done
        assert set(lock_holders(root, hosts)) == {"a"}
        assert held[number].release() is True
    assert waiter.result() is True
    assert lock_holders(root, hosts) == ["w"]


def test_who_has_it_already_does_not_queue_behind_a_waiter(hosts, root, zk, wait_until):
    """Or an inner hold would wait for somebody who waits for the outer one."""
    with hold(root, hosts, identifier="a"):
        waiter = Waiting(lock, root, hosts, identifier="w")
        wait_until(lambda: queue(zk, root) == ["w"], "w waits")
        with hold(root, hosts, identifier="a", timeout=0):
            assert queue(zk, root) == ["w"]
        assert not waiter.done
    assert waiter.result() is True


@pytest.mark.parametrize("limit", [1, 2])
@pytest.mark.parametrize("kept", [False, True], ids=["ephemeral", "kept"])
def test_kazoo_waits_for_the_last_of_them(hosts, root, zk, wait_until, limit, kept):
    options = {"max_concurrency": limit, "ephemeral_lease": not kept, "timeout": 5}
    others = [hold(root, hosts, identifier=f"other-{number}", **options) for number in range(limit - 1)]
    first, second = (hold(root, hosts, identifier="a", **options) for _ in range(2))
    semaphores = [zk.Semaphore(root, f"kazoo-{number}", max_leases=limit) for number in range(2)]
    waiting = [Waiting(semaphore.acquire, timeout=60) for semaphore in semaphores]
    wait_until(lambda: any("kazoo" in it for it in queue(zk, root)), "kazoo waits")
    first.release()
    assert sorted(set(lock_holders(root, hosts))) == sorted({"a", *(it.identifier for it in others)})
    assert not any(each.done for each in waiting)
    second.release()
    wait_until(lambda: any(each.done for each in waiting), "one of them has the slot")
    winner = next(number for number, each in enumerate(waiting) if each.done)
    assert waiting[winner].result() is True
    assert len(children(zk, root)) == limit
    semaphores[winner].release()
    assert waiting[1 - winner].result() is True, "in turn"
    semaphores[1 - winner].release()
    for each in others:
        assert each.release() is True
    assert children(zk, root) == []


def test_it_waits_for_kazoo_in_turn(hosts, root, zk, wait_until):
    semaphore = zk.Semaphore(root, "kazoo")
    semaphore.acquire()
    waiter = Waiting(hold, root, hosts, identifier="a", ephemeral_lease=False)
    wait_until(lambda: queue(zk, root) == ["a"], "it waits")
    second = zk.Semaphore(root, "kazoo-2")
    waiting = Waiting(second.acquire, timeout=30)
    wait_until(lambda: len(queue(zk, root)) == 2, "kazoo waits behind it")
    semaphore.release()
    held = waiter.result()
    assert not waiting.done
    held.release()
    assert waiting.result() is True
    second.release()


def test_a_hold_beside_kazoos_own_lease_of_the_identifier_keeps_the_slot(hosts, root, zk, wait_until):
    semaphore = zk.Semaphore(root, "a")
    semaphore.acquire()
    held = hold(root, hosts, identifier="a", timeout=0)
    waiter = Waiting(lock, root, hosts, identifier="w")
    wait_until(lambda: queue(zk, root) == ["w"], "w waits")
    semaphore.release()
    held.check()
    assert not waiter.done
    assert held.release() is True
    assert waiter.result() is True


class TestOnlyItsOwn:
    """No call removes a lease that it did not take, `unlock` by identifier apart."""

    @pytest.mark.parametrize("kept", [False, True], ids=["ephemeral", "kept"])
    def test_what_an_operator_has_locked_stays(self, hosts, root, zk, script, kept):
        assert script("print(zkcoord.lock(root, hosts, identifier='a'))").result() == "True"
        (locked,) = children(zk, root)
        for _ in range(2):
            with hold(root, hosts, identifier="a", timeout=0, ephemeral_lease=not kept) as held:
                assert sorted(children(zk, root)) == sorted([locked, held.lease])
            assert children(zk, root) == [locked]

    @pytest.mark.parametrize("kept", [False, True], ids=["ephemeral", "kept"])
    def test_what_an_operator_unlocks_is_what_was_locked(self, hosts, root, zk, script, kept):
        assert script("print(zkcoord.lock(root, hosts, identifier='a'))").result() == "True"
        with hold(root, hosts, identifier="a", timeout=0, ephemeral_lease=not kept) as held:
            unlocking = "print(zkcoord.unlock(root, hosts, identifier='a'))"
            assert script(unlocking).result() == "True"
            assert children(zk, root) == [held.lease], "the job is at it still"
            held.check()
            assert script(unlocking).result() == "True"
            assert children(zk, root) == []
            assert script(unlocking).result() == "False"
            with pytest.raises(errors.SlotLost):
                held.check()
            assert held.release() is False

    @pytest.mark.parametrize("kept", [False, True], ids=["ephemeral", "kept"])
    def test_nor_does_it_in_the_process_that_holds(self, hosts, root, zk, kept):
        lock(root, hosts, identifier="a")
        with hold(root, hosts, identifier="a", timeout=0, ephemeral_lease=not kept) as held:
            assert unlock(root, hosts, identifier="a") is True
            assert children(zk, root) == [held.lease]

    @pytest.mark.parametrize("kept", [False, True], ids=["ephemeral", "kept"])
    def test_force_takes_a_lease_beside_the_others(self, hosts, root, zk, kept):
        options = {"identifier": "a", "ephemeral_lease": not kept}
        lock(root, hosts, identifier="other")
        held = [hold(root, hosts, force=True, **options) for _ in range(3)]
        for each in held:
            each.check()
        assert len(children(zk, root)) == 4
        assert [each.release() for each in held] == [True] * 3
        assert lock_holders(root, hosts) == ["other"]

    def test_a_later_lease_of_the_same_identifier_is_not_taken_for_it(self, hosts, root, zk):
        held = hold(root, hosts, identifier="a")
        zk.delete(f"{root}/{held.lease}")
        with hold(root, hosts, identifier="a") as other:
            assert held.release() is False
            with pytest.raises(errors.SlotLost):
                held.check()
            other.check()

    def test_an_unlock_by_the_process_itself_is_no_loss_of_its_lock(self, hosts, root, zk):
        for ephemeral in (False, True):
            told = threading.Event()
            options = {"identifier": "a", "ephemeral_lease": ephemeral}
            assert lock(root, hosts, on_lost=told.set, **options)
            assert unlock(root, hosts, **options) is True
            assert not told.wait(0.5)
            assert lock(root, hosts, on_lost=told.set, **options)
            zk.delete(f"{root}/{children(zk, root)[0]}")
            assert told.wait(10), "but this is"
