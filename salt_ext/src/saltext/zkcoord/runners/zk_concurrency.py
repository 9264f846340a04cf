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

import salt.key
from salt.exceptions import CommandExecutionError, SaltClientError, SaltInvocationError
from salt.utils.args import clean_kwargs

try:
    from saltext.zkcoord import config
    from saltext.zkcoord.client import Client
    from saltext.zkcoord.doctor import Examination
    from saltext.zkcoord.errors import runner_errors
except ImportError as err:
    _missing = f"zkcoord, its native core, cannot be imported ({err}); Salt's own Python needs the package"
else:
    _missing = None

__virtualname__ = "zk_concurrency"


def __virtual__():
    return __virtualname__ if _missing is None else (False, _missing)


def lock(
    path,
    zk_hosts=None,
    identifier=None,
    max_concurrency=1,
    timeout=None,
    ephemeral_lease=False,
    force=False,
    profile=None,
    scheme=None,
    username=None,
    password=None,
    default_acl=None,
    reason=None,
    **security,
):
    """
    Take a slot, waiting for one if need be.

    identifier
        Who holds the slot. Default: the master's id.

    ephemeral_lease
        The lease ends with this process, ``salt-run`` or a job of the master.

    path, zk_hosts, max_concurrency, timeout, force, profile, scheme, username, password, default_acl, security, reason
        As for the execution module's ``lock``, and so are the answer, errors, signals and lost connections.

    CLI Example:

    .. code-block:: bash

        salt-run zk_concurrency.lock /lock/path timeout=600
        salt-run zk_concurrency.lock /lock/path profile=prod force=True reason='broken certificate'
    """
    with runner_errors():
        client = _client(zk_hosts, profile, scheme, username, password, default_acl, **security)
        who = _own(identifier)
        return _outcome(client.lock(path, who, max_concurrency, timeout, ephemeral_lease, force, reason))


def unlock(
    path,
    zk_hosts=None,
    identifier=None,
    max_concurrency=1,
    ephemeral_lease=False,
    scheme=None,
    profile=None,
    username=None,
    password=None,
    default_acl=None,
    timeout=None,
    reason=None,
    **security,
):
    """
    Give a slot back, the master's own or anybody's.

    identifier
        Whose. Default: the master's id.

    path, zk_hosts, max_concurrency, ephemeral_lease, scheme, profile, username, password, default_acl, timeout, reason
        As for the execution module's ``unlock``, and so are the answer, errors, signals and lost connections.

    security
        As for the execution module's ``lock``.

    CLI Example:

    .. code-block:: bash

        salt-run zk_concurrency.unlock /lock/path
        salt-run zk_concurrency.unlock /lock/path identifier=web1 reason='web1 was reinstalled'
    """
    with runner_errors():
        client = _client(zk_hosts, profile, scheme, username, password, default_acl, **security)
        kind = {"max_concurrency": max_concurrency, "ephemeral_lease": ephemeral_lease}
        return _outcome(client.unlock(path, _own(identifier), reason, timeout=timeout, **kind))


def lock_holders(
    path,
    zk_hosts=None,
    identifier=None,
    max_concurrency=1,
    timeout=None,
    ephemeral_lease=False,
    profile=None,
    scheme=None,
    username=None,
    password=None,
    default_acl=None,
    **security,
):
    """
    List who holds a slot. All arguments, the answer, errors, signals and lost connections are as for the execution
    module's ``lock_holders``.

    CLI Example:

    .. code-block:: bash

        salt-run zk_concurrency.lock_holders /lock/path
    """
    arguments = {"max_concurrency": max_concurrency, "timeout": timeout, "ephemeral_lease": ephemeral_lease}
    with runner_errors():
        client = _client(zk_hosts, profile, scheme, username, password, default_acl, **security)
        return client.call("lock_holders", path, identifier=identifier, **arguments)


def party_members(
    path,
    zk_hosts=None,
    min_nodes=1,
    blocking=False,
    profile=None,
    scheme=None,
    username=None,
    password=None,
    default_acl=None,
    timeout=None,
    **security,
):
    """
    List who is in a party, or wait until enough are. All arguments, the answer, errors, signals and lost connections
    are as for the execution module's ``party_members``.

    CLI Example:

    .. code-block:: bash

        salt-run zk_concurrency.party_members /lock/path
        salt-run zk_concurrency.party_members /lock/path min_nodes=3 blocking=True timeout=60
    """
    with runner_errors():
        client = _client(zk_hosts, profile, scheme, username, password, default_acl, **security)
        return client.call("party_members", path, min_nodes=min_nodes, blocking=blocking, timeout=timeout)


def status(
    path,
    zk_hosts=None,
    profile=None,
    scheme=None,
    username=None,
    password=None,
    default_acl=None,
    timeout=None,
    **security,
):
    """
    Tell who holds a slot, since when, and who waits for one. ``salt-run`` shows a table; with ``--out``, and for all
    other callers, it is the dict that the execution module's ``status`` returns. All arguments, errors, signals and
    lost connections are as there, too.

    CLI Example:

    .. code-block:: bash

        salt-run zk_concurrency.status /lock/path
        salt-run zk_concurrency.status /lock/path profile=prod --out=json
    """
    with runner_errors():
        client = _client(zk_hosts, profile, scheme, username, password, default_acl, **security)
        return _shown("status", client.call("status", path, timeout=timeout))


def set_max(
    path,
    max_concurrency,
    zk_hosts=None,
    profile=None,
    scheme=None,
    username=None,
    password=None,
    default_acl=None,
    timeout=None,
    **security,
):
    """
    Change the number of slots that a pool stores. All arguments, the answer, errors, signals and lost connections are
    as for the execution module's ``set_max``.

    CLI Example:

    .. code-block:: bash

        salt-run zk_concurrency.set_max /lock/path 3
    """
    with runner_errors():
        client = _client(zk_hosts, profile, scheme, username, password, default_acl, **security)
        return client.call("set_max", path, max_concurrency, timeout=timeout)


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
    **security,
):
    """
    Look for what is odd about a pool, and say what to do about each. Changes nothing.

    path
        The pool's znode.

    max_wait
        Seconds after which a waiter is odd.

    max_concurrency
        How many slots it should have. Default: whatever it stores is right.

    ping_timeout
        Seconds to wait for those holders that are minions to answer ``test.ping``.

    timeout
        Seconds to wait for the ensemble, as for ``status``.

    zk_hosts, profile, scheme, username, password, default_acl, security
        As for the execution module's ``lock``. Nothing is created here.

    Returns a dict: ``path``, and ``findings``, each with ``what`` and ``do``: holders that are no accepted minion of
    this master, that do not answer, or that hold two slots; waiters that wait for too long; children that are no lease
    of anybody; more holders than slots, another number of slots than expected, none, or no such pool. ``salt-run``
    shows it as text, unless there is an ``--out``. The masters' own leases are holders like any other: only this
    one's is known here.

    Errors, signals and lost connections: as for the execution module's ``status``.

    CLI Example:

    .. code-block:: bash

        salt-run zk_concurrency.doctor /lock/path
        salt-run zk_concurrency.doctor /lock/path max_wait=600 max_concurrency=2 --out=json
    """
    with runner_errors():
        client = _client(zk_hosts, profile, scheme, username, password, default_acl, **security)
        limit, patience = _number(int, "max_concurrency", max_concurrency), _number(float, "max_wait", max_wait)
        pool = client.call("status", path, timeout=timeout)
        data = client.data(path, timeout) if pool["max_concurrency"] is None else b""
    who = {"profile": profile, "scheme": scheme, "username": username, "password": password}
    look = Examination(pool, path, {"zk_hosts": zk_hosts, **who, **clean_kwargs(**security)})
    accepted = set(salt.key.get_key(__opts__).list_keys()["minions"])
    here, findings = _present(accepted.intersection(look.holders), ping_timeout)
    known = accepted | {__opts__["id"]}
    findings += look.holders_without_a_minion(known, lambda who: who not in accepted or who in here)
    findings += look.slots_held_twice()
    findings += look.foreign_children()
    findings += look.patient_waiters(patience)
    findings += look.limit(data, limit)
    return _shown("doctor", {"path": pool["path"], "findings": findings})


def _client(zk_hosts, profile, scheme, username, password, default_acl, **security):
    who = {"scheme": scheme, "username": username, "password": password, "default_acl": default_acl}
    config_get = config.among(__salt__, __opts__)
    return Client(__salt__, __opts__, config_get, zk_hosts=zk_hosts, profile=profile, **who, **security)


def _own(identifier):
    return __opts__["id"] if identifier in (None, "") else identifier


def _outcome(answer):
    """
    Let an orchestration's state fail where the answer is ``False``.
    """
    __context__["retcode"] = 0 if answer else 1
    return answer


def _shown(function, answer):
    """
    For ``salt-run`` without ``--out``, which has to be told how to show it. All others get the answer itself.
    """
    is_command = __opts__.get("fun") == f"zk_concurrency.{function}" and not __opts__.get("async")
    if not is_command or __opts__.get("output"):
        return answer
    # Salt takes `data` for states, whose dicts are below a name: without one, it would have failed.
    return {"outputter": "zk_concurrency", "data": {answer["path"]: answer}}


def _number(kind, name, value):
    try:
        return None if value is None else kind(value)
    except (TypeError, ValueError) as err:
        raise SaltInvocationError(f"{name}: must be a number") from err


def _present(minions, timeout):
    """
    Which of them answer, and what is to be said if nobody can be asked.
    """
    if not minions:
        return set(), []
    try:
        wait = {"timeout": timeout, "gather_job_timeout": timeout}
        return set(__salt__["manage.up"](tgt=sorted(minions), tgt_type="list", **wait)), []
    except (CommandExecutionError, SaltClientError) as err:
        what = f"The minions could not be asked whether they are there: {err}"
        return minions, [{"what": what, "do": "Does salt-master run on this host?"}]
