"""`zk_concurrency.run`: another function of Salt with a slot held, in this process and in real ones."""

from __future__ import annotations

import logging

import pytest
import zkcoord
from zkcoord import errors

from tests.support.salt import VERSIONS

RUN = "zk_concurrency.run"


class TestRun:
    def test_the_function_runs_while_the_slot_is_held_and_its_answer_is_returned(self, run, called, pool):
        assert run("test.note", 1, "b", fun_kwargs={"key": "value"}) == "what it returns"
        assert called == [((1, "b"), {"key": "value"}, ["a"])]
        assert pool.holders() == []

    def test_the_lease_is_ephemeral(self, shim, run, hosts, root):
        shim.__salt__["test.look"] = lambda: shim.status(root, hosts)["holders"]
        (holder,) = run("test.look")
        assert holder["ephemeral"]

    def test_the_slot_is_freed_when_the_function_raises_and_that_is_what_one_sees(self, run, called, pool):
        with pytest.raises(ValueError, match=r"^broken$"):
            run("test.fail")
        assert (called, pool.holders()) == ([["a"]], [])

    def test_what_salt_tells_of_the_job_goes_to_functions_that_take_it(self, run, called):
        run("test.note", __pub_jid="17")
        assert called[0][1] == {"__pub_jid": "17"}
        assert run("test.strict", "x", __pub_jid="17") == ["x"]

    def test_without_a_slot_in_time_it_names_the_holders_and_calls_nothing(
        self, shim, run, called, root, execution_error
    ):
        shim.lock(root, identifier="c", max_concurrency=2)
        shim.lock(root, identifier="b", max_concurrency=2)
        with pytest.raises(execution_error) as caught:
            run("test.note", max_concurrency=2, timeout=0.2)
        assert str(caught.value) == f"no slot at {root} within 0.2 s, held by b, c; test.note was not called"
        assert called == []

    def test_a_slot_that_was_lost_meanwhile_is_an_error_that_does_not_repeat_the_answer(
        self, run, root, execution_error
    ):
        with pytest.raises(execution_error) as caught:
            run("test.lose")
        assert str(caught.value) == f"a lost the slot at {root} while test.lose ran: somebody else may have held it too"

    def test_a_slot_that_was_lost_is_logged_when_the_function_fails_as_well(self, run, root, caplog):
        with pytest.raises(ValueError, match=r"^broken$"):
            run("test.lose_and_fail")
        (record,) = (it for it in caplog.records if it.levelno == logging.ERROR)
        assert record.getMessage().startswith(f"a lost the slot at {root} while test.lose_and_fail ran")

    def test_when_nobody_can_say_whether_the_slot_was_kept_that_is_an_error(
        self, shim, run, root, execution_error, monkeypatch
    ):
        def release(*_args, **_kwargs):
            raise errors.Unreachable("no answer")

        shim.__salt__["test.break_it"] = lambda: monkeypatch.setattr(zkcoord.Hold, "release", release)
        with pytest.raises(execution_error) as caught:
            run("test.break_it")
        monkeypatch.undo()
        zkcoord.close()
        expected = f"test.break_it was called, but whether it kept the slot at {root} cannot be told: no answer"
        assert str(caught.value) == expected

    @pytest.mark.parametrize(
        ("arguments", "keywords", "complaint"),
        [
            (["no.such"], {}, "fun: no.such is not available on this minion"),
            (["test.strict"], {}, "test.strict: missing a required argument: 'name'"),
            (["test.strict", "x", 1, 2], {}, "test.strict: too many positional arguments"),
            (
                ["test.strict", "x"],
                {"fun_kwargs": {"tims": 2}},
                "test.strict: got an unexpected keyword argument 'tims'",
            ),
            (["test.strict", "x"], {"times": 2}, "times: not known; keywords of test.strict go into fun_kwargs"),
            (["test.strict", "x"], {"fun_kwargs": "times=2"}, "fun_kwargs: must be a dict"),
        ],
    )
    def test_a_call_that_cannot_be_made_is_refused_before_a_slot_is_taken(
        self, run, root, zk, arguments, keywords, complaint, invocation_error
    ):
        with pytest.raises(invocation_error) as caught:
            run(*arguments, **keywords)
        assert str(caught.value) == complaint
        assert zk.exists(root) is None

    def test_it_opens_no_door_that_whitelist_modules_shuts(self, shim, run, called, invocation_error):
        shim.__opts__["whitelist_modules"] = ["zk_concurrency"]
        with pytest.raises(invocation_error, match="not available"):
            run("test.note")
        shim.__opts__["whitelist_modules"] = ["zk_concurrency", "test"]
        assert run("test.note")

    @pytest.mark.parametrize("allowed", [["test.note"], ["service.*", "test.*"], "test.note", ["test.no.*", "test.n*"]])
    def test_run_allow_lets_through_what_it_names(self, shim, run, called, monkeypatch, allowed):
        monkeypatch.setitem(shim.__opts__, "zookeeper", {"run_allow": allowed})
        assert run("test.note")

    @pytest.mark.parametrize("allowed", [[], ["service.restart"], "test", ["test"], ["test.not"], ["est.note"]])
    def test_run_allow_refuses_the_rest_before_a_slot_is_taken(
        self, shim, run, root, zk, called, monkeypatch, allowed, invocation_error
    ):
        monkeypatch.setitem(shim.__opts__, "zookeeper", {"run_allow": allowed})
        with pytest.raises(invocation_error) as caught:
            run("test.note")
        assert str(caught.value) == "fun: test.note is not in zookeeper:run_allow of this minion's configuration"
        assert (called, zk.exists(root)) == ([], None)

    def test_a_pillar_of_the_callers_own_allows_nothing(self, shim, run, monkeypatch, invocation_error):
        monkeypatch.setitem(shim.__opts__, "zookeeper", {"run_allow": ["service.restart"]})
        monkeypatch.setattr(shim, "__pillar__", {"zookeeper": {"run_allow": ["*"]}})
        with pytest.raises(invocation_error, match="run_allow"):
            run("test.note")

    @pytest.mark.parametrize("wrong", [{"test.note": True}, 7, [7]])
    def test_a_run_allow_that_is_no_list_is_an_error_and_calls_nothing(
        self, shim, run, called, monkeypatch, wrong, execution_error
    ):
        monkeypatch.setitem(shim.__opts__, "zookeeper", {"run_allow": wrong})
        with pytest.raises(execution_error, match=r"^zookeeper:run_allow: must be a list of functions"):
            run("test.note")
        assert called == []


class TestRunForReal:
    @pytest.fixture(params=VERSIONS)
    def salt(self, request, minionless, hosts):
        return minionless(request.param, zookeeper={"hosts": hosts, "session_timeout": 40})

    def test_the_exit_code_of_the_function_is_that_of_salt_call(self, salt, root, pool, wait_until):
        options = ("--retcode-passthrough", "-l", "critical")
        keywords = {"fun_kwargs": '{env: {WHO: "you"}, python_shell: true}', "timeout": 20}
        answer = salt.salt_call(RUN, root, "cmd.run", 'echo "hello $WHO"; exit 3', options=options, **keywords)
        assert answer.outcome == (3, "hello you")
        assert pool.holders() == []

    def test_a_function_that_fails_frees_the_slot_and_one_that_does_not_exist_takes_none(self, salt, root, pool, zk):
        # Both keep the rest of the machine busy at the same time.
        wrong = salt.start(RUN, f"{root}-wrong", "no.such", timeout=20)
        failing = salt.start(RUN, root, "test.exception", fun_kwargs="{message: Boom}", timeout=20)
        assert failing.answer().code == 1
        assert pool.leases() == []
        answer = wrong.answer()
        assert answer.outcome == (1, None)
        assert "Passed invalid arguments: fun: no.such is not available on this minion" in answer.stderr
        assert zk.exists(f"{root}-wrong") is None

    def test_it_runs_from_a_state_and_runs_states(self, salt, root, pool):
        salt.state("inner", {"in it": {"module.run": [{"zk_concurrency.lock_holders": [root]}]}})
        arguments = [root, "state.apply", "inner", {"identifier": "a"}, {"timeout": 20}]
        salt.state("outer", {"around": {"module.run": [{RUN: arguments}]}})
        answer = salt.salt_call("state.apply", "outer")
        assert answer.code == 0, answer
        (outer,) = answer.value.values()
        (inner,) = outer["changes"][RUN].values()
        assert inner["changes"] == {"zk_concurrency.lock_holders": ["a"]}
        assert pool.holders() == []
        old = [{"name": RUN}, {"path": root}, {"m_fun": "test.arg"}, {"args": [1, 2]}]
        keywords = {"identifier": "b", "timeout": 20, "fun_kwargs": {"x": 3}}
        salt.state("old", {"around": {"module.run": [*old, {"kwargs": keywords}]}})
        answer = salt.salt_call("state.apply", "old")
        assert answer.code == 0, answer
        (around,) = answer.value.values()
        assert around["changes"] == {"ret": {"args": [1, 2], "kwargs": {"x": 3}}}
