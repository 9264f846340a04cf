"""A coordinator: a lock that is free; and from a release to the beacon of the next unit, with few and many queued.

Requests are counted at the servers. Bytes are those of one release, both ways, on a connection through a proxy.
"""

from __future__ import annotations

import json
import time
import uuid
from contextlib import ExitStack
from itertools import pairwise

import zkcoord
from kazoo.client import KazooClient
from saltext.zkcoord.utils import watched_grants
from saltext.zkcoord.utils.client import Client
from saltext.zkcoord.utils.config import Configuration
from saltext.zkcoord.utils.coordinator import Coordinator
from zkcoord import grants
from zkcoord.testing import Ensemble

from bench.locks import follower
from bench.measure import BenchError, Report, Requests, Table, Target, Times, interleave, until

QUEUED = (10, 1000)
# Lengths of a queue, to see how much a release reads for each request in it.
LENGTHS = (10, 100, 1000)


class Line:
    """A lock with one unit that is granted it and so many that wait."""

    def __init__(self, hosts: str, client: KazooClient, queued: int) -> None:
        """Let them ask. Requests are what they are on disk, so that a thousand are soon made."""
        self.home = {"key": uuid.uuid4().hex, "zk_hosts": hosts}
        self._client, self._asked = client, 0
        self.units = [self._name()]
        grants.acquire("restart", self.units[0], **self.home)
        self._home = f"/coordinator/{self.home['key']}/requests/restart"
        while len(self.units) <= queued:
            self.ask()

    def _name(self) -> str:
        self._asked += 1
        return f"host{self._asked}.example.org"

    def ask(self) -> None:
        """Let one more unit ask, at the end of the queue."""
        self.units.append(self._name())
        data = json.dumps({"asked": "2026-01-01T00:00:00Z", "reason": "kernel", "labels": {"rack": "r1"}})
        self._client.create(f"{self._home}/{self.units[-1]}", data.encode())

    def release(self) -> None:
        """Give the lock back; the next is granted it, and another one asks."""
        given = grants.release("restart", self.units.pop(0), **self.home)
        if given["effects"]["granted"] != self.units[:1]:
            raise BenchError(f"{given} was to grant the lock to {self.units[:1]}")
        self.ask()

    def hand_over(self) -> float:
        """Milliseconds from the beginning of a release until the beacon of the next unit fires its event."""
        fired: list[float] = []
        opts = {"id": self.units[1], "zookeeper": {"hosts": self.home["zk_hosts"]}}
        client = Client({}, opts, Configuration(opts))
        beacon = watched_grants.Watch(
            lambda: Coordinator(client, self.home["key"], "/coordinator"),
            self.units[1],
            tell=lambda _: fired.append(time.perf_counter()),
            again=0,
            is_busy=lambda: False,
            reported={},
        )
        try:
            time.sleep(0.1)  # it sets its watches
            began = time.perf_counter()
            self.release()
            until(lambda: fired, "the beacon fires")
        finally:
            beacon.stop()
        return (fired[0] - began) * 1000


def carried(server: str, client: KazooClient, queued: int, releases: int) -> float:
    """Bytes that the connection carries for a release with so many queued, which grants the lock to the next."""
    from zkcoord.testing import Proxy  # noqa: PLC0415 - only where it runs

    with Proxy(int(server.rpartition(":")[2])) as proxy:
        line = Line(proxy.address, client, queued)
        line.release()  # a session is opened
        before = proxy.carried
        for _ in range(releases):
            line.release()
        return (proxy.carried - before) / releases


def run(ensemble: Ensemble, quick: bool) -> Report:
    """Ask when it is free; and hand over with few and with many queued."""
    rounds, warm_up = (5, 2) if quick else (100, 50)
    columns = ("work", "queued", "median ms", "p99 ms", "requests", "bytes")
    report = Report([Table("grants", "A coordinator", columns)])
    hosts, counter = follower(ensemble), Requests(ensemble)
    with ExitStack() as stack:
        client = KazooClient(hosts, timeout=60)
        client.start(timeout=30)
        stack.callback(client.close)
        stack.callback(client.stop)
        stack.callback(zkcoord.close)
        free = {"key": uuid.uuid4().hex, "zk_hosts": hosts}
        steps = {
            "acquire a free lock": lambda: grants.acquire("restart", "a", **free)["granted"],
            "release it": lambda: grants.release("restart", "a", **free)["granted"],
        }
        times = interleave({"zkcoord": steps}, rounds, warm_up)

        def both() -> None:
            for step in steps.values():
                step()

        for step in steps:
            taken = times["zkcoord", step]
            report.tables[0].rows.append((step, 0, taken.median, taken.p99, None, None))
        report.tables[0].rows.append(("acquire, grant and release", 0, None, None, counter.a_call(both, 20), None))
        asked, seen = {}, {}
        for queued in QUEUED:
            line = Line(hosts, client, 20 if quick and queued > 20 else queued)
            few = rounds if queued < 100 else max(3, rounds // 4)
            taken = Times([line.hand_over() for _ in range(few + 2)][2:])
            # Each release comes with the request of another unit, which is one.
            asked[queued] = counter.a_call(line.release, 5 if quick else 20) - 1
            seen[queued] = taken.median
            report.tables[0].rows.append(
                ("from a release to the next unit's beacon", queued, taken.median, taken.p99, asked[queued], None)
            )
        lengths = [min(length, 10 * (number + 1)) for number, length in enumerate(LENGTHS)] if quick else LENGTHS
        sizes = [carried(hosts, client, length, 3 if quick else 10) for length in lengths]
        for length, size in zip(lengths, sizes, strict=True):
            report.tables[0].rows.append(
                ("release, which grants it to the next", length, None, None, None, round(size))
            )
    few, many = QUEUED
    report.targets.append(
        Target(f"a grant: requests with {many} queued / with {few}", round(asked[many] / asked[few], 2), at_most=1.1)
    )
    first, second = (
        (size - before) / (length - shorter)
        for (before, size), (shorter, length) in zip(pairwise(sizes), pairwise(lengths), strict=True)
    )
    report.targets.append(
        Target("a grant: bytes a request in a long queue / in a short one", round(second / first, 2), at_most=1.1)
    )
    report.targets.append(
        Target(f"from a release to the next unit, {many} queued", seen[many], at_most=1000, unit="ms")
    )
    return report
