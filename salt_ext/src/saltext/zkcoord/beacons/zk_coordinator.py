"""
Tell a minion that its turn has come
====================================

Fires ``salt/beacon/MINION/zk_coordinator/granted`` when a request of this minion is granted, so that a reactor can run
the states that have waited for it. One session watches this minion's own requests, and nobody else's: whatever the size
of the fleet, a grant wakes the one minion that it is for.

:depends: zkcoord
:configuration: In the minion's configuration or its pillar. Hosts and credentials are those of ``zookeeper`` or
    ``zookeeper:PROFILE``, as for the execution module ``zk_coordinator``.

    .. code-block:: yaml

        beacons:
          zk_coordinator:
            - key: salt            # the coordinator; default salt
            - root: /coordinator   # below which znode it is
            - profile: prod        # default: the settings without a profile
            - again: 300           # seconds; default 300, 0 for never

The event has ``lock``, ``request``, ``granted`` (when), ``token``, ``by`` (who has decided) and ``reason`` (an
operator's). A grant that is there when the beacon starts is fired, too. A grant that this minion has decided itself is
not fired, since the run that asked knows of it. So an ``acquire`` without a condition makes no endless loop of runs.

A grant that is still held after ``again`` seconds is fired, whether it was fired before or not, and then once in so
many seconds: its run may have failed, or its event may have been lost. It is not fired again while a state run goes on.
Salt closes the beacon and starts it anew whenever it refreshes its modules. What was fired before that is not fired
anew.

The beacon also decides, now and then, who is granted the locks that this minion waits for or holds. So nobody waits for
ever after a window has opened, or after a process has died between asking and deciding. And the beacon lets this minion
be seen, so that its request or its grant with ``expires`` does not expire while the minion is there.
"""

import salt.utils.event
import salt.utils.minion
from saltext.zkcoord.utils import config as configuration

try:
    from saltext.zkcoord.utils import watched_grants
    from saltext.zkcoord.utils.client import Client
    from saltext.zkcoord.utils.coordinator import Coordinator
except ImportError as err:
    _missing = f"zkcoord, its native core, cannot be imported ({err}); Salt's own Python needs the package"
else:
    _missing = None

__virtualname__ = "zk_coordinator"

_DEFAULTS = {"key": "salt", "root": "/coordinator", "profile": None, "unit": None, "zk_hosts": None, "again": 300}
# What Salt itself reads of a beacon's configuration, or adds to it.
_OF_SALT = {"interval", "enabled", "disable_during_state_run", "beacon_module", "run_once", "_beacon_name"}


def __virtual__():
    return __virtualname__ if _missing is None else (False, _missing)


def validate(config):
    """
    Tell whether the configuration is right, and what is wrong with it.
    """
    if not isinstance(config, list) or not all(isinstance(it, dict) for it in config):
        return False, "Configuration for zk_coordinator beacon must be a list of mappings."
    settings = _settings(config)
    if unknown := sorted(settings.keys() - _DEFAULTS.keys() - _OF_SALT):
        return False, f"{unknown[0]}: is not known for the zk_coordinator beacon; it has {', '.join(sorted(_DEFAULTS))}"
    again = settings.get("again")
    if isinstance(again, bool) or not isinstance(again, int | float) or again < 0:
        return False, "again: must be a number of seconds, 0 for never"
    return True, "Valid beacon configuration"


def beacon(config):
    """
    Make sure that the thread runs that fires the events. It fires as soon as there is a grant, and not when Salt calls
    this function.
    """
    settings = _settings(config)
    name = settings.pop("_beacon_name", __virtualname__)
    wanted = {key: settings[key] for key in _DEFAULTS}
    interval = float(settings.get("interval") or 0)
    watched_grants.ensure(name, wanted, lambda reported: _watch(name, wanted, reported, interval))
    return []


def close(config):
    """
    End the thread, when Salt has disabled the beacon.
    """
    watched_grants.stop(_settings(config).get("_beacon_name", __virtualname__))


def _settings(config):
    settings = dict(_DEFAULTS)
    for each in config:
        settings.update(each)
    return settings


def _watch(name, wanted, reported, interval):
    # In another thread Salt's loader cannot look up `__opts__` and `__salt__`: the thread gets what it needs from here.
    opts, functions = dict(__opts__), {name: __salt__[name] for name in ("event.send",) if name in __salt__}

    def coordinator():
        known = configuration.of_minion(opts, opts.get("grains", {}), opts.get("pillar") or {})
        client = Client(functions, opts, known, wanted["zk_hosts"], wanted["profile"])
        return Coordinator(client, wanted["key"], wanted["root"])

    def tell(grant):
        # Salt hands over the events of its own beacons in this form. Here that is done at once.
        tag = f"salt/beacon/{opts['id']}/{name}/granted"
        event = {"tag": tag, "data": {**grant, "id": opts["id"]}, "beacon_name": __virtualname__}
        with salt.utils.event.get_event("minion", opts=opts, listen=False) as bus:
            bus.fire_event({"beacons": [event]}, "__beacons_return")

    unit = opts["id"] if wanted["unit"] in (None, "") else str(wanted["unit"])

    def is_busy():
        return any(str(job.get("fun", "")).startswith("state.") for job in salt.utils.minion.running(opts))

    again = float(wanted["again"])
    return watched_grants.Watch(coordinator, unit, tell, again, is_busy, reported, interval)
