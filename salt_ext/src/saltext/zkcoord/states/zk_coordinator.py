"""
Ask now, act in the run in which you are granted
================================================

A run that needs a lock asks for it and goes on. In a later run, when the lock is granted, the states that need it are
run, and the lock is given back at the end of that run. The execution module of the same name describes the
configuration, the beacon tells the minion when its turn has come.

:depends: zkcoord

.. code-block:: yaml

    a turn:
      zk_coordinator.acquire:
        - name: restart
        - policy: {max: 2}
        - reason: new kernel

    restarted:
      cmd.run:
        - name: 'true'                  # systemctl restart nginx
        - onchanges:
          - zk_coordinator: a turn

An ``acquire`` without a condition asks in every run, and each run in which the lock is granted restarts once more,
needed or not. Say by ``guard`` when the lock is needed. (``onlyif`` and ``unless`` skip the state: a lock that was
granted stays granted.)
"""

import logging

from salt.exceptions import CommandExecutionError, SaltInvocationError
from saltext.zkcoord.utils import config
from saltext.zkcoord.utils.documented import documented

try:
    from saltext.zkcoord.utils import runs
    from saltext.zkcoord.utils.callee import callee
    from saltext.zkcoord.utils.client import Client
    from saltext.zkcoord.utils.coordinator import Coordinator, standing
    from saltext.zkcoord.utils.coordinator import labels as labels_of
    from zkcoord.errors import Cancelled, ConnectionLost
except ImportError as err:
    _missing = str(err)
else:
    _missing = None

log = logging.getLogger(__name__)

__virtualname__ = "zk_coordinator"

# Seconds for giving a lock back when the process of a run ends.
_AT_END = 5
# A shell exits with these where it may not run the command, or finds no such command.
_CANNOT_BE_RUN = (126, 127)


def __virtual__():
    return __virtualname__ if _missing is None else (False, _missing)


@documented("unit", "place", "policy", "asked", "connection", "reason", errors="state", creates=True)
def acquire(
    name,
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
    guard=None,
    **security,
):
    """
    Ask for a lock, unless the unit has asked before. If the lock is granted, hold it from here to the end of the run.

    name
        What the lock is called. Locks do not contend with each other.

    guard
        What tells whether the lock is needed. Either a command: the lock is needed where it exits with 0, and a command
        that cannot be run (126 or 127) is a failure. Or a mapping with ``fun``, an execution function, and perhaps
        ``args`` and ``kwargs``: the lock is needed where the function's answer is true. Where the lock is not needed,
        the state does not ask for it, and withdraws a request that is there, so that the next unit has its turn.

    This state never waits. Where the lock is granted, it has ``result: True`` and changes, so that states with
    ``onchanges`` are run. Where it is not granted, the state has ``result: True`` without changes, and its comment
    tells the position and the holders.

    The lock is given back at the end of the run if no state of the run failed. After a run that failed, was terminated
    or was killed the lock stays granted. The next run has it at once: states with ``onchanges`` are run again.

    ``onlyif`` and ``unless`` skip the state altogether: a request that is there stays, and one that is granted keeps
    all others waiting until somebody gives the lock back. With ``guard`` this does not happen. It does happen where the
    state is taken out of the tree. Two runs of a minion at once (``concurrent=True``) share what is granted, and the
    first to end gives it back: see to it that they do not ask for the same lock.

    The state cannot be ``parallel``. In a minion with ``multiprocessing: False`` a run has no process of its own, at
    whose end the lock could be given back: use the functions of the execution module there.

    With ``test=True`` the comment tells whether the lock is granted already (``result: True``), the request is in the
    queue (``result: True``), the lock would be granted, the request would be queued, or the lock is not needed.

    .. code-block:: yaml

        a turn:
          zk_coordinator.acquire:
            - name: restart
            - policy: {max: 2, per: {rack: 1}}
            - guard: test -e /run/reboot-required
    """
    unit = __opts__["id"] if unit in (None, "") else unit
    coordinator = _coordinator(key, root, zk_hosts, profile, scheme, username, password, default_acl, **security)
    held = _held(name, unit, key, root, zk_hosts, profile)
    labels = labels_of(policy, labels, __grains__ if unit == __opts__["id"] else {})
    try:
        if guard is not None and not _is_needed(guard):
            # Without changes: states with onchanges are for those who are granted the lock.
            if not __opts__["test"]:
                runs.forget(held)
            given_up = _give_up(name, unit, coordinator, "not needed")
            comment = "not needed, and the request is given up" if given_up["changes"] else given_up["comment"]
            return {**given_up, "comment": comment, "changes": {}}
        if __opts__["test"]:
            return _foretell(name, unit, coordinator, policy, labels)
        if not runs.has_process() or __low__.get("parallel"):
            why = "is parallel" if runs.has_process() else "is a thread of the minion (multiprocessing: False)"
            comment = f"acquire needs the process of a run, at whose end the lock is given back, and this {why}"
            return _result(name, False, f"{comment}: use the functions of the execution module instead")
        run = runs.Run(__context__)
        answer = coordinator.acquire(name, unit, policy, reason=reason, labels=labels, expires=expires)
        if not answer["granted"]:
            return _result(name, True, standing(coordinator.queue(name), answer["position"]))
    except (CommandExecutionError, SaltInvocationError) as err:
        return _failed(name, err)
    # An earlier state of this run may have left another request to give back at the end, which is gone by now.
    runs.forget(held)
    runs.at_end(held, _Granted(coordinator, name, unit, answer["request"], run))
    since = {"old": None if answer["is_new"] else f"requested since {answer['since']}", "new": "granted"}
    return _result(name, True, f"granted since {answer['granted_since']}", {str(name): since})


@documented("unit", "place", "connection", "reason", errors="state")
def released(
    name,
    unit=None,
    key="salt",
    zk_hosts=None,
    profile=None,
    scheme=None,
    username=None,
    password=None,
    default_acl=None,
    root="/coordinator",
    reason=None,
    **security,
):
    """
    Give a lock back before the end of the run, or withdraw a request. To have none is success, too.

    name
        The lock.

    With ``test=True`` the comment tells whether there is something to give back (else ``result: True``).

    .. code-block:: yaml

        given back:
          zk_coordinator.released:
            - name: restart
    """
    unit = __opts__["id"] if unit in (None, "") else unit
    coordinator = _coordinator(key, root, zk_hosts, profile, scheme, username, password, default_acl, **security)
    runs.forget(_held(name, unit, key, root, zk_hosts, profile))
    try:
        return _give_up(name, unit, coordinator, "given back", reason)
    except (CommandExecutionError, SaltInvocationError) as err:
        return _failed(name, err)


def _coordinator(key, root, *connection, **security):
    configuration = config.of_minion(__opts__, __grains__, __pillar__)
    return Coordinator(Client(__salt__, __opts__, configuration, *connection, **security), key, root)


def _held(*what):
    """
    What tells one lock of this run from another.
    """
    return ("zk_coordinator", *map(str, what))


def _result(name, result, comment, changes=None):
    return {"name": name, "changes": changes or {}, "result": result, "comment": str(comment)}


def _failed(name, err):
    # The next states must not run: a signal has asked the run to end, or nobody knows whether it holds the lock.
    if isinstance(err.__cause__, Cancelled | ConnectionLost):
        runs.stop(__salt__)
    return _result(name, False, err)


def _is_needed(guard):
    if isinstance(guard, str):
        code = __salt__["cmd.retcode"](guard, python_shell=True, ignore_retcode=True)
        if code in _CANNOT_BE_RUN:
            raise CommandExecutionError(f"guard: {guard} cannot be run (exit code {code})")
        return code == 0
    if not isinstance(guard, dict) or not isinstance(guard.get("fun"), str) or guard.keys() - {"fun", "args", "kwargs"}:
        raise SaltInvocationError("guard: must be a command, or a mapping with fun, and perhaps args and kwargs")
    args = guard.get("args") or []
    function, keywords = callee(__salt__, __opts__, guard["fun"], args, guard.get("kwargs"), {}, "kwargs")
    return bool(function(*args, **keywords))


def _own(queue, unit):
    """
    Return the grant of a unit, and its position in the queue; ``None`` for what it does not have.
    """
    grant = next((it for it in queue["holders"] if it["unit"] == str(unit)), None)
    return grant, next((it["position"] for it in queue["waiters"] if it["unit"] == str(unit)), None)


def _foretell(name, unit, coordinator, policy, labels):
    foretold = coordinator.foretell(name, unit, policy, labels)
    if foretold["granted_since"]:
        return _result(name, True, f"granted since {foretold['granted_since']}")
    if foretold["granted"]:
        return _result(name, None, "would be granted")
    position = standing(coordinator.queue(name), foretold["position"])
    return _result(name, None, f"would be {position}") if foretold["is_new"] else _result(name, True, position)


def _give_up(name, unit, coordinator, comment, reason=None):
    grant, position = _own(coordinator.queue(name), unit)
    if not grant and not position:
        return _result(name, True, f"{comment}: there is no request" if comment == "given back" else comment)
    old = "granted" if grant else f"queued at position {position}"
    if __opts__["test"]:
        return _result(name, None, f"would be given back: {old}")
    coordinator.release(name, unit, reason=reason or comment)
    return _result(name, True, comment, {str(name): {"old": old, "new": None}})


class _Granted:
    """
    A lock that is granted to the end of the run.
    """

    def __init__(self, coordinator, lock, unit, request, run):
        self.coordinator, self.lock, self.unit, self.request, self.run = coordinator, lock, unit, request, run

    def __call__(self):
        """
        Give the lock back at the end of the run, or keep it.
        """
        what = f"the lock {self.lock} of {self.unit}"
        if not self.run.ended_well:
            log.warning("Kept %s: the run has failed, or did not come to its end", what)
            self.coordinator.kept(self.lock, self.unit)
            return
        try:
            was_there = self.coordinator.release(self.lock, self.unit, self.request, _AT_END)["requested"]
        except (CommandExecutionError, SaltInvocationError) as err:
            log.error("Could not give back %s at the end of the run: %s", what, err)
            return
        if not was_there:
            log.error("Lost %s while the run went on: somebody has revoked it, and another may have had it, too", what)
