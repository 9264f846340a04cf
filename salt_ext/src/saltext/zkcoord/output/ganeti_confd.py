"""
Which candidate says what
=========================

This outputter shows the answer of the runner's ``ganeti_confd.peers`` at a terminal. ``salt-run`` uses it unless
``--out`` says otherwise.
"""

import salt.output
from saltext.zkcoord.utils.terminal import shown

__virtualname__ = "ganeti_confd"

_COLUMNS = ("Candidate", "State", "Serial", "Master", "Answered in", "Error")


def __virtual__():
    return __virtualname__


def output(data, **kwargs):
    """
    Show a table of candidates. Anything else is shown as ``nested`` does.

    CLI Example:

    .. code-block:: bash

        salt-run ganeti_confd.peers
    """
    if not isinstance(data, dict):
        return _with("nested", data)
    if "peers" in data and "consistent" in data:
        return _table(data)
    return "\n".join(output(value) for value in data.values())


def _table(found):
    master = "no candidate has an answer" if found["master"] is None else f"the master is {shown(found['master'])}"
    agree = "" if found["consistent"] else ", and candidates contradict each other"
    serial = "" if found["serial"] is None else f", serial {found['serial']}"
    rows = [_row(peer, reply) for peer, reply in found["peers"].items()]
    columns = [number for number in range(len(_COLUMNS)) if any(row[number] for row in rows)]
    table = {
        "labels": [_COLUMNS[number] for number in columns],
        "rows": [[shown(row[number]) for number in columns] for row in rows],
    }
    listed = _with("table", table, rows_key="rows", labels_key="labels", justify="left")
    return f"{master}{serial}{agree}\n{listed}"


def _row(peer, reply):
    latency = f"{reply['latency'] * 1000:.1f} ms" if "latency" in reply else ""
    return [peer, reply["state"], reply.get("serial", ""), reply.get("master", ""), latency, reply.get("error", "")]


def _with(outputter, data, **kwargs):
    # `output` in the options would win over the name of the outputter. Lines between the rows of a table are switched
    # off in the options: Salt passes over an argument that is false, such as `separate_rows=False`.
    opts = {key: value for key, value in __opts__.items() if key != "output"}
    return salt.output.out_format(data, outputter, {"out.table.separate_rows": False, **opts}, **kwargs)
