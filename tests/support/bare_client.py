"""A bare client: one request at a time over a blocking socket. What it takes, no client can do without."""

from __future__ import annotations

import socket
import struct
from types import TracebackType

_GET, _SET, _CLOSE = 4, 5, -11
_ANY_VERSION = struct.pack(">i", -1)
_NO_WATCH = b"\0"


class BareClient:
    """A session of the barest client there can be. It never pings, so it must be kept busy."""

    def __init__(self, address: str, session_timeout_ms: int = 60_000, answer_limit: float = 10) -> None:
        """Open a session at one server. OSError: the server does not answer within the limit, in seconds."""
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), answer_limit)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._xid = 0
        self._send(struct.pack(">iqiq", 0, 0, session_timeout_ms, 0) + _text(b"\0" * 16) + b"\0")
        self._receive()

    def __enter__(self) -> BareClient:
        """Return the session, which is open."""
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the session."""
        self._request(_CLOSE, b"")
        self.hang_up()

    def hang_up(self) -> None:
        """Close the connection, and leave the session to its timeout."""
        self._socket.close()

    def get(self, path: str) -> None:
        """Read a znode: one round trip."""
        self._request(_GET, _text(path.encode()) + _NO_WATCH)

    def set(self, path: str, data: bytes) -> int:
        """Write a znode: one quorum write. Returns its zxid."""
        return self._request(_SET, _text(path.encode()) + _text(data) + _ANY_VERSION)

    def _request(self, opcode: int, body: bytes) -> int:
        self._xid += 1
        self._send(struct.pack(">ii", self._xid, opcode) + body)
        xid, zxid, error = struct.unpack_from(">iqi", self._receive())
        if (xid, error) != (self._xid, 0):
            raise OSError(f"the server answered request {self._xid} with {error} for {xid}")
        return int(zxid)

    def _send(self, message: bytes) -> None:
        self._socket.sendall(_text(message))

    def _receive(self) -> bytes:
        return self._exactly(struct.unpack(">i", self._exactly(4))[0])

    def _exactly(self, length: int) -> bytes:
        received = b""
        while len(received) < length:
            chunk = self._socket.recv(length - len(received))
            if not chunk:
                raise OSError("the server hung up")
            received += chunk
        return received


def _text(data: bytes) -> bytes:
    return struct.pack(">i", len(data)) + data
