"""Callbacks that take replies as they come, under the names that Ganeti's client has for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zkcoord.confd._answer import is_no_such_entry
from zkcoord.confd._constants import CONFD_REPL_STATUS_OK, UPCALL_EXPIRE, UPCALL_REPLY
from zkcoord.errors import ConfdClientError

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

    from zkcoord.confd._messages import ConfdReply, ConfdUpcallPayload

_MOST_STORED = 1000
_MOST_COMPARED = 100
_MOST_LOST = 1000


def outranks(new: ConfdReply, old: ConfdReply) -> bool:
    """Tell whether a reply is to be believed rather than another: the rule of ``src/confd/reply.rs``."""
    if new.status == old.status == CONFD_REPL_STATUS_OK:
        return bool(new.serial > old.serial)
    return bool(new.status == CONFD_REPL_STATUS_OK)


def contradicts(one: ConfdReply, other: ConfdReply) -> bool:
    """Tell whether both cannot be true, and neither is known to be newer: the rule of ``src/confd/reply.rs``."""
    if one.status == other.status == CONFD_REPL_STATUS_OK:
        return bool(one.serial == other.serial and not same(one.answer, other.answer))
    statuses = {one.status, other.status}
    return CONFD_REPL_STATUS_OK in statuses and (_is_no_such_entry(one) or _is_no_such_entry(other))


def same(one: Any, other: Any) -> bool:
    """Tell whether two answers are the same JSON. Python by itself takes ``1`` and ``True`` for equal."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[name]) for name, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def _is_twin(one: ConfdReply, other: ConfdReply) -> bool:
    return bool(one.status == other.status and one.serial == other.serial and same(one.answer, other.answer))


def _is_no_such_entry(reply: ConfdReply) -> bool:
    return is_no_such_entry(reply.status, reply.answer)


def _callable(callback: Callable[[ConfdUpcallPayload], object]) -> Callable[[ConfdUpcallPayload], object]:
    if not callable(callback):
        raise ConfdClientError("callback: must be callable")
    return callback


class ConfdFilterCallback:
    """Passes on replies that are new, and swallows those that confirm one, are older, or are an error beside an answer.

    ``consistent`` has for each salt whether no two replies contradicted each other so far. A salt is forgotten when its
    query expires.
    """

    def __init__(self, callback: Callable[[ConfdUpcallPayload], object], logger: logging.Logger | None = None) -> None:
        """Take the callback to which replies are passed on, and a logger for those that are swallowed.

        Raises:
            ConfdClientError: The callback cannot be called.
        """
        self._callback = _callable(callback)
        self._logger = logger
        self._replies: dict[Any, list[ConfdReply]] = {}
        self._best: dict[Any, ConfdReply] = {}
        self.consistent: dict[Any, bool] = {}

    def __call__(self, up: ConfdUpcallPayload) -> None:
        """Take a reply, or the end of a query."""
        if up.type == UPCALL_EXPIRE:
            for by_salt in (self._replies, self._best, self.consistent):
                by_salt.pop(up.salt, None)
        elif up.type == UPCALL_REPLY and not self._is_news(up.salt, up.server_reply):
            return
        self._callback(up)

    def _is_news(self, salt: Any, reply: ConfdReply) -> bool:
        earlier = self._replies.setdefault(salt, [])
        contradicted = any(contradicts(reply, each) for each in earlier)
        self.consistent[salt] = self.consistent.get(salt, True) and not contradicted
        # One of each is enough to compare with: a server that repeats itself takes no memory.
        is_known = any(_is_twin(reply, each) for each in earlier)
        if not is_known and len(earlier) < _MOST_COMPARED:
            earlier.append(reply)
        best = self._best.get(salt)
        if best is None:
            self._best[salt] = reply
            return True
        if outranks(reply, best):
            self._best[salt] = reply
            is_confirmed = best.status == reply.status and same(best.answer, reply.answer)
            if is_confirmed:
                self._log("a newer serial confirms the answer to %s", salt)
            return not is_confirmed
        if contradicted:
            self._log("contradicting answers to %s of serial %s", salt, reply.serial, warns=True)
        else:
            self._log("swallowed a reply to %s that is no news", salt)
        return False

    def _log(self, message: str, *details: object, warns: bool = False) -> None:
        if self._logger is not None:
            (self._logger.warning if warns else self._logger.debug)(message, *details)


class ConfdCountingCallback:
    """Counts the replies to queries that are registered, and passes all on.

    A query that expires without a reply is lost. Then ``AllAnswered`` returns False, until it has done so once and
    another query is registered after that. The last thousand lost queries are kept.
    """

    def __init__(self, callback: Callable[[ConfdUpcallPayload], object], logger: logging.Logger | None = None) -> None:
        """Take the callback that is called with everything.

        Raises:
            ConfdClientError: The callback cannot be called.
        """
        self._callback = _callable(callback)
        self._logger = logger
        self._counts: dict[Any, int] = {}
        self._lost: dict[Any, None] = {}
        self._is_reported = False

    def RegisterQuery(self, salt: Any) -> None:
        """Count the replies to a query from now on.

        Raises:
            ConfdClientError: The query is registered already.
        """
        if salt in self._counts or salt in self._lost:
            raise ConfdClientError("salt: a query of that salt is registered already")
        if self._is_reported:
            self._lost.clear()
            self._is_reported = False
        self._counts[salt] = 0

    def AllAnswered(self) -> bool:
        """Tell whether each registered query has at least one reply, and none is lost."""
        self._is_reported = bool(self._lost)
        return not self._lost and all(self._counts.values())

    def __call__(self, up: ConfdUpcallPayload) -> None:
        """Take a reply, or the end of a query."""
        if up.salt in self._counts:
            if up.type == UPCALL_REPLY:
                self._counts[up.salt] += 1
            elif up.type == UPCALL_EXPIRE and not self._counts.pop(up.salt):
                self._lost[up.salt] = None
                while len(self._lost) > _MOST_LOST:
                    del self._lost[next(iter(self._lost))]
        self._callback(up)


class StoreResultCallback:
    """Keeps the last reply to each query: of the last thousand queries, also after they have expired."""

    _NO_KEY: tuple[bool, None] = (False, None)

    def __init__(self) -> None:
        """Begin with none."""
        self._answers: dict[Any, tuple[bool, ConfdUpcallPayload]] = {}

    def GetResponse(self, salt: Any) -> tuple[bool, ConfdUpcallPayload | None]:
        """Return ``(True, payload)``, the payload with the last reply to a query; or ``(False, None)``."""
        return self._answers.get(salt, self._NO_KEY)

    def __call__(self, up: ConfdUpcallPayload) -> None:
        """Take a reply."""
        if up.type != UPCALL_REPLY:
            return
        self._answers[up.salt] = (True, up)
        while len(self._answers) > _MOST_STORED:
            del self._answers[next(iter(self._answers))]
