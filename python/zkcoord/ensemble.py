"""An ensemble for those who run it: who leads, who is in, who lags, and a change that the servers survive.

`ZooKeeperManager` and `ZooKeeperClient` are those of Charmed ZooKeeper's library, with the same methods. The functions
here are what they are made of, for those who have a `zkcoord.Connection`.

A *member* is a line of the ensemble's configuration: ``server.4=zk4:2888:3888:participant;2181``. IPv6 addresses are in
brackets. An ``admin_port`` is that of the servers' AdminServers, which are asked where a server does not answer a
four-letter word: by default it answers ``srvr`` and no other.

Source: ZooKeeper's dynamic reconfiguration (Shraer and others, USENIX ATC 2012), as its administrator's guide
describes it.
"""

from __future__ import annotations

from zkcoord import _core
from zkcoord._call import call
from zkcoord._documented import documented
from zkcoord._manager import ZooKeeperClient, ZooKeeperManager
from zkcoord._servers import listed
from zkcoord._words import Answer, answer_of
from zkcoord.connection import settings_for
from zkcoord.errors import (
    MemberNotReadyError,
    MembersSyncingError,
    NoUnitFoundError,
    QuorumLeaderNotFoundError,
    Unreachable,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from typing_extensions import Unpack
    from zkcoord._types import ConnectionKeywords, EnsembleChange, EnsembleStatus, Hosts, Scalar
    from zkcoord.connection import Connection

__all__ = [
    "Answer",
    "MemberNotReadyError",
    "MembersSyncingError",
    "NoUnitFoundError",
    "QuorumLeaderNotFoundError",
    "ZooKeeperClient",
    "ZooKeeperManager",
    "add_member",
    "ask",
    "config",
    "is_up",
    "leader",
    "remove_member",
    "set_config",
    "status",
    "steps",
    "tree",
    "wait_synced",
]


@documented
def status(
    zk_hosts: Hosts | None = None,
    *,
    admin_port: int | None = None,
    clocks: bool = False,
    timeout: float | None = None,
    connection: Connection | None = None,
    cancel: _core.Cancel | None = None,
    raise_on_signal: bool = False,
    **keywords: Unpack[ConnectionKeywords],
) -> EnsembleStatus:
    """Ask all servers what they are, all at once: those that are named, and all members.

    A server that does not answer is waited for a little longer than the others took, and then its row says so. Without
    a quorum the rows of the servers that are named are there all the same.

    Args:
        admin_port: The port of the AdminServers. Default: 8080; 0 for none.
        clocks: Ask the AdminServers what time it is, too.
        timeout: Seconds for the whole call. At most, and by default, ``connect_timeout``.

    Returns:
        A dict. ``servers`` has a row for each, with ``id``, ``address``, ``member`` (its line in the configuration),
        ``role``, ``mode``, ``in_sync``, ``version``, ``zxid``, ``behind`` (how many transactions behind the leader, at
        least), ``connections``, ``latency`` (milliseconds: least/mean/most), ``since`` (when it started),
        ``configuration`` (the version of the one that it has, in hex), ``words`` (by which way each was answered:
        ``4lw``, ``admin``, or why not), ``clock`` (seconds ahead of ours) and ``trouble`` (why it is not in sync), each
        of which may be None. ``leader`` is the id; ``config`` and ``config_version`` are who is in it, or ``trouble``
        says why that could not be read; ``has_quorum``, and ``critical``: the members without any one of which there
        would be none.
    """
    settings = settings_for(zk_hosts, connection, keywords)
    return call(
        lambda wait: _core.ensemble_status(admin_port, clocks, settings, wait), timeout, cancel, raise_on_signal
    )


@documented
def ask(
    word: str,
    zk_hosts: Hosts | None = None,
    *,
    admin_port: int | None = None,
    hurried: bool = False,
    timeout: float | None = None,
    connection: Connection | None = None,
    cancel: _core.Cancel | None = None,
    raise_on_signal: bool = False,
    **keywords: Unpack[ConnectionKeywords],
) -> dict[str, Answer | Exception]:
    """Ask servers a four-letter word, all at once.

    Args:
        word: ``srvr``, ``mntr``, ``ruok``, ``conf``, ``cons``, ``stat``, ``envi`` or ``isro``.
        admin_port: The port of the AdminServers. Default: 8080; 0 for none.
        hurried: Once half of the servers have answered, wait for the others only a little longer.
        timeout: Seconds for the whole call. At most, and by default, ``connect_timeout``. A server that is silent costs
            it once, however many are.

    Returns:
        Of each server, ``host:port``, its `Answer`, or the error in its place: `zkcoord.errors.WordRefused`,
        `zkcoord.errors.NotServing`, `zkcoord.errors.NoAnswer`, `zkcoord.errors.Unreachable`.
    """
    settings = settings_for(zk_hosts, connection, keywords)
    found = call(
        lambda wait: _core.ensemble_ask(word, admin_port, hurried, settings, wait), timeout, cancel, raise_on_signal
    )
    return {each[0]: answer_of(each) for each in found}


@documented
def leader(
    zk_hosts: Hosts | None = None,
    *,
    admin_port: int | None = None,
    timeout: float | None = None,
    connection: Connection | None = None,
    cancel: _core.Cancel | None = None,
    raise_on_signal: bool = False,
    **keywords: Unpack[ConnectionKeywords],
) -> str:
    """Find the server that leads. While there is an election it is waited for, three seconds at most.

    Args:
        admin_port: The port of the AdminServers. Default: 8080; 0 for none.
        timeout: Seconds for the whole call. At most, and by default, ``connect_timeout``.

    Returns:
        The server, ``host:port``.

    Raises:
        QuorumLeaderNotFoundError: None of those that are named leads, and what each of them says.
    """
    settings = settings_for(zk_hosts, connection, keywords)
    return call(lambda wait: _core.ensemble_leader(admin_port, settings, wait), timeout, cancel, raise_on_signal)


@documented
def config(
    zk_hosts: Hosts | None = None,
    *,
    timeout: float | None = None,
    connection: Connection | None = None,
    cancel: _core.Cancel | None = None,
    raise_on_signal: bool = False,
    **keywords: Unpack[ConnectionKeywords],
) -> tuple[list[str], int]:
    """Read who is in the ensemble, as new as the leader's state.

    Args:
        timeout: Seconds for the whole call. At most, and by default, ``connect_timeout``.

    Returns:
        The lines of the configuration, and its version. Of a server that stands alone: none, and 0.

    Raises:
        NoAnswer: What is in ``/zookeeper/config`` is no configuration.
    """
    settings = settings_for(zk_hosts, connection, keywords)
    return call(lambda wait: _core.ensemble_config(settings, wait), timeout, cancel, raise_on_signal)


@documented
def add_member(
    member: str,
    zk_hosts: Hosts | None = None,
    *,
    version: int | None = None,
    only_decide: bool = False,
    admin_port: int | None = None,
    timeout: float | None = None,
    connection: Connection | None = None,
    cancel: _core.Cancel | None = None,
    raise_on_signal: bool = False,
    **keywords: Unpack[ConnectionKeywords],
) -> EnsembleChange:
    """Add a server to the ensemble, or change its role, if the ensemble survives it; and wait until it is in sync.

    The server has to run already, with all members in its list and itself: it follows then, and does not vote.

    Args:
        member: ``server.ID=HOST:PORT:PORT[:ROLE];[HOST:]PORT``.
        version: Change it only if its configuration has this version.
        only_decide: Say what would become of it, and change nothing.
        admin_port: The port of the AdminServers. Default: 8080; 0 for none.
        timeout: Seconds for the whole call. It is obeyed through an outage. Default: ``connect_timeout``.

    Returns:
        A dict: ``changed``, whether it was not like that before; ``members`` and ``version``, the configuration.

    Raises:
        MemberNotReadyError: The server does not serve, or leads others.
        MembersSyncingError: Members are catching up; or the ensemble was changed, and not all are in sync in time.
        NoQuorum: Those that are up and in sync would be no quorum.
        UnsafeStep: Its id or its address is taken.
        ReconfigConflict, ReconfigInProgress: Somebody else changes the ensemble.
        ReconfigDisabled, ReconfigForbidden: The servers, or their ACL, do not let this user do so.
        ConnectionLost: The reply was lost, and what became of the change could not be learned in time.
    """
    step = ("join", member, version, only_decide, admin_port)
    return _changed(step, settings_for(zk_hosts, connection, keywords), timeout, cancel, raise_on_signal)


@documented
def remove_member(
    member: Scalar,
    zk_hosts: Hosts | None = None,
    *,
    version: int | None = None,
    only_decide: bool = False,
    admin_port: int | None = None,
    timeout: float | None = None,
    connection: Connection | None = None,
    cancel: _core.Cancel | None = None,
    raise_on_signal: bool = False,
    **keywords: Unpack[ConnectionKeywords],
) -> EnsembleChange:
    """Remove a server from the ensemble, if the rest survives it; and wait until the others are in sync.

    The server itself runs on, without a vote, until somebody stops it.

    Args:
        member: Its id; or its line, ``server.4=...``, if it is to go only while its id is its own.
        version, only_decide, admin_port, timeout: As for `add_member`.

    Returns:
        As `add_member`.

    Raises:
        As `add_member`; `UnsafeStep`: nobody would be left who can lead, or another server has its id.
    """
    step = ("leave", member, version, only_decide, admin_port)
    return _changed(step, settings_for(zk_hosts, connection, keywords), timeout, cancel, raise_on_signal)


@documented
def set_config(
    lines: Iterable[str],
    zk_hosts: Hosts | None = None,
    *,
    version: int | None = None,
    only_decide: bool = False,
    admin_port: int | None = None,
    timeout: float | None = None,
    connection: Connection | None = None,
    cancel: _core.Cancel | None = None,
    raise_on_signal: bool = False,
    **keywords: Unpack[ConnectionKeywords],
) -> EnsembleChange:
    """Replace the whole configuration in one step: groups and weights, too. Rather add and remove one at a time.

    Args:
        lines: All lines: ``server.ID=...``, ``group.ID=ID:ID``, ``weight.ID=NUMBER``.
        version, only_decide, admin_port, timeout: As for `add_member`.

    Returns:
        As `add_member`.

    Raises:
        As `add_member`.
    """
    step = ("whole", listed("lines", lines), version, only_decide, admin_port)
    return _changed(step, settings_for(zk_hosts, connection, keywords), timeout, cancel, raise_on_signal)


@documented
def wait_synced(
    ids: Iterable[int] | None = None,
    zk_hosts: Hosts | None = None,
    *,
    admin_port: int | None = None,
    timeout: float | None = None,
    connection: Connection | None = None,
    cancel: _core.Cancel | None = None,
    raise_on_signal: bool = False,
    **keywords: Unpack[ConnectionKeywords],
) -> EnsembleChange:
    """Wait until members are in sync, and get on with the leader: the gate between two restarts.

    Args:
        ids: Of which members. Default: of all. One that is no member is waited for, too.
        admin_port: The port of the AdminServers. Default: 8080; 0 for none.
        timeout: Seconds for the whole call. It is obeyed through an outage. Default: ``connect_timeout``.

    Returns:
        As `add_member`; nothing is changed.

    Raises:
        MembersSyncingError: Not all are in time, and who is not.
    """
    settings = settings_for(zk_hosts, connection, keywords)
    wanted = None if ids is None else listed("ids", ids)
    lines, version = call(
        lambda wait: _core.ensemble_wait(wanted, admin_port, settings, wait), timeout, cancel, raise_on_signal
    )
    return {"changed": False, "members": lines, "version": version}


@documented
def tree(
    path: str,
    zk_hosts: Hosts | None = None,
    *,
    timeout: float | None = None,
    connection: Connection | None = None,
    cancel: _core.Cancel | None = None,
    raise_on_signal: bool = False,
    **keywords: Unpack[ConnectionKeywords],
) -> list[str]:
    """List a znode and all below it, a level of the tree in one flight; not ZooKeeper's own, and not the root itself.

    It is no snapshot: a znode that comes or goes meanwhile is there or not.

    Args:
        path: The znode. A slash at its end means nothing.
        timeout: Seconds for the whole call. At most, and by default, ``connect_timeout``.

    Returns:
        The paths, sorted, below the chroot.

    Raises:
        NoNode: The znode itself does not exist.
    """
    settings = settings_for(zk_hosts, connection, keywords)
    return call(lambda wait: _core.ensemble_tree(path, settings, wait), timeout, cancel, raise_on_signal)


def steps(now: Iterable[str], wanted: Iterable[str], leader: int | None = None) -> list[tuple[str, str | int]]:
    """Tell the steps from a configuration to exactly these members. Nothing is sent.

    Args:
        now: The lines of the configuration.
        wanted: The lines of the members that there are to be.
        leader: The id of the leader, which leaves last, so that there is one election at most.

    Returns:
        Pairs, in order: ``("join", line)`` and ``("leave", id)``. Those that join, or vote from then on, come first,
        then those that move to another address, then those that vote no more, then those that leave.

    Raises:
        ArgumentError: A line is no member, or an id is there twice.
    """
    return _core.ensemble_steps(listed("now", now), listed("wanted", wanted), leader)


def is_up(member: str, timeout: float = 5) -> bool:
    """Tell whether anything answers where clients find a member, such as one that is to move there.

    It is asked as nobody, in plain text, so that no secret is sent there; a server that speaks TLS answers as well.

    Args:
        member: Its line. One without an address for clients cannot be asked, and counts as up.
        timeout: Seconds to wait.

    Raises:
        ArgumentError: The line is no member.
    """
    address = _core.ensemble_member(member)[2]
    answers = ask("srvr", address, admin_port=0, timeout=timeout) if address else {}
    return not any(isinstance(answer, Unreachable) for answer in answers.values())


def _changed(
    step: tuple[str, Any, int | None, bool, int | None],
    settings: _core.Settings,
    timeout: float | None,
    cancel: _core.Cancel | None,
    raise_on_signal: bool,
) -> EnsembleChange:
    changed, (lines, now) = call(
        lambda wait: _core.ensemble_step(*step, settings, wait), timeout, cancel, raise_on_signal
    )
    return {"changed": changed, "members": lines, "version": now}
