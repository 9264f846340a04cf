"""Slots on a path, by identifier: at most N identifiers hold one. `zkcoord.hold` is the same as a value."""

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

# A keyword of `lock` for `zkcoord.aio`, which has to give back what was taken for a task that is gone by then.
TELL_TAKEN = "_tell_taken"

# Seconds to find out who holds the slots, for a message.
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

    Holding is idempotent and not counted: an identifier that has a lease already, which lasts as long as the one asked
    for, is answered at once. Waiters are served first in, first out, kazoo's and Salt's stock ones too. `zkcoord.hold`
    is the same for one piece of work, and gives its slot back by itself.

    Args:
        path: The pool's znode, such as ``/restart/web``. It is created when missing.
        identifier: Who holds the slot; any text or number. Default: the host's name.
        max_concurrency: How many identifiers may hold a slot, at least 1. The first call stores the number in the pool;
            all others must name the same.
        timeout: Seconds to wait, connecting included. None waits for ever, 0 tries once: it waits for none but those
            who are about to take a slot and leave one over, and for ``connect_timeout`` at most.
        ephemeral_lease: True: the lease ends with the session of this process. False: it stays until it is unlocked.
        force: Take a slot at once, whatever the count and whoever waits.
        on_position: Called from this thread with the position in the queue, 1 being next, when that changes while the
            call waits, at most once a second; and again every three seconds while nobody moves. What it raises ends the
            wait and comes through.
        on_lost: Called from a thread of its own when the lease that this call has taken is gone, and was not unlocked
            by this process: its session has ended, or somebody has removed it.
        reason: Why the slot is wanted, in up to 1,024 bytes. It is kept beside the lease, together with this host's
            name, the process's id and ``job``, shown by `status`, and gone with the lease. Where the ACL forbids that,
            the slot is taken without. Without a reason nothing is kept.
        job: What the process works for, such as the id of a Salt job. It counts only together with ``reason``.

    Returns:
        True when the identifier holds a slot; False when the time ran out.

    Raises:
        LimitMismatch: The pool stores another ``max_concurrency``.
        ConnectionLost: At the end of the time nobody could say whether the slot is held. It is given back in the
            background, as soon as a server answers.

    Cancelled, the call holds no slot and leaves no znode. After an expired session the wait starts over at the end of
    the queue, with the time that is left. Source: the Semaphore recipe of kazoo, whose znodes these are.
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

    The leases go that `lock` has taken in this process. Where there are none, the identifier's leases of the kind that
    ``ephemeral_lease`` names are looked for and go, whoever has taken them; and where there are none of that kind
    either, those of the other kind. Persistent ones that a `hold` has taken go only where there are no others. Nothing
    is created.

    Args:
        path: The pool's znode.
        identifier: Whose slot it is. Default: the host's name.
        max_concurrency: Is not looked at.
        ephemeral_lease: As given to `lock`.
        timeout: Seconds for the whole call. It is obeyed through an outage. Default: ``connect_timeout``.

    Returns:
        True when a lease was removed; False when there was none.

    Raises:
        ConnectionLost: At the end of the time nobody could say whether the lease is gone.

    After a lost reply the same leases are removed again, and those that are gone by then count as removed. Cancelled,
    the leases may be there or gone, as the error says.
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
        identifier, max_concurrency, ephemeral_lease: Are there for the stock module's sake, and change nothing.

    Returns:
        The identifiers, once for each of their leases, in no order; none where the path does not exist. What is not
        UTF-8 is shown with replacement characters.

    It takes two round trips, whatever the number.
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
        A dict. ``path``: the pool. ``max_concurrency``: the stored limit, or None. ``free``: slots to be had, or None
        where nothing limits them. ``holders``: a dict for each lease, the oldest first, with ``identifier``, ``since``
        (UTC, RFC 3339, by the servers' clock), ``age`` (seconds, by this host's clock), ``ephemeral``,
        ``fencing_token`` (the lease's czxid), ``session`` (hexadecimal, or None), ``lease`` (the name of its znode),
        and ``reason``, ``host``, ``pid`` and ``job`` of whoever has given a reason, or None.
        ``waiters``: a dict for each, in the order of the queue, with ``identifier``, ``position`` (1 is next),
        ``since``, ``age``, ``session``, ``orphan`` (True: it belongs to no session, nobody waits by it, and all behind
        it wait until somebody deletes it) and ``place`` (the name of its znode). A missing path is a pool with neither.

    It takes two round trips.
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
        timeout: Seconds for the whole call. It is obeyed through an outage. Default: ``connect_timeout``.

    Returns:
        A dict: ``path``, ``old`` (None where there was none), ``new``, ``holders`` (how many leases there are) and
        ``overshoot`` (how many of them are above the new limit: nobody is evicted).

    Raises:
        ArgumentError: Also where the znode's data is no number. It is left alone.
        ConnectionLost: At the end of the time nobody could say whether the limit was changed, or somebody has changed
            it since: it is not changed again over that.
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

    A pool is a znode beside which there is a queue: somebody has asked for a slot of it, we or kazoo. It is no
    snapshot: what comes or goes meanwhile is there or not.

    Args:
        root: Below which znode; it is looked at to the last of its descendants, a level of the tree in one flight.
        timeout: Seconds for the whole call. At most, and by default, ``connect_timeout``.

    Returns:
        A list of dicts: ``path`` (below the chroot), ``max_concurrency`` (None where the pool stores no number),
        ``held`` and ``waiting`` (how many), and ``changes`` (how often a slot was taken or given back since the pool
        was made). Each is None where the ACL does not let this user see it.

    Raises:
        NoNode: There is no such znode.
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

    It is one transaction, which the servers refuse while any of it has children. So nobody loses a slot or his turn.
    Whoever locks after that makes the pool anew, with the limit that is asked for; but an object of kazoo's that has
    used the pool before fails until somebody has.

    Args:
        path: The pool's znode.
        timeout: Seconds for the whole call. It is obeyed through an outage. Default: ``connect_timeout``.

    Returns:
        True: it was removed. False: there was no such pool.

    Raises:
        InUse: Somebody holds a slot, or waits. Nothing was changed.
        ArgumentError: Also where the znode is no pool: it is ephemeral, holds data that is no number, or has no queue
            beside it.
        ConnectionLost: Nobody could say whether it was removed: at the end of the time, or because somebody uses the
            path by then.

    After a lost reply, a pool that is gone counts as removed. Cancelled, it may be removed or not, as the error says.
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

    The hold has a lease of its own. Where its identifier has others already, it takes the slot together with them: the
    slot is the identifier's until the last of them is given back, in whatever order. So holds of one identifier may be
    nested, also in another process, and none of them frees the slot under another.

    Args:
        path: The pool's znode, such as ``/restart/web``. It is created when missing.
        identifier: Who holds the slot; any text or number. Default: the host's name.
        max_concurrency: How many identifiers may hold a slot, at least 1. The first call stores the number in the pool;
            all others must name the same.
        timeout: Seconds to wait, connecting included. None waits for ever, 0 tries once.
        ephemeral_lease: True: the lease ends with the session of this process. False: it stays when the process dies;
            the next hold of this kind of the same identifier takes it over, or somebody unlocks it.
        force: Take a slot at once, whatever the count and whoever waits.
        on_position: Called from this thread with the position in the queue, as for `lock`.
        on_lost: Called from a thread of its own when the slot is lost.
        reason: Why the slot is wanted, in up to 1,024 bytes. It is kept beside the lease, together with this host's
            name, the process's id and ``job``, shown by `status`, and gone with the lease. Where the ACL forbids that,
            the slot is taken without. Without a reason nothing is kept.
        job: What the process works for, such as the id of a Salt job. It counts only together with ``reason``.

    Returns:
        A `zkcoord.Hold`.

    Raises:
        TimedOut: There was no slot in time.
        LimitMismatch: The pool stores another ``max_concurrency``.
        ConnectionLost: At the end of the time nobody could say whether the slot is held. It is given back in the
            background, as soon as a server answers.

    Cancelled, the call holds no slot and leaves no znode. After an expired session the wait starts over at the end of
    the queue, with the time that is left. Source: the Semaphore recipe of kazoo, whose znodes these are; the ``Lease``
    of Curator's semaphore.
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
    """Run what begins to watch a lease. Where no thread can be started for that, the lease is given back."""
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
        The identifiers that hold a slot, in order. And the path of the first queue node where that belongs to no
        session: nobody waits by it, it never goes by itself, and all others wait until somebody deletes it.

    Raises:
        The errors of `lock_holders`.

    It takes two round trips, and changes nothing.
    """
    return _obstacles(path, settings_for(zk_hosts, None, keywords), raise_on_signal)


def neighbours(
    path: str, zk_hosts: Hosts | None = None, *, raise_on_signal: bool = False, **keywords: Unpack[ConnectionKeywords]
) -> list[str] | None:
    """Tell, within two seconds, which pools have the same parent as a path at which there is no znode.

    Returns:
        Their paths, in order: what the caller may have meant. None: there is such a znode.

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
        error.answer = None  # it would be the holders
        raise error from TimedOut(f"no slot at {path} within {timeout} s", path)
    except Error:
        who = "and who holds one cannot be told"
    else:
        who = f"held by {', '.join(map(repr, holders))}" if holders else "though nobody holds one now"
        if orphan is not None:
            who += f"; the queue node {orphan} belongs to no session and blocks all others until somebody deletes it"
    return TimedOut(f"no slot at {path} within {timeout} s, {who}", path)
