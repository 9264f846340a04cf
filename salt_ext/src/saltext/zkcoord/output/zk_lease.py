"""
Who holds a timed lease, and until when
=======================================

This outputter shows the answers of ``zk_lease.status`` and ``zk_lease.list`` at a terminal. ``salt-run`` uses it for
the runner's answers unless ``--out`` says otherwise.
"""

import salt.output
from saltext.zkcoord.utils.terminal import shown

__virtualname__ = "zk_lease"

_LABELS = ["Lease", "Holder", "Since", "Until (servers)", "Left", "Changes", "Waiting"]


def __virtual__():
    return __virtualname__


def output(data, **kwargs):
    """
    Show leases as a table, and who waits for them. Anything else is shown as ``nested`` does.

    CLI Example:

    .. code-block:: bash

        salt-run zk_lease.list /leases/prod
    """
    leases = data.get("leases") if isinstance(data, dict) else None
    if not isinstance(leases, list) or not all(isinstance(it, dict) and "holder" in it for it in leases):
        return _with("nested", data)
    if not leases:
        return "no leases"
    lines = [_table(_LABELS, [_row(lease) for lease in leases])]
    for lease in leases:
        waiters = lease.get("waiters") or []
        if waiters:
            rows = [[it["position"], it["owner"], f"{it['age']:.0f} s", it["since"]] for it in waiters]
            lines.append(_table(["Position", "Waiter", "For", "Since"], rows))
    return "\n".join(lines)


def _row(lease):
    waiting = lease["waiting"] if "waiting" in lease else len(lease["waiters"])
    holder = lease["holder"]
    if holder is None:
        return [lease["path"], "nobody", "", "", "", lease["transitions"], waiting]
    left = f"{holder['left']:.0f} s" if holder["left"] > 0 else f"over since {-holder['left']:.0f} s"
    return [
        lease["path"],
        holder["owner"],
        holder["acquired"] or "",
        holder["until"],
        left,
        lease["transitions"],
        waiting,
    ]


def _table(labels, rows):
    data = {"labels": labels, "rows": [[shown(cell) for cell in row] for row in rows]}
    return _with("table", data, rows_key="rows", labels_key="labels", justify="left")


def _with(outputter, data, **kwargs):
    opts = {key: value for key, value in __opts__.items() if key != "output"}
    return salt.output.out_format(data, outputter, {"out.table.separate_rows": False, **opts}, **kwargs)
