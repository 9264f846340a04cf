"""examples/rolling-restart as it is, with a real master and four real minions.

How many restart at once is counted in the journal of the services: one file for all, in which the lines stand
in the order in which they were written. No clock is asked.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kazoo.client import KazooClient

from tests.support.cluster import ExampleCluster, answers, results
from tests.support.salt import LONG, VERSIONS
from tests.support.znodes import Pool

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/rolling-restart"
HOSTS = ("web1", "web2", "web3", "web4")
PROFILE = {"profile": "restart"}
SLOW = 60.0
"""Seconds for what needs commands and jobs to start first."""
DRAW = "ZKCOORD_DRAW_DOCS"
"""Set to 1, the first test takes its time and writes what docs/ shows of it."""
ALL_DONE = {"web-service": True, "web slot": True, "web restarted": True, "web serves": True}


class Services:
    """The service stand-ins of all hosts."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.journal = directory / "journal"

    def home(self, host: str) -> Path:
        return self.directory / host

    def tell(self, host: str, file: str, text: str = "") -> None:
        """Put a file beside the script of one host, which says what it is to do."""
        self.home(host).mkdir(exist_ok=True)
        (self.home(host) / file).write_text(text)

    def let(self, host: str) -> None:
        """Let a start that is held go on."""
        (self.home(host) / "hold").unlink()

    def events(self) -> list[tuple[str, str]]:
        """Which host did what, in order."""
        if not self.journal.exists():
            return []
        lines = map(json.loads, self.journal.read_text().splitlines())
        return [(line["host"], line["event"]) for line in lines]

    def did(self, event: str) -> list[str]:
        """The hosts that did so, in order."""
        return [host for host, what in self.events() if what == event]

    def at_once(self) -> int:
        """How many restarted at once, at most."""
        restarting: set[str] = set()
        most = 0
        for host, event in self.events():
            (restarting.add if event == "stop" else restarting.discard)(host)
            most = max(most, len(restarting))
        return most

    def reset(self) -> None:
        self.journal.unlink(missing_ok=True)
        for file in ("hold", "fail", "seconds"):
            for found in self.directory.glob(f"*/{file}"):
                found.unlink()


@pytest.fixture(scope="module")
def all_services(tmp_path_factory: pytest.TempPathFactory) -> Services:
    return Services(tmp_path_factory.mktemp("services"))


@pytest.fixture(scope="module")
def cluster(ensemble, all_services: Services) -> Iterator[ExampleCluster]:
    """The example on a master and four minions, which know where this site's ensemble and services are."""
    site = {"zookeeper": {"restart": {"hosts": ensemble.hosts}}}
    minions = {
        host: {**site, "web": {"home": str(all_services.home(host)), "journal": str(all_services.journal)}}
        for host in HOSTS
    }
    cluster = ExampleCluster(VERSIONS[0], EXAMPLE, minions, site)
    try:
        cluster.start()
        cluster.record()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def services(all_services: Services) -> Iterator[Services]:
    all_services.reset()
    yield all_services
    all_services.reset()


@pytest.fixture(autouse=True)
def commands_end_with_the_test(cluster: ExampleCluster) -> Iterator[None]:
    yield
    cluster.end_commands()


@pytest.fixture
def pool(ensemble, root: str) -> Iterator[Callable[..., Pool]]:
    """The znodes of a pool, by default the test's own, as the example's user sees them."""
    client = KazooClient(ensemble.hosts, auth_data=[("digest", "salt:change-me")])
    client.start(timeout=30)
    yield lambda path=root: Pool(client, path)
    client.stop()
    client.close()


def apply(cluster: ExampleCluster, root: str, hosts=HOSTS, *, session_timeout: float = LONG, **web: object):
    """Start the example on some hosts, with other values in the pillar."""
    pillar = {
        "zookeeper": {"restart": {"session_timeout": session_timeout}},
        "web": {"pool": root, "timeout": 60, **web},
    }
    return cluster.on_all(",".join(hosts), "state.apply", "web", pillar=pillar, options=("-L",))


def test_at_most_two_restart_at_once_and_all_get_their_turn(cluster, services, pool, wait_until, tmp_path, capsys):
    web, earlier = pool("/restart/web"), len(cluster.events("zk_concurrency/"))
    draw_docs = os.environ.get(DRAW) == "1"
    for host, seconds in zip(HOSTS, (0.4, 1.1, 0.7, 0.5), strict=True):
        services.tell(host, "hold")
        services.tell(host, "seconds", str(4 * seconds if draw_docs else seconds))
    command = cluster.runner("state.orchestrate", "orch.restart")

    def two_and_two() -> bool:
        holders, waiters = web.holders(), web.waiters()
        return len(holders) == 2 and sorted(services.did("stop")) == holders and sorted(holders + waiters) == [*HOSTS]

    wait_until(two_and_two, "two restart, and two wait", SLOW)
    for host in HOSTS:
        services.let(host)
    answer = command.answer(limit=90)
    assert answer.code == 0, answer
    assert summary(answer) == {"path": web.path, "max_concurrency": 2, "free": 2, "holders": [], "waiters": []}
    assert sorted(services.did("stop")) == sorted(services.did("start")) == list(HOSTS)
    assert services.at_once() == 2
    assert web.holders() == web.waiters() == []

    def events() -> list[dict[str, object]]:
        return [scrubbed(event) for event in cluster.events("zk_concurrency/")[earlier:]]

    def released() -> bool:
        return len([event for event in events() if event["tag"].endswith("/released")]) == 4

    wait_until(released, "the master has heard that all four released their slots", SLOW)
    kinds = {host: {event["tag"].rpartition("/")[2] for event in events() if host in event["tag"]} for host in HOSTS}
    waited = [host for host in HOSTS if "waiting" in kinds[host]]
    assert len(waited) >= 2
    assert all({"acquired", "released"} <= kinds[host] for host in HOSTS)

    directory = ROOT / "docs" if draw_docs else tmp_path
    recorded, picture = directory / "rolling-restart.events.json", directory / "rolling-restart.svg"
    recorded.write_text("[\n" + ",\n".join(map(json.dumps, events())) + "\n]\n")
    timeline = [sys.executable, "-m", "saltext.zkcoord.timeline", str(recorded), "-o", str(picture), "--text"]
    drawn = subprocess.run(timeline, capture_output=True, text=True, timeout=60, check=False)
    assert drawn.returncode == 0, drawn.stderr
    with capsys.disabled():
        print(f"\n{drawn.stdout}")
    assert all(host in drawn.stdout and f">{host}<" in picture.read_text() for host in HOSTS)


def summary(answer) -> object:
    """What the runner told the orchestration in the end."""
    (states,) = json.loads(answer.stdout)["data"].values()
    (told,) = (state for state in states.values() if state["__id__"] == "who holds a slot")
    return told["changes"]["return"]


def scrubbed(event: dict[str, object]) -> dict[str, object]:
    """What the timeline needs of an event, which says nothing about this machine."""
    data = event["data"].get("data", event["data"])
    kept = {key: data[key] for key in ("path", "identifier", "position", "waited") if data.get(key) is not None}
    return {"tag": event["tag"], "_stamp": event["_stamp"], "data": kept}


def test_a_minion_that_is_killed_while_it_holds_a_slot_lets_the_others_go_on(cluster, services, pool, root, wait_until):
    services.tell("web1", "hold")
    others = HOSTS[1:]
    try:
        apply(cluster, root, ["web1"], max_concurrency=1, session_timeout=2)
        wait_until(lambda: services.did("stop") == pool().holders() == ["web1"], "web1 restarts", SLOW)
        command = apply(cluster, root, others, max_concurrency=1)
        wait_until(lambda: len(pool().waiters()) == 3, "the others wait", SLOW)
        cluster.kill("web1")
        answer = answers(command.answer(limit=60))
        assert {host: results(value) for host, value in answer.values.items()} == dict.fromkeys(others, ALL_DONE)
        assert answer.code == 0
        assert sorted(services.did("start")) == list(others)
        assert services.at_once() == 2  # the dead one, which never comes up, and one more
        assert pool().holders() == pool().waiters() == []
    finally:
        cluster.revive("web1")
    services.let("web1")
    answer = answers(apply(cluster, root, ["web1"], max_concurrency=1).answer())
    assert results(answer.values["web1"]) == ALL_DONE


def test_a_restart_that_fails_does_not_block_the_rest(cluster, services, pool, root):
    services.tell("web2", "fail", "no disk")
    answer = answers(apply(cluster, root, max_concurrency=1).answer(limit=90))
    assert answer.code == 1
    failed = {**ALL_DONE, "web restarted": False, "web serves": False}
    assert {host: results(value) for host, value in answer.values.items()} == {
        host: failed if host == "web2" else ALL_DONE for host in HOSTS
    }
    assert services.did("fail") == ["web2"]
    assert services.at_once() == 1
    assert pool().holders() == pool().waiters() == []


def test_an_orchestration_with_a_restart_that_fails_is_one_that_failed_and_still_tells_who_holds_a_slot(
    cluster, services
):
    services.tell("web2", "fail", "no disk")
    answer = cluster.runner("state.orchestrate", "orch.restart").answer(limit=90)
    assert answer.code == 1
    assert "Run failed on minions: web2" in answer.stdout
    assert summary(answer)["holders"] == []
    assert sorted(services.did("start")) == ["web1", "web3", "web4"]


def test_a_restart_that_fails_keeps_its_slot_if_told_to(cluster, services, pool, root):
    services.tell("web2", "fail", "no disk")
    answer = answers(apply(cluster, root, keep_on_failure=True).answer(limit=90))
    assert {host: results(value)["web restarted"] for host, value in answer.values.items()} == {
        host: host != "web2" for host in HOSTS
    }
    assert services.at_once() <= 2
    status = cluster.runner("zk_concurrency.status", root, **PROFILE).answer()
    assert status.code == 0, status
    status = json.loads(status.stdout)
    assert [holder["identifier"] for holder in status["holders"]] == ["web2"]
    assert (status["max_concurrency"], status["free"], status["waiters"]) == (2, 1, [])
    table = cluster.runner("zk_concurrency.status", root, out="nested", **PROFILE).answer()
    assert "web2" in table.stdout
    freed = cluster.salt(
        "web2", "zk_concurrency.unlock", root, identifier="web2", reason="repaired", **PROFILE
    ).answer()
    assert freed.value is True, freed
    assert pool().holders() == []


def test_parallel_states_in_a_slot_and_parallel_states_that_take_slots(cluster, services, pool, root):
    home, parallel, profile = "{{ salt['config.get']('web:home') }}", {"parallel": True}, {"profile": "restart"}
    script = [
        {"name": f"{home}/web-service"},
        {"source": "salt://web/web-service"},
        {"mode": "0755"},
        {"makedirs": True},
    ]
    slot = [
        {"name": f"{root}/slot"},
        {"max_concurrency": 2},
        {"timeout": 60},
        profile,
        {"require": [{"file": "script"}]},
    ]

    def restart(which: str) -> dict[str, list[object]]:
        env = [{"WEB_NAME": "{{ grains['id'] }}-" + which}, {"WEB_JOURNAL": str(services.journal)}]
        requires = {"require": [{"zk_concurrency": "slot"}]}
        return {"cmd.run": [{"name": f"{home}/web-service restart"}, {"env": env}, requires, parallel]}

    def lock(which: str) -> dict[str, list[object]]:
        requires = {"require": [{"cmd": "one"}, {"cmd": "two"}]}
        limit = [{"max_concurrency": 4}, {"timeout": 60}]
        return {"zk_concurrency.lock": [{"name": f"{root}/{which}"}, *limit, profile, requires, parallel]}

    def unlock(which: str) -> dict[str, list[object]]:
        requires = {"require": [{"zk_concurrency": f"lock {which}"}]}
        return {"zk_concurrency.unlock": [{"name": f"{root}/{which}"}, profile, requires, parallel]}

    states = {
        "script": {"file.managed": script},
        "slot": {"zk_concurrency.held": slot},
        **{which: restart(which) for which in ("one", "two")},
        **{f"lock {which}": lock(which) for which in ("a", "b")},
        **{f"unlock {which}": unlock(which) for which in ("a", "b")},
    }
    cluster.state("parallel", states)
    answer = cluster.apply("web*", "parallel")
    assert {host: results(value) for host, value in answer.values.items()} == dict.fromkeys(
        HOSTS, dict.fromkeys(states, True)
    )
    assert sorted(services.did("start")) == sorted(f"{host}-{which}" for host in HOSTS for which in ("one", "two"))
    assert services.at_once() <= 4  # two on each of two hosts
    assert not any(pool(f"{root}/{which}").holders() for which in ("slot", "a", "b"))


def test_lock_by_command_line_answers_for_each_minion(cluster, pool, root):
    command = cluster.on_all("web*", "zk_concurrency.lock", root, max_concurrency=2, timeout=1, **PROFILE)
    answer = answers(command.answer())
    assert sorted(answer.values) == list(HOSTS)
    assert sorted(answer.values.values()) == [False, False, True, True]
    assert answer.code == 1
    assert pool().holders() == sorted(host for host, held in answer.values.items() if held)
    assert pool().waiters() == []
    answer = answers(cluster.on_all("web*", "zk_concurrency.unlock", root, **PROFILE).answer())
    assert sorted(answer.values.values()) == [False, False, True, True]
    assert pool().holders() == []


def test_term_job_ends_a_waiter_that_leaves_no_znode(cluster, pool, root, wait_until):
    command = cluster.on_all("web*", "zk_concurrency.lock", root, max_concurrency=2, timeout=60, **PROFILE)
    wait_until(lambda: len(pool().holders()) == len(pool().waiters()) == 2, "two hold, two wait", SLOW)
    ended, patient = pool().waiters()
    jobs = cluster.running(ended)
    (job,) = (job for job in jobs if job["fun"] == "zk_concurrency.lock")
    assert cluster.salt(ended, "saltutil.term_job", job["jid"]).answer().code == 0
    wait_until(lambda: pool().waiters() == [patient], "its place is gone")
    gone = pool().holders()[0]
    assert cluster.salt(gone, "zk_concurrency.unlock", root, **PROFILE).answer().value is True
    answer = answers(command.answer())
    assert "cancelled" in str(answer.values[ended])
    assert {host for host, value in answer.values.items() if value is True} == set(HOSTS) - {ended}
    assert pool().waiters() == []
