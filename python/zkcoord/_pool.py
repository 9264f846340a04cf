"""Pools: which there are, who holds and waits, how many may hold a slot, and removing one."""

from __future__ import annotations

from zkcoord import _core
from zkcoord._call import call
from zkcoord._documented import documented
from zkcoord.connection import settings_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing_extensions import Unpack
    from zkcoord._types import ConnectionKeywords, Hosts, LimitChange, ListedPool, Status
    from zkcoord.connection import Connection

__all__ = ["neighbours", "pools", "remove_pool", "set_max", "status"]

# Seconds for asking which pools are beside a path.
_A_MOMENT = 2


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
