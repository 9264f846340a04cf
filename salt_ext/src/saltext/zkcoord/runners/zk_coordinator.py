"""
A coordinator, from the master
==============================

For the on-call engineer: who is granted a lock, who waits, what is odd about it; and an operator's decisions. Arguments
and answers are those of the execution module ``zk_coordinator``.

:depends: zkcoord
:configuration: In the master's configuration, as the execution module's is in the minion's. What minions have in
    their configuration, grains and pillar is not seen here.

Whatever goes wrong is one line, and the exit code of ``salt-run`` is 1.
"""

import functools

import salt.key
from salt.exceptions import CommandExecutionError, SaltInvocationError
from salt.utils.args import clean_kwargs
from saltext.zkcoord.modules import zk_coordinator as module
from saltext.zkcoord.utils import config
from saltext.zkcoord.utils.documented import documented
from saltext.zkcoord.utils.exposed import exposed

try:
    from saltext.zkcoord.utils.coordinator import Coordinator
    from saltext.zkcoord.utils.errors import runner_errors
    from saltext.zkcoord.utils.master import MasterClient, shown
    from saltext.zkcoord.utils.odd_requests import Examination
except ImportError as err:
    _missing = f"zkcoord, its native core, cannot be imported ({err}); Salt's own Python needs the package"
else:
    _missing = None

__virtualname__ = "zk_coordinator"

# What the documentation of the execution module says of minions, and what is so here.
_WORDS = {
    "salt minion": "salt-run",
    "; the exit code is then 1.": "; an orchestration's state then fails.",
    "; the exit code is then": "; an orchestration's state then",
    "``SaltInvocationError`` for a wrong argument. Raises ``CommandExecutionError`` when": (
        "``CommandExecutionError`` for a wrong argument, when"
    ),
}
_exposed = functools.partial(exposed, module=globals(), words=_WORDS)


def __virtual__():
    return __virtualname__ if _missing is None else (False, _missing)


queue = _exposed(
    module.queue, remark="``salt-run`` shows a table. With ``--out``, and for all other callers, it is the dict."
)
grant = _exposed(module.grant)
revoke = _exposed(module.revoke)
handle = _exposed(module.handle)
set_policy = _exposed(module.set_policy)


@documented("place", "timeout", "connection", errors="runner")
def doctor(
    lock=None,
    key="salt",
    zk_hosts=None,
    profile=None,
    scheme=None,
    username=None,
    password=None,
    default_acl=None,
    root="/coordinator",
    timeout=None,
    max_age=3600,
    **security,
):
    """
    Look for what is odd about the locks of a coordinator, and say what to do about each finding. Changes nothing.

    lock
        The lock. Default: all that anybody has asked for.

    max_age
        Seconds after which a grant is odd.

    Returns a dict: ``path``, and ``findings``, each with ``what`` and ``do``. A finding is about a unit with a request
    that is no accepted minion of this master, a grant that is older than ``max_age``, a request that the policy can
    never grant, a request or a grant that has expired, or a lock whose policy or grants cannot be read.

    In texts that others have written into znodes, what a terminal would obey is escaped; in commands the texts are
    quoted as well. ``salt-run`` shows the answer as text, unless there is an ``--out``.

    CLI Example:

    .. code-block:: bash

        salt-run zk_coordinator.doctor
        salt-run zk_coordinator.doctor restart max_age=600 --out=json
    """
    coordinator = _coordinator(key, root, zk_hosts, profile, scheme, username, password, default_acl, **security)
    try:
        most = float(max_age)
    except (TypeError, ValueError) as err:
        with runner_errors():
            raise SaltInvocationError("max_age: must be a number of seconds") from err
    accepted = set(salt.key.get_key(__opts__).list_keys()["minions"])
    who = {"key": None if key == "salt" else key, "root": None if root == "/coordinator" else root}
    secret = {"profile": profile, "scheme": scheme, "username": username, "password": password}
    options = {"zk_hosts": zk_hosts, **who, **secret, **clean_kwargs(**security)}
    findings = []
    for name in coordinator.locks(timeout) if lock is None else [lock]:
        try:
            found = coordinator.queue(name, timeout)
        except CommandExecutionError as err:
            if lock is not None:
                raise
            findings.append({"what": f"{name}: {err}", "do": "Look at that znode, and who has written it."})
            continue
        findings += Examination(found, options).findings(accepted, most)
    path = f"{str(root).rstrip('/')}/{key}"
    return shown(__opts__, "doctor", {"path": path, "findings": findings}, __virtualname__)


def _coordinator(key, root, *connection, **security):
    configuration = config.Configuration(__opts__)
    return Coordinator(MasterClient(__salt__, __opts__, configuration, *connection, **security), key, root)


def _unit(unit):
    return __opts__["id"] if unit in (None, "") else unit


def _own(entries, unit):
    return next((entry for entry in entries if entry["unit"] == str(unit)), None)


def _operator():
    return f"operator on {__opts__['id']}"


def _shown(queues):
    """
    Return a table for ``salt-run`` without ``--out``, and the queues themselves for all other callers.
    """
    answer = shown(__opts__, "queue", {"path": "", "queues": queues}, __virtualname__)
    return answer if "outputter" in answer else queues


def _with_retcode(answer):
    """
    Let an orchestration's state fail where the answer is ``False``.
    """
    __context__["retcode"] = 0 if answer else 1
    return answer
