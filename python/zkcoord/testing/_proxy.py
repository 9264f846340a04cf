"""A TCP proxy in front of a ZooKeeper server that loses, delays and holds back what clients and server say.

    with Proxy(ensemble.servers[0].port) as proxy:
        client = connect(proxy.address)
        proxy.drop_reply(Op.CREATE)
        client.create("/a")  # loses its connection, but the server has created /a

It knows ZooKeeper's framing: every message has its length before it; a connection begins with a request and
a reply that open the session; every later request begins with its xid and its opcode, and its reply with the
same xid. One thread per proxy does all the work.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Coroutine, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

from zkcoord.testing._relay import HOST, Connection, end_session

if TYPE_CHECKING:
    from zkcoord.testing import Ensemble

__all__ = ["Proxies", "Proxy", "proxied"]


_MOST_FILLERS = 20
_ANSWER_LIMIT = 0.3  # seconds within which the kernel of this machine answers a connection


class Proxy:
    """A proxy to one server on 127.0.0.1, on a port of its own. Starts at once; must be closed.

    Its verbs may be called from any thread, and are in effect when they return. Nothing bounds what a proxy
    that stalls or delays keeps in memory. While the server is down, clients are accepted and then reset,
    where the server's own port would refuse them.
    """

    def __init__(self, upstream_port: int) -> None:
        """Listen on a free port, to forward to the server on `upstream_port`."""
        self.upstream_port = upstream_port
        """The server's port."""
        self.counts: Counter[int] = Counter()
        """How many requests of each opcode went to the server."""
        self.dropped: Counter[int] = Counter()
        """How many requests of each opcode were lost to `drop_request` or held, or their replies lost."""
        self.carried = 0  # bytes, of clients and server together
        self._doomed_requests: Counter[int] = Counter()
        self._to_hold: Counter[int] = Counter()
        self._held: list[bytes] = []
        self._release_before: int | None = None
        self._doomed_replies: Counter[int] = Counter()
        self._delay = 0.0
        self._stalled = False
        self._hangs_up = False
        self._trickles = False
        self._fillers: list[socket.socket] = []
        self._connections: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: socket.socket | None = None
        self._reserved = _bind(0)  # bound but not listening, it keeps the port ours while clients are refused
        self.port: int = self._reserved.getsockname()[1]
        """The port for clients. It stays the same."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy-{self.port}", daemon=True)
        self._thread.start()
        self.accept()

    def __enter__(self) -> Proxy:
        """Return the proxy, which has already started."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the proxy."""
        self.close()

    @property
    def address(self) -> str:
        """The address for clients, as ``host:port``."""
        return f"{HOST}:{self.port}"

    def cut(self) -> None:
        """Reset all present connections, on both sides."""
        self._run(self._cut())

    def refuse(self) -> None:
        """Reset all present connections, and refuse new ones until `accept`."""
        self._run(self._refuse())

    def accept(self) -> None:
        """Accept connections again, after `refuse`."""
        self._run(self._accept())

    def stall(self) -> None:
        """Keep connections and accept new ones, but forward nothing, not even their end, until `resume`."""
        self._run(self._set(stalled=True))

    def resume(self) -> None:
        """Forward what `stall` has held back, and everything that comes."""
        self._run(self._set(stalled=False))

    def hang_up(self) -> None:
        """Reset all present connections, and close new ones as soon as they are there, until `heal`."""
        self._run(self._hang_up())

    def trickle(self) -> None:
        """Send clients one byte a second of what the server says, until `heal`."""
        self._run(self._trickle())

    def filter(self) -> None:
        """Keep connections and forward nothing, and answer no new one, as where packets are dropped, until `heal`."""
        self._run(self._filter())

    def delay(self, seconds: float) -> None:
        """Forward what arrives from now on `seconds` after it arrived, each way, in order; 0 ends that."""
        self._run(self._set(delay=seconds))

    def drop_request(self, opcode: int, count: int = 1) -> None:
        """Reset the connection instead of forwarding the next request with `opcode`; so `count` times."""
        self._run(self._doom(self._doomed_requests, opcode, count))

    def drop_reply(self, opcode: int, count: int = 1) -> None:
        """Reset the connection instead of forwarding the reply to the next request with `opcode`.

        So `count` times. The server has done what the client asked for, but the client does not learn it.
        What the server said before is forwarded.
        """
        self._run(self._doom(self._doomed_replies, opcode, count))

    def hold_request(self, opcode: int, count: int = 1) -> None:
        """As `drop_request`, but keep the request for `send_held`."""
        self._run(self._doom(self._to_hold, opcode, count))

    def send_held(self) -> int:
        """Send what was held to the server, in the name of the client that has connected last; how much it was.

        So a request comes late: a server may carry out what it got by an earlier connection once the client has come
        back to it. The client does not see the replies.
        """
        return asyncio.run_coroutine_threadsafe(self._send_held(), self._loop).result()

    def send_held_before(self, opcode: int) -> None:
        """As `send_held`, right before the next request with `opcode`."""
        self._run(self._set_release_before(opcode))

    def expire(self) -> int:
        """End the sessions of all present connections at the servers; how many.

        To the clients it is as if the servers had heard nothing of them for a session timeout: all that was ephemeral
        is gone, their connections are reset, and when they connect again they find their sessions expired.
        """
        return asyncio.run_coroutine_threadsafe(self._expire(), self._loop).result()

    def heal(self) -> None:
        """End all faults, those too that have yet to strike."""
        self._run(self._heal())

    def close(self) -> None:
        """Reset all connections and free the port. May be repeated."""
        if self._loop.is_closed():
            return
        self._run(self._finish())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._reserved.close()

    def _run(self, verb: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(verb, self._loop).result()

    async def _accept(self) -> None:
        if self._listener is None:
            self._listener = _bind(self.port)
            self._listener.setblocking(False)
            self._listener.listen()
            self._loop.add_reader(self._listener, self._accept_one, self._listener)

    def _accept_one(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # it may be gone again
            client, _ = listener.accept()
            if self._hangs_up:
                client.close()
                return
            task = self._loop.create_task(Connection(self).forward(client))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _refuse(self) -> None:
        await self._unfilter()
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        await self._cut()

    async def _cut(self) -> None:
        for connection in list(self._connections):
            connection.close(reset=True)
        await asyncio.sleep(0)  # the loop closes an aborted transport's socket in its next round

    async def _set(self, stalled: bool | None = None, delay: float | None = None) -> None:
        self._stalled = self._stalled if stalled is None else stalled
        self._delay = self._delay if delay is None else delay
        for connection in list(self._connections):
            connection.run()

    async def _hang_up(self) -> None:
        self._hangs_up = True
        await self._cut()

    async def _trickle(self) -> None:
        self._trickles = True

    async def _filter(self) -> None:
        await self._set(stalled=True)
        if self._listener is None or self._fillers:
            return
        # The kernel drops what comes when the queue of those that nobody has accepted is full.
        self._loop.remove_reader(self._listener)
        self._listener.listen(0)
        while len(self._fillers) < _MOST_FILLERS:
            filler = socket.socket()
            filler.setblocking(False)
            self._fillers.append(filler)
            try:
                await asyncio.wait_for(self._loop.sock_connect(filler, (HOST, self.port)), _ANSWER_LIMIT)
            except TimeoutError:
                return
        raise AssertionError("the queue of the listener is never full")

    async def _unfilter(self) -> None:
        if not self._fillers:
            return
        for filler in self._fillers:
            filler.close()
        self._fillers.clear()
        assert self._listener is not None
        self._listener.listen()
        self._loop.add_reader(self._listener, self._accept_one, self._listener)

    async def _doom(self, doomed: Counter[int], opcode: int, count: int) -> None:
        doomed[opcode] += count

    async def _send_held(self) -> int:
        (connection,) = self._connections
        return connection.send_held()

    async def _expire(self) -> int:
        sessions = {connection.session for connection in self._connections if connection.session is not None}
        for session, password in sessions:
            await end_session(self.upstream_port, session, password)
        await self._cut()
        return len(sessions)

    async def _set_release_before(self, opcode: int) -> None:
        self._release_before = opcode

    async def _heal(self) -> None:
        self._doomed_requests.clear()
        self._to_hold.clear()
        self._release_before = None
        self._doomed_replies.clear()
        self._hangs_up = self._trickles = False
        await self._unfilter()
        await self._set(stalled=False, delay=0.0)
        await self._accept()

    async def _finish(self) -> None:
        await self._refuse()
        if self._tasks:
            _, connecting = await asyncio.wait(self._tasks, timeout=1)
            for task in connecting:  # to a server that is paused
                task.cancel()
            await asyncio.gather(*connecting, return_exceptions=True)


class Proxies(list[Proxy]):
    """A proxy for each server of an ensemble, in its order."""

    @property
    def hosts(self) -> str:
        """The connect string that leads through the proxies."""
        return ",".join(proxy.address for proxy in self)

    def drop_reply(self, opcode: int) -> None:
        """Lose the reply to the next request with `opcode` at each server, as `Proxy.drop_reply`."""
        for proxy in self:
            proxy.drop_reply(opcode)

    def drop_request(self, opcode: int) -> None:
        """Lose the next request with `opcode` to each server, as `Proxy.drop_request`."""
        for proxy in self:
            proxy.drop_request(opcode)

    def cut(self) -> None:
        """Reset all present connections."""
        for proxy in self:
            proxy.cut()

    def expire(self) -> int:
        """End the sessions of all present connections at the servers; how many."""
        return sum(proxy.expire() for proxy in self)

    def heal(self) -> None:
        """End all faults."""
        for proxy in self:
            proxy.heal()


@contextlib.contextmanager
def proxied(ensemble: Ensemble) -> Iterator[Proxies]:
    """Put a proxy in front of every server of `ensemble`, and close them at the end."""
    with contextlib.ExitStack() as stack:
        yield Proxies(stack.enter_context(Proxy(server.port)) for server in ensemble.servers)


def _bind(port: int) -> socket.socket:
    # asyncio turns Nagle's algorithm off, which adds 40 ms, only for sockets that say that they are TCP.
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind((HOST, port))
    return bound
