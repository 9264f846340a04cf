"""What all kinds of work share: times, percentiles, requests at the servers, and what is handed back."""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import zkcoord
from kazoo.client import KazooClient
from zkcoord.testing import Ensemble

Steps = Mapping[str, Callable[[], object]]
"""What one side does in a round, by name, in this order."""


class BenchError(RuntimeError):
    """A measure cannot be taken."""


# In a quarter of a second, of some hundred sessions with a timeout of a minute.
_PINGS = 20


@dataclass
class Times:
    """How long the same thing took each time, in milliseconds."""

    ms: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Half of them took less."""
        return statistics.median(self.ms)

    @property
    def p99(self) -> float:
        """Of a hundred, one took longer."""
        return percentile(self.ms, 99)


@dataclass
class Table:
    """One table of the report. Columns name their unit."""

    name: str
    title: str
    columns: Sequence[str]
    rows: list[Sequence[Any]] = field(default_factory=list)


@dataclass
class Target:
    """What was to be reached, and what was."""

    work: str
    figure: float
    at_least: float | None = None
    at_most: float | None = None
    unit: str = "x"

    @property
    def must(self) -> str:
        """The bound in words."""
        word, bound = ("at least", self.at_least) if self.at_most is None else ("at most", self.at_most)
        return f"{word} {shown(bound)} {self.unit}"

    @property
    def holds(self) -> bool:
        """Whether the figure is within the bound."""
        low = -math.inf if self.at_least is None else self.at_least
        high = math.inf if self.at_most is None else self.at_most
        return low <= self.figure <= high


@dataclass
class Report:
    """What one kind of work hands back."""

    tables: list[Table] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest of the values that so many percent of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def shown(value: Any) -> str:
    """A number as people read it: three digits that count, and all of those before the point."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, float) or not math.isfinite(value):
        return "" if value is None else str(value)
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{digits}f}"


def timed(function: Callable[[], object]) -> float:
    """Milliseconds of one call. One that was refused is no measure."""
    start = time.perf_counter()
    answer = function()
    ms = (time.perf_counter() - start) * 1000
    if answer is False:
        raise BenchError(f"{function} answered False")
    return ms


def interleave(sides: Mapping[str, Steps], rounds: int, warm_up: int) -> dict[tuple[str, str], Times]:
    """Time every side once a round, in an order that is drawn anew; the first rounds are dropped."""
    order, names = random.Random(1), list(sides)
    times = {(side, step): Times() for side, steps in sides.items() for step in steps}
    for number in range(warm_up + rounds):
        order.shuffle(names)
        for side in names:
            for step, function in sides[side].items():
                ms = timed(function)
                if number >= warm_up:
                    times[side, step].ms.append(ms)
    return times


@contextmanager
def servers(quick: bool, fsync: bool = False) -> Iterator[Ensemble]:
    """Three servers as production has them: Java at its full speed, and all of them used for a while."""
    ours, kazoos = (50, 20) if quick else (1000, 250)
    with Ensemble(3, fsync=fsync, fast_start=False) as ensemble:
        for server in ensemble.servers:
            client = KazooClient(server.address, timeout=60)
            client.start(timeout=30)
            semaphore = client.Semaphore("/bench-warm/kazoo", "a")
            for _ in range(kazoos):
                semaphore.acquire()
                semaphore.release()
            client.stop()
            client.close()
            for _ in range(ours):
                zkcoord.lock("/bench-warm/ours", server.address, identifier="a")
                zkcoord.unlock("/bench-warm/ours", server.address, identifier="a")
        zkcoord.close()
        yield ensemble


class Requests:
    """Counts requests at the servers, without those that ask for the number."""

    def __init__(self, ensemble: Ensemble) -> None:
        """Nothing is asked yet."""
        self._ensemble = ensemble
        self._own = 0

    def so_far(self) -> float:
        """How many there were; differences make sense of it. The pings of idle sessions are among them."""
        self._own += len(self._ensemble.servers)
        return self._ensemble.mntr()["zk_packets_received"] - self._own

    def a_call(self, function: Callable[[], object], calls: int) -> float:
        """How many one call makes."""
        before = self.so_far()
        for _ in range(calls):
            function()
        return (self.so_far() - before) / calls

    def settle(self, limit: float = 60.0) -> float:
        """Wait until clients are at rest but for pings, and count then."""
        counted = [self.so_far()]

        def at_rest() -> bool:
            time.sleep(0.25)
            counted.append(self.so_far())
            return counted[-1] - counted[-2] <= _PINGS

        until(at_rest, "no more requests than pings", limit)
        return counted[-1]


def until(condition: Callable[[], object], what: str, limit: float = 60.0) -> None:
    """Wait for something that can be seen."""
    end = time.monotonic() + limit
    while not condition():
        if time.monotonic() > end:
            raise BenchError(f"not within {limit:g} s: {what}")
        time.sleep(0.005)
