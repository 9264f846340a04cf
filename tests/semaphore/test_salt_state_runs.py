"""State runs that call the module, on every supported Salt."""

from __future__ import annotations

import json

import pytest

from tests.support.salt import LONG, VERSIONS

PASSTHROUGH = ("--retcode-passthrough",)


@pytest.fixture(params=VERSIONS)
def salt(request, minionless, hosts):
    return minionless(request.param, zookeeper={"hosts": hosts, "session_timeout": LONG})


def results(answer) -> dict[str, tuple[object, object]]:
    """What became of each state: its result, and what the module answered."""
    assert isinstance(answer.value, dict), answer
    states = sorted(answer.value.values(), key=lambda state: state["__run_num__"])
    outcomes = ((state["result"], next(iter(state["changes"].values()), None)) for state in states)
    return {state["__id__"]: outcome for state, outcome in zip(states, outcomes, strict=True)}


def module_run(**calls: list[object]) -> list[object]:
    """The function and its arguments, as `module.run` has had them since Salt 2017.7."""
    return [{f"zk_concurrency.{function}": arguments} for function, arguments in calls.items()]


def old_module_run(function: str, *arguments: object) -> list[object]:
    """The function as `name`, and its arguments beside it."""
    return [{"name": f"zk_concurrency.{function}"}, *arguments]


def test_every_function_runs_from_module_run(salt, root):
    path, timeout = {"path": root}, {"timeout": 5}
    salt.state(
        "new",
        {
            "take": {"module.run": module_run(lock=[root, {"identifier": "a"}, timeout])},
            "show": {"module.run": module_run(lock_holders=[path, timeout])},
            "give": {"module.run": module_run(unlock=[path, {"identifier": "a"}, timeout])},
            "party": {"module.run": module_run(party_members=[path, {"blocking": True}, {"timeout": 0}])},
        },
    )
    answer = salt.salt_call("state.apply", "new")
    assert answer.code == 0, answer
    assert results(answer) == {
        "take": (True, True),
        "show": (True, ["a"]),
        "give": (True, True),
        "party": (True, []),
    }


def test_every_function_runs_from_module_run_in_the_old_style(salt, root):
    path, who, timeout = {"path": root}, {"identifier": "a"}, {"timeout": 5}
    salt.state(
        "old",
        {
            "take": {"module.run": old_module_run("lock", path, who)},
            "show": {"module.run": old_module_run("lock_holders", path)},
            "give": {"module.run": old_module_run("unlock", path, who)},
            "give again": {"module.run": old_module_run("unlock", path, who, timeout)},
            "party": {"module.run": old_module_run("party_members", path)},
            "wait": {"module.run": old_module_run("party_members", path, {"blocking": True}, {"timeout": 0.1})},
        },
    )
    answer = salt.start("state.apply", "old").answer(limit=30)
    assert results(answer) == {
        "take": (True, True),
        "show": (True, ["a"]),
        "give": (True, True),
        "give again": (False, False),
        "party": (True, []),
        "wait": (True, []),
    }


class TestExitCode:
    def test_a_run_in_which_all_states_succeed_ends_with_0_whatever_was_answered_inside(self, salt, root, zk):
        zk.create(f"{root}/somebody", makepath=True)
        salt.state(
            "calm",
            f"""
            {{% set given = salt["zk_concurrency.unlock"]("{root}", identifier="a") %}}
            {{% set taken = salt["zk_concurrency.lock"]("{root}", identifier="a", timeout=0) %}}
            rendered:
              test.configurable_test_state:
                - changes: {{{{ given or taken }}}}
                - result: True
            skipped:
              test.fail_without_changes:
                - onlyif:
                  - fun: zk_concurrency.unlock
                    path: {root}
                    identifier: a
            done:
              test.succeed_with_changes:
                - unless:
                  - fun: zk_concurrency.lock
                    path: {root}
                    identifier: a
                    timeout: 0
            after it:
              test.succeed_with_changes:
                - onlyif:
                  - fun: test.true
            """,
        )
        calls = [salt.start("state.apply", "calm", options=options) for options in ((), PASSTHROUGH)]
        for call in calls:
            answer = call.answer()
            assert answer.code == 0, answer
            states = {state["__id__"]: state["comment"] for state in answer.value.values()}
            assert states["skipped"] == "onlyif condition is false"
            # The conditions that are asked later are not taken in by a code that we left.
            assert states["done"] == states["after it"] == "Success!"

    def test_a_run_in_which_a_state_fails_over_our_answer_ends_with_its_own_code(self, salt, root, zk):
        zk.create(f"{root}/somebody", makepath=True)
        states = {
            "no slot": {"module.run": module_run(lock=[root, {"identifier": "a"}, {"timeout": 0}])},
            "no lease": {"module.run": module_run(unlock=[root, {"identifier": "a"}])},
            "go on": {"test.succeed_with_changes": [{"onlyif": [{"fun": "test.true"}]}]},
        }
        salt.state("fails", json.dumps(states))
        calls = [salt.start("state.apply", "fails", options=options) for options in ((), PASSTHROUGH)]
        for call, code in zip(calls, (1, 2), strict=True):
            answer = call.answer()
            assert answer.code == code, answer
            assert {name: result for name, (result, _) in results(answer).items()} == {
                "no slot": False,
                "no lease": False,
                "go on": True,
            }


def test_an_error_in_a_state_is_its_comment(salt, root, zk):
    zk.create(root, b"3")
    states = {"mismatch": {"module.run": old_module_run("lock", {"path": root})}}
    salt.state("error", states)
    answer = salt.salt_call("state.apply", "error", options=PASSTHROUGH)
    assert answer.code == 2
    (state,) = answer.value.values()
    assert state["result"] is False
    assert f"{root} is a pool of max_concurrency 3" in state["comment"]
    assert "\n" not in state["comment"]


def test_parallel_states_after_one_that_used_the_ensemble_use_it_too(salt, root):
    parallel = {"parallel": True}
    states = {
        "first": {"module.run": module_run(lock=[root, {"identifier": "first"}, {"max_concurrency": 3}])},
        **{
            who: {
                "module.run": [
                    *module_run(lock=[root, {"identifier": who}, {"max_concurrency": 3}, {"timeout": 30}]),
                    parallel,
                ]
            }
            for who in ("second", "third")
        },
        "last": {
            "module.run": [
                *module_run(lock_holders=[root]),
                {"require": [{"module": "second"}, {"module": "third"}]},
            ]
        },
    }
    salt.state("parallel", states)
    answer = salt.salt_call("state.apply", "parallel")
    assert answer.code == 0, answer
    _, holders = results(answer).pop("last")
    assert sorted(holders) == ["first", "second", "third"]
