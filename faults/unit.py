"""A process of a unit: it asks a coordinator for locks, acts when it is granted one, and writes down what it was told.

Started as `python -m faults.unit JSON`, with the fields of `UnitSpec`. A unit outlives its processes: what one of them
has asked for, the next one is granted.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faults.board import CALM, RUN, Board
from faults.history import Writer

KEY = "faults"
RACKS = 3
# A lock whose policy is changed all the time, and one about which `Decider` decides.
CHANGING, OWN = "changing", "own"
# How long an answer may take, before it counts as a hang.
MARGIN = 30.0
WORK = (0, 0, 0, 0.001, 0.005)
WAITS = (0.05, 0.2, 0.5)
# Seconds after which a request may be dropped: mostly never.
EXPIRES = (None, None, None, 1.0)
# How often, of all that a unit does, it does what an operator does, and lets expired requests be dropped.
BY_HAND = 0.06
HANDLES = 0.05
# How often one of its hooks fails, so that it keeps what it was granted.
FAILS = 0.2


class HookFailed(Exception):
    """A hook has failed on purpose."""


@dataclass(frozen=True)
class UnitSpec:
    """Who asks, how, and for what."""

    name: str
    """Of the process: the unit and its incarnation."""
    unit: str
    labels: dict[str, str]
    seed: str
    hosts: str
    """Where its requests go: through the proxies, or straight."""
    policies: dict[str, Any]
    """Of each lock. None: whatever the lock stores."""
    directory: str
    slot: int
    session_timeout: float
    bound: float
    """Seconds for a turn once the faults are over."""


class Unit:
    """A unit, for as long as this process lives."""

    def __init__(self, spec: UnitSpec) -> None:
        """Begin a history. No session is opened before the first call."""
        self.spec = spec
        self.random = random.Random(f"{spec.seed}/{spec.name}")
        self.board = Board(Path(spec.directory) / "board")
        self.history = Writer(Path(spec.directory), spec.name, unit=spec.unit, pid=os.getpid())
        self.errors = importlib.import_module("zkcoord.errors")
        self.grants = importlib.import_module("zkcoord.grants")
        settings = {"zookeeper:session_timeout": spec.session_timeout}
        config_get = lambda key, default=None: settings.get(key, default)  # noqa: E731
        self.at = {"key": KEY, "zk_hosts": spec.hosts, "config_get": config_get}
        settings_of_hook = {"zk_hosts": spec.hosts, "session_timeout": spec.session_timeout}
        self.coordinator = _decider()(KEY, unit=spec.unit, **settings_of_hook)

    def live(self) -> None:
        """Ask and act until the nemesis has stopped; then have one more turn at each lock, and leave nothing."""
        self.act_on(self.granted(0) or [])  # what a process before was granted
        while self.board.phase == RUN:
            lock = self.random.choice(list(self.spec.policies))
            if self.random.random() < BY_HAND:
                self.grant_by_hand(lock)
            if self.random.random() < HANDLES:
                self._call(lambda lock=lock: self.grants.handle(lock, seen=self.spec.unit, timeout=10, **self.at))
            if self.ask(lock):
                continue
            if self.random.random() < 0.5:
                self.act_on(self.granted(self.random.choice(WAITS)) or [])
        if self.board.phase == CALM:
            for lock in self.spec.policies:
                self.last_turn(lock)

    def ask(self, lock: str) -> bool:
        """Ask for a lock; whether it was granted, and given back again."""
        if lock == OWN:
            return self.hook()
        own = {"policy": self._policy(lock), "labels": self.spec.labels, "expires": self.random.choice(EXPIRES)}
        if own["policy"] is None:
            return False

        def acquire() -> Any:
            try:
                return self.grants.acquire(lock, self.spec.unit, timeout=10, **own, **self.at)
            except self.errors.PolicyMismatch:
                if self.spec.policies[lock] is not None:
                    raise
                return None  # it was changed since

        self.history.note(op="acquire", lock=lock, at=time.monotonic())
        answer = self._call(acquire)
        if answer is None:
            return False
        self.history.note(request=answer["request"], token=answer["token"], lock=lock)
        if answer["granted"]:
            self.act(lock, answer["request"])
        return bool(answer["granted"])

    def _policy(self, lock: str) -> Any:
        """What a lock has for a policy. None: nobody has answered."""
        if self.spec.policies[lock] is not None:
            return self.spec.policies[lock]
        queue = self._call(lambda: self.grants.queue(lock, **self.at))
        return queue and (queue["policy"] or {"max": 1})

    def hook(self) -> bool:
        """Be one hook, which asks for the lock about which a program decides; whether that was granted."""
        fails = self.board.phase == RUN and self.random.random() < FAILS
        given: list[tuple[str, int]] = []

        def run() -> bool:
            with self.coordinator.hook() as hook:
                self.history.note(op="acquire", lock=OWN, at=time.monotonic())
                is_granted = hook.acquire(OWN, labels=self.spec.labels)
                # All that it has seen is given back at its end.
                seen = [lock for lock in self.spec.policies if hook.granted(lock)]
                held = [
                    (lock, it) for lock in seen for it in hook.queue(lock)["holders"] if it["unit"] == self.spec.unit
                ]
                for lock, grant in held:
                    self.history.note(request=grant["request"], token=grant["token"], lock=lock)
                time.sleep(self.random.choice(WORK))
                if fails:
                    raise HookFailed
                for lock, grant in held:
                    self.history.note(op="release", lock=lock, request=grant["request"], at=time.monotonic())
                    given.append((lock, grant["request"]))
            return bool(is_granted)

        def attempt() -> bool:
            try:
                return run()
            except HookFailed:
                given.clear()
                return False

        # A hook makes some calls for each lock, each of which takes ten seconds in an outage.
        answer = self._call(attempt, limit=30 * len(self.spec.policies))
        if answer is None:
            return False
        for lock, request in given:
            self.history.note(released=request, lock=lock, requested=True)
        return bool(answer)

    def grant_by_hand(self, lock: str) -> None:
        """Grant a lock to one who waits for it, whatever its policy says."""
        queue = self._call(lambda: self.grants.queue(lock, **self.at))
        if not queue or not queue["waiters"]:
            return
        chosen, reason = self.random.choice(queue["waiters"])["unit"], f"{self.spec.name}-{self.random.random()}"
        self.history.note(reason=reason, lock=lock)

        def grant() -> bool:
            try:
                return bool(self.grants.grant(lock, chosen, reason=reason, by=self.spec.unit, timeout=10, **self.at))
            except self.errors.ArgumentError:  # it has had its turn, and has no request any more
                return False

        if self._call(grant):
            self.history.note(by_hand=reason, lock=lock)

    def granted(self, timeout: float) -> list[tuple[str, int]] | None:
        """Wait for grants; which there are. None: nobody has answered."""
        state = self._call(lambda: self.grants.granted(self.spec.unit, timeout=timeout, **self.at), limit=timeout)
        if state is None:
            return None
        for grant in state["granted"]:
            self.history.note(request=grant["request"], token=grant["token"], lock=grant["lock"])
        return [(grant["lock"], grant["request"]) for grant in state["granted"]]

    def act_on(self, granted: list[tuple[str, int]]) -> None:
        """Act under each grant, and give it back. That of a hook is for the next hook."""
        for lock, request in granted:
            if lock == OWN:
                self.hook()
            else:
                self.act(lock, request)

    def act(self, lock: str, request: int) -> None:
        """Work, and give the lock back, until somebody answers."""
        time.sleep(self.random.choice(WORK))
        while True:
            self.history.note(op="release", lock=lock, request=request, at=time.monotonic())
            given = {"request": request, "timeout": 10, **self.at}
            answer = self._call(lambda given=given: self.grants.release(lock, self.spec.unit, **given))
            if answer is not None:
                self.history.note(released=request, lock=lock, requested=answer["requested"])
                return

    def last_turn(self, lock: str) -> None:
        """Have a turn, now that nothing goes wrong any more."""
        end = time.monotonic() + self.spec.bound
        while time.monotonic() < end:
            if self.ask(lock):
                self.history.note(last_turn=lock)
                return
            self.act_on([it for it in self.granted(0.2) or [] if it[0] != lock])
        self.history.note(no_turn=lock)

    def _call(self, function: Callable[[], Any], limit: float = 0) -> Any:
        """The answer of a call; None where it has ended with an error that an outage may have."""
        self.board.expect(self.spec.slot, time.monotonic() + MARGIN + limit)
        try:
            answer = function()
        except (self.errors.Unreachable, self.errors.ConnectionLost) as error:
            self.history.note(error=type(error).__name__, at=time.monotonic(), wall=time.time())
            answer = None
        except self.errors.Error as error:
            self.history.note(broken=f"{type(error).__name__}: {error}"[:300])
            raise
        finally:
            self.board.expect(self.spec.slot, 0)
        return answer


def _decider() -> Any:
    """The class whose objects decide about `OWN`: at most two, and no two of one rack."""
    module = importlib.import_module("zkcoord.coordinator")

    def rack(unit: str) -> int:
        return int(unit.rpartition("-")[2]) % RACKS

    class Decider(module.BaseCoordinator):  # type: ignore[misc, name-defined]
        def grant_own(self, lock: str, unit: str, granted: set[str], queue: list[str]) -> bool:
            """As the policy of the other locks would say it."""
            return len(granted) < 2 and rack(unit) not in {rack(other) for other in granted}

    return Decider


if __name__ == "__main__":
    Unit(UnitSpec(**json.loads(sys.argv[1]))).live()
