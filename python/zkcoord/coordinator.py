"""Ask now, act in the run in which you are granted: the interface of ``charmhelpers.coordinator``, without Juju.

    serial = coordinator.Serial(zk_hosts="zk1:2181,zk2:2181,zk3:2181")

    with serial.hook():
        if needs_restart():
            serial.acquire("restart")
        if serial.granted("restart"):
            restart()

A *unit*, such as a host, asks for a lock and goes on. The request is remembered, with its position, through the end of
the process and a reboot. Each run of the unit, a *hook*, sees what was granted before it began. A hook that succeeded
gives back the locks that are granted, whether it used them or not. After a hook that failed, or a process that died,
the unit keeps them for the retry.

There is no leader: each call that changes something also decides what is granted now. `zkcoord.grants` has the calls
underneath.
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
        """A program's own decision: a method ``grant_<lock>``, or a value of ``grant_policies``."""

        def __call__(self, lock: str, unit: str, granted: set[str], queue: list[str], /) -> bool:
            """Tell whether the lock is to be granted to the unit."""


__all__ = ["NOT_RUN", "BaseCoordinator", "Serial", "Singleton"]

_FORMAT = "%Y-%m-%d %H:%M:%S.%fZ"
# How often a decision of a program is made anew because somebody was faster.
_MOST_TRIES = 1000


class _NotRun:
    """What a function that `require` guards returns when it was not run. It is false, and no answer of the function."""

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "zkcoord.coordinator.NOT_RUN"


NOT_RUN = _NotRun()


class Singleton(type):
    """A class with one object. Asking for the object with other arguments than it was made with is an error."""

    _made: dict[type, tuple[dict[str, Any], Any]] = {}  # noqa: RUF012 - one for all such classes

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        """Return the one object of the class, made by the first call. A call without arguments takes it as it is."""
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

    `policy` decides who is granted a lock, unless a subclass decides by itself: by ``default_grant``, by a method
    ``grant_<lock>`` for one lock, or by ``grant_policies[lock]`` for a lock whose name is no identifier. Each is called
    with ``(lock, unit, granted, queue)``, as `Serial.default_grant` is. All units must decide alike: the lock stores
    the name of the function that decides, and a unit with another function gets an error that names both. Nobody else
    can decide: an operator who takes a lock away from a unit grants it to nobody, and the next hook of the class does.
    """

    grant_policies: Mapping[str, Decides] = {}
    """The functions that decide about locks whose names are no identifiers, by these names."""

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
        """Take the unit, its coordinator and the servers. Nothing is sent.

        Args:
            relation_key: Which coordinator it is: locks of different keys are different locks.
            peer_relation_name: There because charmhelpers has it. It is returned as `relname`, and changes nothing.
            unit: Who asks. Default: the host's name.
            root: The znode below which the coordinators are.
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
        """Run a hook of the unit in a ``with`` block: `initialize` and `handle` before it, `finish` or `keep` after it.

        Locks that this hook has seen granted are given back at the end of the block, whether they were used or not.
        Where the block raises, or leaves by ``sys.exit`` with another code than 0, the unit keeps them for the retry.
        Where hooks of one unit overlap on a host, the last to end gives them back. A forked child gives nothing back.

        Raises:
            Error: What can go wrong in a call to the servers. Where it is raised at the end of the block, the locks may
                be given back or not, and the next hook finds out.
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

        Then locks that are granted are given back at the end of a process that succeeds. A process that ends by an
        exception, by ``sys.exit`` with another code than 0, by a signal or, as a child of ``multiprocessing``, by
        ``os._exit`` keeps them. Python before 3.12 does not tell that ``SystemExit`` was raised in another way than by
        ``sys.exit``, ``exit`` or ``quit``: a program that does so there has to use `hook`.

        Raises:
            Error: What can go wrong in a call to the servers.
        """
        self._overlap.begin()
        self._load()
        if not self._in_hook:
            end.register(self)

    def handle(self) -> None:
        """Decide what is granted now, for all locks, and drop requests that have expired, each with a line to `msg`.

        Locks change hands without this call. It is for what happens without any call: a window opens, a unit is not
        seen any more, a process dies between asking and deciding.

        Raises:
            Error: What can go wrong in a call to the servers.
        """
        for lock in calls.locks(**self._home):
            with self._unless_broken(lock):
                self._note(lock, calls.handle(lock, by=f"handle by {self.unit}", seen=self.unit, **self._home))
                self._decide(lock)
                self._refresh(lock)

    def finish(self) -> None:
        """Give back all locks that this hook has seen granted. It is the end of a hook that succeeded.

        Raises:
            Error: What can go wrong in a call to the servers. It is raised after all locks were tried.
        """
        granted = [(lock, own["request"]) for lock in self._view or () if (own := self._own_grant(lock))]
        if granted and not self._overlap.is_last():
            self.msg(f"another hook of {self.unit} goes on, and gives back {', '.join(lock for lock, _ in granted)}")
            granted = []
        with contextlib.ExitStack() as each:  # an error over one lock does not keep the others from being given back
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
        """Ask for a lock, unless the unit has done so before, and tell whether it is granted. The call does not wait.

        To ask again keeps the request and its position. Guard the call by a condition: a unit that asks in each hook is
        granted the lock again and again, for nothing.

        Args:
            lock: What it is called; any text.
            reason: Why, for people.
            labels: What a policy counts by, such as ``{"rack": "r1"}``.
            expires: Seconds after which `handle` of another unit may drop the request, or the grant, if this unit has
                not been seen for so long. It must be longer than the longest hook, and than the time between two.

        Returns:
            True: it is granted. It is given back at the end of the hook that succeeds.

        Raises:
            PolicyMismatch: The lock has another policy. The error names both.
            ArgumentError: An argument is wrong; or the function that decides is a lambda, without a name to store.
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
        """Give a lock back before the end of the hook, or give the request for it up.

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
            lock: The lock. The unit asks for it when the function is needed.
            guard_func: Tells whether the function is needed. It is called each time, also when the lock is granted
                already: a function that is no longer needed is not run.
            guard_args, guard_kw: The arguments of ``guard_func``.

        Returns:
            A decorator. The function returns its own answer when it was run, and `NOT_RUN`, which is false, when not.
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
        """Grant a lock to a unit if the policy says so, and tell whether the unit is granted it now.

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
        """Log that a grant is over. Override this method to do more.

        The process that has ended the grant calls it: that of the unit itself, as a rule. `timestamp` is when the unit
        had asked for the lock, or None where that is not known any more.
        """
        self.msg(f"{unit} gave back {lock}, for which it had asked at {timestamp}")

    def msg(self, msg: str) -> None:
        """Write a line to the log. Override this method to send it elsewhere."""
        logging.getLogger("zkcoord.coordinator").info("%s", msg)

    # What there is.

    def queue(self, lock: str) -> LockQueue:
        """Tell who is granted a lock and who waits, right now, as `zkcoord.grants.queue` does."""
        return self._read(lock)

    @property
    def requests(self) -> dict[str, dict[str, str]]:
        """The requests that this hook has seen: ``{unit: {lock: time}}``, the time as text, by the servers' clock."""
        return self._by_unit(lambda queue: [*queue["holders"], *queue["waiters"]])

    @property
    def grants(self) -> dict[str, dict[str, str]]:
        """The requests that are granted, as in `requests`. The times are those of the requests, not of the grants."""
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
        """Leave a lock aside whose znodes hold what cannot be read, so that the hook goes on with the other locks."""
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
        """The program's own function that decides about a lock; None where a policy of zkcoord's decides."""
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
        """Have the program's own function decide, if there is one, and again while another decision was faster."""
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
            granted: The units that are granted the lock, of which `unit` is none. It may be empty.
            queue: The units that wait, in the order of their requests. `unit` is one of them, not always the first.
        """
        return not granted and queue[0] == unit


def _time(seconds: float) -> datetime.datetime:
    """A time of the servers in the form that charmhelpers has: UTC, without a tzinfo."""
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).replace(tzinfo=None)
