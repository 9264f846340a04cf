"""Hooks of one unit that run on one host at the same time: the last to end gives back what is granted."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile


class Overlap:
    """The hooks of one unit on this host. Each has a shared lock on one file. The lock ends with the process."""

    def __init__(self, *unit: str) -> None:
        """Take the servers, the coordinator and the unit. Nothing is opened yet."""
        name = hashlib.sha256("\0".join(unit).encode()).hexdigest()[:32]
        self._path = os.path.join(tempfile.gettempdir(), f"zkcoord-hook-{name}")
        self._file: int | None = None
        self._pid = 0

    def begin(self) -> None:
        """Count as one of the hooks. It waits only while another hook gives back the locks that it was granted."""
        if self._file is None or self._pid != os.getpid():
            self._file, self._pid = self._open(), os.getpid()
            self._lock(fcntl.LOCK_SH)

    def is_last(self) -> bool:
        """Tell whether no other hook is running. Where none is, none begins before `end` is called."""
        self.begin()
        return self._lock(fcntl.LOCK_EX | fcntl.LOCK_NB)

    def end(self) -> None:
        """Count as one of the hooks no more."""
        if self._file is not None and self._pid == os.getpid():
            os.close(self._file)
        self._file = None

    def _open(self) -> int | None:
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
        for more in (0, os.O_CREAT):
            try:
                return os.open(self._path, flags | more, 0o644)
            except OSError:
                continue
        return None

    def _lock(self, how: int) -> bool:
        """Lock the file. Where none can be made, each hook counts as the last: as if they ran one after the other."""
        try:
            if self._file is not None:
                fcntl.flock(self._file, how)
        except BlockingIOError:
            return False
        return True
