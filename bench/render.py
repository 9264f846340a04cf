"""Make the manual's tables, docs/performance-*.csv, from bench/results.json: `python -m bench.render`."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench.measure import shown

ROOT = Path(__file__).parents[1]


def render(results: Path, directory: Path = ROOT / "docs") -> None:
    """Write one file a table."""
    found = json.loads(results.read_text())
    tables: dict[str, Iterable[Iterable[Any]]] = {
        name: [table["columns"], *table["rows"]] for name, table in found["tables"].items()
    }
    tables["targets"] = [
        ("work", "measured", "must be", "holds"),
        *((it["work"], f"{shown(it['figure'])} {it['unit']}", it["must"], it["holds"]) for it in found["targets"]),
    ]
    tables["machine"] = [("what", "which"), *found["machine"].items(), ("seconds of the run", found["seconds"])]
    for old in directory.glob("performance-*.csv"):
        old.unlink()
    for name, rows in tables.items():
        with (directory / f"performance-{name}.csv").open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([shown(value) for value in row] for row in rows)


if __name__ == "__main__":
    render(ROOT / "bench/results.json")
