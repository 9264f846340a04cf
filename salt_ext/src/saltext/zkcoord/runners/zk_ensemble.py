"""
The servers themselves, from the master
=======================================

For the on-call engineer, and for orchestrations that restart the servers of an ensemble.

:depends: zkcoord
:configuration: In the master's configuration, as the execution module's is in the minion's.

    .. code-block:: yaml

        zookeeper:
          hosts: zk1:2181,zk2:2181,zk3:2181

Whatever goes wrong is one line, and the exit code of ``salt-run`` is 1.
"""

from saltext.zkcoord.utils import config as configuration
from saltext.zkcoord.utils.documented import documented

try:
    from saltext.zkcoord.utils.ensemble import EnsembleMaster
    from saltext.zkcoord.utils.ensemble import restart_order as in_order
    from saltext.zkcoord.utils.ensemble_doctor import examine
    from saltext.zkcoord.utils.errors import runner_errors
except ImportError as err:
    _missing = f"zkcoord, its native core, cannot be imported ({err}); Salt's own Python needs the package"
else:
    _missing = None

__virtualname__ = "zk_ensemble"


def __virtual__():
    return __virtualname__ if _missing is None else (False, _missing)


# The connection's arguments are the same everywhere, and take two lines.
# fmt: off
@documented("timeout", "admin", "connection", errors="runner")
def status(
    zk_hosts=None, profile=None, scheme=None, username=None, password=None, default_acl=None,
    timeout=None, admin_port=None, **security,
):
    """
    Ask every server what it is, and show a table. Each server has one row, whether it answers or not.

    Returns a dict, as ``zk_ensemble.status`` of the execution module does. ``salt-run`` shows a table. With ``--out``,
    and for all other callers, it is the dict.

    CLI Example:

    .. code-block:: bash

        salt-run zk_ensemble.status
        salt-run zk_ensemble.status profile=prod --out=json
    """
    client = _client(admin_port, timeout, zk_hosts, profile, scheme, username, password, default_acl, **security)
    return _shown("status", client.status())


@documented("timeout", "admin", "connection", errors="runner")
def restart_order(
    zk_hosts=None, profile=None, scheme=None, username=None, password=None, default_acl=None,
    timeout=None, admin_port=None, **security,
):
    """
    Tell in which order the members are restarted: observers, then followers, the leader last.

    So there is one election, and not one after each restart. Ask again before each restart: another member may lead by
    then.

    Returns a list of dicts, each with ``id``, ``address``, ``role``, ``mode`` and ``in_sync``.

    CLI Example:

    .. code-block:: bash

        salt-run zk_ensemble.restart_order
        salt-run zk_ensemble.restart_order profile=prod --out=json
    """
    client = _client(admin_port, timeout, zk_hosts, profile, scheme, username, password, default_acl, **security)
    with runner_errors():
        return in_order(client.status())


@documented("timeout", "admin", "connection", errors="runner")
def doctor(
    zk_hosts=None, profile=None, scheme=None, username=None, password=None, default_acl=None,
    timeout=None, admin_port=None, **security,
):
    """
    Look for what is odd about an ensemble, and say what to do about each finding. Changes nothing.

    Returns a dict: ``path``, which is the hosts, and ``findings``, each with ``what`` and ``do``. A finding is about no
    quorum, or one that a single failure would break; an even number of participants; a member that does not answer or
    is not in sync; a server that is no member; members that disagree on the configuration, or are of different
    versions; four-letter words that a server refuses, where no AdminServer answers for it; clocks that differ, as far
    as AdminServers tell them; zxids near their end. ``salt-run`` shows the answer as text, unless there is an
    ``--out``.

    CLI Example:

    .. code-block:: bash

        salt-run zk_ensemble.doctor
        salt-run zk_ensemble.doctor profile=prod --out=json
    """
    client = _client(admin_port, timeout, zk_hosts, profile, scheme, username, password, default_acl, **security)
    found = client.status(clocks=True)
    named = ",".join(row["address"] or f"server.{row['id']}" for row in found["servers"])
    return _shown("doctor", {"path": named, "findings": examine(found)})


# fmt: on
def _client(admin_port, timeout, *connection, **security):
    found = configuration.Configuration(__opts__)
    return EnsembleMaster(__salt__, __opts__, found, admin_port, timeout, *connection, **security)


def _shown(function, answer):
    """
    Tell ``salt-run`` how to show an answer, where nobody said ``--out``. All others get the answer itself.
    """
    is_command = __opts__.get("fun") == f"zk_ensemble.{function}" and not __opts__.get("async")
    if not is_command or __opts__.get("output"):
        return answer
    # Salt takes `data` for the results of states, which are dicts below a name each. Without a name it would take the
    # answer for a failure.
    return {"outputter": "zk_ensemble", "data": {"ensemble": answer}}
