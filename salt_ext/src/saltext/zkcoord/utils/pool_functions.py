"""
Pools as a whole, and taking slots away: functions of the execution module ``zk_concurrency``, which has no room for
them.

They look up ``_client`` and ``_with_retcode`` in the module that exposes them: hence ``noqa: F821``.
"""

from saltext.zkcoord.utils.documented import documented


@documented("timeout", "connection", errors="write")
def evict(
    path,
    identifier,
    reason,
    zk_hosts=None,
    by=None,
    profile=None,
    scheme=None,
    username=None,
    password=None,
    default_acl=None,
    timeout=None,
    **security,
):
    """
    Take the slot of an identifier away, whoever holds it, and say who did it and why.

    path
        The pool's znode.

    identifier
        Whose slot; any text or number. All its leases are deleted, those of running jobs as well.

    reason
        Why, for the holder, for the log and for those who listen to the event bus. Up to 1,024 bytes of it are kept
        beside the pool for a day.

    by
        Who takes it away. Default: the user who has called Salt, where that is known.

    Returns a dict: ``path``, ``identifier``, ``by``, ``reason``, and ``leases``, the names of the leases that were
    deleted. There are none where the identifier held no slot; the exit code is then 1. A holder that is running acts
    until it learns of its loss. ``unlock`` is for one's own.

    CLI Example:

    .. code-block:: bash

        salt minion zk_concurrency.evict /lock/path web1 'web1 is gone for good' profile=prod
    """
    client = _client(zk_hosts, profile, scheme, username, password, default_acl, **security)  # noqa: F821
    evicted = client.evict(path, identifier, reason, security.get("__pub_user") if by is None else by, timeout)
    _with_retcode(evicted["leases"])  # noqa: F821
    return evicted


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
        The znode below which to look.

    Returns a list of dicts, in the order of their paths. Each has ``path``, ``max_concurrency`` (the number that the
    pool stores), ``held`` and ``waiting`` (how many hold a slot, and how many wait), and ``changes`` (how often a slot
    was taken or given back since the pool was made). A value is ``None`` where the pool does not store it, or where
    this user may not see it. A pool is a znode beside which there is a queue: somebody has asked for a slot of it. A
    root that does not exist is an error.

    CLI Example:

    .. code-block:: bash

        salt minion zk_concurrency.pools /lock/path profile=prod
    """
    client = _client(zk_hosts, profile, scheme, username, password, default_acl, **security)  # noqa: F821
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

    Returns ``True`` when the pool was removed, ``False`` when there was no such pool. While somebody holds a slot, or
    waits, the call is an error, and nothing is changed. Whoever locks after the removal makes the pool anew.

    CLI Example:

    .. code-block:: bash

        salt minion zk_concurrency.remove_pool /lock/path
        salt minion zk_concurrency.remove_pool /lock/path profile=prod
    """
    client = _client(zk_hosts, profile, scheme, username, password, default_acl, **security)  # noqa: F821
    return client.call("remove_pool", path, timeout=timeout)
