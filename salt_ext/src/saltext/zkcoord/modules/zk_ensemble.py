"""
The servers themselves: who leads, who is in, who lags, and changing that
=========================================================================

For those who run ZooKeeper. The functions are those of Charmed ZooKeeper's library, and ``status``.

:depends: zkcoord
:configuration: As that of the execution module ``zk_concurrency``, which is described there; and ``admin_port``, the
    port of the servers' AdminServers, beside ``hosts``.

A *member* is a line of the ensemble's configuration: ``server.4=zk4:2888:3888:participant;2181``. The last number is
the port for clients; ``observer`` is the other role. Whoever changes members must be one who may write
``/zookeeper/config``: by default that is the servers' super user alone. The servers must have ``reconfigEnabled=true``.

No step is sent that the ensemble would not survive: one after which those that are up and in sync are no quorum, one
that takes an id or an address twice, one that adds a server which does not serve yet, and a second step before the
first is in sync. Which servers are asked for a four-letter word that they do not answer, their AdminServers answer.
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
    Ask every server what it is: one row a server, whether it answers or not.

    Returns a dict: ``servers``, each with ``id``, ``address``, ``member`` (its line), ``role``, ``mode``, ``in_sync``,
    ``version``, ``zxid``, ``behind`` (transactions behind the leader, at least), ``connections``, ``latency``
    (milliseconds: least/mean/most), ``since`` (when it started), ``configuration`` (the version that it has),
    ``words`` (which way each was answered) and ``trouble`` (why it does not answer, or is not in sync); ``leader``, its
    id; ``config`` and ``config_version``, or ``trouble``; ``has_quorum``; ``critical``, the members that no quorum can
    do without now.

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

    Returns the server, ``host:port``. Raises ``CommandExecutionError`` where none of those that are named leads.

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

    Returns the first of them, ``host:port``.

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

    Returns its version, a number.

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
    Tell which version of ZooKeeper the leader is.

    Returns it, such as ``3.8.0``.

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
    Tell whether any of the servers that are named is being brought up to date: it runs, and does not serve yet. One of
    them must lead.

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
    Tell whether the servers that are named are up, and in sync with an ensemble. One that stands alone is not.

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

    Returns a dict of each server's fields, ``source`` among them: ``4lw`` or ``admin``; or its ``error``.

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
        A line, or a list of them. The servers run already, with all members and themselves in their lists. On a
        command line it is given by name: Salt would take the line itself for a keyword.

    only_decide
        Say what would become of it, and change nothing.

    Returns a dict: ``changed``, whether anything was not like that before; ``members`` and ``version`` after it. Raises
    ``CommandExecutionError`` when a server does not serve yet, and for each step that is refused.

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
        A line, ``server.4``, or an id; or a list of them. One that is no member is passed over. A line whose id another
        server has is refused.

    only_decide
        Say what would become of it, and change nothing.

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
    List a znode and all below it, as the leader knows them; not ZooKeeper's own.

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
        What it permits. Default: ``default_acl``.

    Returns ``True``. Raises ``CommandExecutionError`` when it exists.

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
    Change what a znode permits.

    path
        The znode.

    acls
        Its whole ACL.

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
    Delete a znode and all below it. One that does not exist is fine.

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
    Tell what a znode permits.

    path
        The znode.

    Returns its entries, each permissions, and scheme and id.

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
    Wait until members are in sync, and get on with the leader: the gate between two restarts.

    ids
        The ids of those that are waited for. Default: all members. An id that is no member's is waited for, too.

    Returns a dict as ``add_members`` does. Raises ``CommandExecutionError`` when they are not in time.

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
