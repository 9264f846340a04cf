"""
At most N hosts at a time, through ZooKeeper
============================================

Take a slot, act, give it back. A drop-in for Salt's own ``zk_concurrency``: the same functions, arguments and
znodes, so minions with either module share one limit.

:depends: zkcoord
:configuration: In the minion configuration, the grains or the pillar; for all calls, or for those with
    ``profile=prod``. An explicit argument wins over the configuration, and that over the default.

    .. code-block:: yaml

        zookeeper:
          hosts: zk1:2181,zk2:2181,zk3:2181   # default 127.0.0.1:2181
          events: true                        # default true
          prod:
            hosts: [zk7:2181, zk8:2181, zk9:2181]
            scheme: digest
            username: salt
            password: secret
            default_acl:
              username: salt
              password: secret
              allperms: true
            use_ssl: true                     # default false
            ca_certs: /etc/zookeeper/ca.pem   # and certfile, keyfile, keyfile_password
            session_timeout: 10               # seconds, default 10
            connect_timeout: 10               # seconds, default 10
            idle_timeout: 60                  # seconds, default 60
            max_buffer: 1048575               # bytes of a request, the servers' jute.maxbuffer; default 1048575

A *pool* is a znode with ``max_concurrency`` slots. Whoever holds a slot has a *lease* in it, and is known
by an *identifier*. Waiters are served in the order in which they came.

Where there is a master its event bus hears of it, in ``zk_concurrency/MINION/KIND`` with ``path`` and
``identifier``, unless ``events`` is ``false``. ``waiting`` has the ``position`` in the queue (1 is next), at most
once a second and only when it changes; ``acquired`` and ``forced`` have ``max_concurrency`` and ``waited``
(seconds); ``released`` and ``lost`` end a hold. Where a ``reason`` was given, they have that too.
"""

import functools
import logging

from salt.exceptions import CommandExecutionError
from saltext.zkcoord.utils import config
from saltext.zkcoord.utils.callee import callee
from saltext.zkcoord.utils.documented import documented

try:
    from saltext.zkcoord.utils import runs
    from saltext.zkcoord.utils.client import SECURITY, Client
    from saltext.zkcoord.utils.terminated import Guard
except ImportError as err:
    _missing = f"zkcoord, its native core, cannot be imported ({err}); Salt's own Python needs the package"
else:
    _missing = None

log = logging.getLogger(__name__)

# The file has this name too: only with both equal to Salt's own does the loader always prefer this module.
__virtualname__ = "zk_concurrency"

# What Salt's own functions do not have comes last, and is not keyword-only: Salt 3006 refuses such arguments,
# and `module.run` of Salt 3008 passes them by position. Nor can `run` name its keywords for that.
_CLAIM = ("identifier", "max_concurrency", "timeout", "fun_kwargs", "reason")
_CONNECTION = ("zk_hosts", "profile", "scheme", "username", "password", "default_acl")
_RUN = {**dict.fromkeys((*_CLAIM, *_CONNECTION)), "max_concurrency": 1}


def __virtual__():
    return __virtualname__ if _missing is None else (False, _missing)


@documented("limit", "wait", "connection", "kept reason", errors="wait", creates=True)
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

    path
        The pool's znode; created when missing.

    identifier
        Who holds the slot; any text or number. Default: the host's name. Who holds a slot already is answered
        ``True`` at once, and one ``unlock`` frees it.

    ephemeral_lease
        ``True``: the lease ends with this process, which is that of one ``salt-call`` or of one job or state
        run of a minion. ``False``: it stays until ``unlock``.

    force
        Take a slot at once, whatever the count and whoever waits. Then ``timeout`` is at most
        ``connect_timeout``. It is logged as a warning.

    Returns ``True`` when the slot is held. Returns ``False`` when the time ran out; the exit code is then 1.

    CLI Example:

    .. code-block:: bash

        salt minion zk_concurrency.lock /lock/path host1:1234,host2:1234
        salt minion zk_concurrency.lock /lock/path profile=prod max_concurrency=2 timeout=600
        salt minion zk_concurrency.lock /lock/path profile=prod force=True reason='broken certificate'
    """
    client = _client(zk_hosts, profile, scheme, username, password, default_acl, **security)
    return _with_retcode(client.lock(path, identifier, max_concurrency, timeout, ephemeral_lease, force, reason))


@documented("timeout", "connection", "reason", errors="write")
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
    Give a slot back. Works from any process, and from any host with the same identifier.

    path
        The pool's znode.

    identifier
        Whose lease to remove; any text or number. Default: the host's name.

    max_concurrency
        Slots in the pool, as given to ``lock``.

    ephemeral_lease
        As given to ``lock``. Leases of either kind are removed.

    Returns ``True`` when a lease of the identifier was removed. Returns ``False`` when it held none; the exit code
    is then 1.

    CLI Example:

    .. code-block:: bash

        salt minion zk_concurrency.unlock /lock/path host1:1234,host2:1234
        salt minion zk_concurrency.unlock /lock/path profile=prod identifier=web1 reason='web1 was reinstalled'
    """
    client = _client(zk_hosts, profile, scheme, username, password, default_acl, **security)
    kind = {"max_concurrency": max_concurrency, "ephemeral_lease": ephemeral_lease}
    return _with_retcode(client.unlock(path, identifier, reason, timeout=timeout, **kind))


@documented("timeout", "connection", errors="read")
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
    List who holds a slot. Creates nothing.

    path
        The pool's znode.

    identifier, max_concurrency, ephemeral_lease
        Change nothing: all holders are listed.

    Returns the holders' identifiers as a list, in no promised order; empty when the pool does not exist.

    CLI Example:

    .. code-block:: bash

        salt minion zk_concurrency.lock_holders /lock/path host1:1234,host2:1234
    """
    return _client(zk_hosts, profile, scheme, username, password, default_acl, **security).call(
        "lock_holders",
        path,
        identifier=identifier,
        max_concurrency=max_concurrency,
        timeout=timeout,
        ephemeral_lease=ephemeral_lease,
    )


@documented("connection", errors="read")
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
    List who is in a party (kazoo's ``Party`` and ``ShallowParty``), or wait until enough are. Creates nothing.

    path
        The party's znode.

    min_nodes
        How many members to wait for. Without ``blocking`` it changes nothing.

    blocking
        Wait until ``min_nodes`` members are there.

    timeout
        Seconds, connecting included: with ``blocking``, ``None`` waits for ever and ``0`` looks once.
        Without, at most and by default ``connect_timeout``.

    Returns the members' identifiers as a list, in no promised order; empty when the party does not exist.
    When the time ran out, the members so far: compare their number with ``min_nodes``.

    CLI Example:

    .. code-block:: bash

        salt minion zk_concurrency.party_members /lock/path host1:1234,host2:1234
        salt minion zk_concurrency.party_members /lock/path profile=prod min_nodes=3 blocking=True timeout=60
    """
    client = _client(zk_hosts, profile, scheme, username, password, default_acl, **security)
    return client.call("party_members", path, min_nodes=min_nodes, blocking=blocking, timeout=timeout)


@documented("timeout", "connection", errors="read")
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
    Tell who holds a slot, since when, and who waits for one. Creates nothing.

    path
        The pool's znode.

    Returns a dict: ``path``; ``max_concurrency``, which the pool stores, or ``None``; ``free``, how many slots
    can be had, or ``None`` where nothing limits them; ``holders``, the longest first, each with ``identifier``,
    ``since`` (UTC, by the servers' clock), ``age`` (seconds, by this host's clock), ``ephemeral``,
    ``fencing_token`` (the lease's czxid: later holders have greater ones), ``session`` and ``lease``;
    ``waiters``, in the order of the queue, each with ``identifier``, ``position`` (1 is next), ``since``,
    ``age``, ``session`` and ``place``. A pool that does not exist has neither.

    CLI Example:

    .. code-block:: bash

        salt minion zk_concurrency.status /lock/path
        salt minion zk_concurrency.status /lock/path profile=prod timeout=5
    """
    client = _client(zk_hosts, profile, scheme, username, password, default_acl, **security)
    return client.status(path, timeout)


@documented("timeout", "connection", errors="write", creates=True)
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
    Change the number of slots that a pool stores. Waiters see it at once; nobody is evicted.

    path
        The pool's znode; created when missing.

    max_concurrency
        The new number, at least 1. Whoever calls ``lock`` from now on must give it.

    Returns a dict: ``path``, ``old`` (``None`` where there was no number), ``new``, ``holders`` (how many), and
    ``overshoot``, how many of them there are beyond the new number.

    A znode whose data is no number is left alone, and is an error like a wrong argument.

    CLI Example:

    .. code-block:: bash

        salt minion zk_concurrency.set_max /lock/path 3
        salt minion zk_concurrency.set_max /lock/path 3 profile=prod
    """
    client = _client(zk_hosts, profile, scheme, username, password, default_acl, **security)
    return client.call("set_max", path, max_concurrency, timeout=timeout)


@documented("limit", "wait", "connection", "kept reason", errors="wait", creates=True)
def run(path, fun, *args, **kwargs):
    """
    Take a slot, call another function, and free the slot, whatever comes of it.

    path
        The pool's znode; created when missing.

    fun
        The function to call, such as ``service.restart``. Who may call ``run`` may call them all, but for
        those that ``whitelist_modules`` leaves out.

    args, fun_kwargs
        The function's own arguments, and its keywords as a dict. This and all that follows is given by keyword.

    identifier
        Who holds the slot. Default: the host's name. Two runs with one identifier share one slot, which is free again
        when the last of them has ended. A slot that somebody else has locked for the identifier stays as it is.

    Returns what the function returns, and leaves its exit code alone. The lease is ephemeral: it ends with this
    process whatever happens. When the connection is lost while the function runs, the slot stays as long as the
    session does. When the job is terminated while the function runs (Ctrl-C, ``saltutil.term_job``), the processes
    that it has started are ended first, and the slot is given back after that.

    Raises what the function raises. A function that does not exist, or that does not take these arguments, is a wrong
    argument; then no slot is taken. Raises ``CommandExecutionError`` also when the time ran out, and when the slot was
    lost while the function ran: somebody else may have held it too.

    CLI Example:

    .. code-block:: bash

        salt minion zk_concurrency.run /lock/path service.restart nginx max_concurrency=2 timeout=600
        salt minion zk_concurrency.run /lock/path state.apply web fun_kwargs='{test: true}' profile=prod
        salt minion zk_concurrency.run /lock/path pkg.upgrade reason='kernel update' max_concurrency=2
    """
    own = {name: kwargs.pop(name, default) for name, default in _RUN.items()}
    own |= {name: kwargs.pop(name) for name in SECURITY if name in kwargs}
    who, limit, timeout, fun_kwargs, reason = (own.pop(name) for name in _CLAIM)
    function, keywords = callee(__salt__, __opts__, fun, args, fun_kwargs, kwargs)
    client = _client(**own)
    client.job = kwargs.get("__pub_jid") or client.job
    slot = client.hold(path, who, limit, timeout, reason=reason)
    if slot is None:
        held = client.held_by(path)
        raise CommandExecutionError(f"no slot at {path} within {timeout} s, {held}; {fun} was not called")
    guard = Guard()
    try:
        # At the end of the process as well: a job that is terminated comes to no other end.
        runs.at_end(slot, functools.partial(slot.end, fun))
        result = function(*args, **keywords)
    except BaseException:
        if runs.forget(slot) and (loss := slot.end(fun)):
            log.error(loss)
        raise
    finally:
        guard.remove()
    if runs.forget(slot) and (loss := slot.end(fun)):
        raise CommandExecutionError(loss)
    return result


def _client(*connection, **security):
    client = Client(__salt__, __opts__, config.of_minion(__opts__, __grains__, __pillar__), *connection, **security)
    client.job = security.get("__pub_jid") or runs.job()
    return client


def _with_retcode(answer):
    """
    Make ``salt-call`` exit with 1 when the answer is ``False``. Not in a state run, which sets its own code: there
    Salt would take this one for the result of every later ``onlyif`` and ``unless`` with ``fun``. A state run's context
    is a copy with a file client in it.
    """
    if not answer and "fileclient" not in __context__:
        __context__["retcode"] = 1
    return answer


@documented("timeout", "connection", errors="read")
def pools(
    root="/",
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
    List the pools below a znode, and the znode itself where it is one. Creates nothing.

    root
        Below which znode.

    Returns a list of dicts, in the order of their paths: ``path``; ``max_concurrency``, which the pool stores, or
    ``None``; ``held`` and ``waiting``, how many; and ``changes``, how often a slot was taken or given back since the
    pool was made; each ``None`` where this user may not see it. A pool is a znode beside which there is a queue:
    somebody has asked for a slot of it. A root that does not exist is an error.

    CLI Example:

    .. code-block:: bash

        salt minion zk_concurrency.pools /lock/path profile=prod
    """
    client = _client(zk_hosts, profile, scheme, username, password, default_acl, **security)
    return client.pools(root, timeout)


@documented("timeout", "connection", errors="write")
def remove_pool(
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
    Remove a pool with its queue and its number of slots, while nobody holds a slot or waits for one.

    path
        The pool's znode.

    Returns ``True`` when it was removed, ``False`` when there was no such pool. While somebody holds a slot, or
    waits, it is an error, and nothing is changed. Whoever locks after that makes the pool anew.

    CLI Example:

    .. code-block:: bash

        salt minion zk_concurrency.remove_pool /lock/path
        salt minion zk_concurrency.remove_pool /lock/path profile=prod
    """
    client = _client(zk_hosts, profile, scheme, username, password, default_acl, **security)
    return client.call("remove_pool", path, timeout=timeout)
