"""A day in the life of a minion: thousands of jobs, each a fork of the same parent, and nothing may grow.

Run as `python -m faults.soak HOSTS JOBS SAMPLES`, it is that parent. It writes a line of JSON after every so many
jobs, and waits for an empty line before it goes on, so that the servers can be looked at while nothing happens.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path

import zkcoord
from zkcoord.testing import Ensemble

from faults import heap

PATH = "/soak"
AT_ONCE = 4
SLOTS = 2
COUNTS = {
    "znodes": "zk_znode_count",
    "connections": "zk_num_alive_connections",
    "ephemerals": "zk_ephemerals_count",
    "watches": "zk_watch_count",
    "server file descriptors": "zk_open_file_descriptor_count",
}
# What a just-in-time compiler, an allocator or a log may take and keep without being a leak.
SLACK = {"server heap (KiB)": 4096, "server memory (KiB)": 65536, "parent memory (KiB)": 1024}
SLACK_OF_COUNTS = {"server file descriptors": 3}


@dataclass
class Soaked:
    """What was counted, after the first part of the jobs and so on to the end."""

    jobs: int
    failed: int
    seconds: float
    samples: list[dict[str, int]]

    @property
    def growth(self) -> dict[str, int]:
        """How much of what has grown between the first sample and the last, beyond what is no leak."""
        first, last = self.samples[0], self.samples[-1]
        slack = {**SLACK, **SLACK_OF_COUNTS}
        return {name: last[name] - first[name] for name in first if last[name] - first[name] > slack.get(name, 0)}


def soak(jobs: int, samples: int = 20) -> Soaked:
    """Run the jobs on an ensemble of its own."""
    with Ensemble(3) as ensemble:
        command = (sys.executable, "-m", "faults.soak", ensemble.hosts, str(jobs), str(samples))
        root = Path(__file__).parent.parent
        process = subprocess.Popen(
            ("setpriv", "--pdeathsig", "KILL", "--", *command),
            cwd=root,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdin
        assert process.stdout
        try:
            found = []
            for line in process.stdout:
                report = json.loads(line)
                found.append({**report["counts"], **_counts(ensemble)})
                process.stdin.write("\n")
                process.stdin.flush()
            if process.wait(30) != 0:
                raise RuntimeError(f"the parent of the jobs ended with {process.returncode}")
            return Soaked(jobs, report["failed"], report["seconds"], found)
        finally:
            process.kill()
            process.wait(10)


def _counts(ensemble: Ensemble) -> dict[str, int]:
    """What the servers hold, summed over them; once the sessions of the last jobs are over."""
    end = time.monotonic() + 15
    while len(ensemble.sessions()) > 1 and time.monotonic() < end:
        time.sleep(0.1)
    mntr = ensemble.mntr()
    pids = [server.pid for server in ensemble.servers if server.pid]
    return {
        **{name: int(mntr[key]) for name, key in COUNTS.items()},
        "sessions": len(ensemble.sessions()),
        "server heap (KiB)": sum(map(heap.used_after_gc, pids)) // 1024,
        "server memory (KiB)": sum(map(_memory, pids)),
    }


def _memory(pid: int | str = "self") -> int:
    found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


def _job(hosts: str, number: int) -> None:
    who, ephemeral = f"minion-{number % AT_ONCE}", bool(number % 2)
    held = zkcoord.lock(PATH, hosts, who, SLOTS, timeout=60, ephemeral_lease=ephemeral)
    freed = zkcoord.unlock(PATH, hosts, who, ephemeral_lease=ephemeral, timeout=60)
    if not (held and freed):
        raise RuntimeError(f"lock report {held}, unlock {freed}")


def _parent(hosts: str, jobs: int, samples: int) -> None:
    context = multiprocessing.get_context("fork")
    zkcoord.lock_holders(PATH, hosts)  # a session of the parent's own, which every fork inherits
    failed, began, looking = 0, time.monotonic(), 0.0
    running: dict[int, tuple[int, multiprocessing.Process]] = {}
    number = 0
    for part in range(1, samples + 1):
        end = jobs * part // samples
        while number < end or running:
            # Of those under one identifier, one at a time.
            lanes = {it % AT_ONCE for it, _ in running.values()}
            if number < end and len(running) < AT_ONCE and number % AT_ONCE not in lanes:
                job = context.Process(target=_job, args=(hosts, number))
                job.start()
                running[job.sentinel] = (number, job)
                number += 1
                continue
            for sentinel in wait(list(running)):
                _, job = running.pop(int(str(sentinel)))
                job.join()
                failed += job.exitcode != 0
                job.close()
        paused = time.monotonic()
        gc.collect()
        counts = {"parent file descriptors": len(os.listdir("/proc/self/fd")), "parent memory (KiB)": _memory()}
        seconds = time.monotonic() - began - looking
        print(json.dumps({"counts": counts, "failed": failed, "seconds": seconds}), flush=True)
        sys.stdin.readline()
        looking += time.monotonic() - paused


if __name__ == "__main__":
    _parent(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
