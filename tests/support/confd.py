"""What stands in the way of ganeti-confd's datagrams, and makes datagrams of its own."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import select
import socket
import threading
from collections.abc import Callable, Iterator

from zkcoord.testing import ConfdServer, ConfdServers


def signed(message: object, salt: str, key: bytes) -> bytes:
    """A datagram as a server sends it."""
    text = message if isinstance(message, str) else json.dumps(message)
    signature = hmac.new(key, (salt + text).encode(), hashlib.sha1).hexdigest()
    return b"plj0" + json.dumps({"msg": text, "salt": salt, "hmac": signature}).encode()


def reply(answer: object, salt: str, key: bytes, serial: int = 42, status: int = 0) -> bytes:
    """A reply as a server sends it."""
    return signed({"protocol": 1, "status": status, "answer": answer, "serial": serial}, salt, key)


def salt_of(request: bytes) -> str:
    """The salt of a request."""
    return json.loads(json.loads(request[4:])["msg"])["rsalt"]


class Peer:
    """Somebody at an address who takes requests and does with them what `act` says: `act(peer, request, sender)`."""

    def __init__(self, address: str, port: int, act: Callable[[Peer, bytes, tuple[str, int]], object]) -> None:
        self.address = address
        self.requests: list[bytes] = []
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, port))
        self._act = act
        self._stopped, self._stop = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def send(self, datagram: bytes, to: tuple[str, int]) -> None:
        self.socket.sendto(datagram, to)

    def waits_for(self, reply: socket.socket) -> bool:
        """Wait until there is a reply on a socket; False: this peer is closed first, or there is none."""
        ready, _, _ = select.select([reply, self._stopped], [], [], 10)
        return reply in ready

    def close(self) -> None:
        self._stop.close()
        self._thread.join(10)
        self._stopped.close()
        self.socket.close()

    def _serve(self) -> None:
        while True:
            ready, _, _ = select.select([self.socket, self._stopped], [], [])
            if self._stopped in ready:
                return
            request, sender = self.socket.recvfrom(65535)
            self.requests.append(request)
            self._act(self, request, sender)


class Peers:
    """Peers at addresses beside those of genuine servers, on the same port. They end with the test."""

    def __init__(self, servers: ConfdServers) -> None:
        self._servers = servers
        self._net = servers.peers[0].rpartition(".")[0]
        self._made: list[Peer] = []

    def add(self, act: Callable[[Peer, bytes, tuple[str, int]], object] = lambda *_: None) -> Peer:
        """One more; without `act` it takes everything and says nothing."""
        self._made.append(Peer(f"{self._net}.{100 + len(self._made)}", self._servers.port, act))
        return self._made[-1]

    def in_front_of(self, server: ConfdServer, losing: int = 0) -> Peer:
        """One that hands requests on to a genuine server, and loses the first few of them."""
        seen = iter(range(1_000_000))

        def hand_on(peer: Peer, request: bytes, sender: tuple[str, int]) -> None:
            if next(seen) < losing:
                return
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
                way.sendto(request, (server.address, server.port))
                # Of a server that says nothing there is nothing to hand back.
                if peer.waits_for(way):
                    peer.send(way.recvfrom(65535)[0], sender)

        return self.add(hand_on)

    def close(self) -> None:
        for peer in self._made:
            peer.close()


@contextlib.contextmanager
def peers(servers: ConfdServers) -> Iterator[Peers]:
    """Peers for one test."""
    made = Peers(servers)
    try:
        yield made
    finally:
        made.close()
