"""Ever more waiters from one process, a thread each: what one more costs, and what a release costs then."""

from __future__ import annotations

import statistics
import time

from kazoo.client import KazooClient
from zkcoord.testing import Ensemble

from bench.measure import Report, Requests, Table, Target, until
from bench.workers import Crew, Crowd

WAITERS = (10, 100, 1000, 5000)
HAND_OVERS = 20
COLUMNS = ("waiters", "seconds to queue", "ms a waiter", "memory kB a waiter", "ms a hand-over", "requests a hand-over")


def run(ensemble: Ensemble, quick: bool) -> Report:
    """Queue them, look, and hand the slot over a few times."""
    report = Report([Table("waiters", "Waiters in one process", COLUMNS)])
    observer = KazooClient(ensemble.hosts, timeout=60)
    observer.start(timeout=30)
    try:
        for count in WAITERS[:2] if quick else WAITERS:
            report.tables[0].rows.append(_crowd(ensemble, observer, count))
    finally:
        observer.stop()
        observer.close()
    first, last = report.tables[0].rows[1], report.tables[0].rows[-1]
    report.targets += [
        Target(f"time a waiter: {last[0]} / {first[0]} waiters", last[2] / first[2], at_most=1.5),
        Target(f"memory a waiter: {last[0]} / {first[0]} waiters", last[3] / first[3], at_most=1.5),
        Target(f"requests a hand-over: {last[0]} / {first[0]} waiters", last[5] / first[5], at_most=1.25),
    ]
    return report


def _crowd(ensemble: Ensemble, observer: KazooClient, count: int) -> tuple[object, ...]:
    path = f"/bench-waiters/{count}"
    with Crew([(Crowd, ensemble.hosts, path, "holder", 1)]) as crew:
        (worker,) = crew.workers
        empty, start = worker.memory(), time.monotonic()
        worker.tell("wait", count)

        def all_queued() -> bool:
            stat = observer.exists(f"{path}-__lock__")
            return stat is not None and stat.numChildren == count

        until(all_queued, f"{count} waiters have queued", 120)
        took = time.monotonic() - start
        worker.answer()
        counter = Requests(ensemble)
        before = counter.settle()  # the places come before what is read and watched
        memory = (worker.memory() - empty) / count
        times = [worker.ask("hand_over") for _ in range(min(HAND_OVERS, count // 2))]
        asked = (counter.settle() - before) / len(times)
    return count, took, took / count * 1000, memory, statistics.median(times), asked
