"""
The servers themselves: who leads, who is in, who lags, and changing that
=========================================================================

For those who run ZooKeeper. The functions are those of Charmed ZooKeeper's library, and ``status``.

:depends: zkcoord
:configuration: As that of the execution module ``zk_concurrency``, which is described there; and ``admin_port``, the
    port of the servers' AdminServers, beside ``hosts``.

A *member* is a line of the ensemble's configuration: ``server.4=zk4:2888:3888:participant;2181``. The last number is
the port for clients; ``observer`` is the other role. Whoever changes members needs the permission to write
``/zookeeper/config``, which by default the servers' super user alone has. The servers need ``reconfigEnabled=true``.

No step is sent that the ensemble would not survive. Such a step would leave no quorum of members that are up and in
sync, or take an id or an address twice, or add a server that does not serve yet, or come before the members are in sync
after the step before it. Where a server does not answer a four-letter word, its AdminServer is asked.
"""

from saltext.zkcoord.utils import config as configuration
from saltext.zkcoord.utils.documented import documented

try:
    from saltext.zkcoord.utils.ensemble import EnsembleClient
except ImportError as err:
    _missing = f"zkcoord, its native core, cannot be imported ({err}); Salt's own Python needs the package"
else:
    _missing = None

__virtualname__ = "zk_ensemble"


def __virtual__():
    return __virtualname__ if _missing is None else (False, _missing)


# The connection's arguments are the same everywhere, and take two lines.
# fmt: off
@documented("timeout", "admin", "connection", errors="read")
def status(
    zk_hosts=None, profile=None, scheme=None, username=None, password=None, default_acl=None,
    timeout=None, admin_port=None, **security,
):
    """
    Ask every server what it is. Each server has one row, whether it answers or not.

    Returns a dict. ``servers`` is the list of rows, each with ``id``, ``address``, ``member`` (its line), ``role``,
    ``mode``, ``in_sync``, ``version``, ``zxid``, ``behind`` (by how many transactions it is behind the leader, at
    least), ``connections``, ``latency`` (milliseconds: least/mean/most), ``since`` (when it started), ``configuration``
    (the version that it has), ``words`` (by which way it has answered each four-letter word) and ``trouble`` (why it
    does not answer, or is not in sync). ``leader`` is an id. ``config`` and ``config_version`` are the configuration,
    or ``trouble`` says why it could not be read. ``has_quorum`` tells whether the members that are in sync are a
    quorum, and ``critical`` lists the members without any one of which there would be none.

    CLI Example:

    .. code-block:: bash

        salt minion zk_ensemble.status
        salt minion zk_ensemble.status profile=prod
    """
    client = _client(admin_port, timeout, zk_hosts, profile, scheme, username, password, default_acl, **security)
    return client.status()


@documented("timeout", "admin", "connection", errors="read")
def get_leader(
    zk_hosts=None, profile=None, scheme=None, username=None, password=None, default_acl=None,
    timeout=None, admin_port=None, **security,
):
    """
    Find the server that leads. An election is waited for, three seconds at most.

    Returns the server, ``host:port``. Raises ``CommandExecutionError`` where none of the servers that are named leads.

    CLI Example:

    .. code-block:: bash

        salt minion zk_ensemble.get_leader profile=prod
    """
    client = _client(admin_port, timeout, zk_hosts, profile, scheme, username, password, default_acl, **security)
    return client.leader()


@documented("timeout", "admin", "connection", errors="read")
def get_any_unit(
    zk_hosts=None, profile=None, scheme=None, username=None, password=None, default_acl=None,
    timeout=None, admin_port=None, **security,
):
    """
    Find a server that serves.

    Returns the first server that serves, ``host:port``.

    CLI Example:

    .. code-block:: bash

        salt minion zk_ensemble.get_any_unit profile=prod
    """
    client = _client(admin_port, timeout, zk_hosts, profile, scheme, username, password, default_acl, **security)
    return client.any_unit()


@documented("timeout", "admin", "connection", errors="read")
def server_members(
    zk_hosts=None, profile=None, scheme=None, username=None, password=None, default_acl=None,
    timeout=None, admin_port=None, **security,
):
    """
    List the members of the ensemble.

    Returns their lines, sorted.

    CLI Example:

    .. code-block:: bash

        salt minion zk_ensemble.server_members profile=prod
    """
    client = _client(admin_port, timeout, zk_hosts, profile, scheme, username, password, default_acl, **security)
    return sorted(line for line in client.config()[0] if line.startswith("server."))


@documented("timeout", "admin", "connection", errors="read")
def config(
    zk_hosts=None, profile=None, scheme=None, username=None, password=None, default_acl=None,
    timeout=None, admin_port=None, **security,
):
    """
    Read the ensemble's configuration, as new as the leader's state.

    Returns its lines: members, and groups and weights of voters where there are any.

    CLI Example:

    .. code-block:: bash

        salt minion zk_ensemble.config profile=prod
    """
    client = _client(admin_port, timeout, zk_hosts, profile, scheme, username, password, default_acl, **security)
    return client.config()[0]


@documented("timeout", "admin", "connection", errors="read")
def config_version(
    zk_hosts=None, profile=None, scheme=None, username=None, password=None, default_acl=None,
    timeout=None, admin_port=None, **security,
):
    """
    Tell which change made the ensemble's configuration.

    Returns the version of the configuration, a number: the zxid of that change.

    CLI Example:

    .. code-block:: bash

        salt minion zk_ensemble.config_version profile=prod
    """
    client = _client(admin_port, timeout, zk_hosts, profile, scheme, username, password, default_acl, **security)
    return client.config()[1]


@documented("timeout", "admin", "connection", errors="read")
def get_version(
    zk_hosts=None, profile=None, scheme=None, username=None, password=None, default_acl=None,
    timeout=None, admin_port=None, **security,
):
    """
    Tell which version of ZooKeeper the leader runs.

    Returns the version, such as ``3.8.0``.

    CLI Example:

    .. code-block:: bash

        salt minion zk_ensemble.get_version profile=prod
    """
    client = _client(admin_port, timeout, zk_hosts, profile, scheme, username, password, default_acl, **security)
    return client.of_leader()["Zookeeper version"].split(",")[0].split("-")[0]


@documented("timeout", "admin", "connection", errors="read")
def members_syncing(
    zk_hosts=None, profile=None, scheme=None, username=None, password=None, default_acl=None,
    timeout=None, admin_port=None, **security,
):
    """
    Tell whether any server that is named runs and does not serve yet, since it is being brought up to date. One of the
    servers that are named must lead.

    Returns ``True`` or ``False``.

    CLI Example:

    .. code-block:: bash

        salt minion zk_ensemble.members_syncing profile=prod
    """
    client = _client(admin_port, timeout, zk_hosts, profile, scheme, username, password, default_acl, **security)
    return client.is_syncing()


@documented("timeout", "admin", "connection", errors="read")
def members_broadcasting(
    zk_hosts=None, profile=None, scheme=None, username=None, password=None, default_acl=None,
    timeout=None, admin_port=None, **security,
):
    """
    Tell whether all members, and all servers that are named, are up and in sync.

    Returns ``True`` or ``False``.

    CLI Example:

    .. code-block:: bash

        salt minion zk_ensemble.members_broadcasting profile=prod
    """
    client = _client(admin_port, timeout, zk_hosts, profile, scheme, username, password, default_acl, **security)
    return all(row["in_sync"] for row in client.status()["servers"])


@documented("timeout", "admin", "connection", errors="read")
def is_ready(
    zk_hosts=None, profile=None, scheme=None, username=None, password=None, default_acl=None,
    timeout=None, admin_port=None, **security,
):
    """
    Tell whether all servers that are named are up, and in sync with an ensemble. A server that stands alone is not.

    Returns ``True`` or ``False``.

    CLI Example:

    .. code-block:: bash

        salt minion zk_ensemble.is_ready 127.0.0.1:2181
        salt minion zk_ensemble.is_ready profile=prod
    """
    client = _client(admin_port, timeout, zk_hosts, profile, scheme, username, password, default_acl, **security)
    return client.is_ready()


@documented("timeout", "admin", "connection", errors="read")
def srvr(
    zk_hosts=None, profile=None, scheme=None, username=None, password=None, default_acl=None,
    timeout=None, admin_port=None, **security,
):
    """
    Ask the servers that are named for ``srvr``.

    Returns a dict by server. Each has the fields of its answer and the ``source`` (``4lw`` or ``admin``), or an
    ``error``.

    CLI Example:

    .. code-block:: bash

        salt minion zk_ensemble.srvr 127.0.0.1:2181
        salt minion zk_ensemble.srvr profile=prod
    """
    client = _client(admin_port, timeout, zk_hosts, profile, scheme, username, password, default_acl, **security)
    return client.ask("srvr")


@documented("timeout", "admin", "connection", errors="read")
def mntr(
    zk_hosts=None, profile=None, scheme=None, username=None, password=None, default_acl=None,
    timeout=None, admin_port=None, **security,
):
    """
    Ask the servers that are named for ``mntr``.

    Returns a dict as ``srvr`` does.

    CLI Example:

    .. code-block:: bash

        salt minion zk_ensemble.mntr 127.0.0.1:2181
        salt minion zk_ensemble.mntr profile=prod admin_port=8080
    """
    client = _client(admin_port, timeout, zk_hosts, profile, scheme, username, password, default_acl, **security)
    return client.ask("mntr")


@documented("timeout", "admin", "connection", errors="write")
def add_members(
    members, zk_hosts=None, profile=None, scheme=None, username=None, password=None, default_acl=None,
    timeout=None, admin_port=None, only_decide=False, **security,
):
    """
    Add servers to the ensemble, one at a time, each once those before it are in sync.

    members
        A server's line, or a list of lines. Each server must run already, with all members and itself in its list. On a
        command line, write ``members='LINE'``: Salt would take the line alone for a keyword.

    only_decide
        ``True``: say what would become of the call, and change nothing.

    Returns a dict: ``changed``, whether anything was not like that before; ``members`` and ``version`` after it. Raises
    ``CommandExecutionError`` when a server does not serve yet, and when a step is refused.

    CLI Example:

    .. code-block:: bash

        salt minion zk_ensemble.add_members members='server.4=zk4:2888:3888:participant;2181' profile=prod
    """
    client = _client(admin_port, timeout, zk_hosts, profile, scheme, username, password, default_acl, **security)
    return client.change("add_member", members, only_decide)


@documented("timeout", "admin", "connection", errors="write")
def remove_members(
    members, zk_hosts=None, profile=None, scheme=None, username=None, password=None, default_acl=None,
    timeout=None, admin_port=None, only_decide=False, **security,
):
    """
    Remove servers from the ensemble, one at a time, each once the others are in sync.

    members
        A server's line, ``server.4``, or an id; or a list of these. A server that is no member is passed over. A line
        whose id another server has is refused.

    only_decide
        ``True``: say what would become of the call, and change nothing.

    Returns a dict as ``add_members`` does. The servers themselves run on, without a vote, until somebody stops them.

    CLI Example:

    .. code-block:: bash

        salt minion zk_ensemble.remove_members 4 profile=prod
        salt minion zk_ensemble.remove_members '[3, 4]' profile=prod timeout=60
    """
    client = _client(admin_port, timeout, zk_hosts, profile, scheme, username, password, default_acl, **security)
    return client.change("remove_member", members, only_decide)


@documented("timeout", "admin", "connection", errors="read")
def leader_znodes(
    path, zk_hosts=None, profile=None, scheme=None, username=None, password=None, default_acl=None,
    timeout=None, admin_port=None, **security,
):
    """
    List a znode and all znodes below it, as the leader knows them. ZooKeeper's own znodes are left out.

    path
        The znode.

    Returns the paths, sorted. Raises ``CommandExecutionError`` when the znode does not exist.

    CLI Example:

    .. code-block:: bash

        salt minion zk_ensemble.leader_znodes /app profile=prod
    """
    client = _client(admin_port, timeout, zk_hosts, profile, scheme, username, password, default_acl, **security)
    return client.tree(path)


@documented("timeout", "admin", "connection", errors="write", creates=True)
def create_znode_leader(
    path, acls=None, zk_hosts=None, profile=None, scheme=None, username=None, password=None, default_acl=None,
    timeout=None, admin_port=None, **security,
):
    """
    Create a znode, and its parents where they are missing.

    path
        The znode.

    acls
        The znode's ACL. Default: ``default_acl``.

    Returns ``True``. Raises ``CommandExecutionError`` when the znode exists.

    CLI Example:

    .. code-block:: bash

        salt minion zk_ensemble.create_znode_leader /app profile=prod
        salt minion zk_ensemble.create_znode_leader /app acls='[{username: a, password: b, allperms: true}]'
    """
    client = _client(admin_port, timeout, zk_hosts, profile, scheme, username, password, default_acl, **security)
    return bool(client.on_znode("create", path, acls=acls, makepath=True))


@documented("timeout", "admin", "connection", errors="write")
def set_acls_znode_leader(
    path,
    acls, zk_hosts=None, profile=None, scheme=None, username=None, password=None, default_acl=None,
    timeout=None, admin_port=None, **security,
):
    """
    Change the ACL of a znode.

    path
        The znode.

    acls
        The whole ACL: what is not in it is no longer permitted.

    Returns ``True``.

    CLI Example:

    .. code-block:: bash

        salt minion zk_ensemble.set_acls_znode_leader /app '[{scheme: sasl, id: app, perms: all}]' profile=prod
    """
    client = _client(admin_port, timeout, zk_hosts, profile, scheme, username, password, default_acl, **security)
    return bool(client.on_znode("set_acls", path, acls))


@documented("timeout", "admin", "connection", errors="write")
def delete_znode_leader(
    path, zk_hosts=None, profile=None, scheme=None, username=None, password=None, default_acl=None,
    timeout=None, admin_port=None, **security,
):
    """
    Delete a znode and all znodes below it. A znode that does not exist is no error.

    path
        The znode.

    Returns ``True``.

    CLI Example:

    .. code-block:: bash

        salt minion zk_ensemble.delete_znode_leader /app profile=prod
    """
    client = _client(admin_port, timeout, zk_hosts, profile, scheme, username, password, default_acl, **security)
    return client.on_znode("delete", path, recursive=True) is None


@documented("timeout", "admin", "connection", errors="read")
def get_acls(
    path, zk_hosts=None, profile=None, scheme=None, username=None, password=None, default_acl=None,
    timeout=None, admin_port=None, **security,
):
    """
    Read the ACL of a znode.

    path
        The znode.

    Returns its entries. Each is the sum of the permissions, and the scheme with the id.

    CLI Example:

    .. code-block:: bash

        salt minion zk_ensemble.get_acls /app profile=prod
    """
    client = _client(admin_port, timeout, zk_hosts, profile, scheme, username, password, default_acl, **security)
    return client.on_znode("get_acls", path)


@documented("timeout", "admin", "connection", errors="write")
def wait_synced(
    ids=None, zk_hosts=None, profile=None, scheme=None, username=None, password=None, default_acl=None,
    timeout=None, admin_port=None, **security,
):
    """
    Wait until members are in sync, and know what the leader knew a moment before: the gate between two restarts.

    ids
        The ids of the members that are waited for. Default: all members. An id that no member has is waited for, too.

    Returns a dict as ``add_members`` does. Raises ``CommandExecutionError`` when they are not in sync in time.

    CLI Example:

    .. code-block:: bash

        salt minion zk_ensemble.wait_synced profile=prod timeout=120
        salt minion zk_ensemble.wait_synced '[1, 2]' profile=prod timeout=120
    """
    client = _client(admin_port, timeout, zk_hosts, profile, scheme, username, password, default_acl, **security)
    return client.wait_synced(ids)


# fmt: on
def _client(admin_port, timeout, *connection, **security):
    found = configuration.of_minion(__opts__, __grains__, __pillar__)
    return EnsembleClient(__salt__, __opts__, found, admin_port, timeout, *connection, **security)
