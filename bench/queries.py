"""Who holds a slot, and who is in a party."""

from __future__ import annotations

import uuid
from contextlib import ExitStack
from functools import partial

import zkcoord
from kazoo.client import KazooClient
from zkcoord.testing import Ensemble

from bench.locks import close_stock, follower
from bench.measure import Report, Requests, Table, Target, interleave
from bench.modules import load

OURS, STOCK = "zkcoord through Salt", "stock through Salt"
HOLDERS = (0, 50, 1000)
MEMBERS = 1000


def run(ensemble: Ensemble, quick: bool) -> Report:
    """Read pools with ever more holders, and a party."""
    rounds, warm_up = (3, 1) if quick else (60, 40)
    columns = ("call", "who", "median ms", "p99 ms", "times zkcoord's", "requests a call")
    report, modules = Report([Table("queries", "Reading", columns)]), load()
    hosts, counter = follower(ensemble), Requests(ensemble)
    medians: dict[tuple[str, str], float] = {}
    with ExitStack() as stack:
        client = KazooClient(hosts, timeout=60)
        client.start(timeout=30)  # whose session the members belong to
        stack.callback(client.close)
        stack.callback(client.stop)
        stack.callback(zkcoord.close)
        stack.callback(close_stock, modules)
        works = []
        for count in HOLDERS:
            path = f"/bench-holders-{count}"
            fill(hosts, path, count)
            works += [(f"lock_holders, {count} holders", "lock_holders", path, (OURS, STOCK))]
            works += [(f"status, {count} holders", "status", path, (OURS,))]
        party = "/bench-party"
        for number in range(MEMBERS):
            client.ShallowParty(party, f"host{number}").join()
        works += [(f"party_members, {MEMBERS} members", "party_members", party, (OURS, STOCK))]
        for work, function, path, who in works:
            functions = {OURS: modules.ours, STOCK: modules.stock}
            sides = {side: {work: partial(functions[side][f"zk_concurrency.{function}"], path, hosts)} for side in who}
            slow = work.startswith("lock_holders") and path.endswith("1000")
            times = interleave(sides, *((max(3, rounds // 6), 2) if slow else (rounds, warm_up)))
            for side in who:
                taken = times[side, work]
                medians[work, side] = taken.median
                ratio = taken.median / times[OURS, work].median if side != OURS else None
                count = counter.a_call(sides[side][work], 5 if slow else 20)
                report.tables[0].rows.append((work, side, taken.median, taken.p99, ratio, count))
    requests = {(row[0], row[1]): row[5] for row in report.tables[0].rows}
    fifty = medians["lock_holders, 50 holders", STOCK] / medians["lock_holders, 50 holders", OURS]
    flat = max(
        requests[f"{work}, 1000 holders", OURS] / requests[f"{work}, 50 holders", OURS]
        for work in ("lock_holders", "status")
    )
    report.targets += [
        Target("lock_holders, 50 holders: stock's time / ours", fifty, at_least=40),
        Target("lock_holders and status: requests for 1000 holders / for 50", round(flat, 2), at_most=1),
    ]
    return report


def fill(hosts: str, path: str, holders: int) -> None:
    """Make a pool as kazoo does, with leases that have kazoo's random names."""
    client = KazooClient(hosts, timeout=60)
    client.start(timeout=30)
    try:
        client.create(path, b"100000", makepath=True)
        names = {f"{path}/{uuid.uuid4().hex}": f"host{number}.example.org" for number in range(holders)}
        for creating in [client.create_async(name, identifier.encode()) for name, identifier in names.items()]:
            creating.get(timeout=30)
    finally:
        client.stop()
        client.close()
