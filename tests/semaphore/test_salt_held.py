"""`zk_concurrency.held`: a slot for as long as a run lasts, in real runs."""

from __future__ import annotations

import inspect
import json
import signal

import pytest

from tests.support.salt import LONG, VERSIONS
from tests.support.znodes import Pool


def shown(answer):
    """The result and the comment of each state of a run, by its identifier."""
    assert isinstance(answer.value, dict), answer
    return {state["__id__"]: (state["result"], state["comment"]) for state in answer.value.values()}


def results(answer):
    return {name: result for name, (result, _) in shown(answer).items()}


class TestRuns:
    """Real runs, in processes of their own. A session that nobody closes would outlast each test."""

    @pytest.fixture(params=VERSIONS)
    def salt(self, request, minionless, hosts):
        return minionless(request.param, zookeeper={"hosts": hosts, "session_timeout": LONG})

    @pytest.fixture
    def apply(self, salt):
        """Run states, given as YAML, to their end: the exit code is Salt's own, 2 where a state failed."""

        def apply(text, **kw):
            salt.state("it", inspect.cleandoc(text))
            return salt.salt_call("state.apply", "it", options=("--retcode-passthrough", "-l", "critical"), **kw)

        return apply

    @pytest.fixture
    def held(self, root):
        """A slot, states that need it, and one of them in the middle that does what it is told."""

        def held(middle="succeed_with_changes", **options):
            more = "".join(f"\n    - {key}: {json.dumps(value)}" for key, value in options.items())
            return f"""
seen before:
  module.run:
    - zk_concurrency.lock_holders: [{root}]
slot:
  zk_concurrency.held:
    - name: {root}
    - timeout: 20{more}
first:
  module.run:
    - zk_concurrency.status: [{root}]
    - require: [{{zk_concurrency: slot}}]
middle:
  test.{middle}:
    - require: [{{zk_concurrency: slot}}]
beside it:
  test.succeed_with_changes:
    - parallel: true
    - require: [{{zk_concurrency: slot}}]
after it:
  test.succeed_with_changes:
    - require: [{{test: middle}}]
still held:
  module.run:
    - zk_concurrency.lock_holders: [{root}]
    - require: [{{test: beside it}}]
"""

        return held

    def test_held_holds_from_where_it_stands_to_the_end_of_the_run_though_a_state_fails(self, apply, held, pool):
        answer = apply(held("fail_with_changes"))
        assert pool.leases() == []
        assert answer.code == 2
        assert results(answer) == {
            "seen before": True,
            "slot": True,
            "first": True,
            "middle": False,
            "beside it": True,
            "after it": False,
            "still held": True,
        }
        changes = {state["__id__"]: state["changes"] for state in answer.value.values()}
        assert changes["seen before"] == {"zk_concurrency.lock_holders": []}
        # A parallel state has a process of its own, whose end is not the end of the run.
        assert changes["still held"] == {"zk_concurrency.lock_holders": ["probe"]}
        (holder,) = changes["first"]["zk_concurrency.status"]["holders"]
        assert (holder["identifier"], holder["ephemeral"]) == ("probe", True)

    def test_a_state_that_needs_the_slot_brings_it_along_from_the_end_of_the_file(self, apply, root, pool):
        need = {"require": [{"zk_concurrency": "slot"}]}
        states = {
            "before": {"module.run": [{"zk_concurrency.lock_holders": [root]}]},
            "needs it": {"module.run": [{"zk_concurrency.lock_holders": [root]}, need]},
            "slot": {"zk_concurrency.held": [{"name": root}, {"order": "last"}]},
        }
        answer = apply(json.dumps(states))
        assert answer.code == 0, answer
        seen = {state["__id__"]: state["changes"] for state in answer.value.values()}
        assert seen["before"] == {"zk_concurrency.lock_holders": []}
        assert seen["needs it"] == {"zk_concurrency.lock_holders": ["probe"]}
        assert pool.leases() == []

    def test_keep_on_failure_keeps_it_and_the_next_run_takes_it_up_and_frees_it(self, apply, held, pool, root):
        failed = apply(held("fail_with_changes", keep_on_failure=True))
        assert (failed.code, pool.holders()) == (2, ["probe"])
        dry = apply(held(keep_on_failure=True), test=True)
        assert shown(dry)["slot"] == (True, "Attempt to acquire lock: already held")
        assert pool.holders() == ["probe"]
        # It has to wait for nobody, itself least of all.
        good = apply(held(keep_on_failure=True, timeout=0).replace("- timeout: 20", ""))
        assert (good.code, results(good)["slot"]) == (0, True)
        assert pool.leases() == []

    def test_test_true_takes_nothing(self, apply, held, zk, root):
        answer = apply(held(), test=True)
        assert shown(answer)["slot"] == (None, "Attempt to acquire lock: free")
        assert zk.exists(root) is None

    @pytest.mark.parametrize("keep", [False, True])
    def test_ctrl_c_while_a_state_works_frees_the_slot_unless_it_is_to_be_kept(
        self, salt, root, pool, wait_until, tmp_path, keep
    ):
        started = tmp_path / "started"
        work = {
            "started": {"file.touch": [{"name": str(started)}, {"require": [{"zk_concurrency": "slot"}]}]},
            "work": {"module.run": [{"test.sleep": [60]}]},
        }
        slot = {"zk_concurrency.held": [{"name": root}, {"keep_on_failure": keep}]}
        salt.state("it", {"slot": slot, **work})
        call = salt.start("state.apply", "it", options=("-l", "critical"))
        wait_until(started.exists, "a state works", limit=30)
        assert pool.holders() == ["probe"]
        call.signal(signal.SIGINT)
        call.answer(limit=30)
        assert pool.holders() == (["probe"] if keep else [])

    def test_ctrl_c_while_it_waits_leaves_the_queue_and_the_rest_of_the_run_out(
        self, salt, root, zk, waiters, wait_until
    ):
        zk.create(f"{root}/somebody", makepath=True)
        waiting = {"slot": {"zk_concurrency.held": [{"name": root}]}, "unrelated": {"test.nop": []}}
        salt.state("it", waiting)
        call = salt.start("state.apply", "it", options=("--retcode-passthrough", "-l", "critical"))
        wait_until(waiters, "it waits", limit=30)
        call.signal(signal.SIGINT)
        answer = call.answer(limit=30)
        assert waiters() == []
        assert (answer.code, list(results(answer))) == (2, ["slot"])
        assert shown(answer)["slot"][1].startswith("cancelled by SIGINT")


class TestHeld:
    """What one version of Salt can tell as well as two."""

    @pytest.fixture
    def apply(self, salt):
        def apply(states, *options):
            salt.state("it", states)
            return salt.salt_call("state.apply", "it", options=("--retcode-passthrough", *options))

        return apply

    def test_two_slots_and_the_same_one_twice_are_freed_once_each(self, apply, root, pool, zk):
        def held(path, *more):
            return {"zk_concurrency.held": [{"name": path}, *more]}

        answer = apply({"a": held(root), "b": held(f"{root}-2"), "c": held(root)}, "-l", "warning")
        assert (answer.code, answer.stderr) == (0, "")
        assert pool.leases() == Pool(zk, f"{root}-2").leases() == []

    def test_a_slot_that_was_lost_while_the_run_went_on_is_an_error_in_the_log(self, apply, root):
        unlock = {"module.run": [{"zk_concurrency.unlock": [root, {"identifier": "probe"}]}]}
        answer = apply({"slot": {"zk_concurrency.held": [{"name": root}]}, "steal": unlock}, "-l", "error")
        assert answer.code == 0, answer
        assert f"Lost the slot of probe at {root} while the run went on" in answer.complaint

    def test_it_may_be_given_back_before_the_end(self, apply, root, pool):
        states = {
            "slot": {"zk_concurrency.held": [{"name": root}, {"keep_on_failure": True}]},
            "enough": {"zk_concurrency.unlock": [{"name": root}]},
            "look": {"module.run": [{"zk_concurrency.lock_holders": [root]}]},
        }
        answer = apply(states, "-l", "warning")
        assert (answer.code, answer.stderr) == (0, "")
        assert [state["changes"] for state in answer.value.values()][-1] == {"zk_concurrency.lock_holders": []}

    def test_it_cannot_be_parallel_itself(self, apply, root, zk):
        answer = apply({"slot": {"zk_concurrency.held": [{"name": root}, {"parallel": True}]}}, "-l", "critical")
        expected = "held needs the process of a run, and this is parallel: use lock and unlock instead"
        assert shown(answer) == {"slot": (False, expected)}
        assert zk.exists(root) is None

    def test_when_there_is_no_slot_in_time_nothing_runs_that_requires_it(self, apply, root, shim, hosts):
        shim.lock(root, hosts, identifier="a")
        states = {
            "slot": {"zk_concurrency.held": [{"name": root}, {"timeout": 0.1}]},
            "work": {"test.nop": [{"require": [{"zk_concurrency": "slot"}]}]},
        }
        answer = apply(states, "-l", "critical")
        assert shown(answer)["slot"] == (False, "Unable to acquire lock within 0.1 s, held by a")
        assert results(answer)["work"] is False
        assert shim.lock_holders(root, hosts) == ["a"]


class TestEndOfTheProcess:
    def test_what_is_registered_is_done_once_the_last_first_whatever_goes_wrong_and_by_no_child(self, script):
        lines = script(
            """
            import multiprocessing
            from saltext.zkcoord.utils import runs

            def say(what):
                print(what, os.getpid() == parent, flush=True)

            parent = os.getpid()
            runs.at_end("first", lambda: say("first"))
            runs.at_end("broken", lambda: 1 / 0)
            runs.at_end("last", lambda: say("last"))
            runs.at_end("last", lambda: say("not this one"))
            runs.at_end("forgotten", lambda: say("nor this"))
            runs.forget("forgotten")
            runs.forget("never known")
            if os.fork() == 0:
                sys.exit()
            os.wait()
            child = multiprocessing.get_context("fork").Process(target=runs.at_end, args=("own", lambda: say("own")))
            child.start()
            child.join()
            """
        ).result()
        assert lines.splitlines() == ["own False", "last True", "first True"]
