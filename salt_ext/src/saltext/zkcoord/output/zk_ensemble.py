"""
The servers of an ensemble
==========================

This outputter shows the answers of ``zk_ensemble.status`` and ``zk_ensemble.doctor`` at a terminal. ``salt-run`` uses
it for the runner's answers unless ``--out`` says otherwise. For minions, name it:

.. code-block:: bash

    salt zk1 zk_ensemble.status --out=zk_ensemble
"""

import salt.output
from saltext.zkcoord.utils.terminal import shown

__virtualname__ = "zk_ensemble"

_LABELS = ["Id", "Address", "Role", "Mode", "In sync", "Version", "Zxid", "Behind", "Clients", "Latency ms", "Up since"]


def __virtual__():
    return __virtualname__


def output(data, **kwargs):
    """
    Show one ensemble, or several by the minions that answered. Anything else is shown as ``nested`` does.

    CLI Example:

    .. code-block:: bash

        salt-run zk_ensemble.status
    """
    if not isinstance(data, dict):
        return _with("nested", data)
    if "servers" in data and "critical" in data:
        return _status(data)
    if "findings" in data:
        return _findings(data)
    is_known = all(isinstance(value, dict) and {"servers", "findings"} & value.keys() for value in data.values())
    if not is_known or not data:
        return _with("nested", data)
    return "\n".join(
        output(value) if name == "ensemble" else f"{name}:\n{output(value)}" for name, value in data.items()
    )


def _status(found):
    count = sum(row["in_sync"] for row in found["servers"])
    led = "nobody leads" if found["leader"] is None else f"server.{found['leader']} leads"
    quorum = "a quorum" if found["has_quorum"] else "NO QUORUM"
    version = "" if found["config_version"] is None else f", configuration {found['config_version']:x}"
    lines = [f"{count} of {len(found['servers'])} servers in sync: {quorum}, {led}{version}"]
    lines.append(_table(_LABELS, [_row(row) for row in found["servers"]]))
    lines += [f"{_name(row)}: {shown(row['trouble'])}" for row in found["servers"] if row["trouble"]]
    if found["trouble"]:
        lines.append(f"the configuration: {shown(found['trouble'])}")
    if found["has_quorum"] and found["critical"]:
        lines.append(f"one more failure ends the quorum: none of {', '.join(map(str, found['critical']))} may fail")
    return "\n".join(lines)


def _row(row):
    cells = [row["id"], row["address"], row["role"], row["mode"], "yes" if row["in_sync"] else "NO", row["version"]]
    cells += [row["zxid"], row["behind"], row["connections"], row["latency"], row["since"]]
    return ["-" if cell is None else cell for cell in cells]


def _name(row):
    return shown(row["address"]) if row["id"] is None else f"server.{row['id']}"


def _findings(report):
    findings = report["findings"]
    if not findings:
        return f"{shown(report['path'])}: nothing to complain about"
    lines = [f"{shown(report['path'])}: {len(findings)} finding{'' if len(findings) == 1 else 's'}"]
    for number, finding in enumerate(findings, 1):
        lines += [f"{number:>4}. {shown(finding['what'])}", f"      {shown(finding['do'])}"]
    return "\n".join(lines)


def _table(labels, rows):
    data = {"labels": labels, "rows": [[shown(cell) for cell in row] for row in rows]}
    return _with("table", data, rows_key="rows", labels_key="labels", justify="left")


def _with(outputter, data, **kwargs):
    # `output` in the options would win over the name of the outputter. Lines between the rows of a table are switched
    # off in the options: Salt passes over an argument that is false, such as `separate_rows=False`.
    opts = {key: value for key, value in __opts__.items() if key != "output"}
    return salt.output.out_format(data, outputter, {"out.table.separate_rows": False, **opts}, **kwargs)
