"""What is odd about a pool, and what to do about it. Decides, and does nothing."""

import re
import shlex
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

_LEASE = re.compile(r"[0-9a-f]{32}")
_Pool = Mapping[str, Any]
_Finding = dict[str, str]


class Examination:
    """One look at a pool: each finding has ``what`` and ``do``."""

    def __init__(self, pool: _Pool, path: str, options: str = "") -> None:
        """Take the status of the pool at `path`, and what the commands need besides, such as a profile."""
        self._pool = pool
        self._path = path
        self._options = options

    @property
    def holders(self) -> list[str]:
        """Who holds a slot, for what it is worth: foreign children apart."""
        return [holder["identifier"] for holder in self._pool["holders"] if not _is_foreign(holder)]

    def holders_without_a_minion(self, known: Collection[str], is_present: Callable[[str], bool]) -> Iterator[_Finding]:
        """Find those who hold a slot and are no accepted minion, or one that does not answer."""
        for holder in self._pool["holders"]:
            who = holder["identifier"]
            if _is_foreign(holder) or (who in known and is_present(who)):
                continue
            why = "does not answer" if who in known else "is no accepted minion of this master"
            end = f" It also ends with its session {holder['session']}." if holder["ephemeral"] else ""
            yield {
                "what": f"{who} holds a slot since {holder['since']}, and {why}.{end}",
                "do": f"Once you are sure that it is not acting any more: {self._unlock(who)}",
            }

    def foreign_children(self) -> Iterator[_Finding]:
        """Find what takes a slot and is no lease."""
        for holder in self._pool["holders"]:
            if not _is_foreign(holder):
                continue
            child = shlex.quote(f"{self._path.rstrip('/')}/{holder['lease']}")
            nameless = "" if holder["identifier"] else ", and has no identifier"
            yield {
                "what": f"The child {holder['lease']} takes a slot since {holder['since']}{nameless}.",
                "do": f"Find out who made it. If nobody needs it: salt-call zookeeper.delete {child}{self._options}",
            }

    def patient_waiters(self, most: float | None) -> Iterator[_Finding]:
        """Find those who wait for more than so many seconds."""
        for waiter in self._pool["waiters"]:
            if most is not None and waiter["age"] > most:
                yield {
                    "what": f"{waiter['identifier']} waits since {waiter['since']}, in position {waiter['position']}.",
                    "do": "Look at the holders: one of them may be done and not know. If the waiter itself is gone, "
                    f"its place goes with its session {waiter['session']}.",
                }

    def limit(self, data: bytes | None, asked: int | None = None) -> Iterator[_Finding]:
        """
        Find what is wrong with the number that the pool stores.

        `data` is what its znode holds, None where there is none; it matters only where that is no number.
        """
        stored, held = self._pool["max_concurrency"], len(self._pool["holders"])
        if stored is None and data is None:
            yield {"what": "There is no such pool.", "do": "Check the path, the chroot in the hosts, and the profile."}
        elif stored is None and data and data.strip():
            yield {
                "what": "Its data is no number, so nothing limits the slots.",
                "do": f"Is it a pool at all? Then: salt-call zookeeper.set {shlex.quote(self._path)} N{self._options}",
            }
        elif stored is None:
            yield {"what": "It stores no limit: the next to lock decides.", "do": self._set_max("N")}
        elif asked is not None and asked != stored:
            yield {
                "what": f"It stores max_concurrency {stored}, not {asked}: whoever asks for {asked} is refused.",
                "do": f"Ask for {stored} everywhere, or: {self._set_max(asked)}",
            }
        if stored is not None and held > stored:
            yield {
                "what": f"{held} hold a slot, and it has {stored}.",
                "do": "Nothing, after a lock by force or a smaller limit: it ends as they unlock. Else find out who "
                "locks with another limit, or with another module.",
            }

    def _unlock(self, who: str) -> str:
        return (
            f"salt-run zk_concurrency.unlock {shlex.quote(self._path)} identifier={shlex.quote(who)}"
            f" reason='...'{self._options}"
        )

    def _set_max(self, number: object) -> str:
        return f"salt-run zk_concurrency.set_max {shlex.quote(self._path)} {number}{self._options}"


def _is_foreign(holder: Mapping[str, Any]) -> bool:
    return not holder["identifier"] or not _LEASE.fullmatch(holder["lease"])
