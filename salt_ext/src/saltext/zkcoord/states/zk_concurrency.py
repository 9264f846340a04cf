"""
At most N hosts at a time, in a state run
=========================================

Take a slot before the states that must not run everywhere at once, and give it back after them. A drop-in for Salt's
own ``zk_concurrency`` states; the execution module of the same name describes the configuration.

:depends: zkcoord

.. code-block:: yaml

    one of two:
      zk_concurrency.held:
        - name: /restart/web
        - max_concurrency: 2
        - timeout: 600

    restart:
      test.succeed_with_changes:
        - require:
          - zk_concurrency: one of two
"""

import logging

from salt.exceptions import CommandExecutionError, SaltInvocationError
from salt.utils.args import clean_kwargs
from saltext.zkcoord.utils import config
from saltext.zkcoord.utils.documented import documented

try:
    from saltext.zkcoord.utils import runs
    from saltext.zkcoord.utils.client import Client, blocked_by
    from saltext.zkcoord.utils.terminal import shown
    from saltext.zkcoord.utils.terminated import Guard
    from zkcoord.errors import Cancelled, ConnectionLost
except ImportError as err:
    _missing = str(err)
else:
    _missing = None

log = logging.getLogger(__name__)

# Salt's loader always prefers this module to Salt's own only where two names are Salt's: this one, and the file's.
__virtualname__ = "zk_concurrency"

# Seconds for giving a slot back when the process of a run ends.
_AT_END = 5

_USED = ("lock", "unlock", "lock_holders", "party_members", "status")


def __virtual__():
    missing = [name for name in _USED if f"zk_concurrency.{name}" not in __salt__]
    if _missing is None and not missing:
        return __virtualname__
    return (False, _missing or f"the zk_concurrency execution module that is loaded has no {', '.join(missing)}")


@documented("minion", "limit", "wait", "connection", "kept reason", errors="waiting state", creates=True)
def lock(
    name,
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
    reason=None,
    **security,
):
    """
    Take a slot, and wait for one if need be. The slot is held until ``unlock``. Rather use ``held``, which gives its
    slot back by itself.

    name
        The pool's znode; created when missing.

    ephemeral_lease
        ``True``: the lease ends with the process of this run.

    When the time ran out the state fails, and its comment names the holders.

    With ``test=True`` the comment tells whether the slot is held already (``result: True``), whether one is free, or
    how many are in the queue.

    .. code-block:: yaml

        take a slot:
          zk_concurrency.lock:
            - name: /lock/path
            - max_concurrency: 4
            - timeout: 600
    """
    connection = _connection(zk_hosts, profile, scheme, username, password, default_acl, **security)
    claim = {"identifier": _own(identifier), "max_concurrency": max_concurrency}
    if __opts__["test"]:
        return _foretell(name, claim, connection)
    why = {} if reason in (None, "") else {"reason": reason}
    return _take(name, {**claim, "timeout": timeout, "ephemeral_lease": ephemeral_lease, **why}, connection)


@documented("minion", "connection", errors="waiting state")
def unlock(
    name,
    zk_hosts=None,
    identifier=None,
    max_concurrency=1,
    ephemeral_lease=False,
    profile=None,
    scheme=None,
    username=None,
    password=None,
    default_acl=None,
    **security,
):
    """
    Give a slot back. To hold none is success, too.

    name
        The pool's znode.

    max_concurrency, ephemeral_lease
        As given to ``lock``.

    With ``test=True`` the comment tells whether there is a slot to give back (else ``result: True``).

    .. code-block:: yaml

        give it back:
          zk_concurrency.unlock:
            - name: /lock/path
    """
    connection = _connection(zk_hosts, profile, scheme, username, password, default_acl, **security)
    identifier = _own(identifier)
    if __opts__["test"]:
        return _foretell_release(name, identifier, connection)
    kind = {"max_concurrency": max_concurrency, "ephemeral_lease": ephemeral_lease}
    own = runs.forget(_slot(name, identifier, zk_hosts, profile))
    try:
        removed = (
            own.give_back()
            if own
            else __salt__["zk_concurrency.unlock"](name, identifier=identifier, **kind, **connection)
        )
    except (CommandExecutionError, SaltInvocationError) as err:
        return _failed(name, err)
    return _result(name, True, "" if removed else f"Unable to find lease for path {name}")


@documented("minion", "limit", "wait", "connection", "kept reason", errors="waiting state", creates=True)
def held(
    name,
    zk_hosts=None,
    identifier=None,
    max_concurrency=1,
    timeout=None,
    keep_on_failure=False,
    profile=None,
    scheme=None,
    username=None,
    password=None,
    default_acl=None,
    reason=None,
    **security,
):
    """
    Hold a slot from here to the end of the run, however that ends.

    name
        The pool's znode; created when missing.

    keep_on_failure
        ``True``: keep the slot when the run fails, so that a failed restart stops the hosts that come after this one.

    States that need the slot ``require`` this one. This state runs where it stands in the tree. So put states that take
    time and hurt nobody before it; with ``order: last`` it runs right before the first state that requires it.

    The lease is ephemeral, and belongs to the session of the run's own process, that of the minion's job or of
    ``salt-call``. At the end of that process the slot is given back, whatever the states after this one do, and whether
    they fail or not. If the process is killed, the servers remove the lease with its session, ``session_timeout``
    seconds later. If the session expires while the run goes on, somebody else may have held the slot, too: the log then
    has an error, and the event bus has ``lost``.

    When a run is terminated (Ctrl-C, ``saltutil.term_job``), the processes that it has started since are ended first,
    and the slot is given back after that. A service that they have stopped may stay stopped: with ``keep_on_failure``
    the slot stays held then. A slot that somebody has locked for the identifier stays locked.

    With ``keep_on_failure`` the lease is persistent. At the end of the process the slot is given back only if the run
    came to its end and none of its states failed, whether they require the slot or not. A run that fails, is terminated
    or is killed leaves the slot held. The next run of the same minion has it at once, and gives it back if it ends
    well. Or somebody gives the slot back by ``zk_concurrency.unlock``.

    The state ``zk_concurrency.unlock`` gives the slot back before the end of the run.

    ``held`` cannot be ``parallel`` itself, since the slot would be given back at the end of its own process; states
    that require it can. In a minion with ``multiprocessing: False`` a run has no process of its own, at whose end the
    slot could be given back: use ``lock`` and ``unlock`` there.

    ``test=True`` does as for ``lock``.

    .. code-block:: yaml

        a slot:
          zk_concurrency.held:
            - name: /lock/path
            - max_concurrency: 2
            - timeout: 600
            - reason: kernel update
    """
    connection = _connection(zk_hosts, profile, scheme, username, password, default_acl, **security)
    identifier = _own(identifier)
    claim = {"identifier": identifier, "max_concurrency": max_concurrency}
    if __opts__["test"]:
        return _foretell(name, claim, connection)
    if not runs.has_process() or __low__.get("parallel"):
        why = "is parallel" if runs.has_process() else "is a thread of the minion (multiprocessing: False)"
        return _result(name, False, f"held needs the process of a run, and this {why}: use lock and unlock instead")
    key = _slot(name, identifier, zk_hosts, profile)
    if runs.is_due(key):
        return _result(name, True, "lock acquired")
    run = runs.Run(__context__) if keep_on_failure else None
    client = Client(__salt__, __opts__, config.of_minion(__opts__, __grains__, __pillar__), **connection)
    client.job = runs.job()
    try:
        slot = client.hold(name, identifier, max_concurrency, timeout, keep=keep_on_failure, reason=reason)
    except (CommandExecutionError, SaltInvocationError) as err:
        return _failed(name, err)
    if slot is None:
        return _no_slot(name, max_concurrency, timeout, connection)
    Guard()  # to the end of the process
    runs.at_end(key, _Held(f"{identifier} at {name}", run, slot))
    return _result(name, True, "lock acquired")


@documented("connection", errors="waiting state")
def min_party(
    name,
    zk_hosts,
    min_nodes,
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
    Make sure that at least ``min_nodes`` members are in a party, or wait until they are.

    name
        The party's znode. Nothing is created.

    min_nodes
        How many members there have to be.

    blocking
        Wait for them.

    timeout
        Seconds to wait, connecting included; ``None`` for ever. When they ran out the state fails.

    With ``test=True`` the state counts the members and does not wait. Too few members are ``result: None`` then.

    .. code-block:: yaml

        three are there:
          zk_concurrency.min_party:
            - name: /party/path
            - zk_hosts: host1:1234,host2:1234
            - min_nodes: 3
            - blocking: true
            - timeout: 60
    """
    connection = _connection(zk_hosts, profile, scheme, username, password, default_acl, **security)
    test, members = __opts__["test"], __salt__.get("zk_concurrency.party_members")
    if test and members is None:
        return _result(name, None, "Attempt to ensure min_party")
    waiting = {} if test else {"blocking": blocking, "timeout": timeout}
    try:
        count = len(members(name, min_nodes=min_nodes, **waiting, **connection))
    except (CommandExecutionError, SaltInvocationError) as err:
        return _failed(name, err)
    if count < (1 if min_nodes is None else int(min_nodes)):
        comment = f"Currently {count} nodes, which is < {min_nodes}"
        return _result(name, None, f"Attempt to ensure min_party: {comment}") if test else _result(name, False, comment)
    if blocking and not test:
        comment = f"Blocked until {min_nodes} nodes were available. Unblocked after {count} nodes became available"
    else:
        comment = f"Currently {count} nodes, which is >= {min_nodes}"
    return _result(name, True, comment)


def _connection(zk_hosts, profile, scheme, username, password, default_acl, **security):
    who = {"scheme": scheme, "username": username, "password": password, "default_acl": default_acl}
    return clean_kwargs(zk_hosts=zk_hosts, profile=profile, **who, **security)


def _own(identifier):
    return __grains__.get("id") if identifier in (None, "") else identifier


def _slot(name, identifier, zk_hosts, profile):
    """
    What tells one slot of this run from another.
    """
    return name, str(identifier), str(zk_hosts), str(profile)


def _result(name, result, comment):
    return {"name": name, "changes": {}, "result": result, "comment": str(comment)}


def _failed(name, err):
    # The next states must not run: a signal has asked the run to end, or nobody knows whether it holds the slot.
    if isinstance(err.__cause__, Cancelled | ConnectionLost):
        runs.stop(__salt__)
    return _result(name, False, err)


def _take(name, claim, connection):
    try:
        if __salt__["zk_concurrency.lock"](name, **claim, **connection):
            return _result(name, True, "lock acquired")
    except (CommandExecutionError, SaltInvocationError) as err:
        return _failed(name, err)
    return _no_slot(name, claim["max_concurrency"], claim["timeout"], connection)


def _no_slot(name, limit, timeout, connection):
    failed = f"Unable to acquire lock within {timeout} s"
    try:
        holders = sorted({*__salt__["zk_concurrency.lock_holders"](name, timeout=_AT_END, **connection)})
    except (CommandExecutionError, SaltInvocationError) as err:
        return _result(name, False, f"{failed}, and who holds one cannot be told: {err}")
    blocked = "" if str(len(holders)) == str(limit).strip() else _blocked(name, connection)
    return _result(name, False, f"{failed}, {_held_by(holders)}{blocked}")


def _held_by(holders):
    return f"held by {', '.join(map(shown, holders))}" if holders else "though nobody holds one now"


def _blocked(name, connection):
    """
    Name the queue node that blocks the queue, for the end of a comment: the first one, where it belongs to no session.
    """
    try:
        waiters = __salt__["zk_concurrency.status"](name, timeout=_AT_END, **connection)["waiters"]
    except (CommandExecutionError, SaltInvocationError):
        return ""
    orphan = next((f"{name.rstrip('/')}-__lock__/{it['place']}" for it in waiters[:1] if it.get("orphan")), None)
    return "" if orphan is None else f", and {blocked_by(orphan)}"


def _foretell(name, claim, connection):
    """
    Tell what ``_take`` would find. The comment is that of Salt's own state, and says more where that can be known.
    """
    comment = "Attempt to acquire lock"
    status = __salt__.get("zk_concurrency.status")
    if status is None:
        return _result(name, None, comment)
    try:
        pool = status(name, **connection)
    except (CommandExecutionError, SaltInvocationError) as err:
        return _failed(name, err)
    holders = sorted({holder["identifier"] for holder in pool["holders"]})
    waiters = len(pool["waiters"])
    if str(claim["identifier"]) in holders:
        return _result(name, True, f"{comment}: already held")
    if refused := _refused(name, pool["max_concurrency"], str(claim["max_concurrency"]).strip()):
        return _result(name, False, refused)
    if pool["free"] is None or pool["free"] > waiters:
        return _result(name, None, f"{comment}: free")
    return _result(name, None, f"{comment}: queued behind {waiters}, {_held_by(holders)}")


def _refused(name, stored, asked):
    """
    Say why a pool with the number that it stores refuses the number that is asked for; ``None``: it does not.
    """
    if asked == "stored":
        return f"{name} stores no number that could be obeyed: call set_max first" if stored is None else None
    if stored is None or str(stored) == asked:
        return None
    return f"{name} is a pool of max_concurrency {stored}, but {asked} was asked for"


def _foretell_release(name, identifier, connection):
    comment = "Released lock if it is here"
    status = __salt__.get("zk_concurrency.status")
    if status is None:
        return _result(name, None, comment)
    try:
        holders = [holder["identifier"] for holder in status(name, **connection)["holders"]]
    except (CommandExecutionError, SaltInvocationError) as err:
        return _failed(name, err)
    is_here = str(identifier) in holders
    return _result(name, None if is_here else True, f"{comment}: it is{'' if is_here else ' not'}")


class _Held:
    """
    A slot that is held to the end of the run.
    """

    def __init__(self, whose, run, slot):
        self.whose, self.run, self.slot = whose, run, slot

    def give_back(self):
        """
        Give the slot back before the end.
        """
        return self.slot.give_back()

    def __call__(self):
        """
        Give the slot back at the end of the run, or keep it.
        """
        if self.run is not None and not self.run.ended_well:
            log.warning("Kept the slot of %s: the run has failed, or did not come to its end", self.whose)
            return
        try:
            was_held = self.slot.give_back(_AT_END)
        except (CommandExecutionError, SaltInvocationError) as err:
            log.error("Could not give back the slot of %s at the end of the run: %s", self.whose, err)
            return
        if not was_held:
            log.error("Lost the slot of %s while the run went on: somebody else may have held it, too", self.whose)
