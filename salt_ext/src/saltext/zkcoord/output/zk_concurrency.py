"""
Who holds a slot, and who waits
===============================

This outputter shows the answers of ``zk_concurrency.status``, ``pools`` and ``doctor`` at a terminal. ``salt-run`` uses
it for the runner's answers unless ``--out`` says otherwise. For minions, name it:

.. code-block:: bash

    salt web1 zk_concurrency.status /lock/path --out=zk_concurrency
"""

from saltext.zkcoord.utils.reasons import why
from saltext.zkcoord.utils.tables import duration, findings, shown_by, table
from saltext.zkcoord.utils.terminal import shown

__virtualname__ = "zk_concurrency"

# How many pools are named that have the same parent as a path at which there is no pool.
_MOST = 10


def __virtual__():
    return __virtualname__


def output(data, **kwargs):
    """
    Show one pool, or several by their paths or by the minions that answered. Anything else is shown as ``nested`` does.

    CLI Example:

    .. code-block:: bash

        salt-run zk_concurrency.status /lock/path
        salt-run zk_concurrency.pools /lock
    """
    if _are_pools(data):
        return _pools(data)
    if not isinstance(data, dict):
        return shown_by(__opts__, "nested", data)
    if {"path", "pools"} <= data.keys():
        return _pools(data["pools"])
    if {"holders", "waiters"} <= data.keys():
        return _status(data)
    if "findings" in data:
        return findings(data)
    return "\n".join(_named(name, value) for name, value in data.items())


def _named(name, value):
    if not _is_known(value):
        return shown_by(__opts__, "nested", {name: value})
    is_its_own = isinstance(value, dict) and name == value["path"]
    return output(value) if is_its_own else f"{name}:\n{output(value)}"


def _is_known(value):
    known = ("findings", "pools", "holders")
    is_known = isinstance(value, dict) and "path" in value and any(key in value for key in known)
    return is_known or _are_pools(value)


def _are_pools(data):
    return (
        isinstance(data, list)
        and bool(data)
        and all(isinstance(it, dict) and {"held", "waiting"} <= it.keys() for it in data)
    )


def _pools(pools):
    if not pools:
        return "no pools"
    labels = ["Pool", "Held", "Slots", "Waiting"]
    rows = [
        [pool["path"], _known(pool["held"]), _known(pool["max_concurrency"], "no limit"), _known(pool["waiting"])]
        for pool in pools
    ]
    return table(__opts__, labels, rows)


def _known(number, otherwise="?"):
    return otherwise if number is None else number


def _status(pool):
    neighbours = pool.get("neighbours")
    if neighbours is not None:
        there = f"; pools beside it: {', '.join(map(shown, neighbours[:_MOST]))}" if neighbours else ""
        return f"no pool at {shown(pool['path'])}{there}{', ...' if len(neighbours) > _MOST else ''}"
    limit = pool["max_concurrency"]
    slots = "no limit is stored" if limit is None else f"{limit} slot{'' if limit == 1 else 's'}, {pool['free']} free"
    lines = [f"{shown(pool['path'])}: {slots}, {len(pool['holders'])} held, {len(pool['waiters'])} waiting"]
    if pool["holders"]:
        rows = [
            [
                holder["identifier"],
                duration(holder["age"]),
                holder["since"],
                "ephemeral" if holder["ephemeral"] else "persistent",
            ]
            for holder in pool["holders"]
        ]
        labels, whys = ["Holder", "For", "Since", "Lease"], [why(holder) for holder in pool["holders"]]
        if any(whys):
            labels.append("Why")
            rows = [[*row, reason] for row, reason in zip(rows, whys, strict=True)]
        lines.append(table(__opts__, labels, rows))
    if pool["waiters"]:
        labels = ["Position", "Waiter", "For", "Since"]
        rows = [
            [waiter["position"], waiter["identifier"], duration(waiter["age"]), waiter["since"]]
            for waiter in pool["waiters"]
        ]
        if any(map(_is_orphan, pool["waiters"])):
            labels.append("Session")
            for row, waiter in zip(rows, pool["waiters"], strict=True):
                row.append("none: blocks all behind it" if _is_orphan(waiter) else waiter["session"])
        lines.append(table(__opts__, labels, rows))
    return "\n".join(lines)


def _is_orphan(waiter):
    # A minion with an older version of this extension does not tell `orphan`.
    return waiter.get("orphan", False)
