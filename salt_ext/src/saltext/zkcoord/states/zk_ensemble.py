"""
The servers themselves, as they should be
=========================================

States for the members of an ensemble, for the gate between two restarts, and for znodes with their ACLs. The execution
module of the same name describes the configuration, and what a *member* is.

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

Where something is not ready yet, such as a server that has just been started, the state has ``result: False`` and a
comment that says so: with ``retry`` Salt tries again. A step that the ensemble would not survive is never taken, and
the comment says why.
"""

import time
from contextlib import contextmanager, suppress

from salt.exceptions import CommandExecutionError, SaltException, SaltInvocationError
from salt.utils.args import clean_kwargs
from saltext.zkcoord.utils.documented import documented

with suppress(ImportError):  # without them there is no execution module either, as `__virtual__` tells
    from saltext.zkcoord.utils.ensemble import (
        difference,
        entries,
        hidden,
        id_of,
        is_decided_anew,
        is_passing,
        is_up,
        lines_of,
        may_have_changed,
        same,
        seconds,
    )
    from zkcoord.errors import NodeExists, NoNode

__virtualname__ = "zk_ensemble"

# Seconds for all steps together, where no timeout is given; and seconds before a step is decided anew.
_ALL, _PAUSE = 300, 1


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

    The state adds and removes one member at a time, each once all before it are in sync. It adds before it removes, and
    removes the leader last. Where a run has failed, the next one goes on where it stopped.

    name
        Anything; it means nothing.

    members
        The lines of all members, and nothing else. A member whose line differs in its role is changed. A member whose
        line differs in its addresses is removed and added, if a server answers at the new addresses, and voters are in
        no groups.

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
        steps = difference(now, wanted, status["leader"])
        moves = {argument for kind, argument in steps if kind == "leave"} & {id_of(line) for line in wanted}
        if moves and any(line.startswith("group.") for line in now):
            raise CommandExecutionError(
                f"server.{min(moves)} has another address now, and its voters are in groups: give all lines at once, "
                "with zkcoord.ensemble.set_config"
            )
        _take(ret, steps, now, timeout, connection)
    return ret


@documented("admin", "connection", errors="state")
def member_present(
    name, timeout=_ALL, zk_hosts=None, profile=None, scheme=None, username=None, password=None, default_acl=None,
    admin_port=None, **security,
):
    """
    A server is a member, such as the one of this minion.

    name
        The server's line. The server runs already, with all members and itself in its list. Where another member has
        the id of this line, the state fails, and that member stays.

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
        steps = difference(now, [*others, name])
        if any(kind == "leave" for kind, _ in steps):
            taken = next(line for line in now if line.startswith("server.") and id_of(line) == id_of(name))
            raise CommandExecutionError(
                f"id {id_of(name)} is taken: {taken}; choose another, or remove that one first"
            )
        _take(ret, steps, now, timeout, connection)
    return ret


@documented("admin", "connection", errors="state")
def member_absent(
    name, timeout=_ALL, zk_hosts=None, profile=None, scheme=None, username=None, password=None, default_acl=None,
    admin_port=None, **security,
):
    """
    A server is no member, such as the one of this minion before it is stopped for good.

    name
        The server's line, ``server.4``, or its id. Where another server has the id of a line by now, the state fails,
        and that server stays.

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
        _take(ret, [("leave", name if "=" in str(name) else id_of(name))] if is_there else [], now, timeout, connection)
    return ret


@documented("admin", "connection", errors="state")
def synced(
    name, ids=None, besides=None, timeout=60, zk_hosts=None, profile=None, scheme=None, username=None, password=None,
    default_acl=None, admin_port=None, **security,
):
    """
    All members are up and in sync: the gate between two restarts.

    name
        Anything; it means nothing.

    ids
        The ids of the members that are waited for. Default: all members. An id that no member has is waited for, too.

    besides
        The id, or ids, of members that are not waited for: the server that is to be restarted, since it may hang.

    timeout
        Seconds to wait.

    The state never has changes. With ``test=True`` it does not wait.

    .. code-block:: yaml

        before the next restart:
          zk_ensemble.synced:
            - profile: super
            - timeout: 120
    """
    ret = _not_yet(name)
    connection = _connection(zk_hosts, profile, scheme, username, password, default_acl, admin_port, **security)
    with _explained(ret):
        ids, left_out = _ids(ids), _ids(besides) or set()
        if __opts__["test"]:
            status = __salt__["zk_ensemble.status"](**connection)
            rows = {row["id"]: row for row in status["servers"] if row["id"] is not None}
            wanted = (set(rows) if ids is None else ids) - left_out
            missing = status["trouble"] or _lagging(wanted, rows)
            ret.update(result=None if missing else True, comment=missing or f"{len(wanted)} members are in sync")
            return ret
        if left_out:
            members = __salt__["zk_ensemble.config"](**connection) if ids is None else []
            ids = (ids or {id_of(line) for line in members if line.startswith("server.")}) - left_out
        found = __salt__["zk_ensemble.wait_synced"](
            ids=None if ids is None else sorted(ids), timeout=timeout, **connection
        )
        count = sum(line.startswith("server.") for line in found["members"]) if ids is None else len(ids)
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
        ret.update(result=None, comment=f"Would {'; '.join(named)}{_first_refusal(steps, connection)}")
        return
    end = time.monotonic() + seconds(timeout)
    for number, (kind, argument) in enumerate(steps):
        try:
            _check_move(steps[number:])
            _step(kind, argument, end, connection)
        except SaltException as err:
            if may_have_changed(err) and _is_done(kind, argument, lines, connection):
                _note(ret, kind, argument, lines)
            left = f" Not done: {'; '.join(named[number:])}" if number else ""
            raise CommandExecutionError(f"{err}{'.' if left else ''}{left}") from err
        _note(ret, kind, argument, lines)
    ret.update(result=True, comment=f"Done: {'; '.join(named)}")


def _step(kind, argument, end, connection):
    """Take one step. A refusal that may pass is waited for, and the step decided anew. Any other is raised."""
    function = __salt__["zk_ensemble.add_members" if kind == "join" else "zk_ensemble.remove_members"]
    while True:
        rest = end - time.monotonic()
        if rest <= 0:
            raise CommandExecutionError("the time is up")
        try:
            function([argument], timeout=rest, **connection)
            return
        except CommandExecutionError as err:
            if not is_decided_anew(err) or time.monotonic() + _PAUSE >= end:
                raise
        time.sleep(_PAUSE)


def _check_move(steps):
    """Before a member moves, make sure that a server answers at its new address: it could not be added otherwise."""
    if len(steps) < 2 or steps[0][0] != "leave" or steps[1][0] != "join" or id_of(steps[1][1]) != id_of(steps[0][1]):
        return
    if not is_up(steps[1][1]):
        raise CommandExecutionError(f"nothing answers yet where {steps[1][1]} is to be, and the member is left alone")


def _is_done(kind, argument, lines, connection):
    """Whether a step was taken: the error alone does not tell."""
    with suppress(SaltException):
        now = {id_of(line): line for line in __salt__["zk_ensemble.config"](**connection) if line.startswith("server.")}
        number = id_of(argument)
        return number not in now if kind == "leave" else number in now and now[number] != lines.get(number)
    return False


def _note(ret, kind, argument, lines):
    before = lines.get(id_of(argument))
    if before is not None:
        ret["changes"].setdefault("removed", []).append(before)
    if kind == "join":
        ret["changes"].setdefault("added", []).append(argument)
        lines[id_of(argument)] = argument
    else:
        lines.pop(id_of(argument), None)


def _line(argument, lines):
    return argument if isinstance(argument, str) else lines.get(argument, f"server.{argument}")


def _first_refusal(steps, connection):
    kind, argument = steps[0]
    try:
        _check_move(steps)
        function = "zk_ensemble.add_members" if kind == "join" else "zk_ensemble.remove_members"
        __salt__[function]([argument], only_decide=True, **connection)
    except CommandExecutionError as err:
        return f". It would be refused now: {err}"
    return ""


def _ids(ids):
    """A set of ids, of one or of many; ``None`` stays."""
    if ids is None:
        return None
    return {id_of(each) for each in (ids if isinstance(ids, list | tuple | set) else [ids])}


def _lagging(wanted, rows):
    """Say who of the `wanted` is not in sync, and why; nothing where all are."""
    unknown = [f"server.{number} is no member" for number in sorted(wanted - set(rows))]
    known = [rows[number] for number in sorted(wanted & set(rows))]
    return "; ".join([*unknown, *(f"{row['member']} {row['trouble']}" for row in known if not row["in_sync"])])


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
        ret.update(result=False, comment=f"Not ready yet: {err}" if is_passing(err) else str(err))


def _connection(zk_hosts, profile, scheme, username, password, default_acl, admin_port, **security):
    named = {"zk_hosts": zk_hosts, "profile": profile, "scheme": scheme, "username": username, "password": password}
    return {**named, "default_acl": default_acl, "admin_port": admin_port, **clean_kwargs(**security)}
