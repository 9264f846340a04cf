"""A job that is terminated while it holds a slot ends what it has started, and gives the slot back after that."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest
import zkcoord

from tests.support.calls import Waiting
from tests.support.salt import LONG, VERSIONS

# It says when it begins, does not end at once when it is told to, and says so when it ends by itself.
WORK = "trap 'sleep 0.4; echo told >>{log}; exit 0' TERM; echo begun >>{log}; sleep 60 & wait; echo went on >>{log}"


@pytest.fixture
def log(tmp_path):
    return tmp_path / "log"


def said(log):
    return log.read_text().split() if log.exists() else []


class TestSaltCall:
    """Real runs, in processes of their own."""

    @pytest.fixture(params=VERSIONS)
    def salt(self, request, minionless, hosts):
        return minionless(request.param, zookeeper={"hosts": hosts, "session_timeout": LONG})

    @pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
    def test_the_next_holder_of_a_run_does_not_act_beside_its_command(
        self, salt, hosts, root, pool, log, wait_until, name
    ):
        running = salt.start("zk_concurrency.run", root, "cmd.run", WORK.format(log=log), identifier="a")
        wait_until(lambda: said(log) == ["begun"], "the command has begun", 60)
        following = Waiting(zkcoord.lock, root, hosts, identifier="b")
        running.signal(getattr(signal, name))
        assert following.result() is True
        assert said(log) == ["begun", "told"], "the command had ended by then"
        running.answer()
        assert pool.holders() == ["b"]

    def test_nor_beside_the_commands_of_a_run_with_held(self, salt, hosts, root, pool, log, wait_until):
        command = WORK.format(log=log)
        states = {
            "a slot": {"zk_concurrency.held": [{"name": root}, {"identifier": "a"}]},
            "work": {"cmd.run": [{"name": command}, {"require": [{"zk_concurrency": "a slot"}]}]},
        }
        salt.state("work", states)
        running = salt.start("state.apply", "work")
        wait_until(lambda: said(log) == ["begun"], "the command has begun", 60)
        following = Waiting(zkcoord.lock, root, hosts, identifier="b")
        running.signal(signal.SIGTERM)
        assert following.result() is True
        assert said(log) == ["begun", "told"]
        running.answer()

    def test_what_an_operator_has_locked_by_hand_is_there_after_a_run(self, salt, hosts, root, pool):
        assert zkcoord.lock(root, hosts, identifier="a")
        before = pool.leases()
        assert salt.salt_call("zk_concurrency.run", root, "test.echo", "done", identifier="a").outcome == (0, "done")
        assert pool.leases() == before

    def test_of_two_runs_with_one_identifier_neither_frees_the_slot_under_the_other(
        self, salt, hosts, root, tmp_path, wait_until
    ):
        first, second = tmp_path / "first", tmp_path / "second"
        command = "touch {0}; while [ -e {0} ]; do sleep 0.05; done"
        runs = [
            salt.start("zk_concurrency.run", root, "cmd.run", command.format(file), identifier="a")
            for file in (first, second)
        ]
        wait_until(lambda: first.exists() and second.exists(), "both are at it", 60)
        following = Waiting(zkcoord.lock, root, hosts, identifier="b")
        first.unlink()
        assert runs[0].answer().outcome[0] == 0
        time.sleep(0.3)
        assert not following.done, "the second is at it still"
        second.unlink()
        assert runs[1].answer().outcome[0] == 0
        assert following.result() is True


def test_a_guard_ends_what_was_started_since_and_nothing_else():
    from saltext.zkcoord.utils.terminated import Guard

    before = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    told = []
    original = signal.signal(signal.SIGTERM, lambda number, _: told.append((number, since.poll())))
    try:
        guard = Guard()
        since = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        signal.raise_signal(signal.SIGTERM)
        assert told == [(signal.SIGTERM, -signal.SIGTERM)], "it had ended when the handler ran"
        assert before.poll() is None
        guard.remove()
        signal.raise_signal(signal.SIGTERM)
        assert len(told) == 2
        assert before.poll() is None
    finally:
        signal.signal(signal.SIGTERM, original)
        before.kill()
        before.wait()
