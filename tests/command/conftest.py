"""The native command, as a shell runs it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Where the binary is: what the environment names, else the newest build that there is, the release first.
BUILT = (ROOT / "target/release/zkcoord", ROOT / "target/debug/zkcoord")


class Command:
    """The binary with the hosts of an ensemble in its environment. What was started ends with the test."""

    def __init__(self, binary: Path, hosts: str, home: Path) -> None:
        self.binary = binary
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("ZKCOORD_")}
        self.environment = {**inherited, "ZKCOORD_HOSTS": hosts, "HOME": str(home), "XDG_CONFIG_HOME": str(home)}
        self._started: list[subprocess.Popen[bytes]] = []

    def __call__(
        self, *arguments: str | bytes, data: bytes | None = None, limit: float = 30.0, **environment: str
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command to its end; its standard input is `data`, or nothing."""
        return subprocess.run(
            [self.binary, *arguments],
            input=data or b"",
            capture_output=True,
            env={**self.environment, **environment},
            timeout=limit,
            check=False,
        )

    def start(self, *arguments: str, **options: object) -> subprocess.Popen[bytes]:
        """Start a command, with pipes unless the options say otherwise."""
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        settings = {**pipes, "env": self.environment, **options}
        process = subprocess.Popen([self.binary, *arguments], **settings)
        self._started.append(process)
        return process

    def end(self) -> None:
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.wait(10)
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()


@pytest.fixture(scope="session")
def zkcoord_binary() -> Path:
    """A missing binary is a failure, never a skip."""
    named = os.environ.get("ZKCOORD_BINARY")
    binary = Path(named) if named else next((path for path in BUILT if path.exists()), BUILT[0])
    assert binary.exists(), f"{binary} is not there: cargo build -p zkcoord-cli"
    return binary


@pytest.fixture
def zkcoord_command(zkcoord_binary: Path, hosts: str, tmp_path: Path) -> Iterator[Command]:
    command = Command(zkcoord_binary, hosts, tmp_path)
    yield command
    command.end()


@pytest.fixture
def lines() -> Callable[[subprocess.Popen[bytes]], Callable[[], list[str]]]:
    """Collect what a process writes, line by line, in the background."""
    from tests.support.terminal import Lines

    return lambda process: Lines(process).seen
