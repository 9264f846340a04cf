"""What the run tells its contenders, and they it, in shared memory: the phase, and when each must have an answer."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

SLOTS = 256
RUN, CALM, STOP = range(3)

_DOUBLE = struct.Struct("d")


class Board:
    """One number for the phase, and one for each contender: until when its call may take, 0 between calls."""

    def __init__(self, file: Path) -> None:
        """Open the board, or make it."""
        if not file.exists():
            file.write_bytes(bytes(_DOUBLE.size * (1 + SLOTS)))
        with file.open("r+b") as opened:
            self._memory = mmap.mmap(opened.fileno(), 0)

    @property
    def phase(self) -> int:
        """How far the run is."""
        return int(_DOUBLE.unpack_from(self._memory)[0])

    @phase.setter
    def phase(self, phase: int) -> None:
        _DOUBLE.pack_into(self._memory, 0, phase)

    def deadline(self, slot: int) -> float:
        """Until when the call of this contender may take, by the monotonic clock; 0: there is none."""
        return _DOUBLE.unpack_from(self._memory, _DOUBLE.size * (1 + slot))[0]

    def expect(self, slot: int, until: float) -> None:
        """Note until when a call may take, or 0 when it has been answered."""
        _DOUBLE.pack_into(self._memory, _DOUBLE.size * (1 + slot), until)
