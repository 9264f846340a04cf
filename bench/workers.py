"""Contenders in processes of their own, which are told what to do through a pipe.

They are forked off a server that has imported everything, as a minion forks its jobs.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Any

import zkcoord
import zkcoord.znode
from kazoo.client import KazooClient
from zkcoord.errors import Cancelled

from bench.measure import BenchError

# Rare pings, so that they are not taken for requests of the work.
SESSION_TIMEOUT = 60
MINION_TIMEOUT = 10
"""The session timeout of those who did not choose one."""
_LOCK_LIMIT = 120.0
_STACK = 256 * 1024
_PR_SET_PDEATHSIG = 1


class Contender:
    """What both kinds can do."""

    def lock(self) -> float:
        """Wait for a slot; the instant when it was there."""
        raise NotImplementedError

    def unlock(self) -> float:
        """Give the slot back; the instant when that began."""
        raise NotImplementedError

    def through(self) -> tuple[float, float]:
        """Lock and unlock; the instant when it was done, and the processor time spent."""
        before = time.process_time()
        self.lock()
        self.unlock()
        return time.monotonic(), time.process_time() - before


class Ours(Contender):
    """A contender of zkcoord."""

    def __init__(self, hosts: str, path: str, identifier: str, slots: int) -> None:
        """Open the session."""
        self._given = {"identifier": identifier, "ephemeral_lease": True, "max_concurrency": slots}
        self._where = {"zk_hosts": hosts, "config_get": session_of(SESSION_TIMEOUT)}
        self._path = path
        zkcoord.lock_holders(path, **self._where)

    def lock(self) -> float:
        """Wait for a slot; the instant when it was there."""
        if not zkcoord.lock(self._path, timeout=_LOCK_LIMIT, **self._given, **self._where):
            raise BenchError("no slot")
        return time.monotonic()

    def unlock(self) -> float:
        """Give the slot back; the instant when that began."""
        began = time.monotonic()
        zkcoord.unlock(self._path, **self._given, **self._where)
        return began

    def close(self) -> None:
        """End the session."""
        zkcoord.close()


class Kazoo(Contender):
    """A contender of kazoo."""

    def __init__(self, hosts: str, path: str, identifier: str, slots: int) -> None:
        """Open the session."""
        self._client = KazooClient(hosts, timeout=SESSION_TIMEOUT)
        self._client.start(timeout=30)
        self._semaphore = self._client.Semaphore(path, identifier, slots)

    def lock(self) -> float:
        """Wait for a slot; the instant when it was there."""
        self._semaphore.acquire(timeout=_LOCK_LIMIT)
        return time.monotonic()

    def unlock(self) -> float:
        """Give the slot back; the instant when that began."""
        began = time.monotonic()
        self._semaphore.release()
        return began

    def close(self) -> None:
        """End the session."""
        self._client.stop()
        self._client.close()


class Crowd:
    """Many waiters of zkcoord in one process, a thread each, which share one session."""

    def __init__(self, hosts: str, path: str, identifier: str, slots: int, listens: bool = False) -> None:
        """Take the only slot. `listens`: each waiter wants to know its position, as with events on a master's bus."""
        self._path, self._holder, self._listens = path, identifier, listens
        self._where = {"zk_hosts": hosts, "config_get": session_of(SESSION_TIMEOUT)}
        self._came: SimpleQueue[tuple[str, float]] = SimpleQueue()
        threading.stack_size(_STACK)
        self._wait(identifier)
        self._came.get(timeout=5)

    def wait(self, count: int) -> None:
        """Start so many waiters."""
        for number in range(count):
            threading.Thread(target=self._wait, args=(f"waiter-{number}",), daemon=True).start()

    def hand_over(self) -> float:
        """Give the slot back; milliseconds until a waiter has returned with it."""
        began = time.monotonic()
        zkcoord.unlock(self._path, identifier=self._holder, ephemeral_lease=True, **self._where)
        self._holder, came = self._came.get(timeout=_LOCK_LIMIT)
        return (came - began) * 1000

    def close(self) -> None:
        """The end of the process ends the waits."""

    def _wait(self, identifier: str) -> None:
        given = {"identifier": identifier, "ephemeral_lease": True, **self._where}
        if self._listens:
            given["on_position"] = lambda _: None
        with contextlib.suppress(Cancelled):
            zkcoord.lock(self._path, **given)
            self._came.put((identifier, time.monotonic()))


class Sessions:
    """Many minions in one process: a session each, which differ in their timeouts by a millisecond.

    Each has an ephemeral znode: of sessions that nobody relies on, a process keeps only a few open.
    """

    def __init__(self, hosts: str, path: str, first: int, count: int) -> None:
        """Open the sessions."""
        self._numbers = range(first, first + count)
        self._path, self._hosts = path, hosts

        def begin(number: int) -> None:
            zkcoord.znode.create(f"{path}/minion-{number}", ephemeral=True, **self._where(number))

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(begin, self._numbers))

    def work(self, seconds: float, pool_size: int, slots: int) -> list[float]:
        """Every session locks and unlocks once, spread over `seconds`; the milliseconds of each lock."""
        began = time.monotonic()

        def cycle(index: int) -> float:
            number = self._numbers[index]
            time.sleep(max(0.0, began + seconds * index / len(self._numbers) - time.monotonic()))
            start = time.monotonic()
            path = f"{self._path}/{number // pool_size}"
            given = {"identifier": f"host{number}", **self._where(number)}
            if not zkcoord.lock(path, max_concurrency=slots, timeout=_LOCK_LIMIT, **given):
                raise BenchError("no slot")
            locked = time.monotonic()
            zkcoord.unlock(path, **given)
            return (locked - start) * 1000

        with ThreadPoolExecutor(32) as pool:
            return list(pool.map(cycle, range(len(self._numbers))))

    def wait(self, path: str, count: int) -> None:
        """The first `count` minions wait for a slot at `path`."""

        def wait(number: int) -> None:
            given = {"identifier": f"host{number}", "ephemeral_lease": True, **self._where(number)}
            with contextlib.suppress(Cancelled):
                zkcoord.lock(path, **given)

        threading.stack_size(_STACK)
        for number in self._numbers[:count]:
            threading.Thread(target=wait, args=(number,), daemon=True).start()

    def close(self) -> None:
        """The end of the process ends the waits."""

    def _where(self, number: int) -> dict[str, Any]:
        return {"zk_hosts": self._hosts, "config_get": session_of(MINION_TIMEOUT + number / 1000)}


class Worker:
    """A process with one of the above in it. Must be ended."""

    def __init__(self, kind: Callable[..., Any], *args: object) -> None:
        """Start it; the first answer tells that it has a session."""
        self.pipe, theirs = _FORKS.Pipe()
        self._process = _FORKS.Process(target=_serve, args=(theirs, kind, args), daemon=True)
        self._process.start()
        theirs.close()

    @property
    def pid(self) -> int:
        """The process."""
        assert self._process.pid
        return self._process.pid

    def tell(self, command: str, *args: object) -> None:
        """Have it call a method. One at a time: `answer` comes before the next."""
        self.pipe.send((command, args))

    def answer(self, limit: float = _LOCK_LIMIT) -> Any:
        """What the method returned."""
        if not self.pipe.poll(limit):
            raise BenchError(f"a worker did not answer within {limit:g} s")
        try:
            error, value = self.pipe.recv()
        except EOFError:
            raise BenchError("a worker has died") from None
        if error:
            raise BenchError(f"in a worker: {error}")
        return value

    def ask(self, command: str, *args: object) -> Any:
        """`tell` and `answer`."""
        self.tell(command, *args)
        return self.answer()

    def memory(self) -> float:
        """Kilobytes that are its own and nobody else's."""
        lines = Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines()
        return float(sum(int(line.split()[1]) for line in lines if line.startswith("Private_")))

    def hang_up(self) -> None:
        """Let it end by itself, unless it is waiting."""
        self.pipe.close()

    def end(self, limit: float) -> None:
        """Make sure that it is gone; it has `limit` seconds."""
        self.hang_up()
        self._process.join(limit)
        if self._process.is_alive():
            self._process.kill()
            self._process.join(10)


class Crew:
    """Workers of one kind, ended with the context."""

    def __init__(self, arguments: Sequence[tuple[Any, ...]]) -> None:
        """Start a worker for each of the arguments, and wait until all have a session."""
        self.workers: list[Worker] = []
        try:
            for each in arguments:
                self.workers.append(Worker(*each))
            self.answers()
        except BaseException:
            self.end()
            raise

    def __enter__(self) -> Crew:
        """Return the crew, all of whom have a session."""
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End them."""
        self.end()

    def tell(self, command: str, *args: object) -> None:
        """Have all call a method."""
        for worker in self.workers:
            worker.tell(command, *args)

    def answers(self) -> list[Any]:
        """What it returned to each."""
        return [worker.answer() for worker in self.workers]

    def end(self) -> None:
        """Make sure that all are gone."""
        for worker in self.workers:
            worker.hang_up()
        end = time.monotonic() + 10
        for worker in self.workers:
            worker.end(max(0.1, end - time.monotonic()))


def session_of(seconds: float) -> Callable[[str, object], object]:
    """A configuration with this session timeout, and nothing else."""
    return lambda key, default=None: seconds if key == "zookeeper:session_timeout" else default


def _serve(pipe: Connection, kind: Callable[..., Any], args: tuple[object, ...]) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the one who started them
    with contextlib.suppress(EOFError, OSError):
        served, error = _called(kind, args)
        pipe.send((error, None))
        while True:
            command, arguments = pipe.recv()
            value, error = _called(getattr(served, command), arguments)
            pipe.send((error, value))
    if served is not None:
        served.close()


def _called(function: Callable[..., Any], args: Sequence[object]) -> tuple[Any, str | None]:
    try:
        return function(*args), None
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"


_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["bench.workers"])
