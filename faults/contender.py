"""A process that takes turns: it locks, works a little and unlocks, and writes down what it was told.

Started as `python -m faults.contender JSON`, with the fields of `Spec`.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import multiprocessing
import os
import random
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from faults.board import CALM, RUN, Board
from faults.history import FALSE, TRUE, UNRESOLVED, Writer
from faults.stamps import Stamps

# How long an answer may take beyond the timeout that was asked for, before it counts as a hang.
MARGIN = 20.0
# "For ever" must end too: with the run, whose bound for a turn is shorter.
FOR_EVER = 120.0
TIMEOUTS = (0, 0.1, 0.3, 0.3, 1, 1, 3, 10, None)
WORK = (0, 0, 0, 0, 0.001, 0.001, 0.002, 0.005, 0.05)

FORCED = "forced"
"""The last component of the path of the pool where slots are forced too."""


@dataclass(frozen=True)
class Spec:
    """Who contends, how, and for what."""

    kind: str
    """ours, holder, kazoo, stock; minion, which forks its jobs; or one of those that break a promise on purpose."""
    name: str
    seed: str
    hosts: str
    """Where its requests go: through the proxies, or straight."""
    direct: str
    """Where its stamps go."""
    pools: dict[str, int]
    directory: str
    slot: int
    turns: int
    session_timeout: float
    bound: float


class Stuck(Exception):
    """This process cannot go on: another one has to take over."""


class Contender:
    """One identifier and its turns. What differs between kinds is in `_lock`, `_unlock` and `_token`."""

    def __init__(self, spec: Spec) -> None:
        """Begin a history. No session is opened before the first turn."""
        self.spec = spec
        self.random = random.Random(f"{spec.seed}/{spec.name}")
        self.board = Board(Path(spec.directory) / "board")
        self.stamps = Stamps(spec.direct)
        self.history = Writer(Path(spec.directory), spec.name, kind=spec.kind, pid=os.getpid())

    def live(self) -> None:
        """Take turns until there are no more, or the nemesis has stopped; then one last one."""
        for _ in range(self.spec.turns):
            if self.board.phase != RUN:
                break
            self.turn()
        else:
            return
        if self.board.phase == CALM:
            self.turn(last=True)

    def turn(self, last: bool = False) -> None:
        """Lock, work and unlock."""
        pool = self.random.choice(list(self.spec.pools))
        timeout = self.random.choice(TIMEOUTS)
        ephemeral = self.random.random() < 0.5
        force = pool.endswith(FORCED) and self.random.random() < 0.2
        work = self.random.choice(WORK)
        if last:
            timeout, force = self.spec.bound, False
        with_token = self.random.random() < 0.1
        answer = self.lock(pool, timeout, ephemeral, force, last, with_token)
        if answer == TRUE:
            time.sleep(work)
        self.settle(pool, ephemeral, answer)

    def settle(self, pool: str, ephemeral: bool, answer: str) -> None:
        """Give the slot back that is held, or may be."""
        if answer in {TRUE, UNRESOLVED}:
            while self.unlock(pool, ephemeral) not in {TRUE, FALSE}:
                pass

    def lock(self, pool: str, timeout: float | None, ephemeral: bool, force: bool, last: bool, with_token: bool) -> str:
        """Ask for a slot; what was answered."""
        self.history.note(
            op="lock", pool=pool, timeout=timeout, ephemeral=ephemeral, force=force, last=last, at=time.monotonic()
        )
        limit = MARGIN + (FOR_EVER if timeout is None else timeout)
        answer = self._call(limit, lambda: self._lock(pool, timeout, ephemeral, force))
        token = None
        if answer == TRUE and with_token:
            with contextlib.suppress(Exception):
                token = self._token(pool)
        self._stamp(f"lock {answer}", token=token)
        return answer

    def unlock(self, pool: str, ephemeral: bool) -> str:
        """Give the slot back; what was answered."""
        self.history.note(op="unlock", pool=pool, at=time.monotonic())
        answer = self._call(MARGIN, lambda: self._unlock(pool, ephemeral))
        self._stamp(f"unlock {answer}", settled=answer in {TRUE, FALSE})
        return answer

    def _call(self, limit: float, function: Callable[[], object]) -> str:
        self.board.expect(self.spec.slot, time.monotonic() + limit)
        message = None
        try:
            answer = str(function())
        except Exception as error:
            answer, message = type(error).__name__, str(error)[:200]
        self.board.expect(self.spec.slot, 0)
        self.history.note(answer=answer, at=time.monotonic(), wall=time.time(), message=message)
        return answer

    def _stamp(self, text: str, **facts: object) -> None:
        self.history.note(zxid=self.stamps.stamp(f"{self.spec.name} {text}"), **facts)

    def _lock(self, pool: str, timeout: float | None, ephemeral: bool, force: bool) -> object:
        raise NotImplementedError

    def _unlock(self, pool: str, ephemeral: bool) -> object:
        raise NotImplementedError

    def _token(self, pool: str) -> int | None:
        raise NotImplementedError


class Ours(Contender):
    """zkcoord."""

    def __init__(self, spec: Spec) -> None:
        """Import it."""
        super().__init__(spec)
        self.zkcoord, self.znode = importlib.import_module("zkcoord"), importlib.import_module("zkcoord.znode")
        settings = {"zookeeper:session_timeout": spec.session_timeout}
        self.at = {"zk_hosts": spec.hosts, "config_get": lambda key, default=None: settings.get(key, default)}

    def _lock(self, pool, timeout, ephemeral, force):
        return self.zkcoord.lock(
            pool,
            identifier=self.spec.name,
            max_concurrency=self.spec.pools[pool],
            timeout=timeout,
            ephemeral_lease=ephemeral,
            force=force,
            **self.at,
        )

    def _unlock(self, pool, ephemeral):
        return self.zkcoord.unlock(pool, identifier=self.spec.name, ephemeral_lease=ephemeral, timeout=10, **self.at)

    def _token(self, pool):
        holders = self.zkcoord.status(pool, timeout=5, **self.at)["holders"]
        return next((it["fencing_token"] for it in holders if it["identifier"] == self.spec.name), None)


class Holder(Ours):
    """zkcoord again, by `hold`: a lease of its own, which it gives back itself."""

    def __init__(self, spec: Spec) -> None:
        """Hold nothing."""
        super().__init__(spec)
        self.held = None

    def turn(self, last: bool = False) -> None:
        """Hold a slot, and now and then a second one of the same identifier beside it, given back first or last."""
        self.nested = self.random.random() < 0.2
        super().turn(last)

    def settle(self, pool, ephemeral, answer):
        """Give back what is held. What may be held, the background gives back by itself."""
        if answer == TRUE:
            super().settle(pool, ephemeral, answer)

    def _lock(self, pool, timeout, ephemeral, force):
        keywords = {"identifier": self.spec.name, "max_concurrency": self.spec.pools[pool]}
        try:
            held = self.zkcoord.hold(
                pool, timeout=timeout, ephemeral_lease=ephemeral, force=force, **keywords, **self.at
            )
        except self.zkcoord.errors.TimedOut:
            return False
        self.held = held
        if self.nested:
            self._hold_twice(pool, keywords)
        return True

    def _hold_twice(self, pool, keywords):
        try:
            second = self.zkcoord.hold(pool, timeout=1, **keywords, **self.at)
        except self.zkcoord.errors.Error:
            # The background gives back what was taken, and the queue node: until then there is more than is known.
            while self._has_more(pool):
                time.sleep(0.05)
            return
        if self.random.random() < 0.5:
            self.held, second = second, self.held
        while not second_is_over(second, self.zkcoord.errors.Error):
            pass

    def _has_more(self, pool):
        while True:
            with contextlib.suppress(self.zkcoord.errors.Error):
                status = self.zkcoord.status(pool, timeout=10, **self.at)
                own = [it for it in status["holders"] + status["waiters"] if it["identifier"] == self.spec.name]
                return any(it.get("lease") != self.held.lease for it in own)

    def _unlock(self, pool, ephemeral):
        return self.held.release(timeout=10)

    def _token(self, pool):
        return self.held.token


def second_is_over(hold, error: type[Exception]) -> bool:
    """Release a hold; whether that was answered."""
    try:
        hold.release(timeout=10)
    except error:
        return False
    return True


class Kazoo(Contender):
    """Kazoo's own Semaphore. After an error it ends its session, and with that whatever it may hold."""

    def __init__(self, spec: Spec) -> None:
        """Begin without a session."""
        super().__init__(spec)
        self.client = None

    def _connected(self):
        if self.client is None:
            self.client = importlib.import_module("kazoo.client").KazooClient(
                self.spec.hosts, timeout=self.spec.session_timeout
            )
            self.client.start(15)
        return self.client

    def _lock(self, pool, timeout, ephemeral, force):
        limit = self.spec.pools[pool]
        try:
            self.semaphore = self._connected().Semaphore(pool, self.spec.name, max_leases=limit)
            return self.semaphore.acquire(timeout=timeout or 3)
        except importlib.import_module("kazoo.exceptions").LockTimeout:
            raise
        except Exception:
            self._end()
            raise

    def unlock(self, pool, ephemeral):
        """Release it."""
        super().unlock(pool, ephemeral)
        return TRUE  # or else its session is being ended

    def _unlock(self, pool, ephemeral):
        try:
            return self.semaphore.release()
        except Exception:
            self._end()
            return UNRESOLVED

    def _token(self, pool):
        return self._connected().exists(self.semaphore.create_path).czxid

    def _end(self) -> None:
        if self.client:
            self.client.stop()
            self.client.close()
        self.client = None


class Stock(Contender):
    """Salt's stock module, as its loader hands it out."""

    def __init__(self, spec: Spec) -> None:
        """Import it, and put in place what it expects of the loader."""
        super().__init__(spec)
        self.module = importlib.import_module("salt.modules.zk_concurrency")
        self.module.__salt__ = {"config.get": lambda key, default=None: default}
        self.module.__context__ = {}
        if self.module.__virtual__() != "zk_concurrency":
            raise RuntimeError("the stock module does not load")

    def lock(self, *args):
        """Ask for a slot; an error ends this process, as it would a job, with a traceback."""
        answer = super().lock(*args)
        if answer not in {TRUE, FALSE, "LockTimeout"}:
            raise Stuck
        return answer

    def _lock(self, pool, timeout, ephemeral, force):
        # Here 0 waits for ever, and force is a NameError.
        return self.module.lock(
            pool, self.spec.hosts, self.spec.name, self.spec.pools[pool], timeout or 3, ephemeral_lease=ephemeral
        )

    def unlock(self, *args):
        """Give the slot back; an error ends this process."""
        answer = super().unlock(*args)
        if answer != TRUE:
            raise Stuck
        return answer

    def _unlock(self, pool, ephemeral):
        return self.module.unlock(
            pool, self.spec.hosts, self.spec.name, self.spec.pools[pool], ephemeral_lease=ephemeral
        )

    def _token(self, pool):
        return None


class Minion(Ours):
    """Forks a job for most turns, as a minion does, with a session of its own open meanwhile."""

    def __init__(self, spec: Spec) -> None:
        """Begin without jobs."""
        super().__init__(spec)
        self.jobs = 0

    def turn(self, last: bool = False) -> None:
        """Let a forked child take the turn, or take it."""
        if last or self.random.random() < 0.2:
            super().turn(last)
            return
        self.jobs += 1
        spec = Spec(**{**asdict(self.spec), "name": f"{self.spec.name}-{self.jobs}", "slot": self.spec.slot + 1})
        job = multiprocessing.get_context("fork").Process(target=_job, args=(spec,))
        job.start()
        job.join()
        self.board.expect(spec.slot, 0)
        if job.exitcode != 0:
            raise Stuck(f"a job ended with {job.exitcode}")


def _job(spec: Spec) -> None:
    Ours(spec).turn()


class Behind(Ours):
    """Breaks a promise: now and then makes a lease behind the protocol's back."""

    def turn(self, last: bool = False) -> None:
        """Take a turn, and then what is not given."""
        super().turn(last)
        pool = self.random.choice(list(self.spec.pools))
        lease = f"{pool}/{uuid.uuid4().hex}"
        with contextlib.suppress(Exception):
            at = {**self.at, "timeout": 10}
            self.znode.create(lease, self.spec.name, **at)
            time.sleep(0.05)
            self.znode.delete(lease, **at)


class Liar(Ours):
    """Breaks a promise: says that it was told False when it was told True, and True for what it does not hold."""

    def _lock(self, pool, timeout, ephemeral, force):
        if self.random.random() < 0.5:
            return True
        return not super()._lock(pool, timeout, ephemeral, force)

    def turn(self, last: bool = False) -> None:
        """Take a turn, and give back what was concealed."""
        super().turn(last)
        for pool in self.spec.pools:
            self._unlock(pool, False)


class Squatter(Ours):
    """Breaks a promise: at the end, puts a place into a queue that does not end with its session."""

    def turn(self, last: bool = False) -> None:
        """Squat, and take a turn."""
        if last:
            pool = next(iter(self.spec.pools))
            node = f"{pool}-__lock__/{uuid.uuid4().hex}__lock__"
            self.znode.create(node, self.spec.name, sequence=True, timeout=10, **self.at)
        super().turn(last)


KINDS = {
    "ours": Ours,
    "holder": Holder,
    "kazoo": Kazoo,
    "stock": Stock,
    "minion": Minion,
    "behind": Behind,
    "liar": Liar,
    "squatter": Squatter,
}


def main() -> int:
    """Live."""
    spec = Spec(**json.loads(sys.argv[1]))
    try:
        KINDS[spec.kind](spec).live()
    except Stuck:
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
