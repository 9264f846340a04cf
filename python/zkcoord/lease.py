"""Timed leases: one holder at a time, and a claim that ends by the clock.

A slot of `zkcoord.lock` ends with its session, or when somebody gives it back. A timed lease ends when it was not
renewed for its duration, whatever has died. This is for ZooKeeper what leaselocker is for Kubernetes, with the same
record. ``LeaseLocker`` holds one lease and renews it. ``LeaseLock`` reads and writes a record as it is. The functions
`take`, `renew` and `give_back` go by the owner's name, from any process, and nothing renews a lease that was taken so.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass

from zkcoord import _core, _lease_news
from zkcoord._call import call, wait_for
from zkcoord._documented import documented
from zkcoord._lease_by_name import LEASE_DURATION, MAX_CLOCK_SKEW, Taken, below, give_back, renew, status, take
from zkcoord._lease_calls import Turn, check_callable, check_terms, log, quietly
from zkcoord._lease_record import LeaseLock, LockRecord
from zkcoord.connection import settings_for
from zkcoord.errors import (
    ArgumentError,
    ConnectionLost,
    Error,
    LeaseExpired,
    LeaseLost,
    NoAuth,
    ServerError,
    Unreachable,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any

    from typing_extensions import Self, Unpack
    from zkcoord._types import ConnectionKeywords, Hosts, Scalar
    from zkcoord.connection import Connection

__all__ = [
    "Config",
    "LeaseLock",
    "LeaseLocker",
    "LockRecord",
    "Taken",
    "below",
    "give_back",
    "renew",
    "status",
    "take",
]

RENEW_DEADLINE = 10.0
RETRY_PERIOD = 2.0
UNLOCK_WITH_RETRY_PERIOD = 10.0

# Seconds for giving back a lease that this object has lost, or that nobody could listen to.
_A_MOMENT = 2.0


@dataclass(frozen=True, kw_only=True)
class Config:
    """The settings of a `LeaseLocker`, by the names that leaselocker documents. Durations are seconds."""

    lock: LeaseLock
    """Which lease, as whom, on which servers."""
    lease_duration: float = LEASE_DURATION
    """For how long after its last renewal the lease is held, and others wait."""
    renew_deadline: float = RENEW_DEADLINE
    """How long a renewal may take before it counts as late."""
    retry_period: float = RETRY_PERIOD
    """The time from one renewal to the next."""
    unlock_with_retry_period: float = UNLOCK_WITH_RETRY_PERIOD
    """How long `LeaseLocker.unlock_with_retry` tries."""
    release_on_cancel: bool = False
    """Whether the lease is given back at the end of the process."""
    use_observed_time: bool = True
    """False: compare the time in the record, which is another host's clock, with this host's."""
    name: str | None = None
    """What the log calls the lease."""

    def __post_init__(self) -> None:
        """Check the durations as leaselocker does: duration > deadline > 1.2 x period."""
        terms = (self.lease_duration, self.use_observed_time, MAX_CLOCK_SKEW)
        _core.lease_check(terms, (self.renew_deadline, self.retry_period, self.release_on_cancel))
        _core.lease_seconds("unlock_with_retry_period", self.unlock_with_retry_period)


class LeaseLocker:
    """A lease that this object takes, renews and gives back.

    While the lease is held a thread of the core renews it, whatever Python is busy with. When it is lost, `held` is
    False at once, the log has an error, and ``on_lost`` is called. A lost lease is never taken back in silence: `lock`
    takes it anew, with a greater fencing token. A child that was forked off holds nothing and renews nothing. At the
    end of the process the lease is left to run out, unless ``release_on_cancel`` is true.

    As a context manager the object locks the lease at the beginning of the block, and gives it back at the end. Where
    the lease was lost meanwhile, the end of the block raises `LeaseLost`, unless the block has raised something itself.
    """

    @documented
    def __init__(
        self,
        path: str,
        owner: Scalar | None = None,
        zk_hosts: Hosts | None = None,
        *,
        lease_duration: float = LEASE_DURATION,
        renew_deadline: float = RENEW_DEADLINE,
        retry_period: float = RETRY_PERIOD,
        unlock_with_retry_period: float = UNLOCK_WITH_RETRY_PERIOD,
        release_on_cancel: bool = False,
        use_observed_time: bool = True,
        max_clock_skew: float | None = MAX_CLOCK_SKEW,
        name: str | None = None,
        on_lost: Callable[[], object] | None = None,
        on_event: Callable[[str, dict[str, Any]], object] | None = None,
        connection: Connection | None = None,
        cancel: _core.Cancel | None = None,
        raise_on_signal: bool = False,
        **keywords: Unpack[ConnectionKeywords],
    ) -> None:
        """Name a lease, and how it is held. Nothing is sent.

        Args:
            path: The record's znode, such as ``/leases/prod/migration``; created with its parents when it is taken. Its
                last part is the name, which is lower-cased.
            owner: Who holds it, for people: ``holderIdentity``. Two holders of the same name do not share a lease.
                Default: the host's name.
            lease_duration: Seconds for which the lease is held after each renewal.
            renew_deadline: Seconds after which a renewal that no server has acknowledged is late: the log has a
                warning, and there is the event ``renewed_late``. The renewals go on while the lease lasts.
            retry_period: Seconds from one renewal to the next. It is required that ``lease_duration`` >
                ``renew_deadline`` > 1.2 x ``retry_period``.
            unlock_with_retry_period: Seconds for which `unlock_with_retry` tries.
            release_on_cancel: True: give the lease back at the end of the process. All work that the lease guards must
                have ended by then.
            use_observed_time: True: the lease of another holder is over when its record has not changed for its
                duration, by this process's own clock or by the servers' clock. False: when the time in the record says
                so. That is the wall clock of another host, so that two hosts whose clocks differ may hold the lease at
                once; the log has a warning.
            max_clock_skew: Seconds by which the clocks of two ZooKeeper servers may differ, or one may be set. None:
                the servers' clock is not asked.
            name: What the log calls the lease. Default: ``namespace/name``, the last two parts of the path.
            on_lost: Called from a thread of its own when the lease is lost.
            on_event: Called with ``waiting``, ``acquired``, ``taken_over``, ``renewed_late``, ``released`` or
                ``lost``, and a dict that says more. ``waiting`` comes from the thread that waits, and an exception of
                the function then ends the wait.
        """
        keep = (renew_deadline, retry_period, release_on_cancel)
        self._path, described = _core.lease_path(path)
        self._terms = (lease_duration, use_observed_time, max_clock_skew)
        check_terms(name or described, self._terms, keep)
        _core.lease_seconds("unlock_with_retry_period", unlock_with_retry_period)
        check_callable("on_lost", on_lost)
        check_callable("on_event", on_event)
        self._owner = socket.gethostname() if owner is None else _core.lease_scalar("owner", owner)
        if not self._owner:
            raise ArgumentError("owner: is empty, and a lease that nobody holds is a free one; give a name", self._path)
        self._name = name or described
        self._settings = settings_for(zk_hosts, connection, keywords)
        self._keep = keep
        self._unlock_with_retry_period = unlock_with_retry_period
        self._on_lost, self._on_event = on_lost, on_event
        self._cancel, self._raise_on_signal = cancel, raise_on_signal
        self._lease: _core.TimedLease | None = None
        self._pid, self._guard = os.getpid(), threading.Lock()

    @classmethod
    def from_config(
        cls,
        config: Config,
        *,
        on_lost: Callable[[], object] | None = None,
        on_event: Callable[[str, dict[str, Any]], object] | None = None,
    ) -> Self:
        """Return a locker for the lease of ``config.lock``, with its identity and its connection."""
        lock = config.lock
        made = cls(
            lock.path,
            lock.identity,
            lease_duration=config.lease_duration,
            renew_deadline=config.renew_deadline,
            retry_period=config.retry_period,
            unlock_with_retry_period=config.unlock_with_retry_period,
            release_on_cancel=config.release_on_cancel,
            use_observed_time=config.use_observed_time,
            name=config.name,
            on_lost=on_lost,
            on_event=on_event,
        )
        made._settings = lock._settings
        _, made._cancel, made._raise_on_signal = lock._wait
        return made

    @property
    def path(self) -> str:
        """The record's znode, below the chroot."""
        return self._path

    @property
    def owner(self) -> str:
        """Who holds it, for people."""
        return self._owner

    @property
    def held(self) -> bool:
        """Whether this object holds the lease now. No server is asked: the clock decides.

        True until the duration is over, which counts from just before the last acknowledged renewal was sent. False
        from then on, and as soon as this process learns that somebody else has the lease.
        """
        lease = self._own()
        return lease is not None and lease.state()[1] is None

    @property
    def fencing_token(self) -> int | None:
        """The zxid of the transaction that took the lease, while it is held; None while it is not.

        Later holders have greater tokens, and renewals keep the token. Work that must never happen twice passes the
        token on to the resource that it changes, which has to refuse a smaller token than it has seen.
        """
        lease = self._own()
        return lease.token if lease is not None and lease.state()[1] is None else None

    @property
    def expires_in(self) -> float | None:
        """Seconds until the lease ends if it is not renewed, negative once it is over. None: there is no lease."""
        lease = self._own()
        return None if lease is None else lease.state()[0]

    @property
    def record(self) -> LockRecord | None:
        """The record as this object has written or seen it last; None where it has taken no lease."""
        lease = self._own()
        return None if lease is None else LockRecord.from_json(lease.record()[0], self._path)

    def lock(self, timeout: float | None = None) -> bool:
        """Take the lease, and wait for it if need be: first in, first out. Where it is held already, nothing is done.

        Args:
            timeout: Seconds to wait, connecting included. None waits for ever, 0 tries once.

        Returns:
            True when the lease is held; False when the time ran out.

        Raises:
            ArgumentError: The znode holds something else than a lease's record. It is left alone.
            ConnectionLost: The time was up before a server could say whether this call has taken the lease. If it has,
                the lease is given back in the background, and it ends by the clock in any case.
            Unreachable, NoAuth, AuthFailed, TlsFailed, Cancelled, OutOfResources, ServerError: As for `zkcoord.lock`.

        A call that is cancelled holds nothing, and its queue node is deleted as for `zkcoord.lock`. When its session
        expires, the call queues again at the end, with the time that is left. Source: leaselocker, and the leader
        election of Kubernetes' client-go.
        """
        began, timeout = time.monotonic(), _core.lease_timeout(timeout)
        if self.held:
            return True
        with self._turn(timeout) as has_turn:
            if not has_turn:
                return False
            if self.held:
                return True
            if (lost := self._own()) is not None:
                # The record may still name the lost lease. Without this the call would wait until that is over.
                limit = _A_MOMENT if timeout is None else min(timeout, _A_MOMENT)
                with suppress(Unreachable, ConnectionLost, NoAuth, ServerError):
                    call(lost.release, limit, self._cancel, self._raise_on_signal)
                self._lease = None
            left = timeout if not timeout else max(timeout - (time.monotonic() - began), 0.001)
            return self._acquire(left)

    def try_lock(self) -> bool:
        """Take the lease if it can be had now, and wait for nobody: `lock` with a timeout of 0. True: it is held."""
        return self.lock(timeout=0)

    def unlock(self, timeout: float | None = None) -> bool:
        """Give the lease back.

        Args:
            timeout: Seconds for the answer; the call goes on through an outage until then. Default:
                ``connect_timeout``.

        Returns:
            True when this call has given the lease back. False where this object does not hold it: it has not locked
            the lease, has given it back before, or has lost it.

        Raises:
            Unreachable, ConnectionLost, Cancelled: No server has said whether the lease is held still. It is not
                renewed any more, and ends by the clock.
        """
        return self._give_back(timeout, self._raise_on_signal)

    def _give_back(self, timeout: float | None, raise_on_signal: bool) -> bool:
        lease = self._own()
        if lease is None:
            return False
        # Where the lease is lost already, its listeners hear that now, and not after a wait for the servers.
        _lease_news.settle(lease)
        try:
            released = call(lease.release, timeout, self._cancel, raise_on_signal)
        finally:
            _lease_news.forget(lease)
        if self._lease is lease:
            self._lease = None
        if released:
            self._tell("released", token=lease.token)
        return released

    def unlock_with_retry(self, timeout: float | None = None) -> bool:
        """Give the lease back, and go on trying through an outage.

        Args:
            timeout: Seconds to try. Default: ``unlock_with_retry_period``.

        Returns and raises what `unlock` does.
        """
        return self.unlock(self._unlock_with_retry_period if timeout is None else timeout)

    def renew(self, timeout: float | None = None) -> None:
        """Renew the lease now, beside the renewals that go on by themselves.

        Args:
            timeout: Seconds for the answer; the call goes on through an outage until then. Default:
                ``connect_timeout``.

        Raises:
            LeaseExpired, LeaseLost: The lease is over or lost, and was not taken again.
            Unreachable, ConnectionLost, Cancelled: No server answered in time. The renewals go on.
        """
        lease = self._own()
        if lease is None:
            raise LeaseLost(f"{self._owner!r} does not hold {self._path}", self._path)
        if call(lease.renew, timeout, self._cancel, self._raise_on_signal) is not None:
            raise self._loss(lease, 0.0)

    def check(self, max_tolerable_expired_lease: float = 0.0) -> None:
        """Raise an error where this object has lost the lease. No server is asked.

        Args:
            max_tolerable_expired_lease: Seconds by which the lease may be overdue, while it is not known that somebody
                else has it.

        Raises:
            LeaseExpired: No renewal was acknowledged for the duration and so many seconds more.
            LeaseLost: Somebody else has it, or has given it back, or has deleted the record.

        As in leaselocker, it raises nothing where this object has not locked the lease, or has given it back.
        """
        tolerated = _core.lease_seconds("max_tolerable_expired_lease", max_tolerable_expired_lease)
        lease = self._own()
        if lease is None:
            return
        left, end, _ = lease.state()
        if end in {None, "released"} or (end == "overdue" and left > -tolerated):
            return
        raise self._loss(lease, tolerated)

    def __enter__(self) -> Self:
        """Lock it, and return the locker."""
        self.lock()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Give it back. Raises `LeaseLost` where it was lost, unless the block has raised something already."""
        lease = self._own()
        if lease is None:
            return
        loss = self._loss(lease, 0.0) if lease.state()[1] is not None else None
        try:
            # An exception of the block goes on. So a signal that comes then runs its handler, and is not `Cancelled`.
            released = self._give_back(None, self._raise_on_signal and error is None)
        except Error as err:
            if error is None:
                raise (loss or err) from (err if loss else err.__cause__)
            log("warning", "%s: could not be given back: %s", (self._name, err))
            return
        loss = loss or (None if released else self._loss(lease, 0.0))
        if loss is not None and error is None:
            raise loss

    def __repr__(self) -> str:
        """Show which lease, whose, and whether it is held."""
        return f"<LeaseLocker {self._path} for {self._owner!r}, {'held' if self.held else 'not held'}>"

    def _acquire(self, timeout: float | None) -> bool:
        listener = None if self._on_event is None else self._waits
        taken = wait_for(
            lambda wait, on_position: _core.lease_acquire(
                self._path, self._owner, False, self._terms, self._keep, on_position, self._settings, wait
            ),
            timeout,
            self._cancel,
            self._raise_on_signal,
            listener,
        )
        if not isinstance(taken, _core.TimedLease):
            return False
        try:
            _lease_news.listen(taken, lambda kind, why, by: self._hear(taken, kind, why, by))
        except BaseException:  # also what a signal handler raises while the thread is started
            _lease_news.drop(taken)
            with suppress(Error):
                call(taken.release, _A_MOMENT, None, False)
            raise
        self._lease = taken
        about = {"token": taken.token, "transitions": taken.transitions}
        self._tell("acquired", **about)
        if taken.taken_from is not None:
            self._tell("taken_over", taken_from=taken.taken_from, **about)
        _lease_news.settle(taken)
        return True

    def _own(self) -> _core.TimedLease | None:
        """The lease of this object, if this process has taken it."""
        lease = self._lease
        return lease if lease is not None and lease.is_own else None

    def _turn(self, timeout: float | None) -> Turn:
        if self._pid != os.getpid():
            self._pid, self._guard = os.getpid(), threading.Lock()
        return Turn(self._guard, timeout)

    def _waits(self, position: int) -> None:
        self._tell("waiting", position=position)

    def _hear(self, lease: _core.TimedLease, kind: str, why: str, by: str | None) -> None:
        if kind == "late":
            because = f": {why}" if why else ""
            log(
                "warning",
                "%s: no renewal was acknowledged for %s s; it is tried on%s",
                (self._name, self._keep[0], because),
            )
            self._tell("renewed_late", expires_in=round(lease.state()[0], 3))
            return
        if self._on_lost is not None:
            # It is called first, and in a thread of its own, because it may take long while others wait for their news.
            try:
                threading.Thread(target=self._on_lost, name="zkcoord-lost", daemon=True).start()
            except RuntimeError:
                quietly(self._on_lost)
        who = f": {by!r}" if by else ""
        log("error", "%s: %r has lost the lease: %s%s", (self._name, self._owner, why, who))
        self._tell("lost", token=lease.token, why=why, holder=by)

    def _tell(self, kind: str, **about: object) -> None:
        on_event = self._on_event
        if on_event is not None:
            facts = {"path": self._path, "owner": self._owner, **about}
            if kind == "waiting":
                on_event(kind, facts)  # an exception of it ends the wait
            else:
                quietly(lambda: on_event(kind, facts))

    def _loss(self, lease: _core.TimedLease, tolerated: float) -> LeaseLost:
        left, end, by = lease.state()
        who, where = repr(self._owner), self._path
        if end == "overdue":
            more = f", which is more than the tolerated {tolerated:g} s" if tolerated else ""
            return LeaseExpired(f"the lease {where} of {who} is overdue by {-left:.3f} s{more}", where)
        if end == "taken over":
            end = f"{by!r} has it"
        elif end == "released":
            end = "it was not held when it was to be given back"
        return LeaseLost(f"{who} has lost the lease {where}: {end}", where)
