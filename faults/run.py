"""A run: contenders, a nemesis, an operator who cleans up after the dead, and the proof."""

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
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any

import zkcoord
import zkcoord.znode
from zkcoord.testing import Ensemble, EnsembleError, Proxies, proxied

from faults import checker, history, nemesis, stamps, txnlog
from faults.board import CALM, RUN, STOP, Board
from faults.contender import FORCED, Spec
from faults.history import FALSE, TRUE

ROOT = Path(__file__).parent.parent
POOLS = {
    **{"one-a": 1, "one-b": 1, "one-c": 1, "one-d": 1, "two-a": 2, "two-b": 2, "two-c": 2, "three-a": 3, "three-b": 3},
    **{"five": 5, FORCED: 2},
}
TICK = 0.02
WEDGED = 20.0
# How long everybody may take to get a turn after the last fault.
BOUND = 45.0
STOCK_SESSION = 10.0  # seconds: kazoo's default, which the stock module offers no way to change
# Every transaction stays in the log of every server, whoever is sent what after an absence.
LOG_EVERYTHING = {"snapshotSizeFactor": 1000, "commitLogCount": 5000, "preAllocSize": 1024}
DIE_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL", "--")


@dataclass(frozen=True)
class Plan:
    """What a run is: everything that can be replayed follows from it."""

    seed: str
    seconds: float
    contenders: dict[str, int]
    """How many of each kind live at a time."""
    pace: float = 0.5
    """Faults a second."""
    bound: float = BOUND
    pools: dict[str, int] = field(default_factory=lambda: dict(POOLS))


@dataclass
class Outcome:
    """All that is known of a run that is over."""

    plan: Plan
    world: checker.World
    calls: list[history.Call]
    violations: list[checker.Violation]
    faults: list[nemesis.Done]
    passed_over: Counter[str]
    dropped: int
    """Requests and replies that were lost."""
    hangs: list[str]
    """Calls that had to be ended by killing their process."""
    deaths: Counter[str]
    """How contenders' processes ended, other than in peace: their kind, and how."""
    skew: float
    """The greatest difference, in seconds, between a contender's wall clock and the true one."""
    wedged: int
    """How often the ensemble had come to a standstill by itself."""
    transactions: int
    ran: float
    """Seconds until the nemesis stopped."""


class Process:
    """A contender's process with what it forks: a process group of its own."""

    def __init__(self, spec: Any, preload: Path, module: str = "faults.contender") -> None:
        """Start it: a `module` that takes the fields of its `spec`, among them name, directory and slot."""
        self.spec = spec
        # A host keeps its clock, whatever becomes of its processes.
        self.skew = Path(spec.directory) / f"{spec.slot}.skew"
        if not self.skew.exists():
            self.skew.write_bytes(bytes(8))
        self.doubtful_until = 0.0
        """Until when nothing can be concluded from its silence."""
        self.log = (Path(spec.directory) / f"{spec.name}.log").open("wb")
        self.popen = subprocess.Popen(
            (*DIE_WITH_PARENT, sys.executable, "-m", module, json.dumps(asdict(spec))),
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
        """Its silence says nothing until a while after that."""
        self.doubtful_until = max(self.doubtful_until, until + 20)

    def end(self) -> None:
        """Make sure that nothing of it is left."""
        with contextlib.suppress(ProcessLookupError):
            self.signal(signal.SIGKILL)
        self.popen.wait(10)
        self.log.close()


class Run:
    """One run, while it lasts."""

    chosen = nemesis.CHOSEN
    """Requests whose reply, or who themselves, get lost."""

    def __init__(self, plan: Plan, directory: Path, ensemble: Ensemble, proxies: Proxies) -> None:
        """Prepare; nothing is started."""
        self.plan, self.directory, self.ensemble, self.proxies = plan, directory, ensemble, proxies
        self.board = Board(directory / "board")
        self.preload = _build_skew(directory)
        self.pools = {f"/{name}": limit for name, limit in plan.pools.items()}
        self.processes: dict[int, Process] = {}
        self.wanted = [kind for kind, count in plan.contenders.items() for _ in range(count)]
        self.incarnations = [0] * len(self.wanted)
        victims = lambda: [self.processes[at] for at in sorted(self.processes)]  # noqa: E731
        self.nemesis = nemesis.Nemesis(ensemble, proxies, victims, self.chosen)
        self.operators = ThreadPoolExecutor(4, "operator")
        self.stamps = stamps.Stamps(ensemble.hosts)
        self.hangs: list[str] = []
        self.deaths: Counter[str] = Counter()
        self.wedged = 0
        self._heard = time.monotonic()

    def go(self) -> Outcome:
        """Let everything happen, then prove."""
        zkcoord.znode.create(stamps.PATH, zk_hosts=self.ensemble.hosts)
        began = self._heard = time.monotonic()
        Thread(target=self._listen, daemon=True).start()
        try:
            faults = nemesis.schedule(self.plan.seed, self.plan.seconds, self.plan.pace)
            while (now := time.monotonic() - began) < self.plan.seconds:
                while faults and faults[0].at <= now:
                    self.nemesis.step(faults.pop(0))
                self.nemesis.mend()
                self._tend()
                self._unwedge()
                time.sleep(TICK)
            ran = time.monotonic() - began
            self._calm_down()
        finally:
            self.board.phase = STOP
            for process in self.processes.values():
                process.end()
            self.operators.shutdown(cancel_futures=True)
        return self._prove(ran)

    def _start(self, at: int) -> Process:
        return Process(self._spec(at), self.preload)

    def _spec(self, at: int) -> Spec:
        kind, incarnation = self.wanted[at], self.incarnations[at]
        name = f"{kind}-{at}.{incarnation}"
        choice = nemesis.random.Random(f"{self.plan.seed}/{name}/spec")
        # Half of them go straight to the servers, half through what may stall and break.
        hosts = self.proxies.hosts if at % 2 else self.ensemble.hosts
        # Kazoo leaves places behind that last as long as its session, so that none of its lives long.
        turns = choice.choice((1, 5, 20) if kind == "kazoo" else (1, 5, 50, 10**9, 10**9))
        own = {"hosts": hosts, "direct": self.ensemble.hosts, "pools": self.pools, "directory": str(self.directory)}
        timeout = STOCK_SESSION if kind == "stock" else choice.uniform(2, 4)
        return Spec(
            kind=kind,
            name=name,
            seed=self.plan.seed,
            slot=2 * at,
            turns=turns,
            session_timeout=timeout,
            bound=self.plan.bound,
            **own,
        )

    def _tend(self) -> None:
        """Reap the dead, have their slots given back, end those that hang, and replace them."""
        now = time.monotonic()
        for at, process in list(self.processes.items()):
            code = process.popen.poll()
            if code is None and now > process.doubtful_until:
                late = [self.board.deadline(slot) for slot in (2 * at, 2 * at + 1)]
                if any(0 < deadline < now for deadline in late):
                    self.hangs.append(process.spec.name)
                    process.end()
                    code = "hung"
            if code is not None:
                del self.processes[at]
                process.end()
                self._bury(process, code)
        if self.board.phase == RUN:
            for at in range(len(self.wanted)):
                if at not in self.processes:
                    for slot in (2 * at, 2 * at + 1):
                        self.board.expect(slot, 0)
                    self.processes[at] = self._start(at)
                    self.incarnations[at] += 1

    def _bury(self, process: Process, code: object) -> None:
        if code == 0:
            return
        how = {-signal.SIGKILL: "killed", "hung": "hung", 3: "gave up"}.get(code, f"ended with {code}")
        self.deaths[f"{process.spec.kind} {how}"] += 1
        self.operators.submit(self._operate, process.spec)

    def _operate(self, spec: Spec) -> None:
        """Give back what a dead contender may hold, once its session is over, as an operator would."""
        time.sleep(spec.session_timeout + 1 if self.board.phase == RUN else 0.5)
        dead = [file.stem for file in self.directory.glob(f"{spec.name}*.jsonl") if ".operator" not in file.stem]
        for identifier in dead:
            if not _belongs(identifier, spec.name):
                continue
            for pool in sorted(history.unsettled(self.directory, identifier)):
                self._give_back(identifier, pool)

    def _give_back(self, identifier: str, pool: str) -> None:
        line = stamps.Stamps(self.ensemble.hosts)
        begin = line.stamp(f"operator {identifier}")
        notes = history.Writer(self.directory, f"{identifier}.operator", kind="operator", begin=begin)
        answer = None
        while answer not in {TRUE, FALSE}:
            notes.note(op="unlock", pool=pool, at=time.monotonic())
            try:
                answer = str(zkcoord.unlock(pool, self.ensemble.hosts, identifier, timeout=10))
            except zkcoord.errors.Error as error:
                answer = type(error).__name__
            notes.note(answer=answer, at=time.monotonic(), wall=time.time())
            notes.note(zxid=line.stamp(f"operator {identifier}"))
        line.close()

    def _listen(self) -> None:
        line = stamps.Stamps(self.ensemble.hosts)
        while self.board.phase != STOP:
            line.stamp("still there")
            self._heard = time.monotonic()
            time.sleep(1)

    def _unwedge(self) -> None:
        """Restart the leader of an ensemble that is whole, and yet commits nothing.

        ZooKeeper 3.8 can get there when a leader stands still for just so long that its followers look for another
        one, and come back to it before it has noticed.
        """
        if time.monotonic() - self._heard > WEDGED and all(
            it.running and not it.paused for it in self.ensemble.servers
        ):
            with contextlib.suppress(EnsembleError):
                self.ensemble.leader().restart()
                self.wedged += 1
            self._heard = time.monotonic()

    def _calm_down(self) -> None:
        """End all faults, and give everybody who lives one more turn."""
        self.nemesis.mend(everything=True)
        self.ensemble.wait_ready(60)
        self.board.phase = CALM
        end = time.monotonic() + 2 * self.plan.bound + 60
        while self.processes and time.monotonic() < end:
            self._tend()
            self._unwedge()
            time.sleep(TICK)
        for process in self.processes.values():
            self.hangs.append(process.spec.name)
            process.end()
            self._bury(process, "hung")
        self.operators.shutdown(wait=True)
        end = time.monotonic() + 60
        while self.ensemble.ephemerals() and time.monotonic() < end:
            time.sleep(0.1)

    def _prove(self, ran: float) -> Outcome:
        last = self.stamps.stamp("the end")
        self.ensemble.wait_ready()
        steps = txnlog.transactions([server.directory for server in self.ensemble.servers])
        if not any(step.zxid == last for step in steps):
            raise txnlog.LogError(f"the last stamp, {last:#x}, is in no log")
        world, calls = checker.replay(steps, self.pools), history.calls(self.directory)
        return Outcome(
            plan=self.plan,
            world=world,
            calls=calls,
            violations=checker.check(world, calls),
            faults=self.nemesis.done,
            passed_over=self.nemesis.passed_over,
            dropped=sum(sum(proxy.dropped.values()) for proxy in self.proxies),
            hangs=self.hangs,
            deaths=self.deaths,
            skew=_greatest_skew(self.directory),
            wedged=self.wedged,
            transactions=len(steps),
            ran=ran,
        )


def run(plan: Plan, keep: Path | None = None) -> Outcome:
    """Carry out a plan on an ensemble of its own."""
    with contextlib.ExitStack() as stack:
        directory = keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="zkcoord-faults-")))
        ensemble = stack.enter_context(Ensemble(3, config=LOG_EVERYTHING))
        proxies = stack.enter_context(proxied(ensemble))
        stack.callback(zkcoord.close)
        return Run(plan, directory, ensemble, proxies).go()


def _belongs(identifier: str, name: str) -> bool:
    return identifier == name or identifier.startswith(f"{name}-")


def _build_skew(directory: Path) -> Path:
    library = directory / "skew.so"
    source = Path(__file__).parent / "skew.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", library, source, "-ldl"], check=True)
    return library


def _greatest_skew(directory: Path) -> float:
    off = time.time() - time.monotonic()
    greatest = 0.0
    for lines in history.notes(directory):
        for line in lines:
            if "wall" in line:
                greatest = max(greatest, abs(float(str(line["wall"])) - float(str(line["at"])) - off))
    return greatest
