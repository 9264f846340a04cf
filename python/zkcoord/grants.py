"""Ask for a lock now, be granted it later: the calls of a coordinator. `zkcoord.coordinator` is the same as a class.

A *unit*, such as a host, files a request and goes on. The request is remembered, with its position, through the end of
the process and a reboot. There is no leader: each call that changes something also decides what is granted now.
"""

from __future__ import annotations

import os

from zkcoord import _core
from zkcoord._call import call, wait_for
from zkcoord._documented import documented
from zkcoord.connection import settings_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from typing_extensions import Unpack
    from zkcoord._types import (
        Acquired,
        ConnectionKeywords,
        Effects,
        Hosts,
        LockQueue,
        OwnGrants,
        Policy,
        Released,
        Scalar,
    )
    from zkcoord.connection import Connection

__all__ = [
    "ROOT",
    "acquire",
    "foretell",
    "grant",
    "grant_if",
    "granted",
    "handle",
    "locks",
    "queue",
    "release",
    "set_policy",
]

ROOT = "/coordinator"


@documented
def acquire(
    lock: Scalar,
    unit: Scalar | None = None,
    key: Scalar = "coordinator",
    policy: Policy = "serial",
    zk_hosts: Hosts | None = None,
    *,
    root: str = ROOT,
    reason: Scalar | None = None,
    labels: Mapping[str, Scalar] | None = None,
    expires: float | None = None,
    timeout: float | None = None,
    connection: Connection | None = None,
    cancel: _core.Cancel | None = None,
    raise_on_signal: bool = False,
    **keywords: Unpack[ConnectionKeywords],
) -> Acquired:
    """File a request for a lock, unless the unit has one, and decide what is granted now. Nobody waits.

    To ask again keeps the request and its position. A request with ``expires`` counts as seen then.

    Args:
        lock: What the lock is called; any text or number. Locks do not contend with each other.
        unit: Who asks. Default: the host's name.
        key: Which coordinator it is: locks of different keys are different locks.
        policy: Who may be granted the lock together. ``"serial"``: one unit, first come, first served. Or a mapping
            with some of these, which hold together: ``{"max": 2}``; ``{"max": "25%", "party": "/web"}``, of the members
            of a party; ``{"per": {"rack": 1}}``, for each value of a label; ``{"window": {"days": ["sat"], "from":
            "02:00", "to": "04:00", "zone": "Europe/Berlin"}}``, or a list of windows. The first request stores the
            policy with the lock.
        root: The znode below which the coordinators are.
        reason: Why, for people; at most 1024 bytes. It is stored with a new request.
        labels: What a policy counts by, such as ``{"rack": "r1"}``. They are stored with a new request.
        expires: Seconds after which `handle` may drop the request, or the grant, if the unit has not been seen for so
            long. A unit is seen when it asks again, when it is granted the lock, and when `handle` is called with
            ``seen``. It must be longer than the longest run, and than the time between two. Default: never.
        timeout: Seconds for the whole call, which goes on through an outage until then. Default: ``connect_timeout``.

    Returns:
        A dict. ``granted``: whether the lock is the unit's now. ``request``: the czxid of the request. ``since``: when
        it was made (UTC, RFC 3339, by the servers' clock), and ``timestamp``, the same in seconds since 1970.
        ``token``: the zxid of the grant, a fencing token, or None; ``granted_since`` as ``since``. ``position`` (1 is
        next), or None; ``waiting``: how many wait. ``holders``: a list of (unit, since when). ``is_new``: whether this
        call has filed the request. ``other_policy``: the lock's policy in words, where the unit was granted the lock by
        another policy than ``policy``, or None. ``effects``: what the decision has changed for others, as for `handle`.

    Raises:
        PolicyMismatch: The lock has another policy. The error names both, and a request of the unit that stays in the
            queue. A unit that is granted the lock already gets its answer all the same, so that it can give it back.
        ConnectionLost: The time was up before a server could say whether the request was filed.

    After a lost reply the request is looked for under the unit's name, so that it is filed once. When the call is
    cancelled, its error says whether the request may have been filed. Source: ``acquire`` of
    ``charmhelpers.coordinator``.
    """
    settings, home = settings_for(zk_hosts, connection, keywords), (root, key)
    who = host() if unit in (None, "") else unit
    return call(
        lambda wait: _core.coordinator_acquire(home, lock, who, policy, reason, labels, expires, settings, wait),
        timeout,
        cancel,
        raise_on_signal,
    )


@documented
def foretell(
    lock: Scalar,
    unit: Scalar | None = None,
    key: Scalar = "coordinator",
    policy: Policy = "serial",
    zk_hosts: Hosts | None = None,
    *,
    root: str = ROOT,
    labels: Mapping[str, Scalar] | None = None,
    timeout: float | None = None,
    connection: Connection | None = None,
    cancel: _core.Cancel | None = None,
    raise_on_signal: bool = False,
    **keywords: Unpack[ConnectionKeywords],
) -> Acquired:
    """Tell what `acquire` would answer now. Nothing is changed.

    Args:
        lock, unit, key, policy, root, labels: As for `acquire`.
        timeout: Seconds for the whole call. At most, and by default, ``connect_timeout``.

    Returns:
        As `acquire`. ``is_new``: whether `acquire` would file a request. A window is judged by this host's clock.

    Raises:
        PolicyMismatch: `acquire` would raise it.
    """
    settings, home = settings_for(zk_hosts, connection, keywords), (root, key)
    who = host() if unit in (None, "") else unit
    return call(
        lambda wait: _core.coordinator_foretell(home, lock, who, policy, labels, settings, wait),
        timeout,
        cancel,
        raise_on_signal,
    )


@documented
def release(
    lock: Scalar,
    unit: Scalar | None = None,
    key: Scalar = "coordinator",
    zk_hosts: Hosts | None = None,
    *,
    root: str = ROOT,
    request: int | None = None,
    by: Scalar | None = None,
    timeout: float | None = None,
    connection: Connection | None = None,
    cancel: _core.Cancel | None = None,
    raise_on_signal: bool = False,
    **keywords: Unpack[ConnectionKeywords],
) -> Released:
    """Give a lock back, or give a request for it up, and grant the lock to the next, in one transaction.

    Args:
        lock: The lock.
        unit: Whose request it is. Default: the host's name.
        key: The coordinator.
        root: The znode below which the coordinators are.
        request: Remove only the request with this czxid, and not one that the unit has made since.
        by: In whose name the next unit is granted the lock. Default: the unit.
        timeout: Seconds for the whole call, which goes on through an outage until then. Default: ``connect_timeout``.

    Returns:
        A dict: ``requested``, whether there was a request; ``granted``, whether it was granted; its ``request``,
        ``since`` and ``granted_since`` as for `acquire`; and ``effects`` as for `handle`.

    Raises:
        ConnectionLost: The time was up before a server could say whether the lock was given back.

    After a lost reply a request that is gone counts as removed, and a later one of the unit is left alone. When the
    call is cancelled, its error says whether the request may have been removed. Source: ``charmhelpers.coordinator``.
    """
    settings, home = settings_for(zk_hosts, connection, keywords), (root, key)
    who = host() if unit in (None, "") else unit
    return call(
        lambda wait: _core.coordinator_release(home, lock, who, request, who if by is None else by, settings, wait),
        timeout,
        cancel,
        raise_on_signal,
    )


@documented
def handle(
    lock: Scalar,
    key: Scalar = "coordinator",
    zk_hosts: Hosts | None = None,
    *,
    root: str = ROOT,
    by: Scalar | None = None,
    drop_expired: bool = True,
    seen: Scalar | None = None,
    timeout: float | None = None,
    connection: Connection | None = None,
    cancel: _core.Cancel | None = None,
    raise_on_signal: bool = False,
    **keywords: Unpack[ConnectionKeywords],
) -> Effects:
    """Decide what is granted now, and drop requests that have expired.

    A lock changes hands without this call. It is for what happens without any call: a window opens, a party grows, a
    unit is not seen any more, a process dies between asking and deciding.

    Args:
        lock: The lock.
        key: The coordinator.
        root: The znode below which the coordinators are.
        by: In whose name the call decides. Default: ``handle by`` and the host's name.
        drop_expired: Whether expired requests are dropped.
        seen: A unit that is there. Its own request, or grant, counts as seen and does not expire.
        timeout: Seconds for the whole call, which goes on through an outage until then. Default: ``connect_timeout``.

    Returns:
        A dict. ``granted``: units that were granted the lock. ``released``: units whose grants were over, each with the
        time of the request, in milliseconds since 1970, or 0. ``dropped``: a dict for each request that was dropped,
        with ``unit``, ``granted``, ``seen`` (when last) and ``expires`` (seconds).

    Raises:
        ConnectionLost: The time was up before a server could say whether anybody was granted the lock.

    After a lost reply the lock is read again, and nothing is done twice. When the call is cancelled, its error says
    whether somebody may have been granted the lock. Source: ``handle`` of ``charmhelpers.coordinator``.
    """
    settings, home = settings_for(zk_hosts, connection, keywords), (root, key)
    who = f"handle by {host()}" if by is None else by
    return call(
        lambda wait: _core.coordinator_settle(home, lock, who, drop_expired, seen, settings, wait),
        timeout,
        cancel,
        raise_on_signal,
    )


@documented
def grant(
    lock: Scalar,
    unit: Scalar,
    key: Scalar = "coordinator",
    zk_hosts: Hosts | None = None,
    *,
    root: str = ROOT,
    reason: Scalar | None = None,
    by: Scalar | None = None,
    timeout: float | None = None,
    connection: Connection | None = None,
    cancel: _core.Cancel | None = None,
    raise_on_signal: bool = False,
    **keywords: Unpack[ConnectionKeywords],
) -> bool:
    """Grant a lock to a unit that has asked for it, whatever the policy says: an operator's decision.

    The grant counts like any other, so that nobody else is granted the lock before there is room again.

    Args:
        lock: The lock.
        unit: Whose request it is.
        key: The coordinator.
        root: The znode below which the coordinators are.
        reason: Why; at most 1024 bytes. It is stored with the grant, and `queue` shows it.
        by: Who has decided; at most 512 bytes. Default: ``operator on`` and the host's name.
        timeout: Seconds for the whole call, which goes on through an outage until then. Default: ``connect_timeout``.

    Returns:
        True: this call has granted the lock. False: the unit was granted it before.

    Raises:
        ArgumentError: Also where the unit has no request.
        ConnectionLost: The time was up before a server could say whether the lock was granted.

    After a lost reply a grant that is there, with this author and reason, counts as this call's. When the call is
    cancelled, its error says whether the lock may have been granted.
    """
    settings, home = settings_for(zk_hosts, connection, keywords), (root, key)
    who = f"operator on {host()}" if by is None else by
    effects = call(
        lambda wait: _core.coordinator_grant(home, lock, unit, who, reason, settings, wait),
        timeout,
        cancel,
        raise_on_signal,
    )
    return effects is not None


@documented
def grant_if(
    lock: Scalar,
    custom: str,
    version: int,
    units: Iterable[str],
    key: Scalar = "coordinator",
    zk_hosts: Hosts | None = None,
    *,
    root: str = ROOT,
    by: Scalar | None = None,
    timeout: float | None = None,
    connection: Connection | None = None,
    cancel: _core.Cancel | None = None,
    raise_on_signal: bool = False,
    **keywords: Unpack[ConnectionKeywords],
) -> Effects | None:
    """Grant a lock to those whom a program has chosen, unless its grants have changed since the program has looked.

    Args:
        lock: The lock.
        custom: What the program calls its policy: the one of ``policy={"custom": ...}`` with which it asks.
        version: The ``version`` of the grants that `queue` has returned.
        units: The units that are to be granted the lock. Units without a request are left out.
        key: The coordinator.
        root: The znode below which the coordinators are.
        by: In whose name the call grants. Default: the host's name.
        timeout: Seconds for the whole call, which goes on through an outage until then. Default: ``connect_timeout``.

    Returns:
        As `handle`. Of very many units the last are left out: where ``granted`` has fewer than ``units``, call `queue`
        and decide anew. None: the grants have another version by now; call `queue` and decide anew.

    Raises:
        PolicyMismatch: The lock has another policy.
        ConnectionLost: The time was up before a server could say whether the lock was granted.

    After a lost reply the answer is None also where the grants were written: `queue` shows them. When the call is
    cancelled, its error says whether they may have been written.
    """
    settings, home, chosen = settings_for(zk_hosts, connection, keywords), (root, key), set(units)
    who = host() if by is None else by
    return call(
        lambda wait: _core.coordinator_grant_if(home, lock, custom, version, chosen, who, settings, wait),
        timeout,
        cancel,
        raise_on_signal,
    )


@documented
def set_policy(
    lock: Scalar,
    policy: Policy,
    key: Scalar = "coordinator",
    zk_hosts: Hosts | None = None,
    *,
    root: str = ROOT,
    timeout: float | None = None,
    connection: Connection | None = None,
    cancel: _core.Cancel | None = None,
    raise_on_signal: bool = False,
    **keywords: Unpack[ConnectionKeywords],
) -> str | None:
    """Change the policy of a lock. No grant is taken away; the next decision goes by the new policy.

    Whoever asks from then on must name the new policy. Where that lets in more units, call `handle` to grant to them.

    Args:
        lock: The lock.
        policy: As for `acquire`.
        key: The coordinator.
        root: The znode below which the coordinators are.
        timeout: Seconds for the whole call, which goes on through an outage until then. Default: ``connect_timeout``.

    Returns:
        The policy before, in words. None: nobody has asked for the lock yet, and nothing was changed.

    Raises:
        ConnectionLost: The time was up before a server could say whether the policy was changed.

    After a lost reply the policy is written again. When the call is cancelled, its error says whether the policy may
    have been changed.
    """
    settings, home = settings_for(zk_hosts, connection, keywords), (root, key)
    return call(
        lambda wait: _core.coordinator_set_policy(home, lock, policy, settings, wait), timeout, cancel, raise_on_signal
    )


@documented
def queue(
    lock: Scalar,
    key: Scalar = "coordinator",
    zk_hosts: Hosts | None = None,
    *,
    root: str = ROOT,
    timeout: float | None = None,
    connection: Connection | None = None,
    cancel: _core.Cancel | None = None,
    raise_on_signal: bool = False,
    **keywords: Unpack[ConnectionKeywords],
) -> LockQueue:
    """Tell who is granted a lock since when, and who waits for it. Nothing is created.

    Args:
        lock: The lock.
        key: The coordinator.
        root: The znode below which the coordinators are.
        timeout: Seconds for the whole call. At most, and by default, ``connect_timeout``.

    Returns:
        A dict. ``lock``; ``path``: the znode with the policy. ``policy``: as it is stored, or None; ``rule``: the same
        in words. ``max``: the most grants at a time, or None. ``opens``: when a window opens next, where none is open.
        ``version``: the version of the grants, for `grant_if`. ``holders``: a dict for each, the longest holder first,
        with ``unit``, ``request`` (a czxid), ``since``, ``timestamp``, ``granted`` (when), ``age`` (seconds since then,
        by this host's clock), ``token``, ``by`` (in whose run it was decided), ``granted_because`` (an operator's
        reason); and what the unit has said: ``reason``, ``labels``, ``expires``, with ``seen`` (when the unit was seen
        last) and ``unseen`` (seconds since then). ``waiters``: a dict for each, in order, with ``unit``, ``position``
        (1 is next), ``request``, ``since``, ``timestamp``, ``age``, ``hopeless`` (why the policy can never grant the
        request, or None), and what the unit has said, as above.

    The call takes two round trips, whatever the number of requests; three where the policy counts a party.
    """
    settings, home = settings_for(zk_hosts, connection, keywords), (root, key)
    return call(lambda wait: _core.coordinator_queue(home, lock, settings, wait), timeout, cancel, raise_on_signal)


@documented
def locks(
    key: Scalar = "coordinator",
    zk_hosts: Hosts | None = None,
    *,
    root: str = ROOT,
    timeout: float | None = None,
    connection: Connection | None = None,
    cancel: _core.Cancel | None = None,
    raise_on_signal: bool = False,
    **keywords: Unpack[ConnectionKeywords],
) -> list[str]:
    """List the locks of a coordinator that anybody has asked for, in order. Nothing is created.

    Args:
        key: The coordinator.
        root: The znode below which the coordinators are.
        timeout: Seconds for the whole call. At most, and by default, ``connect_timeout``.

    Returns:
        Their names; none where there is no such coordinator.
    """
    settings, home = settings_for(zk_hosts, connection, keywords), (root, key)
    return call(lambda wait: _core.coordinator_locks(home, settings, wait), timeout, cancel, raise_on_signal)


@documented
def granted(
    unit: Scalar | None = None,
    known: Iterable[int] = (),
    key: Scalar = "coordinator",
    zk_hosts: Hosts | None = None,
    *,
    root: str = ROOT,
    timeout: float | None = None,
    connection: Connection | None = None,
    cancel: _core.Cancel | None = None,
    raise_on_signal: bool = False,
    **keywords: Unpack[ConnectionKeywords],
) -> OwnGrants:
    """Wait until a unit is granted a lock that the caller does not know of yet, by watches on the unit's requests.

    Args:
        unit: Whose grants. Default: the host's name.
        known: The czxids of requests whose grants the caller knows already.
        key: The coordinator. The call waits for one that does not exist yet.
        root: The znode below which the coordinators are.
        timeout: Seconds to wait, connecting included: None for ever, 0 reads once. The answer is as things are then.

    Returns:
        A dict. ``granted``: a dict for each grant of the unit, known or not, with ``lock``, ``request`` (a czxid),
        ``token``, ``granted`` (when), ``by`` (in whose run it was decided) and ``reason`` (an operator's).
        ``waiting``: the locks for which the unit waits.

    The call changes nothing, also when it is cancelled. It waits for a lost connection as long as its time lasts.
    """
    settings, home, before = settings_for(zk_hosts, connection, keywords), (root, key), set(known)
    who = host() if unit in (None, "") else unit
    return wait_for(
        lambda wait, _: _core.coordinator_granted(home, who, before, settings, wait), timeout, cancel, raise_on_signal
    )


def host() -> str:
    """The name of this host."""
    return os.uname().nodename
