"""
Who holds a slot, and who waits
===============================

Shows what ``zk_concurrency.status`` and ``zk_concurrency.doctor`` answer to somebody who reads it at a terminal. The
runner's answers look like that unless ``--out`` says otherwise. For minions:

.. code-block:: bash

    salt web1 zk_concurrency.status /lock/path --out=zk_concurrency
"""

import salt.output
from saltext.zkcoord.utils.terminal import shown

__virtualname__ = "zk_concurrency"

_UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def __virtual__():
    return __virtualname__


def output(data, **kwargs):
    """
    Show one pool, or several by their paths or by the minions that answered. Anything else is shown as ``nested`` does.

    CLI Example:

    .. code-block:: bash

        salt-run zk_concurrency.status /lock/path
    """
    if not isinstance(data, dict):
        return _with("nested", data)
    if {"holders", "waiters"} <= data.keys():
        return _status(data)
    if "findings" in data:
        return _findings(data)
    return "\n".join(_named(name, value) for name, value in data.items())


def _named(name, value):
    if not _is_known(value):
        return _with("nested", {name: value})
    return output(value) if name == value["path"] else f"{name}:\n{output(value)}"


def _is_known(value):
    return isinstance(value, dict) and ("findings" in value or {"holders", "waiters"} <= value.keys())


def _status(pool):
    limit = pool["max_concurrency"]
    slots = "no limit is stored" if limit is None else f"{limit} slot{'' if limit == 1 else 's'}, {pool['free']} free"
    lines = [f"{shown(pool['path'])}: {slots}, {len(pool['holders'])} held, {len(pool['waiters'])} waiting"]
    if pool["holders"]:
        rows = [
            [
                holder["identifier"],
                _time(holder["age"]),
                holder["since"],
                "ephemeral" if holder["ephemeral"] else "persistent",
            ]
            for holder in pool["holders"]
        ]
        lines.append(_table(["Holder", "For", "Since", "Lease"], rows))
    if pool["waiters"]:
        labels = ["Position", "Waiter", "For", "Since"]
        rows = [
            [waiter["position"], waiter["identifier"], _time(waiter["age"]), waiter["since"]]
            for waiter in pool["waiters"]
        ]
        if any(map(_is_orphan, pool["waiters"])):
            labels.append("Session")
            for row, waiter in zip(rows, pool["waiters"], strict=True):
                row.append("none: blocks all behind it" if _is_orphan(waiter) else waiter["session"])
        lines.append(_table(labels, rows))
    return "\n".join(lines)


def _findings(report):
    findings = report["findings"]
    if not findings:
        return f"{shown(report['path'])}: nothing to complain about"
    lines = [f"{shown(report['path'])}: {len(findings)} finding{'' if len(findings) == 1 else 's'}"]
    for number, finding in enumerate(findings, 1):
        lines += [f"{number:>4}. {shown(finding['what'])}", f"      {shown(finding['do'])}"]
    return "\n".join(lines)


def _is_orphan(waiter):
    # A minion may have an older version.
    return waiter.get("orphan", False)


def _time(seconds):
    """
    Seconds in the two greatest units: ``2 h 5 min``.
    """
    parts, rest = [], int(seconds)
    for unit, length in _UNITS:
        count, rest = divmod(rest, length)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def _table(labels, rows):
    data = {"labels": labels, "rows": [[shown(cell) for cell in row] for row in rows]}
    return _with("table", data, rows_key="rows", labels_key="labels", justify="left")


def _with(outputter, data, **kwargs):
    # `output` in the options would win over the name, and a table's lines over `separate_rows=False`.
    opts = {key: value for key, value in __opts__.items() if key != "output"}
    return salt.output.out_format(data, outputter, {"out.table.separate_rows": False, **opts}, **kwargs)
