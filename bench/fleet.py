"""A fleet against an ensemble of five: a session a minion, heartbeats, and now and then a lock.

What the servers count is put beside what is calculated, and that is then calculated for a greater fleet.
"""

from __future__ import annotations

import os
import statistics
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import zkcoord
from kazoo.client import KazooClient
from zkcoord.testing import Ensemble

from bench.measure import Report, Requests, Table, Target, percentile, until
from bench.workers import MINION_TIMEOUT, Crew, Sessions

SERVERS = 5
PROCESSES = 4
GREATER = 10_000
# The client looks at its clock twenty times a session timeout, and sends a heartbeat when it was silent for three
# of these times: with the fourth.
HEARTBEAT = MINION_TIMEOUT * 4 / 20
POOL, SLOTS = 20, 5
_TICKS = os.sysconf("SC_CLK_TCK")


def run(_: Ensemble, quick: bool) -> Report:
    """Open the sessions, leave them idle, have them work, and have some of them wait."""
    each, idle_for, work_for, waiting = (10, 4, 2, 2) if quick else (500, 12, 15, 50)
    minions = PROCESSES * each
    with Ensemble(SERVERS, tick_ms=2000, fast_start=False) as ensemble:
        observer = KazooClient(ensemble.hosts, timeout=60)
        observer.start(timeout=30)
        observer.ensure_path("/fleet")
        a_cycle = _requests_a_cycle(ensemble)
        try:
            began = time.monotonic()
            crew = Crew([(Sessions, ensemble.hosts, "/fleet", n * each, each) for n in range(PROCESSES)])
            with crew:
                opened = time.monotonic() - began
                sessions = len(ensemble.sessions()) - 1
                idle_rate, idle_cpu = _window(ensemble, lambda: time.sleep(idle_for))
                latencies: list[float] = []

                def work() -> None:
                    crew.tell("work", work_for, POOL, SLOTS)
                    for answer in crew.answers():
                        latencies.extend(answer)

                work()  # makes the pools
                latencies.clear()
                cpu_before, clock = _clients_cpu(crew), time.monotonic()
                work_rate, work_cpu = _window(ensemble, work)
                took = time.monotonic() - clock
                client_cpu = (_clients_cpu(crew) - cpu_before) / took
                watches = _watches(ensemble, observer, crew, waiting)
        finally:
            observer.stop()
            observer.close()
    cycles = minions / took
    calculated = minions / HEARTBEAT + a_cycle * cycles
    report = Report([Table("fleet", f"{minions} minions, {SERVERS} servers", ("what", "measured", "calculated"))])
    per_request = (work_cpu - idle_cpu) / max(1.0, work_rate - idle_rate) * 1000
    ping_every = sessions / idle_rate
    report.tables[0].rows += [
        ("sessions", sessions, minions),
        ("seconds to open them", opened, None),
        ("seconds between two heartbeats of a session", ping_every, HEARTBEAT),
        ("requests a second, idle", idle_rate, minions / HEARTBEAT),
        ("locks and unlocks a second, working", cycles, minions / work_for),
        ("requests a second, working", work_rate, calculated),
        ("lock, median ms", statistics.median(latencies), None),
        ("lock, p99 ms", percentile(latencies, 99), None),
        ("watches a waiter", watches, 2.0),  # on its own queue node, and on the one before it
        ("processors used by all servers, idle", idle_cpu, None),
        ("processors used by all servers, working", work_cpu, None),
        ("servers' CPU ms a request of a lock or unlock", per_request, None),
        ("processors used by all minions, working", client_cpu, None),
    ]
    # An hour in which every minion takes a slot once, and a heartbeat's CPU as it was when idle.
    hourly = GREATER / 3600
    beats = GREATER / ping_every
    greater = Table("fleet-greater", f"{GREATER} minions, calculated", ("what", "in all", "for each of five servers"))
    greater.rows += [
        ("sessions", float(GREATER), GREATER / SERVERS),
        ("heartbeats a second", beats, beats / SERVERS),
        ("requests a second of a lock an hour by each", hourly * a_cycle, hourly * a_cycle / SERVERS),
        ("writes a second of that", hourly * 3, hourly * 3),
        ("watches when all of them wait", GREATER * watches, GREATER * watches / SERVERS),
        ("processors used by heartbeats", idle_cpu * GREATER / minions, idle_cpu * GREATER / minions / SERVERS),
    ]
    report.tables.append(greater)
    report.targets += [
        Target("fleet: sessions", float(sessions), at_least=20 if quick else 2000, unit="sessions"),
        Target("fleet: requests a second, measured / calculated", work_rate / calculated, at_least=0.9),
        Target("fleet: watches a waiter", watches, at_most=2.25, unit="watches"),
    ]
    return report


def _requests_a_cycle(ensemble: Ensemble) -> float:
    """Requests of a lock and unlock of somebody who is alone."""

    def cycle() -> None:
        zkcoord.lock("/fleet/alone", ensemble.hosts, identifier="a")
        zkcoord.unlock("/fleet/alone", ensemble.hosts, identifier="a")

    try:
        cycle()
        return round(Requests(ensemble).a_call(cycle, 50))
    finally:
        zkcoord.close()


def _window(ensemble: Ensemble, during: Callable[[], object]) -> tuple[float, float]:
    """Requests a second, and processors used by the servers, during a call."""
    counter = Requests(ensemble)
    cpu, before, start = _servers_cpu(ensemble), counter.so_far(), time.monotonic()
    during()
    took = time.monotonic() - start
    return (counter.so_far() - before) / took, (_servers_cpu(ensemble) - cpu) / took


def _watches(ensemble: Ensemble, observer: KazooClient, crew: Crew, waiting: int) -> float:
    """Have a few of each process wait for slots that nobody gives back; watches at the servers for each of them."""
    before = ensemble.mntr()["zk_watch_count"]
    paths = [f"/fleet-waiting/{number}" for number in range(len(crew.workers))]
    for path, worker in zip(paths, crew.workers, strict=True):
        observer.create(path, b"1", makepath=True)
        observer.create(f"{path}/{uuid.uuid4().hex}", b"holder")
        worker.ask("wait", path, waiting)

    def all_wait() -> bool:
        queues = [observer.exists(f"{path}-__lock__") for path in paths]
        return all(stat is not None and stat.numChildren == waiting for stat in queues)

    until(all_wait, "the minions wait", 60)
    time.sleep(1)  # the watches come after the places
    return (ensemble.mntr()["zk_watch_count"] - before) / (len(paths) * waiting)


def _servers_cpu(ensemble: Ensemble) -> float:
    return sum(_cpu(server.pid) for server in ensemble.servers if server.pid)


def _clients_cpu(crew: Crew) -> float:
    return sum(_cpu(worker.pid) for worker in crew.workers)


def _cpu(pid: int) -> float:
    """Processor seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS
