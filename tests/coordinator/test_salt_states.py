"""The state: real runs of real Salt, none of which ever waits."""

from __future__ import annotations

import pytest
from zkcoord import grants

from tests.support.salt import LONG, VERSIONS


@pytest.fixture(params=VERSIONS)
def salt(request, minionless, hosts):
    return minionless(request.param, zookeeper={"hosts": hosts, "session_timeout": LONG})


@pytest.fixture
def place(hosts, root):
    return {"key": "salt", "root": root, "zk_hosts": hosts}


@pytest.fixture
def held(place):
    """The units that are granted a lock, and those that wait."""

    def held(lock="restart"):
        found = grants.queue(lock, **place)
        return [it["unit"] for it in found["holders"]], [it["unit"] for it in found["waiters"]]

    return held


@pytest.fixture
def apply(salt, root):
    """Run a turn with a restart that is told to fail or to succeed: what became of each state."""

    def apply(command="true", test=False, name="restart", extra=None, **turn):
        options = [{option: value} for option, value in {"name": name, "root": root, **turn}.items()]
        restarted = {"cmd.run": [{"name": command}, {"onchanges": [{"zk_coordinator": "a turn"}]}]}
        salt.state("turn", {"a turn": {"zk_coordinator.acquire": options}, "restarted": restarted, **(extra or {})})
        answer = salt.salt_call("state.apply", "turn", options=("--retcode-passthrough",), test=test)
        assert isinstance(answer.value, dict), answer
        return {state["__id__"]: state for state in answer.value.values()}, answer

    return apply


def ran(states):
    return states["restarted"]["changes"] != {}


def test_a_run_that_is_granted_acts_and_gives_back_at_its_end(apply, held, place):
    states, answer = apply()
    assert answer.code == 0, answer
    assert states["a turn"]["result"] is True
    assert states["a turn"]["changes"] == {"restart": {"old": None, "new": "granted"}}
    assert ran(states)
    assert held() == ([], [])


def test_a_run_that_is_not_granted_goes_on_and_its_request_stays(apply, held, place):
    grants.acquire("restart", "web1", **place)
    grants.acquire("restart", "web2", **place)
    states, answer = apply()
    turn = states["a turn"]
    assert (answer.code, turn["result"], turn["changes"]) == (0, True, {})
    assert turn["comment"].startswith("queued 2nd of 2, held by web1 since ")
    assert not ran(states)
    assert held() == (["web1"], ["web2", "probe"])
    grants.release("restart", "web1", **place)
    grants.release("restart", "web2", **place)
    assert held() == (["probe"], []), "granted while no process of it runs"
    states, _ = apply()
    assert ran(states)
    assert states["a turn"]["changes"]["restart"]["old"].startswith("requested since ")
    assert held() == ([], [])


def test_a_run_that_fails_keeps_its_grant_and_the_next_retries(apply, held):
    states, answer = apply("exit 3")
    assert answer.code != 0
    assert states["restarted"]["result"] is False
    assert held() == (["probe"], [])
    assert "Kept the lock restart of probe: the run has failed" in answer.stderr
    states, answer = apply()
    assert answer.code == 0
    assert ran(states), "granted before, and it acts again"
    assert held() == ([], [])


def test_a_guard_says_whether_it_is_needed_and_gives_up_what_is_not(apply, held, place):
    states, _ = apply(guard="exit 1")
    assert states["a turn"]["comment"] == "not needed"
    assert (states["a turn"]["changes"], ran(states), held()) == ({}, False, ([], []))
    states, _ = apply(guard={"fun": "test.true"})
    assert ran(states)
    grants.acquire("restart", "web1", **place)
    grants.acquire("restart", "probe", **place)
    states, _ = apply(guard={"fun": "test.false"})
    assert states["a turn"]["comment"] == "not needed, and the request is given up"
    assert (ran(states), held()) == (False, (["web1"], []))
    states, answer = apply(guard={"fun": "no.such"})
    assert (answer.code == 0, states["a turn"]["result"]) == (False, False)
    assert states["a turn"]["comment"] == "fun: no.such is not available on this minion"


def test_a_guard_that_cannot_be_run_gives_nothing_up(apply, held, place):
    grants.acquire("restart", "probe", **place)
    states, answer = apply(guard="no-such-command-here")
    assert (answer.code == 0, states["a turn"]["result"]) == (False, False)
    assert states["a turn"]["comment"] == "guard: no-such-command-here cannot be run (exit code 127)"
    states, _ = apply(guard={"fun": "test.true", "kwargs": ["no mapping"]})
    assert states["a turn"]["comment"] == "kwargs: must be a dict"
    assert held() == (["probe"], [])


def test_a_lock_that_one_run_asks_for_twice_is_given_back_once(apply, held, root):
    turn = {"name": "restart", "root": root}

    def another(**more):
        return [{option: value} for option, value in {**turn, **more}.items()]

    given_up = {"given up": {"zk_coordinator.acquire": another(guard="exit 1")}}
    states, answer = apply(extra=given_up)
    assert (answer.code, states["given up"]["comment"]) == (0, "not needed, and the request is given up")
    assert "Lost the lock" not in answer.stderr
    assert held() == ([], [])
    twice = {**given_up, "again": {"zk_coordinator.acquire": another()}}
    states, answer = apply(extra=twice)
    assert (answer.code, states["again"]["changes"]) == (0, {"restart": {"old": None, "new": "granted"}})
    assert held() == ([], []), "the second, too"


def test_a_grant_stays_where_onlyif_skips_the_state(apply, held):
    apply("exit 3")
    assert held() == (["probe"], [])
    states, answer = apply(onlyif="exit 1")
    assert (answer.code, ran(states), held()) == (0, False, (["probe"], [])), "as the manual says"
    apply(guard="exit 1")
    assert held() == ([], [])


def test_onlyif_and_unless_skip_it(apply, held):
    states, _ = apply(onlyif="exit 1")
    assert (ran(states), held()) == (False, ([], []))
    states, _ = apply(unless="exit 0")
    assert (ran(states), held()) == (False, ([], []))
    states, _ = apply(unless="exit 1")
    assert ran(states)


def test_test_mode_tells_which_and_changes_nothing(apply, held, place):
    def foretold():
        states, answer = apply(test=True)
        assert answer.code == 0, answer
        return states["a turn"]["result"], states["a turn"]["comment"], states["a turn"]["changes"]

    assert foretold() == (None, "would be granted", {})
    grants.acquire("restart", "web1", **place)
    result, comment, _ = foretold()
    assert result is None
    assert comment.startswith("would be queued 1st of 1, held by web1 since ")
    grants.acquire("restart", "probe", **place)
    assert foretold()[:2] == (True, comment.removeprefix("would be "))
    grants.release("restart", "web1", **place)
    assert foretold()[1].startswith("granted since ")
    states, _ = apply(test=True, guard="exit 1")
    assert (states["a turn"]["result"], states["a turn"]["comment"]) == (None, "would be given back: granted")
    assert held() == (["probe"], [])
    states, _ = apply(test=True, policy={"max": 2}, unit="web2")
    assert states["a turn"]["result"] is False
    assert "has the policy serial, but max 2 was asked for" in states["a turn"]["comment"]
    grants.set_policy("restart", {"max": 2}, **place)
    states, _ = apply(test=True, policy={"max": 2}, unit="web2")
    assert (states["a turn"]["result"], states["a turn"]["comment"]) == (None, "would be granted")


def test_it_is_released_by_hand(apply, held, root, salt):
    early = {
        "early": {"zk_coordinator.released": [{"name": "restart"}, {"root": root}]},
        "late failure": {"cmd.run": [{"name": "exit 1"}]},
    }
    states, answer = apply(extra=early)
    assert answer.code != 0
    assert states["early"]["changes"] == {"restart": {"old": "granted", "new": None}}
    assert held() == ([], []), "given back before the run failed"
    answer = salt.salt_call("state.single", "zk_coordinator.released", name="restart", root=root)
    (state,) = answer.value.values()
    assert (state["result"], state["comment"], state["changes"]) == (True, "given back: there is no request", {})


def test_what_goes_wrong_is_one_line(apply, root, place):
    grants.acquire("restart", "web1", **place)
    states, answer = apply(policy={"max": 3})
    assert (answer.code == 0, states["a turn"]["result"]) == (False, False)
    assert "has the policy serial, but max 3 was asked for" in states["a turn"]["comment"]
    assert states["restarted"]["result"] is False or not ran(states)
    states, _ = apply(parallel=True)
    assert "and this is parallel" in states["a turn"]["comment"]
