"""What can go wrong, as exceptions under one base, `Error`.

Every message is one line for the person who reads it, and holds no secret. Every class has a `kind`, a word from a
closed set by which programs can tell the classes apart. Every exception has a `path`: the znode that it is about, or
None. All exceptions survive pickling. Where Python has a class for the same thing, ours is a subclass of that as well:
`Unreachable` is a `ConnectionError`, `TimedOut` a `TimeoutError`, and so on.
"""

from __future__ import annotations

__all__ = [
    "ArgumentError",
    "AuthFailed",
    "BadVersion",
    "Cancelled",
    "ConfdClientError",
    "ConnectionLost",
    "Error",
    "InUse",
    "Inconsistent",
    "InternalError",
    "LeaseExpired",
    "LeaseLost",
    "LimitMismatch",
    "MemberNotReadyError",
    "MembersSyncingError",
    "NoAnswer",
    "NoAuth",
    "NoNode",
    "NoQuorum",
    "NoUnitFoundError",
    "NodeExists",
    "NotServing",
    "OutOfResources",
    "PolicyMismatch",
    "QuorumLeaderNotFoundError",
    "ReconfigConflict",
    "ReconfigDisabled",
    "ReconfigForbidden",
    "ReconfigInProgress",
    "ServerError",
    "SlotLost",
    "TimedOut",
    "TlsFailed",
    "TooFewReplies",
    "UnknownEntry",
    "Unreachable",
    "UnsafeStep",
    "WordRefused",
]


class Error(Exception):
    """The base of all errors of zkcoord."""

    kind = "error"

    def __init__(self, message: str, path: str | None = None) -> None:
        """Keep the one-line `message`, and the full `path` of the znode in question."""
        super().__init__(message)
        self.path = path

    def __str__(self) -> str:
        """Return the message."""
        return str(self.args[0])


class ArgumentError(Error, ValueError):
    """An argument or a setting was refused, or the znode at a path is not of the kind that the call is for.

    Nothing was changed.
    """

    kind = "argument"


class ConfdClientError(ArgumentError):
    """A script has asked a `zkcoord.confd.ConfdClient` for something that it cannot do. Nothing was sent."""

    kind = "confd_client"


class LimitMismatch(Error, ValueError):
    """The pool stores another `max_concurrency` than the one asked for. Nothing was changed."""

    kind = "limit_mismatch"


class PolicyMismatch(Error, ValueError):
    """The lock of a coordinator has another policy than the one asked for. Nothing was changed."""

    kind = "policy_mismatch"


class InUse(Error):
    """Somebody holds a slot of the pool that was to be removed, or waits for one. Nothing was changed."""

    kind = "in_use"


class NoAuth(Error, PermissionError):
    """The ACL of a znode forbids what was needed."""

    kind = "no_auth"


class AuthFailed(Error, PermissionError):
    """The ensemble refused the credentials, or there are none to show: no Kerberos ticket."""

    kind = "auth_failed"


class TlsFailed(Error, ConnectionError):
    """No server can be used, for its certificate, for ours, or for want of TLS. Waiting does not change that."""

    kind = "tls"


class NoNode(Error):
    """There is no such znode."""

    kind = "no_node"


class NodeExists(Error):
    """There is such a znode already."""

    kind = "node_exists"


class BadVersion(Error):
    """The znode was changed by somebody else meanwhile."""

    kind = "bad_version"


class Unreachable(Error, ConnectionError):
    """No server answered in time."""

    kind = "unreachable"


class ConnectionLost(Error, ConnectionError):
    """The connection was lost, and what became of the call could not be learned in time.

    A slot that was taken for such a call is given back in the background, as soon as a server answers.
    """

    kind = "connection_lost"


class TimedOut(Error, TimeoutError):
    """No slot was free in time. The call holds none, and has deleted its queue node."""

    kind = "timed_out"


class SlotLost(Error):
    """A hold is gone, and nobody has given it back: its session has ended, or somebody has removed its lease."""

    kind = "slot_lost"


class LeaseLost(Error):
    """A timed lease does not belong to its holder any more.

    Somebody else holds it, or has given it back, or has changed or deleted its record; or this process has ended the
    session in which it renewed the lease.
    """

    kind = "lease_lost"


class LeaseExpired(LeaseLost):
    """A timed lease is over by the clock: no renewal was acknowledged for its whole duration."""

    kind = "lease_expired"


class _OfReplies(Error):
    """An error that follows from the replies of several servers."""

    def __init__(self, message: str, path: str | None = None, *, answer: object = None) -> None:
        """Keep the `zkcoord.confd.Answer`, which has the reply of each server."""
        super().__init__(message, path)
        self.answer = answer


class TooFewReplies(_OfReplies, TimeoutError):
    """Some of a Ganeti cluster's master candidates have replied in time, but fewer than an answer needs.

    ``answer`` is the `zkcoord.confd.Answer`, which has the reply of each candidate.
    """

    kind = "too_few_replies"


class Inconsistent(_OfReplies):
    """A Ganeti cluster's master candidates contradict each other, and none of their answers is known to be newer.

    ``answer`` is the `zkcoord.confd.Answer`, which has the reply of each candidate.
    """

    kind = "inconsistent"


class UnknownEntry(Error, LookupError):
    """A Ganeti cluster's configuration has no such node, instance, address or path."""

    kind = "unknown_entry"


class Cancelled(Error):
    """A signal, a `zkcoord.Cancel`, `zkcoord.close` or the end of the process has ended the call.

    The message says what the call may have left or changed. Where the call had ended already when the signal came,
    `answer` has its answer, and ``__cause__`` its error.
    """

    kind = "cancelled"
    answer: object = None


class OutOfResources(Error, OSError):
    """This process has no file descriptor, no thread or no memory left for the call. Nothing was sent."""

    kind = "resources"


class ServerError(Error):
    """The ensemble refused a request for a reason of its own, such as a quota."""

    kind = "server"


class MembersSyncingError(Error):
    """Members of the ensemble are catching up with their leader. No other step may begin; try again a little later."""

    kind = "members_syncing"


class MemberNotReadyError(Error):
    """A server that is to join does not serve. Nothing was changed."""

    kind = "member_not_ready"


class QuorumLeaderNotFoundError(Error):
    """No server leads: there is an election, or no quorum, or a server that stands alone."""

    kind = "no_leader"


class NoUnitFoundError(Error):
    """No server answers."""

    kind = "no_server"


class NoQuorum(Error):
    """The members that are up and in sync are no quorum now, or would be none after a step. Nothing was changed."""

    kind = "no_quorum"


class UnsafeStep(Error):
    """A step would break the ensemble: an id or an address taken twice, or no participant left. Nothing was changed."""

    kind = "unsafe_step"


class ReconfigConflict(Error):
    """Somebody else has changed the ensemble since the step was planned. Nothing was changed."""

    kind = "reconfig_conflict"


class ReconfigInProgress(Error):
    """Another change of the ensemble is being made. Nothing was changed."""

    kind = "reconfig_in_progress"


class ReconfigDisabled(Error):
    """The servers are configured to refuse changes of the ensemble: ``reconfigEnabled`` is false."""

    kind = "reconfig_disabled"


class ReconfigForbidden(Error, PermissionError):
    """The caller may not write ``/zookeeper/config``. Nothing was changed."""

    kind = "reconfig_forbidden"


class WordRefused(Error):
    """A server does not answer a four-letter word, and has no AdminServer that does."""

    kind = "word_refused"


class NotServing(Error):
    """A server runs, and does not serve: it has no leader, or is catching up with one."""

    kind = "not_serving"


class NoAnswer(Error):
    """What a server, or ``/zookeeper/config``, says is no answer; or no server has shown the configuration in time."""

    kind = "no_answer"


class InternalError(Error):
    """A defect of zkcoord."""

    kind = "internal"


def no_thread() -> OutOfResources:
    """Return the error for a thread that cannot be started. Python does not say why; the system's words are these."""
    return OutOfResources(
        "cannot start a thread: Resource temporarily unavailable: this process, its user or its container may have no "
        "more (ulimit -u, pids.max), or there is no memory for a stack"
    )
