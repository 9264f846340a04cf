"""The binary itself, as a shell starts it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import zkcoord

from tests.support.terminal import Lines

LIMIT = 60.0
# The session of a command that is killed is over soon, and the next test need not wait for it.
SESSION_TIMEOUT = "4s"


@dataclass(frozen=True)
class Ended:
    """How a run of the command has ended."""

    status: int
    out: str
    err: str

    @property
    def value(self) -> Any:
        """The answer that was printed as JSON."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


class Running:
    """A run of the command that goes on."""

    def __init__(self, command: list[str], env: Mapping[str, str], **options: Any) -> None:
        given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, "text": True}
        self.process = subprocess.Popen(command, env=env, **{**given, **options})

    @property
    def pid(self) -> int:
        return self.process.pid

    def line(self) -> str:
        """The next line on standard output."""
        assert self.process.stdout
        return self.process.stdout.readline().rstrip("\n")

    def error_line(self) -> str:
        """The next line on standard error."""
        assert self.process.stderr
        return self.process.stderr.readline().rstrip("\n")

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self, limit: float = LIMIT) -> Ended:
        """Wait until it has ended; a signal that has ended it is a negative status, as everywhere in Python."""
        out, err = self.process.communicate(timeout=limit)
        return Ended(self.process.returncode, out or "", err or "")

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGCONT)
            self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="session")
def binary() -> Path:
    """The command: ZKCOORD_BINARY, or what `make setup` has put beside Python."""
    found = Path(os.environ.get("ZKCOORD_BINARY") or Path(sys.executable).parent / "zkcoord")
    assert found.is_file(), f"there is no {found}: make setup"
    return found


@pytest.fixture
def environment(hosts: str, tmp_path: Path) -> dict[str, str]:
    """Of a user without configuration files, whose servers are those of the tests."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("ZKCOORD_")}
    of_tests = {"ZKCOORD_HOSTS": hosts, "ZKCOORD_SESSION_TIMEOUT": SESSION_TIMEOUT}
    return {**ours, **of_tests, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config")}


@pytest.fixture
def start(binary: Path, environment: dict[str, str]) -> Iterator[Callable[..., Running]]:
    """Start the command; what still runs at the end of the test is killed."""
    running: list[Running] = []

    def begin(*arguments: object, env: Mapping[str, str] | None = None, **options: Any) -> Running:
        running.append(Running([str(binary), *map(str, arguments)], {**environment, **(env or {})}, **options))
        return running[-1]

    yield begin
    for each in running:
        each.kill()


@pytest.fixture
def held(hosts: str, root: str) -> Iterator[None]:
    """Somebody holds the only slot of the pool at the root of the test."""
    assert zkcoord.lock(root, hosts, identifier="holder", timeout=30)
    yield
    zkcoord.unlock(root, hosts, identifier="holder")


@pytest.fixture
def zkcoord_command(start: Callable[..., Running]) -> Callable[..., Ended]:
    """Run the command to its end."""
    return lambda *arguments, **options: start(*arguments, **options).end()


class Command:
    """The command for tests of data that are no text, and of pipes and terminals: all of it in bytes."""

    def __init__(self, begin: Callable[..., Running], binary: Path, environment: dict[str, str]) -> None:
        self._begin = begin
        self.binary = binary
        self.environment = environment

    def __call__(
        self, *arguments: str | bytes, data: bytes = b"", **environment: str
    ) -> subprocess.CompletedProcess[bytes]:
        """Run it to its end; its standard input is `data`."""
        return subprocess.run(
            [self.binary, *arguments],
            input=data,
            capture_output=True,
            env={**self.environment, **environment},
            timeout=LIMIT,
            check=False,
        )

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        return self._begin(*arguments, text=False, **options).process


@pytest.fixture
def shell(start: Callable[..., Running], binary: Path, environment: dict[str, str]) -> Command:
    return Command(start, binary, environment)


@pytest.fixture
def lines() -> Callable[[subprocess.Popen[bytes]], Callable[[], list[str]]]:
    """Collect what a process writes, line by line, in the background."""
    return lambda process: Lines(process).seen
