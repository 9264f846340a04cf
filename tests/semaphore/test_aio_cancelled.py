"""`zkcoord.aio`: a call ends with its task, whatever ends that, and the loop goes on meanwhile."""

import asyncio
import gc
import random
import signal
import threading
import time

import anyio
import pytest
from zkcoord import aio, errors, lock, lock_holders, unlock

from tests.support.calls import Waiting, queue

pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def anyio_backend():
    return "asyncio"


async def ticks(longest):
    """Notes the longest time in which the loop did nothing for anybody."""
    while True:
        started = time.monotonic()
        await asyncio.sleep(0.01)
        longest.append(time.monotonic() - started)


async def seen(condition, what):
    """As `wait_until`, without stopping the loop."""
    end = time.monotonic() + 15
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < end, what
        await asyncio.sleep(0.005)


@pytest.mark.anyio
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("function", ["lock", "hold"])
async def test_cancelled_at_any_instant_it_is_held_and_told_or_not_held(hosts, root, zk, function, seed):
    """100 instants around the one in which the slot comes free, for each."""
    draw, outcomes = random.Random(f"{function}-{seed}"), set()
    for turn in range(100):
        before = await aio.hold(root, hosts, identifier="h")
        task = asyncio.ensure_future(_awaited(getattr(aio, function), root, hosts, identifier="a"))
        while not queue(zk, root):
            await asyncio.sleep(0.001)
        freeing = asyncio.ensure_future(before.release())
        await asyncio.sleep(draw.random() * 0.012)
        task.cancel()
        await asyncio.wait([task, freeing])
        outcomes.add(task.cancelled())
        assert lock_holders(root, hosts) == ([] if task.cancelled() else ["a"]), f"in turn {turn}"
        assert queue(zk, root) == []
        if not task.cancelled():
            taken = task.result()
            assert await (aio.unlock(root, hosts, identifier="a") if taken is True else taken.release()) is True
    assert outcomes == {True, False}, "both ends were seen"


@pytest.mark.anyio
async def test_a_second_cancellation_while_the_first_is_seen_to_changes_nothing(hosts, root, zk):
    draw = random.Random(1)
    for _ in range(40):
        await aio.lock(root, hosts, identifier="h")
        task = asyncio.ensure_future(aio.lock(root, hosts, identifier="a"))
        while not queue(zk, root):
            await asyncio.sleep(0.001)
        freeing = asyncio.ensure_future(aio.unlock(root, hosts, identifier="h"))
        for _ in range(6):
            await asyncio.sleep(draw.random() * 0.002)
            task.cancel()
        await asyncio.wait([task, freeing])
        assert lock_holders(root, hosts) == ([] if task.cancelled() else ["a"])
        assert queue(zk, root) == []
        await aio.unlock(root, hosts, identifier="a")


@pytest.mark.anyio
@pytest.mark.parametrize("function", ["lock", "hold"])
async def test_a_time_limit_of_asyncio_leaves_nothing(hosts, root, zk, function):
    lock(root, hosts, identifier="h")
    longest = []
    ticker = asyncio.ensure_future(ticks(longest))
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(_awaited(getattr(aio, function), root, hosts, identifier="a"), 0.3)
    assert queue(zk, root) == []
    ticker.cancel()
    assert len(longest) > 10
    assert max(longest) < 0.3


@pytest.mark.anyio
async def test_a_scope_of_anyio_leaves_nothing(hosts, root, zk):
    lock(root, hosts, identifier="h")
    with anyio.move_on_after(0.3) as scope:
        async with aio.hold(root, hosts, identifier="a"):
            pytest.fail("the slot is not free")
    assert scope.cancelled_caught
    assert queue(zk, root) == []
    with anyio.move_on_after(0.3) as scope:
        await aio.party_members(f"{root}-party", hosts, 1, blocking=True)
    assert scope.cancelled_caught


@pytest.mark.anyio
async def test_a_group_of_tasks_that_fails_takes_its_waits_along(hosts, root, zk):
    lock(root, hosts, identifier="h")

    async def fail():
        await seen(lambda: len(queue(zk, root)) == 5, "all wait")
        raise LookupError("the deployment is off")

    async def deploy():
        async with anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(_awaited, aio.hold, root, hosts, f"w{number}")
            group.start_soon(fail)

    with pytest.raises(Exception, match="TaskGroup") as caught:
        await deploy()
    assert isinstance(caught.value.exceptions[0], LookupError)
    assert queue(zk, root) == []
    unlock(root, hosts, identifier="h")
    assert lock_holders(root, hosts) == []


@pytest.mark.anyio
async def test_work_that_is_cancelled_gives_its_slot_back_first(hosts, root):
    async def work():
        async with aio.hold(root, hosts, identifier="a"):
            started.set()
            await asyncio.sleep(60)

    started = asyncio.Event()
    task = asyncio.ensure_future(work())
    await started.wait()
    assert await aio.lock_holders(root, hosts) == ["a"]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert lock_holders(root, hosts) == []


@pytest.mark.anyio
async def test_a_release_is_not_cut_short(proxies, hosts, root):
    held = await aio.hold(root, proxies.hosts, identifier="a")
    for proxy in proxies:
        proxy.delay(0.2)
    task = asyncio.ensure_future(held.release())
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert lock_holders(root, hosts) == []
    for proxy in proxies:
        proxy.delay(0)


@pytest.mark.anyio
async def test_errors_come_through(hosts, root):
    await aio.lock(root, hosts, identifier="a")
    with pytest.raises(errors.LimitMismatch):
        await aio.lock(root, hosts, identifier="b", max_concurrency=5)
    with pytest.raises(errors.TimedOut, match="held by 'a'"):
        await aio.hold(root, hosts, identifier="b", timeout=0)
    with pytest.raises(errors.ArgumentError, match=r"^timeout: "):
        await aio.status(root, hosts, timeout="soon")
    with pytest.raises(errors.Unreachable):
        await aio.lock_holders(root, "127.0.0.1:1", timeout=0.2)
    held = await aio.hold(f"{root}-2", hosts, identifier="a")
    lost = held.lost
    await aio.unlock(f"{root}-2", hosts, identifier="a", ephemeral_lease=True)
    await asyncio.wait_for(lost.wait(), 10)
    with pytest.raises(errors.SlotLost):
        await held.check()


@pytest.mark.anyio
async def test_two_hundred_wait_and_the_loop_goes_on(hosts, root, zk):
    await aio.lock(root, hosts, identifier="h")
    longest = []
    ticker = asyncio.ensure_future(ticks(longest))
    tasks = [asyncio.ensure_future(aio.lock(root, hosts, identifier=f"w{n}", timeout=60)) for n in range(200)]
    await seen(lambda: len(queue(zk, root)) == len(tasks), "all wait")
    first = queue(zk, root)[0]
    await aio.unlock(root, hosts, identifier="h")
    assert await tasks[int(first[1:])] is True
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks, timeout=30)
    ticker.cancel()
    assert queue(zk, root) == []
    held = [f"w{number}" for number, task in enumerate(tasks) if not task.cancelled()]
    assert lock_holders(root, hosts) == held
    assert len(longest) > 20, "the loop went on"


@pytest.mark.anyio
async def test_one_after_the_other_each_of_many_gets_its_turn(hosts, root):
    at_work = most = 0

    async def work(number):
        nonlocal at_work, most
        async with aio.hold(root, hosts, identifier=number, max_concurrency=3, timeout=60) as held:
            at_work += 1
            most = max(most, at_work)
            await asyncio.sleep(0.01)
            at_work -= 1
            return held.token

    tokens = await asyncio.gather(*(work(number) for number in range(40)))
    assert len(set(tokens)) == 40
    assert most == 3
    assert await aio.lock_holders(root, hosts) == []


class TestTheEndOfALoop:
    """What becomes of a call when nobody runs its task any more."""

    @pytest.mark.parametrize("function", ["lock", "hold"])
    def test_run_that_ends_with_a_wait_under_way(self, hosts, root, zk, function):
        lock(root, hosts, identifier="h")

        async def main():
            task = asyncio.ensure_future(_awaited(getattr(aio, function), root, hosts, identifier="a"))
            await seen(lambda: queue(zk, root) == ["a"], "it waits")
            return task

        asyncio.run(main())
        assert queue(zk, root) == []

    def test_a_slot_that_comes_free_after_the_loop_is_closed_is_taken_for_nobody(self, hosts, root, zk, wait_until):
        lock(root, hosts, identifier="h")
        loop = asyncio.new_event_loop()
        task = loop.create_task(aio.lock(root, hosts, identifier="a"))
        loop.run_until_complete(asyncio.sleep(0.3))
        assert queue(zk, root) == ["a"]
        loop.close()
        unlock(root, hosts, identifier="h")
        next_one = Waiting(lock, root, hosts, identifier="next", timeout=20)
        assert next_one.result() is True
        wait_until(lambda: lock_holders(root, hosts) == ["next"], "the one before has given it back")
        assert not task.done()
        task._log_destroy_pending = False
        del task
        gc.collect()

    def test_a_hold_whose_loop_is_closed_can_be_told_of_its_loss(self, hosts, root, zk, wait_until):
        async def main():
            held = await aio.hold(root, hosts, identifier="a")
            return held, held.lost

        held, lost = asyncio.run(main())
        threads = threading.active_count()
        unlock(root, hosts, identifier="a", ephemeral_lease=True)
        wait_until(lambda: threading.active_count() < threads, "the watch has ended, without an error")
        assert not lost.is_set()
        assert held.token


@pytest.mark.parametrize("what", ["lock", "hold", "party_members"])
def test_ctrl_c_ends_a_program_that_waits(hosts, root, zk, script, wait_until, ensemble, what):
    lock(root, hosts, identifier="h")
    before = ensemble.sessions()
    process = script(
        """
        import asyncio
        from zkcoord import aio

        async def main():
            if what == "party_members":
                await aio.party_members(root, hosts, 5, blocking=True, session_timeout=30)
            else:
                await getattr(aio, what)(root, hosts, identifier="waiter", session_timeout=30)

        asyncio.run(main())
        """,
        what=what,
    )
    if what != "party_members":
        wait_until(lambda: queue(zk, root) == ["waiter"], "it waits")
    wait_until(lambda: len(ensemble.sessions()) > len(before), "it is connected")
    time.sleep(0.2)
    started = time.monotonic()
    process.signal(signal.SIGINT)
    assert process.wait(10) == -signal.SIGINT, "as any program of asyncio"
    assert time.monotonic() - started < 5
    assert "KeyboardInterrupt" in process.stderr
    wait_until(lambda: ensemble.sessions() == before, "its session is gone", limit=8)
    assert queue(zk, root) == []
    assert lock_holders(root, hosts) == ["h"]


def test_it_works_in_a_thread_whose_loop_is_its_own(hosts, root):
    """Signals are for the main thread; a loop elsewhere has none to do with."""

    async def work():
        async with aio.hold(root, hosts, identifier="a", timeout=10) as held:
            return await aio.lock_holders(root, hosts), held.identifier

    assert Waiting(asyncio.run, work()).result() == (["a"], "a")
    assert lock_holders(root, hosts) == []


async def _awaited(function, *arguments, **keywords):
    return await function(*arguments, **keywords)
