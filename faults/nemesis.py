"""What goes wrong, and when: a schedule that a seed determines, and the hand that carries it out."""

from __future__ import annotations

import contextlib
import heapq
import os
import random
import signal
import struct
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from zkcoord.testing import Ensemble, EnsembleError, Op, Proxies

# Requests whose reply, or who themselves, get lost.
CHOSEN = (
    *(Op.MULTI, Op.MULTI, Op.CREATE2, Op.CREATE2, Op.CREATE, Op.DELETE, Op.DELETE),
    *(Op.GET_CHILDREN, Op.GET_CHILDREN2, Op.GET_DATA, Op.EXISTS, Op.SYNC, Op.CREATE_SESSION, Op.CLOSE_SESSION),
)
HOUR = 3600.0


class Kind(NamedTuple):
    """How often a fault comes, in relation to the others, and how long it lasts: seconds, from and to."""

    weight: float
    shortest: float
    longest: float


# Sessions last 2 to 4 s here, and a server that is not heard for 5 s is given up by the others.
KINDS = {
    "kill the leader": Kind(3, 0.5, 4),
    "kill a server": Kind(2, 0.5, 4),
    "kill the majority": Kind(1, 0.2, 2),
    "pause the leader": Kind(3, 0.5, 8),
    "pause a server": Kind(2, 0.5, 8),
    "cut connections": Kind(8, 0, 0),
    "refuse connections": Kind(3, 0.2, 3),
    "stall one server's connections": Kind(4, 0.2, 6),
    "drop one server's packets": Kind(3, 0.2, 6),
    "hang up on one server's clients": Kind(3, 0.2, 4),
    "send one server's bytes slowly": Kind(3, 0.2, 6),
    "stall all connections": Kind(3, 0.5, 6),
    "delay": Kind(2, 0.5, 3),
    "drop a reply": Kind(24, 0, 0),
    "drop a request": Kind(8, 0, 0),
    "kill a contender": Kind(6, 0, 0),
    "stop a contender": Kind(8, 0.3, 8),
    "skew a clock": Kind(6, 0, 0),
}


class Fault(NamedTuple):
    """One thing to go wrong: `at` and `seconds` in seconds of the run, `draw` and `size` in [0, 1) choose details."""

    at: float
    kind: str
    seconds: float
    draw: float
    size: float


class Done(NamedTuple):
    """A fault that struck, with the monotonic time at which it did, and at which it was over."""

    kind: str
    struck: float
    over: float


class Victim(Protocol):
    """A contender's process, as far as the nemesis knows it."""

    skew: Path

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it and to what it has forked."""

    def note_stop(self, until: float) -> None:
        """Learn that it is stopped until then."""


def schedule(seed: str, seconds: float, pace: float) -> list[Fault]:
    """Every fault of a run, `pace` of them a second on average, 0 for none. A seed gives the same one again."""
    rng = random.Random(f"{seed}/nemesis")
    names, weights = list(KINDS), [kind.weight for kind in KINDS.values()]
    faults, at = [], 1.0
    while pace and at < seconds:
        name = rng.choices(names, weights)[0]
        lasts = rng.uniform(KINDS[name].shortest, KINDS[name].longest)
        faults.append(Fault(at, name, lasts, rng.random(), rng.random()))
        at += rng.expovariate(pace)
    return faults


class Nemesis:
    """Carries out a schedule, one thing at a time, from the thread that calls `step`."""

    def __init__(
        self,
        ensemble: Ensemble,
        proxies: Proxies,
        victims: Callable[[], Sequence[Victim]],
        chosen: Sequence[Op] = CHOSEN,
    ) -> None:
        """Break these servers, these connections, and whoever lives when it is time; lose the `chosen` requests."""
        self.ensemble, self.proxies, self.victims, self.chosen = ensemble, proxies, victims, chosen
        self.done: list[Done] = []
        self.passed_over: Counter[str] = Counter()
        """Faults that were due when there was nothing to break, or more would have broken the majority."""
        self._undo: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._verbs: dict[str, Callable[[Fault], bool]] = {
            "kill the leader": lambda fault: self._server(fault, leader=True, kill=True),
            "kill a server": lambda fault: self._server(fault, leader=False, kill=True),
            "kill the majority": self._majority,
            "pause the leader": lambda fault: self._server(fault, leader=True, kill=False),
            "pause a server": lambda fault: self._server(fault, leader=False, kill=False),
            "cut connections": self._cut,
            "refuse connections": self._refuse,
            "stall one server's connections": lambda fault: self._stall(fault, self._some_proxy(fault)),
            "drop one server's packets": lambda fault: self._until_healed(fault, "filter"),
            "hang up on one server's clients": lambda fault: self._until_healed(fault, "hang_up"),
            "send one server's bytes slowly": lambda fault: self._until_healed(fault, "trickle"),
            "stall all connections": lambda fault: self._stall(fault, self.proxies),
            "delay": self._delay,
            "drop a reply": lambda fault: self._drop(fault, "drop_reply"),
            "drop a request": lambda fault: self._drop(fault, "drop_request"),
            "kill a contender": self._kill_contender,
            "stop a contender": self._stop_contender,
            "skew a clock": self._skew,
        }

    def step(self, fault: Fault) -> None:
        """Let one thing go wrong now, if it can."""
        struck = time.monotonic()
        try:
            could = self._verbs[fault.kind](fault)
        except (EnsembleError, OSError, ProcessLookupError):  # no leader right now, gone already
            could = False
        if could:
            self.done.append(Done(fault.kind, struck, time.monotonic() + fault.seconds))
        else:
            self.passed_over[fault.kind] += 1

    def mend(self, everything: bool = False) -> None:
        """End what has lasted long enough, or everything."""
        while self._undo and (everything or self._undo[0][0] <= time.monotonic()):
            heapq.heappop(self._undo)[2]()
        if everything:
            for proxy in self.proxies:
                proxy.heal()
            now = time.monotonic()
            self.done = [done._replace(over=min(done.over, now)) for done in self.done]

    def _after(self, fault: Fault, undo: Callable[[], None]) -> bool:
        self._count += 1
        heapq.heappush(self._undo, (time.monotonic() + fault.seconds, self._count, undo))
        return True

    def _server(self, fault: Fault, leader: bool, kill: bool) -> bool:
        whole = [server for server in self.ensemble.servers if server.running and not server.paused]
        if len(whole) < len(self.ensemble.servers):
            return False
        server = self.ensemble.leader() if leader else whole[int(fault.draw * len(whole))]
        if kill:
            server.kill()
            return self._after(fault, server.start)
        server.pause()
        return self._after(fault, server.resume)

    def _majority(self, fault: Fault) -> bool:
        whole = [server for server in self.ensemble.servers if server.running and not server.paused]
        if len(whole) < len(self.ensemble.servers):
            return False
        for server in whole[1:]:
            server.kill()
            self._after(fault, server.start)
        return True

    def _some_proxy(self, fault: Fault) -> Proxies:
        return Proxies([self.proxies[int(fault.draw * len(self.proxies))]])

    def _cut(self, fault: Fault) -> bool:
        for proxy in self._some_proxy(fault) if fault.size < 0.7 else self.proxies:
            proxy.cut()
        return True

    def _refuse(self, fault: Fault) -> bool:
        for proxy in self._some_proxy(fault) if fault.size < 0.5 else self.proxies:
            proxy.refuse()
            self._after(fault, proxy.accept)
        return True

    def _stall(self, fault: Fault, proxies: Proxies) -> bool:
        for proxy in proxies:
            proxy.stall()
            self._after(fault, proxy.resume)
        return True

    def _until_healed(self, fault: Fault, verb: str) -> bool:
        for proxy in self._some_proxy(fault):
            getattr(proxy, verb)()
            self._after(fault, proxy.heal)
        return True

    def _delay(self, fault: Fault) -> bool:
        for proxy in self.proxies:
            proxy.delay(0.2 * fault.size)
            self._after(fault, lambda proxy=proxy: proxy.delay(0))
        return True

    def _drop(self, fault: Fault, verb: str) -> bool:
        for proxy in self.proxies:
            getattr(proxy, verb)(self.chosen[int(fault.draw * len(self.chosen))])
        return True

    def _victim(self, fault: Fault) -> Victim | None:
        alive = self.victims()
        return alive[int(fault.draw * len(alive))] if alive else None

    def _kill_contender(self, fault: Fault) -> bool:
        if victim := self._victim(fault):
            victim.signal(signal.SIGKILL)
        return victim is not None

    def _stop_contender(self, fault: Fault) -> bool:
        if victim := self._victim(fault):
            victim.note_stop(time.monotonic() + fault.seconds)
            victim.signal(signal.SIGSTOP)

            def go_on() -> None:
                with contextlib.suppress(ProcessLookupError):
                    victim.signal(signal.SIGCONT)

            self._after(fault, go_on)
        return victim is not None

    def _skew(self, fault: Fault) -> bool:
        if victim := self._victim(fault):
            hours = (fault.size - 0.5) * 48
            with victim.skew.open("r+b") as file:
                os.pwrite(file.fileno(), struct.pack("=q", int(hours * HOUR * 1e9)), 0)
        return victim is not None
