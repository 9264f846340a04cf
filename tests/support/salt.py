"""Real Salt as child processes: `salt-call` without a master, and a master with minions on loopback."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from tests.support.processes import MARK

VERSIONS = ("3008", "3006")
"""The newest Salt that is supported, which is installed with the tests, and the oldest."""

LONG = 40
"""A session timeout in seconds that outlasts the check for leftovers: who does not close is found out."""

# The parent may be gone before the death signal is armed, so the shell looks again.
_DIE_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL", "sh", "-c", '[ "$PPID" = "$0" ] && exec "$@"')
# Ctrl-C means something even where the tests run in the background of a script.
_SIGNALS_ARE_ON = ("env", "--default-signal=HUP,INT,TERM")
# A daemon's children know nothing of our death. Something in its group that reads from us does.
_GROUP_DIES_WITH_PARENT = (
    "sh",
    "-c",
    'exec 3<&0; { cat <&3 >/dev/null; kill -KILL 0; } & exec "$@" </dev/null 3<&-',
    "sh",
)
_READY = "Minion is ready to receive requests"


def bin_dir(version: str) -> Path:
    """Where the commands of a Salt version are. One that is missing is a failure, never a skip."""
    if version == VERSIONS[0]:
        directory = Path(sys.executable).parent
    else:
        name = f"ZKCOORD_SALT_{version}"
        assert os.environ.get(name), (
            f"{name} is not set: it names the bin directory of a virtual environment that has Salt {version} "
            "and both distributions; `make test` makes one"
        )
        directory = Path(os.environ[name])
    assert (directory / "salt-call").exists(), f"{directory} has no salt-call: install Salt {version} there"
    return directory


class Answer(NamedTuple):
    """What a command said: the exit code, the value (None if there was none), and the raw output."""

    code: int
    value: object
    stdout: str
    stderr: str

    @property
    def outcome(self) -> tuple[int, object]:
        """The exit code and the value."""
        return self.code, self.value

    @property
    def complaint(self) -> str:
        """The one line on standard error; fails if there is not exactly one."""
        lines = [line for line in self.stderr.splitlines() if line.strip()]
        assert len(lines) == 1, f"expected one line on stderr: {self.stderr!r}"
        return lines[0]


class Command:
    """A Salt command that runs beside the test."""

    def __init__(self, command: list[str], env: Mapping[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [*_DIE_WITH_PARENT, str(os.getpid()), *_SIGNALS_ARE_ON, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONWARNINGS": "ignore", **(env or {})},
        )

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def answer(self, limit: float = 60.0) -> Answer:
        """The answer; fails if the command does not end."""
        try:
            stdout, stderr = self.process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            self.end()
            stdout, stderr = self.process.communicate()
            raise AssertionError(f"no answer within {limit} s; stdout: {stdout}; stderr: {stderr}") from None
        return Answer(self.process.returncode, _value(stdout), stdout, stderr)

    def end(self) -> None:
        """Make sure that it is gone, if possible in an orderly way, for the sake of later tests."""
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.communicate(timeout=5)
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


class Minionless:
    """`salt-call --local`. Each call has a directory of its own: beside each other they trip over files."""

    def __init__(self, directory: Path, version: str = VERSIONS[0], **config: object) -> None:
        self._directory = directory
        self._bin_dir = bin_dir(version)
        self._config = {
            "file_client": "local",
            "id": "probe",
            "user": getpass.getuser(),
            "file_roots": {"base": [str(directory / "sls")]},
            **config,
        }
        self._commands: list[Command] = []
        (directory / "sls").mkdir(parents=True)

    def state(self, name: str, states: Mapping[str, object] | str) -> None:
        """Write a state file."""
        text = states if isinstance(states, str) else json.dumps(states)
        (self._directory / "sls" / f"{name}.sls").write_text(text)

    def start(
        self,
        fun: str,
        *args: object,
        options: tuple[str, ...] = (),
        env: Mapping[str, str] | None = None,
        **kw: object,
    ) -> Command:
        """Start a salt-call. Text is passed as it is, as YAML that is; other values are made YAML."""
        directory = self._directory / f"call-{len(self._commands)}"
        directory.mkdir()
        config = {"root_dir": str(directory / "salt"), **self._config}
        (directory / "minion").write_text(json.dumps(config))  # JSON is YAML
        fixed = ("--local", "--config-dir", str(directory), "--out=json", *options)
        command = Command([str(self._bin_dir / "salt-call"), *fixed, fun, *_arguments(args, kw)], env)
        self._commands.append(command)
        return command

    def salt_call(
        self,
        fun: str,
        *args: object,
        options: tuple[str, ...] = (),
        env: Mapping[str, str] | None = None,
        **kw: object,
    ) -> Answer:
        """Run a salt-call to its end."""
        return self.start(fun, *args, options=options, env=env, **kw).answer()

    def written(self) -> dict[Path, str]:
        """Every file that Salt has written."""
        files = (path for path in self._directory.glob("call-*/salt/**/*") if path.is_file())
        return {path: path.read_text(errors="replace") for path in files}

    def end(self) -> None:
        for command in self._commands:
            command.end()


class Cluster:
    """A master and minions, which die with the process that started them, however that dies."""

    def __init__(self, version: str, minions: Mapping[str, Mapping[str, object]]) -> None:
        self._bin_dir = bin_dir(version)
        # Not below pytest's directory: Unix sockets are in there, and their paths are at most 107 bytes long.
        self.directory = Path(tempfile.mkdtemp(prefix="zkcoord-salt-"))
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._commands: list[Command] = []
        self._ports = _reserve_ports(2)
        publish_port, return_port = (reserved.getsockname()[1] for reserved in self._ports)
        (self.directory / "sls").mkdir()
        both = {"publish_port": publish_port, "user": getpass.getuser(), "keysize": 2048}
        self._configure(
            "master",
            "master",
            {
                **both,
                "interface": "127.0.0.1",
                "ret_port": return_port,
                "auto_accept": True,
                "worker_threads": 3,
                "timeout": 15,
                "file_roots": {"base": [str(self.directory / "sls")]},
            },
        )
        for name, config in minions.items():
            own = {
                **both,
                "id": name,
                "master": "127.0.0.1",
                "master_port": return_port,
                "master_tries": -1,
                "acceptance_wait_time": 1,
                "random_startup_delay": 0,
                "mine_enabled": False,
                "zookeeper": {"session_timeout": LONG},
            }
            self._configure(name, "minion", {**own, **config})
        self.minions = tuple(minions)

    def start(self, limit: float = 60.0) -> None:
        """Start all, and wait until every minion listens."""
        self._spawn("master", "salt-master")
        for name in self.minions:
            self._spawn(name, "salt-minion")
        end = time.monotonic() + limit
        # Not asked for with test.ping: a minion that is not there yet costs ten seconds each time.
        while not all(_READY in self._log(name) for name in self.minions):
            dead = [name for name, daemon in self._daemons.items() if daemon.poll() is not None]
            assert not dead, f"{dead} died; the logs:\n{self.logs()}"
            assert time.monotonic() < end, f"minions not ready within {limit} s; the logs:\n{self.logs()}"
            time.sleep(0.1)

    def salt(self, minion: str, fun: str, *args: object, options: tuple[str, ...] = (), **kw: object) -> Command:
        """Start a `salt` command for one minion, whose answer it is."""
        fixed = ("--config-dir", str(self.directory / "master"), "--out=json", *options)
        command = Command([str(self._bin_dir / "salt"), *fixed, minion, fun, *_arguments(args, kw)])
        self._commands.append(command)
        return command

    def running(self, minion: str, limit: float = 15.0) -> list[dict[str, str]]:
        """The jobs that a minion runs now.

        Salt 3006 fails where it reads the file of a job that is being written, and so it is asked again.
        """
        end = time.monotonic() + limit
        while not isinstance(found := self.salt(minion, "saltutil.running").answer().value, list):
            assert time.monotonic() < end, found
        return found

    def state(self, name: str, states: Mapping[str, object]) -> None:
        """Write a state file for all minions."""
        (self.directory / "sls" / f"{name}.sls").write_text(json.dumps(states))

    def terminate(self, name: str, limit: float = 60.0) -> None:
        """Ask one daemon to end (SIGTERM), and wait until it has."""
        self._daemons[name].terminate()
        self._daemons[name].wait(limit)

    def end_commands(self) -> None:
        for command in self._commands:
            command.end()
        self._commands.clear()

    def stop(self) -> None:
        """Kill all, and remove what they wrote."""
        self.end_commands()
        for daemon in self._daemons.values():
            with contextlib.suppress(ProcessLookupError):  # all of the group are gone
                os.killpg(daemon.pid, signal.SIGKILL)
        for daemon in self._daemons.values():
            daemon.wait(10)
        for reserved in self._ports:
            reserved.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def logs(self, lines: int = 20) -> str:
        """The last lines of every log."""
        tails = ((name, self._log(name).splitlines()[-lines:]) for name in self._daemons)
        return "\n".join(line for name, tail in tails for line in (f"--- {name}", *tail))

    def _configure(self, name: str, kind: str, config: Mapping[str, object]) -> None:
        directory = self.directory / name
        directory.mkdir()
        own = {"root_dir": str(directory), "log_file": str(directory / "log"), "log_level_logfile": "info"}
        (directory / kind).write_text(json.dumps({**own, **config}))

    def _spawn(self, name: str, program: str) -> None:
        # Daemons outlive the tests that use them, and so do not carry the mark of any.
        env = {key: value for key, value in os.environ.items() if key != MARK}
        options = ("--config-dir", str(self.directory / name), "--log-level=quiet")
        with (self.directory / name / "out").open("wb") as out:
            self._daemons[name] = subprocess.Popen(
                [*_GROUP_DIES_WITH_PARENT, str(self._bin_dir / program), *options],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=out,
                env={**env, "PYTHONWARNINGS": "ignore"},
                start_new_session=True,
            )

    def _log(self, name: str) -> str:
        files = (self.directory / name / file for file in ("out", "log"))
        return "".join(file.read_text(errors="replace") for file in files if file.exists())


@contextlib.contextmanager
def closed_port() -> Iterator[str]:
    """An address where nobody listens, and nobody else will."""
    (reserved,) = _reserve_ports(1)
    with reserved:
        yield f"127.0.0.1:{reserved.getsockname()[1]}"


def _reserve_ports(count: int) -> list[socket.socket]:
    """Free ports, held by sockets that do not listen. Who sets SO_REUSEADDR, as Salt does, still can."""
    reserved = [socket.socket() for _ in range(count)]
    for each in reserved:
        each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        each.bind(("127.0.0.1", 0))
    return reserved


def _arguments(args: tuple[object, ...], kw: Mapping[str, object]) -> list[str]:
    return [*map(_yaml, args), *(f"{key}={_yaml(value)}" for key, value in kw.items())]


def _yaml(value: object) -> str:
    if value is None:
        return "None"
    return value if isinstance(value, str) else json.dumps(value)


def _value(stdout: str) -> object:
    """The value in Salt's JSON, which has it below the minion's name."""
    try:
        answer = json.loads(stdout)
    except ValueError:
        return None
    return next(iter(answer.values()), None) if isinstance(answer, dict) else None
