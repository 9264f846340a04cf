"""examples/ensemble-restart as it is: a master and five minions restart the five servers that hold their locks.

Clients write all the time. What was acknowledged is there in the end, and nobody waits for longer than an election.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zkcoord
from zkcoord import ensemble, errors, znode
from zkcoord.testing import Ensemble

from tests.ensemble.conftest import DIGEST
from tests.support.cluster import ExampleCluster, answers, results
from tests.support.salt import LONG, VERSIONS

EXAMPLE = Path(__file__).parents[2] / "examples/ensemble-restart"
HOSTS = ("zk1", "zk2", "zk3", "zk4", "zk5")
MOST = 15.0
"""Seconds that a write may take: an election, on a machine that is busy with five servers and five minions."""


class Writers:
    """Clients that write all the time, and remember what was acknowledged."""

    def __init__(self, hosts: str, count: int = 2) -> None:
        self.connection = zkcoord.Connection(hosts, session_timeout=20, connect_timeout=60)
        self.acknowledged: set[str] = set()
        self.longest = 0.0
        self.failed: list[BaseException] = []
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(number,)) for number in range(count)]
        for thread in self._threads:
            thread.start()

    def _write(self, writer: int) -> None:
        number = 0
        while not self._ending.is_set():
            number += 1
            path, started = f"/written/{writer}-{number}", time.monotonic()
            try:
                znode.create(path, b"", makepath=True, connection=self.connection, timeout=60)
                self.acknowledged.add(path)
            except errors.ConnectionLost:  # it may be there or not: nobody was told
                pass
            except BaseException as error:
                self.failed.append(error)
                return
            self.longest = max(self.longest, time.monotonic() - started)
            self._ending.wait(0.02)

    def end(self) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()


class Restarts:
    """What `systemctl restart zookeeper` stands for: each host's command asks for it, and waits until it is done."""

    def __init__(self, servers: Ensemble, directory: Path) -> None:
        self.order: list[int] = []
        self.behind: list[list[int]] = []
        self._servers, self._directory, self._ending = servers, directory, threading.Event()
        self._thread = threading.Thread(target=self._restart)
        self._thread.start()

    def command(self, number: int) -> str:
        wanted, done = self._directory / f"{number}.wanted", self._directory / f"{number}.done"
        return f"rm -f {done}; touch {wanted}; until [ -e {done} ]; do sleep 0.1; done"

    def _restart(self) -> None:
        while not self._ending.wait(0.05):
            for wanted in self._directory.glob("*.wanted"):
                wanted.unlink()
                number = int(wanted.stem)
                others = [it for it in self._servers.servers if it.number != number and it.mode() is None]
                self.behind.append([server.number for server in others])
                self.order.append(number)
                self._servers.servers[number - 1].restart()
                (self._directory / f"{number}.done").touch()

    def end(self) -> None:
        self._ending.set()
        self._thread.join()


@pytest.fixture
def servers() -> Iterator[Ensemble]:
    with Ensemble(3, reconfig=True, super_user=("super", "pw"), config={"syncLimit": 4}) as servers:
        yield servers


def test_salt_grows_an_ensemble_restarts_all_of_it_and_shrinks_it_while_clients_write(servers, tmp_path):
    added = [servers.add(), servers.add()]
    servers.wait_ready()
    restarts = Restarts(servers, tmp_path)
    profile = {"hosts": servers.hosts, "password": "pw", "session_timeout": LONG, "admin_port": 0}
    site = {"zookeeper": {"super": {**DIGEST, **profile}}}
    minions = {host: {**site, "zk": {"restart": restarts.command(number)}} for number, host in enumerate(HOSTS, 1)}
    cluster = ExampleCluster(VERSIONS[0], EXAMPLE, minions, site)
    writers = Writers(servers.hosts)
    try:
        cluster.start()

        def members(lines: list[str]) -> dict[str, bool | None]:
            command = cluster.salt("zk1", "state.apply", "zookeeper.members", pillar={"zk": {"members": lines}})
            return results(command.answer(limit=120).value)

        five = [servers.member(server) for server in servers.servers]
        assert members(five) == {"these members": True}
        assert sorted(ensemble.config(servers.hosts)[0]) == sorted(five)
        before = servers.leader().number

        answer = cluster.runner("state.orchestrate", "orch.restart_ensemble").answer(limit=240)
        assert answer.code == 0, answer
        assert sorted(restarts.order) == [1, 2, 3, 4, 5]
        assert restarts.order[-1] == before, "the leader is last"
        assert restarts.behind == [[]] * 5, "all others were in sync each time"

        alone = cluster.on_all("zk2", "state.apply", "zookeeper.restart").answer(limit=120)
        assert set(results(answers(alone).values["zk2"]).values()) == {True}
        assert restarts.order[-1] == 2

        assert members([servers.member(server) for server in servers.servers if server not in added]) == {
            "these members": True
        }
        assert len(ensemble.config(servers.hosts)[0]) == 3
    finally:
        writers.end()
        restarts.end()
        cluster.stop()
    assert writers.failed == []
    assert len(writers.acknowledged) > 50
    there = set(ensemble.tree("/written", servers.hosts))
    assert writers.acknowledged - there == set(), "what was acknowledged is lost"
    assert writers.longest < MOST
    status = zkcoord.status("/restart/zookeeper", servers.hosts, **DIGEST)
    assert status["holders"] == status["waiters"] == []
