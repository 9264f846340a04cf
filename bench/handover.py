"""From the release of a slot to the return of the next waiter, each in a process of its own."""

from __future__ import annotations

import random
import uuid
from contextlib import ExitStack
from multiprocessing.connection import wait

from kazoo.client import KazooClient
from zkcoord.testing import Ensemble

from bench.measure import BenchError, Report, Table, Target, Times, until
from bench.workers import Crew, Kazoo, Ours, Worker

WAITERS = (2, 100)
KINDS = {"zkcoord": Ours, "kazoo": Kazoo}


class Queue:
    """A crew at one pool with one slot: one holds it, the others wait."""

    def __init__(self, observer: KazooClient, crew: Crew, path: str) -> None:
        """Have the first take the slot, and the others queue."""
        self._observer, self._path = observer, f"{path}-__lock__"
        self._holder, *self._waiters = crew.workers
        self._holder.ask("lock")
        for worker in self._waiters:
            worker.tell("lock")
        self._all_queued()

    def hand_over(self) -> float:
        """Give the slot to the next; milliseconds. Then the old holder queues again."""
        old, ms = self._next()
        old.tell("lock")
        self._waiters.append(old)
        self._all_queued()
        return ms

    def disperse(self) -> None:
        """Let everybody have a turn, so that nobody waits any more."""
        while self._waiters:
            self._next()
        self._holder.ask("unlock")

    def _next(self) -> tuple[Worker, float]:
        old = self._holder
        old.tell("unlock")
        pipes = {worker.pipe: worker for worker in self._waiters}
        came = wait(list(pipes), 30)
        if len(came) != 1:
            raise BenchError(f"{len(came)} waiters returned after one release")
        self._holder = pipes[came[0]]
        self._waiters.remove(self._holder)
        return old, (self._holder.answer() - old.answer()) * 1000

    def _all_queued(self) -> None:
        def queued() -> bool:
            stat = self._observer.exists(self._path)
            return stat is not None and stat.numChildren == len(self._waiters)

        until(queued, "the waiters have queued", 60)


def run(ensemble: Ensemble, quick: bool) -> Report:
    """Hand over with few and with many waiters."""
    report = Report([Table("handover", "Hand-over", ("waiters", "who", "median ms", "p99 ms", "times zkcoord's"))])
    rounds, warm_up = (5, 2) if quick else (100, 30)
    medians: dict[tuple[int, str], float] = {}
    for count in WAITERS:
        times = measure(ensemble.hosts, ensemble.hosts, 5 if quick and count > 5 else count, rounds, warm_up)
        for name, taken in times.items():
            medians[count, name] = taken.median
            ratio = taken.median / times["zkcoord"].median if name != "zkcoord" else None
            report.tables[0].rows.append((count, name, taken.median, taken.p99, ratio))
    report.targets += [
        Target(
            f"hand-over, {count} waiters: kazoo's time / ours",
            medians[count, "kazoo"] / medians[count, "zkcoord"],
            at_least=2,
        )
        for count in WAITERS
    ]
    few, many = WAITERS
    grows = medians[many, "zkcoord"] / medians[few, "zkcoord"]
    report.targets.append(Target(f"hand-over: {many} waiters / {few} waiters", grows, at_most=1.25))
    return report


def measure(hosts: str, near: str, waiters: int, rounds: int, warm_up: int) -> dict[str, Times]:
    """Time hand-overs between contenders at `hosts`, seen by an observer who is `near`."""
    order, times = random.Random(1), {name: Times() for name in KINDS}
    with ExitStack() as stack:
        observer = KazooClient(near, timeout=60)
        observer.start(timeout=30)
        stack.callback(observer.close)
        stack.callback(observer.stop)
        queues, root = {}, f"/bench-handover/{uuid.uuid4().hex}"
        for name, kind in KINDS.items():
            path = f"{root}/{name}"
            crew = stack.enter_context(Crew([(kind, hosts, path, f"w{n}", 1) for n in range(waiters + 1)]))
            queues[name] = Queue(observer, crew, path)
        for number in range(warm_up + rounds):
            for name in order.sample(list(queues), len(queues)):
                ms = queues[name].hand_over()
                if number >= warm_up:
                    times[name].ms.append(ms)
        for queue in queues.values():
            queue.disperse()
    return times
