"""
Znodes: create, read, write, delete, and say who may
====================================================

A drop-in for the ``zookeeper`` module that Salt had up to 3007: the same functions, arguments and answers.

:depends: zkcoord
:configuration: As that of the execution module ``zk_concurrency``, which is described there.

An *ACL* is one entry or a list of entries. An entry is one of these:

- A dict with ``username`` and ``password``, and ``True`` for each permission that the user has: ``read``, ``write``,
  ``create``, ``delete``, ``admin``, or ``allperms`` for all of them. There is no permission ``all`` here.
- A dict with ``scheme``, ``id`` and ``perms``, such as ``{scheme: ip, id: 10.0.0.0/8, perms: rw}``. ``perms`` is
  letters of ``cdrwa``, or ``all``.
- The word ``creator_all``. It permits everything to whoever creates the znode.

What differs from Salt's own module:

- ``ensure_path`` always returns ``True``. Salt's returns the path where it has created one.
- ``delete`` always returns ``True``. Salt's returns nothing where it is recursive.
- ``delete`` checks ``version`` also where it is recursive.
- ``get`` shows bytes that are not UTF-8 as replacement characters. Salt's fails on them.
- Every call logs in as the user that its arguments or its profile name. In a state run, Salt's goes on as the user that
  it first was for that profile or those hosts.
- An ACL that permits nothing is refused.
"""

from collections import namedtuple

from salt.exceptions import CommandExecutionError
from saltext.zkcoord.utils import config
from saltext.zkcoord.utils.documented import documented

try:
    from saltext.zkcoord.utils.client import Client
    from saltext.zkcoord.utils.errors import salt_errors
    from zkcoord import znode
    from zkcoord.errors import NodeExists
except ImportError as err:
    _missing = f"zkcoord, its native core, cannot be imported ({err}); Salt's own Python needs the package"
else:
    _missing = None

# Salt's loader always prefers this module to Salt's own only where two names are Salt's: this one, and the file's.
__virtualname__ = "zookeeper"

# Salt's own module returns objects of kazoo's classes. These here have the same fields, and are lists as well in JSON
# and in a job's return.
ZnodeStat = namedtuple(
    "ZnodeStat",
    "czxid mzxid ctime mtime version cversion aversion ephemeralOwner dataLength numChildren pzxid",
)
ACL = namedtuple("ACL", "perms id")
Id = namedtuple("Id", "scheme id")


def __virtual__():
    return __virtualname__ if _missing is None else (False, _missing)


@documented("connection", errors="write", creates=True)
def create(
    path,
    value="",
    acls=None,
    ephemeral=False,
    sequence=False,
    makepath=False,
    profile=None,
    hosts=None,
    scheme=None,
    username=None,
    password=None,
    default_acl=None,
    **security,
):
    """
    Create a znode.

    path
        The znode.

    value
        The znode's data, as text.

    acls
        The znode's ACL. Default: ``default_acl``.

    ephemeral
        ``True``: the znode ends with this process, which is that of one ``salt-call`` or of one job or state run of a
        minion.

    sequence
        ``True``: the servers append a number to the znode's name.

    makepath
        ``True``: create the missing parents too, with the same ACL. They are never ephemeral.

    Returns the path of the znode that was created. Raises ``CommandExecutionError`` when the znode exists, and when its
    parent does not.

    CLI Example:

    .. code-block:: bash

        salt minion zookeeper.create /test/name daniel profile=prod
        salt minion zookeeper.create /test/a/b value makepath=True acls='[{username: a, password: b, allperms: true}]'
    """
    client = _client(hosts, profile, scheme, username, password, default_acl, **security)
    what = {"value": value, "acls": acls, "ephemeral": ephemeral, "sequence": sequence, "makepath": makepath}
    return client.znode("create", path, **what)


@documented("connection", errors="write", creates=True)
def ensure_path(
    path, acls=None, profile=None, hosts=None, scheme=None, username=None, password=None, default_acl=None, **security
):
    """
    Create a znode without data, and its parents, unless it exists.

    path
        The znode.

    acls
        The ACL of the znodes that are created. Default: ``default_acl``. A znode that exists keeps its own.

    Returns ``True``.

    CLI Example:

    .. code-block:: bash

        salt minion zookeeper.ensure_path /test/name profile=prod
    """
    client = _client(hosts, profile, scheme, username, password, default_acl, **security)
    if acls:
        _acls(acls)  # refuses a wrong ACL also where no znode has to be created
    # First it asks whether the znode exists. To create needs a permission in the parent, and a user without it would
    # fail although there is nothing to create.
    if not client.znode("exists", path):
        try:
            client.znode("create", path, acls=acls, makepath=True)
        except CommandExecutionError as err:
            if not isinstance(err.__cause__, NodeExists):
                raise
    return True


@documented("connection", errors="read")
def exists(path, profile=None, hosts=None, scheme=None, username=None, password=None, default_acl=None, **security):
    """
    Tell whether a znode exists.

    path
        The znode.

    Returns ``True`` or ``False``; the exit code is 0 for both.

    CLI Example:

    .. code-block:: bash

        salt minion zookeeper.exists /test/name profile=prod
    """
    return _client(hosts, profile, scheme, username, password, default_acl, **security).znode("exists", path)


@documented("connection", errors="read")
def get(path, profile=None, hosts=None, scheme=None, username=None, password=None, default_acl=None, **security):
    """
    Read the data of a znode.

    path
        The znode.

    Returns the data as text. Bytes that are not UTF-8 are shown as replacement characters. Raises
    ``CommandExecutionError`` when there is no such znode.

    CLI Example:

    .. code-block:: bash

        salt minion zookeeper.get /test/name profile=prod
    """
    data = _client(hosts, profile, scheme, username, password, default_acl, **security).znode("get", path)
    return data.decode(errors="replace")


@documented("connection", errors="read")
def get_children(
    path, profile=None, hosts=None, scheme=None, username=None, password=None, default_acl=None, **security
):
    """
    List the names of a znode's children.

    path
        The znode.

    Returns a list, in no promised order. Raises ``CommandExecutionError`` when there is no such znode.

    CLI Example:

    .. code-block:: bash

        salt minion zookeeper.get_children /test profile=prod
    """
    return _client(hosts, profile, scheme, username, password, default_acl, **security).znode("children", path)


@documented("connection", errors="write")
def set(
    path,
    value,
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
    Write the data of a znode.

    path
        The znode.

    value
        The data, as text.

    version
        The version at which the data must be before the call; ``-1`` for any.

    Returns the znode's stat after the write: czxid, mzxid, ctime, mtime, version, cversion, aversion,
    ephemeralOwner, dataLength, numChildren and pzxid. Raises ``CommandExecutionError`` when there is no such
    znode, and when its data are at another version.

    CLI Example:

    .. code-block:: bash

        salt minion zookeeper.set /test/name gtmanfred profile=prod
        salt minion zookeeper.set /test/name gtmanfred version=3
    """
    client = _client(hosts, profile, scheme, username, password, default_acl, **security)
    return ZnodeStat(*client.znode("set", path, value, version=version))


@documented("connection", errors="read")
def get_acls(path, profile=None, hosts=None, scheme=None, username=None, password=None, default_acl=None, **security):
    """
    Read the ACL of a znode.

    path
        The znode.

    Returns a list of entries, each in the form that ``make_digest_acl`` returns. To a user without the ``admin``
    permission the servers show ``x`` in place of every digest. Raises ``CommandExecutionError`` when there is no such
    znode.

    CLI Example:

    .. code-block:: bash

        salt minion zookeeper.get_acls /test/name profile=prod
    """
    entries = _client(hosts, profile, scheme, username, password, default_acl, **security).znode("get_acls", path)
    return [_acl(entry) for entry in entries]


@documented("connection", errors="write")
def set_acls(
    path,
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
    Write the ACL of a znode.

    path
        The znode.

    acls
        The whole ACL: what is not in it is no longer permitted.

    version
        The version at which the ACL (not the data) must be; ``-1`` for any.

    Returns the znode's stat, as ``set`` does. Raises ``CommandExecutionError`` when there is no such znode, and
    when its ACL is at another version.

    CLI Example:

    .. code-block:: bash

        salt minion zookeeper.set_acls /test/name acls='[{username: a, password: b, allperms: true}]' profile=prod
    """
    client = _client(hosts, profile, scheme, username, password, default_acl, **security)
    return ZnodeStat(*client.znode("set_acls", path, acls, version=version))


@documented("connection", errors="write")
def delete(
    path,
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
    Delete a znode.

    path
        The znode.

    version
        The version at which the znode's data must be; ``-1`` for any.

    recursive
        ``True``: delete all znodes below it, too.

    Returns ``True``. Raises ``CommandExecutionError`` when there is no such znode, when its data are at another
    version, and when it has children and ``recursive`` is not given.

    CLI Example:

    .. code-block:: bash

        salt minion zookeeper.delete /test/name profile=prod
        salt minion zookeeper.delete /test recursive=True
    """
    client = _client(hosts, profile, scheme, username, password, default_acl, **security)
    client.znode("delete", path, version=version, recursive=recursive)
    return True


def make_digest_acl(
    username, password, read=False, write=False, create=False, delete=False, admin=False, allperms=False
):
    """
    Compute an entry of an ACL for a user, in the form that ``get_acls`` returns. No server is asked.

    username
        The user.

    password
        The user's password. It ends up in the master's job cache.

    read, write, create, delete, admin
        What the user may do: ``True`` or ``False``.

    allperms
        ``True``: the user may do all of it.

    Returns the sum of the permissions (read 1, write 2, create 4, delete 8, admin 16), and the scheme with the id. The
    id is the user's name and a digest of the password.

    CLI Example:

    .. code-block:: bash

        salt minion zookeeper.make_digest_acl username=daniel password=mypass allperms=True
    """
    permissions = {"read": read, "write": write, "create": create, "delete": delete, "admin": admin}
    return _acl(_acls({"username": username, "password": password, **permissions, "allperms": allperms}))


def make_acl(scheme, perms, id=None):
    """
    Compute an entry of an ACL for any scheme, in the form that ``get_acls`` returns. No server is asked.

    scheme
        ``world``, ``digest``, ``ip``, or what else the servers know, such as ``sasl`` and ``x509``.

    perms
        Letters of ``cdrwa`` (create, delete, read, write, admin), or ``all``.

    id
        Who is meant, in the notation of the scheme: for ``digest`` the id that ``make_digest_acl`` computes. ``world``
        needs none.

    Returns the sum of the permissions, and the scheme with the id.

    CLI Example:

    .. code-block:: bash

        salt minion zookeeper.make_acl ip rw id=10.0.0.0/8
    """
    return _acl(_acls({"scheme": scheme, "id": id, "perms": perms}))


def _client(*connection, **security):
    return Client(__salt__, __opts__, config.of_minion(__opts__, __grains__, __pillar__), *connection, **security)


def _acls(acls):
    with salt_errors():
        return znode.digest_acl(acls)


def _acl(entry):
    perms, (scheme, identity) = entry
    return ACL(perms, Id(scheme, identity))
