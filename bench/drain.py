"""Two hundred waiters, each in a process of its own, go through a pool one after another."""

from __future__ import annotations

import random
import statistics
import time
import uuid

from kazoo.client import KazooClient
from zkcoord.testing import Ensemble

from bench.handover import KINDS
from bench.measure import Report, Requests, Table, Target, until
from bench.workers import Crew

WAITERS = 200
SLOTS = (1, 4)
COLUMNS = (
    "slots",
    "who",
    "seconds in all",
    "ms a hand-over",
    "requests a hand-over",
    "requests to queue",
    "client CPU ms",
    "own memory kB",
)


def run(ensemble: Ensemble, quick: bool) -> Report:
    """Drain pools of one slot and of four."""
    count = 10 if quick else WAITERS
    report = Report([Table("drain", f"{count} waiters, in processes", COLUMNS)])
    observer = KazooClient(ensemble.hosts, timeout=60)
    observer.start(timeout=30)
    try:
        runs = [(slots, name) for slots in SLOTS for name in KINDS]
        rows = {each: _drain(ensemble, observer, *each, count) for each in random.Random(2).sample(runs, len(runs))}
    finally:
        observer.stop()
        observer.close()
    report.tables[0].rows += [rows[each] for each in runs]
    report.targets += [
        Target(
            f"{count} waiters through {slots} slot{'s' * (slots > 1)}: kazoo's time / ours",
            rows[slots, "kazoo"][2] / rows[slots, "zkcoord"][2],
            at_least=2,
        )
        for slots in SLOTS
    ]
    return report


def _drain(ensemble: Ensemble, observer: KazooClient, slots: int, name: str, count: int) -> tuple[object, ...]:
    path = f"/bench-drain/{name}-{slots}"
    observer.create(path, str(slots).encode(), makepath=True)
    observer.create(f"{path}-__lock__")  # a pool in use has one; else all who come at once would make it
    blockers = [observer.create(f"{path}/{uuid.uuid4().hex}", b"blocker") for _ in range(slots)]
    with Crew([(KINDS[name], ensemble.hosts, path, f"host{number}", slots) for number in range(count)]) as crew:
        sample = crew.workers[:: max(1, count // 10)]
        counter = Requests(ensemble)
        before = counter.settle()
        crew.tell("through")
        looks = 0

        def all_queued() -> bool:
            nonlocal looks
            looks += 1
            stat = observer.exists(f"{path}-__lock__")
            return stat is not None and stat.numChildren == count

        until(all_queued, "the waiters have queued", 60)
        queued = counter.settle()
        memory = statistics.mean(worker.memory() for worker in sample)
        start = time.monotonic()
        for blocker in blockers:
            observer.delete(blocker)
        answers = crew.answers()
        after = counter.so_far()
    took = max(done for done, _ in answers) - start
    return (
        slots,
        name,
        took,
        took / count * 1000,
        (after - queued - slots) / count,
        (queued - before - looks) / count,
        statistics.mean(cpu for _, cpu in answers) * 1000,
        memory,
    )
