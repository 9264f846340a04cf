"""Timed leases, as Salt's functions call them: errors in one line, events on the bus, reasons in the log."""

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

from salt.exceptions import CommandExecutionError, SaltException, SaltInvocationError
from saltext.zkcoord.utils.client import Client
from saltext.zkcoord.utils.durations import seconds
from saltext.zkcoord.utils.events import Events
from saltext.zkcoord.utils.terminal import shown
from zkcoord import Connection, lease
from zkcoord.errors import ArgumentError, NoNode

log = logging.getLogger(__name__)

# A renewal is late after this part of the lease's duration, but after the core's RENEW_DEADLINE at most. The next
# renewal comes after that part of the duration, but after the core's RETRY_PERIOD at most.
_LATE, _MOST_LATE = 0.5, lease.RENEW_DEADLINE
_PERIOD, _LONGEST_PERIOD = 0.2, lease.RETRY_PERIOD


class LeaseClient(Client):
    """The calls of one Salt function about timed leases, which share the connection's arguments."""

    def owner(self, owner: object) -> str:
        """Return who holds a lease: the minion's or master's id, unless somebody else is named."""
        return str(self._opts["id"] if owner in (None, "") else owner)

    def path(self, name: str) -> str:
        """Return the path of a lease, which is the same for all ways to write the lease's name."""
        with self.errors():
            return lease.LeaseLock(name, "-").path

    @property
    def hosts(self) -> str:
        """The hosts of the servers, whether the call names them or a profile does."""
        keywords = {name: value for name, value in self._keywords.items() if name != "raise_on_signal"}
        with self.errors():
            return Connection(**keywords).hosts

    def described(self, path: str) -> str:
        """Return what a lease is called."""
        with self.errors():
            return lease.LeaseLock(path, "-").describe()

    def take(
        self, path: str, owner: object, duration: object, timeout: object, max_clock_skew: object, reason: object
    ) -> bool:
        """Take a lease by its owner's name. Nothing renews it."""
        owner, length = self.owner(owner), seconds("duration", duration)
        events = self.lease_events(path, owner)
        listening = {} if events.on_position is None else {"on_position": events.on_position}
        options = {"lease_duration": length, "timeout": timeout, "max_clock_skew": max_clock_skew}
        taken = self.lease("take", path, owner, **options, **listening)
        if taken is None:
            return False
        about = {"token": taken.token, "transitions": taken.transitions, "duration": length, "reason": reason}
        if taken.is_new:
            events.tell("acquired", waited=events.waited, **about)
        if taken.taken_from is not None:
            events.tell("taken_over", taken_from=shown(taken.taken_from), **about)
        if reason:
            log.info("Lease taken: %s", _about(path, owner, reason))
        return True

    def renew(self, path: str, owner: object, duration: object, timeout: object) -> bool:
        """Renew a lease that its owner holds by name."""
        length = None if duration is None else seconds("duration", duration)
        return self.lease("renew", path, self.owner(owner), lease_duration=length, timeout=timeout) is not None

    def give_back(self, path: str, owner: object, timeout: object, reason: object, anybody: bool = False) -> bool:
        """Give back the lease of an owner, or of whoever holds it."""
        whose = None if anybody else self.owner(owner)
        given_back = self.lease("give_back", path, whose, timeout=timeout)
        if given_back is not None:
            self.lease_events(path, given_back).tell("released", reason=reason)
        if reason:
            outcome = "No lease to give back" if given_back is None else "Lease given back"
            log.info("%s: %s", outcome, _about(path, whose if given_back is None else given_back, reason))
        return given_back is not None

    def check(self, path: str, owner: object, tolerated: object, timeout: object) -> bool:
        """Tell whether an owner holds a lease that is not overdue, by the servers' record and this host's clock."""
        owner, patience = self.owner(owner), seconds("max_tolerable_expired_lease", tolerated)
        holder = self.lease("status", path, timeout=timeout)["holder"]
        if holder is None:
            raise CommandExecutionError(f"{shown(owner)} does not hold {path}: nobody does")
        if holder["owner"] != owner:
            raise CommandExecutionError(f"{shown(owner)} does not hold {path}: {shown(holder['owner'])} does")
        if holder["left"] < -patience:
            raise CommandExecutionError(f"the lease {path} of {shown(owner)} is overdue by {-holder['left']:.1f} s")
        return True

    def record(self, path: str, timeout: object) -> dict[str, Any] | None:
        """Read a record; ``None`` where there is none."""
        with self.errors():
            lock = lease.LeaseLock(path, "-", timeout=timeout, **self._keywords)
            try:
                return _plain(lock.get()[0])
            except NoNode:
                return None

    def create(self, path: str, record: object, timeout: object) -> bool:
        """Create a record."""
        with self.errors():
            lease.LeaseLock(path, "-", timeout=timeout, **self._keywords).create(_record({}, record))
        return True

    def update(self, path: str, record: object, timeout: object) -> dict[str, Any]:
        """Change members of a record, if nobody else writes it at the same time, and return the new record."""
        with self.errors():
            lock = lease.LeaseLock(path, "-", timeout=timeout, **self._keywords)
            now = lock.get()[0]
            ours = {name: json.loads(text) for name, text in now.more.items() if name == "zkcoord"}
            # Members that are not known here stay as they are, unless they are named.
            lock.update(_record({**now.to_lease_spec(), **ours}, record))
            return _plain(lock.get()[0])

    def locker(
        self,
        path: str,
        owner: object,
        duration: object,
        max_clock_skew: object,
        on_lost: Callable[[], object] | None = None,
    ) -> "Held":
        """Prepare to hold a lease for one piece of work. The core renews it meanwhile. Nothing is sent yet."""
        owner, length = self.owner(owner), seconds("duration", duration)
        events = self.lease_events(path, owner)

        def tell(kind: str, about: Mapping[str, Any]) -> None:
            if kind == "waiting":
                if events.on_position is not None:
                    events.on_position(about["position"])
                return
            more = {key: _safe(value) for key, value in about.items() if key not in ("path", "owner")}
            events.tell(kind, **more, **({"waited": events.waited} if kind == "acquired" else {}))

        with self.errors():
            late = min(_MOST_LATE, length * _LATE)
            made = lease.LeaseLocker(
                path,
                owner,
                lease_duration=length,
                renew_deadline=late,
                retry_period=min(_LONGEST_PERIOD, length * _PERIOD),
                max_clock_skew=max_clock_skew,
                on_event=tell,
                on_lost=on_lost,
                **self._keywords,
            )
        return Held(self, made)

    def held_by(self, path: str) -> str:
        """Tell who holds a lease, and how many wait for it, for the end of a sentence."""
        try:
            status = self.lease("status", path, timeout=2)
        except SaltException:
            return "and who holds it cannot be told"
        holder, waiters = status["holder"], len(status["waiters"])
        behind = f", and {waiters} wait" if waiters else ""
        if holder is None:
            return f"though nobody holds it now{behind}"
        left = f"for {holder['left']:.0f} s more" if holder["left"] > 0 else "and overdue"
        return f"held by {shown(holder['owner'])} {left}{behind}"

    def lease(self, function: str, *args: object, **kwargs: object) -> Any:
        """Call a function of the core's timed leases."""
        with self.errors():
            return getattr(lease, function)(*args, **kwargs, **self._keywords)

    def lease_events(self, path: object, owner: object) -> Events:
        """Return what sends the events of an owner that holds a lease, or wants to."""
        return Events(self._salt, self._opts, self._configuration, path, owner, self._profile, "zk_lease", "owner")


class Held:
    """A lease that is held for one piece of work, and renewed by the core while that lasts."""

    def __init__(self, client: LeaseClient, locker: lease.LeaseLocker) -> None:
        """Keep all that the end of the process needs: Salt's loader cannot look anything up by then."""
        self._errors, self._locker = client.errors, locker

    def lock(self, timeout: object) -> bool:
        """Take the lease; False: it was not to be had in time."""
        with self._errors():
            return self._locker.lock(timeout)

    @property
    def path(self) -> str:
        """The record's znode."""
        return self._locker.path

    @property
    def token(self) -> int | None:
        """The fencing token, while it is held."""
        return self._locker.fencing_token

    def give_back(self, timeout: float | None = None) -> bool:
        """Give the lease back; False: it was lost before."""
        with self._errors():
            was_held = self._locker.held
            return self._locker.unlock(timeout) and was_held

    def end(self, during: str) -> str | None:
        """Give the lease back after the function `during`. Return a message if it was lost, or may have been."""
        path, who = self._locker.path, shown(self._locker.owner)
        try:
            if self.give_back():
                return None
        except SaltException as err:
            return f"{during} was called, but whether it kept the lease {path} cannot be told: {err}"
        return f"{who} lost the lease {path} while {during} ran: somebody else may have held it too"


def _plain(record: lease.LockRecord) -> dict[str, Any]:
    """Return a record as Salt can send it: the members that Kubernetes' records have, and all others of the record."""
    return {**{name: json.loads(text) for name, text in record.more.items()}, **record.to_lease_spec()}


def _record(before: Mapping[str, Any], changes: object) -> lease.LockRecord:
    if not isinstance(changes, Mapping) or not all(isinstance(name, str) for name in changes):
        raise SaltInvocationError("record: must be a dict such as {holderIdentity: web1, leaseDurationSeconds: 60}")
    try:
        text = json.dumps({"holderIdentity": "", **before, **changes})
    except (TypeError, ValueError) as err:
        raise ArgumentError(f"record: {err}") from err
    return lease.LockRecord.from_json(text)


def _safe(value: object) -> object:
    return shown(value) if isinstance(value, str) else value


def _about(path: object, owner: object, reason: object) -> str:
    because = f", because: {' '.join(str(reason).split())}" if reason else ""
    return f"{path}, {shown(owner or 'nobody')}{because}"
