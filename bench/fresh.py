"""A fresh process: it starts, imports, connects, locks, unlocks, closes, and has ended."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from zkcoord.testing import Ensemble

from bench.etcd import Etcd, etcdctl
from bench.measure import BenchError, Report, Table, Target, Times, interleave, servers

_LIMIT = 30.0
_OURS = """
import sys
import zkcoord
assert zkcoord.lock("/fresh/ours", sys.argv[1], identifier="a")
assert zkcoord.unlock("/fresh/ours", sys.argv[1], identifier="a")
zkcoord.close()
"""
_KAZOO = """
import sys
from kazoo.client import KazooClient
client = KazooClient(sys.argv[1])
client.start()
semaphore = client.Semaphore("/fresh/kazoo", "a")
assert semaphore.acquire()
assert semaphore.release()
client.stop()
client.close()
"""
_PHASES = """
import sys, time
at = [time.perf_counter()]
import zkcoord
at.append(time.perf_counter())
assert zkcoord.lock("/fresh/ours", sys.argv[1], identifier="a")
at.append(time.perf_counter())
assert zkcoord.unlock("/fresh/ours", sys.argv[1], identifier="a")
at.append(time.perf_counter())
zkcoord.close()
at.append(time.perf_counter())
print(*at)
"""
PHASES = ("import", "connect and lock", "unlock", "close")
PYTHON, OURS, KAZOO, ETCD = "python -c pass", "zkcoord", "kazoo", "etcdctl lock x true"


def run(ensemble: Ensemble, quick: bool) -> Report:
    """Measure beside an etcd whose data is in memory, and with both writing through to the disk."""
    report = Report()
    rounds, warm_up = (5, 2) if quick else (60, 20)
    memory = "/dev/shm"
    with Etcd(memory if os.path.isdir(memory) else None) as etcd:
        _measure(report, ensemble, etcd, rounds, warm_up, "without fsync")
    with servers(quick, fsync=True) as durable, Etcd() as etcd:
        _measure(report, durable, etcd, rounds // 2, warm_up, "with fsync")
    _phases(report, ensemble, rounds)
    return report


def times(
    hosts: str, rounds: int, warm_up: int = 1, others: Mapping[str, Sequence[str]] | None = None
) -> dict[tuple[str, str], Times]:
    """Time processes of ours, of kazoo, and of others beside them."""
    ours, kazoo = ((sys.executable, "-c", code, hosts) for code in (_OURS, _KAZOO))
    commands = {**(others or {}), OURS: ours, KAZOO: kazoo}
    return interleave(
        {name: {"fresh process": partial(run_to_its_end, command)} for name, command in commands.items()},
        rounds,
        warm_up,
    )


def _measure(report: Report, ensemble: Ensemble, etcd: Etcd, rounds: int, warm_up: int, disk: str) -> None:
    etcdctl_lock = (etcdctl(), "--endpoints", etcd.endpoints, "lock", "x", "true")
    found = times(ensemble.hosts, rounds, warm_up, {PYTHON: (sys.executable, "-c", "pass"), ETCD: etcdctl_lock})
    taken_by = {name: taken for (name, _), taken in found.items()}
    title = f"A fresh process, {disk}"
    table = Table(f"fresh-{disk.replace(' ', '-')}", title, ("process", "median ms", "p99 ms", "times zkcoord's"))
    for name, taken in taken_by.items():
        table.rows.append((name, taken.median, taken.p99, taken.median / taken_by[OURS].median))
    report.tables.append(table)
    ratio = taken_by[OURS].median / taken_by[ETCD].median
    report.targets += [
        Target(
            f"fresh process, {disk}: kazoo's time / ours", taken_by[KAZOO].median / taken_by[OURS].median, at_least=3.5
        ),
        Target(f"fresh process, {disk}: ours / etcdctl's time", ratio, at_most=1),
    ]


def _phases(report: Report, ensemble: Ensemble, rounds: int) -> None:
    phases = [Times() for _ in PHASES]
    for _ in range(rounds):
        command = [sys.executable, "-c", _PHASES, ensemble.hosts]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT, check=False)
        if done.returncode:
            raise BenchError(f"a fresh process ended with {done.returncode}: {done.stderr.strip()[-300:]}")
        at = [float(instant) for instant in done.stdout.split()]
        for phase, began, ended in zip(phases, at[:-1], at[1:], strict=True):
            phase.ms.append((ended - began) * 1000)
    table = Table("fresh-phases", "What a fresh process of zkcoord is at", ("phase", "median ms", "p99 ms"))
    table.rows += [(name, phase.median, phase.p99) for name, phase in zip(PHASES, phases, strict=True)]
    report.tables.append(table)
    report.targets.append(Target("import zkcoord", phases[0].median, at_most=3, unit="ms"))


def run_to_its_end(command: Sequence[str]) -> None:
    """Wait until a process has ended, and well."""
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors)
        # Popen.wait with a timeout looks every 50 ms; this wakes up with the end.
        end = os.pidfd_open(process.pid)
        try:
            ended, _, _ = select.select([end], [], [], _LIMIT)
        finally:
            os.close(end)
            if process.poll() is None:
                process.kill()
            process.wait(10)
        if not ended or process.returncode:
            errors.seek(0)
            printed = errors.read().decode(errors="replace").strip()[-300:]
            raise BenchError(f"{Path(command[0]).name} ended with {process.returncode}: {printed}")
