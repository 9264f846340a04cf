"""The slots of a pool: at most N identifiers hold one at a time.

`lock` and `unlock` go by the identifier. `hold` returns a `zkcoord.Hold`, which goes by its own lease.
"""

from __future__ import annotations

from zkcoord import _core
from zkcoord._call import call, wait_for
from zkcoord._documented import documented
from zkcoord._hold import Hold, watch
from zkcoord.connection import settings_for
from zkcoord.errors import Cancelled, Error, OutOfResources, TimedOut

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from typing_extensions import Unpack
    from zkcoord._types import Acl, ConnectionKeywords, Hosts, LimitChange, ListedPool, Scalar, Security, Status
    from zkcoord.connection import Connection

    _T = TypeVar("_T")

__all__ = ["hold", "lock", "lock_holders", "set_max", "status", "unlock"]

# A keyword of `lock` that `zkcoord.aio` alone passes: a function that `lock` calls with the lease that it has taken.
# Without it, nobody could give back a lease that was taken for a task which was cancelled at that moment.
TELL_TAKEN = "_tell_taken"

# Seconds for asking who holds the slots, and for giving back a lease that cannot be watched.
_A_MOMENT = 2


@documented
def lock(
    path: str,
    zk_hosts: Hosts | None = None,
    identifier: Scalar | None = None,
    max_concurrency: int | None = 1,
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
            all others must name the same.
        timeout: Seconds to wait, connecting included. None waits for ever. 0 tries once, for ``connect_timeout`` at
            most: the call then waits only for contenders before it that are about to take a slot and leave one over.
        ephemeral_lease: True: the lease ends with the session of this process. False: it stays until it is unlocked.
        force: Take a slot at once, however many are held and whoever waits.
        on_position: Called from this thread with the position in the queue, 1 being next: when the position has
            changed, at most once a second, and every three seconds while it has not. An exception of the function ends
            the wait, and the call raises it.
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
        _watch_or_release(taken, lambda: watch(taken, on_lost))
    return True


@documented
def unlock(
    path: str,
    zk_hosts: Hosts | None = None,
    identifier: Scalar | None = None,
    max_concurrency: int | None = 1,
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
    max_concurrency: int | None = 1,
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
def status(
    path: str,
    zk_hosts: Hosts | None = None,
    *,
    timeout: float | None = None,
    connection: Connection | None = None,
    cancel: _core.Cancel | None = None,
    raise_on_signal: bool = False,
    **keywords: Unpack[ConnectionKeywords],
) -> Status:
    """Tell who holds a slot at a path since when, and who waits for one. Nothing is created.

    Args:
        path: The pool's znode.
        timeout: Seconds for the whole call. At most, and by default, ``connect_timeout``.

    Returns:
        A dict. ``path``: the pool. ``max_concurrency``: the stored limit, or None. ``free``: how many slots are free,
        or None where the pool stores no limit. ``holders``: a dict for each lease, the oldest first, with
        ``identifier``, ``since`` (UTC, RFC 3339, by the servers' clock), ``age`` (seconds, by this host's clock),
        ``ephemeral``, ``fencing_token`` (the lease's czxid), ``session`` (hexadecimal, or None), ``lease`` (the name of
        its znode), and ``reason``, ``host``, ``pid`` and ``job``, each None where it was not given.
        ``waiters``: a dict for each queue node, in the order of the queue, with ``identifier``, ``position`` (1 is
        next), ``since``, ``age``, ``session``, ``orphan`` (True: the queue node belongs to no session, so that nobody
        waits by it, and all behind it wait until somebody deletes it) and ``place`` (the name of the queue node). A
        path that does not exist has no holders and no waiters.

    The call takes two round trips. It reads again where a queue node has gone meanwhile: its contender may hold a lease
    that was not listed yet.
    """
    settings = settings_for(zk_hosts, connection, keywords)
    return call(lambda wait: _core.status(path, settings, wait), timeout, cancel, raise_on_signal)


@documented
def set_max(
    path: str,
    max_concurrency: int,
    zk_hosts: Hosts | None = None,
    *,
    timeout: float | None = None,
    connection: Connection | None = None,
    cancel: _core.Cancel | None = None,
    raise_on_signal: bool = False,
    **keywords: Unpack[ConnectionKeywords],
) -> LimitChange:
    """Change the limit that the pool at a path stores, by compare-and-set. Waiters see it at once.

    Args:
        path: The pool's znode. It is created when missing.
        max_concurrency: The new number, at least 1. Whoever calls `lock` from then on must name it.
        timeout: Seconds for the whole call, which goes on through an outage until then. Default: ``connect_timeout``.

    Returns:
        A dict: ``path``, ``old`` (None where there was none), ``new``, ``holders`` (how many leases there are) and
        ``overshoot`` (how many of them are above the new limit: nobody is evicted).

    Raises:
        ArgumentError: Also where the znode holds data that is no number. Then the znode is left as it is.
        ConnectionLost: The time was up before a server could say whether the limit was changed; or somebody else has
            changed it since, and the call does not write over that.

    When the call is cancelled, its error says whether the limit may have been changed.
    """
    settings = settings_for(zk_hosts, connection, keywords)
    return call(lambda wait: _core.set_max(path, max_concurrency, settings, wait), timeout, cancel, raise_on_signal)


@documented
def pools(
    root: str = "/",
    zk_hosts: Hosts | None = None,
    *,
    timeout: float | None = None,
    connection: Connection | None = None,
    cancel: _core.Cancel | None = None,
    raise_on_signal: bool = False,
    **keywords: Unpack[ConnectionKeywords],
) -> list[ListedPool]:
    """List the pools below a znode, and the znode itself where it is one, in the order of their paths. Creates nothing.

    A znode is a pool where there is a queue beside it: zkcoord or kazoo has asked for a slot there. The list is no
    snapshot: a pool that comes or goes while the call reads may be in it or not.

    Args:
        root: The znode below which pools are looked for, to the last of its descendants. The requests for one level of
            the tree are sent together.
        timeout: Seconds for the whole call. At most, and by default, ``connect_timeout``.

    Returns:
        A list of dicts: ``path`` (below the chroot), ``max_concurrency`` (None where the pool stores no number),
        ``held`` and ``waiting`` (how many), and ``changes`` (how often a slot was taken or given back since the pool
        was made). A value is None where the ACL does not let this user read it.

    Raises:
        NoNode: There is no znode at ``root``.
    """
    settings = settings_for(zk_hosts, connection, keywords)
    return call(lambda wait: _core.pools(root, settings, wait), timeout, cancel, raise_on_signal)


@documented
def remove_pool(
    path: str,
    zk_hosts: Hosts | None = None,
    *,
    timeout: float | None = None,
    connection: Connection | None = None,
    cancel: _core.Cancel | None = None,
    raise_on_signal: bool = False,
    **keywords: Unpack[ConnectionKeywords],
) -> bool:
    """Remove a pool with its queue and its limit, while nobody holds a slot or waits for one.

    One transaction deletes all of them, and the servers refuse it while any of them has children. So no holder loses
    its slot, and no waiter its turn. The next `lock` makes the pool anew, with the limit that it names. Until then a
    kazoo object that has used the pool before fails.

    Args:
        path: The pool's znode.
        timeout: Seconds for the whole call, which goes on through an outage until then. Default: ``connect_timeout``.

    Returns:
        True: the pool was removed. False: there was no such pool.

    Raises:
        InUse: Somebody holds a slot, or waits. Nothing was changed.
        ArgumentError: Also where the znode is no pool: it is ephemeral, holds data that is no number, or has no queue
            beside it.
        ConnectionLost: The time was up before a server could say whether the pool was removed; or somebody uses the
            path by then, and nobody can tell whether that is the same pool.

    After a lost reply, a pool that is gone counts as removed. When the call is cancelled, its error says whether the
    pool may have been removed.
    """
    settings = settings_for(zk_hosts, connection, keywords)
    return call(lambda wait: _core.remove_pool(path, settings, wait), timeout, cancel, raise_on_signal)


@documented
def hold(
    path: str,
    zk_hosts: Hosts | None = None,
    identifier: Scalar | None = None,
    max_concurrency: int | None = 1,
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
            all others must name the same.
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
    return _watch_or_release(taken, lambda: Hold(taken, on_lost, raise_on_signal))


def _watch_or_release(taken: _core.Hold, watching: Callable[[], _T]) -> _T:
    """Begin to watch a lease. Where no thread can be started for that, give it back: the caller gets no hold of it."""
    try:
        return watching()
    except OutOfResources:
        call(taken.release, _A_MOMENT, None, False)
        raise


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


def neighbours(
    path: str, zk_hosts: Hosts | None = None, *, raise_on_signal: bool = False, **keywords: Unpack[ConnectionKeywords]
) -> list[str] | None:
    """Tell, within two seconds, which pools have the same parent as a path at which there is no znode.

    Returns:
        Their paths, in order: what the caller may have meant. None: there is a znode at the path.

    Raises:
        The errors of `status`.
    """
    settings = settings_for(zk_hosts, None, keywords)
    return call(lambda wait: _core.neighbours(path, settings, wait), _A_MOMENT, None, raise_on_signal)


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
