"""The replies to one query, and which answer can be trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from zkcoord.confd._constants import (
    CONFD_ERROR_ARGUMENT,
    CONFD_ERROR_INTERNAL,
    CONFD_REPL_STATUS_ERROR,
    CONFD_REPL_STATUS_OK,
)
from zkcoord.errors import Inconsistent, ServerError, TooFewReplies, UnknownEntry, Unreachable

if TYPE_CHECKING:
    from collections.abc import Iterable

_LONGEST = 60
_MOST_NAMED = 7
# Ganeti's own name for the error, in the text of a reply.
_NO_ENTRY = "ECodeNoEnt"
_MOST_DISCARDED = 3
# The types of requests whose answers may be longer than a datagram.
_LONG = ("node_drbd", "node_instances", "instance_disks", "config_query")
_NUMBERS = {
    CONFD_ERROR_INTERNAL: "1, an error within ganeti-confd",
    CONFD_ERROR_ARGUMENT: "2, the query is wrong",
}


def is_no_such_entry(status: object, answer: object) -> bool:
    """Tell whether a reply says that the configuration has no such entry: the rule of ``src/confd/reply.rs``."""
    if status != CONFD_REPL_STATUS_ERROR or isinstance(answer, bool):
        return False
    if isinstance(answer, (int, float)):
        return answer != CONFD_ERROR_INTERNAL
    return isinstance(answer, str) and _NO_ENTRY in answer


class PeerReply(NamedTuple):
    """What one peer has replied, or that it has not."""

    status: int | None
    """0: it has an answer. 1: none, and `answer` is the error. 2: it does not know the request. None: it is silent."""
    answer: Any
    """The answer or the error, any JSON value. Peers that give the same answer share one object."""
    serial: int | None
    """How new the answer is, among the replies to this query; 0 where the status is not 0."""
    latency: float | None
    """Seconds from the request to the reply."""
    trouble: str | None
    """Why no request could be sent to the peer, or None."""

    @property
    def is_broken(self) -> bool:
        """Whether the reply is an error of the server's own, which tells nothing of the cluster."""
        has_error = self.status not in (None, CONFD_REPL_STATUS_OK)
        return has_error and not is_no_such_entry(self.status, self.answer)


class Answer(NamedTuple):
    """What the peers have replied to one query, and which of it to believe."""

    type: str
    """The type of the request, such as ``cluster_master``."""
    query: Any
    """What was asked for."""
    answer: Any
    """The newest answer; where no peer has one, an error: a number, or a text. None where no peer has replied."""
    status: int | None
    """The status of that reply: 0 where there is an answer."""
    serial: int | None
    """The serial of that reply. It compares replies to one query, and nothing else."""
    consistent: bool
    """Whether no two peers contradict each other. Different answers of one serial do, and so does "no such entry"
    beside an answer."""
    asked: int
    """How many peers were asked."""
    replied: int
    """How many have replied."""
    answered: int
    """How many of these tell of the cluster: with an answer, or that there is no such entry. The others have an error
    of their own, such as a configuration that they cannot read."""
    needed: int
    """How many such replies were waited for."""
    timed_out: bool
    """Whether the time was up before so many replies had come, and before all peers had replied."""
    by_peer: dict[str, PeerReply]
    """What each peer that was asked has replied, by its address."""
    timeout: float
    """Seconds for which the call was to wait."""
    discarded: tuple[tuple[str, str], ...] = ()
    """Up to 16 pairs: who has sent a datagram that was discarded, and why it was."""
    key_is_stripped: bool = False
    """Whether the key looks like one of Ganeti's without its newline. No server answers to such a key."""

    @property
    def ok(self) -> bool:
        """Whether there is an answer."""
        return self.status == CONFD_REPL_STATUS_OK

    @property
    def silent(self) -> list[str]:
        """The peers that were asked and have not replied."""
        return [peer for peer, reply in self.by_peer.items() if reply.status is None]

    def result(self, *, require_quorum: bool = True, require_consistent: bool = True) -> Any:
        """Return the answer, if it can be trusted.

        Args:
            require_quorum: False takes an answer though fewer replies tell of the cluster than were waited for.
            require_consistent: False takes one though the peers contradict each other: the one that most of them give.

        Raises:
            Unreachable: No peer has replied.
            TooFewReplies: Fewer peers have replied than were waited for, or fewer of them tell of the cluster.
            Inconsistent: Peers contradict each other.
            UnknownEntry: The configuration has no such entry.
            ServerError: The servers cannot answer, for a reason of their own.
        """
        if not self.replied:
            raise Unreachable(
                f"no ganeti-confd answered {self.type} within {self.timeout:g} s, asked {_named(self.by_peer)}: "
                f"{self._advice()}"
            )
        # Where all peers have replied and none of them can answer, the error below is the one of the servers.
        if require_quorum and (self.timed_out or 0 < self.answered < self.needed):
            raise TooFewReplies(self._shortage(), answer=self)
        if not self.consistent and require_consistent:
            raise Inconsistent(
                f"the master candidates contradict each other about {self.type}: {self._positions()}; ask again, and "
                "compare their configurations if that does not help",
                answer=self,
            )
        if self.ok:
            return self.answer
        of = "" if self.query is None else f" of {_cut(self.query)}"
        if self.is_no_such_entry:
            raise UnknownEntry(f"ganeti-confd knows no such entry: {self.type}{of}")
        raise ServerError(f"ganeti-confd could not answer {self.type}{of}: {_reason(self.answer)}")

    @property
    def is_no_such_entry(self) -> bool:
        """Whether the servers say that their configuration has nothing of the kind."""
        # To other requests than a `config_query` this number says that the query is wrong.
        is_path = self.type == "config_query" or self.answer != CONFD_ERROR_ARGUMENT
        return is_path and is_no_such_entry(self.status, self.answer)

    def _shortage(self) -> str:
        broken = {peer: reply for peer, reply in self.by_peer.items() if reply.is_broken}
        within = f" within {self.timeout:g} s" if self.timed_out else ""
        unable = f", {len(broken)} of them with an error of its own" if broken else ""
        silent = f"; silent: {_named(self.silent)}" if self.silent else ""
        errors = "".join(f"; {peer}: {_reason(reply.answer)}" for peer, reply in list(broken.items())[:_MOST_NAMED])
        discarded = "".join(f"; {each}" for each in self._discards())
        return (
            f"{self.replied} of {self.asked} peers replied to {self.type}{within}{unable}, and {self.needed} replies "
            f"are needed{silent}{errors}{self._troubles()}{discarded}"
        )

    def _discards(self) -> list[str]:
        return [f"a datagram from {peer} was discarded: {reason}" for peer, reason in self.discarded[:_MOST_DISCARDED]]

    def _advice(self) -> str:
        if self.discarded:
            return "; ".join(self._discards())
        if troubles := self._troubles():
            return troubles.removeprefix("; ")
        if self.key_is_stripped:
            return "hmac_key has no newline at its end, and the content of hmac.key has one that is part of the key"
        return (
            "check that ganeti-confd runs there, that the key is the cluster's, and that the clocks differ by less "
            "than 300 s: it answers nothing to any other"
        ) + (
            "; or the answer is longer than a datagram can be, 65,507 bytes: ask for a part of it"
            if self.type in _LONG
            else ""
        )

    def _troubles(self) -> str:
        troubled = {peer: reply.trouble for peer, reply in self.by_peer.items() if reply.trouble}
        return "".join(f"; {peer} could not be sent to: {trouble}" for peer, trouble in troubled.items())

    def _positions(self) -> str:
        replies = [(peer, reply) for peer, reply in self.by_peer.items() if reply.status is not None]
        parts = [
            f"{peer} has {shown(reply.answer)} (serial {reply.serial})"
            if reply.status == CONFD_REPL_STATUS_OK
            else f"{peer} has the error {_reason(reply.answer)}"
            for peer, reply in replies[:_MOST_NAMED]
        ]
        return ", ".join(parts) + ", ..." * (len(replies) > _MOST_NAMED)


def shown(value: object) -> str:
    """Return a value for a message: in ASCII, in one line, and no more of a list or a dict than its length.

    The contents of lists and dicts may be secret.
    """
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return f"a dict of {len(value)}"
    return _cut(value)


def _reason(answer: object) -> str:
    """Return an error of a server, which may be a number."""
    if isinstance(answer, int) and not isinstance(answer, bool):
        return _NUMBERS.get(answer, str(answer))
    return shown(answer)


def _cut(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _named(peers: Iterable[str]) -> str:
    names = list(peers)
    return ", ".join(names[:_MOST_NAMED]) + ", ..." * (len(names) > _MOST_NAMED)
