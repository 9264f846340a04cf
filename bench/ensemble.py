"""What those ask who run the servers, beside the same asked with kazoo as Charmed ZooKeeper's library does.

That library opens a session for each property, and walks a tree with a request at a time.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import zkcoord
from kazoo.client import KazooClient
from zkcoord import ensemble as administered
from zkcoord.ensemble import ZooKeeperManager
from zkcoord.testing import Ensemble

from bench.measure import Report, Table, Target, Times, interleave

OURS, KAZOO = "zkcoord.ensemble", "kazoo, a session each"
USER = {"username": "super", "password": "secret"}
BRANCHES, LEAVES = 20, 50
CONSTRUCT, TREE = "construct", f"leader_znodes of {BRANCHES * (LEAVES + 1)} znodes"
# Of five servers, how often each is asked.
ROUNDS_OF_STATUS = 5


def run(ensemble: Ensemble, quick: bool) -> Report:
    """Ask an ensemble with SASL of its own, and one of five of which one is dead or stopped."""
    del ensemble  # it does no SASL
    rounds, warm_up = (3, 1) if quick else (30, 10)
    columns = ("call", "who", "median ms", "p99 ms", "times ours")
    report = Report([Table("ensemble", "Those who run the servers ask", columns)])
    for work, taken in _compared(report.tables[0], rounds, warm_up, fsync=False).items():
        least = {CONSTRUCT: 3, TREE: 20}.get(work, 10)
        report.targets.append(Target(f"{work}: kazoo's time / ours", taken, at_least=least))
    # A session of kazoo's is two transactions, which servers write through to their disks unless a test forbids it.
    durable = Table("ensemble-fsync", "The same, with servers that write through to their disks", columns)
    _compared(durable, rounds // 2, warm_up, fsync=True)
    report.tables.append(durable)
    report.targets += _one_of_five(report)
    return report


def _compared(table: Table, rounds: int, warm_up: int, fsync: bool) -> dict[str, float]:
    """Ask an ensemble both ways: of each question how many times as long kazoo takes."""
    with ExitStack() as stack:
        servers = stack.enter_context(Ensemble(3, sasl={"super": "secret"}, fast_start=False, fsync=fsync))
        hosts = servers.hosts.split(",")
        _fill(servers.hosts)
        manager = ZooKeeperManager(hosts, **USER, admin_port=0)
        stack.callback(zkcoord.close)
        ours: dict[str, Callable[[], object]] = {
            CONSTRUCT: lambda: ZooKeeperManager(hosts, **USER, admin_port=0),
            "server_members": lambda: manager.server_members,
            "config_version": lambda: manager.config_version,
            "members_syncing": lambda: manager.members_syncing is None,
            "get_version": manager.get_version,
            "members_broadcasting, one host": _one(manager.zk_host),
            TREE: lambda: manager.leader_znodes("/bench-tree"),
        }
        times = interleave({OURS: _truthy(ours), KAZOO: _truthy(_theirs(hosts, manager.zk_host))}, rounds, warm_up)
        for work in ours:
            for side in (OURS, KAZOO):
                taken = times[side, work]
                ratio = taken.median / times[OURS, work].median if side != OURS else None
                table.rows.append((work, side, taken.median, taken.p99, ratio))
        return {work: times[KAZOO, work].median / times[OURS, work].median for work in ours}


def _one_of_five(report: Report) -> Iterator[Target]:
    """The status of five servers: all up, one dead, one stopped."""
    with Ensemble(5, fast_start=False) as five:
        usual = _status(five.hosts)
        follower = next(server for server in five.servers if server is not five.leader())
        follower.pause()
        stopped = _status(five.hosts)
        follower.kill()
        dead = _status(five.hosts)
        zkcoord.close()
    for name, taken in (("all up", usual), ("one stopped", stopped), ("one dead", dead)):
        report.tables[0].rows.append((f"status of five servers, {name}", OURS, taken.median, taken.p99, None))
    for name, taken in (("stopped", stopped), ("dead", dead)):
        yield Target(f"status with one of five {name}: longer by", taken.median - usual.median, at_most=1000, unit="ms")


def _status(hosts: str) -> Times:
    taken = Times()
    for _ in range(ROUNDS_OF_STATUS):
        start = time.perf_counter()
        administered.status(hosts, admin_port=0)
        taken.ms.append((time.perf_counter() - start) * 1000)
    return taken


def _one(host: str) -> Callable[[], object]:
    alone = ZooKeeperManager([host], **USER, admin_port=0, read_only=True)
    return lambda: alone.members_broadcasting


def _truthy(works: dict[str, Callable[[], object]]) -> dict[str, Callable[[], object]]:
    """The same, with answers none of which is taken for a refusal."""
    return {name: (lambda work=work: [work()]) for name, work in works.items()}


def _theirs(hosts: list[str], leader: str) -> dict[str, Callable[[], object]]:
    def srvr(client: KazooClient) -> dict[str, str]:
        return dict(line.split(": ", 1) for line in client.command(b"srvr").splitlines() if ": " in line)

    def of_leader(question: Callable[[KazooClient], object]) -> Callable[[], object]:
        def ask() -> object:
            with _session(leader) as client:
                return question(client)

        return ask

    def construct() -> object:
        for host in hosts:
            with _session(host) as client:
                if srvr(client)["Mode"] == "leader":
                    return host
        return None

    def tree(client: KazooClient, path: str) -> set[str]:
        found = {path}
        for child in client.get_children(path):
            found |= tree(client, f"{path}/{child}")
        return found

    return {
        CONSTRUCT: construct,
        "server_members": of_leader(lambda client: client.get("/zookeeper/config")[0].splitlines()),
        "config_version": of_leader(
            lambda client: int(client.get("/zookeeper/config")[0].splitlines()[-1].split(b"=")[1], 16)
        ),
        "members_syncing": of_leader(lambda client: re.findall(r"zk_pending_syncs\t(\d+)", client.command(b"mntr"))),
        "get_version": of_leader(lambda client: srvr(client)["Zookeeper version"]),
        "members_broadcasting, one host": of_leader(lambda client: "broadcast" in client.command(b"mntr")),
        TREE: of_leader(lambda client: tree(client, "/bench-tree")),
    }


@contextmanager
def _session(host: str) -> Iterator[KazooClient]:
    sasl = {"mechanism": "DIGEST-MD5", **USER}
    client = KazooClient(hosts=host, timeout=1.0, sasl_options=sasl)
    client.start()
    try:
        yield client
    finally:
        client.stop()


def _fill(hosts: str) -> None:
    client = KazooClient(hosts)
    client.start()
    try:
        for branch in range(BRANCHES):
            client.create(f"/bench-tree/{branch}", makepath=True)
            waiting = [client.create_async(f"/bench-tree/{branch}/{leaf}") for leaf in range(LEAVES)]
            for each in waiting:
                each.get(timeout=30)
    finally:
        client.stop()
        client.close()
