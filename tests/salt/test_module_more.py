"""What the execution module has beyond the stock four functions: status, set_max, run, and reasons."""

from __future__ import annotations

import inspect
import json
import logging
import re
from types import SimpleNamespace

import pytest
import zkcoord
from zkcoord import errors

from tests.support.calls import Waiting
from tests.support.salt import VERSIONS, closed_port
from tests.support.znodes import Pool

CONNECTION = ["zk_hosts", "profile", "scheme", "username", "password", "default_acl"]
ADDED = {
    "status": ["path", *CONNECTION, "timeout", "security"],
    "set_max": ["path", "max_concurrency", *CONNECTION, "timeout", "security"],
    "run": [
        "path",
        "fun",
        "args",
        "zk_hosts",
        "identifier",
        "max_concurrency",
        "timeout",
        "fun_kwargs",
        *CONNECTION[1:],
        "security",
    ],
}
RUN = "zk_concurrency.run"


@pytest.fixture
def pool(zk, root):
    return Pool(zk, root)


@pytest.fixture
def called():
    """What the functions that `run` can call were called with."""
    return []


@pytest.fixture
def run(shim, config, hosts, root, called, pool):
    """`run` at the test's own pool, with functions that tell what they saw."""
    config["zookeeper:hosts"] = hosts

    def note(*args, **kwargs):
        called.append((args, kwargs, pool.holders()))
        return "what it returns"

    def strict(name, times=1):
        return [name] * times

    def fail():
        called.append(pool.holders())
        raise ValueError("broken")

    def lose():
        assert shim.unlock(root, identifier="a")
        return "a secret"

    def lose_and_fail():
        lose()
        raise ValueError("broken")

    for function in (note, strict, fail, lose, lose_and_fail):
        shim.__salt__[f"test.{function.__name__}"] = function

    def run(fun, *args, **kwargs):
        return shim.run(root, fun, *args, **{"identifier": "a", "timeout": 5, **kwargs})

    return run


class TestSignatures:
    @pytest.mark.parametrize("function", ADDED)
    def test_the_parameters_are_documented_and_the_examples_are_calls(self, shim, function):
        parameters = list(inspect.signature(getattr(shim, function)).parameters)
        # What is by position in a `module.run` of the old style must not be one of `run`'s own.
        assert parameters == (["path", "fun", "args", "kwargs"] if function == "run" else ADDED[function])
        documentation = inspect.getdoc(getattr(shim, function))
        headings = re.findall(r"^(\w+(?:, \w+)*)\n    ", documentation, re.M)
        assert {name for heading in headings for name in heading.split(", ")} == {*ADDED[function]}
        _, examples = documentation.split("CLI Example:\n\n.. code-block:: bash\n\n")
        assert all(line.startswith(f"    salt minion zk_concurrency.{function} /") for line in examples.splitlines())

    def test_run_takes_every_keyword_that_it_documents(self, shim, monkeypatch, called, root, config):
        from saltext.zkcoord.utils import client

        shim.__salt__["test.nothing"] = lambda: None
        hold = SimpleNamespace(path=root, identifier="a", release=lambda timeout: called.append("released") or True)
        monkeypatch.setattr(client.zkcoord, "hold", lambda path, **kw: called.append({"path": path, **kw}) or hold)
        named = (*ADDED["run"][3:-1], *client.SECURITY)
        given = {name: f"the {name}" for name in named if name != "fun_kwargs"}
        shim.run(root, "test.nothing", fun_kwargs={}, **given)
        held, released = called
        fixed = {"path": root, "ephemeral_lease": True, "raise_on_signal": True, "config": {}}
        assert held == {**given, **fixed}
        assert released == "released"


class TestStatus:
    def test_it_tells_who_holds_and_who_waits_in_order(self, shim, hosts, root, pool, wait_until):
        shim.lock(root, hosts, identifier="a", max_concurrency=2)
        shim.lock(root, hosts, identifier="b", max_concurrency=2, ephemeral_lease=True)
        waiting = []
        for number, name in enumerate("cd", 1):
            waiting.append(Waiting(shim.lock, root, hosts, identifier=name, max_concurrency=2, timeout=30))
            wait_until(lambda number=number: len(pool.waiters()) == number, "it waits")
        status = shim.status(root, hosts)
        for name, call in zip("ab", waiting, strict=True):
            shim.unlock(root, hosts, identifier=name)
            assert call.result()
        assert {key: status[key] for key in ("path", "max_concurrency", "free")} == {
            "path": root,
            "max_concurrency": 2,
            "free": 0,
        }
        first, second = status["holders"]
        assert [(it["identifier"], it["ephemeral"]) for it in (first, second)] == [("a", False), ("b", True)]
        assert first["fencing_token"] < second["fencing_token"]
        assert first["session"] is None
        assert second["session"].startswith("0x")
        assert [(it["identifier"], it["position"]) for it in status["waiters"]] == [("c", 1), ("d", 2)]
        for each in (*status["holders"], *status["waiters"]):
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", each["since"])
            assert 0 <= each["age"] < 60
        assert json.loads(json.dumps(status)) == status

    def test_a_pool_that_does_not_exist_has_nobody_and_is_not_created(self, shim, hosts, root, zk):
        nothing = {"path": root, "max_concurrency": None, "free": None, "holders": [], "waiters": []}
        assert shim.status(root, hosts) == nothing
        assert zk.exists(root) is None


class TestSetMax:
    def test_waiters_see_that_the_pool_has_grown(self, shim, hosts, root, pool, wait_until):
        shim.lock(root, hosts, identifier="a")
        waiting = Waiting(shim.lock, root, hosts, identifier="b", timeout=30)
        wait_until(pool.waiters, "b waits")
        assert shim.set_max(root, 2, hosts) == {"path": root, "old": 1, "new": 2, "holders": 1, "overshoot": 0}
        assert waiting.result(5)

    def test_nobody_is_evicted_when_it_shrinks_and_the_overshoot_is_told(self, shim, hosts, root, pool, zk):
        for name in "abc":
            shim.lock(root, hosts, identifier=name, max_concurrency=3)
        assert shim.set_max(root, 1, hosts) == {"path": root, "old": 3, "new": 1, "holders": 3, "overshoot": 2}
        assert (pool.holders(), zk.get(root)[0]) == (["a", "b", "c"], b"1")

    @pytest.mark.parametrize("number", [0, "many"])
    def test_a_number_that_makes_no_sense_is_refused(self, shim, hosts, root, number, invocation_error):
        with pytest.raises(invocation_error, match=r"^max_concurrency: "):
            shim.set_max(root, number, hosts)


class TestErrors:
    @pytest.mark.parametrize("call", [("status",), ("set_max", 2), ("run", "test.note")])
    def test_servers_out_of_reach_are_one_line_that_names_them(self, shim, run, root, call, execution_error):
        function, *arguments = call
        with closed_port() as address, pytest.raises(execution_error, match=f"tried {address}") as caught:
            getattr(shim, function)(root, *arguments, zk_hosts=address, timeout=0.2)
        assert "\n" not in str(caught.value)


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


class TestReasons:
    @pytest.fixture
    def said(self, caplog, hosts, config):
        """What was logged since, at which level."""
        caplog.set_level(logging.INFO, "saltext.zkcoord")
        config["zookeeper:hosts"] = hosts

        def said():
            found = [(record.levelname, record.getMessage()) for record in caplog.records]
            caplog.clear()
            return found

        return said

    def test_a_slot_taken_by_force_is_a_warning_with_and_without_a_reason(self, shim, root, said):
        shim.lock(root, identifier="a", force=True, reason="broken\ncertificate")
        assert said() == [("WARNING", f"Slot taken by force: {root}, a, because: broken certificate")]
        shim.lock(root, identifier="b", force="yes")
        assert said() == [("WARNING", f"Slot taken by force: {root}, b")]

    def test_a_slot_taken_or_given_back_for_a_reason_is_logged_and_one_without_is_not(self, shim, root, said):
        shim.lock(root, identifier="a")
        assert said() == []
        shim.lock(root, identifier="a", reason="maintenance")
        assert said() == [("INFO", f"Slot taken: {root}, a, because: maintenance")]
        shim.unlock(root, identifier="a", reason="done")
        assert said() == [("INFO", f"Slot given back: {root}, a, because: done")]
        shim.unlock(root, identifier="a", reason="done")
        assert said() == [("INFO", f"No slot to give back: {root}, a, because: done")]

    def test_a_slot_that_was_not_had_is_not_logged_as_taken(self, shim, root, said):
        shim.lock(root, identifier="a")
        assert not shim.lock(root, identifier="b", timeout=0, reason="maintenance")
        assert said() == []
