"""
At most N hosts at a time, through ZooKeeper
============================================

Take a slot, act, give it back. A drop-in for Salt's own ``zk_concurrency``: the same functions, arguments and
znodes, so minions with either module share one limit.

:depends: zkcoord
:configuration: In the minion configuration, the grains or the pillar; for all calls, or for those with
    ``profile=blue``. An explicit argument wins over the configuration, and that over the default.

    .. code-block:: yaml

        zookeeper:
          hosts: zk1:2181,zk2:2181,zk3:2181   # default 127.0.0.1:2181
          blue:
            hosts: [zk7:2181, zk8:2181, zk9:2181]
            scheme: digest
            username: salt
            password: secret
            default_acl:
              username: salt
              password: secret
              allperms: true
            session_timeout: 10               # seconds, default 10
            connect_timeout: 10               # seconds, default 10

A *pool* is a znode with ``max_concurrency`` slots. Whoever holds a slot has a *lease* in it, and is known
by an *identifier*. Waiters are served in the order in which they came.
"""

try:
    import zkcoord
    from saltext.zkcoord.errors import salt_errors
except ImportError as err:
    _missing = f"zkcoord, its native core, cannot be imported ({err}); Salt's own Python needs the package"
else:
    _missing = None

# The file has this name too: only with both equal to Salt's own does the loader always prefer this module.
__virtualname__ = "zk_concurrency"

# What Salt's own functions do not have comes last, and is not keyword-only: Salt 3006 refuses such arguments,
# and `module.run` of Salt 3008 passes them by position.


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
        ``connect_timeout``.

    profile
        Read the settings from ``zookeeper:PROFILE`` instead of ``zookeeper``.

    scheme
        Authentication scheme. Default: ``digest`` when there are a username and a password.

    username
        User to authenticate as; needs ``password``.

    password
        The user's password. Arguments end up in the master's job cache: rather use the configuration.

    default_acl
        ACL of created znodes: a dict, or a list of dicts, with ``username``, ``password``, and ``allperms``
        or any of ``read``, ``write``, ``create``, ``delete``, ``admin``. Default: everything to everybody.

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
        salt minion zk_concurrency.lock /lock/path profile=blue max_concurrency=2 timeout=600
    """
    with salt_errors():
        held = zkcoord.lock(
            path,
            zk_hosts=zk_hosts,
            identifier=identifier,
            max_concurrency=max_concurrency,
            timeout=timeout,
            ephemeral_lease=ephemeral_lease,
            force=force,
            profile=profile,
            scheme=scheme,
            username=username,
            password=password,
            default_acl=default_acl,
            config_get=__salt__["config.get"],
            raise_on_signal=True,
        )
    return _with_retcode(held)


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
):
    """
    Give a slot back. Works from any process, and from any host with the same identifier.

    path
        The pool's znode.

    zk_hosts
        Servers as ``host:port,host:port`` or a list; a chroot may follow (``host:port,host:port/chroot``).
        Default: the configuration's ``hosts``, then ``127.0.0.1:2181``.

    identifier
        Whose lease to remove; any text or number. Default: the host's name.

    max_concurrency
        Slots in the pool, as given to ``lock``.

    ephemeral_lease
        As given to ``lock``. Leases of either kind are removed.

    scheme
        Authentication scheme. Default: ``digest`` when there are a username and a password.

    profile
        Read the settings from ``zookeeper:PROFILE`` instead of ``zookeeper``.

    username
        User to authenticate as; needs ``password``.

    password
        The user's password. Arguments end up in the master's job cache: rather use the configuration.

    default_acl
        As for ``lock``; nothing is created here.

    timeout
        Seconds for the whole call, connecting included. At most, and by default, ``connect_timeout``.

    Returns ``True`` when a lease of the identifier was removed. Returns ``False`` when it held none; the
    exit code is then 1.

    Raises ``SaltInvocationError`` for a wrong argument. Raises ``CommandExecutionError`` when the ensemble
    gives no answer within ``timeout``, and when it refuses the credentials or the access.

    Cancelled by a signal, it raises ``CommandExecutionError``; the lease may be there or gone. When the
    connection is lost it goes on as soon as there is one again.

    CLI Example:

    .. code-block:: bash

        salt minion zk_concurrency.unlock /lock/path host1:1234,host2:1234
        salt minion zk_concurrency.unlock /lock/path profile=blue identifier=web1
    """
    with salt_errors():
        removed = zkcoord.unlock(
            path,
            zk_hosts=zk_hosts,
            identifier=identifier,
            max_concurrency=max_concurrency,
            ephemeral_lease=ephemeral_lease,
            scheme=scheme,
            profile=profile,
            username=username,
            password=password,
            default_acl=default_acl,
            timeout=timeout,
            config_get=__salt__["config.get"],
            raise_on_signal=True,
        )
    return _with_retcode(removed)


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
):
    """
    List who holds a slot. Creates nothing.

    path
        The pool's znode.

    zk_hosts
        Servers as ``host:port,host:port`` or a list; a chroot may follow (``host:port,host:port/chroot``).
        Default: the configuration's ``hosts``, then ``127.0.0.1:2181``.

    identifier
        Changes nothing: all holders are listed.

    max_concurrency
        Changes nothing: all holders are listed.

    timeout
        Seconds for the whole call, connecting included. At most, and by default, ``connect_timeout``.

    ephemeral_lease
        Changes nothing: leases of either kind are listed.

    profile
        Read the settings from ``zookeeper:PROFILE`` instead of ``zookeeper``.

    scheme
        Authentication scheme. Default: ``digest`` when there are a username and a password.

    username
        User to authenticate as; needs ``password``.

    password
        The user's password. Arguments end up in the master's job cache: rather use the configuration.

    default_acl
        As for ``lock``; nothing is created here.

    Returns the holders' identifiers as a list, in no promised order; empty when the pool does not exist.

    Raises ``SaltInvocationError`` for a wrong argument. Raises ``CommandExecutionError`` when the ensemble
    gives no answer within ``timeout``, and when it refuses the credentials or the access.

    Cancelled by a signal, it raises ``CommandExecutionError``. When the connection is lost it goes on as
    soon as there is one again.

    CLI Example:

    .. code-block:: bash

        salt minion zk_concurrency.lock_holders /lock/path host1:1234,host2:1234
    """
    with salt_errors():
        return zkcoord.lock_holders(
            path,
            zk_hosts=zk_hosts,
            identifier=identifier,
            max_concurrency=max_concurrency,
            timeout=timeout,
            ephemeral_lease=ephemeral_lease,
            profile=profile,
            scheme=scheme,
            username=username,
            password=password,
            default_acl=default_acl,
            config_get=__salt__["config.get"],
            raise_on_signal=True,
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
):
    """
    List who is in a party (kazoo's ``Party`` and ``ShallowParty``), or wait until enough are. Creates
    nothing.

    path
        The party's znode.

    zk_hosts
        Servers as ``host:port,host:port`` or a list; a chroot may follow (``host:port,host:port/chroot``).
        Default: the configuration's ``hosts``, then ``127.0.0.1:2181``.

    min_nodes
        How many members to wait for. Without ``blocking`` it changes nothing.

    blocking
        Wait until ``min_nodes`` members are there.

    profile
        Read the settings from ``zookeeper:PROFILE`` instead of ``zookeeper``.

    scheme
        Authentication scheme. Default: ``digest`` when there are a username and a password.

    username
        User to authenticate as; needs ``password``.

    password
        The user's password. Arguments end up in the master's job cache: rather use the configuration.

    default_acl
        As for ``lock``; nothing is created here.

    timeout
        Seconds, connecting included: with ``blocking``, ``None`` waits for ever and ``0`` looks once.
        Without, at most and by default ``connect_timeout``.

    Returns the members' identifiers as a list, in no promised order; empty when the party does not exist.
    When the time ran out, the members so far: compare their number with ``min_nodes``.

    Raises ``SaltInvocationError`` for a wrong argument. Raises ``CommandExecutionError`` when the ensemble
    cannot be reached within ``timeout`` or ``connect_timeout``, whichever is less, and when it refuses the
    credentials or the access.

    Cancelled by a signal, it raises ``CommandExecutionError``. When the connection is lost it goes on as
    soon as there is one again.

    CLI Example:

    .. code-block:: bash

        salt minion zk_concurrency.party_members /lock/path host1:1234,host2:1234
        salt minion zk_concurrency.party_members /lock/path profile=blue min_nodes=3 blocking=True timeout=60
    """
    with salt_errors():
        return zkcoord.party_members(
            path,
            zk_hosts=zk_hosts,
            min_nodes=min_nodes,
            blocking=blocking,
            profile=profile,
            scheme=scheme,
            username=username,
            password=password,
            default_acl=default_acl,
            timeout=timeout,
            config_get=__salt__["config.get"],
            raise_on_signal=True,
        )


def _with_retcode(answer):
    """
    Make ``salt-call`` exit with 1 when the answer is ``False``.

    Not in a state run, which sets its own code: there Salt would take this one for the result of every later
    ``onlyif`` and ``unless`` with ``fun``. A state run's context is a copy with a file client in it.
    """
    if not answer and "fileclient" not in __context__:
        __context__["retcode"] = 1
    return answer
