"""Python code in processes of its own, and finding those that were left running."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Mapping
from pathlib import Path

MARK = "ZKCOORD_TEST_MARK"
"""The environment variable that all processes of one test inherit."""

_PRELUDE = "import json, os, signal, sys, threading, time\nimport zkcoord\nglobals().update(json.loads(sys.argv[1]))\n"

# Python 3.12 and later warn of each fork in a process with threads, and every process with a session has threads.
_QUIET = ("-W", "ignore:This process:DeprecationWarning")


class Script:
    """Code that runs beside the test, with the given names defined and `zkcoord` imported."""

    def __init__(self, code: str, names: Mapping[str, object]) -> None:
        source = _PRELUDE + textwrap.dedent(code)
        self.process = subprocess.Popen(
            [sys.executable, *_QUIET, "-u", "-c", source, json.dumps(dict(names))],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._errors: list[str] = []
        self._readers = [
            threading.Thread(target=self._read_lines, daemon=True),
            threading.Thread(target=self._read_errors, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        return self.process.pid

    def line(self, limit: float = 30.0) -> str:
        """The next line of output; fails, with what was said on stderr, if none comes."""
        try:
            line = self._lines.get(timeout=limit)
        except queue.Empty:
            raise AssertionError(f"no output within {limit} s; stderr: {self.stderr}") from None
        assert line is not None, f"ended with {self.process.poll()} and no more output; stderr: {self.stderr}"
        return line

    def wait(self, limit: float = 30.0) -> int:
        """The exit code; fails if the process does not end."""
        try:
            return self.process.wait(limit)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {limit} s; stderr: {self.stderr}") from None

    def result(self, limit: float = 30.0) -> str:
        """All remaining output of a process that ends with 0."""
        code = self.wait(limit)
        for reader in self._readers:
            reader.join(5)
        assert code == 0, f"exit code {code}; stderr: {self.stderr}"
        lines = []
        while (line := self._lines.get(timeout=5)) is not None:
            lines.append(line)
        return "\n".join(lines)

    @property
    def stderr(self) -> str:
        return "".join(self._errors)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> None:
        """Make sure that it is gone."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait(10)

    def _read_lines(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        self._errors.extend(self.process.stderr)


def marked(mark: str) -> dict[int, str]:
    """The command lines of running processes, other than this one, that carry the mark."""
    found = {}
    for directory in Path("/proc").iterdir():
        if not directory.name.isdigit() or int(directory.name) == os.getpid():
            continue
        try:
            if f"{MARK}={mark}".encode() in (directory / "environ").read_bytes():
                found[int(directory.name)] = (directory / "cmdline").read_text().replace("\0", " ")[:120]
        except OSError:  # gone, or a zombie
            continue
    return found
