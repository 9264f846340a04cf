"""The slots of a pool: at most N identifiers hold one at a time.

`lock` and `unlock` go by the identifier. `hold` returns a `zkcoord.Hold`, which goes by its own lease.
"""

from __future__ import annotations

from zkcoord import _core
from zkcoord._call import call, wait_for
from zkcoord._documented import documented
from zkcoord._hold import Hold, watch, watch_or_release
from zkcoord.connection import settings_for
from zkcoord.errors import Cancelled, Error, TimedOut

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Unpack
    from zkcoord._types import Acl, ConnectionKeywords, Evicted, Hosts, Limit, Scalar, Security
    from zkcoord.connection import Connection

__all__ = ["evict", "hold", "lock", "lock_holders", "obstacles", "unlock"]

# A keyword of `lock` that `zkcoord.aio` alone passes: a function that `lock` calls with the lease that it has taken.
# Without it, nobody could give back a lease that was taken for a task which was cancelled at that moment.
TELL_TAKEN = "_tell_taken"

# Seconds for asking who holds the slots.
_A_MOMENT = 2


@documented
def lock(
    path: str,
    zk_hosts: Hosts | None = None,
    identifier: Scalar | None = None,
    max_concurrency: Limit | None = 1,
    timeout: float | None = None,
    ephemeral_lease: bool | None = False,
    force: bool | None = False,
    profile: Scalar | None = None,
    scheme: str | None = None,
    username: Scalar | None = None,
    password: Scalar | None = None,
    default_acl: Acl | None = None,
    *,
    connection: Connection | None = None,
    cancel: _core.Cancel | None = None,
    on_position: Callable[[int], object] | None = None,
    on_lost: Callable[[], object] | None = None,
    reason: Scalar | None = None,
    job: Scalar | None = None,
    raise_on_signal: bool = False,
    **security: Unpack[Security],
) -> bool:
    """Take one of the slots at a path for an identifier, and wait for one if need be.

    Locking is idempotent, and not counted: where the identifier has a lease already that lasts as long as the one asked
    for, and that no `hold` has taken, the call returns True at once. Waiters are served first in, first out, those of
    kazoo and of Salt's stock module among them. For one piece of work use `zkcoord.hold`, which gives its slot back at
    the end of the block.

    Args:
        path: The pool's znode, such as ``/restart/web``. It is created when missing.
        identifier: Who holds the slot; any text or number. Default: the host's name.
        max_concurrency: How many identifiers may hold a slot, at least 1. The first call stores the number in the pool;
            all others must name the same. ``"stored"`` obeys whatever number the pool has, so that `set_max` alone
            decides; a pool without one is an `ArgumentError`, and is not created.
        timeout: Seconds to wait, connecting included. None waits for ever. 0 tries once, for ``connect_timeout`` at
            most: the call then waits only for contenders before it that are about to take a slot and leave one over.
        ephemeral_lease: True: the lease ends with the session of this process. False: it stays until it is unlocked.
        force: Take a slot at once, however many are held and whoever waits.
        on_position: Called from this thread with the position in the queue, 1 being next: when the position has
            changed, at most once a second, and every three seconds while it has not. Behind the fiftieth the queue is
            read the more seldom the longer it is. An exception of the function ends the wait, and the call raises it.
        on_lost: Called from a thread of its own when the lease that this call has taken is gone, because its session
            has ended or somebody has removed it. An `unlock` by this process does not count as a loss.
        reason: Why the slot is wanted, in up to 1,024 bytes. A znode beside the pool keeps it for as long as the lease
            is there, with this host's name, the process's id and ``job``, and `status` shows it. Where the ACL forbids
            that znode, the slot is taken without it.
        job: What the process works for, such as the id of a Salt job. It is kept only together with a ``reason``.

    Returns:
        True when the identifier holds a slot; False when the time ran out.

    Raises:
        LimitMismatch: The pool stores another ``max_concurrency``.
        ConnectionLost: The time was up before a server could say whether this call has taken a slot. If it has, the
            slot is given back in the background, as soon as a server answers.

    A call that is cancelled holds no slot. Its queue node is deleted before the error is raised, or in the background
    where that takes more than a second or no server can be reached. When its session expires, the call goes on waiting
    at the end of the queue, with the time that is left. Source: the Semaphore recipe of kazoo, whose znodes these are.
    """
    tell = security.pop(TELL_TAKEN, None)  # type: ignore[misc]
    named = {"scheme": scheme, "username": username, "password": password, "default_acl": default_acl}
    settings = settings_for(zk_hosts, connection, {"profile": profile, **named, **security})
    taken = wait_for(
        lambda wait, listener: _core.acquire(
            path, identifier, max_concurrency, ephemeral_lease, force, False, reason, job, listener, settings, wait
        ),
        timeout,
        cancel,
        raise_on_signal,
        on_position,
    )
    if isinstance(taken, bool):
        return taken
    if tell is not None:
        tell(taken)
    if on_lost is not None:
        taken.expect_unlock()
        watch_or_release(taken, lambda: watch(taken, on_lost))
    return True


@documented
def unlock(
    path: str,
    zk_hosts: Hosts | None = None,
    identifier: Scalar | None = None,
    max_concurrency: Limit | None = 1,
    ephemeral_lease: bool | None = False,
    scheme: str | None = None,
    profile: Scalar | None = None,
    username: Scalar | None = None,
    password: Scalar | None = None,
    default_acl: Acl | None = None,
    *,
    timeout: float | None = None,
    connection: Connection | None = None,
    cancel: _core.Cancel | None = None,
    raise_on_signal: bool = False,
    **security: Unpack[Security],
) -> bool:
    """Give back the slot that an identifier holds at a path, from any process.

    The call deletes the leases that `lock` has taken in this process, of the kind that ``ephemeral_lease`` names. Where
    there are none, it searches the pool for leases of the identifier, whoever has taken them, and deletes those of that
    kind, or those of the other kind where there are none of that. A persistent lease that a `hold` has taken is deleted
    only where the identifier has no other persistent one. Nothing is created.

    Args:
        path: The pool's znode.
        identifier: Whose slot it is. Default: the host's name.
        max_concurrency: It changes nothing, and is there because Salt's stock function has it.
        ephemeral_lease: As given to `lock`.
        timeout: Seconds for the whole call, which goes on through an outage until then. Default: ``connect_timeout``.

    Returns:
        True when a lease was removed; False when there was none.

    Raises:
        ConnectionLost: The time was up before a server could say whether the lease is gone.

    After a lost reply the call deletes the same leases again, and those that are gone by then count as removed. When
    the call is cancelled, its error says whether leases may have been removed.
    """
    named = {"scheme": scheme, "username": username, "password": password, "default_acl": default_acl}
    settings = settings_for(zk_hosts, connection, {"profile": profile, **named, **security})
    return call(
        lambda wait: _core.unlock(path, identifier, max_concurrency, ephemeral_lease, settings, wait),
        timeout,
        cancel,
        raise_on_signal,
    )


@documented
def lock_holders(
    path: str,
    zk_hosts: Hosts | None = None,
    identifier: Scalar | None = None,
    max_concurrency: Limit | None = 1,
    timeout: float | None = None,
    ephemeral_lease: bool | None = False,
    profile: Scalar | None = None,
    scheme: str | None = None,
    username: Scalar | None = None,
    password: Scalar | None = None,
    default_acl: Acl | None = None,
    *,
    connection: Connection | None = None,
    cancel: _core.Cancel | None = None,
    raise_on_signal: bool = False,
    **security: Unpack[Security],
) -> list[str]:
    """List the identifiers that hold a slot at a path. Nothing is created.

    Args:
        path: The pool's znode.
        timeout: Seconds for the whole call. At most, and by default, ``connect_timeout``.
        identifier, max_concurrency, ephemeral_lease: They change nothing, and are there because Salt's stock function
            has them.

    Returns:
        The identifiers, each once for each of its leases, in no order. The list is empty where the path does not exist.
        Bytes that are not UTF-8 are shown as replacement characters.

    The call takes two round trips, however many slots are held.
    """
    named = {"scheme": scheme, "username": username, "password": password, "default_acl": default_acl}
    settings = settings_for(zk_hosts, connection, {"profile": profile, **named, **security})
    return call(
        lambda wait: _core.lock_holders(path, identifier, max_concurrency, ephemeral_lease, settings, wait),
        timeout,
        cancel,
        raise_on_signal,
    )


@documented
def evict(
    path: str,
    identifier: Scalar,
    reason: Scalar,
    zk_hosts: Hosts | None = None,
    *,
    by: Scalar | None = None,
    job: Scalar | None = None,
    timeout: float | None = None,
    connection: Connection | None = None,
    cancel: _core.Cancel | None = None,
    raise_on_signal: bool = False,
    **keywords: Unpack[ConnectionKeywords],
) -> Evicted:
    """Take the slot of an identifier away, whoever holds it, and say who did it and why.

    All leases of the identifier are deleted, those of living processes as well. A holder that watches its slot is told
    at once, and learns who has taken it away; it may act until then, and for a moment longer. `unlock` is for one's
    own slot.

    Args:
        path: The pool's znode.
        identifier: Whose slot; any text or number.
        reason: Why, in up to 1,024 bytes. A znode beside the pool keeps it for a day, with this host's name, the
            process's id, ``by`` and ``job``. Where the ACL forbids that znode, the slot is taken away without it.
        by: Who takes it away, such as a user's name.
        job: What the process works for, such as the id of a Salt job.
        timeout: Seconds for the whole call, which goes on through an outage until then. Default: ``connect_timeout``.

    Returns:
        A dict: ``path``, ``identifier``, and ``leases``, the names of the leases that were deleted; empty where the
        identifier held no slot.

    Raises:
        ConnectionLost: The time was up before a server could say whether the slot was taken away.

    A lease that the identifier takes while the call is under way stays. Source: the revocation of Curator's locks.
    """
    settings = settings_for(zk_hosts, connection, keywords)
    return call(
        lambda wait: _core.evict(path, identifier, reason, by, job, settings, wait), timeout, cancel, raise_on_signal
    )


@documented
def hold(
    path: str,
    zk_hosts: Hosts | None = None,
    identifier: Scalar | None = None,
    max_concurrency: Limit | None = 1,
    timeout: float | None = None,
    ephemeral_lease: bool | None = True,
    force: bool | None = False,
    *,
    connection: Connection | None = None,
    cancel: _core.Cancel | None = None,
    on_position: Callable[[int], object] | None = None,
    on_lost: Callable[[], object] | None = None,
    reason: Scalar | None = None,
    job: Scalar | None = None,
    raise_on_signal: bool = False,
    **keywords: Unpack[ConnectionKeywords],
) -> Hold:
    """Take a slot for one piece of work; ``with zkcoord.hold(...) as hold:`` gives it back at the end of the block.

    Each hold has a lease of its own. Where its identifier has leases already, the hold takes one beside them at once,
    and the slot is the identifier's until the last of these leases is given back, in whatever order. So holds of one
    identifier may be nested, in one process or in several, and none of them frees the slot under another. Each of the
    leases counts towards ``max_concurrency``, as kazoo counts them.

    Args:
        path: The pool's znode, such as ``/restart/web``. It is created when missing.
        identifier: Who holds the slot; any text or number. Default: the host's name.
        max_concurrency: How many identifiers may hold a slot, at least 1. The first call stores the number in the pool;
            all others must name the same. ``"stored"`` obeys whatever number the pool has, so that `set_max` alone
            decides; a pool without one is an `ArgumentError`, and is not created.
        timeout: Seconds to wait, connecting included. None waits for ever, 0 tries once.
        ephemeral_lease: True: the lease ends with the session of this process. False: it stays when the process dies,
            until the identifier's next hold with ``ephemeral_lease=False`` replaces it, or somebody unlocks it.
        force: Take a slot at once, however many are held and whoever waits.
        on_position: Called from this thread with the position in the queue, as for `lock`.
        on_lost: Called from a thread of its own when the slot is lost.
        reason, job: Why the slot is wanted, and what the process works for, as for `lock`.

    Returns:
        A `zkcoord.Hold`.

    Raises:
        TimedOut: No slot was free in time.
        LimitMismatch: The pool stores another ``max_concurrency``.
        ConnectionLost: The time was up before a server could say whether this call has taken a slot. If it has, the
            slot is given back in the background, as soon as a server answers.

    A call that is cancelled holds no slot, and its queue node is deleted as for `lock`. When its session expires, the
    call goes on waiting at the end of the queue, with the time that is left. Source: the Semaphore recipe of kazoo,
    whose znodes these are; the ``Lease`` of Curator's semaphore.
    """
    settings = settings_for(zk_hosts, connection, keywords)
    taken = wait_for(
        lambda wait, listener: _core.acquire(
            path, identifier, max_concurrency, ephemeral_lease, force, True, reason, job, listener, settings, wait
        ),
        timeout,
        cancel,
        raise_on_signal,
        on_position,
    )
    if isinstance(taken, bool):
        raise _no_slot(path, timeout, settings, raise_on_signal)
    return watch_or_release(taken, lambda: Hold(taken, on_lost, raise_on_signal))


def obstacles(
    path: str, zk_hosts: Hosts | None = None, *, raise_on_signal: bool = False, **keywords: Unpack[ConnectionKeywords]
) -> tuple[list[str], str | None]:
    """Tell, within two seconds, what keeps a waiter from a slot: who holds one, and what blocks the queue.

    Returns:
        The identifiers that hold a slot, sorted; and the path of the first queue node where it belongs to no session,
        or else None. Nobody waits by such a queue node, and all others wait until somebody deletes it.

    Raises:
        The errors of `lock_holders`.

    The call takes two round trips, and changes nothing.
    """
    return _obstacles(path, settings_for(zk_hosts, None, keywords), raise_on_signal)


def _obstacles(path: str, settings: _core.Settings, raise_on_signal: bool) -> tuple[list[str], str | None]:
    holders, orphan = call(lambda wait: _core.obstacles(path, settings, wait), _A_MOMENT, None, raise_on_signal)
    return sorted({*holders}), orphan


def _no_slot(path: str, timeout: float | None, settings: _core.Settings, raise_on_signal: bool) -> TimedOut:
    try:
        holders, orphan = _obstacles(path, settings, raise_on_signal)
    except Cancelled as error:  # a signal
        error.answer = None  # the holders, for which the caller did not ask
        raise error from TimedOut(f"no slot at {path} within {timeout} s", path)
    except Error:
        who = "and who holds one cannot be told"
    else:
        who = f"held by {', '.join(map(repr, holders))}" if holders else "though nobody holds one now"
        if orphan is not None:
            who += f"; the queue node {orphan} belongs to no session and blocks all others until somebody deletes it"
    return TimedOut(f"no slot at {path} within {timeout} s, {who}", path)
