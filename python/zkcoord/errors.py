"""What can go wrong, as exceptions under one base, `Error`.

Every message is one line for the person who reads it, and holds no secret. Every class has a `kind`, a
word from a closed set for programs, and every exception a `path`, the znode it is about, or None. All of
them survive pickling.
"""

__all__ = [
    "ArgumentError",
    "AuthFailed",
    "BadVersion",
    "Cancelled",
    "ConnectionLost",
    "Error",
    "InternalError",
    "LimitMismatch",
    "NoAuth",
    "NoNode",
    "NodeExists",
    "ServerError",
    "TlsFailed",
    "Unreachable",
]


class Error(Exception):
    """The base of all errors of zkcoord."""

    kind = "error"

    def __init__(self, message: str, path: str | None = None) -> None:
        """Keep the one-line `message`, and the full `path` of the znode in question."""
        super().__init__(message)
        self.path = path


class ArgumentError(Error, ValueError):
    """An argument or a setting was refused. Nothing was sent, nothing was written."""

    kind = "argument"


class LimitMismatch(Error):
    """The pool stores another `max_concurrency` than the one asked for. Nothing was changed."""

    kind = "limit_mismatch"


class NoAuth(Error):
    """The ACL of a znode forbids what was needed."""

    kind = "no_auth"


class AuthFailed(Error):
    """The ensemble refused the credentials, or there are none to show: no Kerberos ticket."""

    kind = "auth_failed"


class TlsFailed(Error):
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


class Unreachable(Error):
    """No server answered in time."""

    kind = "unreachable"


class ConnectionLost(Error):
    """The connection was lost, and whether a slot is held could not be learned in time."""

    kind = "connection_lost"


class Cancelled(Error):
    """A signal or the end of the process ended the wait. No slot is held, no place in the queue left."""

    kind = "cancelled"


class ServerError(Error):
    """The ensemble refused a request for a reason of its own, such as a quota."""

    kind = "server"


class InternalError(Error):
    """A defect of zkcoord."""

    kind = "internal"
