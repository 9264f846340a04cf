"""The functions of `zkcoord` for asyncio: calls that neither stop the event loop nor leave anything behind.

Each call runs in a thread of its own, and ends with its task. When the task is cancelled the call is cancelled too, and
the task goes on only when nothing of the call is left: no slot, and no queue node. When the event loop ends during a
call, the call is cancelled as well, and its thread gives back what it has taken.

Arguments, answers and errors are those of the functions of the same name in `zkcoord`, but there is no ``cancel`` and
no ``raise_on_signal``: a program cancels the task instead.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading

import zkcoord
from zkcoord import _hold, _party, semaphore, znode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import TracebackType
    from typing import Any, TypeVar

    from zkcoord._types import AclEntry, Evicted, LimitChange, ListedPool, Status, ZnodeStat

    _T = TypeVar("_T")

__all__ = [
    "Hold",
    "Membership",
    "evict",
    "hold",
    "lock",
    "lock_holders",
    "party",
    "party_join",
    "party_leave",
    "party_members",
    "pools",
    "remove_pool",
    "set_max",
    "status",
    "unlock",
    "znode_children",
    "znode_create",
    "znode_delete",
    "znode_exists",
    "znode_get",
    "znode_get_acls",
    "znode_set",
    "znode_set_acls",
]


class _Thread:
    """A function that runs in a thread of its own. `undo` takes back an answer that nobody is left to receive."""

    def __init__(self, function: Callable[[], Any], undo: Callable[[Any], object] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self._loop.create_future()
        self._function, self._undo = function, undo
        self._guard = threading.Lock()
        self._is_abandoned = self._is_over = False
        try:
            threading.Thread(target=self._run, name="zkcoord-aio", daemon=True).start()
        except RuntimeError as err:
            raise zkcoord.errors.no_thread() from err

    def _run(self) -> None:
        answer, error = None, None
        try:
            answer = self._function()
        except BaseException as err:
            error = err
        with self._guard:
            self._is_over = True
            self._answer = answer
            is_abandoned = self._is_abandoned
        if is_abandoned:
            self._take_back()
            return
        try:
            self._loop.call_soon_threadsafe(self._settle, answer, error)
        except RuntimeError:  # the loop is closed
            self._take_back()

    def _settle(self, answer: object, error: BaseException | None) -> None:
        if self.future.done():
            return
        if error is None:
            self.future.set_result(answer)
        else:
            self.future.set_exception(error)

    def _take_back(self) -> None:
        if self._undo is not None and self._answer is not None:
            with contextlib.suppress(zkcoord.errors.Error):
                self._undo(self._answer)

    def abandon(self) -> None:
        """Note that nobody will receive the answer. The thread takes it back, now or when it has come."""
        with self._guard:
            self._is_abandoned = True
            is_over = self._is_over
        if is_over:
            threading.Thread(target=self._take_back, name="zkcoord-aio", daemon=True).start()

    async def end(self) -> None:
        """Wait until the function has ended, also when the task is cancelled again and again."""
        while not self.future.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([self.future])
        if not self.future.cancelled():
            self.future.exception()  # else asyncio would log that nobody has retrieved the exception


async def _call(function: Callable[..., _T], *args: Any, **kwargs: Any) -> _T:
    return await _cancellable(function, None, args, kwargs)


async def _cancellable(
    function: Callable[..., _T], undo: Callable[[_T], object] | None, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> _T:
    """Run a function of zkcoord. A task that is cancelled learns of that when nothing of the call is left."""
    cancel = zkcoord.Cancel()
    thread = _Thread(lambda: function(*args, cancel=cancel, raise_on_signal=True, **kwargs), undo)
    try:
        answer: _T = await asyncio.shield(thread.future)
    except asyncio.CancelledError:
        cancel.cancel()
        await thread.end()
        if undo is not None and not thread.future.cancelled() and thread.future.exception() is None:
            taken = thread.future.result()
            await _Thread(lambda: undo(taken)).end()
        raise
    except GeneratorExit:  # the loop has ended, and with it the task
        cancel.cancel()
        thread.abandon()
        raise
    return answer


async def _to_the_end(function: Callable[[], _T]) -> _T:
    """Run a function that is not to be cut short. A cancellation of the task is raised when the function has ended."""
    thread = _Thread(function)
    try:
        return await asyncio.shield(thread.future)
    except asyncio.CancelledError:
        await thread.end()
        raise


async def lock(path: str, *args: Any, **kwargs: Any) -> bool:
    """Take one of the slots at a path for an identifier, and wait for one if need be. See `zkcoord.lock`.

    When the task is cancelled, a slot that this call has taken is given back.
    """
    taken: list[Any] = []

    def give_back(held: bool) -> None:
        for lease in taken:
            lease.release((None, None, True))

    return await _cancellable(zkcoord.lock, give_back, (path, *args), {**kwargs, semaphore.TELL_TAKEN: taken.append})


async def unlock(path: str, *args: Any, **kwargs: Any) -> bool:
    """Give back the slot that an identifier holds at a path, from any process. See `zkcoord.unlock`."""
    return await _call(zkcoord.unlock, path, *args, **kwargs)


async def lock_holders(path: str, *args: Any, **kwargs: Any) -> list[str]:
    """List the identifiers that hold a slot at a path. See `zkcoord.lock_holders`."""
    return await _call(zkcoord.lock_holders, path, *args, **kwargs)


async def party_members(path: str, *args: Any, **kwargs: Any) -> list[str]:
    """List who is present in the party at a path, or wait until enough are. See `zkcoord.party_members`."""
    return await _call(zkcoord.party_members, path, *args, **kwargs)


async def party_join(path: str, *args: Any, **kwargs: Any) -> bool:
    """Make an identifier a member of the party at a path. See `zkcoord.party_join`.

    When the task is cancelled in the moment in which its call has made a member, the member stays.
    """
    return await _call(zkcoord.party_join, path, *args, **kwargs)


async def party_leave(path: str, *args: Any, **kwargs: Any) -> bool:
    """Remove an identifier from the party at a path. See `zkcoord.party_leave`."""
    return await _call(zkcoord.party_leave, path, *args, **kwargs)


async def evict(path: str, identifier: str, reason: str, *args: Any, **kwargs: Any) -> Evicted:
    """Take the slot of an identifier away, and say who did it and why. See `zkcoord.evict`."""
    return await _call(zkcoord.evict, path, identifier, reason, *args, **kwargs)


async def status(path: str, *args: Any, **kwargs: Any) -> Status:
    """Tell who holds a slot at a path since when, and who waits for one. See `zkcoord.status`."""
    return await _call(zkcoord.status, path, *args, **kwargs)


async def set_max(path: str, *args: Any, **kwargs: Any) -> LimitChange:
    """Change the limit that the pool at a path stores. See `zkcoord.set_max`."""
    return await _call(zkcoord.set_max, path, *args, **kwargs)


async def pools(root: str = "/", *args: Any, **kwargs: Any) -> list[ListedPool]:
    """List the pools below a znode. See `zkcoord.pools`."""
    return await _call(zkcoord.pools, root, *args, **kwargs)


async def remove_pool(path: str, *args: Any, **kwargs: Any) -> bool:
    """Remove a pool that nobody uses. See `zkcoord.remove_pool`."""
    return await _call(zkcoord.remove_pool, path, *args, **kwargs)


async def znode_create(path: str, *args: Any, **kwargs: Any) -> str:
    """Create a znode. See `zkcoord.znode.create`."""
    return await _call(znode.create, path, *args, **kwargs)


async def znode_exists(path: str, *args: Any, **kwargs: Any) -> bool:
    """Tell whether a znode exists. See `zkcoord.znode.exists`."""
    return await _call(znode.exists, path, *args, **kwargs)


async def znode_get(path: str, *args: Any, **kwargs: Any) -> bytes:
    """Read the data of a znode. See `zkcoord.znode.get`."""
    return await _call(znode.get, path, *args, **kwargs)


async def znode_children(path: str, *args: Any, **kwargs: Any) -> list[str]:
    """List the names of a znode's children. See `zkcoord.znode.children`."""
    return await _call(znode.children, path, *args, **kwargs)


async def znode_set(path: str, *args: Any, **kwargs: Any) -> ZnodeStat:
    """Write the data of a znode. See `zkcoord.znode.set`."""
    return await _call(znode.set, path, *args, **kwargs)


async def znode_get_acls(path: str, *args: Any, **kwargs: Any) -> list[AclEntry]:
    """Read the ACL of a znode. See `zkcoord.znode.get_acls`."""
    return await _call(znode.get_acls, path, *args, **kwargs)


async def znode_set_acls(path: str, *args: Any, **kwargs: Any) -> ZnodeStat:
    """Write the ACL of a znode. See `zkcoord.znode.set_acls`."""
    return await _call(znode.set_acls, path, *args, **kwargs)


async def znode_delete(path: str, *args: Any, **kwargs: Any) -> None:
    """Delete a znode. See `zkcoord.znode.delete`."""
    await _call(znode.delete, path, *args, **kwargs)


def _set_when_lost(taken: Any) -> asyncio.Event:
    """Return an event of this loop that is set when a lease, or a member, is gone."""
    lost, loop = asyncio.Event(), asyncio.get_running_loop()

    def tell() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(lost.set)

    _hold.watch(taken, tell)
    return lost


class Hold:
    """A slot that is held, until it is released. See `zkcoord.Hold`; methods that ask the servers are coroutines."""

    def __init__(self, hold: _hold.Hold) -> None:
        """Wrap the hold that `zkcoord.hold` has returned."""
        self._hold = hold
        self._lost: asyncio.Event | None = None

    path = property(lambda self: self._hold.path, doc="The pool, below the chroot.")
    identifier = property(lambda self: self._hold.identifier, doc="Who holds the slot.")
    token = property(lambda self: self._hold.token, doc="The fencing token: later holders have greater ones.")
    lease = property(lambda self: self._hold.lease, doc="The name of the lease's znode below the pool.")
    session = property(lambda self: self._hold.session, doc="The session of the lease, in hexadecimal.")
    ephemeral = property(lambda self: self._hold.ephemeral, doc="Whether the lease ends with that session.")

    @property
    def lost(self) -> asyncio.Event:
        """An event of this loop that is set when the slot is lost. `release` does not set it."""
        if self._lost is None:
            self._lost = _set_when_lost(self._hold._core)
        return self._lost

    async def check(self, timeout: float | None = None) -> None:
        """Ask the servers whether the slot is held still. Raises `SlotLost`, or `Unreachable`."""
        await _to_the_end(lambda: self._hold.check(timeout))

    async def release(self, timeout: float | None = None) -> bool:
        """Give the slot back: True, or False where it was lost before. A cancelled task ends after the release."""
        return await _to_the_end(lambda: self._hold.release(timeout))

    def __repr__(self) -> str:
        """Show whose slot it is, and where."""
        return repr(self._hold)


class _Holding:
    """What `hold` returns: it can be awaited, or entered with ``async with``."""

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._args, self._kwargs = args, kwargs

    def __await__(self) -> Generator[Any, None, Hold]:
        return self._take().__await__()

    async def _take(self) -> Hold:
        held = await _cancellable(zkcoord.hold, lambda hold: hold.release(), self._args, self._kwargs)
        return Hold(held)

    async def __aenter__(self) -> Hold:
        self._held = await self._take()
        return self._held

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        hold = self._held._hold
        await _to_the_end(lambda: hold.__exit__(kind, error, traceback))


def hold(path: str, *args: Any, **kwargs: Any) -> _Holding:
    """Take a slot for one piece of work: ``async with zkcoord.aio.hold(...) as hold:``. See `zkcoord.hold`.

    ``hold = await zkcoord.aio.hold(...)`` takes a slot until ``await hold.release()``. When the task is cancelled while
    it waits for the slot, or in the block, the slot is given back before the cancellation goes on.
    """
    return _Holding((path, *args), kwargs)


class Membership:
    """A membership in a party, until it is left. See `zkcoord.Membership`; `leave` is a coroutine."""

    def __init__(self, membership: _party.Membership) -> None:
        """Wrap the membership that `zkcoord.party` has returned."""
        self._membership = membership
        self._lost: asyncio.Event | None = None

    path = property(lambda self: self._membership.path, doc="The party, below the chroot.")
    identifier = property(lambda self: self._membership.identifier, doc="Who is listed.")
    name = property(lambda self: self._membership.name, doc="The name of the member's znode below the party.")
    session = property(lambda self: self._membership.session, doc="The session of the member, in hexadecimal.")

    @property
    def lost(self) -> asyncio.Event:
        """An event of this loop that is set when the membership is lost. `leave` does not set it."""
        if self._lost is None:
            self._lost = _set_when_lost(self._membership._core)
        return self._lost

    async def leave(self, timeout: float | None = None) -> bool:
        """Leave the party: True, or False where the membership was lost before. A cancelled task ends after that."""
        return await _to_the_end(lambda: self._membership.leave(timeout))

    def __repr__(self) -> str:
        """Show who is in which party."""
        return repr(self._membership)


class _Joining:
    """What `party` returns: it can be awaited, or entered with ``async with``."""

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._args, self._kwargs = args, kwargs

    def __await__(self) -> Generator[Any, None, Membership]:
        return self._join().__await__()

    async def _join(self) -> Membership:
        joined = await _cancellable(zkcoord.party, lambda joined: joined.leave(), self._args, self._kwargs)
        return Membership(joined)

    async def __aenter__(self) -> Membership:
        self._joined = await self._join()
        return self._joined

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        membership = self._joined._membership
        await _to_the_end(lambda: membership.__exit__(kind, error, traceback))


def party(path: str, *args: Any, **kwargs: Any) -> _Joining:
    """Be in a party for one piece of work: ``async with zkcoord.aio.party(...)``. See `zkcoord.party`.

    When the task is cancelled while it joins, or in the block, the party is left before the cancellation goes on.
    """
    return _Joining((path, *args), kwargs)
