"""
Ask now, be granted later, through ZooKeeper
============================================

A minion asks for a lock and goes on. The request is remembered, with its position in the queue, through the end of the
run and a reboot, and is granted in a later run. Nothing here waits; to wait in the run, use ``zk_concurrency``.

:depends: zkcoord
:configuration: As for ``zk_concurrency``: hosts and credentials in ``zookeeper`` or ``zookeeper:PROFILE``.

A *unit*, by default a minion, has a *request* for a *lock*. Whoever calls one of these functions decides right then
what is
granted: there is no leader. The state ``zk_coordinator.acquire`` asks and gives back by itself; the beacon
``zk_coordinator`` tells a minion of its grant; the runner shows who holds and who waits.

Where there is a master its event bus hears of it, in ``zk_coordinator/ID/KIND`` with ``lock``, ``path`` and
``identifier``, the unit, unless ``events`` is ``false``. ``ID`` is that of the minion or master that has done it. KIND
is ``requested``, ``granted``, ``kept``, ``released``, ``withdrawn``, ``revoked`` or ``dropped``. Where a ``reason`` was
given, they have that too.
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
    Ask for a lock, unless that was done before, and tell whether it is granted. It does not wait.

    Returns ``True`` when the lock is granted: it is the unit's until ``release``. Returns ``False`` when the request
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

    Returns ``True`` or ``False``; the exit code is then 1.

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

    Returns ``True`` or ``False``; the exit code is then 1.

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
    Give a lock back, or a request up. The next is granted it in the same step.

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

    Returns a dict for each lock, by its name, with ``policy``, and ``rule``, the same in words; ``max``, the most
    grants at a time, or ``None``; ``opens``, when a window opens next, where none is open; ``holders``, the longest
    first, each with ``unit``, ``since`` (UTC, by the servers' clock: when it has asked), ``granted`` (when), ``age``
    (seconds since then, by this host's clock), ``token`` (a fencing token: later ones are greater), ``by`` (who has
    decided), ``granted_because`` (an operator's reason), ``reason``, ``labels``, ``expires``, ``seen``; ``waiters``, in
    the order of the queue, each with ``unit``, ``position`` (1 is next), ``since``, ``age``, ``hopeless`` (why it can
    never be granted, or ``None``), ``reason``, ``labels``, ``expires`` and ``seen``.

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

    The grant counts like any other. Returns ``True`` when it was granted. Returns ``False`` when it was before; the
    exit code is then 1. A unit without a request is a wrong argument.

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

    The next is granted the lock in the same step: make sure first that the unit does not act any more. If it is there
    after all, it finds that it has no request, and asks again at the end of the queue. Where a program decides by a
    policy of its own (``custom``), nobody is granted the lock before a program that has this policy runs again.

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
    Decide what is granted now, and drop requests that have expired. Nobody needs it for a lock to change hands.

    lock
        The lock. Default: all that anybody has asked for.

    unit
        In whose name it is decided. It is shown with the grants. Default: this host's id.

    It is for what happens by itself: a window that opens, a party that grows, a unit that is not seen any more. The
    beacon does it too, for the locks that its minion waits for or is granted. The request of the minion that calls it
    counts as seen.

    Returns a dict: ``granted``, units by lock, and ``dropped``, requests by lock, each with ``unit``, ``granted``,
    ``seen`` and ``expires``.

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
        As for ``acquire``. Whoever asks from then on must give it.

    Returns a dict: ``old`` and ``new``, in words; ``None`` where nobody has asked for the lock yet, and nothing was
    changed.

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
    Make ``salt-call`` exit with 1 when the answer is ``False``. Not in a state run, which sets its own code: there
    Salt would take this one for the result of every later ``onlyif`` and ``unless`` with ``fun``. A state run's context
    is a copy with a file client in it.
    """
    if not answer and "fileclient" not in __context__:
        __context__["retcode"] = 1
    return answer
