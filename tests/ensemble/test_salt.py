"""`zk_ensemble` for Salt: module, states and runner, on real servers."""

from __future__ import annotations

import json

import pytest
from zkcoord import ensemble, errors

from tests.ensemble.conftest import DIGEST, followers
from tests.support.calls import wait_until
from tests.support.salt import VERSIONS

STATES = ("members", "member_present", "member_absent", "synced", "znode_present", "znode_absent", "acls")


def load(monkeypatch, module, dunders):
    for name, value in dunders.items():
        monkeypatch.setattr(module, name, value, raising=False)
    return module


@pytest.fixture
def module(monkeypatch, config, lab):
    """The execution module in this process, as the super user of the ensemble that can be changed."""
    from saltext.zkcoord.modules import zk_ensemble

    config.update({"zookeeper:hosts": lab.hosts, "zookeeper:admin_port": 0})
    config.update({f"zookeeper:{name}": value for name, value in DIGEST.items()})
    return load(monkeypatch, zk_ensemble, config.dunders())


@pytest.fixture
def states(monkeypatch, config, module):
    """The states in this process, on that module."""
    from saltext.zkcoord.states import zk_ensemble

    names = [name for name in vars(module) if not name.startswith("_") and callable(getattr(module, name))]
    functions = {f"zk_ensemble.{name}": getattr(module, name) for name in names}
    return load(monkeypatch, zk_ensemble, {**config.dunders(), "__salt__": functions, "__opts__": {"test": False}})


@pytest.fixture
def runner(monkeypatch, lab):
    """The runner in this process."""
    from saltext.zkcoord.runners import zk_ensemble

    section = {"hosts": lab.hosts, "admin_port": 0, **DIGEST}
    return load(monkeypatch, zk_ensemble, {"__opts__": {"id": "master", "zookeeper": section}, "__salt__": {}})


@pytest.fixture
def test_mode(monkeypatch, states):
    monkeypatch.setattr(states, "__opts__", {"test": True})


def lines(lab, *servers):
    return sorted(lab.member(server) for server in servers or lab.servers[:3])


def outcome(ret):
    assert sorted(ret) == ["changes", "comment", "name", "result"]
    assert "\n" not in ret["comment"]
    return ret["result"], ret["changes"], ret["comment"]


def test_the_module_tells_what_the_library_tells(module, lab):
    leader = lab.leader()
    assert module.get_leader() == leader.address
    assert module.get_any_unit() == lab.servers[0].address
    assert module.server_members() == sorted(module.config()) == lines(lab)
    assert module.config_version() == ensemble.config(lab.hosts)[1]
    assert module.get_version() == ensemble.status(lab.hosts, admin_port=0)["servers"][0]["version"]
    assert (module.members_syncing(), module.members_broadcasting(), module.is_ready()) == (False, True, True)
    assert module.is_ready("127.0.0.1:1", **DIGEST) is False
    assert module.srvr(leader.address, **DIGEST)[leader.address]["Mode"] == "leader"
    assert {each["source"] for each in module.mntr().values()} == {"4lw"}
    assert json.loads(json.dumps(module.status())) == module.status() or module.status()["has_quorum"]
    assert module.wait_synced(timeout=10)["members"] == module.config()


def test_the_module_sees_to_znodes(module, lab, execution_error):
    assert module.create_znode_leader("/salt/a") is True
    with pytest.raises(execution_error, match="/salt/a exists already"):
        module.create_znode_leader("/salt/a")
    assert module.leader_znodes("/salt/") == ["/salt", "/salt/a"]
    assert module.set_acls_znode_leader("/salt/a", [{"scheme": "world", "id": "anyone", "perms": "cdrwa"}]) is True
    assert module.get_acls("/salt/a") == [(31, ("world", "anyone"))]
    assert module.delete_znode_leader("/salt") is True
    assert module.delete_znode_leader("/salt") is True


def test_errors_are_those_of_salt_in_one_line(module, lab, execution_error, invocation_error):
    with pytest.raises(execution_error, match=r"server\.9 cannot join yet") as caught:
        module.add_members("server.9=127.0.0.1:1:2;127.0.0.1:3")
    assert isinstance(caught.value.__cause__, errors.MemberNotReadyError)
    with pytest.raises(invocation_error, match="is no member"):
        module.remove_members("x")
    with pytest.raises(invocation_error, match="is no member of an ensemble"):
        module.add_members(["x"])
    with pytest.raises(execution_error, match="refused the connection"):
        module.srvr("127.0.0.1:1", **DIGEST)
    with pytest.raises(execution_error, match="not permitted to change the ensemble"):
        module.remove_members("1", scheme="sasl", username="bob", password="builder", zk_hosts=lab.hosts)
    assert module.remove_members([77])["changed"] is False
    assert module.remove_members([1], only_decide=True)["changed"] is True
    assert len(module.server_members()) == 3


def test_exactly_these_members_are_reached_and_test_mode_tells_the_difference(states, lab, monkeypatch):
    servers = [lab.add(), lab.add()]
    lab.wait_ready()
    wanted = lines(lab, *lab.servers[1:])
    monkeypatch.setitem(states.__opts__, "test", True)
    result, changes, comment = outcome(states.members("five", wanted))
    assert result is None
    assert changes == {"added": sorted(map(lab.member, servers)), "removed": [lab.member(lab.servers[0])]}
    assert comment.startswith("Would add server.4=")
    assert ensemble.config(lab.hosts)[0] == lines(lab), "nothing was done"
    monkeypatch.setitem(states.__opts__, "test", False)
    assert outcome(states.members("five", wanted))[:2] == (True, changes)
    assert sorted(ensemble.config(lab.hosts)[0]) == wanted
    assert outcome(states.members("five", wanted)) == (True, {}, "The members are as they should be")


def test_a_run_that_failed_goes_on_where_it_stopped(states, lab):
    server = lab.add()
    lab.wait_ready()
    missing = "server.5=127.0.0.1:1:2:participant;127.0.0.1:3"
    result, changes, comment = outcome(states.members("five", [*lines(lab), lab.member(server), missing]))
    assert (result, changes) == (False, {"added": [lab.member(server)]})
    assert "server.5 cannot join yet" in comment
    assert comment.endswith(f"Not done: add {missing}")
    assert outcome(states.members("five", [*lines(lab), lab.member(server)]))[0] is True


def test_a_step_that_loses_the_quorum_is_refused_and_test_mode_says_so(states, lab, monkeypatch):
    dead = followers(lab)[0]
    dead.kill()
    left = [lab.member(server) for server in lab.servers if server is dead or server is lab.leader()]
    monkeypatch.setitem(states.__opts__, "test", True)
    result, changes, comment = outcome(states.members("two", left, timeout=5))
    assert (result, len(changes["removed"])) == (None, 1)
    assert "It would be refused now: the ensemble would have no quorum" in comment
    monkeypatch.setitem(states.__opts__, "test", False)
    result, changes, comment = outcome(states.members("two", left, timeout=5))
    assert (result, changes) == (False, {})
    assert f"server.{dead.number} refused the connection" in comment


def test_a_minion_adds_and_removes_its_own_server(states, lab):
    server = lab.add(observer=True)
    line = lab.member(server, observer=True)
    lab.wait_ready()
    assert outcome(states.member_present(line))[:2] == (True, {"added": [line]})
    assert outcome(states.member_present(line)) == (True, {}, "The members are as they should be")
    assert outcome(states.member_absent(f"server.{server.number}"))[:2] == (True, {"removed": [line]})
    assert outcome(states.member_absent(line))[:2] == (True, {})
    assert outcome(states.member_present("nonsense"))[0] is False
    assert outcome(states.members("none", []))[2].startswith("members: must be a list of lines")


def test_an_id_that_another_server_has_is_no_reason_to_remove_that_one(states, module, lab, execution_error):
    there = lines(lab)
    elsewhere = there[0].replace("=127.0.0.1", "=127.0.0.9")
    for test in (True, False):
        states.__opts__["test"] = test
        result, changes, comment = outcome(states.member_present(elsewhere))
        assert (result, changes) == (False, {})
        assert comment == f"id 1 is taken: {there[0]}; choose another, or remove that one first"
    result, changes, comment = outcome(states.member_absent(elsewhere))
    assert (result, changes) == (False, {})
    assert f"is no member: id 1 is {there[0]}" in comment
    with pytest.raises(execution_error, match="is no member: id 1 is"):
        module.remove_members([elsewhere])
    assert sorted(ensemble.config(lab.hosts)[0]) == there


def test_a_line_that_is_no_member_removes_nobody(states, lab):
    there = lines(lab)
    for line in (there[2].replace("server.", "Server."), there[2].replace("server.", "sever."), "group.1=1:2:3"):
        result, changes, comment = outcome(states.members("typo", [*there[:2], line], timeout=5))
        assert (result, changes) == (False, {})
        assert "is no member of an ensemble" in comment
    assert outcome(states.members("blank", [f" {line}" for line in there])) == (
        True,
        {},
        "The members are as they should be",
    )
    assert sorted(ensemble.config(lab.hosts)[0]) == there


def test_a_member_moves_only_to_where_something_answers(states, lab):
    there, server = lines(lab), followers(lab)[0]
    line = lab.member(server)
    moved = line.split("=")[0] + "=127.0.0.9:1:2:participant;127.0.0.9:3"
    wanted = [moved if each == line else each for each in there]
    result, changes, comment = outcome(states.members("moved", wanted, timeout=5))
    assert (result, changes) == (False, {})
    assert f"nothing answers yet where {moved} is to be" in comment
    assert sorted(ensemble.config(lab.hosts)[0]) == there


def test_a_change_that_was_made_is_among_the_changes_though_the_call_failed(states, lab, monkeypatch, execution_error):
    real = states.__salt__["zk_ensemble.remove_members"]
    line = lab.member(followers(lab)[0])

    def lost(*args: object, **kwargs: object) -> None:
        real(*args, **kwargs)
        raise execution_error("lost") from errors.ConnectionLost("lost")

    monkeypatch.setitem(states.__salt__, "zk_ensemble.remove_members", lost)
    assert outcome(states.member_absent(line)) == (False, {"removed": [line]}, "lost")


def test_what_passes_by_waiting_says_so_and_what_does_not_does_not(states, lab):
    missing = "server.5=127.0.0.1:1:2:participant;127.0.0.1:3"
    assert outcome(states.member_present(missing, timeout=5))[2].startswith("Not ready yet: server.5 cannot join yet")
    assert outcome(states.member_present(missing, timeout="soon"))[2].startswith("timeout: must be a number")
    assert outcome(states.member_present(lines(lab)[0].replace("server.1", "server.9"), timeout="5"))[2].startswith(
        "127"
    )


def test_the_gate_is_about_those_that_it_names(states, lab, monkeypatch):
    dead = followers(lab)[0]
    dead.kill()
    number, others = dead.number, [server.number for server in lab.servers if server is not dead]
    for test, shut in ((True, None), (False, False)):
        monkeypatch.setitem(states.__opts__, "test", test)
        assert outcome(states.synced("all", timeout=1))[0] is shut
        assert outcome(states.synced("it", ids=number, timeout=1))[0] is shut
        result, _, comment = outcome(states.synced("9", ids=[9], timeout=1))
        assert result is shut
        assert "server.9 is no member" in comment
        assert outcome(states.synced("others", ids=others)) == (True, {}, "2 members are in sync")
        assert outcome(states.synced("others", besides=[number])) == (True, {}, "2 members are in sync")
    monkeypatch.setitem(states.__opts__, "test", True)
    unreachable = outcome(states.synced("none", zk_hosts="127.0.0.1:1", username="a", password="b", scheme="digest"))
    assert unreachable[0] is None
    assert "refused the connection" in unreachable[2]


def test_the_gate_waits_until_all_are_in_sync(states, lab, monkeypatch):
    assert outcome(states.synced("gate")) == (True, {}, "3 members are in sync")
    server = followers(lab)[0]
    lab.replace(server)
    result, changes, comment = outcome(states.synced("gate", timeout=0.2))
    assert (result, changes) == (False, {})
    assert comment.startswith("Not ready yet: not all members are in sync after")
    monkeypatch.setitem(states.__opts__, "test", True)
    assert outcome(states.synced("gate"))[0] in (None, True)
    monkeypatch.setitem(states.__opts__, "test", False)
    assert outcome(states.synced("gate", timeout=30))[0] is True


def test_znodes_and_what_they_permit(states, lab, monkeypatch):
    acls = [
        {"username": "ann", "password": "secret", "allperms": True},
        {"scheme": "world", "id": "anyone", "perms": "all"},
    ]
    everybody = {"scheme": "world", "id": "anyone", "perms": "all"}
    monkeypatch.setitem(states.__opts__, "test", True)
    assert outcome(states.znode_present("/gate/a", acls))[::2] == (None, "/gate/a would be created")
    monkeypatch.setitem(states.__opts__, "test", False)
    result, changes, _ = outcome(states.znode_present("/gate/a", acls))
    assert (result, changes["acls"][0]) == (True, (31, ("digest", "ann:x")))
    assert outcome(states.znode_present("/gate/a", acls)) == (True, {}, "/gate/a is as it should be")
    assert outcome(states.znode_present("/gate/a"))[1] == {}
    result, changes, _ = outcome(states.acls("/gate/a", everybody))
    assert (result, changes["new"]) == (True, {"acls": [(31, ("world", "anyone"))]})
    assert outcome(states.acls("/gate/a", everybody))[1] == {}
    assert outcome(states.acls("/missing", everybody)) == (False, {}, "/missing does not exist")
    assert "secret" not in str(states.acls("/gate/a", [{"username": "ann", "password": "secret", "all": True}]))
    assert outcome(states.znode_absent("/gate"))[:2] == (True, {"deleted": ["/gate", "/gate/a"]})
    assert outcome(states.znode_absent("/gate"))[::2] == (True, "/gate does not exist")


def test_the_order_of_a_restart_is_observers_then_followers_then_the_leader(runner, lab):
    server = lab.add(observer=True)
    lab.wait_ready()
    ensemble.add_member(lab.member(server, observer=True), lab.hosts, **DIGEST, admin_port=0)
    wait_until(lambda: server.mode() == "observer", "it has gone over from following to observing")
    order = runner.restart_order()
    assert [row["mode"] for row in order] == ["observer", "follower", "follower", "leader"]
    assert order[-1]["address"] == lab.leader().address


def test_without_a_leader_no_order_is_made_up(lab, execution_error):
    from saltext.zkcoord.utils.ensemble import restart_order

    status = ensemble.status(lab.hosts, admin_port=0)
    rows = [{**row, "mode": None, "in_sync": False} for row in status["servers"]]
    with pytest.raises(execution_error, match="no member leads now"):
        restart_order({**status, "servers": rows})


def test_the_doctor_finds_nothing_in_a_good_ensemble_and_what_is_odd_in_others(runner, lab, shut):
    assert runner.doctor()["findings"] == []
    server = lab.add()
    lab.wait_ready()
    ensemble.add_member(lab.member(server), lab.hosts, **DIGEST, admin_port=0)
    odd = " ".join(finding["what"] for finding in runner.doctor()["findings"])
    assert "4 participants" in odd
    follower = followers(lab)[0]
    follower.kill()
    findings = runner.doctor()["findings"]
    odd = " ".join(finding["what"] for finding in findings)
    assert f"server.{follower.number} ({follower.address}) refused the connection" in odd
    assert "One more failure ends the quorum" in odd
    assert all(finding["do"] for finding in findings)
    closed = runner.doctor(shut.hosts, admin_port=0, username="a", password="b", scheme="digest")["findings"]
    assert sum("has no AdminServer that does" in finding["what"] for finding in closed) == 3
    open_port = shut.servers[0].admin_port
    assert (
        runner.doctor(shut.hosts, admin_port=open_port, username="a", password="b", scheme="digest")["findings"] == []
    )


def test_the_doctor_knows_what_no_test_can_wait_for():
    from saltext.zkcoord.utils.ensemble_doctor import examine

    def row(number, **values):
        common = {
            "id": number,
            "address": f"zk{number}:2181",
            "role": "participant",
            "mode": "follower",
            "in_sync": True,
        }
        return {
            **common,
            "version": "3.8.0",
            "zxid": "0x1",
            "configuration": "a",
            "words": {},
            "clock": None,
            "trouble": None,
        } | values

    def odd(*rows, **values):
        status = {
            "servers": list(rows),
            "leader": 1,
            "config": ["x"],
            "trouble": None,
            "has_quorum": True,
            "critical": [],
        }
        return [finding["what"] for finding in examine({**status, **values})]

    good = (row(1, mode="leader"), row(2), row(3))
    assert odd(*good) == []
    assert "configuration 9, and others have a" in odd(*good[:2], row(3, configuration="9"))[0]
    assert "1 of 3.7.1, 2 of 3.8.0" in odd(*good[:2], row(3, version="3.7.1"))[0]
    assert "7 s ahead of" in odd(*good[:2], row(3, clock=7.2))[0]
    assert "steps down" in odd(row(1, mode="leader", zxid="0x1fffffffe"), *good[1:])[0]
    assert "leaders of the" in odd(row(1, mode="leader", zxid="0x7fffffff00000000"), *good[1:])[0]
    assert "is no member" in odd(*good, row(None, address="zk9:2181"))[0]
    assert "nothing can be written" in odd(*good, has_quorum=False)[0]
    assert "stands alone" in odd(row(None, trouble="stands alone"), config=[])[0]


def test_the_table_shows_every_server_and_nothing_that_a_terminal_obeys(lab, runner, monkeypatch):
    from saltext.zkcoord.output import zk_ensemble

    monkeypatch.setattr(zk_ensemble, "__opts__", {"extension_modules": "", "color": False}, raising=False)
    status = runner.status()
    status["servers"][0]["trouble"] = "evil\x1b]0;title\x07"
    shown = zk_ensemble.output({"ensemble": status})
    assert shown.startswith("3 of 3 servers in sync: a quorum, server.")
    assert all(server.address in shown for server in lab.servers)
    assert "\x1b]" not in shown
    assert "\\x1b]0;title" in shown
    assert "nothing to complain about" in zk_ensemble.output({"ensemble": runner.doctor()})


@pytest.mark.parametrize("version", VERSIONS)
def test_real_salt_runs_it(minionless, lab, version):
    salt = minionless(version, zookeeper={"hosts": lab.hosts, "admin_port": 0, **DIGEST})
    assert salt.salt_call("zk_ensemble.get_leader").outcome == (0, lab.leader().address)
    answer = salt.salt_call("zk_ensemble.add_members", members="server.9=127.0.0.1:1:2;127.0.0.1:3")
    assert answer.code == 1
    assert "server.9 cannot join yet" in answer.complaint
    server = lab.add()
    salt.state(
        "grown",
        {
            "it": {
                "zk_ensemble.member_present": [{"name": lab.member(server)}, {"retry": {"attempts": 20, "interval": 1}}]
            }
        },
    )
    grown = salt.salt_call("state.apply", "grown")
    assert grown.code == 0, grown
    wait_until(lambda: lab.member(server) in ensemble.config(lab.hosts)[0], "it is a member")
