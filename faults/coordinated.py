"""A run of units that ask a coordinator for locks: `python -m faults --grants-seconds N`."""

from __future__ import annotations

import contextlib
import datetime
import random
import tempfile
import threading
import time
import uuid
import zlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zkcoord
from zkcoord import grants, znode
from zkcoord.testing import Ensemble, Op, proxied

from faults import granted, history, nemesis, txnlog
from faults.board import RUN
from faults.run import BOUND, LOG_EVERYTHING, Plan, Process, Run, _greatest_skew
from faults.unit import CHANGING, KEY, OWN, RACKS, UnitSpec

HOME = f"/coordinator/{KEY}"
PARTY = "/faults-members"
POLICIES: dict[str, Any] = {
    **dict.fromkeys(("serial-a", "serial-b", "serial-c"), "serial"),
    "three": {"max": 3},
    "racks": {"per": {"rack": 1}},
    "both": {"max": 2, "per": {"rack": 1}},
    # It is always open, but that has to be asked.
    "window": {"max": 1, "window": {"from": "00:00", "to": "00:00"}},
    # A third of those who are there, who come and go.
    "share": {"max": "34%", "party": PARTY},
    # An operator changes it all the time, and its windows open and close.
    CHANGING: granted.STORED,
    # What the program says that decides about it.
    OWN: {"max": 2, "per": {"rack": 1}},
}
MOST_MEMBERS = 9
OUTAGE = (zkcoord.errors.Unreachable, zkcoord.errors.ConnectionLost)
# Seconds between two of an operator's changes, at most, and for how long a window opens or is closed.
UNCHANGED = 2.0
WINDOW = (1, 2, 4)


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
        self._random = random.Random(f"{self.plan.seed}/operator")
        self._members: list[str] = []
        self._changes_at = 0.0
        self._changing, self._is_over = threading.Lock(), False
        self._home = {"key": KEY, "zk_hosts": self.ensemble.hosts, "timeout": 10}

    def _start(self, at: int) -> Process:
        unit, incarnation = f"unit-{at}", self.incarnations[at]
        spec = UnitSpec(
            name=f"{unit}.{incarnation}",
            unit=unit,
            labels={"rack": f"r{at % RACKS}"},
            seed=self.plan.seed,
            # Half of them go straight to the servers, half through what may stall and break.
            hosts=self.proxies.hosts if at % 2 else self.ensemble.hosts,
            policies={lock: None if policy is granted.STORED else policy for lock, policy in POLICIES.items()},
            directory=str(self.directory),
            slot=2 * at,
            session_timeout=2 + zlib.crc32(f"{self.plan.seed}/{unit}/{incarnation}".encode()) % 1000 / 500,
            bound=self.plan.bound,
        )
        return Process(spec, self.preload, "faults.unit")

    def _tend(self) -> None:
        super()._tend()
        if time.monotonic() >= self._changes_at and self.board.phase == RUN:
            self._changes_at = time.monotonic() + self._random.uniform(0, UNCHANGED)
            # Both take their time in an outage, and are not waited for.
            self.operators.submit(self._change_party)
            self.operators.submit(self._change_policy, self._drawn_policy())

    def _calm_down(self) -> None:
        # Whoever waits for a window, or for a share of nobody, gets a last turn.
        self.nemesis.mend(everything=True)
        self.ensemble.wait_ready(60)
        with self._changing:
            self._is_over = True
        while not (self._set_policy({"max": 2}) and self._add_member()):
            time.sleep(0.5)
        super()._calm_down()

    def _drawn_policy(self) -> Any:
        moment = lambda seconds: f"{now + datetime.timedelta(seconds=seconds):%H:%M:%S}"  # noqa: E731
        now, kind, length = (
            datetime.datetime.now(datetime.timezone.utc),
            self._random.random(),
            self._random.choice(WINDOW),
        )
        if kind < 0.3:  # it closes soon
            return {"max": 2, "window": {"from": moment(-3600), "to": moment(length)}}
        if kind < 0.5:  # it opens soon
            return {"max": 2, "window": [{"from": moment(length), "to": moment(3600)}]}
        return self._random.choice(({"max": 1}, {"max": 3}, {"max": "50%", "party": PARTY}, {"per": {"rack": 1}}))

    def _change_policy(self, policy: Any) -> None:
        with self._changing:
            if not self._is_over:
                self._set_policy(policy)

    def _set_policy(self, policy: Any) -> bool:
        """Set it, where there is such a lock; whether somebody has answered."""
        with contextlib.suppress(*OUTAGE):  # the logs have what was done
            grants.set_policy(CHANGING, policy, **self._home)
            grants.handle(CHANGING, **self._home)
            return True
        return False

    def _change_party(self) -> None:
        if len(self._members) < MOST_MEMBERS and self._random.random() < 0.6:
            self._add_member()
        elif self._members:
            with contextlib.suppress(*OUTAGE):
                znode.delete(self._members.pop(0), self.ensemble.hosts)

    def _add_member(self) -> bool:
        path = f"{PARTY}/{uuid.UUID(int=self._random.getrandbits(128)).hex}-member"
        with contextlib.suppress(*OUTAGE):
            znode.create(path, "", self.ensemble.hosts, makepath=True)
            self._members.append(path)
            return True
        return False

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
