"""
Who is granted a lock, and who waits
====================================

This outputter shows the answers of ``zk_coordinator.queue`` and ``zk_coordinator.doctor`` at a terminal. ``salt-run``
uses it for the runner's answers unless ``--out`` says otherwise. For minions, name it:

.. code-block:: bash

    salt web1 zk_coordinator.queue --out=zk_coordinator
"""

from saltext.zkcoord.utils.tables import duration, findings, shown_by, table
from saltext.zkcoord.utils.terminal import shown

__virtualname__ = "zk_coordinator"


def __virtual__():
    return __virtualname__


def output(data, **kwargs):
    """
    Show locks by their names, or by the minions that answered. Anything else is shown as ``nested`` does.

    CLI Example:

    .. code-block:: bash

        salt-run zk_coordinator.queue
    """
    if not isinstance(data, dict):
        return shown_by(__opts__, "nested", data)
    if {"holders", "waiters", "rule"} <= data.keys():
        return _queue(data)
    if "findings" in data:
        return findings(data)
    if "queues" in data:
        data = data["queues"]
        if not data:
            return "nobody has asked for any lock"
    return "\n".join(_named(name, value) for name, value in data.items())


def _named(name, value):
    if isinstance(value, dict) and ({"findings", "queues"} & value.keys() or "rule" in value):
        return output(value)
    if isinstance(value, dict) and value and all(isinstance(it, dict) and "rule" in it for it in value.values()):
        return f"{shown(name)}:\n{output(value)}"
    return shown_by(__opts__, "nested", {name: value})


def _queue(queue):
    if queue["rule"] is None:
        return f"{shown(queue['lock'])}: nobody has asked for it"
    opens = f", may be granted from {queue['opens']} on" if queue.get("opens") else ""
    counts = f"{len(queue['holders'])} granted, {len(queue['waiters'])} waiting"
    lines = [f"{shown(queue['lock'])}: {shown(queue['rule'])}, {counts}{opens}"]
    if queue["holders"]:
        rows = [
            [it["unit"], duration(it["age"]), it["granted"], _labels(it), it["by"] or "", _reason(it)]
            for it in queue["holders"]
        ]
        lines.append(table(__opts__, ["Granted", "For", "Since", "Labels", "By", "Reason"], rows))
    if queue["waiters"]:
        rows = [
            [it["position"], it["unit"], duration(it["age"]), it["since"], _labels(it), _reason(it)]
            for it in queue["waiters"]
        ]
        lines.append(table(__opts__, ["Position", "Waiting", "For", "Since", "Labels", "Reason"], rows))
    return "\n".join(lines)


def _labels(entry):
    return ", ".join(f"{name}={value}" for name, value in entry["labels"].items())


def _reason(entry):
    reasons = (entry["reason"], entry.get("granted_because"), entry.get("hopeless"))
    return "; ".join(reason for reason in reasons if reason)
