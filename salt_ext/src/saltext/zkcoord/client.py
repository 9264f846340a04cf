"""The core, as Salt's functions call it: errors in one line, events on the bus, reasons in the log."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

import zkcoord
from salt.exceptions import SaltException
from salt.utils.args import clean_kwargs
from saltext.zkcoord.errors import salt_errors
from saltext.zkcoord.events import Events, text_of
from zkcoord import znode
from zkcoord.errors import NoNode

log = logging.getLogger(__name__)

# What the core has beyond the connection's arguments of Salt's own module.
SECURITY = ("mechanism", "use_ssl", "ca_certs", "certfile", "keyfile", "keyfile_password", "verify_certs")


class Client:
    """The calls of one Salt function, which share the connection's arguments."""

    def __init__(
        self,
        salt: Mapping[str, Callable[..., Any]],
        opts: Mapping[str, Any],
        config_get: Callable[[str, object], object],
        **connection: Any,
    ) -> None:
        """Take what the calling module has: functions, options, configuration; and the connection's arguments."""
        self._salt = salt
        self._opts = opts
        self._config_get = config_get
        self._profile = connection.get("profile")
        self._connection = {**clean_kwargs(**connection), "config_get": config_get, "raise_on_signal": True}

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
        told = {} if events.on_position is None else {"on_position": events.on_position}
        held = self.call(
            "lock",
            path,
            identifier=identifier,
            max_concurrency=max_concurrency,
            timeout=timeout,
            ephemeral_lease=ephemeral_lease,
            force=force,
            **told,
        )
        if held:
            forced = str(force).lower() in {"true", "yes", "on", "1"}
            news = {"waited": events.waited, "max_concurrency": max_concurrency, "reason": reason}
            events.tell("forced" if forced else "acquired", **news, force=forced or None)
            if forced or reason:
                level = logging.WARNING if forced else logging.INFO
                log.log(level, "Slot taken%s: %s", " by force" if forced else "", _about(path, identifier, reason))
        return held

    def unlock(self, path: str, identifier: object, reason: object = None, **more: object) -> bool:
        """Give a slot back."""
        removed = self.call("unlock", path, identifier=identifier, **more)
        if removed:
            self.events(path, identifier).tell("released", reason=reason)
        if reason:
            outcome = "Slot given back" if removed else "No slot to give back"
            log.info("%s: %s", outcome, _about(path, identifier, reason))
        return removed

    def end(self, path: str, identifier: object, during: str) -> str | None:
        """Give an ephemeral slot back after `during`. What is returned tells that it was lost, or may be."""
        try:
            if self.unlock(path, identifier, ephemeral_lease=True):
                return None
        except SaltException as err:
            return f"{during} was called, but whether it kept the slot at {path} cannot be told: {err}"
        self.events(path, identifier).tell("lost")
        return f"{text_of(identifier)} lost the slot at {path} while {during} ran: somebody else may have held it too"

    def data(self, path: str, timeout: object) -> bytes | None:
        """Read what a znode holds; ``None`` where there is no such znode."""
        with salt_errors():
            try:
                return znode.get(path, timeout=timeout, **self._connection)
            except NoNode:
                return None

    def held_by(self, path: str) -> str:
        """Who stands in the way, for the end of a sentence."""
        try:
            holders = self.call("lock_holders", path)
        except SaltException:
            return "and who holds one cannot be told"
        return f"held by {', '.join(sorted(holders))}" if holders else "though nobody holds one now"

    def call(self, function: str, *args: object, **kwargs: object) -> Any:
        """Call a function of the core."""
        with salt_errors():
            return getattr(zkcoord, function)(*args, **kwargs, **self._connection)

    def events(self, path: object, identifier: object) -> Events:
        """What is told of a contender."""
        return Events(self._salt, self._opts, self._config_get, path, identifier, self._profile)


def _about(path: object, identifier: object, reason: object) -> str:
    said = f", because: {' '.join(str(reason).split())}" if reason else ""
    return f"{path}, {text_of(identifier)}{said}"
