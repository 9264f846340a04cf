"""A run of units that ask a coordinator for locks: `python -m faults --grants-seconds N`."""

from __future__ import annotations

import contextlib
import tempfile
import zlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zkcoord
from zkcoord.testing import Ensemble

from faults import granted, history, nemesis, txnlog
from faults.run import BOUND, LOG_EVERYTHING, Plan, Process, Run, _greatest_skew
from faults.unit import KEY, UnitSpec
from tests.support.proxy import Op, proxied

HOME = f"/coordinator/{KEY}"
RACKS = 3
POLICIES: dict[str, Any] = {
    **dict.fromkeys(("serial-a", "serial-b", "serial-c"), "serial"),
    "three": {"max": 3},
    "racks": {"per": {"rack": 1}},
    "both": {"max": 2, "per": {"rack": 1}},
    # It is always open, but that has to be asked.
    "window": {"max": 1, "window": {"from": "00:00", "to": "00:00"}},
}


@dataclass
class Coordinated:
    """All that is known of a run that is over."""

    plan: Plan
    world: granted.World
    violations: list[granted.Violation]
    hangs: list[str]
    deaths: Counter[str]
    faults: list[nemesis.Done]
    dropped: int
    skew: float
    transactions: int
    errors: int
    """Calls that an outage has ended."""
    ran: float
    wedged: int = 0
    units: int = 0
    by_lock: Counter[str] = field(default_factory=Counter)
    """Grants of each lock."""


class CoordinatedRun(Run):
    """One run, while it lasts. A unit is the same unit in each of its processes."""

    chosen = (
        *(Op.MULTI, Op.MULTI, Op.MULTI, Op.CREATE2, Op.CREATE2, Op.MULTI_READ, Op.SYNC, Op.SET_DATA),
        *(Op.GET_DATA, Op.GET_CHILDREN, Op.EXISTS, Op.CREATE_SESSION, Op.CLOSE_SESSION),
    )

    def __init__(self, *args: Any) -> None:
        """Know of no unit that has come to its end."""
        super().__init__(*args)
        self.finished: set[str] = set()
        """Units whose last process has ended by itself."""

    def _start(self, at: int) -> Process:
        unit, incarnation = f"unit-{at}", self.incarnations[at]
        spec = UnitSpec(
            name=f"{unit}.{incarnation}",
            unit=unit,
            labels={"rack": f"r{at % RACKS}"},
            seed=self.plan.seed,
            # Half of them go straight to the servers, half through what may stall and break.
            hosts=self.proxies.hosts if at % 2 else self.ensemble.hosts,
            policies=POLICIES,
            directory=str(self.directory),
            slot=2 * at,
            session_timeout=2 + zlib.crc32(f"{self.plan.seed}/{unit}/{incarnation}".encode()) % 1000 / 500,
            bound=self.plan.bound,
        )
        return Process(spec, self.preload, "faults.unit")

    def _bury(self, process: Process, code: object) -> None:
        # Nobody tidies up behind it: its next process finds what it was granted.
        (self.finished.add if code == 0 else self.finished.discard)(process.spec.unit)
        if code != 0:
            self.deaths[f"{code}"] += 1

    def _prove(self, ran: float) -> Any:
        last = self.stamps.stamp("the end")
        self.ensemble.wait_ready()
        steps = txnlog.transactions([server.directory for server in self.ensemble.servers])
        if not any(step.zxid == last for step in steps):
            raise txnlog.LogError(f"the last stamp, {last:#x}, is in no log")
        world, notes = granted.replay(steps, POLICIES, HOME), list(history.notes(self.directory))
        return Coordinated(
            plan=self.plan,
            world=world,
            violations=granted.check(world, notes, POLICIES, self.finished),
            hangs=self.hangs,
            deaths=self.deaths,
            faults=self.nemesis.done,
            dropped=sum(sum(proxy.dropped.values()) for proxy in self.proxies),
            skew=_greatest_skew(self.directory),
            transactions=len(steps),
            errors=sum("error" in line for lines in notes for line in lines),
            ran=ran,
            wedged=self.wedged,
            units=len(self.wanted),
            by_lock=Counter(lock for _, lock, _ in world.granted.values()),
        )


def coordinated(seed: str, seconds: float, units: int = 12, pace: float = 0.5) -> Coordinated:
    """Let units ask and be granted under faults, on an ensemble of their own, and prove."""
    plan = Plan(seed, seconds, {"unit": units}, pace, BOUND, pools={})
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="zkcoord-faults-")))
        ensemble = stack.enter_context(Ensemble(3, config=LOG_EVERYTHING))
        proxies = stack.enter_context(proxied(ensemble))
        stack.callback(zkcoord.close)
        return CoordinatedRun(plan, directory, ensemble, proxies).go()  # type: ignore[return-value]
