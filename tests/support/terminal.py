"""What a program writes to a pipe or a terminal, read in the background."""

from __future__ import annotations

import os
import pty
import re
import struct
import subprocess
import termios
import threading
from fcntl import ioctl
from types import TracebackType

HOME = b"\x1b[1;1H"
DRAWN = b"\x1b[?2026l"
_ESCAPES = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")


class Lines:
    """The lines that a process has written to its standard output."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._lines: list[str] = []
        self._pipe = process.stdout
        threading.Thread(target=self._read, daemon=True).start()

    def seen(self) -> list[str]:
        return list(self._lines)

    def _read(self) -> None:
        assert self._pipe is not None
        try:
            for line in self._pipe:
                self._lines.append(line.decode().rstrip("\n"))
        except ValueError:
            return


class Terminal:
    """A pseudo terminal, and all that a program has written to it."""

    def __init__(self, rows: int = 24, columns: int = 120) -> None:
        self._master, self.slave = pty.openpty()
        self.resize(rows, columns)
        self._written = b""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.close(self.slave)
        self._thread.join(10)
        os.close(self._master)

    def resize(self, rows: int, columns: int) -> None:
        ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def modes(self) -> list[object]:
        """How the terminal treats what is typed, and what is written."""
        return termios.tcgetattr(self.slave)

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    @property
    def written(self) -> bytes:
        return self._written

    def frames(self) -> int:
        """How often the screen was drawn."""
        return self._written.count(DRAWN)

    def screen(self) -> str:
        """What was last drawn to its end, without escape sequences."""
        drawn = self._written.rpartition(DRAWN)[0].rpartition(HOME)[2]
        return _ESCAPES.sub(b"", drawn).decode(errors="replace").replace("\r", "")

    def _read(self) -> None:
        # Reading fails once nobody has the other side open.
        while True:
            try:
                read = os.read(self._master, 65536)
            except OSError:
                return
            if not read:
                return
            self._written += read
