"""How much a server's Java heap holds once the garbage is gone."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import time
from pathlib import Path

_LIMIT = 10.0


def used_after_gc(pid: int) -> int:
    """Bytes in use after a full collection. A runtime without the development kit has no `jcmd`, so we attach."""
    _command(pid, "GC.run")
    found = re.findall(r"generation\s+total \d+K, used (\d+)K", _command(pid, "GC.heap_info"))
    return sum(map(int, found)) * 1024


def _command(pid: int, command: str) -> str:
    """What the Java process answers to a diagnostic command: the request that `jcmd` sends."""
    door = Path(f"/tmp/.java_pid{pid}")
    if not door.exists():
        request = Path(f"/proc/{pid}/cwd/.attach_pid{pid}")
        request.touch()
        os.kill(pid, signal.SIGQUIT)
        end = time.monotonic() + _LIMIT
        while not door.exists() and time.monotonic() < end:
            time.sleep(0.01)
        with contextlib.suppress(FileNotFoundError):
            request.unlink()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_LIMIT)
        connection.connect(str(door))
        connection.sendall(b"\0".join(part.encode() for part in ("1", "jcmd", command, "", "", "")))
        answer = b""
        while chunk := connection.recv(1 << 16):
            answer += chunk
    return answer.decode()
