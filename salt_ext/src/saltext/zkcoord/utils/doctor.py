"""What is odd about a pool, and what to do about it. Decides, and does nothing."""

import re
import shlex
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

_LEASE = re.compile(r"[0-9a-f]{32}")
_SECRET = {"password", "keyfile_password"}
_Pool = Mapping[str, Any]
_Finding = dict[str, str]


class Examination:
    """One look at a pool: each finding has ``what`` and ``do``."""

    def __init__(self, pool: _Pool, path: str, connection: Mapping[str, object] | None = None) -> None:
        """Take the status of the pool at `path`, and the connection's arguments, for the commands to run."""
        self._pool = pool
        self._path = path
        self._connection = {name: value for name, value in (connection or {}).items() if value not in (None, "")}

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

    def slots_held_twice(self) -> Iterator[_Finding]:
        """Find those who hold more than one slot."""
        for who, count in Counter(self.holders).items():
            if count > 1:
                yield {
                    "what": f"{who} holds {count} slots.",
                    "do": f"Find out whether two hosts call themselves that. All are freed by: {self._unlock(who)}",
                }

    def foreign_children(self) -> Iterator[_Finding]:
        """Find what takes a slot and is no lease."""
        for holder in self._pool["holders"]:
            if not _is_foreign(holder):
                continue
            child = f"{self._path.rstrip('/')}/{holder['lease']}"
            nameless = "" if holder["identifier"] else ", and has no identifier"
            yield {
                "what": f"The child {holder['lease']} takes a slot since {holder['since']}{nameless}.",
                "do": f"Find out who made it. If nobody needs it: {self._znode('delete', child)}",
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
                "do": f"Is it a pool at all? Then: {self._znode('set', self._path, ' N')}",
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
            f" reason='...'{self._options()}"
        )

    def _set_max(self, number: object) -> str:
        return f"salt-run zk_concurrency.set_max {shlex.quote(self._path)} {number}{self._options()}"

    def _znode(self, function: str, path: str, more: str = "") -> str:
        return f"salt-call zookeeper.{function} {shlex.quote(path)}{more}{self._options('hosts')}"

    def _options(self, hosts: str = "zk_hosts") -> str:
        """What a command needs besides, but for what nobody should read; `hosts` is the name of these there."""
        named = {hosts if name == "zk_hosts" else name: value for name, value in self._connection.items()}
        return "".join(f" {name}={'...' if name in _SECRET else _quoted(value)}" for name, value in named.items())


def _quoted(value: object) -> str:
    return shlex.quote(",".join(value) if isinstance(value, list) else str(value))


def _is_foreign(holder: Mapping[str, Any]) -> bool:
    return not holder["identifier"] or not _LEASE.fullmatch(holder["lease"])
