"""
One host at a time, and a dead one ends by the clock
====================================================

A slot of ``zk_concurrency`` is free when the session of its holder ends, or when somebody unlocks it. A *timed lease*
ends by the clock: when nobody has renewed it for its duration, whatever has died. So nobody has to free what a dead
host holds. leaselocker does the same on Kubernetes, with the same record.

:depends: zkcoord
:configuration: As for the execution module ``zk_concurrency``.

Nobody renews a lease between one ``salt-call`` and the next: the lease outlives the process, and ends by itself.
``run`` and the state ``zk_lease.held`` renew their lease for as long as their process works, however long that takes.

Where there is a master, its event bus gets an event for each step of a lease: ``zk_lease/MINION/KIND`` with ``path``
and ``owner``. ``zookeeper:events: false`` switches the events off. ``KIND`` is ``waiting`` (with the ``position`` in
the queue), ``acquired`` (with ``token``, ``transitions`` and ``waited``), ``taken_over`` (with ``taken_from``: whose
lease was over), ``renewed_late``, ``released`` or ``lost``.
"""

import functools

from saltext.zkcoord.utils import config
from saltext.zkcoord.utils.callee import callee_of_run
from saltext.zkcoord.utils.documented import documented

try:
    from saltext.zkcoord.utils.client import SECURITY
    from saltext.zkcoord.utils.lease_client import LeaseClient
    from saltext.zkcoord.utils.lease_runs import under_lease
except ImportError as err:
    _missing = f"zkcoord, its native core, cannot be imported ({err}); Salt's own Python needs the package"
else:
    _missing = None

__virtualname__ = "zk_lease"

# As in zk_concurrency: Salt 3006 refuses keyword-only arguments. So `run` takes these out of its `**kwargs`.
_CLAIM = ("owner", "duration", "timeout", "max_clock_skew", "fun_kwargs")
_CONNECTION = ("zk_hosts", "profile", "scheme", "username", "password", "default_acl")
_RUN = {**dict.fromkeys((*_CLAIM, *_CONNECTION)), "duration": 60, "max_clock_skew": 1}


def __virtual__():
    return __virtualname__ if _missing is None else (False, _missing)


@documented("owner", "lease", "wait", "skew", "connection", "reason", errors="wait", creates=True)
def lock(
    path,
    zk_hosts=None,
    owner=None,
    duration=60,
    timeout=None,
    max_clock_skew=1,
    profile=None,
    scheme=None,
    username=None,
    password=None,
    default_acl=None,
    reason=None,
    **security,
):
    """
    Take a lease, and wait for it if need be: first in, first out. The lease outlives this process, and ends by itself.

    path
        The record's znode; created when missing. The last part of the path is lower-cased.

    An owner that holds the lease already, from ``lock`` or ``try_lock``, is answered ``True`` at once. It then holds
    the lease for at least ``duration`` from now on. A lease that ``run`` or the state ``zk_lease.held`` holds is waited
    for, also where the owner is the same.

    Returns ``True`` when the lease is held. Returns ``False`` when the time ran out; the exit code is then 1.

    CLI Example:

    .. code-block:: bash

        salt minion zk_lease.lock /leases/prod/migration host1:1234,host2:1234
        salt minion zk_lease.lock /leases/prod/migration profile=prod duration=30m timeout=600
    """
    client = _client(zk_hosts, profile, scheme, username, password, default_acl, **security)
    return _with_retcode(client.take(path, owner, duration, timeout, max_clock_skew, reason))


@documented("owner", "lease", "skew", "connection", "reason", errors="wait", creates=True)
def try_lock(
    path,
    zk_hosts=None,
    owner=None,
    duration=60,
    max_clock_skew=1,
    profile=None,
    scheme=None,
    username=None,
    password=None,
    default_acl=None,
    reason=None,
    **security,
):
    """
    Take a lease if it can be had at once, and wait for nobody.

    path
        The record's znode; created when missing. The last part of the path is lower-cased.

    The lease of a dead holder can be had ``max_clock_skew`` seconds after its end, by the servers' clock.

    Returns ``True`` when the lease is held. Returns ``False`` when somebody else has it, or waits for it; the exit
    code is then 1.

    CLI Example:

    .. code-block:: bash

        salt minion zk_lease.try_lock /leases/prod/migration duration=5m
    """
    client = _client(zk_hosts, profile, scheme, username, password, default_acl, **security)
    return _with_retcode(client.take(path, owner, duration, 0, max_clock_skew, reason))


@documented("owner", "timeout", "connection", errors="write")
def renew(
    path,
    zk_hosts=None,
    owner=None,
    duration=None,
    timeout=None,
    profile=None,
    scheme=None,
    username=None,
    password=None,
    default_acl=None,
    **security,
):
    """
    Renew a lease that its owner has locked, also from another process.

    path
        The record's znode.

    duration
        For how long the lease is held from now on, as for ``lock``. Default: for as long as before.

    Returns ``True`` when the lease was renewed. Returns ``False`` when the owner does not hold it; the exit code is
    then 1.

    CLI Example:

    .. code-block:: bash

        salt minion zk_lease.renew /leases/prod/migration
    """
    client = _client(zk_hosts, profile, scheme, username, password, default_acl, **security)
    return _with_retcode(client.renew(path, owner, duration, timeout))


@documented("owner", "timeout", "connection", "reason", errors="write")
def unlock(
    path,
    zk_hosts=None,
    owner=None,
    timeout=None,
    profile=None,
    scheme=None,
    username=None,
    password=None,
    default_acl=None,
    reason=None,
    **security,
):
    """
    Give a lease back. This works from any process, and from any host that names the owner.

    path
        The record's znode.

    Returns ``True`` when this call has given the lease back. Returns ``False`` when the owner did not hold it; the exit
    code is then 1.

    CLI Example:

    .. code-block:: bash

        salt minion zk_lease.unlock /leases/prod/migration
        salt minion zk_lease.unlock /leases/prod/migration profile=prod owner=web1 reason='web1 was reinstalled'
    """
    client = _client(zk_hosts, profile, scheme, username, password, default_acl, **security)
    return _with_retcode(client.give_back(path, owner, timeout, reason))


@documented("owner", "connection", "reason", errors="write")
def unlock_with_retry(
    path,
    zk_hosts=None,
    owner=None,
    timeout=10,
    profile=None,
    scheme=None,
    username=None,
    password=None,
    default_acl=None,
    reason=None,
    **security,
):
    """
    Give a lease back, and go on trying while no server answers.

    path
        The record's znode.

    timeout
        Seconds to try, connecting included.

    Returns what ``unlock`` does.

    CLI Example:

    .. code-block:: bash

        salt minion zk_lease.unlock_with_retry /leases/prod/migration timeout=60
    """
    client = _client(zk_hosts, profile, scheme, username, password, default_acl, **security)
    return _with_retcode(client.give_back(path, owner, timeout, reason))


@documented("owner", "timeout", "connection", errors="read")
def check(
    path,
    zk_hosts=None,
    owner=None,
    max_tolerable_expired_lease=0,
    timeout=None,
    profile=None,
    scheme=None,
    username=None,
    password=None,
    default_acl=None,
    **security,
):
    """
    Make sure that an owner holds a lease which is not overdue.

    path
        The record's znode.

    max_tolerable_expired_lease
        By how much the lease may be overdue: seconds, or text as for ``lock``. The servers' clock tells when the lease
        ends, and this host's clock tells what time it is now. Where this host's clock is minutes behind, a lease counts
        as held for minutes after its end. Whoever must be certain takes the lease, with ``try_lock`` or ``run``.

    Returns ``True``. Raises ``CommandExecutionError``, in one line, when somebody else holds the lease, when nobody
    does, and when it is overdue by more.

    CLI Example:

    .. code-block:: bash

        salt minion zk_lease.check /leases/prod/migration max_tolerable_expired_lease=30s
    """
    client = _client(zk_hosts, profile, scheme, username, password, default_acl, **security)
    return client.check(path, owner, max_tolerable_expired_lease, timeout)


@documented("timeout", "connection", errors="read")
def get(
    path,
    zk_hosts=None,
    timeout=None,
    profile=None,
    scheme=None,
    username=None,
    password=None,
    default_acl=None,
    **security,
):
    """
    Read the record of a lease as it is.

    path
        The record's znode.

    Returns a dict with ``holderIdentity``, ``leaseDurationSeconds``, ``acquireTime``, ``renewTime``,
    ``leaseTransitions`` and whatever else is in the record. Returns ``None`` where there is no record.

    CLI Example:

    .. code-block:: bash

        salt minion zk_lease.get /leases/prod/migration
    """
    client = _client(zk_hosts, profile, scheme, username, password, default_acl, **security)
    return client.record(path, timeout)


@documented("timeout", "connection", errors="write", creates=True)
def create(
    path,
    zk_hosts=None,
    record=None,
    timeout=None,
    profile=None,
    scheme=None,
    username=None,
    password=None,
    default_acl=None,
    **security,
):
    """
    Create the record of a lease. A record that is there already is an error.

    path
        The record's znode.

    record
        A dict as ``get`` returns it. Default: a lease that nobody holds.

    Returns ``True``.

    CLI Example:

    .. code-block:: bash

        salt minion zk_lease.create /leases/prod/new
    """
    client = _client(zk_hosts, profile, scheme, username, password, default_acl, **security)
    return client.create(path, {} if record is None else record, timeout)


@documented("timeout", "connection", errors="write")
def update(
    path,
    record,
    zk_hosts=None,
    timeout=None,
    profile=None,
    scheme=None,
    username=None,
    password=None,
    default_acl=None,
    **security,
):
    """
    Change the record of a lease. It is an error when somebody else changes the record at the same time. Rather use
    ``lock``, ``renew`` and ``unlock``: the holder may lose the lease by this call.

    path
        The record's znode.

    record
        A dict with the members of the record to change. All other members stay.

    Returns the record, as ``get`` does.

    CLI Example:

    .. code-block:: bash

        salt minion zk_lease.update /leases/prod/migration '{leaseDurationSeconds: 300}'
    """
    client = _client(zk_hosts, profile, scheme, username, password, default_acl, **security)
    return client.update(path, record, timeout)


def describe(path):
    """
    Tell what a lease is called: ``namespace/name``. These are the last two parts of its path, with the name in lower
    case.

    path
        The record's znode.

    Returns text. No server is asked.

    CLI Example:

    .. code-block:: bash

        salt minion zk_lease.describe /leases/prod/Migration
    """
    return _client().described(path)


def identity(owner=None):
    """
    Tell as whom this minion holds leases.

    owner
        Who holds the lease. Default: the minion's id.

    Returns text. No server is asked.

    CLI Example:

    .. code-block:: bash

        salt minion zk_lease.identity
    """
    return _client().owner(owner)


@documented("timeout", "connection", errors="read")
def status(
    path,
    zk_hosts=None,
    timeout=None,
    profile=None,
    scheme=None,
    username=None,
    password=None,
    default_acl=None,
    **security,
):
    """
    Tell who holds a lease, since when and until when, how often it has changed hands, and who waits. Creates nothing.

    path
        The record's znode.

    Returns a dict. ``path`` is the record's znode, and ``transitions`` how often the lease has changed hands.
    ``holder`` is ``None`` where nobody holds the lease. Otherwise it is a dict with ``owner``, ``acquired`` (by the
    holder's clock), ``duration`` (seconds), ``renewed`` and ``until`` (UTC, by the servers' clock), ``left`` (seconds
    until then by this host's clock; negative where the lease is over, and others may take it), ``fencing_token``
    (``None`` where another program holds the lease) and ``by_name`` (whether ``renew`` can renew it). ``waiters`` is a
    list in the order of the queue, each with ``owner``, ``position`` (1 is next), ``since`` and ``age`` (seconds).

    CLI Example:

    .. code-block:: bash

        salt minion zk_lease.status /leases/prod/migration
    """
    return _client(zk_hosts, profile, scheme, username, password, default_acl, **security).lease(
        "status", path, timeout=timeout
    )


@documented("owner", "lease", "wait", "skew", "connection", errors="wait", creates=True)
def run(path, fun, *args, **kwargs):
    """
    Take a lease, call another function, renew the lease while the function runs, and give the lease back however the
    function ends.

    path
        The record's znode; created when missing.

    fun
        The function to call, such as ``cmd.run``. Whoever may call ``run`` may call every function by it, except those
        that ``whitelist_modules`` or ``zookeeper:run_allow`` leaves out.

    args, fun_kwargs
        The function's own arguments, and its keywords as a dict. ``fun_kwargs`` and all parameters below are given by
        keyword.

    Returns what the function returns, and leaves its exit code alone. The lease belongs to this call: another ``run``,
    also of the same minion, waits for it. When the lease is lost while the function runs, the processes that the
    function has started are ended at once, and the states that it would run after that fail. When the job is terminated
    (Ctrl-C, ``saltutil.term_job``), these processes are ended, too, before the lease is given back. In a minion with
    ``multiprocessing: False`` all jobs share one process, and nothing is ended: the loss is reported when the function
    has ended.

    Raises what the function raises. A function that does not exist, or that does not take these arguments, is a wrong
    argument; then no lease is taken. Raises ``CommandExecutionError`` also when the time ran out, and when the lease
    was lost while the function ran: somebody else may have held it too.

    CLI Example:

    .. code-block:: bash

        salt minion zk_lease.run /leases/prod/migration cmd.run './migrate.sh' duration=1m timeout=600
        salt minion zk_lease.run /leases/prod/deploy state.apply web fun_kwargs='{test: true}' profile=prod
    """
    own = {name: kwargs.pop(name, default) for name, default in _RUN.items()}
    own |= {name: kwargs.pop(name) for name in SECURITY if name in kwargs}
    owner, duration, timeout, skew, fun_kwargs = (own.pop(name) for name in _CLAIM)
    function, keywords = callee_of_run(__salt__, __opts__, fun, args, fun_kwargs, kwargs)
    client = _client(**own)
    work = functools.partial(function, *args, **keywords)
    return under_lease(client, path, owner, duration, timeout, skew, fun, work)


def _client(*connection, **security):
    return LeaseClient(__salt__, __opts__, config.of_minion(__opts__, __grains__, __pillar__), *connection, **security)


def _with_retcode(answer):
    """
    Make ``salt-call`` exit with 1 when the answer is ``False``. A state run is left alone, since it sets its own code.
    """
    if not answer and "fileclient" not in __context__:
        __context__["retcode"] = 1
    return answer
