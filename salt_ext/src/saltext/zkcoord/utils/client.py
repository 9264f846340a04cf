"""The core, as Salt's functions call it: errors in one line, events on the bus, reasons in the log."""

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import zkcoord
from salt.exceptions import CommandExecutionError, SaltException
from salt.utils.args import clean_kwargs
from saltext.zkcoord.utils.config import Configuration
from saltext.zkcoord.utils.errors import salt_errors
from saltext.zkcoord.utils.events import Events, text_of
from saltext.zkcoord.utils.terminal import shown
from zkcoord import _pool, semaphore, znode
from zkcoord.errors import NoNode, TimedOut

log = logging.getLogger(__name__)

# Arguments of a connection that the core has, and Salt's own module does not have.
SECURITY = ("mechanism", "use_ssl", "ca_certs", "certfile", "keyfile", "keyfile_password", "verify_certs")

# Bytes of a reason that are kept beside a lease.
_MOST_OF_A_REASON = 1024


class Client:
    """The calls of one Salt function, which share the connection's arguments."""

    def __init__(
        self,
        salt: Mapping[str, Callable[..., Any]],
        opts: Mapping[str, Any],
        configuration: Configuration,
        zk_hosts: object = None,
        profile: object = None,
        scheme: object = None,
        username: object = None,
        password: object = None,
        default_acl: object = None,
        **security: Any,
    ) -> None:
        """Take what the calling module has: functions, options, configuration; and the connection's arguments."""
        self._salt = salt
        self._opts = opts
        self._configuration = configuration
        self._profile = profile
        self.job: str | None = None
        """The id of the job that the calls are for, if it is known. It is kept beside a reason."""
        self._connection = {
            "zk_hosts": zk_hosts,
            "profile": profile,
            "scheme": scheme,
            "username": username,
            "password": password,
            "default_acl": default_acl,
            **clean_kwargs(**security),
        }

    def lock(
        self,
        path: str,
        identifier: object,
        max_concurrency: object,
        timeout: object,
        ephemeral_lease: object,
        force: object = False,
        reason: object = None,
    ) -> bool:
        """Take a slot."""
        events = self.events(path, identifier)
        listening = {} if events.on_position is None else {"on_position": events.on_position}
        held = self.call(
            "lock",
            path,
            identifier=identifier,
            max_concurrency=max_concurrency,
            timeout=timeout,
            ephemeral_lease=ephemeral_lease,
            force=force,
            **self._because(reason),
            **listening,
        )
        if held:
            forced = str(force).lower() in {"true", "yes", "on", "1"}
            news = {"waited": events.waited, "max_concurrency": max_concurrency, "reason": reason}
            events.tell("forced" if forced else "acquired", **news, force=forced or None)
            if forced or reason:
                level = logging.WARNING if forced else logging.INFO
                log.log(level, "Slot taken%s: %s", " by force" if forced else "", _about(path, identifier, reason))
        return held

    def hold(
        self,
        path: str,
        identifier: object,
        max_concurrency: object,
        timeout: object,
        keep: bool = False,
        reason: object = None,
    ) -> "Slot | None":
        """Take a slot for one piece of work; None: none was free in time. `keep`: the slot outlives this process."""
        events = self.events(path, identifier)
        listening = {} if events.on_position is None else {"on_position": events.on_position}
        try:
            hold = self.call(
                "hold",
                path,
                identifier=identifier,
                max_concurrency=max_concurrency,
                timeout=timeout,
                ephemeral_lease=not keep,
                **self._because(reason),
                **listening,
            )
        except CommandExecutionError as err:
            if isinstance(err.__cause__, TimedOut):
                return None
            raise
        events.tell("acquired", waited=events.waited, max_concurrency=max_concurrency, reason=reason)
        return Slot(self, hold)

    def _because(self, reason: object) -> dict[str, object]:
        # The core refuses a slot where the reason is too long. So it is cut here; the log and the events have all of
        # it.
        text = "" if reason is None else str(reason).strip()
        if not text:
            return {}
        return {"reason": text.encode()[:_MOST_OF_A_REASON].decode(errors="ignore"), "job": self.job}

    def unlock(self, path: str, identifier: object, reason: object = None, **more: object) -> bool:
        """Give a slot back."""
        removed = self.call("unlock", path, identifier=identifier, **more)
        if removed:
            self.events(path, identifier).tell("released", reason=reason)
        if reason:
            outcome = "Slot given back" if removed else "No slot to give back"
            log.info("%s: %s", outcome, _about(path, identifier, reason))
        return removed

    def evict(self, path: str, identifier: object, reason: object, by: object, timeout: object) -> dict[str, Any]:
        """Take a slot away from an identifier."""
        because = self._because(reason) or {"reason": reason, "job": self.job}
        evicted = self.call("evict", path, identifier, by=by or None, timeout=timeout, **because)
        if evicted["leases"]:
            self.events(path, identifier).tell("evicted", by=by or None, reason=reason)
        outcome = "Slot taken away" if evicted["leases"] else "No slot to take away"
        log.warning("%s%s: %s", outcome, f" by {shown(by)}" if by else "", _about(path, identifier, reason))
        return {**evicted, "by": by or None, "reason": reason}

    def data(self, path: str, timeout: object) -> bytes | None:
        """Read what a znode holds; ``None`` where there is no such znode."""
        with self.errors():
            try:
                return znode.get(path, timeout=timeout, **self._keywords)
            except NoNode:
                return None

    def held_by(self, path: str) -> str:
        """Tell who holds a slot, and what blocks the queue, for the end of a sentence."""
        try:
            with self.errors():
                holders, orphan = semaphore.obstacles(path, **self._keywords)
        except SaltException:
            return "and who holds one cannot be told"
        held = f"held by {', '.join(map(shown, holders))}" if holders else "though nobody holds one now"
        return held if orphan is None else f"{held}, and {blocked_by(orphan)}"

    def status(self, path: str, timeout: object) -> dict[str, Any]:
        """Tell who holds and who waits."""
        return self.call("status", path, timeout=timeout)

    def neighbours(self, path: str) -> list[str] | None:
        """List the pools beside a path at which there is no pool; None: there is one, or the servers do not tell."""
        try:
            with self.errors():
                return _pool.neighbours(path, **self._keywords)
        except SaltException:
            return None

    def pools(self, root: str, timeout: object) -> Any:
        """List the pools below a znode."""
        return self.call("pools", root, timeout=timeout)

    def call(self, function: str, *args: object, **kwargs: object) -> Any:
        """Call a function of the core."""
        with self.errors():
            return getattr(zkcoord, function)(*args, **kwargs, **self._keywords)

    def znode(self, function: str, *args: object, **kwargs: object) -> Any:
        """Call a function of the core that is about one znode."""
        with self.errors():
            return getattr(znode, function)(*args, **kwargs, **self._keywords)

    @property
    def _keywords(self) -> dict[str, Any]:
        """The connection's arguments, and what is configured of it."""
        # The core needs the configured hosts also where the call names others: it sends a configured password to no
        # other hosts.
        names = [name for name, value in self._connection.items() if value not in (None, "", [])]
        section = self._configuration.section(self._profile, names)
        return {**self._connection, "config": section, "raise_on_signal": True}

    @property
    def keywords(self) -> dict[str, Any]:
        """The connection's arguments, with what is configured of it, for a function of the core."""
        return self._keywords

    def errors(self) -> AbstractContextManager[None]:
        """Turn errors of the core into those of Salt."""
        return salt_errors()

    def events(self, path: object, identifier: object, system: str = "zk_concurrency") -> Events:
        """Return what sends the events of a contender."""
        return Events(self._salt, self._opts, self._configuration, path, identifier, self._profile, system)


class Slot:
    """A slot that is held by a lease of its own. To give it back removes this lease, and no other."""

    def __init__(self, client: Client, hold: zkcoord.Hold) -> None:
        """Keep all that the end of the process needs: Salt's loader cannot look anything up by then."""
        self._errors, self._hold = client.errors, hold
        self._events = client.events(hold.path, hold.identifier)

    def give_back(self, timeout: float | None = None) -> bool:
        """Give the slot back; False: it was lost before. The event bus hears of either."""
        with self._errors():
            was_held = self._hold.release(timeout)
        self._events.tell("released" if was_held else "lost")
        return was_held

    def end(self, during: str) -> str | None:
        """Give the slot back after the function `during`. Return a message if it was lost, or may have been."""
        path, who = self._hold.path, self._hold.identifier
        try:
            if self.give_back():
                return None
        except SaltException as err:
            return f"{during} was called, but whether it kept the slot at {path} cannot be told: {err}"
        return f"{who} lost the slot at {path} while {during} ran: somebody else may have held it too"


def blocked_by(orphan: str) -> str:
    """Tell of a queue node that belongs to no session, for the end of a sentence."""
    return f"the queue node {shown(orphan)} belongs to no session and blocks all others until somebody deletes it"


def _about(path: object, identifier: object, reason: object) -> str:
    because = f", because: {' '.join(str(reason).split())}" if reason else ""
    return f"{path}, {text_of(identifier)}{because}"
