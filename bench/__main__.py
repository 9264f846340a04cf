"""Run the measures, print what they found, and write it down."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table as Printed
from zkcoord.testing import Ensemble, EnsembleError

from bench import (
    client_cost,
    command,
    confd,
    drain,
    far_servers,
    fleet,
    fresh,
    grants,
    handover,
    leases,
    locks,
    queries,
    waiters,
)
from bench import ensemble as administered
from bench.etcd import etcd_version
from bench.measure import BenchError, Report, servers, shown
from bench.render import render

RESULTS = Path(__file__).parent / "results.json"
# Each kind of work, and the seconds after which it has failed: a busy machine takes several times as long.
WORK: dict[str, tuple[Callable[[Ensemble, bool], Report], int]] = {
    "locks": (locks.run, 300),
    "client-cost": (client_cost.run, 150),
    "fresh": (fresh.run, 300),
    "command": (command.run, 300),
    "queries": (queries.run, 200),
    "leases": (leases.run, 300),
    "handover": (handover.run, 200),
    "grants": (grants.run, 200),
    "drain": (drain.run, 300),
    "waiters": (waiters.run, 300),
    "far-servers": (far_servers.run, 240),
    "fleet": (fleet.run, 300),
    "confd": (confd.run, 200),
    "ensemble": (administered.run, 200),
}


def main() -> int:
    """Measure what was asked for; 1 when that cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", choices=WORK, action="append", help="only this kind of work; may be repeated")
    parser.add_argument("--quick", action="store_true", help="few rounds: to see that it runs")
    parser.add_argument(
        "--output", type=Path, help=f"where the results go; a full run's: {RESULTS.name}, and the manual"
    )
    args = parser.parse_args()
    names, full = args.only or list(WORK), not (args.only or args.quick)
    name, began = "", time.monotonic()
    signal.signal(signal.SIGALRM, _too_late)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    results = {"machine": {}, "seconds": 0.0, "targets": [], "tables": {}}
    console = Console(width=None if sys.stdout.isatty() else 140)
    try:
        etcd = etcd_version()  # before anything that takes long
        with servers(args.quick) as ensemble:
            results["machine"] = _machine(ensemble) | {"etcd": etcd}
            for name in names:
                function, limit = WORK[name]
                started = time.monotonic()
                signal.alarm(limit)
                report = function(ensemble, args.quick)
                signal.alarm(0)
                console.print(f"{name}: {time.monotonic() - started:.0f} s", style="dim")
                _print_tables(console, report)
                results["tables"] |= {table.name: asdict(table) for table in report.tables}
                results["targets"] += [
                    asdict(target) | {"must": target.must, "holds": target.holds} for target in report.targets
                ]
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return 1
    except Exception as error:
        own = isinstance(error, (BenchError, EnsembleError))
        what = str(error) if own else f"{type(error).__name__}: {error}"
        print(f"error: {name}{': ' if name else ''}{what}", file=sys.stderr)
        return 1
    finally:
        signal.alarm(0)
    results["seconds"] = round(time.monotonic() - began)
    _print_targets(console, results["targets"])
    console.print(f"{results['seconds']} s")
    output = args.output or (RESULTS if full else None)
    if output:
        output.write_text(json.dumps(results, indent=1) + "\n")
    if full and output == RESULTS:
        render(RESULTS)
    return 0


def _print_tables(console: Console, report: Report) -> None:
    for table in report.tables:
        printed = Printed(title=table.title, title_justify="left")
        for number, column in enumerate(table.columns):
            printed.add_column(column, justify="right" if number else "left")
        for row in table.rows:
            printed.add_row(*map(shown, row))
        console.print(printed)


def _print_targets(console: Console, targets: list[dict[str, object]]) -> None:
    printed = Printed(title="What was to be reached", title_justify="left")
    for column in ("work", "measured", "must be", "holds"):
        printed.add_column(column)
    for target in targets:
        measured = f"{shown(target['figure'])} {target['unit']}"
        printed.add_row(target["work"], measured, target["must"], "yes" if target["holds"] else "[bold red]no[/]")
    console.print(printed)


def _machine(ensemble: Ensemble) -> dict[str, object]:
    found = re.search(r"version: ([\d.]+)", ensemble.leader().four_letter("srvr"))
    return {
        "processors": os.cpu_count(),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        **{name: version(name) for name in ("zkcoord", "salt", "kazoo")},
        "zookeeper": found[1] if found else "unknown",
    }


def _too_late(*_: object) -> None:
    raise BenchError("it did not end in time")


if __name__ == "__main__":
    sys.exit(main())
