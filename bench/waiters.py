"""Ever more waiters from one process, a thread each: what one more costs, and what a release costs then."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

from kazoo.client import KazooClient
from zkcoord.testing import Ensemble

from bench.measure import Report, Requests, Table, Target, until
from bench.workers import Crew, Crowd

WAITERS = (10, 100, 1000, 5000)
HAND_OVERS = 20
LISTENING = (100, 200, 400, 800)
# Long enough for the waiter in the middle of the longest queue to read it once.
LISTENS_FOR = 20
COLUMNS = ("waiters", "seconds to queue", "ms a waiter", "memory kB a waiter", "ms a hand-over", "requests a hand-over")
POSITIONS = ("waiters", "kB/s, positions told", "kB/s, nobody listens", "kB/s a waiter for positions")


def run(ensemble: Ensemble, quick: bool) -> Report:
    """Queue them, look, and hand the slot over a few times."""
    positions = Table("positions", "Waiters that are told their positions", POSITIONS)
    report = Report([Table("waiters", "Waiters in one process", COLUMNS), positions])
    observer = KazooClient(ensemble.hosts, timeout=60)
    observer.start(timeout=30)
    try:
        for count in WAITERS[:2] if quick else WAITERS:
            report.tables[0].rows.append(_crowd(ensemble, observer, count))
        for count in LISTENING[:2] if quick else LISTENING:
            silent, listening = (_traffic(ensemble, observer, count, listens) for listens in (False, True))
            positions.rows.append((count, listening, silent, (listening - silent) / count))
    finally:
        observer.stop()
        observer.close()
    first, last = report.tables[0].rows[1], report.tables[0].rows[-1]
    report.targets += [
        Target(f"time a waiter: {last[0]} / {first[0]} waiters", last[2] / first[2], at_most=1.5),
        Target(f"memory a waiter: {last[0]} / {first[0]} waiters", last[3] / first[3], at_most=1.5),
        Target(f"requests a hand-over: {last[0]} / {first[0]} waiters", last[5] / first[5], at_most=1.25),
        Target(
            f"traffic a waiter for positions: {positions.rows[-1][0]} / {positions.rows[0][0]} waiters",
            positions.rows[-1][3] / positions.rows[0][3],
            at_most=1.5,
        ),
    ]
    return report


def _traffic(ensemble: Ensemble, observer: KazooClient, count: int, listens: bool) -> float:
    """kB a second on loopback while so many wait and nobody gets a slot."""
    path = f"/bench-positions/{count}-{listens}"
    with Crew([(Crowd, ensemble.hosts, path, "holder", 1, listens)]) as crew:
        (worker,) = crew.workers
        worker.tell("wait", count)
        _until_queued(observer, path, count)
        worker.answer()
        # At first each has read the queue as it came, and the first pause is over for those near the head.
        time.sleep(2)
        before, began = _loopback_bytes(), time.monotonic()
        time.sleep(LISTENS_FOR)
        return (_loopback_bytes() - before) / (time.monotonic() - began) / 1000


def _loopback_bytes() -> int:
    """What the loopback interface has carried."""
    lines = Path("/proc/net/dev").read_text().splitlines()
    (line,) = (line for line in lines if line.strip().startswith("lo:"))
    return int(line.partition(":")[2].split()[0])


def _until_queued(observer: KazooClient, path: str, count: int) -> None:
    def all_queued() -> bool:
        stat = observer.exists(f"{path}-__lock__")
        return stat is not None and stat.numChildren == count

    until(all_queued, f"{count} waiters have queued", 120)


def _crowd(ensemble: Ensemble, observer: KazooClient, count: int) -> tuple[object, ...]:
    path = f"/bench-waiters/{count}"
    with Crew([(Crowd, ensemble.hosts, path, "holder", 1)]) as crew:
        (worker,) = crew.workers
        empty, start = worker.memory(), time.monotonic()
        worker.tell("wait", count)
        _until_queued(observer, path, count)
        took = time.monotonic() - start
        worker.answer()
        counter = Requests(ensemble)
        before = counter.settle()  # the places come before what is read and watched
        memory = (worker.memory() - empty) / count
        times = [worker.ask("hand_over") for _ in range(min(HAND_OVERS, count // 2))]
        asked = (counter.settle() - before) / len(times)
    return count, took, took / count * 1000, memory, statistics.median(times), asked
