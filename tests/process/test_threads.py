"""Threads share the session of their process, and wait beside each other."""

import contextlib
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
import zkcoord


@pytest.fixture
def start():
    """Run a function in a thread of its own."""
    with ThreadPoolExecutor(16) as threads:
        yield threads.submit


def results(futures: list[Future]) -> list:
    return [future.result(60) for future in futures]


class Limit:
    """Counts who is inside, and the most that ever were."""

    def __init__(self) -> None:
        self.inside = self.most = 0
        self._changed = threading.Condition()

    def __enter__(self) -> None:
        with self._changed:
            self.inside += 1
            self.most = max(self.most, self.inside)
            self._changed.notify_all()

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self.inside -= 1

    def wait_for(self, most: int) -> None:
        """Stay until as many have been inside at a time as may be."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.most >= most, 20)


@pytest.mark.parametrize("slots", [1, 2])
def test_four_threads_contend_on_one_session_and_never_exceed_the_limit(start, hosts, root, sessions, slots):
    limit, together = Limit(), threading.Barrier(4)

    def contend(name: str) -> None:
        together.wait(20)
        for _ in range(10):
            assert zkcoord.lock(root, hosts, name, slots, 60)
            with limit:
                limit.wait_for(slots)
            assert zkcoord.unlock(root, hosts, name)

    results([start(contend, f"thread-{number}") for number in range(4)])
    assert limit.most == slots
    assert len(sessions()) == 1
    assert zkcoord.lock_holders(root, hosts) == []


def test_threads_are_served_first_in_first_out(start, hosts, root, pool, held, wait_until):
    names = [f"thread-{number}" for number in range(6)]
    served = []

    def turn(name: str) -> None:
        assert zkcoord.lock(root, hosts, name, timeout=60)
        served.append(name)
        assert zkcoord.unlock(root, hosts, name)

    turns = []
    for number, name in enumerate(names, 1):
        turns.append(start(turn, name))
        wait_until(lambda number=number: len(pool.places()) == number, f"{name} has queued")
    assert pool.waiters() == names
    held()
    results(turns)
    assert served == names


def test_two_threads_with_one_identifier_both_hold_one_slot(start, hosts, root, pool, held, wait_until):
    both = [start(zkcoord.lock, root, hosts, "same", 1, 60) for _ in range(2)]
    wait_until(lambda: pool.waiters() == ["same", "same"], "both wait")
    held()
    assert results(both) == [True, True]
    assert pool.holders() == ["same"]
    assert pool.places() == []


@pytest.mark.parametrize("ephemeral", [False, True])
def test_one_identifier_locked_and_unlocked_by_two_threads_at_once_ends_free(start, hosts, root, pool, ephemeral):
    together = threading.Barrier(2)

    def turn() -> None:
        for _ in range(30):
            together.wait(20)
            assert zkcoord.lock(root, hosts, "same", timeout=60, ephemeral_lease=ephemeral)
            assert len(zkcoord.lock_holders(root, hosts)) <= 1
            zkcoord.unlock(root, hosts, "same", ephemeral_lease=ephemeral)

    results([start(turn), start(turn)])
    assert pool.holders() == pool.places() == []


def test_python_goes_on_in_other_threads_while_one_waits(start, hosts, root, pool, held, wait_until):
    def release() -> bool:
        wait_until(pool.waiters, "the main thread waits")
        return held()

    released = start(release)
    # If the wait kept the GIL, nobody could give the slot back.
    assert zkcoord.lock(root, hosts, "waiter", timeout=30)
    assert released.result(10)


def test_a_thread_waits_for_a_party_while_others_work(start, hosts, root, zk):
    gathering = start(zkcoord.party_members, root, hosts, 1, True, timeout=60)
    for _ in range(20):
        assert zkcoord.lock(f"{root}-other", hosts, "worker", timeout=30)
        assert zkcoord.unlock(f"{root}-other", hosts, "worker")
    assert not gathering.done()
    party = zk.ShallowParty(root, "member")
    party.join()
    assert gathering.result(30) == ["member"]
    party.leave()


def test_closing_ends_an_ephemeral_lease_also_while_another_thread_waits(
    start, hosts, root, pool, sessions, held, wait_until
):
    assert zkcoord.lock(f"{root}-other", hosts, "ephemeral", ephemeral_lease=True, timeout=30)
    waiting = start(zkcoord.lock, root, hosts, "waiter", timeout=30)
    wait_until(pool.places, "it waits")
    session = sessions()
    zkcoord.close()
    wait_until(lambda: not sessions() & session, "the session has ended", limit=5)
    assert zkcoord.lock_holders(f"{root}-other", hosts) == []
    held()
    with contextlib.suppress(zkcoord.errors.Cancelled):
        assert waiting.result(60)


def test_one_thread_that_gives_up_takes_only_its_own_place_along(start, hosts, root, pool, held, wait_until):
    stays = start(zkcoord.lock, root, hosts, "stays", timeout=60)
    wait_until(pool.waiters, "one waits")
    place = pool.places()
    assert zkcoord.lock(root, hosts, "leaves", timeout=0.2) is False
    assert zkcoord.lock(root, hosts, "leaves", timeout=0) is False
    assert pool.places() == place
    held()
    assert stays.result(30)


def test_a_thread_that_hears_no_signal_still_ends_with_its_timeout(start, hosts, root, pool, held):
    began = time.monotonic()
    assert start(zkcoord.lock, root, hosts, "waiter", timeout=0.5).result(30) is False
    assert time.monotonic() - began >= 0.5
    assert pool.places() == []
