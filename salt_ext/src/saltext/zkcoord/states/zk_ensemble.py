"""
The servers themselves, as they should be
=========================================

Who is in an ensemble, a gate between two restarts, and znodes with their ACLs; on the execution module of the same
name, where the configuration and what a *member* is are described.

:depends: zkcoord

.. code-block:: yaml

    exactly these:
      zk_ensemble.members:
        - profile: super
        - timeout: 300
        - members:
          - server.1=zk1:2888:3888:participant;2181
          - server.2=zk2:2888:3888:participant;2181
          - server.3=zk3:2888:3888:participant;2181

What is not ready yet, such as a server that has just been started, is ``result: False`` with a comment that says so:
with ``retry`` Salt tries again. A step that the ensemble would not survive is never taken, and the comment says why.
"""

import time
from contextlib import contextmanager, suppress

from salt.exceptions import CommandExecutionError, SaltException, SaltInvocationError
from salt.utils.args import clean_kwargs
from saltext.zkcoord.utils.documented import documented

with suppress(ImportError):  # without them there is no execution module either, as `__virtual__` tells
    from saltext.zkcoord.utils.ensemble import difference, entries, hidden, id_of, is_syncing_error, lines_of, same
    from zkcoord.errors import NodeExists, NoNode

__virtualname__ = "zk_ensemble"

# Seconds for all steps together, unless it is said otherwise.
_ALL = 300


def __virtual__():
    if "zk_ensemble.config" in __salt__:
        return __virtualname__
    return (False, "the zk_ensemble execution module is not available")


# The connection's arguments are the same everywhere, and take two lines.
# fmt: off
@documented("admin", "connection", errors="state")
def members(
    name, members=None, timeout=_ALL, zk_hosts=None, profile=None, scheme=None, username=None, password=None,
    default_acl=None, admin_port=None, **security,
):
    """
    The ensemble has exactly these members.

    It adds before it removes, one at a time, each once all before it are in sync, and removes the leader last. Where a
    run has failed, the next one goes on where it stopped.

    name
        Anything; it means nothing.

    members
        All lines. A member whose line differs in its role is changed; one that differs in its addresses is removed and
        added.

    timeout
        Seconds for all steps together.

    With ``test=True`` the changes are those that would be made, and the comment has the first step that would be
    refused, if one would.

    .. code-block:: yaml

        three of them:
          zk_ensemble.members:
            - profile: super
            - members:
              - server.1=zk1:2888:3888:participant;2181
              - server.2=zk2:2888:3888:participant;2181
              - server.3=zk3:2888:3888:observer;2181
    """
    ret = _not_yet(name)
    connection = _connection(zk_hosts, profile, scheme, username, password, default_acl, admin_port, **security)
    with _explained(ret):
        wanted = lines_of(members)
        status = __salt__["zk_ensemble.status"](**connection)
        now = __salt__["zk_ensemble.config"](**connection)
        _take(ret, difference(now, wanted, status["leader"]), now, timeout, connection)
    return ret


@documented("admin", "connection", errors="state")
def member_present(
    name, timeout=_ALL, zk_hosts=None, profile=None, scheme=None, username=None, password=None, default_acl=None,
    admin_port=None, **security,
):
    """
    A server is a member, such as the one of this minion.

    name
        Its line. It runs already, and has all members and itself in its list.

    timeout
        Seconds for all of it.

    .. code-block:: yaml

        server.4=zk4:2888:3888:participant;2181:
          zk_ensemble.member_present:
            - profile: super
            - retry:
                attempts: 10
                interval: 3
    """
    ret = _not_yet(name)
    connection = _connection(zk_hosts, profile, scheme, username, password, default_acl, admin_port, **security)
    with _explained(ret):
        now = __salt__["zk_ensemble.config"](**connection)
        others = [line for line in now if line.startswith("server.") and id_of(line) != id_of(name)]
        _take(ret, difference(now, [*others, name]), now, timeout, connection)
    return ret


@documented("admin", "connection", errors="state")
def member_absent(
    name, timeout=_ALL, zk_hosts=None, profile=None, scheme=None, username=None, password=None, default_acl=None,
    admin_port=None, **security,
):
    """
    A server is no member, such as the one of this minion before it is stopped for good.

    name
        Its line, ``server.4``, or its id.

    timeout
        Seconds for all of it.

    .. code-block:: yaml

        server.4:
          zk_ensemble.member_absent:
            - profile: super
    """
    ret = _not_yet(name)
    connection = _connection(zk_hosts, profile, scheme, username, password, default_acl, admin_port, **security)
    with _explained(ret):
        now = __salt__["zk_ensemble.config"](**connection)
        is_there = any(line.startswith("server.") and id_of(line) == id_of(name) for line in now)
        _take(ret, [("leave", id_of(name))] if is_there else [], now, timeout, connection)
    return ret


@documented("admin", "connection", errors="state")
def synced(
    name, ids=None, timeout=60, zk_hosts=None, profile=None, scheme=None, username=None, password=None,
    default_acl=None, admin_port=None, **security,
):
    """
    All members are up and in sync: the gate between two restarts.

    name
        Anything; it means nothing.

    ids
        The ids of those that are waited for. Default: all members.

    timeout
        Seconds to wait.

    It never has changes. With ``test=True`` nothing is waited for.

    .. code-block:: yaml

        before the next restart:
          zk_ensemble.synced:
            - profile: super
            - timeout: 120
    """
    ret = _not_yet(name)
    connection = _connection(zk_hosts, profile, scheme, username, password, default_acl, admin_port, **security)
    with _explained(ret):
        if __opts__["test"]:
            lagging = [row for row in __salt__["zk_ensemble.status"](**connection)["servers"] if not row["in_sync"]]
            ret.update(result=None if lagging else True, comment=_lagging(lagging) or "All members are in sync")
            return ret
        found = __salt__["zk_ensemble.wait_synced"](ids=ids, timeout=timeout, **connection)
        count = sum(line.startswith("server.") for line in found["members"]) if ids is None else len(list(ids))
        ret.update(result=True, comment=f"{count} members are in sync")
    return ret


@documented("admin", "connection", errors="state", creates=True)
def znode_present(
    name, acls=None, zk_hosts=None, profile=None, scheme=None, username=None, password=None, default_acl=None,
    admin_port=None, **security,
):
    """
    A znode exists, and if ``acls`` is given it has this ACL. Its parents are created where they are missing.

    name
        The znode.

    acls
        Its whole ACL. Default: a znode that is created gets ``default_acl``, one that exists keeps its own.

    .. code-block:: yaml

        /app:
          zk_ensemble.znode_present:
            - profile: super
            - acls:
              - {scheme: sasl, id: app, perms: all}
    """
    ret = _not_yet(name)
    connection = _connection(zk_hosts, profile, scheme, username, password, default_acl, admin_port, **security)
    with _explained(ret):
        wanted = entries(acls) if acls else None
        found = _acl(name, connection)
        if found is not None:
            return _permitted(ret, found, acls, wanted, connection)
        changes = {"created": name, **({"acls": [hidden(entry) for entry in wanted]} if wanted else {})}
        if __opts__["test"]:
            ret.update(result=None, comment=f"{name} would be created", changes=changes)
            return ret
        try:
            __salt__["zk_ensemble.create_znode_leader"](name, acls=acls, **connection)
        except CommandExecutionError as err:
            if not isinstance(err.__cause__, NodeExists):
                raise
            return _permitted(ret, _acl(name, connection) or [], acls, wanted, connection)
        ret.update(result=True, comment=f"{name} was created", changes=changes)
    return ret


@documented("admin", "connection", errors="state")
def znode_absent(
    name, zk_hosts=None, profile=None, scheme=None, username=None, password=None, default_acl=None, admin_port=None,
    **security,
):
    """
    A znode does not exist, nor any below it.

    name
        The znode.

    .. code-block:: yaml

        /app/old:
          zk_ensemble.znode_absent:
            - profile: super
    """
    ret = _not_yet(name)
    connection = _connection(zk_hosts, profile, scheme, username, password, default_acl, admin_port, **security)
    with _explained(ret):
        try:
            found = __salt__["zk_ensemble.leader_znodes"](name, **connection)
        except CommandExecutionError as err:
            if not isinstance(err.__cause__, NoNode):
                raise
            ret.update(result=True, comment=f"{name} does not exist")
            return ret
        ret["changes"] = {"deleted": found}
        if __opts__["test"]:
            ret.update(result=None, comment=f"{name} would be deleted")
            return ret
        __salt__["zk_ensemble.delete_znode_leader"](name, **connection)
        ret.update(result=True, comment=f"{name} was deleted")
    return ret


@documented("admin", "connection", errors="state")
def acls(
    name, acls, zk_hosts=None, profile=None, scheme=None, username=None, password=None, default_acl=None,
    admin_port=None, **security,
):
    """
    A znode, which must exist, has this ACL.

    name
        The znode.

    acls
        Its whole ACL. Digests are ``x`` in the changes.

    .. code-block:: yaml

        /zookeeper/config:
          zk_ensemble.acls:
            - profile: super
            - acls:
              - {scheme: sasl, id: operators, perms: rw}
              - {scheme: world, id: anyone, perms: r}
    """
    ret = _not_yet(name)
    connection = _connection(zk_hosts, profile, scheme, username, password, default_acl, admin_port, **security)
    with _explained(ret):
        wanted, found = entries(acls), _acl(name, connection)
        if found is None:
            raise CommandExecutionError(f"{name} does not exist")
        return _permitted(ret, found, acls, wanted, connection)
    return ret


# fmt: on
def _take(ret, steps, now, timeout, connection):
    """Take steps, all within `timeout`, and keep account of what was changed."""
    lines = {id_of(line): line for line in now if line.startswith("server.")}
    if not steps:
        ret.update(result=True, comment="The members are as they should be")
        return
    named = [f"{'add' if kind == 'join' else 'remove'} {_line(argument, lines)}" for kind, argument in steps]
    if __opts__["test"]:
        for kind, argument in steps:
            _note(ret, kind, argument, lines)
        ret.update(result=None, comment=f"Would {'; '.join(named)}{_first_refusal(steps[0], connection)}")
        return
    end = time.monotonic() + timeout
    for number, (kind, argument) in enumerate(steps):
        try:
            _step(kind, argument, end, connection)
        except SaltException as err:
            left = f" Not done: {'; '.join(named[number:])}" if number else ""
            raise CommandExecutionError(f"{err}{'.' if left else ''}{left}") from err
        _note(ret, kind, argument, lines)
    ret.update(result=True, comment=f"Done: {'; '.join(named)}")


def _step(kind, argument, end, connection):
    """Take one step. Members that are catching up are waited for; whatever else is refused stays so."""
    function = __salt__["zk_ensemble.add_members" if kind == "join" else "zk_ensemble.remove_members"]
    while True:
        rest = end - time.monotonic()
        if rest <= 0:
            raise CommandExecutionError("the time is up")
        try:
            function([argument], timeout=rest, **connection)
            return
        except CommandExecutionError as err:
            if not is_syncing_error(err) or time.monotonic() >= end:
                raise
        __salt__["zk_ensemble.wait_synced"](timeout=max(end - time.monotonic(), 0.001), **connection)


def _note(ret, kind, argument, lines):
    before = lines.get(argument if kind == "leave" else id_of(argument))
    if before is not None:
        ret["changes"].setdefault("removed", []).append(before)
    if kind == "join":
        ret["changes"].setdefault("added", []).append(argument)
        lines[id_of(argument)] = argument
    else:
        lines.pop(argument, None)


def _line(argument, lines):
    return argument if isinstance(argument, str) else lines.get(argument, f"server.{argument}")


def _first_refusal(step, connection):
    kind, argument = step
    try:
        function = "zk_ensemble.add_members" if kind == "join" else "zk_ensemble.remove_members"
        __salt__[function]([argument], only_decide=True, **connection)
    except CommandExecutionError as err:
        return f". It would be refused now: {err}"
    return ""


def _lagging(rows):
    return "; ".join(f"{row['member'] or row['address']} {row['trouble']}" for row in rows)


def _acl(name, connection):
    """What a znode permits; ``None``, where there is no such znode."""
    try:
        return __salt__["zk_ensemble.get_acls"](name, **connection)
    except CommandExecutionError as err:
        if isinstance(err.__cause__, NoNode):
            return None
        raise


def _permitted(ret, found, acls, wanted, connection):
    """See to the ACL of a znode that exists."""
    name = ret["name"]
    if wanted is None or same(found, wanted):
        ret.update(result=True, comment=f"{name} is as it should be")
        return ret
    ret["changes"] = {
        "old": {"acls": [hidden(entry) for entry in found]},
        "new": {"acls": [hidden(entry) for entry in wanted]},
    }
    if __opts__["test"]:
        ret.update(result=None, comment=f"The ACL of {name} would be changed")
        return ret
    __salt__["zk_ensemble.set_acls_znode_leader"](name, acls, **connection)
    ret.update(result=True, comment=f"The ACL of {name} was changed")
    return ret


def _not_yet(name):
    return {"name": name, "result": False, "changes": {}, "comment": ""}


@contextmanager
def _explained(ret):
    """Put what goes wrong into the comment, in one line. What was changed before stays in the changes."""
    try:
        yield
    except SaltInvocationError as err:
        ret.update(result=False, comment=str(err))
    except SaltException as err:
        ret.update(result=False, comment=f"Not ready yet: {err}" if is_syncing_error(err) else str(err))


def _connection(zk_hosts, profile, scheme, username, password, default_acl, admin_port, **security):
    named = {"zk_hosts": zk_hosts, "profile": profile, "scheme": scheme, "username": username, "password": password}
    return {**named, "default_acl": default_acl, "admin_port": admin_port, **clean_kwargs(**security)}
