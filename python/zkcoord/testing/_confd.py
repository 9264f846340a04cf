"""Genuine ganeti-confd servers, without a Ganeti cluster around them."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

from zkcoord.testing._confd_config import configuration, node_name

_DEBIAN_PACKAGE = "ganeti-haskell-3.0"
# The parent may be gone before the death signal is armed, so the shell looks again before it becomes the server.
_DIE_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL", "sh", "-c", '[ "$PPID" = "$0" ] && exec "$@"')
_KEY = b"0123456789abcdef0123456789abcdef01234567\n"
_LIMIT = 10.0
_NETS = 50


class ConfdError(RuntimeError):
    """The servers cannot be started."""


class ConfdServer:
    """One server: a process with an address of its own on loopback, and a copy of the configuration of its own."""

    def __init__(self, number: int, address: str, port: int, root: Path, everybody: ConfdServers) -> None:
        """Describe a server; made by `ConfdServers.start` only, which then starts it."""
        self.number = number
        """The number of its node, counted from 1."""
        self.name = node_name(number)
        """The name of its node."""
        self.address = address
        """Where it listens."""
        self.port = port
        """The port, the same for all."""
        self.root = root
        """The directory that is ``/`` to its node: the value of ``GANETI_ROOTDIR``."""
        self._everybody = everybody
        self._process: subprocess.Popen[bytes] | None = None
        self._paused = False

    def __repr__(self) -> str:
        """Show the server's number, address and process."""
        return f"<ConfdServer {self.number} {self.address} pid={self.pid}{' paused' if self.paused else ''}>"

    @property
    def pid(self) -> int | None:
        """The id of the running process, or None."""
        return self._process.pid if self._process and self._process.poll() is None else None

    @property
    def running(self) -> bool:
        """Whether the process exists; a paused one does."""
        return self.pid is not None

    @property
    def paused(self) -> bool:
        """Whether the process exists and is stopped by `pause`."""
        return self._paused and self.running

    def configure(
        self, serial: int = 42, master: int = 1, edit: Callable[[dict[str, Any]], object] | None = None
    ) -> None:
        """Replace the server's configuration, and wait until it has read it, if it runs and is not paused.

        :param serial: of the cluster
        :param master: the number of the master node
        :param edit: called with the content of ``config.data``, to change it in place
        """
        content = configuration(self._everybody.peers, serial, master)
        if edit is not None:
            edit(content)
        self._replace(json.dumps(content), f"Loaded new config, serial {content['serial_no']}")

    def break_configuration(self) -> None:
        """Leave the server a configuration that it cannot read: it answers everything with an error."""
        self._replace("{", "Failed to load config")

    def start(self) -> None:
        """Start the process if it does not run, and wait until it listens and has read its configuration."""
        if self.running:
            return
        seen = self._log_size()
        # The kernel kills the server when the *thread* that started it ends. So this is done by a thread that stays.
        self._everybody.spawner.submit(self._spawn).result()
        self._wait_until(lambda: self._has_logged("Starting up in", seen), "listens")

    def stop(self) -> None:
        """Ask the process to end (SIGTERM) and wait until it has; after ten seconds, kill it."""
        self.resume()
        self._signal(signal.SIGTERM)
        if self._process:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_LIMIT)
        self.kill()

    def kill(self) -> None:
        """Kill the process (SIGKILL), paused or not, and wait until it is gone."""
        self._signal(signal.SIGKILL)
        if self._process:
            self._process.wait()
        self._process, self._paused = None, False

    def pause(self) -> None:
        """Freeze the process (SIGSTOP): it answers nothing, and datagrams wait in its socket."""
        self._paused = self._signal(signal.SIGSTOP)
        if self._paused and self._process:
            os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """Let a paused process go on (SIGCONT)."""
        self._signal(signal.SIGCONT)
        self._paused = False

    def log_tail(self, lines: int = 20) -> str:
        """Return the last lines of the server's log, which goes on over restarts."""
        try:
            with self._log.open(encoding="utf-8", errors="replace") as log:
                return "".join(deque(log, lines))
        except FileNotFoundError:
            return ""

    @property
    def _log(self) -> Path:
        return self.root / "server.log"

    def _replace(self, text: str, heard: str) -> None:
        data = self.root / "var/lib/ganeti/config.data"
        seen = self._log_size()
        # The new file is renamed, as Ganeti itself does it: of a file that is written over a server may read a half.
        new = data.with_suffix(".new")
        new.write_text(text)
        new.rename(data)
        if self.running and not self.paused:
            self._wait_until(lambda: self._has_logged(heard, seen), "reads its configuration", 30.0)

    def _log_size(self) -> int:
        return self._log.stat().st_size if self._log.exists() else 0

    def _has_logged(self, text: str, since: int) -> bool:
        with self._log.open("rb") as log:
            log.seek(since)
            return text.encode() in log.read()

    def _spawn(self) -> None:
        # Without this host name the server would look up the name of the machine, and might not find it.
        environment = {
            **os.environ,
            "GANETI_ROOTDIR": str(self.root),
            "GANETI_HOSTNAME": f"node{self.number}",
            "LC_ALL": "C.UTF-8",  # in another locale a query with é ends the server's thread
        }
        debug = ("-d",) if self._everybody.debug else ()
        server = (server_binary(), "-f", *debug, "--no-user-checks", "-b", self.address, "-p", str(self.port))
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                (*_DIE_WITH_PARENT, str(os.getpid()), *server),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,  # a Ctrl-C at the terminal is for the tests, not for the servers
            )

    def _signal(self, number: signal.Signals) -> bool:
        if not self.running:
            return False
        assert self._process is not None
        self._process.send_signal(number)
        return True

    def _wait_until(self, condition: Callable[[], bool], what: str, limit: float = _LIMIT) -> None:
        end = time.monotonic() + limit
        while not condition():
            if not self.running:
                raise ConfdError(f"server {self.number} ended by itself; its log:\n{self.log_tail()}")
            if time.monotonic() > end:
                raise ConfdError(f"server {self.number} not within {limit} s: {what}; log:\n{self.log_tail()}")
            time.sleep(0.005)


class ConfdServers:
    """The ganeti-confd of several master candidates, started by `start` or by entering it as a context.

    They are Debian's own, each with an address of its own in ``127.0.0.0/8``, with one port, one key, and the
    configuration of one cluster. They die with the process that started them, however it dies.
    """

    def __init__(
        self,
        size: int = 3,
        *,
        address: str | None = None,
        debug: bool = True,
        base_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        """Describe the servers, without starting anything.

        :param size: how many
        :param address: where a single server listens instead, such as ``::1``
        :param debug: whether they log each request, and why they drop one; not for servers that are measured
        :param base_dir: where their temporary directory is made, instead of the system's default
        :raises ValueError: `size` is less than 1, or there is an address for several
        """
        if size < 1 or (address is not None and size > 1):
            raise ValueError("there must be at least one server, and an address is for one alone")
        self.size = size
        """How many servers there are, running or not."""
        self.servers: tuple[ConfdServer, ...] = ()
        """The servers, in the order of `peers`; none before `start`."""
        self.directory: Path | None = None
        """The temporary directory of servers that are started."""
        self.hmac_key = _KEY
        """The key of the cluster, with its newline."""
        self.port = 0
        """The port of all of them."""
        self.debug = debug
        """Whether the servers log each request."""
        self._address = address
        self._base_dir = base_dir
        self._owner = os.getpid()
        self._spawner: ThreadPoolExecutor | None = None
        self._reserved: socket.socket | None = None

    def __enter__(self) -> ConfdServers:
        """Start the servers."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop the servers."""
        self.stop()

    @property
    def peers(self) -> list[str]:
        """The addresses of all servers."""
        return [server.address for server in self.servers]

    @property
    def hmac_key_file(self) -> Path:
        """The file with the key, on the first server's node."""
        return self.root / "var/lib/ganeti/hmac.key"

    @property
    def root(self) -> Path:
        """Where the files of the first server's node are: as ``GANETI_ROOTDIR`` it makes this host that node."""
        if not self.servers:
            raise ConfdError("the servers are not started")
        return self.servers[0].root

    @property
    def spawner(self) -> ThreadPoolExecutor:
        """The thread that starts the servers, which the kernel would kill with it."""
        if self._spawner is None:
            raise ConfdError("the servers are not started")
        return self._spawner

    def start(self) -> None:
        """Start every server and wait until it listens; does nothing if they are started.

        :raises ConfdError: ganeti-confd is not installed, or a server does not come up
        """
        if self._spawner:
            return
        server_binary()
        self._owner = os.getpid()
        self._spawner = ThreadPoolExecutor(1, "zkcoord-testing")
        atexit.register(self.stop)
        self.directory = Path(tempfile.mkdtemp(prefix="zkcoord-confd-", dir=self._base_dir))
        try:
            self._reserved, addresses = _free_addresses(self.size, self._address)
            self.port = self._reserved.getsockname()[1]
            self.servers = tuple(
                ConfdServer(number, address, self.port, self.directory / f"node{number}", self)
                for number, address in enumerate(addresses, 1)
            )
            for server in self.servers:
                for part in ("lib", "run", "log"):
                    (server.root / "var" / part / "ganeti").mkdir(parents=True)
                data = server.root / "var/lib/ganeti"
                (data / "hmac.key").write_bytes(_KEY)
                (data / "ssconf_master_candidates_ips").write_text("".join(f"{peer}\n" for peer in self.peers))
                server.configure()
                server.start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Kill every server, paused or not, and remove what they wrote. May be repeated.

        In a process forked off the one that started them this does nothing.
        """
        if not self._spawner or os.getpid() != self._owner:
            return
        self._spawner.shutdown(cancel_futures=True)
        for server in self.servers:
            server.kill()
        if self._reserved:
            self._reserved.close()
        if self.directory and os.environ.get("ZKCOORD_KEEP") != "1":
            shutil.rmtree(self.directory, ignore_errors=True)
        self._reserved = self._spawner = self.directory = None
        atexit.unregister(self.stop)

    def reset(self) -> None:
        """Let every server run, with the configuration that it had in the beginning."""
        for server in self.servers:
            if server.paused:
                server.resume()
            server.configure()
            server.start()

    def logs(self, lines: int = 20) -> str:
        """Return the last lines of every server's log, each under a heading, for a failure report."""
        return "\n".join(f"--- {server!r}\n{server.log_tail(lines)}" for server in self.servers)


def server_binary() -> str:
    """Return the path of ganeti-confd: ``ZKCOORD_GANETI_CONFD``, or where Debian has it.

    :raises ConfdError: it is not there
    """
    candidates = sorted(Path("/usr/lib/ganeti").glob("*/usr/sbin/ganeti-confd"), reverse=True)
    configured = os.environ.get("ZKCOORD_GANETI_CONFD")
    found = configured or next((str(path) for path in candidates), None) or shutil.which("ganeti-confd")
    if not found or not os.access(found, os.X_OK) or not shutil.which("setpriv"):
        raise ConfdError(
            "ganeti-confd is missing; on Debian 12: "
            f"apt-get install --no-install-recommends {_DEBIAN_PACKAGE} util-linux"
        )
    return found


def _free_addresses(size: int, address: str | None) -> tuple[socket.socket, list[str]]:
    """Find addresses with one port that is free on all of them, and hold that port on one more address.

    ganeti-confd binds a port that another process has, and takes its datagrams away. So each address is tried first.
    The port that is held tells others who look for addresses in this way that these are taken.
    """
    for _ in range(_NETS):
        net = f"127.{random.randint(1, 250)}.{random.randint(0, 250)}"
        own = [address] if address else [f"{net}.{number}" for number in range(1, size + 1)]
        reserved = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        reserved.bind((f"{net}.254", 0))
        try:
            for each in own:
                family = socket.AF_INET6 if ":" in each else socket.AF_INET
                with socket.socket(family, socket.SOCK_DGRAM) as tried:
                    tried.bind((each, reserved.getsockname()[1]))
        except OSError:
            reserved.close()
            continue
        return reserved, own
    raise ConfdError("no free port on loopback was found for the servers")
