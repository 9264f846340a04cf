"""What Salt's event bus hears of those who wait, hold, and lose."""

from __future__ import annotations

import socket
import subprocess
import threading
import time

import pytest

from tests.support.calls import Waiting
from tests.support.salt import LONG, VERSIONS

SECRET = "c0rrect-h0rse"


class TestOfCalls:
    """In this process, with a bus that remembers."""

    @pytest.fixture(autouse=True)
    def bus(self, shim, config, hosts):
        """The kind of each event so far, and its data."""
        config["zookeeper:hosts"] = hosts
        shim.__opts__.clear()
        shim.__opts__["id"] = "m1"
        found = []

        def send(tag, data):
            prefix, kind = tag.rsplit("/", 1)
            assert prefix == "zk_concurrency/m1"
            found.append((kind, data))

        shim.__salt__["event.send"] = send
        return found

    def test_a_slot_taken_and_given_back(self, shim, bus, root):
        shim.lock(root, identifier=5, max_concurrency=2)
        shim.unlock(root, identifier=5)
        (acquired, data), released = bus
        assert acquired == "acquired"
        assert 0 <= data.pop("waited") < 5
        assert data == {"path": root, "identifier": "5", "max_concurrency": 2}
        assert released == ("released", {"path": root, "identifier": "5"})

    def test_nobody_in_particular_is_the_host(self, shim, bus, root):
        shim.lock(root)
        shim.lock(root, identifier="")
        assert [data["identifier"] for _, data in bus] == [socket.gethostname()] * 2 == shim.lock_holders(root) * 2

    def test_force_and_reasons_are_told(self, shim, bus, root):
        shim.lock(root, identifier="a", reason="why")
        shim.lock(root, identifier="b", force=True, reason="in a hurry")
        shim.unlock(root, identifier="b", reason="done")
        assert [(kind, data.get("reason"), data.get("force")) for kind, data in bus] == [
            ("acquired", "why", None),
            ("forced", "in a hurry", True),
            ("released", "done", None),
        ]

    def test_one_who_waits_tells_its_place_when_that_changes(self, shim, bus, root, pool, wait_until):
        def told(who):
            return [data["position"] for kind, data in bus if (kind, data["identifier"]) == ("waiting", who)]

        shim.lock(root, identifier="a")
        waiting = []
        for number, name in enumerate("bc", 1):
            waiting.append(Waiting(shim.lock, root, identifier=name, timeout=30))
            wait_until(lambda number=number: len(pool.waiters()) == number, "it waits")
        wait_until(lambda: told("c") == [2], "c has told its place")
        shim.unlock(root, identifier="a")
        assert waiting[0].result()
        wait_until(lambda: told("c") == [2, 1], "c has told that it is next")
        shim.unlock(root, identifier="b")
        assert waiting[1].result()
        # What b tells of its slot may come later: c takes it in another thread.
        (_, first), (_, second), (kind, last) = [(kind, data) for kind, data in bus if data["identifier"] == "c"]
        assert kind == "acquired"
        assert first["waited"] + 1 <= second["waited"] < last["waited"], "told more often than once a second"

    def test_who_gave_up_or_had_nothing_did_not_take_and_give(self, shim, bus, root):
        shim.lock(root, identifier="a")
        bus.clear()
        assert not shim.lock(root, identifier="b", timeout=0)
        assert not shim.unlock(root, identifier="b")
        assert [kind for kind, _ in bus if kind != "waiting"] == []

    def test_run_takes_and_gives_and_says_when_it_lost(self, shim, bus, root, execution_error):
        shim.__salt__["test.nothing"] = lambda: None
        shim.__salt__["test.lose"] = lambda: shim.unlock(root, identifier="a")
        shim.run(root, "test.nothing", identifier="a")
        assert [kind for kind, _ in bus] == ["acquired", "released"]
        bus.clear()
        with pytest.raises(execution_error, match="lost"):
            shim.run(root, "test.lose", identifier="a")
        assert [kind for kind, _ in bus] == ["acquired", "released", "lost"]
        assert bus[-1][1] == {"path": root, "identifier": "a"}

    @pytest.mark.parametrize(
        ("settings", "profile", "heard"),
        [
            ({"events": False}, None, False),
            ({"events": "false"}, None, False),
            ({"events": False, "blue:connect_timeout": 10}, "blue", False),
            ({"blue:events": False}, "blue", False),
            ({"blue:events": False}, None, True),
            ({"blue:events": True, "events": False}, "blue", True),
            ({"events": True}, None, True),
        ],
    )
    def test_the_configuration_turns_them_off(self, shim, bus, config, hosts, root, settings, profile, heard):
        config.update({f"zookeeper:{key}": value for key, value in settings.items()})
        shim.lock(root, hosts, profile=profile)
        shim.unlock(root, hosts, profile=profile)
        assert bool(bus) is heard

    @pytest.mark.parametrize("local", [{"local": True}, {"file_client": "local"}, {"master_type": "disable"}])
    def test_without_a_master_nothing_is_sent(self, shim, bus, root, local):
        shim.__opts__.update(local)
        shim.lock(root)
        assert bus == []
        shim.__opts__["use_master_when_local"] = True
        shim.unlock(root)
        assert [kind for kind, _ in bus] == ["released"]

    def test_one_that_cannot_be_sent_breaks_nothing(self, shim, bus, root, pool):
        def send(*_):
            raise RuntimeError("the bus is gone")

        shim.__salt__["event.send"] = send
        assert shim.lock(root, identifier="a")
        waiting = Waiting(shim.lock, root, identifier="b", timeout=0.3)
        assert waiting.result() is False
        assert shim.unlock(root, identifier="a")
        assert pool.waiters() == []

    def test_a_master_that_is_gone_holds_up_a_salt_call_for_a_moment_and_once_only(
        self, shim, monkeypatch, root, request
    ):
        from saltext.zkcoord.utils import events

        released = threading.Event()
        request.addfinalizer(released.set)
        tried = []
        shim.__salt__["event.send"] = lambda tag, _: tried.append(tag) or released.wait(60)
        shim.__opts__["__cli"] = "salt-call"
        monkeypatch.setattr(events.Events, "_master_is_gone", False)
        began = time.monotonic()
        assert shim.lock(root)
        assert shim.unlock(root)
        assert time.monotonic() - began < 2 * events._PATIENCE
        assert tried == ["zk_concurrency/m1/acquired"]

    def test_no_secret_is_in_them(self, shim, bus, root, hosts):
        user = {"username": "salt", "password": SECRET}
        everything = {**user, "scheme": "digest", "default_acl": {**user, "allperms": True}}
        shim.lock(root, hosts, **everything, reason="why")
        shim.unlock(root, hosts, **everything)
        assert len(bus) == 2
        assert SECRET not in repr(bus)


class TestWithoutMaster:
    @pytest.mark.parametrize("version", VERSIONS)
    def test_salt_call_is_silent(self, minionless, version, hosts, root):
        salt = minionless(version, zookeeper={"hosts": hosts, "session_timeout": LONG})
        answer = salt.salt_call("zk_concurrency.run", root, "test.ping", options=("-l", "info"))
        assert answer.outcome == (0, True)
        told = [line for line in answer.stderr.splitlines() if "vent" in line]
        assert told == [], "Salt warns of events that it does not send"


class TestOnTheBus:
    """With a real master, as `salt-run state.event` shows them."""

    @pytest.fixture
    def heard(self, fleet, root, wait_until):
        """Wait for the last event at the test's own pool, and return all of one identifier, or all."""

        def all_of(who):
            events = ((event["tag"], event["data"]) for event in fleet.events("zk_concurrency/"))
            found = [(tag.removeprefix("zk_concurrency/"), data.get("data", data)) for tag, data in events]
            return [(tag, data) for tag, data in found if data["path"] == root and who in (None, data["identifier"])]

        def heard(last, who=None):
            wait_until(lambda: last in [tag for tag, _ in all_of(who)], f"{last} was heard")
            return all_of(who)

        return heard

    def test_the_queue_moves(self, fleet, heard, root, pool, wait_until):
        arguments = {"max_concurrency": 1, "timeout": 60}
        assert fleet.salt("m1", "zk_concurrency.lock", root, identifier="a", **arguments).answer().value is True
        second = fleet.salt("m2", "zk_concurrency.run", root, "test.ping", identifier="b", **arguments)
        wait_until(lambda: pool.waiters() == ["b"], "b waits")
        third = fleet.salt("m1", "zk_concurrency.run", root, "test.ping", identifier="c", **arguments)
        wait_until(lambda: pool.waiters() == ["b", "c"], "c waits")
        heard("m1/waiting", "c")
        fleet.runner("zk_concurrency.unlock", root, identifier="a", reason="it is done").answer()
        assert (second.answer().value, third.answer().value) == (True, True)
        heard("m1/released", "c")

        def kinds(who):
            return [(tag, data.get("position")) for tag, data in heard(f"{'m2' if who == 'b' else 'm1'}/acquired", who)]

        assert [tag for tag, _ in heard("master_master/released", "a")] == ["m1/acquired", "master_master/released"]
        assert heard("master_master/released", "a")[-1][1]["reason"] == "it is done"
        assert kinds("b") == [("m2/waiting", 1), ("m2/acquired", None), ("m2/released", None)]
        # It may have passed the first place faster than in the second that it keeps between two events.
        moved = kinds("c")
        assert moved[0] == ("m1/waiting", 2)
        assert moved[-2:] == [("m1/acquired", None), ("m1/released", None)]

    def test_held_in_a_run_that_fails(self, fleet, heard, root, pool):
        slot = {"zk_concurrency.held": [{"name": root}, {"timeout": 20}]}
        look = {"module.run": [{"zk_concurrency.lock_holders": [root]}]}
        fail = {"test.fail_without_changes": [{"require": [{"zk_concurrency": "slot"}]}]}
        # Whoever used the core before has registered for the end of the process before.
        fleet.state("held", {"look": look, "slot": slot, "fail": fail, "look again": look})
        answer = fleet.salt("m1", "state.apply", "held").answer()
        assert answer.code == 1
        assert pool.leases() == []
        changes = {state["__id__"]: state["changes"] for state in answer.value.values()}
        assert changes["look again"] == {"zk_concurrency.lock_holders": ["m1"]}
        assert [tag for tag, _ in heard("m1/released")] == ["m1/acquired", "m1/released"]

    def test_keep_on_failure_in_jobs_that_fail_are_terminated_or_end_well(
        self, fleet, heard, root, pool, wait_until, tmp_path
    ):
        def state(name, *work):
            slot = {"zk_concurrency.held": [{"name": root}, {"timeout": 0}, {"keep_on_failure": True}]}
            needed = {"require": [{"zk_concurrency": "slot"}]}
            fleet.state(name, {"slot": slot, "work": {work[0]: [*work[1:], needed]}})
            return fleet.salt("m1", "state.apply", name)

        assert state("fails", "test.fail_without_changes").answer().code == 1
        assert pool.holders() == ["m1"]
        working = tmp_path / "working"
        state("works", "cmd.run", {"name": f"touch {working}; exec sleep 60"})
        wait_until(working.exists, "the state works")
        (job,) = fleet.running("m1")
        assert fleet.salt("m1", "saltutil.term_job", f"'{job['jid']}'").answer().code == 0
        wait_until(lambda: fleet.running("m1") == [], "the job has ended")
        assert pool.holders() == ["m1"]
        assert state("succeeds", "test.succeed_without_changes").answer().code == 0
        assert pool.leases() == []
        assert [tag for tag, _ in heard("m1/released")] == ["m1/acquired"] * 3 + ["m1/released"]

    def test_held_is_refused_where_jobs_are_threads(self, fleet, root, zk):
        fleet.state("held", {"slot": {"zk_concurrency.held": [{"name": root}]}})
        answer = fleet.salt("t", "state.apply", "held").answer()
        assert answer.code == 1
        (state,) = answer.value.values()
        assert state["comment"] == (
            "held needs the process of a run, and this is a thread of the minion (multiprocessing: False): "
            "use lock and unlock instead"
        )
        assert zk.exists(root) is None

    def test_a_job_that_is_terminated_while_it_waits_fails_and_leaves_out_the_rest(
        self, fleet, root, zk, waiters, wait_until
    ):
        zk.create(f"{root}/somebody", makepath=True)
        fleet.state("waits", {"slot": {"zk_concurrency.lock": [{"name": root}]}, "unrelated": {"test.nop": []}})
        call = fleet.salt("m1", "state.apply", "waits")
        wait_until(waiters, "it waits")
        (job,) = fleet.running("m1")
        fleet.salt("m1", "saltutil.term_job", f"'{job['jid']}'").answer()
        wait_until(lambda: not waiters(), "its place is gone", limit=5)
        (state,) = call.answer().value.values()
        assert state["__id__"] == "slot"
        assert state["comment"].startswith("cancelled by SIGTERM")

    def test_salt_call_with_a_master_and_a_profile_that_is_quiet(self, fleet, heard, hosts, root):
        def call(*arguments):
            command = [fleet._bin_dir / "salt-call", "-c", fleet.directory / "m1", "-l", "warning", *arguments]
            return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

        assert (
            call("zk_concurrency.lock", root, hosts, "profile=quiet", "identifier=q", "max_concurrency=2").returncode
            == 0
        )
        loud = call("zk_concurrency.run", root, "test.ping", "max_concurrency=2", "identifier=loud")
        assert (loud.returncode, loud.stdout.split()) == (0, ["local:", "True"])
        assert [tag for tag, _ in heard("m1/released")] == ["m1/acquired", "m1/released"]
