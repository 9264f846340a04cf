"""
This node's part in a Ganeti cluster
====================================

The grain ``ganeti``: this node's ``role``, the name of the ``master``, and the name of the ``cluster``. It is off by
default, since a minion that has it asks the candidates when it starts, and starts later for that.

:depends: zkcoord
:configuration: In the minion's configuration. Whom to ask is configured as for the execution module ``ganeti_confd``; a
    node of the cluster needs no more than this.

    .. code-block:: yaml

        ganeti_confd:
          grains: true
          grains_ttl: 300             # seconds for which an answer is kept, default 300
          node: node3.example.com     # this node's name in the cluster, default its full host name

The minion keeps an answer in its cache; where there was none, it keeps that, too. Only an answer that can be trusted
becomes a grain.
"""

import json
import logging
import os
import time

from salt.exceptions import CommandExecutionError, SaltInvocationError
from salt.utils.data import is_true

log = logging.getLogger(__name__)

_FILE = "ganeti_confd.grains"
_TTL = 300
# Seconds for each of three questions, or of four on a candidate. The minion does not start before all are answered.
_TIMEOUT = 2


def ganeti():
    """
    Return the grain, if it is wanted and there is an answer.
    """
    section = __opts__.get("ganeti_confd")
    if not isinstance(section, dict) or not is_true(section.get("grains")):
        return {}
    found = _kept(section)
    if found is None:
        found = _asked()
        _keep(found)
    return {"ganeti": found} if found else {}


def _asked():
    try:
        from saltext.zkcoord.utils.confd import ROOT, Asker, node_name  # noqa: PLC0415
        from saltext.zkcoord.utils.config import Configuration  # noqa: PLC0415 - nobody else pays for it
    except ImportError as err:
        log.warning("The grain ganeti needs zkcoord, which cannot be imported: %s", err)
        return {}
    configuration = Configuration(__opts__, root=ROOT)
    asker = Asker(configuration, timeout=configuration.get("timeout", _TIMEOUT))
    try:
        return {
            "role": asker.call("node_role_by_name", node_name(configuration)),
            "master": asker.call("cluster_master"),
            "cluster": asker.call("config_query", "/cluster/cluster_name"),
        }
    except (CommandExecutionError, SaltInvocationError) as err:
        log.warning("There is no grain ganeti: %s", err)
        return {}


def _kept(section):
    """
    Return what was found less than ``grains_ttl`` seconds ago; ``None`` where nothing was.
    """
    try:
        with open(_path(), encoding="utf-8") as file:
            kept = json.load(file)
        age = time.time() - kept["at"]
        return kept["found"] if 0 <= age < _ttl(section) else None
    except (OSError, TypeError, ValueError, KeyError):
        return None


def _ttl(section):
    given = section.get("grains_ttl", _TTL)
    try:
        return float(given)
    except (TypeError, ValueError):
        log.warning("grains_ttl, in the section ganeti_confd, must be a number of seconds; %s are taken", _TTL)
        return _TTL


def _keep(found):
    path = _path()
    try:
        with open(f"{path}.new", "w", encoding="utf-8") as file:
            json.dump({"at": time.time(), "found": found}, file)
        os.replace(f"{path}.new", path)
    except OSError as err:
        log.debug("The grain ganeti could not be kept: %s", err)


def _path():
    return os.path.join(__opts__["cachedir"], _FILE)
