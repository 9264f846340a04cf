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

A *pool* is a znode with ``max_concurrency`` slots. Whoever holds a slot has a *lease* in it, and is known
by an *identifier*. Waiters are served in the order in which they came.

Where there is a master its event bus hears of it, in ``zk_concurrency/MINION/KIND`` with ``path`` and
``identifier``, unless ``events`` is ``false``. ``waiting`` has the ``position`` in the queue (1 is next), at most
once a second and only when it changes; ``acquired`` and ``forced`` have ``max_concurrency`` and ``waited``
(seconds); ``released`` and ``lost`` end a hold. Where a ``reason`` was given, they have that too.
"""

import inspect
import logging

from salt.exceptions import CommandExecutionError, SaltInvocationError

try:
    from saltext.zkcoord import config
    from saltext.zkcoord.client import SECURITY, Client
except ImportError as err:
    _missing = f"zkcoord, its native core, cannot be imported ({err}); Salt's own Python needs the package"
else:
    _missing = None

log = logging.getLogger(__name__)

# The file has this name too: only with both equal to Salt's own does the loader always prefer this module.
__virtualname__ = "zk_concurrency"

# What Salt's own functions do not have comes last, and is not keyword-only: Salt 3006 refuses such arguments,
# and `module.run` of Salt 3008 passes them by position. Nor can `run` name its keywords for that.
_CLAIM = ("identifier", "max_concurrency", "timeout", "fun_kwargs")
_CONNECTION = ("zk_hosts", "profile", "scheme", "username", "password", "default_acl")
_RUN = {**dict.fromkeys((*_CLAIM, *_CONNECTION)), "max_concurrency": 1}


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

    path
        The pool's znode; created when missing.

    zk_hosts
        Servers as ``host:port,host:port`` or a list; a chroot may follow (``host:port,host:port/chroot``).
        Default: the configuration's ``hosts``, then ``127.0.0.1:2181``.

    identifier
        Who holds the slot; any text or number. Default: the host's name. Who holds a slot already is answered
        ``True`` at once, and one ``unlock`` frees it.

    max_concurrency
        Slots in the pool, at least 1. The first number given is stored in the pool; all must give the same.

    timeout
        Seconds to wait, connecting included: ``None`` for ever, ``0`` tries once.

    ephemeral_lease
        ``True``: the lease ends with this process, which is that of one ``salt-call`` or of one job or state
        run of a minion. ``False``: it stays until ``unlock``.

    force
        Take a slot at once, whatever the count and whoever waits. Then ``timeout`` is at most
        ``connect_timeout``. It is logged as a warning.

    profile
        Read the settings from ``zookeeper:PROFILE`` instead of ``zookeeper``.

    scheme
        Authentication scheme: ``digest``, the default when there are a username and a password, or ``sasl``.

    username, password
        User to authenticate as. Arguments end up in the master's job cache: rather use the configuration.

    default_acl
        ACL of created znodes: an entry or a list of them, each a dict with ``username``, ``password``, and
        ``allperms`` or any of ``read``, ``write``, ``create``, ``delete``, ``admin``; or a dict with ``scheme``, ``id``
        and ``perms`` (letters of ``cdrwa``, or ``all``); or ``creator_all``. Default: everything to everybody.

    reason
        Why, for the log and for those who listen to the event bus.

    security
        By keyword: ``use_ssl``, ``ca_certs`` and the others under *Security* in the manual.

    Returns ``True`` when the slot is held. Returns ``False`` when the time ran out; the exit code is then 1.

    Raises ``SaltInvocationError`` for a wrong argument. Raises ``CommandExecutionError`` when the ensemble
    cannot be reached within ``timeout`` or ``connect_timeout``, whichever is less, when it refuses the
    credentials or the access, and when the pool stores another ``max_concurrency``.

    Cancelled by a signal (Ctrl-C, ``saltutil.term_job``), it leaves the queue and raises
    ``CommandExecutionError``. When the connection is lost it goes on as soon as there is one again; if the
    session expired meanwhile, it queues again with the time that is left.

    CLI Example:

    .. code-block:: bash

        salt minion zk_concurrency.lock /lock/path host1:1234,host2:1234
        salt minion zk_concurrency.lock /lock/path profile=prod max_concurrency=2 timeout=600
        salt minion zk_concurrency.lock /lock/path profile=prod force=True reason='broken certificate'
    """
    client = _client(zk_hosts, profile, scheme, username, password, default_acl, **security)
    return _with_retcode(client.lock(path, identifier, max_concurrency, timeout, ephemeral_lease, force, reason))


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

    zk_hosts, scheme, profile, username, password, default_acl, security
        As for ``lock``. Nothing is created here.

    timeout
        Seconds for the whole call, connecting included. At most, and by default, ``connect_timeout``.

    reason
        Why, for the log and for those who listen to the event bus.

    Returns ``True`` when a lease of the identifier was removed. Returns ``False`` when it held none; the
    exit code is then 1.

    Raises ``SaltInvocationError`` for a wrong argument. Raises ``CommandExecutionError`` when the ensemble
    gives no answer within ``timeout``, and when it refuses the credentials or the access.

    Cancelled by a signal, it raises ``CommandExecutionError``; the lease may be there or gone. When the
    connection is lost it goes on as soon as there is one again.

    CLI Example:

    .. code-block:: bash

        salt minion zk_concurrency.unlock /lock/path host1:1234,host2:1234
        salt minion zk_concurrency.unlock /lock/path profile=prod identifier=web1 reason='web1 was reinstalled'
    """
    client = _client(zk_hosts, profile, scheme, username, password, default_acl, **security)
    kind = {"max_concurrency": max_concurrency, "ephemeral_lease": ephemeral_lease}
    return _with_retcode(client.unlock(path, identifier, reason, timeout=timeout, **kind))


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

    timeout
        Seconds for the whole call, connecting included. At most, and by default, ``connect_timeout``.

    zk_hosts, profile, scheme, username, password, default_acl, security
        As for ``lock``. Nothing is created here.

    Returns the holders' identifiers as a list, in no promised order; empty when the pool does not exist.

    Raises ``SaltInvocationError`` for a wrong argument. Raises ``CommandExecutionError`` when the ensemble
    gives no answer within ``timeout``, and when it refuses the credentials or the access.

    Cancelled by a signal, it raises ``CommandExecutionError``. When the connection is lost it goes on as
    soon as there is one again.

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
    List who is in a party (kazoo's ``Party`` and ``ShallowParty``), or wait until enough are. Creates
    nothing.

    path
        The party's znode.

    min_nodes
        How many members to wait for. Without ``blocking`` it changes nothing.

    blocking
        Wait until ``min_nodes`` members are there.

    zk_hosts, profile, scheme, username, password, default_acl, security
        As for ``lock``. Nothing is created here.

    timeout
        Seconds, connecting included: with ``blocking``, ``None`` waits for ever and ``0`` looks once.
        Without, at most and by default ``connect_timeout``.

    Returns the members' identifiers as a list, in no promised order; empty when the party does not exist.
    When the time ran out, the members so far: compare their number with ``min_nodes``.

    Errors, signals and lost connections: as for ``lock_holders``.

    CLI Example:

    .. code-block:: bash

        salt minion zk_concurrency.party_members /lock/path host1:1234,host2:1234
        salt minion zk_concurrency.party_members /lock/path profile=prod min_nodes=3 blocking=True timeout=60
    """
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
    Tell who holds a slot, since when, and who waits for one. Creates nothing.

    path
        The pool's znode.

    zk_hosts, profile, scheme, username, password, default_acl, security
        As for ``lock``. Nothing is created here.

    timeout
        Seconds for the whole call, connecting included. At most, and by default, ``connect_timeout``.

    Returns a dict: ``path``; ``max_concurrency``, which the pool stores, or ``None``; ``free``, how many slots
    can be had, or ``None`` where nothing limits them; ``holders``, the longest first, each with ``identifier``,
    ``since`` (UTC, by the servers' clock), ``age`` (seconds, by this host's clock), ``ephemeral``,
    ``fencing_token`` (the lease's czxid: later holders have greater ones), ``session`` and ``lease``;
    ``waiters``, in the order of the queue, each with ``identifier``, ``position`` (1 is next), ``since``,
    ``age``, ``session`` and ``place``. A pool that does not exist has neither.

    Errors, signals and lost connections: as for ``lock_holders``.

    CLI Example:

    .. code-block:: bash

        salt minion zk_concurrency.status /lock/path
        salt minion zk_concurrency.status /lock/path profile=prod timeout=5
    """
    client = _client(zk_hosts, profile, scheme, username, password, default_acl, **security)
    return client.call("status", path, timeout=timeout)


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

    zk_hosts, profile, scheme, username, password, default_acl, security
        As for ``lock``.

    timeout
        Seconds for the whole call, connecting included. At most, and by default, ``connect_timeout``.

    Returns a dict: ``path``, ``old`` (``None`` where there was no number), ``new``, ``holders`` (how many), and
    ``overshoot``, how many of them there are beyond the new number.

    Errors, signals and lost connections: as for ``lock_holders``. A znode whose data is no number is left alone:
    ``SaltInvocationError``. Cancelled, the number may be changed or not.

    CLI Example:

    .. code-block:: bash

        salt minion zk_concurrency.set_max /lock/path 3
        salt minion zk_concurrency.set_max /lock/path 3 profile=prod
    """
    client = _client(zk_hosts, profile, scheme, username, password, default_acl, **security)
    return client.call("set_max", path, max_concurrency, timeout=timeout)


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
        Who holds the slot. Default: the host's name. Two runs with one identifier share one slot, which the
        first to end gives back.

    max_concurrency, timeout
        As for ``lock``.

    zk_hosts, profile, scheme, username, password, default_acl, security
        As for ``lock``.

    Returns what the function returns, and leaves its exit code alone. The lease is ephemeral: it ends with this
    process whatever happens.

    Raises ``SaltInvocationError`` for a wrong argument and for a function that does not exist, or that does not
    take these arguments; then no slot is taken. Raises ``CommandExecutionError`` as ``lock`` does, when the
    time ran out, and when the slot was lost while the function ran: somebody else may have held it too. Raises
    what the function raises.

    Cancelled by a signal while it waits, it leaves the queue and raises ``CommandExecutionError``. When the
    connection is lost while the function runs, the slot stays as long as the session does.

    CLI Example:

    .. code-block:: bash

        salt minion zk_concurrency.run /lock/path service.restart nginx max_concurrency=2 timeout=600
        salt minion zk_concurrency.run /lock/path state.apply web fun_kwargs='{test: true}' profile=prod
    """
    own = {name: kwargs.pop(name, default) for name, default in _RUN.items()}
    own |= {name: kwargs.pop(name) for name in SECURITY if name in kwargs}
    who, limit, timeout, fun_kwargs = (own.pop(name) for name in _CLAIM)
    function, keywords = _function(fun, args, fun_kwargs, kwargs)
    client = _client(**own)
    if not client.lock(path, who, limit, timeout, ephemeral_lease=True):
        held = client.held_by(path)
        raise CommandExecutionError(f"no slot at {path} within {timeout} s, {held}; {fun} was not called")
    try:
        result = function(*args, **keywords)
    except BaseException:
        if loss := client.end(path, who, fun):
            log.error(loss)
        raise
    if loss := client.end(path, who, fun):
        raise CommandExecutionError(loss)
    return result


def _client(zk_hosts, profile, scheme, username, password, default_acl, **security):
    who = {"scheme": scheme, "username": username, "password": password, "default_acl": default_acl}
    config_get = config.of_minion(__salt__, __opts__, __grains__, __pillar__)
    return Client(__salt__, __opts__, config_get, zk_hosts=zk_hosts, profile=profile, **who, **security)


def _function(fun, args, fun_kwargs, kwargs):
    """Find a function, and the keywords for it: its own, and what Salt tells of the job to those that take it."""
    published = {key: value for key, value in kwargs.items() if key.startswith("__pub_")}
    if unknown := sorted(kwargs.keys() - published.keys()):
        raise SaltInvocationError(f"{', '.join(unknown)}: not known; keywords of {fun} go into fun_kwargs")
    if not isinstance(fun_kwargs, dict | None):
        raise SaltInvocationError("fun_kwargs: must be a dict")
    allowed = __opts__.get("whitelist_modules")
    if fun not in __salt__ or (allowed and fun.partition(".")[0] not in allowed):
        raise SaltInvocationError(f"fun: {fun} is not available on this minion")
    function, keywords = __salt__[fun], dict(fun_kwargs or {})
    signature = inspect.signature(function)
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature.parameters.values()):
        keywords = {**published, **keywords}
    try:
        signature.bind(*args, **keywords)
    except TypeError as err:
        raise SaltInvocationError(f"{fun}: {err}") from err
    return function, keywords


def _with_retcode(answer):
    """
    Make ``salt-call`` exit with 1 when the answer is ``False``. Not in a state run, which sets its own code: there
    Salt would take this one for the result of every later ``onlyif`` and ``unless`` with ``fun``. A state run's context
    is a copy with a file client in it.
    """
    if not answer and "fileclient" not in __context__:
        __context__["retcode"] = 1
    return answer
