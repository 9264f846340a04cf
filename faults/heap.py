"""How much a server's Java heap holds once the garbage is gone."""

from __future__ import annotations

import re
import subprocess

_LIMIT = 30


def used_after_gc(pid: int) -> int:
    """Bytes in use after a full collection."""
    _ask(pid, "GC.run")
    found = re.findall(r"generation\s+total \d+K, used (\d+)K", _ask(pid, "GC.heap_info"))
    return sum(map(int, found)) * 1024


def _ask(pid: int, command: str) -> str:
    """What the Java process answers to a diagnostic command, by the tool of Java's development kit."""
    asked = ["jcmd", str(pid), command]
    return subprocess.run(asked, capture_output=True, text=True, check=True, timeout=_LIMIT).stdout
