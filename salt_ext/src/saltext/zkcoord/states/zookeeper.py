"""
Znodes as they should be
========================

A drop-in for the ``zookeeper`` states that Salt had up to 3007: the same parameters, results, comments and changes. The
states call the execution module of the same name, which describes the configuration.

An *ACL* is a dict or a list of dicts. Each has ``scheme``, ``id`` and ``perms`` (letters of ``cdrwa``, or ``all``); or
it has ``username``, ``password``, and ``True`` for each permission of ``read``, ``write``, ``create``, ``delete``,
``admin`` and ``allperms``. There is no permission ``all`` here, though Salt's own documentation shows it. Include the
user that Salt itself connects as, with ``read`` at least: a state cannot compare what this user cannot read.

What differs from Salt's own states:

- Whatever goes wrong is ``result: False`` and one line that says what, and never a traceback. When a part was done
  before that, ``changes`` has that part.
- ``present`` without ``acls`` leaves the ACL alone and does not look at it, so a znode with the right value is in
  order. An empty list is the same as no ``acls``. Salt's announces with ``test=True`` that it will remove the ACL, and
  otherwise reports an update that it does not do.
- Where the ACL changes, ``changes`` has the old ACL. In Salt's the old ACL is missing, or the old value is in its
  place. Digests are shown as ``x`` here, and in full by Salt's.
- ``present`` with ``sequence`` succeeds, and names the znode that it has created. Salt's looks for the znode under the
  name without the number.
- Several minions can apply the same state at the same time. Where another minion is first, its work is checked.
- Digests that the servers hide from a user without ``admin`` are taken for the right ones.
"""

from contextlib import contextmanager, suppress

from salt.exceptions import CommandExecutionError, SaltException, SaltInvocationError
from salt.utils.args import clean_kwargs
from saltext.zkcoord.utils.documented import documented

with suppress(ImportError):  # without them there is no execution module either, as `__virtual__` tells
    from zkcoord.errors import NodeExists, NoNode

# Salt's loader always prefers this module to Salt's own only where two names are Salt's: this one, and the file's.
__virtualname__ = "zookeeper"

_READ = {"value": "zookeeper.get", "acls": "zookeeper.get_acls"}
_WRITE = {"value": "zookeeper.set", "acls": "zookeeper.set_acls"}
_MEANWHILE = "somebody else changed it meanwhile"


def __virtual__():
    if "zookeeper.create" in __salt__:
        return __virtualname__
    return (False, "the zookeeper execution module is not available")


@documented("connection", errors="state", creates=True)
def present(
    name,
    value,
    acls=None,
    ephemeral=False,
    sequence=False,
    makepath=False,
    version=-1,
    profile=None,
    hosts=None,
    scheme=None,
    username=None,
    password=None,
    default_acl=None,
    **security,
):
    """
    A znode exists, with this value and, if one is given, with this ACL.

    name
        The znode.

    value
        Its data, as text: quote a number.

    acls
        Its whole ACL. Default: a znode that is created gets ``default_acl``, one that exists keeps its own.

    ephemeral
        ``True``: a znode that this state creates ends with this run.

    sequence
        ``True``: the servers append a number to the name of a znode that this state creates. ``name`` itself does not
        exist then, so every run creates another znode.

    makepath
        ``True``: create the missing parents of a znode that this state creates, too, with the same ACL.

    version
        The version at which the value must be before this state changes it, and the ACL before this state changes that;
        ``-1`` for any.

    .. code-block:: yaml

        the site's configuration:
          zookeeper.present:
            - name: /app/config
            - value: blue
            - makepath: True
            - acls:
              - username: salt
                password: secret
                allperms: True
              - username: app
                password: secret
                read: True
    """
    ret = _not_yet(name, f"Failed to setup znode {name}")
    connection = _connection(profile, hosts, scheme, username, password, default_acl, **security)
    with _explained(ret):
        if not isinstance(value, str):
            raise SaltInvocationError("value: must be text; quote a number")
        given = {"value": value}
        wanted = {"value": value}
        if acls:
            given["acls"] = acls
            wanted["acls"] = _entries(acls)
        if not __salt__["zookeeper.exists"](name, **connection):
            if __opts__["test"]:
                # `acls` is there also where none is wanted, as in Salt's own.
                return _would(ret, f"{name} is will be created", {}, _shown({"acls": [], **wanted}))
            path = _create(name, value, acls, ephemeral, sequence, makepath, connection)
            if path is not None:
                return _created(ret, path if sequence else name, wanted, connection)
        return _updated(ret, given, wanted, version, connection)
    return ret


@documented("connection", errors="state")
def absent(
    name,
    version=-1,
    recursive=False,
    profile=None,
    hosts=None,
    scheme=None,
    username=None,
    password=None,
    default_acl=None,
    **security,
):
    """
    A znode does not exist.

    name
        The znode. It must be readable: ``changes`` shows what is lost.

    version
        The version at which the znode's value must be; ``-1`` for any.

    recursive
        ``True``: delete all znodes below it, too. Otherwise a znode with children is a failure.

    .. code-block:: yaml

        no more of it:
          zookeeper.absent:
            - name: /app/config
            - recursive: True
    """
    ret = _not_yet(name, f"Failed to delete znode {name}")
    connection = _connection(profile, hosts, scheme, username, password, default_acl, **security)
    with _explained(ret):
        if not __salt__["zookeeper.exists"](name, **connection):
            return _fine(ret, f"Znode {name} does not exist")
        try:
            old = _shown({what: __salt__[read](name, **connection) for what, read in _READ.items()})
            if recursive is True:
                old["children"] = __salt__["zookeeper.get_children"](name, **connection)
            if __opts__["test"]:
                ret.update(result=None, comment=f"Znode {name} will be removed", changes={"old": old})
                return ret
            __salt__["zookeeper.delete"](name, version, recursive, **connection)
        except CommandExecutionError as err:
            if isinstance(err.__cause__, NoNode):
                return _fine(ret, f"Znode {name} does not exist")
            raise
        ret["changes"] = {"old": old}
        if __salt__["zookeeper.exists"](name, **connection):
            raise CommandExecutionError("somebody else created it again")
        return _fine(ret, f"Znode {name} has been removed")
    return ret


@documented("connection", errors="state")
def acls(
    name,
    acls,
    version=-1,
    profile=None,
    hosts=None,
    scheme=None,
    username=None,
    password=None,
    default_acl=None,
    **security,
):
    """
    A znode, which must exist, has this ACL.

    name
        The znode.

    acls
        Its whole ACL.

    version
        The version at which the ACL (not the value) must be; ``-1`` for any.

    .. code-block:: yaml

        only the two of them:
          zookeeper.acls:
            - name: /app/config
            - acls:
              - username: salt
                password: secret
                allperms: True
              - username: app
                password: secret
                read: True
    """
    ret = _not_yet(name, f"Failed to set acls on znode {name}")
    connection = _connection(profile, hosts, scheme, username, password, default_acl, **security)
    with _explained(ret):
        wanted = _entries(acls)
        if not wanted:
            raise SaltInvocationError("acls: is empty; an ACL that permits nothing to nobody is not possible")
        if not __salt__["zookeeper.exists"](name, **connection):
            raise CommandExecutionError("Znode does not exist")
        found = __salt__["zookeeper.get_acls"](name, **connection)
        if _same("acls", found, wanted):
            return _fine(ret, f"Znode {name} acls already set")
        if __opts__["test"]:
            return _would(ret, f"Znode {name} acls will be updated", *map(_all_hidden, (found, wanted)))
        __salt__["zookeeper.set_acls"](name, acls, version, **connection)
        ret["changes"] = {"old": _all_hidden(found), "new": _all_hidden(wanted)}
        found = __salt__["zookeeper.get_acls"](name, **connection)
        ret["changes"]["new"] = _all_hidden(found)
        if _same("acls", found, wanted):
            return _fine(ret, f"Znode {name} acls updated")
        ret["comment"] = f"Znode {name} acls failed to update: {_MEANWHILE}"
    return ret


def _create(name, value, acls, ephemeral, sequence, makepath, connection):
    """Create a znode, and return its path; ``None`` where somebody else has created it first."""
    create = __salt__["zookeeper.create"]
    try:
        return create(name, value, acls, ephemeral, sequence, makepath, **connection)
    except CommandExecutionError as err:
        if isinstance(err.__cause__, NodeExists):
            return None
        raise


def _created(ret, path, wanted, connection):
    """Read a znode that was created, and report what is there."""
    ret["changes"] = {"old": {}, "new": _shown(wanted)}
    found = {what: __salt__[read](path, **connection) for what, read in _READ.items()}
    ret["changes"]["new"] = _shown(found)
    _check(found, wanted)
    return _fine(ret, f"Znode {path} successfully created")


def _updated(ret, given, wanted, version, connection):
    """Change a znode where it differs from `wanted`. `given` is `wanted` as the execution module takes it."""
    name = ret["name"]
    found = {what: __salt__[_READ[what]](name, **connection) for what in wanted}
    other = [what for what in wanted if not _same(what, found[what], wanted[what])]
    if not other:
        return _fine(ret, f"Znode {name} is already set to the correct value with the correct acls")
    if __opts__["test"]:
        old, new = (_shown({what: values[what] for what in other}) for values in (found, wanted))
        return _would(ret, f"Znode {name} is will be updated", old, new)
    for what in other:
        __salt__[_WRITE[what]](name, given[what], version, **connection)
        ret["changes"].setdefault("old", {}).update(_shown({what: found[what]}))
        ret["changes"].setdefault("new", {}).update(_shown({what: wanted[what]}))
        found[what] = __salt__[_READ[what]](name, **connection)
        ret["changes"]["new"].update(_shown({what: found[what]}))
    _check(found, {what: wanted[what] for what in other})
    return _fine(ret, f"Znode {name} successfully updated")


def _check(found, wanted):
    """Make sure that what was written is there."""
    if not all(_same(what, found[what], wanted[what]) for what in wanted):
        raise CommandExecutionError(_MEANWHILE)


def _same(what, found, wanted):
    """Whether a value or an ACL is the wanted one. The order of the entries of an ACL means nothing."""
    if what == "value":
        return found == wanted
    return set(found) in (set(wanted), {_hidden(entry) for entry in wanted})


def _hidden(entry):
    """Show an entry of an ACL as the servers do to users without ``admin``."""
    perms, who = entry
    scheme, identity = who
    if scheme != "digest":
        return entry
    # An entry that is a named tuple stays one.
    shown = getattr(type(who), "_make", tuple)((scheme, identity.partition(":")[0] + ":x"))
    return getattr(type(entry), "_make", tuple)((perms, shown))


def _all_hidden(acl):
    """Show an ACL as it may be in ``changes``, which end up in logs, events and the job cache."""
    return [_hidden(entry) for entry in acl]


def _shown(values):
    """Show a value as it is, and an ACL without its digests."""
    return {what: _all_hidden(value) if what == "acls" else value for what, value in values.items()}


def _entries(acls):
    """Return the entries that ACL dicts stand for."""
    try:
        return [_entry(acl) for acl in ([acls] if isinstance(acls, dict) else acls or [])]
    except SaltInvocationError:
        raise
    except TypeError:
        # The error does not show the value: it might be a password.
        raise SaltInvocationError(
            "acls: must be a list of dicts with username, password, and allperms or any of "
            "read, write, create, delete, admin ('all' is not one of them); or with scheme, id and perms"
        ) from None


def _entry(acl):
    if "scheme" not in acl:
        return __salt__["zookeeper.make_digest_acl"](**acl)
    if acl["scheme"] == "auth":
        raise SaltInvocationError(
            "acls: the scheme auth is for default_acl: who creates a znode is not who owns it here"
        )
    return __salt__["zookeeper.make_acl"](**acl)


def _connection(profile, hosts, scheme, username, password, default_acl, **security):
    who = {"scheme": scheme, "username": username, "password": password, "default_acl": default_acl}
    return clean_kwargs(profile=profile, hosts=hosts, **who, **security)


def _not_yet(name, comment):
    """What a state returns until something better is known."""
    return {"name": name, "result": False, "comment": comment, "changes": {}}


def _fine(ret, comment):
    ret.update(result=True, comment=comment)
    return ret


def _would(ret, comment, old, new):
    ret.update(result=None, comment=comment, changes={"old": old, "new": new})
    return ret


@contextmanager
def _explained(ret):
    """Append an error to the state's comment, in the same line."""
    try:
        yield
    except SaltException as err:
        ret["comment"] = " ".join(f"{ret['comment']}: {err}".split())
