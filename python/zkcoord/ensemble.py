"""An ensemble for those who run it: who leads, who is in, who lags, and a change that the servers survive.

`ZooKeeperManager` and `ZooKeeperClient` are those of Charmed ZooKeeper's library, with the same methods. The functions
here do the same, and take a `zkcoord.Connection`.

A *member* is a line of the ensemble's configuration: ``server.4=zk4:2888:3888:participant;2181``. IPv6 addresses are in
brackets. ``admin_port`` is the port of the servers' AdminServers. An AdminServer is asked where its server does not
answer a four-letter word: by default a server answers ``srvr`` and no other.

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
    """Ask all servers at once what they are: those that are named, and all members.

    The call waits for a server that does not answer a little longer than the others took, and then its row says so.
    Without a quorum the answer has the rows of the servers that are named all the same.

    Args:
        admin_port: The port of the AdminServers. Default: 8080; 0 for none.
        clocks: Ask the AdminServers what time it is, too.
        timeout: Seconds for the whole call. At most, and by default, ``connect_timeout``.

    Returns:
        A dict. ``servers`` has a row for each, with ``id``, ``address``, ``member`` (its line in the configuration),
        ``role``, ``mode``, ``in_sync``, ``version``, ``zxid``, ``behind`` (how many transactions behind the leader, at
        least), ``connections``, ``latency`` (milliseconds: least/mean/most), ``since`` (when it started),
        ``configuration`` (the version of the configuration that it has, in hex), ``words`` (how each four-letter word
        was answered: ``4lw``, ``admin``, or why it was not), ``clock`` (seconds by which its clock is ahead of this
        host's) and ``trouble`` (why it is not in sync), each of which may be None. ``leader``: the id of the leader.
        ``config`` and ``config_version``: the lines of the configuration and its version; ``trouble``: why these could
        not be read. ``has_quorum``: whether the members that are in sync are a quorum. ``critical``: the ids of the
        members that may not fail, because the others would be no quorum without any one of them.
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
        timeout: Seconds for the whole call. At most, and by default, ``connect_timeout``. Silent servers cost this time
            once, however many they are.

    Returns:
        A dict: for each server, ``host:port``, its `Answer`, or the error in its place: `zkcoord.errors.WordRefused`,
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
    """Find the server that leads. During an election the call waits, three seconds at most.

    Args:
        admin_port: The port of the AdminServers. Default: 8080; 0 for none.
        timeout: Seconds for the whole call. At most, and by default, ``connect_timeout``.

    Returns:
        The server, ``host:port``.

    Raises:
        QuorumLeaderNotFoundError: None of the servers that are named leads. The message has what each of them says.
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
        The lines of the configuration, and its version. A server that stands alone has no lines, and version 0.

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

    The server has to run already, started with a list of all members and itself: then it follows, and does not vote.

    Args:
        member: ``server.ID=HOST:PORT:PORT[:ROLE];[HOST:]PORT``.
        version: Change the ensemble only if its configuration has this version.
        only_decide: Return or raise what the call would, and change nothing.
        admin_port: The port of the AdminServers. Default: 8080; 0 for none.
        timeout: Seconds for the whole call, which goes on through an outage until then. Default: ``connect_timeout``.

    Returns:
        A dict. ``changed``: False where the configuration was like that already. ``members``: the lines of the
        configuration after the call. ``version``: its version.

    Raises:
        MemberNotReadyError: The server does not serve, or leads others.
        MembersSyncingError: Members are catching up; or the ensemble was changed, and not all are in sync in time.
        NoQuorum: The members that are up and in sync are no quorum, or would be none after the change.
        UnsafeStep: The id or the address of the server is taken.
        ReconfigConflict, ReconfigInProgress: Somebody else changes the ensemble.
        ReconfigDisabled, ReconfigForbidden: The servers take no changes, or their ACL does not let this user make one.
        ConnectionLost: The reply was lost, and what became of the change could not be learned in time.

    After a lost reply the change is sent again for the same version, so that it is carried out once. When the call is
    cancelled, its error says whether the ensemble may have been changed.
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
        member: Its id; or its line, ``server.4=...``, to remove it only while no other server has this id.
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
    """Replace the whole configuration in one step, with its groups and weights.

    Where that is enough, add and remove members one at a time instead.

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
    """Wait until members are in sync, and keep up with the leader. It is for the time between two restarts.

    Args:
        ids: The ids of the members. Default: those of all. The call waits for an id that is no member yet, too.
        admin_port: The port of the AdminServers. Default: 8080; 0 for none.
        timeout: Seconds for the whole call, which goes on through an outage until then. Default: ``connect_timeout``.

    Returns:
        As `add_member`; nothing is changed.

    Raises:
        MembersSyncingError: Not all members were in sync in time. The message has those that were not.
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
    """List a znode and all znodes below it, without ZooKeeper's own and without the root itself.

    The requests for one level of the tree are sent together. The list is no snapshot: a znode that comes or goes while
    the call reads may be in it or not.

    Args:
        path: The znode. A slash at its end is ignored.
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
        leader: The id of the leader, which moves, stops voting or leaves as the last that does so: then there is one
            election at most.

    Returns:
        Pairs, in order: ``("join", line)`` and ``("leave", id)``. Servers that join, or vote from then on, come first,
        then those that move to another address, each with a pair to leave and one to join; then those that vote no
        more, and then those that leave.

    Raises:
        ArgumentError: A line is no member, or an id is in ``wanted`` twice.
    """
    return _core.ensemble_steps(listed("now", now), listed("wanted", wanted), leader)


def is_up(member: str, timeout: float = 5) -> bool:
    """Tell whether anything answers where clients find a member, such as one that is to move there.

    The member is asked in plain text and without credentials, so that no secret goes there. A server that speaks TLS
    answers as well.

    Args:
        member: Its line. A member without an address for clients cannot be asked, and counts as up.
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
