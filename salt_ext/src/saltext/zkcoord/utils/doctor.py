"""What is odd about a pool, and what to do about it. Decides, and does nothing."""

import re
import shlex
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from saltext.zkcoord.utils.reasons import why
from saltext.zkcoord.utils.terminal import can_be_named, quoted, shown

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
        """The identifiers that hold a slot. Children of the pool that are no leases are left out."""
        return [holder["identifier"] for holder in self._pool["holders"] if not _is_foreign(holder)]

    def holders_without_a_minion(self, known: Collection[str], is_present: Callable[[str], bool]) -> Iterator[_Finding]:
        """Find those who hold a slot and are no accepted minion, or one that does not answer."""
        for holder in self._pool["holders"]:
            who = holder["identifier"]
            if _is_foreign(holder) or (who in known and is_present(who)):
                continue
            state = "does not answer" if who in known else "is no accepted minion of this master"
            end = f" It gave as its reason: {shown(why(holder))}." if why(holder) else ""
            end += f" It also ends with its session {holder['session']}." if holder["ephemeral"] else ""
            yield {
                "what": f"{shown(who)} holds a slot since {holder['since']}, and {state}.{end}",
                "do": f"Once you are sure that it is not acting any more: {self._free(who)}",
            }

    def slots_held_twice(self) -> Iterator[_Finding]:
        """Find those who hold more than one slot."""
        for who, count in Counter(self.holders).items():
            if count > 1:
                yield {
                    "what": f"{shown(who)} holds {count} slots.",
                    "do": f"Find out whether two hosts call themselves that. All are freed by: {self._free(who)}",
                }

    def foreign_children(self) -> Iterator[_Finding]:
        """Find what takes a slot and is no lease."""
        for holder in self._pool["holders"]:
            if not _is_foreign(holder):
                continue
            nameless = "" if holder["identifier"] else ", and has no identifier"
            yield {
                "what": f"The child {shown(holder['lease'])} takes a slot since {holder['since']}{nameless}.",
                "do": f"Find out who made it. If nobody needs it: {self._delete(holder['lease'])}",
            }

    def queue_nodes_of_nobody(self) -> Iterator[_Finding]:
        """Find queue nodes that no session owns: all behind them wait for ever."""
        for waiter in self._pool["waiters"]:
            if not waiter["orphan"]:
                continue
            behind = sum(not it["orphan"] for it in self._pool["waiters"] if it["position"] > waiter["position"])
            yield {
                "what": f"The queue node {shown(waiter['place'])} of {shown(waiter['identifier'])} belongs to no "
                "session. It is persistent, as a backup that was restored leaves it: nobody waits by it, and it never "
                f"goes by itself. Whoever is behind it waits for ever, which is {behind} now.",
                "do": f"Delete it, and the next has its turn: {self._delete(waiter['place'], '-__lock__')}",
            }

    def patient_waiters(self, most: float | None) -> Iterator[_Finding]:
        """Find those who wait for more than so many seconds."""
        for waiter in self._pool["waiters"]:
            if most is not None and waiter["age"] > most and not waiter["orphan"]:
                yield {
                    "what": f"{shown(waiter['identifier'])} waits since {waiter['since']}, "
                    f"in position {waiter['position']}.",
                    "do": "Look at the holders: one of them may be done and not know. If the waiter itself is gone, "
                    f"the servers remove its queue node when session {waiter['session']} ends.",
                }

    def limit(self, data: bytes | None, asked: int | None = None) -> Iterator[_Finding]:
        """
        Find what is wrong with the number that the pool stores.

        `data` is what the pool's znode holds, None where there is no znode. It matters only where it is no number.
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

    def _free(self, who: str) -> str:
        if not can_be_named(who):
            leases = [holder["lease"] for holder in self._pool["holders"] if holder["identifier"] == who]
            return "; ".join(map(self._delete, leases))
        return (
            f"salt-run zk_concurrency.unlock {quoted(self._path)} identifier={quoted(who)}"
            f" reason='...'{self._options()}"
        )

    def _set_max(self, number: object) -> str:
        return f"salt-run zk_concurrency.set_max {quoted(self._path)} {number}{self._options()}"

    def _delete(self, child: str, of: str = "") -> str:
        return self._znode("delete", f"{self._path.rstrip('/')}{of}/{child}")

    def _znode(self, function: str, path: str, more: str = "") -> str:
        return f"salt-call zookeeper.{function} {quoted(path)}{more}{self._options('hosts')}"

    def _options(self, hosts: str = "zk_hosts") -> str:
        """The connection's arguments for a command, without secrets. `hosts` is what the command calls the hosts."""
        named = {hosts if name == "zk_hosts" else name: value for name, value in self._connection.items()}
        return "".join(f" {name}={'...' if name in _SECRET else _joined(value)}" for name, value in named.items())


def _joined(value: object) -> str:
    text = ",".join(value) if isinstance(value, list) else value
    return quoted(text) if isinstance(text, str) else shlex.quote(str(text))


def _is_foreign(holder: Mapping[str, Any]) -> bool:
    return not holder["identifier"] or not _LEASE.fullmatch(holder["lease"])
