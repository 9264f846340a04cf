"""
Slots, from the master
======================

For the on-call engineer, for orchestrations, and for masters that must not do the same thing at once: the functions
of the execution module ``zk_concurrency``, and ``doctor``. Arguments, answers and events are the same; in the tags of
the events is the master's id.

:depends: zkcoord
:configuration: In the master's configuration, as the execution module's is in the minion's. What minions have in
    their configuration, grains and pillar is not seen here.

    .. code-block:: yaml

        zookeeper:
          hosts: zk1:2181,zk2:2181,zk3:2181

Whatever goes wrong is one line, and the exit code of ``salt-run`` is 1. Where ``lock`` or ``unlock`` answers
``False`` the ``salt.runner`` state of an orchestration fails; the exit code of ``salt-run`` is 0.
"""

import functools

import salt.key
from salt.exceptions import CommandExecutionError, SaltClientError, SaltInvocationError
from salt.utils.args import clean_kwargs
from saltext.zkcoord.modules import zk_concurrency as module
from saltext.zkcoord.utils import config
from saltext.zkcoord.utils.documented import documented
from saltext.zkcoord.utils.exposed import exposed

try:
    from saltext.zkcoord.utils.doctor import Examination
    from saltext.zkcoord.utils.errors import runner_errors
    from saltext.zkcoord.utils.master import MasterClient, shown
    from saltext.zkcoord.utils.terminal import shown as printable
    from zkcoord.errors import NoAuth
except ImportError as err:
    _missing = f"zkcoord, its native core, cannot be imported ({err}); Salt's own Python needs the package"
else:
    _missing = None

__virtualname__ = "zk_concurrency"

# What the documentation of the execution module says of minions, and what is so here.
_WORDS = {
    "salt minion": "salt-run",
    "Default: the host's name.": "Default: the master's id.",
    "that of one ``salt-call`` or of one job or state run of a minion": "that of ``salt-run`` or of a master's job",
    "; the exit code is then 1.": "; an orchestration's state then fails.",
    "``SaltInvocationError`` for a wrong argument. Raises ``CommandExecutionError`` when": (
        "``CommandExecutionError`` for a wrong argument, when"
    ),
}
_exposed = functools.partial(exposed, module=globals(), words=_WORDS)


def __virtual__():
    return __virtualname__ if _missing is None else (False, _missing)


lock = _exposed(module.lock)
unlock = _exposed(module.unlock)
lock_holders = _exposed(module.lock_holders)
party_members = _exposed(module.party_members)
status = _exposed(
    module.status, remark="``salt-run`` shows a table. With ``--out``, and for all other callers, it is the dict."
)
set_max = _exposed(module.set_max)
pools = _exposed(
    module.pools, remark="``salt-run`` shows a table. With ``--out``, and for all other callers, it is the list."
)
remove_pool = _exposed(module.remove_pool)
evict = _exposed(module.evict)
party_join = _exposed(module.party_join)
party_leave = _exposed(module.party_leave)


@documented("connection", errors="runner")
def doctor(
    path,
    zk_hosts=None,
    profile=None,
    scheme=None,
    username=None,
    password=None,
    default_acl=None,
    timeout=None,
    max_wait=3600,
    max_concurrency=None,
    ping_timeout=5,
    below=False,
    **security,
):
    """
    Look for what is odd about a pool, and say what to do about each finding. Changes nothing.

    path
        The pool's znode.

    below
        Look at all pools below ``path``, and at ``path`` where it is one.

    max_wait
        Seconds after which a waiter is odd.

    max_concurrency
        How many slots the pool should have. Default: whatever number it stores is right.

    ping_timeout
        Seconds to wait for those holders that are minions to answer ``test.ping``.

    timeout
        Seconds to wait for the ensemble, as for ``status``.

    Returns a dict: ``path``, and ``findings``, each with ``what`` and ``do``. A finding is about a holder that is no
    accepted minion of this master, that does not answer, or that holds two slots; a waiter that waits for too long; a
    queue node that belongs to no session, and blocks all behind it; a child of the pool that is no lease; more holders
    than slots, another number of slots than expected, no number, or no such pool. A master that holds a slot is a
    holder like any other. Only this master's own id is known here, so another master's slot is a finding.

    In texts that others have written into znodes, what a terminal would obey is escaped; in commands the texts are
    quoted as well. ``salt-run`` shows the answer as text, unless there is an ``--out``.

    CLI Example:

    .. code-block:: bash

        salt-run zk_concurrency.doctor /lock/path
        salt-run zk_concurrency.doctor /lock/path max_wait=600 max_concurrency=2 --out=json
        salt-run zk_concurrency.doctor /restart below=True
    """
    with runner_errors():
        client = _client(zk_hosts, profile, scheme, username, password, default_acl, **security)
        limit, patience = _number(int, "max_concurrency", max_concurrency), _number(float, "max_wait", max_wait)
        paths = [pool["path"] for pool in client.call("pools", path, timeout=timeout)] if below else [path]
        pools, findings = _readable(client, paths, timeout, below)
    who = {"profile": profile, "scheme": scheme, "username": username, "password": password}
    connection = {"zk_hosts": zk_hosts, **who, **clean_kwargs(**security)}
    examinations = {one: Examination(pool, one, connection) for one, (pool, _) in pools.items()}
    accepted = set(salt.key.get_key(__opts__).list_keys()["minions"])
    holders = {who for it in examinations.values() for who in it.holders}
    here, unasked = _present(accepted & holders, ping_timeout)
    findings += unasked
    known = accepted | {__opts__["id"]}
    for one, examination in examinations.items():
        odd = [
            *examination.holders_without_a_minion(known, lambda who: who not in accepted or who in here),
            *examination.slots_held_twice(),
            *examination.foreign_children(),
            *examination.queue_nodes_of_nobody(),
            *examination.patient_waiters(patience),
            *examination.limit(pools[one][1], limit),
        ]
        # Findings name their pool only where there may be several pools.
        findings += [{**it, "what": f"{printable(one)}: {it['what']}"} for it in odd] if below else odd
    about = path if below else pools[path][0]["path"]
    return shown(__opts__, "doctor", {"path": about, "findings": findings})


@documented("timeout", "admin", "connection", errors="runner")
def metrics(
    root="/",
    zk_hosts=None,
    profile=None,
    scheme=None,
    username=None,
    password=None,
    default_acl=None,
    timeout=None,
    leases=None,
    keys=None,
    textfile=None,
    admin_port=None,
    **security,
):
    """
    Tell of slots, timed leases, grants and servers in the format of OpenMetrics. Creates nothing.

    root
        The znode below which the pools are.

    leases
        Paths right below which there are timed leases: a list, or text with commas.

    keys
        The keys of the coordinators whose locks are in the text: a list, or text with commas.

    textfile
        Write the text into this file, for the textfile collector of node_exporter, and return the file's name. The file
        is replaced in one step. node_exporter wants a name that ends in ``.prom``.

    Returns the text. What the servers do not answer is left out, and ``zkcoord_unanswered`` is 1 for that part. This
    function needs ``prometheus_client`` in Salt's own Python.

    CLI Example:

    .. code-block:: bash

        salt-run zk_concurrency.metrics /lock/path --out=newline_values_only
        salt-run zk_concurrency.metrics / leases=/leases/prod textfile=/var/lib/node_exporter/zkcoord.prom
    """
    with runner_errors():
        client = _client(zk_hosts, profile, scheme, username, password, default_acl, **security)
    return client.metrics(textfile, root, leases, keys, timeout, admin_port)


def _readable(client, paths, timeout, many):
    """
    Return the status of pools, each with the data of its znode where it stores no number, and findings. Where there are
    `many`, a pool that this user may not read is a finding, and hides no other pool.
    """
    pools, findings = {}, []
    for path in paths:
        try:
            pool = client.call("status", path, timeout=timeout)
            pools[path] = pool, client.data(path, timeout) if pool["max_concurrency"] is None else b""
        except CommandExecutionError as err:
            if not (many and isinstance(err.__cause__, NoAuth)):
                raise
            what = f"The pool {printable(path)} cannot be examined: {err}."
            findings.append({"what": what, "do": "Give credentials that may read it."})
    return pools, findings


def _client(*connection, **security):
    return MasterClient(__salt__, __opts__, config.Configuration(__opts__), *connection, **security)


def _with_retcode(answer):
    """
    Let an orchestration's state fail where the answer is ``False``.
    """
    __context__["retcode"] = 0 if answer else 1
    return answer


def _number(kind, name, value):
    try:
        return None if value is None else kind(value)
    except (TypeError, ValueError) as err:
        raise SaltInvocationError(f"{name}: must be a number") from err


def _present(minions, timeout):
    """
    Return which of the minions answer, and a finding if they could not be asked. Then all count as present.
    """
    if not minions:
        return set(), []
    try:
        wait = {"timeout": timeout, "gather_job_timeout": timeout}
        return set(__salt__["manage.up"](tgt=sorted(minions), tgt_type="list", **wait)), []
    except (CommandExecutionError, SaltClientError) as err:
        what = f"The minions could not be asked whether they are there: {err}"
        return minions, [{"what": what, "do": "Does salt-master run on this host?"}]
