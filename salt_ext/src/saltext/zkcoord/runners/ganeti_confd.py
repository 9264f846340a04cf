"""
What a Ganeti cluster knows of itself, from the master
======================================================

For orchestrations, and for whoever wants to see which candidate has an old configuration: the functions of the
execution module ``ganeti_confd``, and ``peers``. Arguments and answers are the same.

:depends: zkcoord
:configuration: In the master's configuration, as the execution module's is in the minion's. What minions have in
    their configuration, grains and pillar is not seen here.

    .. code-block:: yaml

        ganeti_confd:
          peers: [192.0.2.11, 192.0.2.12, 192.0.2.13]
          hmac_key_file: /etc/salt/hmac.key

Whatever goes wrong is one line, and the exit code of ``salt-run`` is 1.
"""

import functools

from saltext.zkcoord.modules import ganeti_confd as module
from saltext.zkcoord.utils import config
from saltext.zkcoord.utils.documented import documented
from saltext.zkcoord.utils.exposed import exposed

try:
    from saltext.zkcoord.utils.confd import ROOT, MasterAsker, table_of
    from saltext.zkcoord.utils.master import shown
except ImportError as err:
    _missing = f"zkcoord, its native core, cannot be imported ({err}); Salt's own Python needs the package"
else:
    _missing = None

__virtualname__ = "ganeti_confd"

# What the documentation of the execution module says of minions, and what is so here.
_WORDS = {
    "salt minion": "salt-run",
    "``SaltInvocationError`` for a wrong argument or setting. Raises ``CommandExecutionError`` when": (
        "``CommandExecutionError`` for a wrong argument or setting, when"
    ),
}
_exposed = functools.partial(exposed, module=globals(), words=_WORDS)


def __virtual__():
    return __virtualname__ if _missing is None else (False, _missing)


ping = _exposed(module.ping)
cluster_master = _exposed(module.cluster_master)
node_role_by_name = _exposed(module.node_role_by_name)
node_pip_by_instance_ip = _exposed(module.node_pip_by_instance_ip)
node_pip_list = _exposed(module.node_pip_list)
mc_pip_list = _exposed(module.mc_pip_list)
instances_ips_list = _exposed(module.instances_ips_list)
node_drbd = _exposed(module.node_drbd)
node_instances = _exposed(module.node_instances)
instance_disks = _exposed(module.instance_disks)
config_query = _exposed(module.config_query)
data_collectors = _exposed(module.data_collectors)
query = _exposed(module.query)


@documented(errors="asking runner")
def peers(profile=None, timeout=None):
    """
    Ask every candidate who the master is, and tell what each answers: who has an old configuration, and who is silent.

    profile
        Read the settings from ``ganeti_confd:PROFILE`` in the configuration, instead of from ``ganeti_confd``.

    timeout
        Seconds to wait for all candidates. Default: the configuration's, then 10.

    Returns a dict: ``serial``, the highest; ``master``, who is the master by that serial; ``consistent``; and
    ``peers``, by their addresses. Each peer has its ``state``, and what is known of ``serial``, ``master``, ``latency``
    (seconds) and ``error``. The state is ``current``, ``stale`` (its serial is lower), ``contradicts`` (it has the
    highest serial, and another master), ``broken`` (it answers with an error) or ``silent``. A candidate that is
    current has the newest serial of those that replied: a candidate that was not asked may have a newer one.
    ``salt-run`` shows a table.

    CLI Example:

    .. code-block:: bash

        salt-run ganeti_confd.peers
        salt-run ganeti_confd.peers profile=prod timeout=3
    """
    asker = _asker(profile, None, None, timeout, True, True)
    table = table_of(asker.query("cluster_master", None, coverage=-1, replies=-1))
    return shown(__opts__, "peers", table, "ganeti_confd")


def _asker(profile, coverage, replies, timeout, require_quorum, require_consistent):
    how = {"coverage": coverage, "replies": replies, "timeout": timeout}
    trust = {"require_quorum": require_quorum, "require_consistent": require_consistent}
    return MasterAsker(config.Configuration(__opts__, root=ROOT), profile, **how, **trust)
