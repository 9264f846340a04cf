"""The short form of `make faults`: real processes under real faults, and the checker at work on what they did."""

import dataclasses
import os
import signal
import struct
import subprocess
import sys
import time

import pytest

from faults import checker, nemesis, report
from faults.run import Plan, _build_skew, run
from tests.support.processes import MARK, marked

# Three servers' elections and the contenders' last turns fit into a test's limit.
SHORT = Plan("1", 10, {"ours": 4, "holder": 2, "minion": 1, "kazoo": 1}, pace=1.5)


@pytest.fixture(scope="module")
def outcome():
    return run(SHORT)


def test_promises_are_kept_under_faults(outcome):
    assert report.broken(outcome) == []
    assert report.hung(outcome, report.OURS) == 0
    assert report.errors(outcome, report.OURS) == 0


def test_the_faults_have_struck_and_the_calls_were_made(outcome):
    assert {done.kind for done in outcome.faults} > {"drop a reply", "kill a contender", "skew a clock"}
    assert outcome.dropped
    assert outcome.skew > 60
    told = {(call.kind, call.op, call.answer) for call in outcome.calls}
    assert told > {(kind, op, "True") for kind in ("ours", "holder", "minion", "kazoo") for op in ("lock", "unlock")}
    assert ("ours", "lock", "False") in told
    assert any(call.token for call in outcome.calls)
    last = [call for call in outcome.calls if call.last and call.op == "lock"]
    assert len(last) >= len(SHORT.contenders), "but for those that had just ended"


def test_all_processes_of_a_run_end_with_it(outcome):
    assert outcome.calls
    assert marked(os.environ[MARK]) == {}


def test_promises_that_are_broken_on_purpose_are_found():
    """A lease behind the protocol's back, false answers, and a place that stays for ever."""
    kinds = {"ours": 3, "behind": 1, "liar": 1, "squatter": 1}
    broken = run(Plan("1", 5, kinds, pace=0, bound=3, pools={"one": 1})).violations
    found = {(it.identifier.partition("-")[0], it.rule) for it in broken}
    assert found >= {("behind", checker.LIMIT), ("behind", checker.ORDER), ("behind", checker.LEFTOVER)}
    assert found >= {("liar", checker.ANSWER), ("squatter", checker.LEFTOVER)}
    assert checker.TURN in {rule for _, rule in found}


def test_a_seed_gives_the_same_schedule_again():
    assert nemesis.schedule("1", 300, 2) == nemesis.schedule("1", 300, 2) != nemesis.schedule("2", 300, 2)
    assert {fault.kind for fault in nemesis.schedule("1", 300, 2)} == nemesis.KINDS.keys()


def test_only_the_wall_clock_is_skewed(tmp_path):
    shift = tmp_path / "shift"
    shift.write_bytes(struct.pack("=q", -86400 * 10**9))
    code = "import time; print(time.time(), time.time_ns(), time.monotonic(), time.clock_gettime(time.CLOCK_BOOTTIME))"
    env = {**os.environ, "LD_PRELOAD": str(_build_skew(tmp_path)), "ZKCOORD_SKEW": str(shift)}
    said = subprocess.run([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, check=True, text=True).stdout
    wall, wall_ns, monotonic, boot = map(float, said.split())
    assert wall == pytest.approx(time.time() - 86400, abs=60)
    assert wall_ns / 1e9 == pytest.approx(wall, abs=60)
    assert monotonic == pytest.approx(time.monotonic(), abs=60)
    assert boot == pytest.approx(time.clock_gettime(time.CLOCK_BOOTTIME), abs=60)


def test_figures_of_a_run(outcome):
    text = report.of_runs({"zkcoord": outcome})
    assert f"{report.acquisitions(outcome, report.OURS):,}" in text
    worse = dataclasses.replace(
        outcome, violations=[checker.Violation(checker.LIMIT, "ours-0.0", "/one", 1, "planted")]
    )
    assert [it.what for it in report.broken(worse)] == ["planted"]
    assert "cut connections" in report.of_faults({"zkcoord": outcome})


def test_a_run_that_is_interrupted_ends_all_that_it_started(wait_until):
    command = [sys.executable, "-m", "faults", "--seconds", "60", "--stock-seconds", "0", "--jobs", "0"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(
            lambda: any("faults.contender" in it for it in marked(os.environ[MARK]).values()), "they contend", 60
        )
        process.send_signal(signal.SIGINT)
        assert process.wait(60) != 0
    finally:
        process.kill()
        process.wait()
    wait_until(lambda: marked(os.environ[MARK]) == {}, "all processes have ended")
