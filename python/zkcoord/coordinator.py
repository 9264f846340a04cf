"""Ask now, act in the run in which you are granted: the interface of ``charmhelpers.coordinator``, without Juju.

    serial = coordinator.Serial(zk_hosts="zk1:2181,zk2:2181,zk3:2181")

    with serial.hook():
        if needs_restart():
            serial.acquire("restart")
        if serial.granted("restart"):
            restart()

A *unit*, such as a host, asks for a lock and goes on. The request is remembered, with its position, through the end of
the process and a reboot. Each run of the unit, a *hook*, sees what was granted before it began. What is granted is
given back at the end of a hook that succeeded, used or not; a hook that failed, or a process that died, keeps it for
the retry.

There is no leader: whoever has changed something decides right then. `zkcoord.grants` has the calls underneath.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import inspect
import logging
import os

from zkcoord import grants as calls
from zkcoord._hook_end import end
from zkcoord._overlap import Overlap
from zkcoord.connection import Connection, connection_for
from zkcoord.errors import ArgumentError, ServerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any, Protocol, TypeVar

    from typing_extensions import Self
    from zkcoord._types import Effects, GrantHolder, GrantWaiter, Hosts, LockQueue, Policy, Scalar

    _T = TypeVar("_T")

    class Decides(Protocol):
        """What decides by itself: a ``grant_<lock>``, or a value of ``grant_policies``."""

        def __call__(self, lock: str, unit: str, granted: set[str], queue: list[str], /) -> bool:
            """Tell whether the lock is to be granted to the unit."""


__all__ = ["NOT_RUN", "BaseCoordinator", "Serial", "Singleton"]

_FORMAT = "%Y-%m-%d %H:%M:%S.%fZ"
# How often a decision of a program is made anew because somebody was faster.
_MOST_TRIES = 1000


class _NotRun:
    """What a function that is guarded by `require` answers when it was not run: false, and no answer of its own."""

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "zkcoord.coordinator.NOT_RUN"


NOT_RUN = _NotRun()


class Singleton(type):
    """A class with one object. To ask for it with other arguments than it was made with is an error."""

    _made: dict[type, tuple[dict[str, Any], Any]] = {}  # noqa: RUF012 - one for all such classes

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        """Return the one object of the class. Without arguments, it is the one that there is."""
        bound = inspect.signature(cls.__init__).bind(None, *args, **kwargs)  # type: ignore[misc]
        bound.apply_defaults()
        given = {name: value for name, value in bound.arguments.items() if name != "self"}
        if cls not in Singleton._made:
            Singleton._made[cls] = (given, super().__call__(*args, **kwargs))
            return Singleton._made[cls][1]
        before, made = Singleton._made[cls]
        if (args or kwargs) and given != before:
            names = sorted(name for name in given if given[name] != before.get(name))
            raise ArgumentError(
                f"{names[0]}: there is one {cls.__name__} in a process, and it was made with other arguments; "
                "make a subclass for a second one"
            )
        return made


class BaseCoordinator(metaclass=Singleton):
    """A coordinator, as one unit sees it.

    Who is granted a lock is decided by `policy`, unless a subclass decides by itself: by ``default_grant``, by a method
    ``grant_<lock>`` for one lock, or by ``grant_policies[lock]`` for a lock whose name is no identifier. Each is called
    with ``(lock, unit, granted, queue)``, as `Serial.default_grant` is. All units must decide alike: the lock stores
    what decides, by the name of the function, and another one is an error that names both. Nobody else can decide: who
    takes a lock away from a unit, such as an operator, grants it to nobody, and the next hook of such a class does.
    """

    grant_policies: Mapping[str, Decides] = {}
    """What decides about locks whose names are no identifiers."""

    def __init__(
        self,
        relation_key: Scalar = "coordinator",
        peer_relation_name: str | None = None,
        *,
        unit: Scalar | None = None,
        root: str = calls.ROOT,
        policy: Policy = "serial",
        zk_hosts: Hosts | None = None,
        connection: Connection | None = None,
        **keywords: Any,
    ) -> None:
        """Take who it is, and where. Nothing is sent.

        Args:
            relation_key: Which coordinator it is: locks of different keys are different locks.
            peer_relation_name: Is there for the original's sake. It is `relname`, and changes nothing.
            unit: Who asks. Default: the host's name.
            root: Below which znode the coordinators are.
            policy: As for `zkcoord.grants.acquire`.
            zk_hosts: The servers, as for `zkcoord.Connection`.
            connection: A `zkcoord.Connection`, in place of ``zk_hosts`` and of all that follows.
            **keywords: The other settings of a `zkcoord.Connection`.

        Raises:
            ArgumentError: A setting of the connection is wrong, or two contradict each other.
        """
        connection = connection_for(zk_hosts, connection, keywords)
        self.unit = calls.host() if unit in (None, "") else str(unit)
        self.policy = policy
        self.relid = f"{root.rstrip('/')}/{relation_key}"
        self.relname = peer_relation_name or str(relation_key)
        self._home: dict[str, Any] = {"key": relation_key, "root": root, "connection": connection}
        self._view: dict[str, LockQueue] | None = None
        self._in_hook = False
        self._overlap = Overlap(connection.hosts, self.relid, self.unit)

    # What a hook does.

    @contextlib.contextmanager
    def hook(self) -> Iterator[Self]:
        """Be one run of the unit: `initialize` and `handle` at its beginning, and the release at its end.

        Locks that are granted, as far as this hook has seen, are given back at the end of the block, used or not. Where
        the block raises, or leaves by ``sys.exit`` with another code than 0, they are kept for the retry. Where hooks
        of one unit overlap on a host, the last to end gives them back. A forked child has no part in it.

        Raises:
            Error: What can go wrong in a call to the servers; at the end of the block as well: then the locks may be
                given back or not, and the next hook finds out.
        """
        self._in_hook, pid = True, os.getpid()
        try:
            self.initialize()
            self.handle()
            yield self
        except BaseException as err:
            if os.getpid() == pid:
                self.finish() if isinstance(err, SystemExit) and err.code in (None, 0) else self.keep()
            raise
        else:
            if os.getpid() == pid:
                self.finish()
        finally:
            self._in_hook = False
            self._overlap.end()

    def initialize(self) -> None:
        """Read what is requested and granted. Outside of `hook` the end of the process is the end of the hook.

        Locks that are granted are then given back at the end of a process that succeeds. One that ends by an exception,
        by ``sys.exit`` with another code than 0, by a signal or, as a child of ``multiprocessing``, by ``os._exit``
        keeps them. Before Python 3.12, who raises ``SystemExit`` in another way than by ``sys.exit``, ``exit`` or
        ``quit`` uses `hook`: a process does not tell at its end.

        Raises:
            Error: What can go wrong in a call to the servers.
        """
        self._overlap.begin()
        self._load()
        if not self._in_hook:
            end.register(self)

    def handle(self) -> None:
        """Decide what is granted now, for all locks, and drop requests that have expired, which is told by `msg`.

        Nobody needs it for a lock to change hands. It is for what happens by itself: a window that opens, a unit that
        is not seen any more, a process that died between asking and deciding.

        Raises:
            Error: What can go wrong in a call to the servers.
        """
        for lock in calls.locks(**self._home):
            with self._unless_broken(lock):
                self._note(lock, calls.handle(lock, by=f"handle by {self.unit}", seen=self.unit, **self._home))
                self._decide(lock)
                self._refresh(lock)

    def finish(self) -> None:
        """Give back all locks that are granted, as far as this hook has seen. It is the end of a hook that succeeded.

        Raises:
            Error: What can go wrong in a call to the servers. It is raised once all locks were tried.
        """
        granted = [(lock, own["request"]) for lock in self._view or () if (own := self._own_grant(lock))]
        if granted and not self._overlap.is_last():
            self.msg(f"another hook of {self.unit} goes on, and gives back {', '.join(lock for lock, _ in granted)}")
            granted = []
        with contextlib.ExitStack() as each:  # one does not hold up the others
            each.callback(self._overlap.end)
            for lock, request in granted:
                each.callback(self._give_back, lock, request)

    def keep(self) -> None:
        """Give nothing back, and tell what is kept for the retry. It is the end of a hook that failed."""
        kept = [lock for lock in self._view or () if self._own_grant(lock)]
        if kept:
            self.msg(f"the hook failed: {self.unit} keeps {', '.join(kept)} for the retry")

    # What a unit asks for.

    def acquire(
        self,
        lock: str,
        *,
        reason: Scalar | None = None,
        labels: Mapping[str, Scalar] | None = None,
        expires: float | None = None,
    ) -> bool:
        """Ask for a lock, unless that was done before, and tell whether it is granted. It does not wait.

        It does not matter how often it is called. It should be guarded by a condition: whoever asks in each hook is
        granted the lock again and again, for nothing.

        Args:
            lock: What it is called; any text.
            reason: Why, for people.
            labels: What a policy counts by, such as ``{"rack": "r1"}``.
            expires: Seconds after which `handle` of another unit may drop the request, or the grant, if this one has
                not been seen. It must be longer than the longest hook, and than the time between two.

        Returns:
            True: it is granted. It is given back at the end of the hook that succeeds.

        Raises:
            PolicyMismatch: The lock has another policy. The error names both.
            ArgumentError: An argument is wrong; or what decides has no name that the lock could store.
            Error: What else can go wrong in a call to the servers.
        """
        asked: dict[str, Any] = {"reason": reason, "labels": labels, "expires": expires}
        answer = calls.acquire(lock, self.unit, policy=self._policy(lock), **asked, **self._home)
        if answer["is_new"]:
            self.msg(f"{self.unit} asked for {lock}")
        self._note(lock, answer["effects"])
        self._decide(lock)
        self._refresh(lock)
        return self.granted(lock)

    def granted(self, lock: str) -> bool:
        """Tell whether a lock that was asked for is granted, as far as this hook has seen."""
        return self._own_grant(lock) is not None

    def requested(self, lock: str) -> bool:
        """Tell whether there is a request for the lock, granted or not, as far as this hook has seen."""
        return self._own(lock) is not None

    def request_timestamp(self, lock: str) -> datetime.datetime | None:
        """Return when our request for the lock was made, by the servers' clock; None where there is none.

        It is UTC, without a ``tzinfo``.
        """
        own = self._own(lock)
        return None if own is None else _time(own["timestamp"])

    def release(self, lock: str) -> bool:
        """Give a lock back before the end of the hook, or a request up.

        Returns:
            True: there was a request. False: there was none.

        Raises:
            Error: What can go wrong in a call to the servers.
        """
        own = self._own(lock)
        return self._give_back(lock, None if own is None else own["request"])

    def require(
        self, lock: str, guard_func: Callable[..., object], *guard_args: Any, **guard_kw: Any
    ) -> Callable[[Callable[..., _T]], Callable[..., _T | _NotRun]]:
        """Decorate a function that is to be run only when it is needed, and when the lock is granted.

        Args:
            lock: The lock. It is asked for when it is needed.
            guard_func: Tells whether it is needed. It is asked each time, also when the lock is granted already: what
                is no longer needed is not done.
            guard_args, guard_kw: Its arguments.

        Returns:
            A decorator. The function answers as before when it was run, and `NOT_RUN`, which is false, when not.
        """

        def decorate(function: Callable[..., _T]) -> Callable[..., _T | _NotRun]:
            @functools.wraps(function)
            def guarded(*args: Any, **kwargs: Any) -> _T | _NotRun:
                if not guard_func(*guard_args, **guard_kw):
                    return NOT_RUN
                if self.granted(lock) or self.acquire(lock):
                    return function(*args, **kwargs)
                return NOT_RUN

            return guarded

        return decorate

    # Who decides.

    def grant(self, lock: str, unit: str) -> bool:
        """Grant a lock to a unit if the policy says so, and tell whether it has it.

        Returns:
            False also where the unit has not asked for it.

        Raises:
            Error: What can go wrong in a call to the servers.
        """
        if self._decides(lock) is None:
            self._note(lock, calls.handle(lock, by=f"handle by {self.unit}", drop_expired=False, **self._home))
        else:
            self._decide(lock, only=unit)
        self._refresh(lock)
        return any(holder["unit"] == unit for holder in self._seen()[str(lock)]["holders"])

    def released(self, unit: str, lock: str, timestamp: datetime.datetime | None) -> None:
        """Be told that a grant is over. Override it to do more than write to the log.

        It is called in the process that has ended it: that of the unit itself, as a rule. `timestamp` is when the unit
        had asked for the lock, or None where that is not known any more.
        """
        self.msg(f"{unit} gave back {lock}, for which it had asked at {timestamp}")

    def msg(self, msg: str) -> None:
        """Tell of something. Override it to tell it elsewhere than in the log."""
        logging.getLogger("zkcoord.coordinator").info("%s", msg)

    # What there is.

    def queue(self, lock: str) -> LockQueue:
        """Tell who is granted a lock and who waits, right now, as `zkcoord.grants.queue` does."""
        return self._read(lock)

    @property
    def requests(self) -> dict[str, dict[str, str]]:
        """All requests as far as this hook has seen: when each unit has asked for each lock, by the servers' clock."""
        return self._by_unit(lambda queue: [*queue["holders"], *queue["waiters"]])

    @property
    def grants(self) -> dict[str, dict[str, str]]:
        """As `requests`, of those that are granted. As there, the times are those of the requests."""
        return self._by_unit(lambda queue: queue["holders"])

    def _by_unit(self, entries: Callable[[LockQueue], Any]) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = {}
        for lock, queue in self._seen().items():
            for entry in entries(queue):
                found.setdefault(entry["unit"], {})[lock] = _time(entry["timestamp"]).strftime(_FORMAT)
        return found

    # How it is done.

    def _seen(self) -> dict[str, LockQueue]:
        return self._load() if self._view is None else self._view

    def _load(self) -> dict[str, LockQueue]:
        self._view = {}
        for lock in calls.locks(**self._home):
            with self._unless_broken(lock):
                self._view[lock] = self._read(lock)
        return self._view

    @contextlib.contextmanager
    def _unless_broken(self, lock: str) -> Iterator[None]:
        """Go on with the other locks where somebody has written into the znodes of one what cannot be read."""
        try:
            yield
        except ServerError as err:
            self.msg(f"{lock} is left aside: {err}")

    def _read(self, lock: str) -> LockQueue:
        return calls.queue(lock, **self._home)

    def _refresh(self, lock: str) -> None:
        self._seen()[str(lock)] = self._read(lock)

    def _own_grant(self, lock: str) -> GrantHolder | None:
        queue = self._seen().get(str(lock))
        holders = queue["holders"] if queue else ()
        return next((holder for holder in holders if holder["unit"] == self.unit), None)

    def _own(self, lock: str) -> GrantHolder | GrantWaiter | None:
        queue = self._seen().get(str(lock))
        waiters = queue["waiters"] if queue else ()
        return self._own_grant(lock) or next((waiter for waiter in waiters if waiter["unit"] == self.unit), None)

    def _give_back(self, lock: str, request: int | None) -> bool:
        answer = calls.release(lock, self.unit, request=request, **self._home)
        self._note(lock, answer["effects"])
        self._decide(lock)
        self._refresh(lock)
        return answer["requested"]

    def _note(self, lock: str, effects: Effects) -> None:
        for dropped in effects["dropped"]:
            what = "the grant" if dropped["granted"] else "the request"
            unseen = f"not seen since {dropped['seen']}, and it expires after {dropped['expires']:g} s"
            self.msg(f"dropped {what} of {dropped['unit']} for {lock}: {unseen}")
        for unit, milliseconds in effects["released"]:
            self.released(unit, lock, _time(milliseconds / 1000) if milliseconds else None)
        for unit in effects["granted"]:
            self.msg(f"granted {lock} to {unit}")

    def _decides(self, lock: str) -> Decides | None:
        """What decides about a lock, where it is not one of our own policies."""
        name = str(lock)
        if name in self.grant_policies:
            return self.grant_policies[name]
        own: Decides | None = getattr(self, f"grant_{name}", None) if name.isidentifier() else None
        if callable(own):
            return own
        default: Decides | None = getattr(self, "default_grant", None)
        return None if getattr(type(self), "default_grant", None) in (None, Serial.default_grant) else default

    def _policy(self, lock: str) -> Policy:
        decides = self._decides(lock)
        if decides is None:
            return self.policy
        name = getattr(decides, "__qualname__", type(decides).__qualname__)
        if name.endswith("<lambda>") or isinstance(decides, functools.partial):
            raise ArgumentError(
                f"{lock}: {name} is what decides, and all of these have that name; give a def with its own"
            )
        return {"custom": name}

    def _decide(self, lock: str, only: str | None = None) -> None:
        """Have the program's own policy decide, if it has one, until nobody was faster with another decision."""
        decides, policy = self._decides(lock), self._policy(lock)
        for _ in range(_MOST_TRIES if decides else 0):
            queue = self._read(lock)
            if queue["policy"] != policy or queue["version"] is None:
                return
            chosen = self._chosen(decides, lock, queue, only)
            if not chosen:
                return
            name, version = queue["policy"]["custom"], queue["version"]
            effects = calls.grant_if(lock, name, version, chosen, by=self.unit, **self._home)
            self._note(lock, effects or {"granted": [], "released": [], "dropped": []})
            if effects and len(effects["granted"]) == len(chosen):
                return

    @staticmethod
    def _chosen(decides: Any, lock: str, queue: LockQueue, only: str | None) -> list[str]:
        held = {holder["unit"] for holder in queue["holders"]}
        waiting = [waiter["unit"] for waiter in queue["waiters"]]
        chosen: list[str] = []
        for unit in list(waiting):
            if only in (None, unit) and decides(lock, unit, set(held), list(waiting)):
                held.add(unit)
                waiting.remove(unit)
                chosen.append(unit)
        return chosen


class Serial(BaseCoordinator):
    """One unit at a time, first come, first served; or as ``policy`` says, where that is given."""

    def default_grant(self, lock: str, unit: str, granted: set[str], queue: list[str]) -> bool:
        """Tell whether a lock is to be granted to a unit. Override it, or define ``grant_<lock>``, to decide otherwise.

        Args:
            lock: The lock.
            unit: Who waits for it.
            granted: The units that are granted it: never `unit`. It may be empty.
            queue: The units that wait, in the order of their requests: always with `unit`, which need not be the first.
        """
        return not granted and queue[0] == unit


def _time(seconds: float) -> datetime.datetime:
    """A time of the servers in the form of the original: UTC, without a tzinfo."""
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).replace(tzinfo=None)
