"""
Fire when a timed lease changes hands, or is about to run out
=============================================================

Every ``interval`` seconds the beacon reads the status of leases, and fires ``salt/beacon/MINION/zk_lease/LEASE``.
Configure it with the minion. The servers are those of ``zookeeper`` in the minion's configuration, grains or pillar:

.. code-block:: yaml

    beacons:
      zk_lease:
        - leases:
          - /leases/prod/migration
        - ending: 30
        - interval: 10

A lease counts as about to run out when at most ``ending`` seconds of it are left. Without ``ending`` the beacon fires
only changes. ``profile`` names a part of the configuration.

An event has ``path``, ``what``, ``owner`` and ``before`` (who holds the lease now, and who did at the last look;
``None`` for nobody), ``transitions``, ``left`` (seconds) and ``fencing_token``. ``what`` is ``taken``, ``changed``
(from one holder to another), ``released`` or ``ending``. The first look fires nothing but ``ending``, since the beacon
does not know yet who held the lease before.
"""

import logging

from salt.exceptions import CommandExecutionError, SaltInvocationError
from saltext.zkcoord.utils import config as configuration
from saltext.zkcoord.utils.terminal import shown

try:
    from saltext.zkcoord.utils.lease_client import LeaseClient
except ImportError as err:
    _missing = f"zkcoord, its native core, cannot be imported ({err}); Salt's own Python needs the package"
else:
    _missing = None

log = logging.getLogger(__name__)

__virtualname__ = "zk_lease"

# Seconds for reading one lease: a beacon must not hold up its minion.
_LIMIT = 2


def __virtual__():
    return __virtualname__ if _missing is None else (False, _missing)


def validate(config):
    """
    Tell whether the configuration of the beacon is valid, and what is wrong with it.
    """
    settings = configuration.of_beacon(config)
    if settings is None:
        return False, "Configuration for zk_lease beacon must be a list of dictionaries."
    leases = settings.get("leases")
    if not isinstance(leases, list) or not leases or not all(isinstance(path, str) for path in leases):
        return False, "zk_lease beacon needs leases: a list of paths."
    ending = settings.get("ending")
    if ending is not None and (isinstance(ending, bool) or not isinstance(ending, int | float) or ending < 0):
        return False, "zk_lease beacon: ending must be a number of seconds."
    return True, "Valid beacon configuration"


def beacon(config):
    """
    Look at the leases, and return what has happened since the last look.
    """
    settings = configuration.of_beacon(config) or {}
    known = __context__.setdefault("zk_lease.beacon", {})
    opts = __opts__
    sources = configuration.of_minion(opts, opts.get("grains") or {}, opts.get("pillar") or {})
    client = LeaseClient({}, opts, sources, profile=settings.get("profile"))
    found = []
    for path in settings.get("leases") or []:
        try:
            status = client.lease("status", path, timeout=_LIMIT)
        except (CommandExecutionError, SaltInvocationError) as err:
            log.warning("zk_lease beacon: %s", err)
            continue
        found += _news(status, known, path, settings.get("ending"))
    return found


def _news(status, known, path, ending):
    holder = status["holder"]
    owner = None if holder is None else shown(holder["owner"])
    left = None if holder is None else holder["left"]
    before = known.get(path)
    is_ending = ending is not None and left is not None and left <= ending
    known[path] = {"owner": owner, "transitions": status["transitions"], "ending": is_ending}
    event = {
        "tag": path.strip("/"),
        "path": status["path"],
        "owner": owner,
        "before": None if before is None else before["owner"],
        "transitions": status["transitions"],
        "left": left,
        "fencing_token": None if holder is None else holder["fencing_token"],
    }
    news = []
    if before is not None and (owner, status["transitions"]) != (before["owner"], before["transitions"]):
        what = "released" if owner is None else "taken" if before["owner"] is None else "changed"
        news.append({**event, "what": what})
    if is_ending and not (before or {}).get("ending"):
        news.append({**event, "what": "ending"})
    return news
