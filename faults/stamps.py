"""Stamps in the transaction order: a write of which the writer learns the zxid.

A call that is answered before a stamp was done before it in the ensemble's own order, whatever any clock says. The
client is a bare one, so that it works in a forked child and costs a contender hardly anything.
"""

from __future__ import annotations

import itertools
import os
import random
import struct
import time

from tests.support.bare_client import BareClient

PATH = "/marks"

_SESSION_MS = 5000
_ANSWER_LIMIT = 3.0
_PAUSE = 0.05


class Stamps:
    """A session of its own, made anew whenever it is lost."""

    def __init__(self, hosts: str) -> None:
        """Nothing is opened before the first stamp. `hosts` must lead to the servers without a detour."""
        self._servers = hosts.split(",")
        random.Random(os.getpid()).shuffle(self._servers)
        self._turns = itertools.cycle(self._servers)
        self._client: BareClient | None = None

    def stamp(self, text: str) -> int:
        """Write `text` into the order, and return where: its zxid. Tries until a server answers."""
        while True:
            try:
                if self._client is None:
                    self._client = BareClient(next(self._turns), _SESSION_MS, _ANSWER_LIMIT)
                return self._client.set(PATH, text.encode())
            except (OSError, struct.error):
                self.close()
            time.sleep(_PAUSE)

    def close(self) -> None:
        """Hang up. The session ends by itself, and owns nothing."""
        if self._client is not None:
            self._client.hang_up()
            self._client = None
