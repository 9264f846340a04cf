"""The thread of the beacon: it waits by watches for grants of this minion, and fires an event for each at once."""

import datetime
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import zkcoord
from salt.exceptions import SaltException
from saltext.zkcoord.utils.coordinator import Coordinator
from zkcoord.errors import Cancelled, ServerError

log = logging.getLogger(__name__)

# Seconds between two decisions of this beacon. It decides in case that something can be granted and nobody has decided
# it: a process has died before it could, or a party has grown. Where many wait, each decides less often, so that all of
# them together decide about twice a second at most.
_DECIDE = 60.0
_DECIDE_FOR_EACH = 0.5
# Seconds after the start of the beacon within which it decides first. The moment is random, so that many minions that
# start together do not decide at once.
_SPREAD = 3.0
# Seconds between the decisions of two beacons after the opening of a window, in the order of the queue. The first
# beacon grants to all; the others decide in case that it is away.
_APART = 0.05
# How many times within its `expires` a unit lets itself be seen.
_SEEN = 3
# Seconds of one wait. Between two waits the thread checks whether Salt still calls the beacon, which it does every
# second or once in its `interval`. After _FORGOTTEN seconds without a call the thread ends: nobody wants the beacon any
# more.
_WAIT = 20.0
_FORGOTTEN = 60.0
# Seconds until the thread checks again whether a state run has ended.
_BUSY = 5.0
# Seconds until the thread tries again after an error.
_PAUSE = 5.0


class Watch:
    """The thread of one beacon. A child that is forked does not have the thread."""

    def __init__(
        self,
        coordinator: Callable[[], Coordinator],
        unit: str,
        tell: Callable[[Mapping[str, Any]], None],
        again: float,
        is_busy: Callable[[], bool],
        reported: dict[int, float],
        interval: float = 0.0,
    ) -> None:
        """Start the thread, which calls ``tell`` with each grant of the ``unit``.

        ``again``: after how many seconds a grant is told again. ``is_busy`` tells whether a state run goes on, during
        which nothing is told again. ``reported`` are the requests whose grants were told before, and when.
        ``interval``: seconds between two calls of Salt.
        """
        self._coordinator, self._unit, self._tell, self._again = coordinator, unit, tell, again
        self._is_busy, self._reported = is_busy, reported
        self._forgotten = max(_FORGOTTEN, 3 * interval)
        self._cancel = zkcoord.Cancel()
        self._decides_at = time.monotonic() + random.uniform(0, _SPREAD)
        self._waiting: list[str] = []
        self._complaint = ""
        self.asked_for = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="zk_coordinator", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether the thread watches."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Make the thread end, and do not wait until it has."""
        self._cancel.cancel()

    def _run(self) -> None:
        timeout = 0.0  # at first it tells what was granted before
        while time.monotonic() - self.asked_for < self._forgotten and not self._cancel.cancelled:
            try:
                coordinator = self._coordinator()
                state = coordinator.granted(self._unit, self._reported, timeout, self._cancel)
                self._note(state["granted"])
                if time.monotonic() >= self._decides_at or state["waiting"] != self._waiting:
                    self._decide(coordinator, state["waiting"], [grant["lock"] for grant in state["granted"]])
                timeout = self._wait()
            except SaltException as err:
                if isinstance(err.__cause__, Cancelled):
                    return
                if str(err) != self._complaint:
                    log.warning("What is granted to %s cannot be seen, and is waited for: %s", self._unit, err)
                self._complaint, timeout = str(err), 0.0
                time.sleep(_PAUSE)
            except Exception:
                log.exception("Grants of %s are reported no more", self._unit)
                return

    def _note(self, granted: list[Mapping[str, Any]]) -> None:
        now, self._complaint = time.monotonic(), ""
        if self._cancel.cancelled:
            return
        there = {grant["request"] for grant in granted}
        for request in self._reported.keys() - there:
            del self._reported[request]
        for grant in granted:
            reported = self._reported.get(grant["request"])
            if reported is None:
                self._reported[grant["request"]] = now
                # A run of this unit that has decided the grant itself knows of it. If that run fails, the grant is
                # reported after a while.
                if grant["by"] != self._unit:
                    self._tell(grant)
            elif self._again and now - reported >= self._again:
                if self._is_busy():
                    self._reported[grant["request"]] = now - self._again + min(_BUSY, self._again)
                    continue
                self._reported[grant["request"]] = now
                self._tell(grant)

    def _decide(self, coordinator: Coordinator, waiting: list[str], held: list[str]) -> None:
        """Decide what nobody has decided yet, let the unit be seen, and remember when to do both again."""
        self._waiting = waiting
        pause = _DECIDE * random.uniform(0.75, 1.25)
        soonest = float("inf")
        for lock in [*waiting, *held]:
            try:
                coordinator.handle(lock, f"beacon of {self._unit}", seen=self._unit)
                queue = coordinator.queue(lock)
            except SaltException as err:
                if not isinstance(err.__cause__, ServerError):
                    raise
                log.warning("%s is left aside: %s", lock, err)
                continue
            own = next((it for it in [*queue["waiters"], *queue["holders"]] if it["unit"] == self._unit), {})
            if own.get("expires"):
                soonest = min(soonest, own["expires"] / _SEEN)
            if lock in waiting:
                pause = max(pause, len(queue["waiters"]) * _DECIDE_FOR_EACH * random.uniform(0.75, 1.25))
            if queue["opens"] and own.get("position"):
                soonest = min(soonest, _seconds_to(queue["opens"]) + own["position"] * _APART)
        self._decides_at = time.monotonic() + min(pause, soonest)

    def _wait(self) -> float:
        """How many seconds to wait for the next grant."""
        now = time.monotonic()
        due = [self._decides_at]
        if self._again:
            due += [reported + self._again for reported in self._reported.values()]
        return min(_WAIT, max(0.05, min(due) - now))


def _seconds_to(time_of_day: str) -> float:
    then = datetime.datetime.fromisoformat(time_of_day.replace("Z", "+00:00"))
    return max(0.05, (then - datetime.datetime.now(datetime.timezone.utc)).total_seconds())


_watches: dict[str, tuple[int, object, Watch]] = {}
# The grants that the threads of a beacon have told, by its name, with its settings. Salt closes all beacons when it
# refreshes its modules, as it does in a run that installs a package. Without this the next thread would tell all again.
_remembered: dict[str, tuple[object, dict[int, float]]] = {}
_guard = threading.Lock()


def ensure(name: str, settings: object, start: Callable[[dict[int, float]], Watch]) -> None:
    """Make sure that the beacon of that name has a thread in this process, with these settings.

    A new thread is made by ``start``, which is called with the grants that the thread before it has told.
    """
    with _guard:
        pid, before, watch = _watches.get(name, (0, None, None))
        if watch is not None and pid == os.getpid():
            if watch.is_alive and before == settings:
                watch.asked_for = time.monotonic()
                return
            watch.stop()
        of, reported = _remembered.get(name, (None, {}))
        _remembered[name] = (settings, reported if of == settings else {})
        _watches[name] = (os.getpid(), settings, start(_remembered[name][1]))


def stop(name: str) -> None:
    """End the thread of a beacon."""
    with _guard:
        pid, _, watch = _watches.pop(name, (0, None, None))
    if watch is not None and pid == os.getpid():
        watch.stop()
