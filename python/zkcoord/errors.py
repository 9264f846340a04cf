"""What can go wrong, as exceptions under one base, `Error`.

Every message is one line for the person who reads it, and holds no secret. Every class has a `kind`, a
word from a closed set for programs, and every exception a `path`, the znode it is about, or None. All of
them survive pickling. Where Python has a class for the same thing, ours is one of it as well: `Unreachable` is a
`ConnectionError`, `TimedOut` a `TimeoutError`, and so on.
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
    "Inconsistent",
    "InternalError",
    "LeaseExpired",
    "LeaseLost",
    "LimitMismatch",
    "NoAuth",
    "NoNode",
    "NodeExists",
    "OutOfResources",
    "ServerError",
    "SlotLost",
    "TimedOut",
    "TlsFailed",
    "TooFewReplies",
    "UnknownEntry",
    "Unreachable",
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
    """An argument or a setting was refused. Nothing was sent, nothing was written."""

    kind = "argument"


class ConfdClientError(ArgumentError):
    """A Ganeti script has asked its confd client for what it cannot do. Nothing was sent."""

    kind = "confd_client"


class LimitMismatch(Error, ValueError):
    """The pool stores another `max_concurrency` than the one asked for. Nothing was changed."""

    kind = "limit_mismatch"


class NoAuth(Error, PermissionError):
    """The ACL of a znode forbids what was needed."""

    kind = "no_auth"


class AuthFailed(Error, PermissionError):
    """The ensemble refused the credentials, or there are none to show: no Kerberos ticket."""

    kind = "auth_failed"


class TlsFailed(Error, ConnectionError):
    """No server can be used, which waiting will not change: for its certificate, for ours, or for want of TLS."""

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
    """There was no slot in time. None is held, and no znode is left in the queue."""

    kind = "timed_out"


class SlotLost(Error):
    """A hold is gone, and nobody has given it back: its session has ended, or somebody has removed its lease."""

    kind = "slot_lost"


class LeaseLost(Error):
    """A timed lease is not its holder's any more: another has it, or has given it back, or its record is gone."""

    kind = "lease_lost"


class LeaseExpired(LeaseLost):
    """A timed lease is over by the clock: no renewal was acknowledged for its whole duration."""

    kind = "lease_expired"


class TooFewReplies(Error, TimeoutError):
    """Some of a Ganeti cluster's master candidates have replied in time, but not as many as make an answer."""

    kind = "too_few_replies"


class Inconsistent(Error):
    """A Ganeti cluster's master candidates contradict each other, and none of them is known to be newer."""

    kind = "inconsistent"


class UnknownEntry(Error, LookupError):
    """A Ganeti cluster's configuration has no such node, instance, address or path."""

    kind = "unknown_entry"


class Cancelled(Error):
    """A signal, a `zkcoord.Cancel` or the end of the process ended the call. No slot is held, no queue node left.

    Where the call had come to its end already when the signal came, its answer is `answer`, and its error the cause.
    """

    kind = "cancelled"
    answer: object = None


class OutOfResources(Error, OSError):
    """This process has no file descriptor, no thread or no memory left for the call. Nothing was sent."""

    kind = "resources"


class ServerError(Error):
    """The ensemble refused a request for a reason of its own, such as a quota."""

    kind = "server"


class InternalError(Error):
    """A defect of zkcoord."""

    kind = "internal"


def no_thread() -> OutOfResources:
    """Return the error of one who may not start a thread. Python does not say why; the system's word is always this."""
    return OutOfResources(
        "cannot start a thread: Resource temporarily unavailable: this process, its user or its container may have no "
        "more (ulimit -u, pids.max), or there is no memory for a stack"
    )
