"""Lock and unlock on an open session, with nobody in the way; and the raw quorum writes that they are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import zkcoord
from kazoo.client import KazooClient
from zkcoord.testing import Ensemble

from bench.measure import Report, Requests, Steps, Table, Target, Times, interleave, servers
from bench.modules import Modules, load
from tests.support.bare_client import BareClient

OURS, STOCK, NEW_JOB = "zkcoord through Salt", "stock through Salt", "stock, each call a new job"
NATIVE, KAZOO = "zkcoord", "kazoo Semaphore"
RAW, RAW_KAZOO = "bare socket", "kazoo"
TWO_WRITES, TWO_READS = "set twice", "get twice"
ZNODE = "/bench-bare-client"
_PARTS = (
    "two round trips to a follower",
    "the quorum, twice",
    "what zkcoord adds",
    "a lock of zkcoord in all",
    "what Salt adds to that",
)


def run(ensemble: Ensemble, quick: bool) -> Report:
    """Measure on this ensemble, and on one that writes through to the disk."""
    report = Report()
    rounds, warm_up = (20, 10) if quick else (400, 200)
    modules = load()
    volatile = _measure(report, ensemble, modules, rounds, warm_up, "without fsync")
    with servers(quick, fsync=True) as durable:
        safe = _measure(report, durable, modules, rounds // 2, warm_up, "with fsync")
    report.tables.append(Table("where", "Where the time of a lock goes", ("what", "ms", "ms with fsync")))
    report.tables[-1].rows += zip(_PARTS, _parts(volatile), _parts(safe), strict=True)
    return report


def follower(ensemble: Ensemble) -> str:
    """The address of one follower. All sides talk to the same one: a write by way of the leader is shorter."""
    return next(server.address for server in ensemble.servers if server.mode() == "follower")


@contextmanager
def contenders(hosts: str, modules: Modules) -> Iterator[dict[str, Steps]]:
    """Those who lock and unlock a path of their own, by name. Their sessions are closed at the end."""
    with ExitStack() as stack:
        client = KazooClient(hosts, timeout=60)
        client.start(timeout=30)
        stack.callback(client.close)
        stack.callback(client.stop)
        client.ensure_path(ZNODE)
        semaphore = client.Semaphore("/bench/kazoo", "a")
        raw = stack.enter_context(BareClient(hosts))
        stack.callback(zkcoord.close)
        stack.callback(close_stock, modules)

        def forget(function: Callable[[], object]) -> object:
            modules.stock_context["semaphore_map"].clear()  # as a job finds it, but the connection stays
            return function()

        def steps(path: str, functions: object) -> Steps:
            module = {step: functions[f"zk_concurrency.{step}"] for step in ("lock", "unlock")}
            return {step: partial(function, path, hosts, identifier="a") for step, function in module.items()}

        def twice(write: Callable[[str, bytes], object], read: Callable[[str], object]) -> Steps:
            """As a lock, which is two flights: the first finds everybody at rest, the second does not."""
            return {
                TWO_WRITES: lambda: [write(ZNODE, b"x") for _ in range(2)],
                TWO_READS: lambda: [read(ZNODE) for _ in range(2)],
            }

        new_job = steps("/bench/new-job", modules.stock)
        given = {"zk_hosts": hosts, "identifier": "a", "ephemeral_lease": True}  # as kazoo's leases are
        yield {
            OURS: steps("/bench/ours", modules.ours),
            STOCK: steps("/bench/stock", modules.stock),
            NEW_JOB: {step: partial(forget, function) for step, function in new_job.items()},
            NATIVE: {
                "lock": partial(zkcoord.lock, "/bench/native", **given),
                "unlock": partial(zkcoord.unlock, "/bench/native", **given),
            },
            KAZOO: {"lock": semaphore.acquire, "unlock": semaphore.release},
            RAW_KAZOO: twice(client.set, client.get),
            RAW: twice(raw.set, raw.get),
        }


def _measure(report: Report, ensemble: Ensemble, modules: Modules, rounds: int, warm_up: int, disk: str) -> None:
    columns = ("who", "call", "median ms", "p99 ms", "times zkcoord's", "requests a cycle")
    table = Table(f"locks-{disk.replace(' ', '-')}", f"Lock and unlock on an open session, {disk}", columns)
    with contenders(follower(ensemble), modules) as sides:
        times = interleave(sides, rounds, warm_up)
        count = Requests(ensemble)
        counted = {
            side: count.a_call(lambda steps=steps: [step() for step in steps.values()], min(rounds, 50))
            for side, steps in sides.items()
        }
    for (side, step), taken in times.items():
        ours = NATIVE if side == KAZOO else OURS
        ratio = taken.median / times[ours, step].median if side in (STOCK, NEW_JOB, KAZOO) else None
        table.rows.append((side, step, taken.median, taken.p99, ratio, counted[side]))
    report.tables.append(table)

    def against(side: str, step: str, other: str) -> float:
        return times[other, step].median / times[side, step].median

    two_writes = times[RAW, TWO_WRITES].median
    report.targets += [
        Target(f"lock, {disk}: stock's time / ours", against(OURS, "lock", STOCK), at_least=5),
        Target(f"unlock, {disk}: stock's time / ours", against(OURS, "unlock", STOCK), at_least=2),
        Target(f"lock, {disk}: ours / two raw quorum writes", times[NATIVE, "lock"].median / two_writes, at_most=1.25),
        Target(
            f"lock through Salt, {disk}: ours / two raw quorum writes",
            times[OURS, "lock"].median / two_writes,
            at_most=1.25,
        ),
        Target(f"lock and unlock, {disk}: our requests", round(counted[OURS], 1), at_most=6, unit="requests"),
    ]
    return times


def _parts(times: dict[tuple[str, str], Times]) -> tuple[float, ...]:
    """The time of a lock, taken apart by what was measured beside it."""
    reads, writes, lock = times[RAW, TWO_READS].median, times[RAW, TWO_WRITES].median, times[NATIVE, "lock"].median
    return reads, writes - reads, lock - writes, lock, times[OURS, "lock"].median - lock


def close_stock(modules: Modules) -> None:
    """End the stock module's sessions, and have it forget what it holds."""
    for client in modules.stock_context.pop("zkconnection", {}).values():
        client.stop()
        client.close()
    modules.stock_context["semaphore_map"] = {}
