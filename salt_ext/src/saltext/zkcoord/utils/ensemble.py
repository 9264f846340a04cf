"""An ensemble, as Salt's functions ask for it: the calls, and what is made of the answers."""

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager
from typing import Any

from salt.exceptions import CommandExecutionError, SaltInvocationError
from saltext.zkcoord.utils.client import Client
from saltext.zkcoord.utils.config import Configuration
from saltext.zkcoord.utils.errors import runner_errors
from zkcoord import ensemble, znode
from zkcoord.ensemble import MemberNotReadyError, MembersSyncingError, NoUnitFoundError, QuorumLeaderNotFoundError
from zkcoord.errors import (
    Cancelled,
    ConnectionLost,
    Error,
    NotServing,
    ReconfigConflict,
    ReconfigInProgress,
)

_Entry = tuple[int, tuple[str, str]]

_IN_SYNC = ("leader", "follower", "observer")
# Errors that pass by waiting: with `retry` Salt tries the state again.
_PASSING = (
    MembersSyncingError,
    MemberNotReadyError,
    QuorumLeaderNotFoundError,
    NoUnitFoundError,
    ReconfigInProgress,
    ReconfigConflict,
)


class EnsembleClient(Client):
    """The calls of one Salt function about an ensemble."""

    def __init__(
        self,
        salt: Mapping[str, Callable[..., Any]],
        opts: Mapping[str, Any],
        configuration: Configuration,
        admin_port: object,
        timeout: object,
        *connection: object,
        **security: Any,
    ) -> None:
        """Take what the calling module has, the port of the AdminServers, and the connection's arguments."""
        super().__init__(salt, opts, configuration, *connection, **security)
        if admin_port is None:
            admin_port = configuration.get("admin_port", None, self._profile or None)
        self._admin = {"admin_port": admin_port}
        self._time = {"timeout": timeout}

    def status(self, clocks: bool = False) -> dict[str, Any]:
        """Ask every server what it is."""
        with self.errors():
            return dict(ensemble.status(**self._admin, **self._time, clocks=clocks, **self._keywords))

    def leader(self) -> str:
        """Find the server that leads."""
        with self.errors():
            return ensemble.leader(**self._admin, **self._time, **self._keywords)

    def config(self) -> tuple[list[str], int]:
        """Read who is in the ensemble, and since which change."""
        with self.errors():
            return ensemble.config(**self._time, **self._keywords)

    def ask(self, word: str) -> dict[str, dict[str, str]]:
        """Ask all servers a four-letter word. Where a server does not answer, its reason is there."""
        with self.errors():
            answers = self._answers(word, hurried=False)
            if all(isinstance(answer, Error) for answer in answers.values()):
                raise next(iter(answers.values()))
        return {server: _shown(answer) for server, answer in answers.items()}

    def is_ready(self) -> bool:
        """Whether all servers are in sync with an ensemble."""
        with self.errors():
            return all(_mode(answer) in _IN_SYNC for answer in self._answers("srvr").values())

    def any_unit(self) -> str:
        """Find the first server that serves."""
        with self.errors():
            answers = self._answers("srvr")
            found = next((server for server, answer in answers.items() if not isinstance(answer, Exception)), None)
            if found is None:
                raise NoUnitFoundError("no server serves: " + "; ".join(map(str, answers.values())))
            return found

    def of_leader(self) -> Mapping[str, str]:
        """What the leader answers to ``srvr``."""
        with self.errors():
            return self._led()[0]

    def is_syncing(self) -> bool:
        """Whether any server runs, and does not serve yet."""
        with self.errors():
            return any(isinstance(answer, NotServing) for answer in self._led()[1].values())

    def _led(self) -> tuple[Mapping[str, str], Mapping[str, Any]]:
        """What the leader answers to ``srvr``, and the answers of all."""
        answers = self._answers("srvr")
        for answer in answers.values():
            if _mode(answer) == "leader":
                return answer, answers
        found = "; ".join(str(answer) for answer in answers.values() if isinstance(answer, Exception))
        raise QuorumLeaderNotFoundError(f"none of the servers that were named leads{found and ': '}{found}")

    def _answers(self, word: str, hurried: bool = True) -> Mapping[str, Any]:
        return ensemble.ask(word, hurried=hurried, **self._admin, **self._time, **self._keywords)

    def change(self, function: str, members: object, only_decide: bool = False) -> dict[str, Any]:
        """Add, or remove, members, one at a time, all in the time of one call."""
        listed = members if isinstance(members, list) else [members]
        answer: dict[str, Any] = {"changed": False}
        end = None if self._time["timeout"] is None else time.monotonic() + seconds(self._time["timeout"])
        for member in listed:
            rest = None if end is None else max(end - time.monotonic(), 0.001)
            argument = member if function == "add_member" or "=" in str(member) else id_of(member)
            with self.errors():
                step = {"timeout": rest, "only_decide": only_decide, **self._admin, **self._keywords}
                done = getattr(ensemble, function)(argument, **step)
            answer = {**done, "changed": answer["changed"] or done["changed"]}
        return answer

    def wait_synced(self, ids: Iterable[int] | None = None) -> dict[str, Any]:
        """Wait until members are in sync."""
        with self.errors():
            return dict(ensemble.wait_synced(ids, **self._admin, **self._time, **self._keywords))

    def tree(self, path: str) -> list[str]:
        """List a znode and all below it."""
        with self.errors():
            return ensemble.tree(path, **self._time, **self._keywords)

    def on_znode(self, function: str, path: str, *args: object, **kwargs: object) -> Any:
        """Call a function about one znode."""
        return self.znode(function, path, *args, **kwargs, **self._time)


class EnsembleMaster(EnsembleClient):
    """The same for a runner: with errors that ``salt-run`` shows in one line."""

    @contextmanager
    def errors(self) -> Any:
        """Turn errors of the core into those of a runner."""
        with runner_errors(), super().errors():
            yield


def id_of(member: object) -> int:
    """Return the id in a member's line, in ``server.4``, or in ``4``."""
    text = str(member).strip().partition("=")[0].removeprefix("server.").strip()
    if not (text.isascii() and text.isdigit()):
        raise SaltInvocationError(
            f"members: {str(member)[:100]!a} is no member; give server.ID=..., server.ID, or the id"
        )
    return int(text)


def lines_of(members: object) -> list[str]:
    """Return the lines of members, each of which must be one."""
    if not isinstance(members, list) or not members or not all(isinstance(it, str) for it in members):
        raise SaltInvocationError("members: must be a list of lines such as server.1=zk1:2888:3888:participant;2181")
    return members


def difference(now: list[str], wanted: list[str], leader: int | None = None) -> list[tuple[str, Any]]:
    """Return the steps that make the members `wanted` of those that are there `now`."""
    try:
        return ensemble.steps(now, wanted, leader)
    except Error as err:
        raise SaltInvocationError(str(err)) from err


def is_up(line: str) -> bool:
    """Whether anything answers at the address where clients find a member. No secret is sent there."""
    try:
        return ensemble.is_up(line)
    except Error as err:
        raise SaltInvocationError(str(err)) from err


def is_passing(err: BaseException) -> bool:
    """Whether an error passes by waiting: a server catches up, an election goes on, somebody else changes members."""
    return isinstance(_cause(err), _PASSING)


def is_decided_anew(err: BaseException) -> bool:
    """Whether the same step may be decided a moment later, and taken then."""
    return isinstance(_cause(err), (MembersSyncingError, ReconfigInProgress, ReconfigConflict))


def may_have_changed(err: BaseException) -> bool:
    """Whether a step may have been taken although it ended with this error."""
    return isinstance(_cause(err), (MembersSyncingError, ConnectionLost, Cancelled))


def _cause(err: BaseException) -> BaseException | None:
    """The library's error below those of Salt."""
    cause = err.__cause__
    while cause is not None and not isinstance(cause, Error):
        cause = cause.__cause__
    return cause


def restart_order(status: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the members in the order in which they are restarted: observers, followers, the leader."""
    members = [row for row in status["servers"] if row["id"] is not None]
    if not members:
        raise CommandExecutionError(
            f"the members are not known: {status['trouble'] or 'no server is part of an ensemble'}"
        )
    if not any(row["mode"] == "leader" and row["in_sync"] for row in members):
        raise CommandExecutionError("no member leads now, and who is to be last is not known: ask again a little later")
    rank = {"leader": 2, "observer": 0}

    def order(row: Mapping[str, Any]) -> tuple[int, int]:
        return rank.get(row["mode"] or row["role"], 1), row["id"]

    return [
        {name: row[name] for name in ("id", "address", "role", "mode", "in_sync")} for row in sorted(members, key=order)
    ]


def entries(acls: object) -> list[_Entry]:
    """Return the entries that ACL dicts stand for."""
    found = []
    for each in acls if isinstance(acls, list | tuple) else [acls]:
        try:
            found.append(znode.digest_acl(each))
        except Error as err:
            raise SaltInvocationError(str(err)) from err
    if not found:
        raise SaltInvocationError("acls: is empty; a znode permits something to somebody")
    return found


def same(found: Iterable[_Entry], wanted: Iterable[_Entry]) -> bool:
    """Whether two ACLs permit the same. Users without ``admin`` are shown no digests."""
    there, all_of = {_plain(entry) for entry in found}, [_plain(entry) for entry in wanted]
    return there in (set(all_of), {hidden(entry) for entry in all_of})


def hidden(entry: _Entry) -> _Entry:
    """Show an entry without its digest, as it may be in ``changes``."""
    permissions, (scheme, name) = entry
    return permissions, (scheme, f"{name.partition(':')[0]}:x" if scheme == "digest" else name)


def _plain(entry: Any) -> _Entry:
    permissions, (scheme, name) = entry
    return permissions, (scheme, name)


def _shown(answer: Any) -> dict[str, str]:
    if isinstance(answer, Exception):
        return {"error": " ".join(str(answer).split())}
    return {**answer, "source": answer.source}


def _mode(answer: Any) -> str | None:
    return answer["Mode"] if isinstance(answer, ensemble.Answer) else None


def seconds(value: object) -> float:
    """Return a number of seconds."""
    try:
        found = float(str(value))
    except ValueError:
        found = float("nan")
    if not found > 0:
        raise SaltInvocationError("timeout: must be a number of seconds, more than 0")
    return found
