"""What is odd about the requests for a lock, and what to do about it. Decides, and does nothing."""

import shlex
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from saltext.zkcoord.utils.tables import duration
from saltext.zkcoord.utils.terminal import quoted, shown

_SECRET = {"password", "keyfile_password"}
_Finding = dict[str, str]


class Examination:
    """One look at a lock: each finding has ``what`` and ``do``."""

    def __init__(self, queue: Mapping[str, Any], options: Mapping[str, object]) -> None:
        """Take the lock's queue, and the options that a command about the lock needs besides."""
        self._queue = queue
        self._lock = queue["lock"]
        self._options = {name: value for name, value in options.items() if value not in (None, "")}

    def findings(self, accepted: Collection[str], max_age: float) -> list[_Finding]:
        """Return all that is odd, such as units that are not `accepted`, and grants older than `max_age` seconds."""
        return [*self._strangers(accepted), *self._old_grants(max_age), *self._hopeless(), *self._expired()]

    def _strangers(self, accepted: Collection[str]) -> Iterator[_Finding]:
        for what, entry in self._entries():
            if entry["unit"] not in accepted:
                yield {
                    "what": f"{shown(entry['unit'])} {what} {shown(self._lock)} since {entry['since']}, and is no "
                    "accepted minion of this master.",
                    "do": f"Once you are sure that it is not acting any more: {self._command('revoke', entry['unit'])}",
                }

    def _old_grants(self, max_age: float) -> Iterator[_Finding]:
        for holder in self._queue["holders"]:
            if holder["age"] > max_age:
                waiting = len(self._queue["waiters"])
                yield {
                    "what": f"{shown(holder['unit'])} is granted {shown(self._lock)} for {duration(holder['age'])}, "
                    f"and {waiting} wait for it.",
                    "do": "Has its run failed? Then run it again there: it has the lock still. If it will never run "
                    f"again: {self._command('revoke', holder['unit'])}",
                }

    def _hopeless(self) -> Iterator[_Finding]:
        for waiter in self._queue["waiters"]:
            if waiter["hopeless"]:
                yield {
                    "what": f"{shown(waiter['unit'])} can never be granted {shown(self._lock)} as things are: "
                    f"{shown(waiter['hopeless'])}. The policy is {shown(self._queue['rule'])}.",
                    "do": f"Let it ask again with what is missing, after: {self._command('revoke', waiter['unit'])}",
                }

    def _expired(self) -> Iterator[_Finding]:
        for what, entry in self._entries():
            if entry["expires"] is not None and entry["unseen"] > entry["expires"]:
                yield {
                    "what": f"{shown(entry['unit'])} {what} {shown(self._lock)}, and has not been seen since "
                    f"{entry['seen']}, though it has said that this is over after {entry['expires']:g} s.",
                    "do": f"Drop it, with all that have expired: {self._command('handle')}",
                }

    def _entries(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        yield from (("is granted", holder) for holder in self._queue["holders"])
        yield from (("waits for", waiter) for waiter in self._queue["waiters"])

    def _command(self, function: str, unit: str | None = None) -> str:
        reason = " reason='...'" if unit is not None else ""
        words = [self._lock] if unit is None else [self._lock, unit]
        options = "".join(
            f" {name}={'...' if name in _SECRET else _word(value)}" for name, value in self._options.items()
        )
        return f"salt-run zk_coordinator.{function} {' '.join(map(quoted, words))}{reason}{options}"


def _word(value: object) -> str:
    text = ",".join(value) if isinstance(value, list) else value
    return quoted(text) if isinstance(text, str) else shlex.quote(str(text))
