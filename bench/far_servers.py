"""The same with servers that are far away: every byte is 10 ms on its way to the server, and 10 ms back."""

from __future__ import annotations

from functools import partial

import zkcoord
from zkcoord.testing import Ensemble

from bench import fresh, handover
from bench.locks import NATIVE, OURS, RAW, STOCK, TWO_READS, contenders, follower
from bench.measure import Report, Table, Target, interleave
from bench.modules import load
from bench.queries import fill
from bench.workers import Crew

ONE_WAY = 0.010
HOLDERS = 50


class Delay:
    """A proxy to a server, which delays; it runs in a worker, so that it and the measured do not share a GIL."""

    def __init__(self, port: int) -> None:
        """Start it."""
        from zkcoord.testing import Proxy  # noqa: PLC0415 - only where it runs

        self._proxy = Proxy(port)
        self._proxy.delay(ONE_WAY)

    def address(self) -> str:
        """Where it listens."""
        return self._proxy.address

    def close(self) -> None:
        """End it."""
        self._proxy.close()


def run(ensemble: Ensemble, quick: bool) -> Report:
    """Lock, unlock, read and hand over through a delaying proxy."""
    columns = ("call", "who", "median ms", "p99 ms", "round trips")
    report = Report([Table("far-servers", f"At {2000 * ONE_WAY:g} ms round trip", columns)])
    near = follower(ensemble)
    rounds, warm_up = (2, 1) if quick else (15, 5)
    with Crew([(Delay, int(near.rpartition(":")[2]))]) as crew:
        far = crew.workers[0].ask("address")
        modules = load()
        with contenders(far, modules) as sides:
            times = interleave(sides, rounds, warm_up)
            fill(near, "/bench-far", HOLDERS)
            work = f"lock_holders, {HOLDERS} holders"
            holders = {
                name: {work: partial(functions["zk_concurrency.lock_holders"], "/bench-far", far)}
                for name, functions in ((OURS, modules.ours), (STOCK, modules.stock))
            }
            times |= interleave(holders, max(2, rounds // 4), 1)
            status = partial(zkcoord.status, "/bench-far", zk_hosts=far)
            times |= interleave({NATIVE: {f"status, {HOLDERS} holders": status}}, rounds, 1)
        handed = handover.measure(far, near, 2, rounds, 2)
        times |= {(name, "hand-over, 2 waiters"): taken for name, taken in handed.items()}
        times |= fresh.times(far, rounds)
    trip = times[RAW, TWO_READS].median / 2
    for (who, call), taken in sorted(times.items(), key=lambda it: it[0][1]):
        report.tables[0].rows.append((call, who, taken.median, taken.p99, taken.median / trip))
    report.targets += [
        Target(f"{call} at a distance, {who}", times[who, call].median / trip, at_most=most, unit="round trips")
        for call, most in (("lock", 2.25), ("unlock", 1.25))
        for who in (NATIVE, OURS)
    ]
    return report
