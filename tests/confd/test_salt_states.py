"""The gates: states that hold or fail by what the candidates say."""

from __future__ import annotations

import pytest

NODE1, NODE2 = "node1.example.com", "node2.example.com"
INSTANCE = "inst1.example.com"


@pytest.fixture
def states(monkeypatch, servers, tmp_path):
    """The states in this process, on the execution module and genuine servers."""
    from saltext.zkcoord.modules import ganeti_confd as module
    from saltext.zkcoord.states import ganeti_confd

    section = {"peers": servers.peers, "port": servers.port, "hmac_key": servers.hmac_key.decode(), "timeout": 1}
    opts = {"ganeti_confd": section, "test": False}
    for name, value in {"__opts__": opts, "__grains__": {}, "__pillar__": {}}.items():
        monkeypatch.setattr(module, name, value, raising=False)
    names = ("cluster_master", "node_role_by_name", "node_instances")
    functions = {f"ganeti_confd.{name}": getattr(module, name) for name in names}
    for name, value in {"__opts__": opts, "__salt__": functions}.items():
        monkeypatch.setattr(ganeti_confd, name, value, raising=False)
    assert ganeti_confd.__virtual__() == "ganeti_confd"
    return ganeti_confd


def outcome(ret):
    assert sorted(ret) == ["changes", "comment", "name", "result"]
    assert ret["changes"] == {}
    return ret["result"], ret["comment"]


def gates(states):
    """Each gate: where it holds, and where not; what it tells."""
    return [
        (states.master_is, (NODE1,), True, f"the master is {NODE1}"),
        (states.master_is, (NODE2,), False, f"the master is {NODE1}, and not {NODE2}"),
        (states.role_is, (NODE2, "candidate"), True, f"{NODE2} is candidate"),
        (states.role_is, ("node1", "candidate"), False, "node1 is master, and not candidate"),
        (states.role_is, (NODE2, ["regular", "candidate"]), True, f"{NODE2} is candidate"),
        (states.role_is, (NODE2, ["master", "offline"]), False, f"{NODE2} is candidate, and not master or offline"),
        (states.instance_on, (INSTANCE, NODE1), True, f"{INSTANCE} is on {NODE1}"),
        (
            *(states.instance_on, (INSTANCE, NODE2), False),
            f"{INSTANCE} has for its secondary node {NODE2}, and is to run there",
        ),
        (
            *(states.instance_on, (INSTANCE, "node5.example.com"), False),
            f"{INSTANCE} is not on node5.example.com, and is to run there",
        ),
    ]


def test_they_hold_where_it_is_so_and_fail_where_not(states):
    for gate, arguments, holds, comment in gates(states):
        assert outcome(gate(*arguments)) == (holds, comment)


def test_in_test_mode_they_ask_as_well_and_do_not_fail(states):
    states.__opts__["test"] = True
    for gate, arguments, holds, comment in gates(states):
        assert outcome(gate(*arguments)) == (holds or None, comment)


def test_what_goes_wrong_is_one_line(states, servers):
    wrong = states.role_is(NODE1, "king")
    assert outcome(wrong)[1].startswith("role: must be one of master, candidate")
    assert outcome(states.role_is("nobody", "master")) == (
        False,
        "ganeti-confd knows no such entry: node_role_by_name of 'nobody'",
    )
    assert outcome(states.master_is(NODE1, profile="nobody"))[0] is False
    servers.servers[0].configure(master=2)
    result, comment = outcome(states.master_is(NODE1, replies=-1))
    assert result is False
    assert "contradict each other" in comment
    assert outcome(states.master_is(NODE1, replies=-1, require_consistent=False))[0] is True
    servers.servers[0].break_configuration()
    result, comment = outcome(states.master_is(NODE1, replies=-1))
    assert result is False
    assert "1 of them with an error of its own" in comment
    for server in servers.servers:
        server.kill()
    states.__opts__["test"] = True
    result, comment = outcome(states.master_is(NODE1, timeout=0.2))
    assert (result, comment.startswith("no ganeti-confd answered cluster_master within 0.2 s")) == (False, True)


def test_real_salt_asks_again_until_the_gate_holds_and_runs_what_requires_it(minionless, servers, wait_until):
    section = {"peers": servers.peers, "port": servers.port, "hmac_key": servers.hmac_key.decode(), "timeout": 2}
    salt = minionless(ganeti_confd=section)
    salt.state(
        "gate",
        {
            NODE2: {"ganeti_confd.master_is": [{"replies": -1}, {"retry": {"attempts": 30, "interval": 1}}]},
            "work": {"test.nop": [{"require": [{"ganeti_confd": NODE2}]}]},
            "never": {"ganeti_confd.master_is": [{"name": "node9.example.com"}]},
            "not run": {"test.nop": [{"require": [{"ganeti_confd": "never"}]}]},
        },
    )
    command = salt.start("state.apply", "gate")
    wait_until(lambda: "rsalt" in servers.servers[0].log_tail(5), "the gate has asked")
    for server in servers.servers:
        server.configure(serial=43, master=2)
    answer = command.answer(90)
    results = {state["__id__"]: state["result"] for state in answer.value.values()}
    assert results == {NODE2: True, "work": True, "never": False, "not run": False}
