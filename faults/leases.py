"""Timed leases under faults: holders and contenders in processes, a nemesis, and the proof."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import zkcoord.lease
import zkcoord.znode
from zkcoord.testing import Ensemble, Op, Proxies, proxied

from faults import lease_checker, nemesis, stamps, txnlog
from faults.lease_holder import Spec

ROOT = Path(__file__).parent.parent
LOG_EVERYTHING = {"snapshotSizeFactor": 1000, "commitLogCount": 5000, "preAllocSize": 1024}
DIE_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL", "--")
TICK = 0.02
# Seconds that a process may take to end after its time: the longest call, and an outage.
MARGIN = 60.0
# Requests whose reply, or who themselves, get lost: renewals, releases and takings above all, which are SET_DATA, and
# takings from the queue, which are MULTI.
CHOSEN = (
    *([Op.SET_DATA] * 6 + [Op.MULTI] * 3 + [Op.MULTI_READ] * 2),
    *(Op.CREATE2, Op.CREATE, Op.DELETE, Op.GET_DATA, Op.EXISTS, Op.SYNC, Op.CREATE_SESSION, Op.CLOSE_SESSION),
)
SESSION_TIMEOUT = 3.0
# Seconds from one renewal to the next, of holders that are killed.
PERIOD = 0.2


@dataclass(frozen=True)
class Plan:
    """What a run is."""

    seed: str
    seconds: float
    processes: int = 6
    threads: int = 16
    leases: int = 24
    by_name: float = 0.7
    """How many of the turns take a lease by name, and leave it to its end."""
    pace: float = 0.5
    """Faults a second."""
    kind: str = "honest"


@dataclass
class Outcome:
    """All that is known of a run that is over."""

    plan: Plan
    history: lease_checker.History
    violations: list[lease_checker.Violation]
    statements: int
    errors: Counter[str]
    hangs: list[str]
    faults: Counter[str]
    by_servers: int
    """Takeovers by the servers' clock alone: by who tried once, and had seen nothing of the record before."""
    slowest: float
    """Seconds from the end of a lease to its takeover, at the slowest, with the faults that there were."""


class _Process:
    """A process of holders, which is started again when it is killed."""

    def __init__(self, spec: Spec, preload: Path) -> None:
        self.spec = spec
        self.skew = Path(spec.directory) / f"{spec.name}.skew"
        self.skew.write_bytes(bytes(8))
        self.log = (Path(spec.directory) / f"{spec.name}.log").open("ab")
        self.popen = subprocess.Popen(
            (*DIE_WITH_PARENT, sys.executable, "-m", "faults.lease_holder", json.dumps(asdict(spec))),
            cwd=ROOT,
            env={**os.environ, "LD_PRELOAD": str(preload), "ZKCOORD_SKEW": str(self.skew)},
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
        )

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the whole group."""
        os.killpg(self.popen.pid, number)

    def note_stop(self, until: float) -> None:
        """Nothing is concluded from its silence in any case."""

    def end(self) -> None:
        """Make sure that nothing of it is left."""
        with contextlib.suppress(ProcessLookupError):
            self.signal(signal.SIGKILL)
        self.popen.wait(10)
        self.log.close()


def run(plan: Plan) -> Outcome:
    """Carry out a plan on an ensemble of its own."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="zkcoord-leases-")))
        ensemble = stack.enter_context(Ensemble(3, config=LOG_EVERYTHING))
        proxies = stack.enter_context(proxied(ensemble))
        stack.callback(zkcoord.close)
        return _run(plan, directory, ensemble, proxies)


def _run(plan: Plan, directory: Path, ensemble: Ensemble, proxies: Proxies) -> Outcome:
    paths = [f"/leases/{number}" for number in range(plan.leases)]
    preload = directory / "skew.so"
    source = Path(__file__).parent / "skew.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", preload, source, "-ldl"], check=True)
    zkcoord.znode.create(stamps.PATH, zk_hosts=ensemble.hosts)
    began, hangs, incarnations = time.monotonic(), [], Counter()
    processes: dict[int, _Process] = {}
    hand = nemesis.Nemesis(ensemble, proxies, lambda: [processes[at] for at in sorted(processes)], CHOSEN)
    faults = nemesis.schedule(plan.seed, plan.seconds, plan.pace)

    def start(at: int) -> None:
        incarnations[at] += 1
        left = plan.seconds - (time.monotonic() - began)
        name = f"p{at}.{incarnations[at]}"
        hosts = proxies.hosts if at % 2 else ensemble.hosts
        spec = Spec(
            plan.kind, name, plan.seed, hosts, paths, str(directory), plan.threads, left, SESSION_TIMEOUT, plan.by_name
        )
        processes[at] = _Process(spec, preload)

    try:
        for at in range(plan.processes):
            start(at)
        while time.monotonic() - began < plan.seconds:
            while faults and faults[0].at <= time.monotonic() - began:
                hand.step(faults.pop(0))
            hand.mend()
            for at, process in list(processes.items()):
                if process.popen.poll() is not None and plan.seconds - (time.monotonic() - began) > 1:
                    process.end()
                    start(at)
            time.sleep(TICK)
        hand.mend(everything=True)
        ensemble.wait_ready(60)
        end = time.monotonic() + MARGIN
        for process in processes.values():
            try:
                process.popen.wait(max(end - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                hangs.append(process.spec.name)
    finally:
        for process in processes.values():
            process.end()
    return _prove(plan, directory, ensemble, set(paths), hangs, Counter(it.kind for it in hand.done))


def _prove(
    plan: Plan, directory: Path, ensemble: Ensemble, paths: set[str], hangs: list[str], faults: Counter[str]
) -> Outcome:
    last = stamps.Stamps(ensemble.hosts).stamp("the end")
    ensemble.wait_ready()
    steps = txnlog.transactions([server.directory for server in ensemble.servers])
    if not any(step.zxid == last for step in steps):
        raise txnlog.LogError(f"the last stamp, {last:#x}, is in no log")
    history = lease_checker.replay(steps, paths)
    statements, errors, by_servers = _statements(directory)
    # The servers and this process have one clock, which nobody has moved.
    epoch = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    violations = lease_checker.check(history, statements, epoch)
    slowest = max((it.waited - it.duration for it in history.takeovers if it.waited is not None), default=0.0)
    return Outcome(plan, history, violations, len(statements), errors, hangs, faults, by_servers, slowest)


def _statements(directory: Path) -> tuple[list[lease_checker.Statement], Counter[str], int]:
    statements, errors, by_servers = [], Counter(), 0
    for file in sorted(directory.glob("*.jsonl")):
        for line in file.read_bytes().split(b"\n")[:-1]:  # a last one that was cut off by a kill says nothing
            fact = json.loads(line)
            if isinstance(fact, list):
                statements.append(lease_checker.Statement(*fact))
            elif "over" in fact:
                by_servers += 1
            else:
                errors[fact["error"]] += 1
    return statements, errors, by_servers


def text_of(outcome: Outcome) -> str:
    """What a run has found, in a few lines."""
    history, plan = outcome.history, outcome.plan
    return (
        f"Timed leases, seed {plan.seed}, {plan.seconds:.0f} s: {len(history.tenures):,} takings, of them "
        f"{len(history.takeovers):,} takeovers, {outcome.by_servers:,} of these by the servers' clock alone; "
        f"{history.renewals:,} renewals; {history.releases:,} given back; "
        f"{outcome.statements:,} statements; {sum(outcome.faults.values()):,} faults; errors {dict(outcome.errors)}; "
        f"slowest takeover {outcome.slowest:.3f} s after the end; {len(outcome.violations)} violations, "
        f"{len(outcome.hangs)} hangs"
    )


def prompt(seed: str, deaths: int = 50, at_once: int = 25) -> tuple[list[float], list[lease_checker.Violation]]:
    """Kill holders for whom somebody waits, with no other fault: seconds from each death's last renewal to the
    takeover, less the duration; and those that took longer than twice the retry period."""
    code = (
        "import sys, time, zkcoord.lease as l\n"
        "held = [l.LeaseLocker(p, 'dead', sys.argv[1], lease_duration=1.0, renew_deadline=0.5, retry_period=0.2)"
        " for p in sys.argv[2:]]\n"
        "assert all(each.lock() for each in held)\nprint('held', flush=True)\ntime.sleep(600)\n"
    )
    with Ensemble(3, config=LOG_EVERYTHING) as ensemble, contextlib.ExitStack() as stack:
        stack.callback(zkcoord.close)
        done, paths = 0, set()
        while done < deaths:
            some = [f"/prompt/{seed}/{done + number}" for number in range(at_once)]
            paths |= set(some)
            dying = subprocess.Popen(
                (*DIE_WITH_PARENT, sys.executable, "-c", code, ensemble.hosts, *some), cwd=ROOT, stdout=subprocess.PIPE
            )
            assert dying.stdout is not None
            assert dying.stdout.readline() == b"held\n"
            waiting = [zkcoord.lease.LeaseLocker(path, "next", ensemble.hosts, lease_duration=60) for path in some]
            with ThreadPoolExecutor(at_once) as threads:
                locked = [threads.submit(it.lock, 30) for it in waiting]
                end = time.monotonic() + 30
                while any(not zkcoord.lease.status(path, ensemble.hosts)["waiters"] for path in some):
                    assert time.monotonic() < end, "nobody waits"
                dying.kill()
                dying.wait()
                assert all(it.result() for it in locked)
            for it in waiting:
                it.unlock()
            done += at_once
        ensemble.wait_ready()
        history = lease_checker.replay(txnlog.transactions([it.directory for it in ensemble.servers]), paths)
    took = [it.waited - it.duration for it in history.takeovers if it.waited is not None]
    assert len(took) == done, f"{len(took)} takeovers of {done}"
    return took, lease_checker.late(history, 2 * PERIOD)
