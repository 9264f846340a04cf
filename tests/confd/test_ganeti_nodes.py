"""examples/ganeti-nodes as it is, with a real master, four real minions, genuine servers and a real ensemble."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from zkcoord.testing import ConfdServers

from tests.support.cluster import ExampleCluster, answers, results
from tests.support.processes import MARK
from tests.support.salt import VERSIONS

EXAMPLE = Path(__file__).parents[2] / "examples/ganeti-nodes"
NODES = tuple(f"node{number}.example.com" for number in range(1, 5))
MASTER = NODES[0]
SLOW = 60.0
# What stands in for an update: a candidate is away for as long as there is a file that says so.
UPDATE = """#!/bin/sh
echo "begin $NODE" >> {journal}
pid=$(cat {home}/$NODE.pid 2>/dev/null) && kill -STOP "$pid"
while [ -e {home}/$NODE.hold ]; do sleep 0.05; done
echo "end $NODE" >> {journal}
[ -z "$pid" ] || [ -e {home}/$NODE.lost ] || kill -CONT "$pid"
"""


class Site:
    """What the nodes of this test have of their own."""

    def __init__(self, home: Path, servers: ConfdServers) -> None:
        self.home, self.servers = home, servers
        self.journal = home / "journal"
        self.command = home / "update"
        self.command.write_text(UPDATE.format(journal=self.journal, home=home))
        self.command.chmod(0o755)

    def reset(self) -> None:
        for file in (self.journal, *self.home.glob("*.hold"), *self.home.glob("*.lost")):
            file.unlink(missing_ok=True)
        for server in self.servers.servers:
            if server.pid:
                os.kill(server.pid, signal.SIGCONT)
        self.servers.reset()
        for server in self.servers.servers:
            (self.home / f"{server.name}.pid").write_text(str(server.pid))

    def events(self) -> list[tuple[str, str]]:
        lines = self.journal.read_text().splitlines() if self.journal.exists() else []
        return [tuple(line.split()) for line in lines]


@pytest.fixture(scope="module")
def site_of_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    mark = os.environ.pop(MARK, None)  # the servers outlive the test that starts them
    with ConfdServers(3) as servers:
        if mark is not None:
            os.environ[MARK] = mark
        yield Site(tmp_path_factory.mktemp("nodes"), servers)


@pytest.fixture(scope="module")
def cluster(ensemble, site_of_all: Site) -> Iterator[ExampleCluster]:
    """The example on a master and four minions, three of which are candidates."""
    servers = site_of_all.servers
    where = {"peers": servers.peers, "port": servers.port, "hmac_key_file": str(servers.hmac_key_file)}
    confd = {"ganeti_confd": {**where, "coverage": -1}}
    nodes = {"command": str(site_of_all.command), "timeout": 90, "attempts": 2, "interval": 1, "seconds": 1}
    own = {**confd, "zookeeper": {"nodes": {"hosts": ensemble.hosts}}, "nodes": nodes}
    cluster = ExampleCluster(VERSIONS[0], EXAMPLE, dict.fromkeys(NODES, own), {})
    # The master's own is edited, as the README says: Salt would add the addresses of another file to those in this one.
    edited = cluster.directory / "master/master.d/ganeti-nodes.conf"
    text = edited.read_text().replace("[192.0.2.11, 192.0.2.12, 192.0.2.13]", json.dumps(servers.peers))
    text = text.replace("/etc/salt/ganeti-hmac.key", str(servers.hmac_key_file))
    edited.write_text(f"{text}  port: {servers.port}\n")
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def site(site_of_all: Site, cluster: ExampleCluster) -> Iterator[Site]:
    site_of_all.reset()
    yield site_of_all
    cluster.end_commands()
    site_of_all.reset()


def comments(value: object) -> dict[str, str]:
    """What each state of a run says."""
    assert isinstance(value, dict), value
    return {state["__id__"]: state["comment"] for state in value.values()}


def test_one_node_at_a_time_is_updated_the_master_last_and_each_when_the_one_before_answers_again(
    cluster, site, wait_until
):
    for node in NODES:
        (site.home / f"{node}.hold").touch()
    command = cluster.runner("state.orchestrate", "orch.update-nodes")
    order = []
    for number in range(1, len(NODES) + 1):
        wait_until(lambda number=number: len(site.events()) == 2 * number - 1, f"update {number} begins", SLOW)
        kind, node = site.events()[-1]
        assert kind == "begin"
        order.append(node)
        (site.home / f"{node}.hold").unlink()
    answer = command.answer(limit=90)
    assert answer.code == 0, answer
    assert [event for node in order for event in (("begin", node), ("end", node))] == site.events()
    assert sorted(order) == list(NODES)
    assert order[-1] == MASTER
    (states,) = json.loads(answer.stdout)["data"].values()
    (said,) = (state for state in states.values() if state["__id__"] == "what the candidates say")
    found = said["changes"]["return"]
    assert (found["master"], found["consistent"]) == (MASTER, True)
    assert {reply["state"] for reply in found["peers"].values()} == {"current"}


def test_a_candidate_that_does_not_come_back_stops_the_update(cluster, site, wait_until):
    (site.home / f"{NODES[1]}.lost").touch()
    pillar = {"nodes": {"master": MASTER}}
    command = cluster.salt(NODES[1], "state.apply", "nodes", pillar=pillar)
    value = command.answer(limit=90).value
    assert results(value) == {
        **{"node slot": True, "not the master": True, "candidates agree": True},
        **{"node updated": True, "candidates agree again": False},
    }
    assert "2 of 3 peers replied" in comments(value)["candidates agree again"]
    value = cluster.salt(NODES[3], "state.apply", "nodes", pillar=pillar).answer(limit=90).value
    assert results(value)["node updated"] is False
    assert site.events() == [("begin", NODES[1]), ("end", NODES[1])]


def test_candidates_that_contradict_each_other_stop_it_before_it_begins(cluster, site):
    site.servers.servers[2].configure(serial=42, master=2)
    answer = cluster.runner("state.orchestrate", "orch.update-nodes").answer(limit=60)
    assert answer.code == 1
    assert "contradict each other about cluster_master" in answer.stdout + answer.stderr
    value = cluster.salt(NODES[3], "state.apply", "nodes", pillar={"nodes": {"master": MASTER}}).answer(limit=60).value
    assert "contradict each other" in comments(value)["candidates agree"]
    assert site.events() == []


def test_a_candidate_that_cannot_read_its_configuration_stops_the_update(cluster, site):
    site.servers.servers[1].break_configuration()
    answer = cluster.runner("state.orchestrate", "orch.update-nodes").answer(limit=60)
    assert answer.code == 1
    assert "1 of them with an error of its own" in answer.stdout + answer.stderr
    value = cluster.salt(NODES[3], "state.apply", "nodes", pillar={"nodes": {"master": MASTER}}).answer(limit=60).value
    assert results(value)["candidates agree"] is False
    assert "Cannot load configuration" in comments(value)["candidates agree"]
    assert site.events() == []


def test_the_master_is_not_updated_on_its_own(cluster, site):
    command = cluster.on_all(MASTER, "state.apply", "nodes", pillar={"nodes": {"master": MASTER}})
    (value,) = answers(command.answer(limit=60)).values.values()
    assert results(value)["not the master"] is False
    assert comments(value)["not the master"].startswith(f"{MASTER} is master, and not candidate")
    assert site.events() == []
