"""A process that takes timed leases, holds them for a while, and says at each moment which it holds.

Started as `python -m faults.lease_holder JSON`, with the fields of `Spec`. Its statements are lines of JSON, each
written before the next is made: ``[path, token, from, to]`` says that between these two moments of ``CLOCK_BOOTTIME``
it looked, and held. That clock is the same for all processes of a machine, and no nemesis moves it.
"""

from __future__ import annotations

import importlib
import json
import random
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Seconds: leases this short end often. Those that nobody renews are shorter still.
DURATIONS = (0.4, 0.5, 0.8)
BY_NAME = (0.1, 0.2, 0.3)
SAY_EVERY = 0.04
# Seconds by which the servers' clocks may differ: that of one machine does not. With the greater of the two whoever
# waits is ready by its own clock first.
SKEWS = (0.05, 1.0)


@dataclass(frozen=True)
class Spec:
    """Who takes leases, and which."""

    kind: str
    """honest; or one of those that break a promise on purpose: liar, thief."""
    name: str
    seed: str
    hosts: str
    paths: list[str]
    directory: str
    threads: int
    seconds: float
    session_timeout: float
    by_name: float
    """How many of the turns take a lease by name, and leave it to its end."""


def now() -> float:
    """Seconds, by the clock that leases are held by."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Holder:
    """The process: its threads take turns of their own."""

    def __init__(self, spec: Spec) -> None:
        """Open the file of statements. No session is opened yet."""
        self.spec = spec
        self.lease = importlib.import_module("zkcoord.lease")
        self.znode = importlib.import_module("zkcoord.znode")
        self.errors = importlib.import_module("zkcoord.errors")
        self.connection = importlib.import_module("zkcoord").Connection(
            spec.hosts, session_timeout=spec.session_timeout, connect_timeout=5
        )
        self.end = time.monotonic() + spec.seconds
        self.file = (Path(spec.directory) / f"{spec.name}.jsonl").open("ab", buffering=0)

    def live(self) -> None:
        """Take turns in all threads until the end."""
        threads = [threading.Thread(target=self._turns, args=(number,)) for number in range(self.spec.threads)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _turns(self, number: int) -> None:
        rng = random.Random(f"{self.spec.seed}/{self.spec.name}/{number}")
        while time.monotonic() < self.end:
            path, owner = rng.choice(self.spec.paths), f"{self.spec.name}-{number}"
            try:
                if rng.random() < self.spec.by_name:
                    self._by_name(rng, path, owner, rng.choice(BY_NAME))
                else:
                    self._renewed(rng, path, owner, rng.choice(DURATIONS))
            except self.errors.Error as error:
                self._note({"error": type(error).__name__, "message": str(error)[:200]})
                time.sleep(0.05)

    def _by_name(self, rng: random.Random, path: str, owner: str, duration: float) -> None:
        """Take a lease, and let it run out: nobody renews it, as if its holder had died."""
        timeout = rng.choice((0, 2, 10))
        taken = self.lease.take(
            path,
            owner,
            lease_duration=duration,
            timeout=timeout,
            max_clock_skew=rng.choice(SKEWS),
            connection=self.connection,
        )
        if taken is None:
            return
        if timeout == 0 and taken.taken_from is not None:
            self._note({"over": taken.taken_from})
        while self._say(path, taken.token, lambda: now() < taken.expires_at):
            time.sleep(SAY_EVERY)
        self._lie(path, taken.token)

    def _renewed(self, rng: random.Random, path: str, owner: str, duration: float) -> None:
        """Hold a lease for a few renewals, and give it back, or leave it to its end."""
        locker = self.lease.LeaseLocker(
            path,
            owner,
            lease_duration=duration,
            renew_deadline=duration / 2,
            retry_period=duration / 8,
            max_clock_skew=rng.choice(SKEWS),
            connection=self.connection,
        )
        if not locker.lock(rng.choice((0, 2, 10))):
            return
        token, until = locker.fencing_token, now() + rng.choice((0.1, 1, 3))
        if token is None:
            return  # it is over already
        while now() < until and self._say(path, token, lambda: locker.fencing_token == token):
            time.sleep(SAY_EVERY)
        locker.unlock(5)
        self._lie(path, token)

    def _say(self, path: str, token: int, holds: Any) -> bool:
        began = now()
        held = bool(holds())
        if held:
            self._note([path, token, began, now()])
        return held

    def _lie(self, path: str, token: int) -> None:
        """Break a promise, where that is what this process is for."""
        if self.spec.kind == "liar":
            time.sleep(1)
            self._note([path, token, now(), now()])
        elif self.spec.kind == "thief":
            record = json.loads(self.znode.get(path, connection=self.connection) or b"{}")
            if record.get("holderIdentity"):
                stolen = {**record, "holderIdentity": "thief", "leaseTransitions": record["leaseTransitions"] + 1}
                stolen["zkcoord"] = {"hold": "thief", "transition": stolen["leaseTransitions"]}
                self.znode.set(path, json.dumps(stolen), connection=self.connection)

    def _note(self, what: object) -> None:
        self.file.write(json.dumps(what).encode() + b"\n")


def main() -> int:
    """Live."""
    Holder(Spec(**json.loads(sys.argv[1]))).live()
    return 0


if __name__ == "__main__":
    sys.exit(main())
