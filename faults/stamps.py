"""Stamps in the transaction order: a write of which the writer learns the zxid.

A call that is answered before a stamp was done before it in the ensemble's own order, whatever any clock says. This
speaks the protocol itself, on a socket, so that it works in a forked child and costs a contender hardly anything.
"""

from __future__ import annotations

import itertools
import os
import random
import socket
import struct
import time

PATH = "/marks"

_SESSION_MS = 5000
_ANSWER_LIMIT = 3.0
_PAUSE = 0.05
_SET_DATA = 5


class Stamps:
    """A session of its own, made anew whenever it is lost."""

    def __init__(self, hosts: str) -> None:
        """Nothing is opened before the first stamp. `hosts` must lead to the servers without a detour."""
        self._servers = hosts.split(",")
        random.Random(os.getpid()).shuffle(self._servers)
        self._turns = itertools.cycle(self._servers)
        self._socket: socket.socket | None = None

    def stamp(self, text: str) -> int:
        """Write `text` into the order, and return where: its zxid. Tries until a server answers."""
        while True:
            try:
                if self._socket is None:
                    self._socket = self._open()
                path, data = PATH.encode(), text.encode()
                fields = (1, _SET_DATA, len(path), path, len(data), data, -1)
                reply = self._ask(struct.pack(f">iii{len(path)}si{len(data)}si", *fields))
                _, zxid, error = struct.unpack_from(">iqi", reply)
                if error == 0:
                    return zxid
            except (OSError, struct.error):
                pass
            self.close()
            time.sleep(_PAUSE)

    def close(self) -> None:
        """Hang up. The session ends by itself, and owns nothing."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _open(self) -> socket.socket:
        host, _, port = next(self._turns).rpartition(":")
        self._socket = socket.create_connection((host, int(port)), _ANSWER_LIMIT)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._ask(struct.pack(">iqiqi16s?", 0, 0, _SESSION_MS, 0, 16, b"", False))
        return self._socket

    def _ask(self, request: bytes) -> bytes:
        assert self._socket is not None
        self._socket.sendall(struct.pack(">i", len(request)) + request)
        return self._receive(struct.unpack(">i", self._receive(4))[0])

    def _receive(self, length: int) -> bytes:
        assert self._socket is not None
        data = b""
        while len(data) < length:
            chunk = self._socket.recv(length - len(data))
            if not chunk:
                raise ConnectionResetError
            data += chunk
        return data
