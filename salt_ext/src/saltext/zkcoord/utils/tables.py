"""Answers as a person reads them at a terminal."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import salt.output
from saltext.zkcoord.utils.terminal import shown

_UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def findings(report: Mapping[str, Any]) -> str:
    """Return what a doctor has found, and what to do about each finding, as text."""
    found = report["findings"]
    if not found:
        return f"{shown(report['path'])}: nothing to complain about"
    lines = [f"{shown(report['path'])}: {len(found)} finding{'' if len(found) == 1 else 's'}"]
    for number, finding in enumerate(found, 1):
        lines += [f"{number:>4}. {shown(finding['what'])}", f"      {shown(finding['do'])}"]
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """Return seconds in the two greatest units: ``2 h 5 min``."""
    parts, rest = [], int(seconds)
    for unit, length in _UNITS:
        count, rest = divmod(rest, length)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def table(opts: Mapping[str, Any], labels: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table in which no terminal sees a command."""
    data = {"labels": labels, "rows": [[shown(cell) for cell in row] for row in rows]}
    return shown_by(opts, "table", data, rows_key="rows", labels_key="labels", justify="left")


def shown_by(opts: Mapping[str, Any], outputter: str, data: object, **kwargs: object) -> Any:
    """Return what another outputter makes of the data."""
    # `output` in the options would win over the name of the outputter. Lines between the rows of a table are switched
    # off in the options: Salt passes over an argument that is false, such as `separate_rows=False`.
    without = {key: value for key, value in opts.items() if key != "output"}
    return salt.output.out_format(data, outputter, {"out.table.separate_rows": False, **without}, **kwargs)
