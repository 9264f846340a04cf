"""What a lock and unlock costs the client's machine: processor time, context switches, system calls."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from zkcoord.testing import Ensemble

from bench.locks import follower
from bench.measure import BenchError, Report, Table

_LIMIT = 60.0
_CYCLES = """
import json, resource, sys, time
hosts, cycles, kind = sys.argv[1], int(sys.argv[2]), sys.argv[3]
if kind == "zkcoord":
    import zkcoord
    given = {"zk_hosts": hosts, "identifier": "a", "ephemeral_lease": True}
    path = "/client-cost/ours"
    lock, unlock = (lambda: zkcoord.lock(path, **given)), (lambda: zkcoord.unlock(path, **given))
else:
    from kazoo.client import KazooClient
    client = KazooClient(hosts, timeout=60)
    client.start()
    semaphore = client.Semaphore("/client-cost/kazoo", "a")
    lock, unlock = semaphore.acquire, semaphore.release
def usage():
    it = resource.getrusage(resource.RUSAGE_SELF)
    return time.perf_counter(), it.ru_utime, it.ru_stime, it.ru_nvcsw, it.ru_nivcsw
for _ in range(50):
    lock(), unlock()
before = usage()
for _ in range(cycles):
    lock(), unlock()
print(json.dumps([(after - earlier) / max(1, cycles) for earlier, after in zip(before, usage())]))
if kind == "kazoo":
    client.stop()
"""
COLUMNS = ("who", "ms a cycle", "user CPU ms", "system CPU ms", "context switches", "system calls", "mostly")


def run(ensemble: Ensemble, quick: bool) -> Report:
    """Run cycles in a process of their own, and again under strace."""
    report = Report([Table("client-cost", "One lock and unlock, at the client", COLUMNS)])
    cycles = 20 if quick else 500
    if not shutil.which("strace"):
        raise BenchError("strace is missing; on Debian: apt-get install strace")
    hosts = follower(ensemble)
    for kind in ("zkcoord", "kazoo"):
        wall, user, system, voluntary, involuntary = json.loads(_run(hosts, cycles, kind))
        none, some = _calls(hosts, 0, kind), _calls(hosts, cycles, kind)
        calls = {name: (count - none.get(name, 0)) / cycles for name, count in some.items()}
        often = sorted(calls, key=lambda name: -calls[name])[:4]
        mostly = ", ".join(f"{name} {calls[name]:.1f}" for name in often)
        switches = voluntary + involuntary
        report.tables[0].rows.append(
            (kind, wall * 1000, user * 1000, system * 1000, switches, sum(calls.values()), mostly)
        )
    return report


def _run(hosts: str, cycles: int, kind: str, *before: str) -> str:
    command = [*before, sys.executable, "-c", _CYCLES, hosts, str(cycles), kind]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT, check=False)
    if done.returncode:
        raise BenchError(f"{kind}: a process ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    return done.stdout


def _calls(hosts: str, cycles: int, kind: str) -> dict[str, int]:
    with tempfile.TemporaryDirectory(prefix="zkcoord-bench-") as directory:
        summary = Path(directory) / "calls"
        _run(hosts, cycles, kind, "strace", "-f", "-c", "-o", str(summary))
        # % time, seconds, microseconds a call, calls, errors if there were any, name
        rows = re.findall(r"^ *[\d.]+ +[\d.]+ +\d+ +(\d+) +(?:\d+ +)?(\w+)$", summary.read_text(), re.M)
    return {name: int(count) for count, name in rows if name != "total"}
