"""
What a Ganeti cluster knows of itself
=====================================

Ask the master candidates of a Ganeti cluster through their ganeti-confd, and know whether the answer can be trusted.
These functions read, and change nothing. They need the cluster's key, but neither Ganeti's libraries nor a node of the
cluster.

:depends: zkcoord
:configuration: In the minion configuration, the grains or the pillar; for all calls, or for those with
    ``profile=prod``. An explicit argument wins over the configuration. A node of the cluster needs none: it has the
    candidates' addresses and the key.

    .. code-block:: yaml

        ganeti_confd:
          peers: [192.0.2.11, 192.0.2.12, 192.0.2.13]   # default: the node's ssconf_master_candidates_ips
          hmac_key_file: /etc/salt/hmac.key             # default: /var/lib/ganeti/hmac.key
          port: 1814                                    # default: ganeti-confd's in /etc/services, or 1814
          coverage: -1                                  # how many are asked: default 0, six of them; -1 is all
          timeout: 5                                    # seconds, default 10
          grains: true                                  # default false: the grain ``ganeti``
          node: node3.example.com                       # this node's name in the cluster, default its full host name
          prod:
            peers: [198.51.100.11, 198.51.100.12]
            hmac_key: 0e3f6c...                         # 40 digits, in place of a file

A *candidate* has a copy of the cluster's configuration, which may be an old one. So several candidates are asked, and
once enough have replied the newest reply is the answer. Too few replies are an error, unless ``require_quorum`` is
``False``. Candidates that contradict each other are an error, unless ``require_consistent`` is ``False``. The key is in
no log, no argument and no event.
"""

from saltext.zkcoord.utils import config
from saltext.zkcoord.utils.documented import documented

try:
    from saltext.zkcoord.utils.confd import ROOT, Asker
except ImportError as err:
    _missing = f"zkcoord, its native core, cannot be imported ({err}); Salt's own Python needs the package"
else:
    _missing = None

__virtualname__ = "ganeti_confd"


def __virtual__():
    return __virtualname__ if _missing is None else (False, _missing)


@documented("asking", errors="asking")
def ping(profile=None, coverage=None, replies=None, timeout=None, require_quorum=True, require_consistent=True):
    """
    Tell which version of the configuration the candidates have. An answer shows that they are there.

    Returns the version, such as 3000000.

    CLI Example:

    .. code-block:: bash

        salt minion ganeti_confd.ping
        salt minion ganeti_confd.ping profile=prod coverage=-1 replies=-1
    """
    return _asker(profile, coverage, replies, timeout, require_quorum, require_consistent).call("ping")


@documented("asking", errors="asking")
def cluster_master(
    fields=None,
    profile=None,
    coverage=None,
    replies=None,
    timeout=None,
    require_quorum=True,
    require_consistent=True,
):
    """
    Tell which node is the master.

    fields
        What to return in place of the name: a list of ``name``, ``ip`` (the cluster's address) and ``mnode_pip`` (the
        master's primary address).

    Returns the name of the master node, or a list with the ``fields`` that were asked for.

    CLI Example:

    .. code-block:: bash

        salt minion ganeti_confd.cluster_master
        salt minion ganeti_confd.cluster_master '[name, mnode_pip]' profile=prod
    """
    asker = _asker(profile, coverage, replies, timeout, require_quorum, require_consistent)
    return asker.master(fields)


@documented("asking", errors="asking")
def node_role_by_name(
    name,
    profile=None,
    coverage=None,
    replies=None,
    timeout=None,
    require_quorum=True,
    require_consistent=True,
):
    """
    Tell which role a node has in its cluster.

    name
        The node's name, in full or up to a dot, or its UUID. The candidates call the master a candidate where it is not
        named in full. So where they answer ``candidate``, they are asked who the master is as well.

    Returns ``master``, ``candidate``, ``offline``, ``drained`` or ``regular``.

    CLI Example:

    .. code-block:: bash

        salt minion ganeti_confd.node_role_by_name node3.example.com
    """
    asker = _asker(profile, coverage, replies, timeout, require_quorum, require_consistent)
    return asker.call("node_role_by_name", name)


@documented("asking", errors="asking")
def node_pip_by_instance_ip(
    ip,
    link=None,
    profile=None,
    coverage=None,
    replies=None,
    timeout=None,
    require_quorum=True,
    require_consistent=True,
):
    """
    Tell on which node the instance with an address runs.

    ip
        The instance's address, or a list of them.

    link
        The link that the address is on. Default: the cluster's default link.

    Returns the node's primary address. For a list of addresses, it returns a dict of the nodes' primary addresses by
    the instances' addresses, with ``None`` for an address that is unknown.

    CLI Example:

    .. code-block:: bash

        salt minion ganeti_confd.node_pip_by_instance_ip 198.51.100.1
        salt minion ganeti_confd.node_pip_by_instance_ip '[198.51.100.1, 198.51.100.2]' link=br1
    """
    asker = _asker(profile, coverage, replies, timeout, require_quorum, require_consistent)
    return asker.call("node_pip_by_instance_ip", ip, link)


@documented("asking", errors="asking")
def node_pip_list(
    profile=None, coverage=None, replies=None, timeout=None, require_quorum=True, require_consistent=True
):
    """
    List the primary addresses of all nodes.

    Returns a list, in no order.

    CLI Example:

    .. code-block:: bash

        salt minion ganeti_confd.node_pip_list
    """
    return _asker(profile, coverage, replies, timeout, require_quorum, require_consistent).call("node_pip_list")


@documented("asking", errors="asking")
def mc_pip_list(profile=None, coverage=None, replies=None, timeout=None, require_quorum=True, require_consistent=True):
    """
    List the primary addresses of the master candidates.

    Returns a list, in no order.

    CLI Example:

    .. code-block:: bash

        salt minion ganeti_confd.mc_pip_list
    """
    return _asker(profile, coverage, replies, timeout, require_quorum, require_consistent).call("mc_pip_list")


@documented("asking", errors="asking")
def instances_ips_list(
    link=None,
    profile=None,
    coverage=None,
    replies=None,
    timeout=None,
    require_quorum=True,
    require_consistent=True,
):
    """
    List the addresses of the instances on a link.

    link
        The link. Default: the cluster's default link. A link that does not exist has no addresses.

    Returns a list.

    CLI Example:

    .. code-block:: bash

        salt minion ganeti_confd.instances_ips_list
        salt minion ganeti_confd.instances_ips_list br1
    """
    asker = _asker(profile, coverage, replies, timeout, require_quorum, require_consistent)
    return asker.call("instances_ips_list", link)


@documented("asking", errors="asking")
def node_drbd(
    node,
    profile=None,
    coverage=None,
    replies=None,
    timeout=None,
    require_quorum=True,
    require_consistent=True,
):
    """
    List the DRBD devices of a node.

    node
        The node's name.

    Returns a list of dicts: ``node``, ``minor``, ``instance``, ``disk``, ``role`` and ``peer``.

    CLI Example:

    .. code-block:: bash

        salt minion ganeti_confd.node_drbd node3.example.com
    """
    asker = _asker(profile, coverage, replies, timeout, require_quorum, require_consistent)
    return asker.call("node_drbd", node)


@documented("secrets", "asking", errors="asking")
def node_instances(
    node,
    secrets=False,
    profile=None,
    coverage=None,
    replies=None,
    timeout=None,
    require_quorum=True,
    require_consistent=True,
):
    """
    List the instances of a node.

    node
        The node's name.

    Returns a dict: ``primary`` and ``secondary``, each a list of instances as Ganeti's configuration has them.

    CLI Example:

    .. code-block:: bash

        salt minion ganeti_confd.node_instances node3.example.com
    """
    asker = _asker(profile, coverage, replies, timeout, require_quorum, require_consistent)
    return asker.call("node_instances", node, secrets=secrets)


@documented("secrets", "asking", errors="asking")
def instance_disks(
    instance,
    secrets=False,
    profile=None,
    coverage=None,
    replies=None,
    timeout=None,
    require_quorum=True,
    require_consistent=True,
):
    """
    List the disks of an instance.

    instance
        The instance's name, or its UUID.

    Returns a list of disks as Ganeti's configuration has them.

    CLI Example:

    .. code-block:: bash

        salt minion ganeti_confd.instance_disks web1.example.com
    """
    asker = _asker(profile, coverage, replies, timeout, require_quorum, require_consistent)
    return asker.call("instance_disks", instance, secrets=secrets)


@documented("secrets", "asking", errors="asking")
def config_query(
    path,
    secrets=False,
    profile=None,
    coverage=None,
    replies=None,
    timeout=None,
    require_quorum=True,
    require_consistent=True,
):
    """
    Read a part of the cluster's configuration.

    path
        Which part: a JSON pointer, which begins with a slash. A secret is shown where the pointer leads right to it,
        whatever ``secrets`` says.

    Returns whatever is there.

    CLI Example:

    .. code-block:: bash

        salt minion ganeti_confd.config_query /cluster/cluster_name
    """
    asker = _asker(profile, coverage, replies, timeout, require_quorum, require_consistent)
    return asker.call("config_query", path, secrets=secrets)


@documented("asking", errors="asking")
def data_collectors(
    profile=None, coverage=None, replies=None, timeout=None, require_quorum=True, require_consistent=True
):
    """
    List Ganeti's data collectors.

    Returns a dict by the collectors' names. Each has ``active`` and ``interval`` (seconds).

    CLI Example:

    .. code-block:: bash

        salt minion ganeti_confd.data_collectors
    """
    asker = _asker(profile, coverage, replies, timeout, require_quorum, require_consistent)
    return asker.call("data_collectors")


@documented("secrets", "asking", errors="asking")
def query(
    type,
    query=None,
    secrets=False,
    profile=None,
    coverage=None,
    replies=None,
    timeout=None,
    require_quorum=True,
    require_consistent=True,
):
    """
    Ask any question, and see what each candidate replies.

    type
        The type of the request: its name, which is that of one of the other functions, or its number.

    query
        What is asked for: a text, a dict, or nothing. It depends on the type.

    Returns a dict: ``answer``, ``status`` (0 is an answer, 1 an error), ``serial``, ``consistent``, ``asked``,
    ``replied``, ``needed``, ``timed_out``, and ``by_peer``, the reply of each candidate. Where there is no such entry,
    this function raises nothing: the answer then has the status 1.

    CLI Example:

    .. code-block:: bash

        salt minion ganeti_confd.query cluster_master coverage=-1 replies=-1
        salt minion ganeti_confd.query node_pip_by_instance_ip '{"1": 198.51.100.1}'
    """
    asker = _asker(profile, coverage, replies, timeout, require_quorum, require_consistent)
    return asker.everything(type, query, secrets)


def _asker(profile, coverage, replies, timeout, require_quorum, require_consistent):
    how = {"coverage": coverage, "replies": replies, "timeout": timeout}
    trust = {"require_quorum": require_quorum, "require_consistent": require_consistent}
    return Asker(config.of_minion(__opts__, __grains__, __pillar__, ROOT), profile, **how, **trust)
