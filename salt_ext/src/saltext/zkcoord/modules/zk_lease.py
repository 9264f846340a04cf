"""
One host at a time, and a dead one ends by the clock
====================================================

A slot of ``zk_concurrency`` ends with its session, or when it is unlocked. A *timed lease* ends when it was not
renewed for its duration, whatever has died: so nobody has to free what a dead host holds. It is what leaselocker does
on Kubernetes, on ZooKeeper, with the same record.

:depends: zkcoord
:configuration: As for the execution module ``zk_concurrency``.

Between ``salt-call`` and the next one nobody renews a lease: it outlives the process, and ends by itself. ``run``, and
the state ``zk_lease.held``, renew it for as long as their process works, however long that is.

Where there is a master its event bus hears of it, in ``zk_lease/MINION/KIND`` with ``path`` and ``owner``, unless
``zookeeper:events`` is ``false``: ``waiting`` (``position`` in the queue), ``acquired`` (``token``, ``transitions``,
``waited``), ``taken_over`` (``taken_from``, whose lease was over), ``renewed_late``, ``released`` and ``lost``.
"""

import functools

from saltext.zkcoord.utils import config
from saltext.zkcoord.utils.callee import callee
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

# As in zk_concurrency: Salt 3006 refuses keyword-only arguments, and `run` cannot name its own.
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
    Take a lease, and wait for it if need be: first in, first out. It outlives this process, and ends by itself.

    path
        The record's znode; created when missing. Its last part is lower-cased.

    Who has it already is answered ``True``, and has it for ``duration`` from now on.

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
        The record's znode; created when missing. Its last part is lower-cased.

    A dead holder's lease can be had ``max_clock_skew`` after it is over, by the servers' clock.

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
        For how long it is held from now on, as for ``lock``. Default: for as long as before.

    Returns ``True`` when it was renewed. Returns ``False`` when the owner does not hold it; the exit code is then 1.

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
    Give a lease back. Works from any process, and from any host that names the owner.

    path
        The record's znode.

    Returns ``True`` when this call has given it back. Returns ``False`` when the owner did not hold it; the exit code
    is then 1.

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
        By how much it may be overdue: seconds, or text as for ``lock``. When the lease ends is told by the servers'
        clock, and now by this host's: where that is behind by minutes, a lease that is over counts for that long.
        What must be certain takes the lease, with ``try_lock`` or ``run``.

    Returns ``True``. Where somebody else has it, nobody, or where it is overdue by more, that is a
    ``CommandExecutionError`` in one line.

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
    ``leaseTransitions`` and whatever else is in it; ``None`` where there is no record.

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
    Create the record of a lease. One that is there is an error.

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
    Change the record of a lease, unless somebody changes it at the same time: that is an error. Rather use ``lock``,
    ``renew`` and ``unlock``: whoever holds the lease may lose it by this.

    path
        The record's znode.

    record
        A dict with the members to change. All others stay.

    Returns the record, as ``get`` does.

    CLI Example:

    .. code-block:: bash

        salt minion zk_lease.update /leases/prod/migration '{leaseDurationSeconds: 300}'
    """
    client = _client(zk_hosts, profile, scheme, username, password, default_acl, **security)
    return client.update(path, record, timeout)


def describe(path):
    """
    Tell how a lease is called: ``namespace/name``, the last two parts of its path, the name in lower case.

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

    Returns a dict: ``path``; ``transitions``; ``holder``, ``None`` where nobody holds it, else with ``owner``,
    ``acquired`` (by the holder's clock), ``duration`` (seconds), ``renewed`` and ``until`` (UTC, by the servers'
    clock), ``left`` (seconds until then by this host's clock; negative: it is over, and whoever asks next may have it),
    ``fencing_token`` (``None``: another program holds it) and ``by_name`` (whether ``renew`` can renew it);
    ``waiters``, in the order of the queue, each with ``owner``, ``position`` (1 is next), ``since`` and ``age``.

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
    Take a lease, call another function, renew the lease while that runs, and give it back, whatever comes of it.

    path
        The record's znode; created when missing.

    fun
        The function to call, such as ``cmd.run``. Who may call ``run`` may call them all, but for those that
        ``whitelist_modules`` leaves out.

    args, fun_kwargs
        The function's own arguments, and its keywords as a dict. This and all that follows is given by keyword.

    Returns what the function returns, and leaves its exit code alone. The lease is this call's: another ``run``, also
    of the same minion, waits for it. When it is lost while the function runs, the processes that the function has
    started are ended at once, and the states that it would run after that fail. The processes are ended, before the
    lease is given back, also when the job is terminated (Ctrl-C, ``saltutil.term_job``). In a minion with
    ``multiprocessing: False`` all jobs are one process, and nothing is ended: the loss is reported at the end.

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
    function, keywords = callee(__salt__, __opts__, fun, args, fun_kwargs, kwargs)
    client = _client(**own)
    work = functools.partial(function, *args, **keywords)
    return under_lease(client, path, owner, duration, timeout, skew, fun, work)


def _client(*connection, **security):
    return LeaseClient(__salt__, __opts__, config.of_minion(__opts__, __grains__, __pillar__), *connection, **security)


def _with_retcode(answer):
    """
    Make ``salt-call`` exit with 1 when the answer is ``False``. Not in a state run, which sets its own code.
    """
    if not answer and "fileclient" not in __context__:
        __context__["retcode"] = 1
    return answer
