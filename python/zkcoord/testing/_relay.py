"""One client's connection through a proxy: messages in order, lost, late, or held back."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import socket
import struct
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zkcoord.testing._proxy import Proxy

HOST = "127.0.0.1"
_INJECTED = 1 << 30  # the xids of what a client did not send itself
_MAX_LENGTH = 1 << 26  # a greater one is the letters of a four letter word, or of the answer to it


class Op(enum.IntEnum):
    """The opcodes of requests."""

    CLOSE_SESSION = -11
    CREATE_SESSION = -10
    """The first request of every connection, which opens a session or takes one up again."""
    CREATE = 1
    DELETE = 2
    EXISTS = 3
    GET_DATA = 4
    SET_DATA = 5
    GET_ACL = 6
    SET_ACL = 7
    GET_CHILDREN = 8
    SYNC = 9
    PING = 11
    GET_CHILDREN2 = 12
    CHECK = 13
    MULTI = 14
    CREATE2 = 15
    RECONFIG = 16
    MULTI_READ = 22
    AUTH = 100
    SET_WATCHES = 101
    SET_WATCHES2 = 105


class Connection:
    """A client's connection and the one to the server that goes with it. Lives in the proxy's thread."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._client: asyncio.StreamWriter | None = None
        self._server: asyncio.StreamWriter | None = None
        self._requests, self._replies = _DelayLine(proxy), _DelayLine(proxy)
        self._doomed: dict[int | None, int] = {}  # opcodes of requests whose reply is to be lost, by xid
        self._injected = 0
        self._unsent = bytearray()
        self._ends_when_sent = False
        self._sending: asyncio.TimerHandle | None = None
        self._closed = False
        self.session: tuple[int, bytes] | None = None
        """The session of the connection, once the server has said it, and its password."""
        proxy._connections.add(self)

    async def forward(self, client: socket.socket) -> None:
        requests, self._client = await asyncio.open_connection(sock=client)
        try:
            replies, self._server = await asyncio.open_connection(HOST, self._proxy.upstream_port)
        except OSError:
            self.close(reset=True)
            return
        if self._closed:  # in the meantime
            self.close(reset=True)
            return
        await asyncio.gather(
            self._pump(requests, self._requests, self._server, self._request),
            self._pump(replies, self._replies, self._client, self._reply),
        )

    def run(self) -> None:
        self._requests.run()
        self._replies.run()

    def send_held(self) -> int:
        """Send what the proxy holds, as requests that the client does not know of."""
        assert self._server is not None
        held, self._proxy._held = self._proxy._held, []
        for frame in held:
            self._injected += 1
            self._server.write(frame[:4] + struct.pack(">i", _INJECTED + self._injected) + frame[8:])
        return len(held)

    def close(self, reset: bool) -> None:
        """End both sides, with what was written to them delivered or, for a reset, perhaps not."""
        self._closed = True
        self._proxy._connections.discard(self)
        self._requests.close()
        self._replies.close()
        for side in (self._client, self._server):
            if side and reset:
                _reset(side)
            elif side:
                side.close()

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        line: _DelayLine,
        writer: asyncio.StreamWriter,
        forward: Callable[[bytes, bool], None],
    ) -> None:
        """Put everything one side says on its line: messages for `forward`, anything else for `writer`."""
        first, reset = True, False
        try:
            while (length := int.from_bytes(data := await reader.readexactly(4), "big")) <= _MAX_LENGTH:
                data += await reader.readexactly(length)
                self._proxy.carried += len(data)
                line.put(partial(forward, data, first))
                first = False
            raw = self._send if writer is self._client else writer.write
            while data:
                line.put(partial(raw, data))
                data = await reader.read(1 << 16)
        except asyncio.IncompleteReadError:
            pass
        except (OSError, struct.error):
            reset = True
        line.put(self._end if writer is self._client and not reset else partial(self.close, reset))

    def _request(self, frame: bytes, first: bool) -> None:
        xid, opcode = (None, Op.CREATE_SESSION) if first else struct.unpack_from(">ii", frame, 4)
        proxy = self._proxy
        if proxy._to_hold[opcode] > 0:
            proxy._to_hold[opcode] -= 1
            proxy._held.append(frame)
            self._drop(opcode)
            return
        if proxy._doomed_requests[opcode] > 0:
            proxy._doomed_requests[opcode] -= 1
            self._drop(opcode)
            return
        if proxy._doomed_replies[opcode] > 0:
            proxy._doomed_replies[opcode] -= 1
            self._doomed[xid] = opcode
        if opcode == proxy._release_before:
            self.send_held()
        proxy.counts[opcode] += 1
        assert self._server is not None
        self._server.write(frame)

    def _reply(self, frame: bytes, first: bool) -> None:
        xid = None if first else struct.unpack_from(">i", frame, 4)[0]
        if first:
            session, length = struct.unpack_from(">qi", frame, 12)
            self.session = (session, frame[24 : 24 + length]) if session else None
        if xid in self._doomed:
            self._drop(self._doomed[xid])
        elif xid is None or xid <= _INJECTED:
            self._send(frame)

    def _send(self, frame: bytes) -> None:
        """Send the client a reply, as slowly as the proxy has to, and in order."""
        self._unsent += frame
        if self._sending is None:
            self._go_on_sending()

    def _go_on_sending(self) -> None:
        assert self._client is not None
        self._sending = None
        size = 1 if self._proxy._trickles else len(self._unsent)
        self._client.write(bytes(self._unsent[:size]))
        del self._unsent[:size]
        if self._unsent and not self._closed:
            self._sending = self._proxy._loop.call_later(1, self._go_on_sending)
        elif self._ends_when_sent:
            self.close(reset=False)

    def _end(self) -> None:
        """End both sides when all was sent to the client."""
        if self._sending is None:
            self.close(reset=False)
        else:
            self._ends_when_sent = True

    def _drop(self, opcode: int) -> None:
        self._proxy.dropped[opcode] += 1
        self.close(reset=True)


class _DelayLine:
    """One direction of a connection: does things in order, after the proxy's delay, not while it stalls."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._things: deque[tuple[float, Callable[[], None]]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def put(self, thing: Callable[[], None]) -> None:
        if not self._closed:
            self._things.append((self._proxy._loop.time() + self._proxy._delay, thing))
            self.run()

    def run(self) -> None:
        """Do what is due, and come back for the rest."""
        if self._timer:
            self._timer.cancel()
        while self._things and not self._proxy._stalled:
            due, thing = self._things[0]
            if due > self._proxy._loop.time():
                self._timer = self._proxy._loop.call_at(due, self.run)
                return
            self._things.popleft()
            thing()

    def close(self) -> None:
        """Do nothing more."""
        self._closed = True
        self._things.clear()


def _reset(side: asyncio.StreamWriter) -> None:
    """Close with RST instead of FIN, at once."""
    linger = struct.pack("ii", 1, 0)
    with contextlib.suppress(OSError):  # it may be closed already
        side.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    side.transport.abort()


async def end_session(port: int, session: int, password: bytes) -> None:
    """Take a session over, and close it: all that was ephemeral in it goes, and its client finds it expired."""
    reader, writer = await asyncio.open_connection(HOST, port)

    async def ask(request: bytes) -> None:
        writer.write(struct.pack(">i", len(request)) + request)
        await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big"))

    try:
        await ask(struct.pack(">iqiqi", 0, 0, 10_000, session, len(password)) + password + b"\0")
        await ask(struct.pack(">ii", 1, Op.CLOSE_SESSION))
    finally:
        writer.close()
