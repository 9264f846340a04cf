"""Salt's execution module, runner and output: in this process, on real servers."""

from __future__ import annotations

import json
import logging

import pytest
from zkcoord import grants

from tests.semaphore.test_salt_shown import REVERSED, TITLE, in_a_shell


@pytest.fixture
def place(hosts, root):
    """The test's own coordinator, by keywords."""
    return {"root": root, "zk_hosts": hosts}


@pytest.fixture
def bus():
    """What was sent over the event bus."""
    return []


@pytest.fixture
def module(monkeypatch, config, bus):
    """The module in this process, on the minion `probe`, which has a master."""
    from saltext.zkcoord.modules import zk_coordinator

    dunders = config.dunders()
    dunders["__opts__"] = {"id": "probe"}
    dunders["__salt__"] = {"event.send": lambda tag, data: bus.append((tag, data))}
    for name, value in {**dunders, "__context__": {}, "__grains__": {"id": "probe", "rack": "r7"}}.items():
        monkeypatch.setattr(zk_coordinator, name, value, raising=False)
    return zk_coordinator


@pytest.fixture
def runner(monkeypatch, bus):
    """The runner in this process, on a master that has accepted `web1` and `web2`."""
    import salt.key
    from saltext.zkcoord.runners import zk_coordinator

    class Key:
        def __init__(self, opts):
            assert opts is zk_coordinator.__opts__

        def list_keys(self):
            return {"minions": ["web1", "web2"], "minions_pre": ["web3"], "minions_denied": [], "minions_rejected": []}

    functions = {"event.send": lambda tag, data: bus.append((tag, data))}
    opts = {"id": "the_master", "__role": "master"}
    for name, value in {"__salt__": functions, "__opts__": opts, "__context__": {}}.items():
        monkeypatch.setattr(zk_coordinator, name, value, raising=False)
    monkeypatch.setattr(salt.key, "get_key", Key)
    return zk_coordinator


def test_a_minion_asks_for_itself_and_another_for_another(module, place):
    assert module.acquire("restart", reason="kernel", **place) is True
    assert module.__context__ == {}
    assert module.acquire("restart", unit="web1", **place) is False
    assert module.__context__ == {"retcode": 1}
    assert module.granted("restart", **place) is True
    assert module.granted("restart", unit="web1", **place) is False
    assert module.requested("restart", unit="web1", **place) is True
    assert module.requested("restart", unit="web9", **place) is False
    assert module.request_timestamp("restart", **place).endswith("Z")
    assert module.request_timestamp("restart", unit="web9", **place) is None
    queue = module.queue("restart", **place)["restart"]
    assert [(it["unit"], it["reason"]) for it in queue["holders"]] == [("probe", "kernel")]
    assert list(module.queue(**place)) == ["restart"]
    assert list(module.queue(unit="web1", **place)) == ["restart"]
    assert module.queue(unit="web9", **place) == {}
    assert module.release("restart", **place) is True
    assert module.release("restart", **place) is False
    assert module.granted("restart", unit="web1", **place) is True


def test_the_grains_are_the_labels_that_a_policy_counts_by(module, place):
    assert module.acquire("restart", policy={"per": "rack"}, **place)
    assert module.acquire("reboot", policy={"max": 1}, labels=["rack", "nothing"], **place)
    for lock in ("restart", "reboot"):
        assert module.queue(lock, **place)[lock]["holders"][0]["labels"] == {"rack": "r7"}
    assert module.acquire("other", policy={"per": {"rack": 1}}, labels={"rack": "r9"}, **place)
    assert module.queue("other", **place)["other"]["holders"][0]["labels"] == {"rack": "r9"}


def test_another_unit_has_no_labels_of_this_minion(module, place, invocation_error):
    with pytest.raises(invocation_error, match='so that the request needs "rack"'):
        module.acquire("restart", unit="web1", policy={"per": "rack"}, **place)
    assert module.acquire("restart", unit="web1", policy={"per": "rack"}, labels={"rack": "r1"}, **place)
    assert module.acquire("restart", unit="probe", policy={"per": "rack"}, **place), "itself, by its name"


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"policy": {"per": 2}}, "policy: per must be a label"),
        ({"labels": [{"rack": "r1"}]}, "labels: must be a mapping"),
        ({"labels": "rack"}, "labels: must be a mapping"),
        ({"policy": {"per": ["rack"]}}, "policy: per must be a label"),
    ],
)
def test_what_is_of_a_wrong_type_is_one_line(module, place, invocation_error, asked, why):
    with pytest.raises(invocation_error, match=why):
        module.acquire("restart", **asked, **place)


def test_an_operator_grants_and_revokes_and_it_is_told(module, place, bus, caplog, invocation_error):
    module.acquire("restart", unit="web1", **place)
    module.acquire("restart", unit="web2", **place)
    bus.clear()
    assert module.grant("restart", "web2", reason="on fire", **place) is True
    assert module.grant("restart", "web2", **place) is False
    assert module.revoke("restart", "web1", reason="gone", **place) is True
    assert module.revoke("restart", "web1", **place) is False
    kinds = [(tag, data["identifier"], data.get("reason"), data.get("by")) for tag, data in bus]
    operator = "operator on probe"
    assert kinds == [
        ("zk_coordinator/probe/granted", "web2", "on fire", operator),
        ("zk_coordinator/probe/revoked", "web1", "gone", operator),
    ]
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warned == [
        "Granted by an operator: restart, web2, because: on fire",
        "Revoked the grant: restart, web1, because: gone",
    ]
    holder = module.queue("restart", **place)["restart"]["holders"][0]
    assert (holder["by"], holder["granted_because"]) == (operator, "on fire")
    with pytest.raises(invocation_error, match=r"^unit: .*web9.* has no request"):
        module.grant("restart", "web9", **place)


def test_who_is_next_is_told_once(module, place, bus, root):
    module.acquire("restart", unit="web1", reason="kernel", **place)
    module.acquire("restart", unit="web2", **place)
    module.release("restart", unit="web1", **place)
    told = [(tag.rpartition("/")[2], data["identifier"], data.get("position")) for tag, data in bus]
    assert told == [
        ("requested", "web1", None),
        ("granted", "web1", None),
        ("requested", "web2", 1),
        ("released", "web1", None),
        ("granted", "web2", None),
    ]
    assert {data["path"] for _, data in bus} == {f"{root}/salt/restart"}
    assert {data["lock"] for _, data in bus} == {"restart"}


def test_what_has_expired_is_dropped_and_told(module, place, bus, caplog, wait_until):
    module.acquire("restart", unit="web1", expires=1, **place)
    module.acquire("restart", unit="web2", **place)
    found = []

    def dropped():
        found.append(module.handle(**place))
        return found[-1]["dropped"]

    wait_until(dropped, "a second has passed on the servers")
    assert [it["unit"] for it in found[-1]["dropped"]["restart"]] == ["web1"]
    assert found[-1]["granted"] == {"restart": ["web2"]}
    assert [tag.rpartition("/")[2] for tag, _ in bus[-2:]] == ["granted", "dropped"]
    assert "Dropped the grant of restart, web1, not seen since" in caplog.text


def test_a_policy_is_changed_and_counts_at_once(module, place):
    for unit in ("web1", "web2", "web3"):
        module.acquire("restart", unit=unit, **place)
    assert module.set_policy("restart", {"max": 2}, **place) == {"old": "serial", "new": "max 2"}
    assert module.granted("restart", unit="web2", **place) is True
    assert module.set_policy("nothing", {"max": 2}, **place) == {"old": None, "new": None}


def test_a_lock_that_somebody_has_broken_does_not_hold_up_the_others(module, place, zk, root, execution_error):
    module.acquire("aaa", unit="web1", **place)
    zk.set(f"{root}/salt/requests/aaa", b"no policy")
    module.acquire("restart", unit="web1", **place)
    module.acquire("restart", unit="web2", **place)
    zk.delete(f"{root}/salt/requests/restart/web1")
    with pytest.raises(execution_error, match="requests/aaa: its data is no policy"):
        module.handle(**place)
    assert module.granted("restart", unit="web2", **place)


def test_errors_are_one_line(module, place, execution_error, invocation_error):
    module.acquire("restart", **place)
    with pytest.raises(execution_error, match="has the policy serial, but max 2 was asked for") as caught:
        module.acquire("restart", unit="web1", policy={"max": 2}, **place)
    assert "\n" not in str(caught.value)
    for wrong in ({"policy": "seriall"}, {"labels": "rack"}, {"expires": 0}, {"reason": "x" * 2000}, {"root": "/../a"}):
        with pytest.raises(invocation_error, match=f"^({next(iter(wrong))}|path): "):
            module.acquire("reboot", **{**place, **wrong})


class TestRunner:
    def test_it_shows_a_table_and_json_where_that_is_asked_for(self, module, runner, place, monkeypatch):
        from saltext.zkcoord.output import zk_coordinator as output

        monkeypatch.setattr(output, "__opts__", {"color": False, "extension_modules": ""}, raising=False)
        policy = {"max": 1, "per": {"rack": 1}}
        module.acquire("restart", unit="web1", policy=policy, reason=f"kernel {TITLE}", labels={"rack": "r1"}, **place)
        module.acquire("restart", unit=REVERSED, policy=policy, labels={"rack": "r1"}, **place)
        assert runner.queue(**place)["restart"]["waiters"][0]["unit"] == REVERSED
        runner.__opts__["fun"] = "zk_coordinator.queue"
        told = runner.queue(**place)
        assert told["outputter"] == "zk_coordinator"
        text = output.output(told["data"])
        lines = text.splitlines()
        assert lines[0] == "restart: max 1 and per rack 1, 1 granted, 1 waiting"
        assert "| web1    |" in text
        assert "rack=r1" in text
        assert "operator" not in text
        assert all(it.isprintable() for line in lines for it in line)
        assert output.output({"queues": {}}) == "nobody has asked for any lock"
        runner.__opts__["output"] = "json"
        assert json.dumps(runner.queue(**place)).startswith('{"restart": ')

    def test_an_operator_decides_from_the_master(self, module, runner, place):
        module.acquire("restart", unit="web1", **place)
        module.acquire("restart", unit="web2", **place)
        assert runner.revoke("restart", "web1", reason="gone", **place) is True
        assert runner.__context__["retcode"] == 0
        assert runner.grant("restart", "web2", **place) is False
        assert runner.__context__["retcode"] == 1
        assert runner.handle(**place) == {"granted": {}, "dropped": {}}
        assert runner.set_policy("restart", "serial", **place)["new"] == "serial"

    def test_doctor_finds_what_is_odd_and_its_commands_work(self, module, runner, place, zk, root, wait_until):
        stranger = "web7; rm -rf /"
        module.acquire("restart", unit=stranger, expires=1, **place)
        module.acquire("restart", unit="web2", **place)
        grants.acquire("rack", "web1", "salt", {"per": "rack"}, labels={"rack": "r1"}, **place)
        zk.create(f"{root}/salt/requests/rack/web2", b"")
        zk.create(f"{root}/salt/requests/broken", b"no policy")

        def findings():
            return runner.doctor(max_age=0, **place)["findings"]

        wait_until(lambda: any("has not been seen" in it["what"] for it in findings()), "it has expired")
        found = findings()
        whats = "\n".join(it["what"] for it in found)
        assert f"{stranger} is granted restart since" in whats
        assert "is no accepted minion of this master" in whats
        assert "web1 is granted rack for" in whats
        assert 'web2 can never be granted rack as things are: it has no label "rack"' in whats
        assert "broken: could not decide over" in whats
        revoke = next(it["do"] for it in found if it["do"].startswith("Once you are sure"))
        function, args, keywords = in_a_shell(revoke.partition(": ")[2])
        assert (function, args) == ("zk_coordinator.revoke", ["restart", stranger])
        keywords.pop("reason")
        assert runner.revoke(*args, **{**place, **keywords}) is True
        assert stranger not in json.dumps(runner.doctor("restart", max_age=3600, **place))

    def test_what_is_in_order_is_nothing_to_complain_about(self, module, runner, place, monkeypatch):
        module.acquire("restart", unit="web1", **place)
        assert runner.doctor("restart", **place)["findings"] == []
        with pytest.raises(Exception, match=r"^max_age: must be a number of seconds$"):
            runner.doctor(max_age="soon", **place)
