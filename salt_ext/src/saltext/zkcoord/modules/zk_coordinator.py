"""
Ask now, be granted later, through ZooKeeper
============================================

A minion asks for a lock and goes on. The servers keep its request, with its position in the queue, through the end of
the run and a reboot. In a later run the minion finds that it was granted the lock. No function here waits; to wait in
the run, use ``zk_concurrency``.

:depends: zkcoord
:configuration: As for ``zk_concurrency``: hosts and credentials in ``zookeeper`` or ``zookeeper:PROFILE``.

A *unit*, by default a minion, has a *request* for a *lock*. There is no leader: whoever asks for a lock, or gives it
back, decides right then who is granted it. The state ``zk_coordinator.acquire`` asks for a lock and gives it back by
itself. The beacon ``zk_coordinator`` tells a minion of its grant. The runner shows who holds a lock and who waits.

Where there is a master, its event bus gets an event for each step: ``zk_coordinator/ID/KIND`` with ``lock``, ``path``
and ``identifier`` (the unit). ``events: false`` switches the events off. ``ID`` is the id of the minion or master that
has acted. ``KIND`` is ``requested``, ``granted``, ``kept``, ``released``, ``withdrawn``, ``revoked`` or ``dropped``.
Where a ``reason`` was given, the event has it, too.
"""

from saltext.zkcoord.utils import config
from saltext.zkcoord.utils.documented import documented

try:
    from saltext.zkcoord.utils.client import Client
    from saltext.zkcoord.utils.coordinator import Coordinator
    from saltext.zkcoord.utils.coordinator import labels as labels_of
except ImportError as err:
    _missing = f"zkcoord, its native core, cannot be imported ({err}); Salt's own Python needs the package"
else:
    _missing = None

__virtualname__ = "zk_coordinator"


def __virtual__():
    return __virtualname__ if _missing is None else (False, _missing)


@documented("lock", "unit", "place", "policy", "asked", "timeout", "connection", "reason", errors="write", creates=True)
def acquire(
    lock,
    unit=None,
    key="salt",
    policy="serial",
    zk_hosts=None,
    profile=None,
    scheme=None,
    username=None,
    password=None,
    default_acl=None,
    root="/coordinator",
    reason=None,
    labels=None,
    expires=None,
    timeout=None,
    **security,
):
    """
    Ask for a lock, unless the unit has asked before, and tell whether the lock is granted. This function never waits.

    Returns ``True`` when the lock is granted: the unit has it until ``release``. Returns ``False`` when the request
    waits; the exit code is then 1.

    CLI Example:

    .. code-block:: bash

        salt minion zk_coordinator.acquire restart
        salt minion zk_coordinator.acquire restart policy='{max: 2, per: {rack: 1}}' labels='{rack: r1}' reason=kernel
        salt minion zk_coordinator.acquire restart key=other expires=86400 profile=prod
    """
    coordinator = _coordinator(key, root, zk_hosts, profile, scheme, username, password, default_acl, **security)
    grains = __grains__ if _unit(unit) == __opts__["id"] else {}
    asked = {"reason": reason, "labels": labels_of(policy, labels, grains), "expires": expires}
    return _with_retcode(coordinator.acquire(lock, _unit(unit), policy, timeout, **asked)["granted"])


@documented("lock", "unit", "place", "timeout", "connection", errors="read")
def granted(
    lock,
    unit=None,
    key="salt",
    zk_hosts=None,
    profile=None,
    scheme=None,
    username=None,
    password=None,
    default_acl=None,
    root="/coordinator",
    timeout=None,
    **security,
):
    """
    Tell whether a lock is granted to a unit. Changes nothing.

    Returns ``True`` or ``False``. For ``False`` the exit code is 1.

    CLI Example:

    .. code-block:: bash

        salt minion zk_coordinator.granted restart
        salt minion zk_coordinator.granted restart unit=web1 profile=prod
    """
    coordinator = _coordinator(key, root, zk_hosts, profile, scheme, username, password, default_acl, **security)
    return _with_retcode(_own(coordinator.queue(lock, timeout)["holders"], _unit(unit)) is not None)


@documented("lock", "unit", "place", "timeout", "connection", errors="read")
def requested(
    lock,
    unit=None,
    key="salt",
    zk_hosts=None,
    profile=None,
    scheme=None,
    username=None,
    password=None,
    default_acl=None,
    root="/coordinator",
    timeout=None,
    **security,
):
    """
    Tell whether a unit has a request for a lock, granted or not. Changes nothing.

    Returns ``True`` or ``False``. For ``False`` the exit code is 1.

    CLI Example:

    .. code-block:: bash

        salt minion zk_coordinator.requested restart
    """
    coordinator = _coordinator(key, root, zk_hosts, profile, scheme, username, password, default_acl, **security)
    queue = coordinator.queue(lock, timeout)
    return _with_retcode(_own([*queue["holders"], *queue["waiters"]], _unit(unit)) is not None)


@documented("lock", "unit", "place", "timeout", "connection", errors="read")
def request_timestamp(
    lock,
    unit=None,
    key="salt",
    zk_hosts=None,
    profile=None,
    scheme=None,
    username=None,
    password=None,
    default_acl=None,
    root="/coordinator",
    timeout=None,
    **security,
):
    """
    Tell when a unit has asked for a lock. Changes nothing.

    Returns a text in the form of RFC 3339, UTC, by the servers' clock. Returns ``None`` when there is no request.

    CLI Example:

    .. code-block:: bash

        salt minion zk_coordinator.request_timestamp restart
    """
    coordinator = _coordinator(key, root, zk_hosts, profile, scheme, username, password, default_acl, **security)
    queue = coordinator.queue(lock, timeout)
    own = _own([*queue["holders"], *queue["waiters"]], _unit(unit))
    return None if own is None else own["since"]


@documented("lock", "unit", "place", "timeout", "connection", "reason", errors="write")
def release(
    lock,
    unit=None,
    key="salt",
    zk_hosts=None,
    profile=None,
    scheme=None,
    username=None,
    password=None,
    default_acl=None,
    root="/coordinator",
    timeout=None,
    reason=None,
    **security,
):
    """
    Give a lock back, or withdraw a request. The next unit is granted the lock in the same transaction.

    Returns ``True`` when there was a request, granted or not. Returns ``False`` when there was none; the exit code is
    then 1.

    CLI Example:

    .. code-block:: bash

        salt minion zk_coordinator.release restart
    """
    coordinator = _coordinator(key, root, zk_hosts, profile, scheme, username, password, default_acl, **security)
    return _with_retcode(coordinator.release(lock, _unit(unit), timeout=timeout, reason=reason)["requested"])


@documented("place", "timeout", "connection", errors="read")
def queue(
    lock=None,
    unit=None,
    key="salt",
    zk_hosts=None,
    profile=None,
    scheme=None,
    username=None,
    password=None,
    default_acl=None,
    root="/coordinator",
    timeout=None,
    **security,
):
    """
    Tell who is granted a lock since when, and who waits for it. Changes nothing.

    lock
        The lock. Default: all that anybody has asked for.

    unit
        Only the locks that this unit has asked for. Default: all.

    Returns a dict with one entry for each lock, by its name. ``policy`` is the lock's policy, and ``rule`` the same in
    words. ``max`` is the most grants at a time, or ``None``. ``opens`` is when a window opens next, where none is open.

    ``holders`` is a list, the longest holder first. Each has ``unit``, ``since`` (when it asked: UTC, by the servers'
    clock), ``granted`` (when it was granted the lock), ``age`` (seconds since the grant, by this host's clock),
    ``token`` (a fencing token: later grants have greater ones), ``by`` (who decided), ``granted_because`` (an
    operator's reason), ``reason``, ``labels``, ``expires`` and ``seen`` (when the unit was seen last).

    ``waiters`` is a list in the order of the queue. Each has ``unit``, ``position`` (1 is next), ``since``, ``age``
    (seconds since it asked), ``hopeless`` (why it can never be granted the lock, or ``None``), ``reason``, ``labels``,
    ``expires`` and ``seen``.

    CLI Example:

    .. code-block:: bash

        salt minion zk_coordinator.queue
        salt minion zk_coordinator.queue restart profile=prod
        salt minion zk_coordinator.queue unit=web1
    """
    coordinator = _coordinator(key, root, zk_hosts, profile, scheme, username, password, default_acl, **security)
    names = coordinator.locks(timeout) if lock is None else [lock]
    found = {str(name): coordinator.queue(name, timeout) for name in names}
    if unit not in (None, ""):
        found = {name: it for name, it in found.items() if _own([*it["holders"], *it["waiters"]], unit)}
    return _shown(found)


@documented("lock", "place", "timeout", "connection", errors="write")
def grant(
    lock,
    unit,
    key="salt",
    reason=None,
    zk_hosts=None,
    profile=None,
    scheme=None,
    username=None,
    password=None,
    default_acl=None,
    root="/coordinator",
    timeout=None,
    **security,
):
    """
    Grant a lock to a unit that has asked for it, whatever the policy says: an operator's decision.

    unit
        Whose request it is.

    reason
        Why. It is stored with the grant, logged as a warning, and told on the event bus.

    The grant counts like any other: nobody else is granted the lock before there is room again. Returns ``True`` when
    this call has granted the lock. Returns ``False`` when the unit was granted it before; the exit code is then 1. A
    unit without a request is a wrong argument.

    CLI Example:

    .. code-block:: bash

        salt minion zk_coordinator.grant restart web7 reason='its disk is full'
    """
    coordinator = _coordinator(key, root, zk_hosts, profile, scheme, username, password, default_acl, **security)
    return _with_retcode(coordinator.grant(lock, unit, _operator(), reason, timeout))


@documented("lock", "place", "timeout", "connection", errors="write")
def revoke(
    lock,
    unit,
    key="salt",
    reason=None,
    zk_hosts=None,
    profile=None,
    scheme=None,
    username=None,
    password=None,
    default_acl=None,
    root="/coordinator",
    timeout=None,
    **security,
):
    """
    Take a lock away from a unit that will not give it back, and its request from the queue: an operator's decision.

    unit
        Whose request it is.

    reason
        Why. It is logged as a warning, and told on the event bus.

    The next unit is granted the lock in the same transaction: make sure first that this unit does not act any more. If
    the unit runs again after all, it finds that it has no request, and asks again at the end of the queue. Where a
    program decides by a policy of its own (``custom``), nobody is granted the lock before a program that has this
    policy runs again.

    Returns ``True`` when there was a request, granted or not. Returns ``False`` when there was none; the exit code is
    then 1.

    CLI Example:

    .. code-block:: bash

        salt minion zk_coordinator.revoke restart web3 reason='it is on fire'
    """
    coordinator = _coordinator(key, root, zk_hosts, profile, scheme, username, password, default_acl, **security)
    return _with_retcode(coordinator.revoke(lock, unit, _operator(), reason, timeout))


@documented("place", "timeout", "connection", errors="write")
def handle(
    lock=None,
    unit=None,
    key="salt",
    zk_hosts=None,
    profile=None,
    scheme=None,
    username=None,
    password=None,
    default_acl=None,
    root="/coordinator",
    timeout=None,
    **security,
):
    """
    Decide what is granted now, and drop requests that have expired. A lock changes hands without this function.

    lock
        The lock. Default: all that anybody has asked for.

    unit
        In whose name this call decides; ``queue`` shows it with the grants. Default: the id of this minion or master.

    The function is for changes that no unit makes: a window that opens, a party that grows, a unit that is not seen any
    more. The beacon decides as well, for the locks that its minion waits for or is granted. The request of the minion
    that calls this function counts as seen.

    Returns a dict. ``granted`` has the units by lock. ``dropped`` has the requests by lock, each with ``unit``,
    ``granted``, ``seen`` and ``expires``.

    CLI Example:

    .. code-block:: bash

        salt minion zk_coordinator.handle
        salt minion zk_coordinator.handle restart
    """
    coordinator = _coordinator(key, root, zk_hosts, profile, scheme, username, password, default_acl, **security)
    return coordinator.handle(lock, f"handle by {_unit(unit)}", timeout, seen=__opts__["id"])


@documented("lock", "place", "timeout", "connection", errors="write")
def set_policy(
    lock,
    policy,
    key="salt",
    zk_hosts=None,
    profile=None,
    scheme=None,
    username=None,
    password=None,
    default_acl=None,
    root="/coordinator",
    timeout=None,
    **security,
):
    """
    Change the policy of a lock, and decide by the new one. No grant is taken away.

    policy
        As for ``acquire``. Whoever asks from then on must give the new one.

    Returns a dict with the policies ``old`` and ``new``, in words. Both are ``None`` where nobody has asked for the
    lock yet: nothing was changed then.

    CLI Example:

    .. code-block:: bash

        salt minion zk_coordinator.set_policy restart '{max: 3}'
    """
    coordinator = _coordinator(key, root, zk_hosts, profile, scheme, username, password, default_acl, **security)
    return coordinator.set_policy(lock, policy, f"handle by {__opts__['id']}", timeout)


def _coordinator(key, root, *connection, **security):
    configuration = config.of_minion(__opts__, __grains__, __pillar__)
    return Coordinator(Client(__salt__, __opts__, configuration, *connection, **security), key, root)


def _unit(unit):
    return __opts__["id"] if unit in (None, "") else unit


def _operator():
    return f"operator on {__opts__['id']}"


def _own(entries, unit):
    return next((entry for entry in entries if entry["unit"] == str(unit)), None)


def _shown(queues):
    return queues


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
