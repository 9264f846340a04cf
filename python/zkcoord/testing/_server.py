"""One server of an ensemble: a Java process with a port, a data directory and a log file."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, cast

from zkcoord.testing._java import EnsembleError

Mode = Literal["leader", "follower", "observer", "standalone"]

HOST = "127.0.0.1"
# The parent may be gone before the death signal is armed, so the shell looks again before it becomes java.
_DIE_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL", "sh", "-c", '[ "$PPID" = "$0" ] && exec "$@"')
_MAIN_CLASS = "org.apache.zookeeper.server.quorum.QuorumPeerMain"


class PortTakenError(EnsembleError):
    """A server died because something else listens on its port."""


class Server:
    """One server of an `Ensemble`: a Java process with a port, a data directory and a log file.

    Its methods may be called from any thread, but not from two at once. None of them waits for the ensemble
    to recover; that is what `Ensemble.wait_ready` is for.
    """

    def __init__(
        self,
        number: int,
        port: int,
        secure_port: int | None,
        directory: Path,
        java: tuple[str, ...],
        spawner: ThreadPoolExecutor,
        host: str = HOST,
        admin_port: int | None = None,
    ) -> None:
        """Describe a server; made by `Ensemble.start` only, which then starts it."""
        self.number = number
        """The server's id in the ensemble, counted from 1."""
        self.port = port
        """The port for clients. It stays the same over restarts."""
        self.host = host
        """The address that all its ports are on: 127.0.0.1, unless each server has one of its own."""
        self.secure_port = secure_port
        """The port for clients that speak TLS, if there is one."""
        self.admin_port = admin_port
        """The port of its AdminServer, if there is one."""
        self.directory = directory
        """Where the server's configuration, data and log are."""
        self._java = java
        self._spawner = spawner
        self._process: subprocess.Popen[bytes] | None = None  # None: not meant to run
        self._paused = False

    def __repr__(self) -> str:
        """Show the server's number, address and process."""
        return f"<Server {self.number} {self.address} pid={self.pid}{' paused' if self.paused else ''}>"

    @property
    def address(self) -> str:
        """The address for clients, as ``host:port``."""
        return f"{self.host}:{self.port}"

    @property
    def pid(self) -> int | None:
        """The id of the running Java process, or None."""
        return self._process.pid if self._process and self._process.poll() is None else None

    @property
    def running(self) -> bool:
        """Whether the process exists; a paused one does."""
        return self.pid is not None

    @property
    def paused(self) -> bool:
        """Whether the process exists and is stopped by `pause`."""
        return self._paused and self.running

    def start(self) -> None:
        """Start the process if it does not run, on the port and the data it had. Returns at once."""
        if not self.running:
            # The kernel kills the servers when the *thread* that started them ends, so that has to be one
            # which lives as long as the ensemble, not whichever thread called.
            self._spawner.submit(self._spawn).result()

    def stop(self) -> None:
        """Ask the process to end (SIGTERM) and wait until it has; after ten seconds, kill it."""
        self.resume()
        self._signal(signal.SIGTERM)
        if self._process:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(10)
        self.kill()

    def kill(self) -> None:
        """Kill the process (SIGKILL), paused or not, and wait until it is gone."""
        # A paused process is not resumed first: it would still carry out the requests that it was sent meanwhile.
        self._paused = False
        self._signal(signal.SIGKILL)
        if self._process:
            self._process.wait()
        self._process = None

    def restart(self) -> None:
        """`stop` and `start`. Returns as soon as the new process exists."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze the process (SIGSTOP): from now on its connections stay open and nothing is answered."""
        self._paused = self._signal(signal.SIGSTOP)
        if self._paused and self._process:  # the last thread of the process stops a little later
            os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """Let a paused process go on (SIGCONT)."""
        self._signal(signal.SIGCONT)
        self._paused = False

    def wipe(self) -> None:
        """Remove the data of a stopped server, but not its id and its settings: it starts with an empty disk."""
        if self.running:
            raise EnsembleError(f"server {self.number} runs: stop it before its data are removed")
        shutil.rmtree(self.directory / "version-2", ignore_errors=True)

    def four_letter(self, word: str, timeout: float = 5.0) -> str:
        """Send a four letter word such as ``mntr`` and return the whole answer.

        :param timeout: seconds for everything together
        :raises OSError: no answer: the server is down, or did not finish in time (`TimeoutError`)
        """
        deadline = time.monotonic() + timeout
        answer = bytearray()
        with socket.create_connection((self.host, self.port), timeout) as connection:
            connection.sendall(word.encode("ascii"))
            while True:
                if (left := deadline - time.monotonic()) <= 0:
                    raise TimeoutError(f"{self.address} did not finish its answer to {word!r} in {timeout} s")
                connection.settimeout(left)
                if not (chunk := connection.recv(65536)):
                    return answer.decode()
                answer += chunk

    def mode(self, timeout: float = 5.0) -> Mode | None:
        """Return what the server is to the ensemble; None if it does not serve, or does not say so in `timeout` s."""
        if not self.running or self.paused:
            return None
        try:
            answer = self.four_letter("srvr", timeout)
        except OSError:
            return None
        found = re.search(r"^Mode: (leader|follower|observer|standalone)$", answer, re.MULTILINE)
        return cast(Mode, found[1]) if found else None

    def _takes_tls(self) -> bool:
        """Tell whether the secure port, if there is one, takes connections: a server opens it after the other port."""
        if self.secure_port is None:
            return True
        try:
            socket.create_connection((self.host, self.secure_port), 1).close()
        except OSError:
            return False
        return True

    def log_tail(self, lines: int = 40) -> str:
        """Return the last lines of the server's log, which goes on over restarts."""
        try:
            with self._log.open(encoding="utf-8", errors="replace") as log:
                return "".join(deque(log, lines))
        except FileNotFoundError:
            return ""

    @property
    def _log(self) -> Path:
        return self.directory / "server.log"

    def _spawn(self) -> None:
        java = (*self._java, f"-Djava.io.tmpdir={self.directory}")
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                (*_DIE_WITH_PARENT, str(os.getpid()), *java, _MAIN_CLASS, str(self.directory / "zoo.cfg")),
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C at the terminal is for the tests, not for the servers
            )

    def _signal(self, number: signal.Signals) -> bool:
        if not self.running:
            return False
        assert self._process is not None
        self._process.send_signal(number)
        return True

    def _check_alive(self) -> None:
        if self._process and (status := self._process.poll()) is not None:
            taken = "Address already in use" in self.log_tail(200)
            raise (PortTakenError if taken else EnsembleError)(
                f"server {self.number} ended by itself with status {status}; its log:\n{self.log_tail()}"
            )
