"""The execution module `zk_lease`, the runner and the beacon, in this process and in real `salt-call`s."""

import json
import time

import pytest
from zkcoord import lease

from tests.support.calls import Waiting, wait_until
from tests.support.salt import VERSIONS


@pytest.fixture
def bus():
    """The events so far: each a kind and its data."""
    return []


@pytest.fixture
def module(monkeypatch, config, hosts, bus):
    """Salt's module in this process, on the ensemble, for the minion `probe`."""
    from saltext.zkcoord.modules import zk_lease

    config["zookeeper:hosts"] = hosts
    dunders = config.dunders()
    dunders["__opts__"] = {"id": "probe"}
    dunders["__salt__"]["event.send"] = lambda tag, data: bus.append((tag, data))
    for name, value in {**dunders, "__context__": {}}.items():
        monkeypatch.setattr(zk_lease, name, value, raising=False)
    return zk_lease


class TestModule:
    def test_a_lease_taken_renewed_checked_and_given_back(self, module, path, bus):
        assert module.lock(path, duration="1h 30m") is True
        assert module.lock(path, duration=600) is True, "who has it has it"
        status = module.status(path)
        assert (status["holder"]["owner"], status["holder"]["duration"]) == ("probe", 5400.0), "and for as long"
        assert module.renew(path, duration="90s") is True
        assert module.status(path)["holder"]["duration"] == 90.0
        assert module.check(path) is True
        assert module.try_lock(path, owner="other") is False
        assert module.__context__["retcode"] == 1
        assert module.unlock(path, owner="other") is False
        assert module.unlock(path, reason="done") is True
        assert module.unlock_with_retry(path) is False
        kinds = [tag.removeprefix("zk_lease/probe/") for tag, _ in bus]
        assert kinds == ["acquired", "released"], "the second call took nothing"
        assert bus[0][1]["owner"] == "probe"
        assert bus[0][1]["token"] == status["holder"]["fencing_token"]
        assert bus[-1][1]["reason"] == "done"

    def test_a_lease_that_is_over_is_taken_over(self, module, path, bus):
        assert module.lock(path, owner="dead", duration=0.3)
        assert module.lock(path, duration="2s", timeout=20, max_clock_skew=0.2) is True
        assert [tag.rpartition("/")[2] for tag, _ in bus][-2:] == ["acquired", "taken_over"]
        assert bus[-1][1]["taken_from"] == "dead"

    @pytest.mark.parametrize("wrong", ["soon", "", None, True, "5 parsecs", [], "1h30"])
    def test_what_is_no_duration_is_a_wrong_argument(self, module, path, invocation_error, wrong):
        with pytest.raises(invocation_error, match="duration: must be seconds, or text such as"):
            module.lock(path, duration=wrong)

    @pytest.mark.parametrize(
        ("text", "length"), [("90", 90), ("90s", 90), ("1m30s", 90), ("1.5 h", 5400), ("1d", 86400)]
    )
    def test_notations_of_a_duration(self, text, length):
        from saltext.zkcoord.utils.durations import seconds

        assert seconds("duration", text) == length

    def test_check_says_what_is_wrong(self, module, path, execution_error):
        with pytest.raises(execution_error, match=r"does not hold .*: nobody does"):
            module.check(path)
        module.lock(path, owner="b\x1b[2J", duration=0.2)
        with pytest.raises(execution_error, match=r"probe does not hold .*: b\\x1b\[2J does"):
            module.check(path)
        time.sleep(0.5)
        with pytest.raises(execution_error, match="is overdue by"):
            module.check(path, owner="b\x1b[2J")
        assert module.check(path, owner="b\x1b[2J", max_tolerable_expired_lease="1m") is True

    def test_records_are_read_created_and_changed(self, module, path, zk, execution_error, invocation_error):
        assert module.get(path) is None
        assert module.create(path) is True
        with pytest.raises(execution_error, match="exists already"):
            module.create(path)
        zk.set(path, b'{"holderIdentity":"","x":[1e400]}')
        changed = module.update(path, {"holderIdentity": "b", "leaseDurationSeconds": 5})
        assert (changed["holderIdentity"], changed["leaseDurationSeconds"]) == ("b", 5)
        assert b'"x":[1e400]' in zk.get(path)[0]
        assert module.get(path)["leaseTransitions"] == 0
        for wrong in ("x", 5, {"leaseDurationSeconds": "x"}, {"holderIdentity": ["x"]}):
            with pytest.raises(invocation_error):
                module.update(path, wrong)
        zk.set(path, b"mine")
        with pytest.raises(invocation_error, match="holds no record of a timed lease"):
            module.lock(path)
        assert zk.get(path)[0] == b"mine"

    def test_names(self, module):
        assert module.describe("/leases/Prod/Web") == "Prod/web"
        assert (module.identity(), module.identity("x")) == ("probe", "x")

    def test_a_function_under_the_lease(self, module, path, hosts):
        seen = []

        def note(*args, **kwargs):
            seen.append((args, kwargs, lease.status(path, hosts)["holder"]["owner"]))
            time.sleep(1)
            return "what it returns"

        module.__salt__["test.note"] = note
        answer = module.run(path, "test.note", 1, fun_kwargs={"a": 2}, duration=0.6, timeout=5)
        assert answer == "what it returns"
        assert seen == [((1,), {"a": 2}, "probe")]
        assert lease.status(path, hosts)["holder"] is None

    def test_a_function_that_lost_its_lease_is_an_error(self, module, path, hosts, execution_error, bus):
        module.__salt__["test.lose"] = lambda: lease.give_back(path, "probe", hosts) and time.sleep(1)
        with pytest.raises(execution_error, match=f"probe lost the lease {path} while test.lose ran"):
            module.run(path, "test.lose")
        assert [tag.rpartition("/")[2] for tag, _ in bus] == ["acquired", "lost"]

    def test_who_does_not_get_it_in_time_is_told_who_has_it(self, module, path, hosts, execution_error):
        module.__salt__["test.never"] = lambda: pytest.fail("it was called")
        lease.take(path, "other", hosts)
        with pytest.raises(
            execution_error, match=r"no lease .* within 0 s, held by other for \d+ s more; test.never was"
        ):
            module.run(path, "test.never", timeout=0)

    def test_what_a_function_raises_comes_through(self, module, path, hosts):
        def fail():
            raise LookupError("broken")

        module.__salt__["test.fail"] = fail
        with pytest.raises(LookupError, match="broken"):
            module.run(path, "test.fail")
        assert lease.status(path, hosts)["holder"] is None

    def test_whoever_waits_tells_its_position(self, module, path, hosts, bus):
        lease.take(path, "other", hosts)
        waiting = Waiting(module.lock, path, timeout=20)
        wait_until(lambda: [tag for tag, _ in bus if tag.endswith("/waiting")], "it tells")
        lease.give_back(path, "other", hosts)
        assert waiting.result() is True
        assert bus[0][1]["position"] == 1


class TestRunner:
    @pytest.fixture
    def runner(self, monkeypatch, hosts):
        from saltext.zkcoord.runners import zk_lease

        dunders = {"__salt__": {}, "__opts__": {"id": "m_master", "zookeeper": {"hosts": hosts}}, "__context__": {}}
        for name, value in dunders.items():
            monkeypatch.setattr(zk_lease, name, value, raising=False)
        return zk_lease

    def test_an_operator_takes_a_lease_away(self, runner, path, hosts, lockers):
        locker = lockers("web1")
        locker.lock()
        assert runner.unlock(path, owner="web2") is False
        assert runner.__context__["retcode"] == 1
        assert runner.unlock(path, reason="web1 has burnt down") is True
        wait_until(lambda: not locker.held, "the holder is told")
        assert runner.unlock(path) is False

    def test_a_table(self, runner, monkeypatch, path, hosts, root):
        from saltext.zkcoord.output import zk_lease as output

        monkeypatch.setattr(output, "__opts__", {"color": False, "extension_modules": ""}, raising=False)
        lease.take(path, "web\x1b[2J", hosts, lease_duration=100)
        runner.__opts__["fun"] = "zk_lease.list"
        shown = runner.list(root.lower())
        assert shown["outputter"] == "zk_lease"
        assert shown["data"]["leases"][0]["holder"]["owner"] == "web\x1b[2J"
        runner.__opts__["output"] = "json"
        assert runner.list(root.lower())[0]["path"] == path

    def test_an_error_is_one_line(self, runner, execution_error):
        from salt.exceptions import NotImplemented as OneLine

        with pytest.raises(OneLine, match="path: "):
            runner.status("/")


class TestBeacon:
    @pytest.fixture
    def look(self, monkeypatch, hosts, path):
        from saltext.zkcoord.beacons import zk_lease

        dunders = {"__opts__": {"id": "m", "zookeeper": {"hosts": hosts}}, "__context__": {}}
        for name, value in dunders.items():
            monkeypatch.setattr(zk_lease, name, value, raising=False)
        config = [{"leases": [path]}, {"ending": 30}]
        assert zk_lease.validate(config)[0] is True
        return lambda: [(it["what"], it["owner"], it["before"]) for it in zk_lease.beacon(config)]

    def test_it_fires_when_a_lease_changes_hands_or_is_about_to_run_out(self, look, path, hosts):
        assert look() == []
        lease.take(path, "a", hosts, lease_duration=100)
        assert look() == [("taken", "a", None)]
        assert look() == []
        lease.renew(path, "a", hosts, lease_duration=20)
        assert look() == [("ending", "a", "a")]
        assert look() == [], "once"
        lease.give_back(path, "a", hosts)
        assert look() == [("released", None, "a")]
        lease.take(path, "a", hosts, lease_duration=100)
        lease.give_back(path, "a", hosts)
        lease.take(path, "b", hosts, lease_duration=100)
        assert look() == [("taken", "b", None)]
        lease.give_back(path, "b", hosts)
        lease.take(path, "c", hosts, lease_duration=100)
        assert look() == [("changed", "c", "b")]

    @pytest.mark.parametrize(
        "wrong",
        [{}, [], [{}], [{"leases": []}], [{"leases": "x"}], [{"leases": [5]}], [{"leases": ["/a"]}, {"ending": "x"}]],
    )
    def test_what_is_no_configuration_is_told(self, wrong):
        from saltext.zkcoord.beacons import zk_lease

        assert zk_lease.validate(wrong)[0] is False


@pytest.mark.parametrize("version", VERSIONS)
def test_from_a_salt_call_it_outlives_the_process(minionless, hosts, path, version):
    salt = minionless(version, zookeeper={"hosts": hosts})
    assert salt.salt_call("zk_lease.lock", path, duration="3s").outcome == (0, True)
    assert lease.status(path, hosts)["holder"]["owner"] == "probe"
    assert lease.take(path, "b", hosts, timeout=20).taken_from == "probe", "it ends by itself"
    answer = salt.salt_call("zk_lease.unlock", path)
    assert answer.outcome == (1, False)
    assert json.loads(answer.stdout) == {"local": False}


def test_two_runs_of_one_minion_are_two(salt, hosts, path):
    first = salt.start("zk_lease.run", path, "test.sleep", "3")
    wait_until(lambda: lease.status(path, hosts)["holder"], "the first has it", 30)
    second = salt.salt_call("zk_lease.run", path, "test.sleep", "0", timeout=0)
    assert "no lease" in second.complaint
    assert first.answer().outcome == (0, True)
