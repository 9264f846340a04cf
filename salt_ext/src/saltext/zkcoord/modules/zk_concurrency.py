"""
At most N hosts at a time, through ZooKeeper
============================================

Take a slot, act, give it back. A drop-in for Salt's own ``zk_concurrency``: the same functions, arguments and
znodes, so minions with either module share one limit.

:depends: zkcoord
:configuration: In the minion configuration, the grains or the pillar; for all calls, or for those with
    ``profile=prod``. An explicit argument wins over the configuration, and the configuration over the default.

    .. code-block:: yaml

        zookeeper:
          hosts: zk1:2181,zk2:2181,zk3:2181   # default 127.0.0.1:2181
          events: true                        # default true
          run_allow: [service.restart, pkg.*]   # what ``run`` may call; default everything
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

A *pool* is a znode that stores its number of slots, ``max_concurrency``. Whoever holds a slot is known by an
*identifier*, and has a *lease*: a child of the pool's znode, with the identifier in it. Waiters get slots in the order
in which they came.

Where there is a master, its event bus gets an event for each step: ``zk_concurrency/MINION/KIND`` with ``path`` and
``identifier``. ``events: false`` switches the events off. ``waiting`` has the ``position`` in the queue (1 is next); it
is sent at most once a second, and only when the position changes. ``acquired`` and ``forced`` have ``max_concurrency``
and ``waited`` (seconds). ``released`` and ``lost`` end a hold; ``evicted`` tells ``by`` whom a slot was taken away.
``acquired``, ``forced``, ``evicted``, and the ``released`` of ``unlock`` have the ``reason`` that was given.
"""

import functools

from saltext.zkcoord.utils import config, party_functions, pool_functions
from saltext.zkcoord.utils.callee import callee_of_run
from saltext.zkcoord.utils.documented import documented
from saltext.zkcoord.utils.exposed import exposed

try:
    from saltext.zkcoord.utils import runs
    from saltext.zkcoord.utils.client import SECURITY, Client
    from saltext.zkcoord.utils.slot_runs import under_slot
except ImportError as err:
    _missing = f"zkcoord, its native core, cannot be imported ({err}); Salt's own Python needs the package"
else:
    _missing = None

# Salt's loader always prefers this module to Salt's own only where two names are Salt's: this one, and the file's.
__virtualname__ = "zk_concurrency"

# Parameters that Salt's own functions do not have come last. None is keyword-only: Salt 3006 refuses such parameters,
# and `module.run` of Salt 3008 passes them by position. For the same reason `run` takes these out of its `**kwargs`.
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
        Who holds the slot; any text or number. Default: the host's name. An identifier that holds a slot already is
        answered ``True`` at once. Calls are not counted: one ``unlock`` frees the slot.

    ephemeral_lease
        ``True``: the lease ends with this process, which is that of one ``salt-call`` or of one job or state
        run of a minion. ``False``: it stays until ``unlock``.

    force
        ``True``: take a slot at once, whatever the count and whoever waits. ``timeout`` is then at most
        ``connect_timeout``, and the log has a warning.

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
    Give a slot back. This works from any process, and from any host that names the identifier.

    path
        The pool's znode.

    identifier
        Whose lease to remove; any text or number. Default: the host's name.

    max_concurrency
        Slots in the pool, as given to ``lock``.

    ephemeral_lease
        As given to ``lock``. Where the identifier has no lease of this kind, its leases of the other kind are removed.

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
        These are there for the stock module's sake, and change nothing: all holders are listed.

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
        Seconds, connecting included. With ``blocking``, ``None`` waits for ever and ``0`` looks once. Without
        ``blocking``, at most and by default ``connect_timeout``.

    Returns the members' identifiers as a list, in no promised order; empty when the party does not exist.
    When the time ran out, it returns the members that are there: compare their number with ``min_nodes``.

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

    Returns a dict. ``max_concurrency`` is the number that the pool at ``path`` stores, or ``None``. ``free`` is how
    many slots can be had, or ``None`` where nothing limits them. ``holders`` is a list, the longest holder first. Each
    has ``identifier``, ``since`` (UTC, by the servers' clock), ``age`` (seconds, by this host's clock), ``ephemeral``,
    ``fencing_token`` (the lease's czxid: later holders have greater ones), ``session``, ``lease`` (the name of its
    znode), and ``reason``, ``host``, ``pid`` and ``job`` where a reason was given. ``waiters`` is a list in the order
    of the queue. Each has ``identifier``, ``position`` (1 is next), ``since``, ``age``, ``session``, ``place`` (the
    name of its queue node) and ``orphan`` (``True``: its queue node belongs to no session, and blocks all behind it). A
    pool that does not exist has no holders and no waiters.

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
    Change the number of slots that a pool stores. Waiters see the new number at once, and no holder loses its slot.

    path
        The pool's znode; created when missing.

    max_concurrency
        The new number, at least 1. Whoever calls ``lock`` from now on must give it.

    Returns a dict: ``path``, ``old`` (``None`` where there was no number), ``new``, ``holders`` (how many leases there
    are), and ``overshoot`` (how many of these are above the new number).

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
    Take a slot, call another function, and give the slot back however the function ends.

    path
        The pool's znode; created when missing.

    fun
        The function to call, such as ``service.restart``. Whoever may call ``run`` may call every function by it,
        except those that ``whitelist_modules`` or ``zookeeper:run_allow`` leaves out.

    args, fun_kwargs
        The function's own arguments, and its keywords as a dict. ``fun_kwargs`` and all parameters below are given by
        keyword.

    identifier
        Who holds the slot. Default: the host's name. Two runs with one identifier share one slot, which is free again
        when the last of them has ended. A slot that somebody has locked for the identifier stays locked.

    Returns what the function returns, and leaves its exit code alone. The lease is ephemeral: it ends with this
    process whatever happens. When the connection is lost while the function runs, the slot is held for as long as the
    session lives. When the job is terminated while the function runs (Ctrl-C, ``saltutil.term_job``), the processes
    that the function has started are ended first, and the slot is given back after that.

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
    function, keywords = callee_of_run(__salt__, __opts__, fun, args, fun_kwargs, kwargs)
    client = _client(**own)
    client.job = kwargs.get("__pub_jid") or client.job
    work = functools.partial(function, *args, **keywords)
    return under_slot(client, path, who, limit, timeout, reason, fun, work)


def _client(*connection, **security):
    client = Client(__salt__, __opts__, config.of_minion(__opts__, __grains__, __pillar__), *connection, **security)
    client.job = security.get("__pub_jid") or runs.job()
    return client


def _with_retcode(answer):
    """
    Make ``salt-call`` exit with 1 when the answer is ``False``.

    A state run sets its own exit code, and is left alone: Salt would take the 1 for the result of every later
    ``onlyif`` and ``unless`` with ``fun``. A state run is known by its context, which is a copy with a file client in
    it.
    """
    if not answer and "fileclient" not in __context__:
        __context__["retcode"] = 1
    return answer


evict = exposed(pool_functions.evict, globals(), {})
pools = exposed(pool_functions.pools, globals(), {})
remove_pool = exposed(pool_functions.remove_pool, globals(), {})
party_join = exposed(party_functions.party_join, globals(), {})
party_leave = exposed(party_functions.party_leave, globals(), {})
