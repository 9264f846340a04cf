"""
Znodes: create, read, write, delete, and say who may
====================================================

A drop-in for the ``zookeeper`` module that Salt had up to 3007: the same functions, arguments and answers.

:depends: zkcoord
:configuration: In the minion configuration, the grains or the pillar; for all calls, or for those with
    ``profile=prod``. An explicit argument wins over the configuration, and that over the default.

    .. code-block:: yaml

        zookeeper:
          hosts: zk1:2181,zk2:2181,zk3:2181   # default 127.0.0.1:2181
          prod:
            hosts: [zk7:2181, zk8:2181, zk9:2181]
            scheme: digest
            username: salt
            password: secret
            default_acl:
              - username: salt
                password: secret
                allperms: true
            session_timeout: 10               # seconds, default 10
            connect_timeout: 10               # seconds, default 10

All functions but ``make_digest_acl`` and ``make_acl`` take these, which say where the znode is and who asks:

hosts
    Servers as ``host:port,host:port`` or a list; a chroot may follow (``host:port,host:port/chroot``).

profile
    Read the settings from ``zookeeper:PROFILE`` instead of ``zookeeper``.

scheme
    Authentication scheme: ``digest``, the default when there are a username and a password, or ``sasl``.

username, password
    User to authenticate as. Arguments end up in the master's job cache: rather use the configuration.

default_acl
    ACL of created znodes, where ``acls`` says nothing. Default: everything to everybody.

security
    By keyword: ``use_ssl``, ``ca_certs``, ``certfile``, ``keyfile``, ``keyfile_password``, ``verify_certs``, and
    the SASL ``mechanism``. See *Security* in the manual.

An *ACL* is one entry or a list of them. An entry is a dict with ``username``, ``password``, and of ``read``, ``write``,
``create``, ``delete``, ``admin`` and ``allperms`` those that are true (there is no ``all``); or a dict with ``scheme``,
``id`` and ``perms``, which are letters of ``cdrwa`` or ``all``, such as ``{scheme: ip, id: 10.0.0.0/8, perms: rw}``;
or the word ``creator_all``: everything to whoever creates the znode.

Each of them raises ``SaltInvocationError`` for a wrong argument, and ``CommandExecutionError``, in one line, when
the ensemble does not answer within ``connect_timeout``, when it refuses the credentials or the access, when a
signal ends the wait, and for the reasons that the function names. When the connection is lost it goes on as soon
as there is one again.

What differs from Salt's own module:

- ``ensure_path`` is always ``True``; Salt's is the path where it made one. ``delete`` is always ``True``;
  Salt's is nothing where it is recursive.
- ``delete`` looks at ``version`` also where it is recursive.
- ``get`` shows what is not UTF-8 with replacement characters; Salt's fails.
- Every call is made as the user that it names, or that its profile names. Salt's stays, in a state run, with
  whom it first was for that profile or those hosts.
- An ACL that permits nothing is refused.
"""

from collections import namedtuple
from contextlib import suppress

from salt.utils.args import clean_kwargs

try:
    from saltext.zkcoord import config
    from saltext.zkcoord.errors import salt_errors
    from zkcoord import znode
    from zkcoord.errors import NodeExists
except ImportError as err:
    _missing = f"zkcoord, its native core, cannot be imported ({err}); Salt's own Python needs the package"
else:
    _missing = None

# The file has this name too: only with both equal to Salt's own does the loader always prefer this module.
__virtualname__ = "zookeeper"

# The fields of kazoo's classes, which Salt's own module returns: in JSON and in a job's return they are lists.
ZnodeStat = namedtuple(
    "ZnodeStat",
    "czxid mzxid ctime mtime version cversion aversion ephemeralOwner dataLength numChildren pzxid",
)
ACL = namedtuple("ACL", "perms id")
Id = namedtuple("Id", "scheme id")


def __virtual__():
    return __virtualname__ if _missing is None else (False, _missing)


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
        Its data, as text.

    acls
        Its ACL. Default: ``default_acl``.

    ephemeral
        It ends with this process, which is that of one ``salt-call`` or of one job or state run of a minion.

    sequence
        The servers append a number to its name.

    makepath
        Create missing parents too, with the same ACL. They are never ephemeral.

    profile, hosts, scheme, username, password, default_acl, security
        Where, as whom, and what a created znode permits: as for all functions here, see the manual. What is not
        given is read from ``zookeeper:PROFILE``, or ``zookeeper``, in the configuration.

    Returns the path of what was created. Raises ``CommandExecutionError`` when the znode exists, and when its
    parent does not.

    CLI Example:

    .. code-block:: bash

        salt minion zookeeper.create /test/name daniel profile=prod
        salt minion zookeeper.create /test/a/b value makepath=True acls='[{username: a, password: b, allperms: true}]'
    """
    with salt_errors():
        return znode.create(
            path,
            value=value,
            acls=acls,
            ephemeral=ephemeral,
            sequence=sequence,
            makepath=makepath,
            **_connection(profile, hosts, scheme, username, password, default_acl, **security),
        )


def ensure_path(
    path, acls=None, profile=None, hosts=None, scheme=None, username=None, password=None, default_acl=None, **security
):
    """
    Create a znode without data, and its parents, unless it exists.

    path
        The znode.

    acls
        ACL of what is created. Default: ``default_acl``. What exists keeps its own.

    profile, hosts, scheme, username, password, default_acl, security
        Where, as whom, and what a created znode permits: as for all functions here, see the manual. What is not
        given is read from ``zookeeper:PROFILE``, or ``zookeeper``, in the configuration.

    Returns ``True``.

    CLI Example:

    .. code-block:: bash

        salt minion zookeeper.ensure_path /test/name profile=prod
    """
    with salt_errors():
        connection = _connection(profile, hosts, scheme, username, password, default_acl, **security)
        if acls:
            znode.digest_acl(acls)  # refuses what is wrong, also where nothing has to be created
        # To create first would ask for more than is needed: the permission to create in the parent.
        if not znode.exists(path, **connection):
            with suppress(NodeExists):
                znode.create(path, acls=acls, makepath=True, **connection)
    return True


def exists(path, profile=None, hosts=None, scheme=None, username=None, password=None, default_acl=None, **security):
    """
    Tell whether a znode exists.

    path
        The znode.

    profile, hosts, scheme, username, password, default_acl, security
        Where, and as whom. What is not given is read from ``zookeeper:PROFILE``, or ``zookeeper``.

    Returns ``True`` or ``False``; the exit code is 0 for both.

    CLI Example:

    .. code-block:: bash

        salt minion zookeeper.exists /test/name profile=prod
    """
    with salt_errors():
        return znode.exists(path, **_connection(profile, hosts, scheme, username, password, default_acl, **security))


def get(path, profile=None, hosts=None, scheme=None, username=None, password=None, default_acl=None, **security):
    """
    Read the data of a znode.

    path
        The znode.

    profile, hosts, scheme, username, password, default_acl, security
        Where, and as whom. What is not given is read from ``zookeeper:PROFILE``, or ``zookeeper``.

    Returns text; what is not UTF-8 is shown with replacement characters. Raises ``CommandExecutionError`` when
    there is no such znode.

    CLI Example:

    .. code-block:: bash

        salt minion zookeeper.get /test/name profile=prod
    """
    with salt_errors():
        data = znode.get(path, **_connection(profile, hosts, scheme, username, password, default_acl, **security))
    return data.decode(errors="replace")


def get_children(
    path, profile=None, hosts=None, scheme=None, username=None, password=None, default_acl=None, **security
):
    """
    List the names of a znode's children.

    path
        The znode.

    profile, hosts, scheme, username, password, default_acl, security
        Where, and as whom. What is not given is read from ``zookeeper:PROFILE``, or ``zookeeper``.

    Returns a list, in no promised order. Raises ``CommandExecutionError`` when there is no such znode.

    CLI Example:

    .. code-block:: bash

        salt minion zookeeper.get_children /test profile=prod
    """
    with salt_errors():
        return znode.children(path, **_connection(profile, hosts, scheme, username, password, default_acl, **security))


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
        The version at which the data must be; ``-1`` for any.

    profile, hosts, scheme, username, password, default_acl, security
        Where, and as whom. What is not given is read from ``zookeeper:PROFILE``, or ``zookeeper``.

    Returns the znode's stat after that: czxid, mzxid, ctime, mtime, version, cversion, aversion,
    ephemeralOwner, dataLength, numChildren and pzxid. Raises ``CommandExecutionError`` when there is no such
    znode, and when it is at another version.

    CLI Example:

    .. code-block:: bash

        salt minion zookeeper.set /test/name gtmanfred profile=prod
        salt minion zookeeper.set /test/name gtmanfred version=3
    """
    with salt_errors():
        connection = _connection(profile, hosts, scheme, username, password, default_acl, **security)
        return ZnodeStat(*znode.set(path, value, version=version, **connection))


def get_acls(path, profile=None, hosts=None, scheme=None, username=None, password=None, default_acl=None, **security):
    """
    Read the ACL of a znode.

    path
        The znode.

    profile, hosts, scheme, username, password, default_acl, security
        Where, and as whom. What is not given is read from ``zookeeper:PROFILE``, or ``zookeeper``.

    Returns a list of entries, as ``make_digest_acl`` does one. To a user without the ``admin`` permission the
    servers show ``x`` for every digest. Raises ``CommandExecutionError`` when there is no such znode.

    CLI Example:

    .. code-block:: bash

        salt minion zookeeper.get_acls /test/name profile=prod
    """
    with salt_errors():
        entries = znode.get_acls(
            path, **_connection(profile, hosts, scheme, username, password, default_acl, **security)
        )
    return [_acl(entry) for entry in entries]


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

    profile, hosts, scheme, username, password, default_acl, security
        Where, and as whom. What is not given is read from ``zookeeper:PROFILE``, or ``zookeeper``.

    Returns the znode's stat, as ``set`` does. Raises ``CommandExecutionError`` when there is no such znode, and
    when its ACL is at another version.

    CLI Example:

    .. code-block:: bash

        salt minion zookeeper.set_acls /test/name acls='[{username: a, password: b, allperms: true}]' profile=prod
    """
    with salt_errors():
        connection = _connection(profile, hosts, scheme, username, password, default_acl, **security)
        return ZnodeStat(*znode.set_acls(path, acls, version=version, **connection))


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
        The version at which its data must be; ``-1`` for any.

    recursive
        Delete all that is below it, too.

    profile, hosts, scheme, username, password, default_acl, security
        Where, and as whom. What is not given is read from ``zookeeper:PROFILE``, or ``zookeeper``.

    Returns ``True``. Raises ``CommandExecutionError`` when there is no such znode, when it is at another
    version, and when it has children and ``recursive`` is not given.

    CLI Example:

    .. code-block:: bash

        salt minion zookeeper.delete /test/name profile=prod
        salt minion zookeeper.delete /test recursive=True
    """
    with salt_errors():
        connection = _connection(profile, hosts, scheme, username, password, default_acl, **security)
        znode.delete(path, version=version, recursive=recursive, **connection)
    return True


def make_digest_acl(
    username, password, read=False, write=False, create=False, delete=False, admin=False, allperms=False
):
    """
    Compute an entry of an ACL, as ``get_acls`` returns them. Asks no server.

    username
        The user.

    password
        The user's password. It ends up in the master's job cache.

    read, write, create, delete, admin
        What the user may do: ``True`` or ``False``.

    allperms
        ``True``: all of it.

    Returns the permissions' sum (read 1, write 2, create 4, delete 8, admin 16), and the scheme and the id: the
    user's name and a digest of the password.

    CLI Example:

    .. code-block:: bash

        salt minion zookeeper.make_digest_acl username=daniel password=mypass allperms=True
    """
    permissions = {"read": read, "write": write, "create": create, "delete": delete, "admin": admin}
    with salt_errors():
        who = {"username": username, "password": password}
        return _acl(znode.digest_acl({**who, **permissions, "allperms": allperms}))


def make_acl(scheme, perms, id=None):
    """
    Compute an entry of an ACL, as ``get_acls`` returns them. Asks no server.

    scheme
        ``world``, ``digest``, ``ip``, or what else the servers know, such as ``sasl`` and ``x509``.

    perms
        Letters of ``cdrwa`` (create, delete, read, write, admin), or ``all``.

    id
        Who it is, as the scheme has it: for ``digest`` what ``make_digest_acl`` computes. ``world`` needs none.

    Returns the permissions' sum, the scheme and the id.

    CLI Example:

    .. code-block:: bash

        salt minion zookeeper.make_acl ip rw id=10.0.0.0/8
    """
    with salt_errors():
        return _acl(znode.digest_acl({"scheme": scheme, "id": id, "perms": perms}))


def _connection(profile, hosts, scheme, username, password, default_acl, **security):
    """
    Name the arguments of a connection as the core does, and say how it fits into Salt.
    """
    return {
        "profile": profile,
        "zk_hosts": hosts,
        "scheme": scheme,
        "username": username,
        "password": password,
        "default_acl": default_acl,
        **clean_kwargs(**security),
        "config_get": config.of_minion(__salt__, __opts__, __grains__, __pillar__),
        "raise_on_signal": True,
    }


def _acl(entry):
    perms, (scheme, identity) = entry
    return ACL(perms, Id(scheme, identity))
