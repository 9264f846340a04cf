"""
News of a Ganeti cluster
========================

Fires an event when the cluster has another master, and when this node has another role:
``salt/beacon/MINION/ganeti_confd/master`` and ``.../role``, each with ``old`` and ``new``.

:depends: zkcoord
:configuration: Whom to ask is configured as for the execution module ``ganeti_confd``, in the minion's configuration.
    All keys are optional: a profile, this node's name in the cluster (default: ``ganeti_confd:node``, then the full
    host name), and the seconds that each of the beacon's two questions may take (default 2).

    .. code-block:: yaml

        beacons:
          ganeti_confd:
            - profile: prod
            - node: node3.example.com
            - timeout: 2
            - interval: 60

Only answers that can be trusted count: enough candidates have replied, and none contradicts another. An answer with a
lower serial than an answer before it comes from an old copy of the configuration, and does not count. Once ten looks in
a row have had the same lower serial it does count: the cluster was restored to an old state then. The first look fires
nothing, and neither does the first look after another profile, node or set of candidates was configured.
"""

import logging

from salt.exceptions import CommandExecutionError, SaltInvocationError

try:
    from saltext.zkcoord.utils import config
    from saltext.zkcoord.utils.confd import ROOT, Asker, node_name, role_of, settings_of
    from zkcoord.confd import is_called
except ImportError as err:
    _missing = f"zkcoord, its native core, cannot be imported ({err}); Salt's own Python needs the package"
else:
    _missing = None

log = logging.getLogger(__name__)

__virtualname__ = "ganeti_confd"

_KNOWN = {"profile": str, "node": str, "timeout": (int, float), "interval": (int, float)}
_OF_SALT = {"enabled", "disable_during_state_run", "beacon_module", "run_once", "_beacon_name"}
# How many looks in a row have to see the same lower serial before its answer is believed.
_LOOKS = 10
# Seconds for each question. The other beacons of the minion wait until this one is done.
_TIMEOUT = 2
_KEY = "ganeti_confd.beacon"


def __virtual__():
    return __virtualname__ if _missing is None else (False, _missing)


def validate(config):
    """
    Tell whether the beacon's configuration is valid, and what is wrong with it.
    """
    if not isinstance(config, list) or not all(isinstance(each, dict) for each in config):
        return False, "The configuration of the beacon ganeti_confd must be a list of dicts."
    for name, value in _settings(config).items():
        if name not in _KNOWN and name not in _OF_SALT:
            return False, f"{name}: is not known for the beacon ganeti_confd; it has {', '.join(sorted(_KNOWN))}."
        if name in _KNOWN and not isinstance(value, _KNOWN[name]):
            return False, f"{name}: is not what the beacon ganeti_confd takes."
    return True, "Valid beacon configuration"


def beacon(config):
    """
    Ask who is the master, and which role this node has. Return an event for each that has changed.
    """
    given = _settings(config)
    clusters = __context__.setdefault(_KEY, {})
    return [event for kind in ("master", "role") if (event := _news(kind, given, clusters)) is not None]


def _news(kind, given, clusters):
    """
    Return the event of one kind, ``master`` or ``role``; ``None`` where nothing has changed.
    """
    configuration = config.of_minion(__opts__, __opts__.get("grains", {}), __opts__.get("pillar", {}), ROOT)
    asker = Asker(configuration, given.get("profile"), timeout=given.get("timeout", _TIMEOUT))
    try:
        node = node_name(configuration, given)
        name = node if kind == "role" else None
        seen = clusters.setdefault(_which(configuration, given, node), {})
        answer = asker.trusted(*(("node_role_by_name", name) if name else ("cluster_master", None)))
    except (CommandExecutionError, SaltInvocationError) as err:
        log.debug("The beacon ganeti_confd learned nothing of the %s: %s", kind, err)
        return None
    if not answer.ok:
        log.debug("The beacon ganeti_confd found no node %s in the cluster", name)
        return None
    new = role_of(answer.answer) if name else answer.answer
    if name and new == "candidate":  # the candidates call the master so, too, where it is not named in full
        if "master" not in seen:
            return None
        new = "master" if is_called(seen["master"][0], name) else new
    old, serial, again = seen.get(kind, (None, None, None))
    if serial is not None and answer.serial < serial:
        looks = 1 + (again[1] if again is not None and again[0] == answer.serial else 0)
        if looks < _LOOKS:
            seen[kind] = (old, serial, (answer.serial, looks))
            return None
    seen[kind] = (new, answer.serial, None)
    return None if old in (None, new) else {"tag": kind, "old": old, "new": new, **({"node": name} if name else {})}


def _which(configuration, given, node):
    """
    Return what tells one cluster, and one node of it, from another. The last answers are kept under this key.
    """
    profile = given.get("profile")
    peers = settings_of(configuration, profile).get("peers")
    return profile, node, tuple(peers) if isinstance(peers, list) else peers


def _settings(config):
    return {name: value for each in config for name, value in each.items()}
