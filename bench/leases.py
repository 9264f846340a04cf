"""Timed leases: what one costs, beside a raw write; many waiters; many that one process renews."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from threading import Thread

import zkcoord
from kazoo.client import KazooClient
from kazoo.recipe.lease import NonBlockingLease
from zkcoord import lease
from zkcoord.testing import Ensemble

from bench.locks import follower
from bench.measure import BenchError, Report, Requests, Table, Target, interleave, servers, timed, until
from tests.support.bare_client import BareClient

OURS, KAZOO, RAW = "zkcoord", "kazoo NonBlockingLease", "bare socket, one write"
ZNODE = "/bench-lease-write"
# For calls that must not be disturbed by renewals that go on by themselves.
QUIET = {"lease_duration": 600.0, "renew_deadline": 300.0, "retry_period": 200.0}
PERIOD = 2.0
WAITERS = HELD = 1000
FRESH = """
import sys, time
from zkcoord import lease
assert lease.take(sys.argv[2], "a", sys.argv[1], lease_duration=60, timeout=0)
"""
FRESH_KAZOO = """
import sys
from datetime import timedelta
from kazoo.client import KazooClient
from kazoo.recipe.lease import NonBlockingLease
client = KazooClient(sys.argv[1], timeout=60)
client.start()
assert NonBlockingLease(client, sys.argv[2], timedelta(seconds=60), "a")
client.stop()
client.close()
"""


def run(ensemble: Ensemble, quick: bool) -> Report:
    """Measure on this ensemble, and the writes also on one that writes through to the disk."""
    report = Report()
    rounds, warm_up = (20, 10) if quick else (300, 200)
    _writes(report, ensemble, rounds, warm_up, "without fsync")
    with servers(quick, fsync=True) as durable:
        _writes(report, durable, rounds // 2, warm_up, "with fsync")
    _fresh(report, ensemble, 3 if quick else 20)
    _waiters(report, ensemble, 20 if quick else WAITERS, 2 if quick else 10)
    _renewals(report, ensemble, 50 if quick else HELD, 2 if quick else 10)
    return report


def _writes(report: Report, ensemble: Ensemble, rounds: int, warm_up: int, how: str) -> None:
    hosts, counter = follower(ensemble), Requests(ensemble)
    with ExitStack() as stack:
        client = KazooClient(hosts, timeout=60)
        client.start(timeout=30)
        stack.callback(client.close)
        stack.callback(client.stop)
        stack.callback(zkcoord.close)
        client.ensure_path(ZNODE)
        raw = stack.enter_context(BareClient(hosts))
        locker = lease.LeaseLocker("/bench/lease", "a", hosts, **QUIET)

        def kazoo() -> object:
            return NonBlockingLease(client, "/bench/kazoo-lease", timedelta(seconds=60), "a")

        ours = {"acquire": locker.lock, "renew": lambda: locker.renew() is None, "release": locker.unlock}
        sides = {
            OURS: ours,
            RAW: {"one write": lambda: raw.set(ZNODE, b"x" * 200)},
            KAZOO: {"acquire or renew": lambda: bool(kazoo())},
        }
        times = interleave(sides, rounds, warm_up)
        table = Table(
            f"leases-{how.replace(' ', '-')}",
            f"A lease on an open session, {how}",
            ("step", "who", "median ms", "p99 ms", "times one write", "requests"),
        )
        one = times[RAW, "one write"].median
        counts = {step: counter.a_call(function, 1) for step, function in ours.items()}
        for (side, step), taken in times.items():
            count = counts.get(step) if side == OURS else None
            table.rows.append((step, side, taken.median, taken.p99, taken.median / one, count))
        report.tables.append(table)
        if how == "with fsync":
            for step in ours:
                ratio = times[OURS, step].median / one
                report.targets.append(Target(f"a lease, {step}: times one quorum write", ratio, at_most=1.3))


def _fresh(report: Report, ensemble: Ensemble, rounds: int) -> None:
    hosts, numbers = ensemble.hosts, iter(range(10**6))

    def process(code: str, path: str) -> bool:
        done = subprocess.run([sys.executable, "-c", code, hosts, f"{path}-{next(numbers)}"], check=False)
        return done.returncode == 0

    sides = {
        OURS: {"a fresh process": partial(process, FRESH, "/bench/fresh-lease")},
        KAZOO: {"a fresh process": partial(process, FRESH_KAZOO, "/bench/fresh-kazoo")},
    }
    times = interleave(sides, rounds, 1)
    table = Table("leases-fresh", "A lease taken by a fresh process of Python", ("who", "median ms", "p99 ms"))
    table.rows += [(side, taken.median, taken.p99) for (side, _), taken in times.items()]
    report.tables.append(table)


def _waiters(report: Report, ensemble: Ensemble, count: int, seconds: float) -> None:
    """So many wait for one lease, which is renewed every two seconds: how often the servers are asked."""
    path, counter = "/bench/waited", Requests(ensemble)
    cancel = zkcoord.Cancel()
    holder = lease.LeaseLocker(path, "holder", ensemble.hosts, lease_duration=60, retry_period=PERIOD)
    holder.lock()

    def wait() -> None:
        try:
            lease.take(path, "waiter", ensemble.hosts, cancel=cancel)
        except zkcoord.errors.Cancelled:
            return

    threads = [Thread(target=wait) for _ in range(count)]
    for thread in threads:
        thread.start()
    until(lambda: len(lease.status(path, ensemble.hosts)["waiters"]) == count, "all wait", 120)
    counter.settle()
    before, began = counter.so_far(), time.monotonic()
    time.sleep(seconds)
    asked = (counter.so_far() - before) / (time.monotonic() - began)
    handed = timed(holder.unlock)
    cancel.cancel()
    for thread in threads:
        thread.join()
    zkcoord.close()
    table = Table("leases-waiters", "Waiters for one lease", ("waiters", "requests a second", "ms to give it back"))
    table.rows.append((count, asked, handed))
    report.tables.append(table)
    report.targets.append(
        Target(f"{count} waiters and a renewal every 2 s: requests a second", asked, at_most=20, unit="")
    )


def _renewals(report: Report, ensemble: Ensemble, count: int, seconds: float) -> None:
    """So many leases that one process renews every two seconds: requests a second, and the processor's time."""
    counter = Requests(ensemble)
    held = [
        lease.LeaseLocker(f"/bench/held/{number}", "a", ensemble.hosts, lease_duration=60, retry_period=PERIOD)
        for number in range(count)
    ]
    for each in held:
        each.lock()
    time.sleep(PERIOD)
    before, began, used = counter.so_far(), time.monotonic(), time.process_time()
    time.sleep(seconds)
    asked, lasted = counter.so_far() - before, time.monotonic() - began
    processor = (time.process_time() - used) / lasted / count
    kept = sum(each.held for each in held)
    for each in held:
        each.unlock()
    zkcoord.close()
    if kept < count:
        raise BenchError(f"only {kept} of {count} leases were held to the end")
    # For each renewal a write, and a watch.
    calculated = 2 * count / PERIOD
    table = Table(
        "leases-renewed",
        "Leases that one process renews",
        ("leases", "requests a second", "as calculated", "CPU ms a lease and second"),
    )
    table.rows.append((count, asked / lasted, calculated, processor * 1000))
    report.tables.append(table)
    report.targets.append(
        Target("renewals: requests a second / as calculated", asked / lasted / calculated, at_most=1.1)
    )
