"""`zkcoord.aio` answers as the functions do that wait; and ends a wait with its task."""

import asyncio
import random
import signal

import anyio
import pytest
import zkcoord
from zkcoord import aio, errors, lock, lock_holders, unlock

from tests.support.calls import queue


def test_a_worker_thread_of_asyncio_ends_with_the_task_that_awaits_it(hosts, root, zk, wait_until):
    lock(root, hosts, identifier="h")

    async def give_up():
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.to_thread(lock, root, hosts, identifier="a"), 0.5)

    asyncio.run(give_up())
    assert queue(zk, root) == []
    unlock(root, hosts, identifier="h")
    assert lock_holders(root, hosts) == []


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.mark.anyio
class TestAio:
    """The same for asyncio."""

    async def test_it_holds_a_slot_to_the_end_of_the_block(self, hosts, root):
        async with aio.hold(root, hosts, identifier="a") as held:
            assert await aio.lock_holders(root, hosts) == ["a"]
            assert (held.path, held.identifier) == (root, "a")
            await held.check()
            assert not held.lost.is_set()
            with pytest.raises(errors.TimedOut):
                await aio.hold(root, hosts, identifier="b", timeout=0)
        assert await aio.lock_holders(root, hosts) == []

    async def test_every_function_answers_as_the_other_does(self, hosts, root):
        assert await aio.lock(root, hosts, identifier="a") is True
        assert (await aio.status(root, hosts))["holders"][0]["identifier"] == "a"
        assert (await aio.set_max(root, 2, hosts))["new"] == 2
        assert await aio.unlock(root, hosts, identifier="a") is True
        assert await aio.party_members(root, hosts) == []
        assert await aio.znode_create(f"{root}-z", "x", hosts) == f"{root}-z"
        assert await aio.znode_exists(f"{root}-z", hosts)
        assert (await aio.znode_set(f"{root}-z", "y", hosts))[4] == 1
        assert await aio.znode_get(f"{root}-z", hosts) == b"y"
        assert f"{root[1:]}-z" in await aio.znode_children("/", hosts)
        assert await aio.znode_get_acls(f"{root}-z", hosts)
        await aio.znode_delete(f"{root}-z", hosts)
        with pytest.raises(errors.NoNode):
            await aio.znode_get(f"{root}-z", hosts)

    async def test_a_loss_is_told_to_the_loop(self, hosts, root):
        held = await aio.hold(root, hosts, identifier="a")
        lost = held.lost
        await aio.unlock(root, hosts, identifier="a")
        await asyncio.wait_for(lost.wait(), 10)
        assert await held.release() is False

    @pytest.mark.parametrize("function", [aio.lock, aio.hold])
    async def test_a_task_that_is_cancelled_leaves_nothing(self, hosts, root, zk, function):
        await aio.lock(root, hosts, identifier="h")
        with anyio.move_on_after(0.3) as scope:
            await function(root, hosts, identifier="a")
        assert scope.cancelled_caught
        assert queue(zk, root) == []
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(_awaited(function, root, hosts), 0.3)
        assert queue(zk, root) == []

    async def test_cancelled_as_the_slot_comes_free_it_is_either_held_and_told_or_not_held(self, hosts, root, zk):
        draw = random.Random(1)
        for _ in range(60):
            await aio.lock(root, hosts, identifier="h")
            task = asyncio.ensure_future(aio.lock(root, hosts, identifier="a"))
            while not queue(zk, root):
                await asyncio.sleep(0.001)
            freeing = asyncio.ensure_future(aio.unlock(root, hosts, identifier="h"))
            await asyncio.sleep(draw.random() * 0.006)
            task.cancel()
            await asyncio.wait([task, freeing])
            expected = [] if task.cancelled() else ["a"]
            assert await aio.lock_holders(root, hosts) == expected
            assert queue(zk, root) == []
            await aio.unlock(root, hosts, identifier="a")

    async def test_many_wait_and_the_loop_goes_on(self, hosts, root):
        await aio.lock(root, hosts, identifier="h")
        tasks = [asyncio.ensure_future(aio.lock(root, hosts, identifier=f"w{n}")) for n in range(100)]
        ticks = 0
        while len((await aio.status(root, hosts))["waiters"]) < len(tasks):
            await asyncio.sleep(0)
            ticks += 1
        assert ticks
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert all(task.cancelled() for task in tasks)
        assert (await aio.status(root, hosts))["waiters"] == []


async def _awaited(function, *arguments):
    return await function(*arguments, identifier="a")


def test_ctrl_c_ends_a_program_that_waits(hosts, root, zk, script, wait_until):
    lock(root, hosts, identifier="h")
    process = script("""
        import asyncio
        from zkcoord import aio

        async def main():
            async with aio.hold(root, hosts, identifier="waiter"):
                pass

        try:
            asyncio.run(main())
        except KeyboardInterrupt:
            print("interrupted", flush=True)
    """)
    wait_until(lambda: queue(zk, root) == ["waiter"], "it waits")
    process.signal(signal.SIGINT)
    assert process.line() == "interrupted"
    process.result()
    assert queue(zk, root) == []
    assert zkcoord.lock_holders(root, hosts) == ["h"]


def test_a_loop_that_is_closed_under_a_wait_takes_it_along(hosts, root, zk, wait_until):
    lock(root, hosts, identifier="h")
    loop = asyncio.new_event_loop()
    coroutine = aio.lock(root, hosts, identifier="a")
    task = loop.create_task(coroutine)
    loop.run_until_complete(asyncio.sleep(0.3))
    assert queue(zk, root) == ["a"]
    loop.close()
    coroutine.close()
    wait_until(lambda: queue(zk, root) == [], "nobody waits for a loop that is gone")
    unlock(root, hosts, identifier="h")
    assert lock_holders(root, hosts) == []
    assert not task.done()
