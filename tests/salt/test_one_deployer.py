"""examples/one-deployer as it is, with a real master and three real minions."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import ExampleCluster, answers, results
from tests.support.salt import VERSIONS

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/one-deployer"
HOSTS = ("app1", "app2", "app3")
PROFILE = {"profile": "deploy"}
LEASE = "/leases/one-deployer/migration"
# The beacon tells of no lease before it has seen it once. This one shows that it has: it looks at both in turn.
SIGN = "/leases/one-deployer-sign/sign"
SLOW = 60.0


class Database:
    """What is migrated, and the scripts of each host."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "database"
        self.homes = {host: directory / host for host in HOSTS}

    def journal(self) -> list[list[str]]:
        """What was done, in order: each `wrote` or `refused`, the token, and the text."""
        journal = self.directory / "journal"
        return [line.split(" ", 2) for line in journal.read_text().splitlines()] if journal.exists() else []

    def wrote(self) -> list[str]:
        return [text for what, _, text in self.journal() if what == "wrote"]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Database:
    return Database(tmp_path_factory.mktemp("deploy"))


@pytest.fixture(scope="module")
def cluster(ensemble, database: Database) -> Iterator[ExampleCluster]:
    """The example on a master and three minions, which know where this site's ensemble and database are."""
    site = {"zookeeper": {"deploy": {"hosts": ensemble.hosts}}}
    watching = {"zk_lease": [{"leases": [LEASE, SIGN]}, {"profile": "deploy"}, {"interval": 1}]}
    minions = {
        host: {
            **site,
            "beacons": watching if host == "app3" else {},
            "deploy": {"home": str(home), "database": str(database.directory)},
        }
        for host, home in database.homes.items()
    }
    cluster = ExampleCluster(VERSIONS[0], EXAMPLE, minions, site)
    try:
        cluster.start()
        cluster.record()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def beacon_looks(cluster, wait_until) -> None:
    """The beacon has seen each lease once: from here on it tells of every change."""

    def told() -> bool:
        for function in ("zk_lease.lock", "zk_lease.unlock"):
            assert cluster.on_all("app1", function, SIGN, **PROFILE).answer().stdout
        return bool(cluster.events("salt/beacon/app3/zk_lease/" + SIGN.strip("/")))

    wait_until(told, "the beacon tells of the other lease", SLOW)


def test_one_migrates_and_when_it_is_killed_another_takes_over_and_its_token_is_refused(
    cluster, database, beacon_looks, wait_until
):
    lease = LEASE
    pillar = {
        "zookeeper": {"deploy": {"session_timeout": 2}},
        "deploy": {"lease": lease, "duration": "4s", "timeout": 60},
    }
    try:
        (database.homes["app1"]).mkdir()
        (database.homes["app1"] / "hold").touch()
        cluster.on_all("app1", "state.apply", "deploy", pillar=pillar)
        wait_until(lambda: database.wrote() == ["app1 step 1"], "app1 is in the middle of it", SLOW)
        command = cluster.on_all("app2,app3", "state.apply", "deploy", pillar=pillar, options=("-L",))
        status = lambda: json.loads(cluster.runner("zk_lease.status", lease, **PROFILE).answer().stdout)  # noqa: E731
        wait_until(lambda: len(status()["waiters"]) == 2, "the others wait", SLOW)
        held = status()["holder"]
        assert held["owner"] == "app1"
        jobs = cluster.running("app1")
        (job,) = (job for job in jobs if job["fun"] == "state.apply")
        os.kill(job["pid"], signal.SIGKILL)

        answer = answers(command.answer(limit=90))
        done = {"migrate script": True, "database script": True, "only one migrates": True, "migrated": True}
        assert {host: results(value) for host, value in answer.values.items()} == {"app2": done, "app3": done}
        second = database.wrote()[1].split()[0]
        assert second in {"app2", "app3"}
        assert database.wrote() == ["app1 step 1", *(f"{second} step {step}" for step in (1, 2, 3)), "done"]
        tokens = [int(token) for _, token, _ in database.journal()]
        assert tokens[0] == held["fencing_token"] < tokens[1]

        # What the dead job has started lives, and acts when it should not any more.
        (database.homes["app1"] / "hold").unlink()
        wait_until(lambda: database.journal()[-1][0] == "refused", "the first one's token is refused", SLOW)
        assert database.journal()[-1] == ["refused", str(tokens[0]), "app1 step 2"]
        assert database.wrote()[-1] == "done"

        after = status()
        assert (after["holder"], after["waiters"], after["transitions"]) == (None, [], 2)
        table = cluster.runner("zk_lease.list", LEASE.rpartition("/")[0], out="nested", **PROFILE).answer()
        assert "  holder:\n      None\n" in table.stdout
        kinds = [event["tag"].rpartition("/")[2] for event in cluster.events("zk_lease/")]
        assert {"waiting", "acquired", "taken_over", "released"} <= {*kinds}

        def seen() -> list[tuple[object, object]]:
            fired = [event["data"] for event in cluster.events("salt/beacon/app3/zk_lease/" + LEASE.strip("/"))]
            return [(event.get("what"), event.get("owner")) for event in fired]

        wait_until(lambda: ("released", None) in seen(), "the beacon has seen that it was given back", SLOW)
        assert ("taken", "app1") in seen()
        assert ("changed", second) in seen()
    finally:
        (database.homes["app1"] / "hold").unlink(missing_ok=True)
        cluster.end_commands()
        cluster.kill("app3")  # whose beacon has a session for as long as it looks
