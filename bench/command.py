"""The native command: a process that takes a slot for another, and one that lists who holds one."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from kazoo.client import KazooClient
from zkcoord.testing import Ensemble
from zkcoord.testing._java import java_command

from bench.etcd import Etcd, etcdctl
from bench.fresh import KAZOO, OURS, run_to_its_end, times
from bench.measure import BenchError, Report, Table, Target, interleave, percentile, servers

POOL = "/command/pool"
HOLDERS = 50
COMMAND, ETCD, SALT, ZKCLI = "zkcoord run", "etcdctl lock x true", "salt-call", "zkCli.sh ls"


def run(ensemble: Ensemble, quick: bool) -> Report:
    """Measure beside etcdctl, zkCli.sh, salt-call, and processes of Python."""
    report = Report()
    binary = _binary()
    rounds = 5 if quick else 40
    with Etcd("/dev/shm" if Path("/dev/shm").is_dir() else None) as etcd:
        _fresh(report, ensemble, etcd, binary, rounds, "without fsync")
    with servers(quick, fsync=True) as durable, Etcd() as etcd:
        _fresh(report, durable, etcd, binary, rounds // 2, "with fsync")
    _holders(report, ensemble, binary, rounds)
    _size(report, ensemble, binary)
    return report


def _binary() -> str:
    found = Path(sys.executable).parent / "zkcoord"
    if not found.is_file():
        raise BenchError(f"there is no {found}: make setup")
    return str(found)


def _fresh(report: Report, ensemble: Ensemble, etcd: Etcd, binary: str, rounds: int, disk: str) -> None:
    others = {
        COMMAND: (binary, "--hosts", ensemble.hosts, "run", "/command/ours", "--", "true"),
        ETCD: (etcdctl(), "--endpoints", etcd.endpoints, "lock", "x", "true"),
    }
    found = {name: taken for (name, _), taken in times(ensemble.hosts, rounds, 10, others).items()}
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "minion").write_text(f"file_client: local\nid: bench\nroot_dir: {directory}\n")
        salt = (
            *(str(Path(sys.executable).parent / "salt-call"), "--local", "--config-dir", directory),
            *("zk_concurrency.run", "/command/salt", "test.ping", f"zk_hosts={ensemble.hosts}"),
        )
        found |= {
            name: taken
            for (name, _), taken in interleave(
                {SALT: {"fresh process": partial(run_to_its_end, salt)}}, max(3, rounds // 8), 1
            ).items()
        }
    ours = found[COMMAND].median
    name = f"command-{disk.replace(' ', '-')}"
    table = Table(name, f"A slot for `true`, {disk}", ("process", "median ms", "p99 ms", "times the command's"))
    labels = {OURS: "Python with zkcoord", KAZOO: "Python with kazoo"}
    table.rows += [(labels.get(who, who), it.median, it.p99, it.median / ours) for who, it in found.items()]
    report.tables.append(table)
    report.targets.append(Target(f"zkcoord run, {disk}: etcdctl's time / ours", found[ETCD].median / ours, at_least=3))


def _holders(report: Report, ensemble: Ensemble, binary: str, rounds: int) -> None:
    client = KazooClient(ensemble.hosts, timeout=60)
    client.start(timeout=30)
    try:
        for number in range(HOLDERS):
            client.create(f"{POOL}/{number:032x}", f"host{number}".encode(), makepath=True)
    finally:
        client.stop()
        client.close()
    java = (*java_command(with_tls=False, fast_start=True), "org.apache.zookeeper.ZooKeeperMain")
    # It has to look the class up, and logs to where nobody sees it.
    sides = {
        "zkcoord holders": (binary, "--hosts", ensemble.hosts, "holders", POOL),
        ZKCLI: (*java, "-server", ensemble.hosts, "ls", POOL),
    }
    steps = {name: {"fresh process": partial(run_to_its_end, command)} for name, command in sides.items()}
    found = {name: taken for (name, _), taken in interleave(steps, max(3, rounds // 4), 2).items()}
    ours = found["zkcoord holders"].median
    table = Table("command-holders", f"{HOLDERS} holders, listed", ("process", "median ms", "p99 ms", "times ours"))
    table.rows += [(who, it.median, percentile(it.ms, 99), it.median / ours) for who, it in found.items()]
    report.tables.append(table)
    report.targets.append(Target("zkcoord holders: zkCli.sh's time / ours", found[ZKCLI].median / ours, at_least=10))


def _size(report: Report, ensemble: Ensemble, binary: str) -> None:
    table = Table("command-size", "What it takes", ("what", "MB"))
    file = Path(binary).stat().st_size / 1e6
    peak = _peak([binary, "--hosts", ensemble.hosts, "run", "/command/ours", "--", "true"])
    table.rows += [("the binary", file), ("memory of a run, at most", peak)]
    report.tables.append(table)
    report.targets += [
        Target("the command's binary", file, at_most=12, unit="MB"),
        Target("the command's memory", peak, at_most=10, unit="MB"),
    ]


def _peak(command: list[str]) -> float:
    """Megabytes that a process had in memory at most, without those of the process that it runs."""
    time = shutil.which("time")
    if not time:
        raise BenchError("GNU time is missing: apt-get install time")
    with tempfile.NamedTemporaryFile("r") as out:
        subprocess.run([time, "-f", "%M", "-o", out.name, *command], check=True, timeout=60)
        return int(out.read().split()[-1]) * 1024 / 1e6
