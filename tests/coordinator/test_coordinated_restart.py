"""examples/coordinated-restart as it is, with a real master, four real minions, beacon and reactor.

What restarts at once is counted in the journal of the services: one file for all, in which the lines stand in the order
in which they were written. No clock is asked.
"""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from zkcoord import grants

from tests.salt.test_rolling_restart import SLOW, Services, scrubbed
from tests.support.cluster import ExampleCluster, results
from tests.support.salt import VERSIONS

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/coordinated-restart"
RACKS = {"web1": "r1", "web2": "r1", "web3": "r2", "web4": "r2"}
WHERE = {"key": "web", "profile": "restart"}
SESSION = 5
"""Seconds that the servers keep the session of a minion that is killed."""
DRAW = "ZKCOORD_DRAW_DOCS"
"""Set to 1, the test writes what docs/ shows of it."""
USER = {"username": "salt", "password": "change-me"}


@pytest.fixture
def services(tmp_path: Path) -> Services:
    return Services(tmp_path)


@pytest.fixture(params=VERSIONS)
def cluster(request, ensemble, services: Services) -> Iterator[ExampleCluster]:
    """The example on a master and four minions, which know where this site's ensemble, services and racks are.

    The beacons have sessions, which end with the minions.
    """
    chroot = f"{ensemble.hosts}/coordinated-restart"
    zookeeper = {"zookeeper": {"restart": {"hosts": chroot, "session_timeout": SESSION}}}
    beacon = {"key": "web", "profile": "restart", "again": 3}
    minions = {
        host: {
            **zookeeper,
            "grains": {"rack": rack},
            "web": {"home": str(services.home(host)), "journal": str(services.journal)},
            # This site is in a hurry; the example tells again after a minute.
            "beacons": {"zk_coordinator": [{name: value} for name, value in beacon.items()]},
        }
        for host, rack in RACKS.items()
    }
    cluster = ExampleCluster(request.param, EXAMPLE, minions, zookeeper)
    try:
        cluster.start()
        cluster.record()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def queue(ensemble, zk):
    """The units that are granted the example's lock, and those that wait."""
    zk.ensure_path("/coordinated-restart")

    def queue():
        found = grants.queue("restart", "web", f"{ensemble.hosts}/coordinated-restart", **USER)
        return [it["unit"] for it in found["holders"]], [it["unit"] for it in found["waiters"]]

    return queue


def restarting(events):
    """Who was restarting after each line of the journal."""
    now: set[str] = set()
    for host, event in events:
        (now.add if event == "stop" else now.discard)(host)
        yield set(now)


def test_each_has_its_turn_though_one_dies_and_one_fails(cluster, services, queue, wait_until, tmp_path, capsys):
    for host in RACKS:
        services.tell(host, "restart-needed")
        services.tell(host, "seconds", "0.3")
    services.tell("web1", "hold")
    services.tell("web3", "fail", "no disk")

    # web1 takes its turn, and is in the middle of it; web3 takes its own, and fails.
    running = cluster.on_all("web1", "state.apply", "web")
    wait_until(lambda: services.did("stop") == ["web1"], "web1 restarts", SLOW)
    failed = cluster.apply("web3", "web")
    assert results(failed.values["web3"])["web restarted"] is False
    assert queue() == (["web1", "web3"], []), "its turn is kept for the retry"

    # The others never wait.
    others = cluster.apply("web2,web4", "web", options=("-L",))
    assert others.code == 0, others
    for host in ("web2", "web4"):
        assert results(others.values[host]) == {"web-service": True, "web turn": True, "web restarted": True}
        (turn,) = (state for state in others.values[host].values() if state["__id__"] == "web turn")
        assert turn["changes"] == {}
        assert turn["comment"].startswith("queued ")
        assert "held by web1 since" in turn["comment"]
    assert sorted(queue()[1]) == ["web2", "web4"]

    # web1 dies. An operator looks, and gives its turn to the next of its rack, who is told and acts.
    cluster.kill("web1")
    running.end()
    seen = cluster.runner("zk_coordinator.queue", "restart", out="nested", **WHERE).answer()
    assert "web1" in seen.stdout
    table = cluster.runner("zk_coordinator.queue", "restart", out="zk_coordinator", **WHERE).answer()
    assert table.stdout.startswith("restart: max 2 and per rack 1, 2 granted, 2 waiting"), table
    doctor = json.loads(cluster.runner("zk_coordinator.doctor", max_age=0, **WHERE).answer().stdout)
    assert any("web1 is granted restart for" in finding["what"] for finding in doctor["findings"])
    assert "web2" not in services.did("stop")
    revoked = cluster.runner("zk_coordinator.revoke", "restart", "web1", reason="its board is dead", **WHERE).answer()
    assert json.loads(revoked.stdout) is True, revoked
    wait_until(lambda: "web2" in services.did("start"), "web2 was told, and restarted", SLOW)

    # web3 is repaired. Its beacon has it try again; then web4 has its turn.
    (services.home("web3") / "fail").unlink(missing_ok=True)
    wait_until(lambda: sorted(set(services.did("start"))) == ["web2", "web3", "web4"], "all have restarted", SLOW)
    wait_until(lambda: queue() == ([], []), "and have given the lock back", SLOW)
    started = services.did("start")
    assert sorted(started) == ["web2", "web3", "web4"], "nobody restarts twice"
    for now in restarting(services.events()):
        alive = now - {"web1"}
        assert len(now) <= 2 + ("web1" in now)
        assert len({RACKS[host] for host in alive}) == len(alive), "one of each rack"
    told = cluster.events("salt/beacon/")
    assert {"web2", "web3", "web4"} <= {event["data"]["id"] for event in told}
    print_latency(cluster, told, capsys)

    draw(cluster, tmp_path, wait_until, capsys)
    what_is_not_needed_is_not_asked_for(cluster, queue)


def what_is_not_needed_is_not_asked_for(cluster, queue) -> None:
    cluster_hosts = "web2,web3,web4"
    answer = cluster.apply(cluster_hosts, "web", options=("-L",))
    assert answer.code == 0, answer
    for value in answer.values.values():
        (turn,) = (state for state in value.values() if state["__id__"] == "web turn")
        assert (turn["comment"], turn["changes"]) == ("not needed", {})
    assert queue() == ([], [])


def draw(cluster, tmp_path, wait_until, capsys) -> None:
    """Draw what the master has heard, and write it down for the manual if asked to."""

    def events() -> list[dict[str, object]]:
        return [scrubbed(event) for event in cluster.events("zk_coordinator/")]

    def is_told() -> bool:
        kinds = [event["tag"].rpartition("/")[2] for event in events()]
        return (kinds.count("released"), kinds.count("revoked")) == (3, 1)

    wait_until(is_told, "the master has heard of all turns", SLOW)
    directory = ROOT / "docs" if os.environ.get(DRAW) == "1" else tmp_path
    recorded, picture = directory / "coordinated-restart.events.json", directory / "coordinated-restart.svg"
    recorded.write_text("[\n" + ",\n".join(map(json.dumps, events())) + "\n]\n")
    timeline = [sys.executable, "-m", "saltext.zkcoord.timeline", str(recorded), "-o", str(picture), "--text"]
    drawn = subprocess.run(timeline, capture_output=True, text=True, timeout=60, check=False)
    assert drawn.returncode == 0, drawn.stderr
    with capsys.disabled():
        print(f"\n{drawn.stdout}")
    assert all(host in drawn.stdout and f">{host}<" in picture.read_text() for host in RACKS)


def print_latency(cluster, told, capsys) -> None:
    """How long it took from each beacon's event to the job that the reactor has started."""
    jobs = [event for event in cluster.events("salt/job/") if event["data"].get("fun") == "state.apply"]
    stamp = datetime.datetime.fromisoformat
    for event in told:
        minion = event["data"]["id"]
        later = [
            (stamp(job["_stamp"]) - stamp(event["_stamp"])).total_seconds()
            for job in jobs
            if job["tag"].endswith("/new") and job["data"].get("tgt") == minion and job["_stamp"] >= event["_stamp"]
        ]
        with capsys.disabled():
            print(f"\n{minion}: {min(later, default=None)} s from the event to the job")
        assert later, f"the reactor has started nothing for {minion}"
        assert min(later) < SLOW
