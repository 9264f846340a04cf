"""
Fire when a slot is held for too long, or a queue is too long
=============================================================

Every ``interval`` seconds the beacon reads the status of pools, and fires ``salt/beacon/MINION/zk_concurrency/POOL``.
Configure it with one minion, or with a few: each minion that has the beacon asks the servers. The servers are those of
``zookeeper`` in the minion's configuration, grains or pillar:

.. code-block:: yaml

    beacons:
      zk_concurrency:
        - below: /restart
        - older_than: 3600
        - longer_than: 20
        - interval: 60

``pools`` is a list of paths. ``below`` is a path, and stands for all pools that are below it at the moment. The beacon
fires once when a slot is held for more than ``older_than`` seconds, or when more than ``longer_than`` waiters are in a
queue, and once more when that is over. Where one of the two numbers is missing, the beacon does not look for that.
``profile`` names a part of the configuration.

An event has ``path`` and ``what``. ``what`` is ``held`` (a slot is held for too long) or ``released`` (that is over),
each with ``identifier``, ``since``, ``age`` (seconds), ``lease``, ``ephemeral``, and ``reason``, ``host`` and ``job``
where they were given. Or it is ``queued`` (too many wait) or ``moved`` (that is over), each with ``waiting`` and
``oldest`` (seconds). In texts that others have written into znodes, what a terminal would obey is escaped.
"""

import logging

from salt.exceptions import CommandExecutionError, SaltInvocationError
from saltext.zkcoord.utils import config as configuration
from saltext.zkcoord.utils.terminal import shown

try:
    from saltext.zkcoord.utils.client import Client
    from zkcoord.errors import NoAuth, NoNode
except ImportError as err:
    _missing = f"zkcoord, its native core, cannot be imported ({err}); Salt's own Python needs the package"
else:
    _missing = None

log = logging.getLogger(__name__)

__virtualname__ = "zk_concurrency"

# Seconds for each question: a beacon must not hold up its minion.
_LIMIT = 2
_NUMBERS = ("older_than", "longer_than")
_FACTS = ("identifier", "since", "age", "lease", "ephemeral", "reason", "host", "job")


def __virtual__():
    return __virtualname__ if _missing is None else (False, _missing)


def validate(config):
    """
    Tell whether the configuration of the beacon is valid, and what is wrong with it.
    """
    settings = configuration.of_beacon(config)
    if settings is None:
        return False, "Configuration for zk_concurrency beacon must be a list of dictionaries."
    pools, below = settings.get("pools", []), settings.get("below")
    if not isinstance(pools, list) or not all(isinstance(path, str) for path in pools):
        return False, "zk_concurrency beacon: pools must be a list of paths."
    if not (below is None or isinstance(below, str)) or not (pools or below):
        return False, "zk_concurrency beacon needs pools, a list of paths, or below, a path."
    given = [settings[name] for name in _NUMBERS if settings.get(name) is not None]
    if not given or any(isinstance(it, bool) or not isinstance(it, int | float) or it < 0 for it in given):
        return False, "zk_concurrency beacon needs older_than (seconds), longer_than (waiters), or both: numbers."
    return True, "Valid beacon configuration"


def beacon(config):
    """
    Look at the pools, and return what has become odd since the last look, and what is odd no more.
    """
    settings = configuration.of_beacon(config) or {}
    known = __context__.setdefault("zk_concurrency.beacon", {})
    opts = __opts__
    sources = configuration.of_minion(opts, opts.get("grains") or {}, opts.get("pillar") or {})
    client = Client({}, opts, sources, profile=settings.get("profile"))
    found = []
    try:
        paths = list(settings.get("pools") or [])
        if settings.get("below"):
            paths += _below(client, settings["below"])
        # A pool that was odd is read again, also where it was removed since: its end would not be fired otherwise.
        for path in dict.fromkeys([*paths, *known]):
            try:
                status = client.status(path, _LIMIT)
            except CommandExecutionError as err:
                if not isinstance(err.__cause__, NoAuth):
                    raise
                log.warning("zk_concurrency beacon: %s", err)
                continue
            found += _news(status, known.setdefault(path, {}), path, settings)
            if not known[path]:
                del known[path]
    except (CommandExecutionError, SaltInvocationError) as err:
        log.warning("zk_concurrency beacon: %s", err)
    return found


def _below(client, root):
    try:
        return [pool["path"] for pool in client.pools(root, _LIMIT)]
    except CommandExecutionError as err:
        if not isinstance(err.__cause__, NoNode):  # nobody has asked for a slot there yet
            raise
        return []


def _news(status, known, path, settings):
    """
    Return the events of a pool. `known` has what was fired before and is not over yet; it is brought up to date.
    """
    odd = _odd(status, settings)
    event = {"tag": shown(path.strip("/")), "path": shown(status["path"])}
    news = [{**event, **facts} for about, facts in odd.items() if about not in known]
    for about in known.keys() - odd.keys():
        before = known[about]
        over = {"what": "released"} if before["what"] == "held" else {"what": "moved", **_queue(status)}
        news.append({**event, **before, **over})
    known.clear()
    known.update(odd)
    return news


def _odd(status, settings):
    odd = {}
    oldest, longest = settings.get("older_than"), settings.get("longer_than")
    for holder in status["holders"]:
        if oldest is not None and holder["age"] > oldest:
            facts = {name: holder[name] for name in _FACTS if holder.get(name) is not None}
            printable = {name: shown(value) if isinstance(value, str) else value for name, value in facts.items()}
            odd["lease", holder["lease"]] = {"what": "held", **printable}
    if longest is not None and len(status["waiters"]) > longest:
        odd["queue", ""] = {"what": "queued", **_queue(status)}
    return odd


def _queue(status):
    ages = [waiter["age"] for waiter in status["waiters"]]
    return {"waiting": len(ages), "oldest": max(ages, default=0)}
