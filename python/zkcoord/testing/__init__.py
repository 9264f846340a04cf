"""Real ZooKeeper ensembles for tests: real servers, real elections, real faults, on loopback.

    from zkcoord.testing import Ensemble

    with Ensemble(3) as ensemble:
        client = connect(ensemble.hosts)
        ensemble.leader().kill()
        ensemble.wait_ready()

or, for anything that is not Python, ``python -m zkcoord.testing``, which prints a connect string and runs until it is
told to stop. `ConfdServers` are those of a Ganeti cluster, for ``zkcoord.confd``: ``python -m zkcoord.testing confd``.

Every server is a Java process of its own, run from the jars of Debian's ``libzookeeper-java`` or from the class path in
``ZKCOORD_ZOOKEEPER_CLASSPATH``, which must hold an slf4j binding that logs to standard error. The servers die with the
process that started them, however that dies. What they wrote is removed when the ensemble stops, but not where
``ZKCOORD_KEEP`` is ``1``; a process that was killed removes nothing. It needs Linux and Python's standard library.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import defaultdict, deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Literal, cast

from zkcoord.testing._confd import ConfdError, ConfdServer, ConfdServers
from zkcoord.testing._java import EnsembleError, java_command
from zkcoord.testing._security import SASL_SETTINGS, Kerberos, Tls, write_logins, write_stores

__all__ = [
    "ConfdError",
    "ConfdServer",
    "ConfdServers",
    "Ensemble",
    "EnsembleError",
    "Kerberos",
    "Mode",
    "Server",
    "Tls",
]

Mode = Literal["leader", "follower", "standalone"]

_HOST = "127.0.0.1"
# The parent may be gone before the death signal is armed, so the shell looks again before it becomes java.
_DIE_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL", "sh", "-c", '[ "$PPID" = "$0" ] && exec "$@"')
_MAIN_CLASS = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
_START_ATTEMPTS = 3


class _PortTakenError(EnsembleError):
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
    ) -> None:
        """Describe a server; made by `Ensemble.start` only, which then starts it."""
        self.number = number
        """The server's id in the ensemble, counted from 1."""
        self.port = port
        """The port for clients, on 127.0.0.1. It stays the same over restarts."""
        self.secure_port = secure_port
        """The port for clients that speak TLS, if there is one."""
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
        return f"{_HOST}:{self.port}"

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
        self.resume()
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
        if self._paused and self._process:  # the last of its threads stops a little later
            os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """Let a paused process go on (SIGCONT)."""
        self._signal(signal.SIGCONT)
        self._paused = False

    def four_letter(self, word: str, timeout: float = 5.0) -> str:
        """Send a four letter word such as ``mntr`` and return the whole answer.

        :param timeout: seconds for everything together
        :raises OSError: no answer: the server is down, or did not finish in time (`TimeoutError`)
        """
        deadline = time.monotonic() + timeout
        answer = bytearray()
        with socket.create_connection((_HOST, self.port), timeout) as connection:
            connection.sendall(word.encode("ascii"))
            while True:
                if (left := deadline - time.monotonic()) <= 0:
                    raise TimeoutError(f"{self.address} did not finish its answer to {word!r} in {timeout} s")
                connection.settimeout(left)
                if not (chunk := connection.recv(65536)):
                    return answer.decode()
                answer += chunk

    def mode(self, timeout: float = 5.0) -> Mode | None:
        """Return what the server is to the ensemble, or None if it does not serve, or not in `timeout` s."""
        if not self.running or self.paused:
            return None
        try:
            answer = self.four_letter("srvr", timeout)
        except OSError:
            return None
        found = re.search(r"^Mode: (leader|follower|standalone)$", answer, re.MULTILINE)
        return cast(Mode, found[1]) if found else None

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
            raise (_PortTakenError if taken else EnsembleError)(
                f"server {self.number} ended by itself with status {status}; its log:\n{self.log_tail()}"
            )


class Ensemble:
    """A ZooKeeper ensemble on loopback, started by `start` or by entering it as a context.

    After `stop` it can be started again, with new ports and no data. The servers need the process that called
    `start`, but not the thread: they die when that process does, however it dies.
    """

    def __init__(
        self,
        size: int = 3,
        *,
        tick_ms: int = 500,
        fsync: bool = False,
        fast_start: bool = True,
        tls: Tls | None = None,
        sasl: Mapping[str, str] | Kerberos | None = None,
        config: Mapping[str, object] | None = None,
        properties: Mapping[str, object] | None = None,
        base_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        """Describe an ensemble, without starting anything.

        :param size: how many servers; 1 is a standalone server, without a quorum
        :param tick_ms: ZooKeeper's ``tickTime`` in milliseconds. It is also the shortest session timeout that
            the servers grant, and the step in which they expire sessions. Ten ticks without an answer, and
            a follower and its leader give each other up.
        :param fsync: write transactions through to the disk, as real servers must and tests need not
        :param fast_start: Java that starts in half the time, and never runs at full speed; not for servers that are
            measured
        :param tls: what a secure port of each server is made with, beside the port that speaks plain text
        :param sasl: passwords by name of the users that SASL, DIGEST-MD5, is done with; or who the servers are in
            a Kerberos realm, for GSSAPI. Who does not do it is let in all the same, unless `config` has
            ``enforce.auth.enabled`` and ``enforce.auth.schemes``.
        :param config: more settings for ``zoo.cfg``, which win over those made here
        :param properties: system properties of the servers' Java, for what ``zoo.cfg`` cannot set, such as
            ``{"jute.maxbuffer": 8388608}``
        :param base_dir: where the ensemble's temporary directory is made, instead of the system's default
        :raises ValueError: `size` is less than 1
        """
        if size < 1:
            raise ValueError(f"an ensemble needs at least one server, not {size}")
        self.size = size
        """How many servers there are, running or not."""
        self.servers: tuple[Server, ...] = ()
        """The servers, in the order of `hosts`; none before the first `start`."""
        self.directory: Path | None = None
        """The temporary directory of a started ensemble."""
        self._config: dict[str, object] = {
            "tickTime": tick_ms,
            "minSessionTimeout": tick_ms,
            "maxSessionTimeout": 60_000,
            "initLimit": 20,
            "syncLimit": 10,
            "maxClientCnxns": 0,
            "quorumListenOnAllIPs": False,
            "admin.enableServer": False,
            "4lw.commands.whitelist": "*",
            "forceSync": "yes" if fsync else "no",
            **(SASL_SETTINGS if sasl else {}),
            **(config or {}),
        }
        self._properties = dict(properties or {})
        self._fast_start = fast_start
        self._tls = tls
        self._sasl = sasl
        self._base_dir = base_dir
        self._owner = os.getpid()
        self._spawner: ThreadPoolExecutor | None = None
        self._reserved: list[socket.socket] = []

    def __enter__(self) -> Ensemble:
        """Start the ensemble and wait until it serves."""
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the ensemble."""
        self.stop()

    @property
    def hosts(self) -> str:
        """The connect string: every server's address, joined by commas."""
        return ",".join(server.address for server in self.servers)

    @property
    def secure_hosts(self) -> str:
        """The connect string of the secure ports, without a scheme.

        :raises EnsembleError: the ensemble has no `tls`
        """
        if self._tls is None:
            raise EnsembleError("the ensemble has no secure ports: it was made without tls")
        return ",".join(f"{_HOST}:{server.secure_port}" for server in self.servers)

    def start(self, timeout: float = 60.0) -> None:
        """Start every server and wait until they serve; does nothing if the ensemble is started.

        :param timeout: seconds until the ensemble must serve
        :raises EnsembleError: Java or ZooKeeper is not installed, or the servers do not come up
        """
        if self._spawner:
            return
        java = (*java_command(bool(self._tls), self._fast_start), *(f"-D{k}={v}" for k, v in self._properties.items()))
        for attempt in range(1, _START_ATTEMPTS + 1):
            try:
                self._start(java)
                self.wait_ready(timeout)
                return
            except BaseException as error:
                self.stop()
                if not isinstance(error, _PortTakenError) or attempt == _START_ATTEMPTS:
                    raise

    def stop(self) -> None:
        """Kill every server, paused or not, and remove what they wrote. May be repeated.

        In a process forked off the one that started the ensemble this does nothing.
        """
        if not self._spawner or os.getpid() != self._owner:
            return
        self._spawner.shutdown(cancel_futures=True)
        for server in self.servers:
            server.kill()
        for reserved in self._reserved:
            reserved.close()
        if self.directory and os.environ.get("ZKCOORD_KEEP") == "1":
            print(f"zkcoord.testing: kept {self.directory}", file=sys.stderr)
        elif self.directory:
            shutil.rmtree(self.directory, ignore_errors=True)
        self.directory = None
        self._spawner = None
        atexit.unregister(self.stop)

    def wait_ready(self, timeout: float = 30.0) -> None:
        """Wait until every server that runs and is not paused serves, and exactly one of them leads.

        :param timeout: seconds
        :raises EnsembleError: that did not happen in time, or a server ended by itself; with the logs' ends
        """
        deadline = time.monotonic() + timeout
        while True:
            for server in self.servers:
                server._check_alive()
            modes = [server.mode(timeout=1) for server in self._serving()]
            leaders = len(modes) - modes.count("follower") - modes.count(None)
            if leaders == 1 and None not in modes:
                return
            if time.monotonic() > deadline:
                raise EnsembleError(f"no quorum after {timeout} s, only {modes}; the logs:\n{self.logs(15)}")
            time.sleep(0.02)

    def leader(self) -> Server:
        """Return the server that leads, or the standalone server.

        :raises EnsembleError: there is none right now
        """
        for server in self.servers:
            if server.mode() in {"leader", "standalone"}:
                return server
        raise EnsembleError("the ensemble has no leader right now")

    def sessions(self) -> set[str]:
        """Return the ids of all live sessions, as ZooKeeper writes them (``0x1000013e6040000``).

        :raises EnsembleError: there is no leader right now
        :raises OSError: the leader does not answer
        """
        sessions, _ = self._dump()
        return {found[1] for line in sessions if (found := re.fullmatch(r"\t?(0x[0-9a-f]+)(\t\d+ms)?", line))}

    def ephemerals(self) -> dict[str, set[str]]:
        """Return the paths of all ephemeral nodes, by the id of the session that owns them.

        It is what the leader knows; raises what `sessions` raises.
        """
        paths: defaultdict[str, set[str]] = defaultdict(set)
        session = ""
        for line in self._dump()[1]:
            if line.startswith("\t/"):
                paths[session].add(line[1:])
            elif line.startswith("0x"):
                session = line.rstrip(":")
        return dict(paths)

    def mntr(self) -> dict[str, float]:
        """Return ``mntr``'s numbers, each summed over the servers that run and are not paused.

        A sum makes sense of the counters, such as ``zk_packets_received``, and of little else.

        :raises OSError: one of these servers does not answer
        """
        totals: defaultdict[str, float] = defaultdict(float)
        for server in self._serving():
            for line in server.four_letter("mntr").split("\n"):
                key, _, value = line.partition("\t")
                with contextlib.suppress(ValueError):
                    totals[key] += float(value)
        return dict(totals)

    def logs(self, lines: int = 40) -> str:
        """Return the last lines of every server's log, each under a heading, for a failure report."""
        return "\n".join(f"--- {server!r}\n{server.log_tail(lines)}" for server in self.servers)

    def _serving(self) -> list[Server]:
        return [server for server in self.servers if server.running and not server.paused]

    def _dump(self) -> tuple[list[str], list[str]]:
        """Return the lines of the leader's ``dump`` that are about sessions, and about ephemeral nodes."""
        lines = self.leader().four_letter("dump").split("\n")
        try:
            ephemerals, connections = lines.index("ephemeral nodes dump:"), lines.index("Connections dump:")
        except ValueError:
            raise EnsembleError(f"the leader has just stopped serving: {lines[0]}") from None
        return lines[:ephemerals], lines[ephemerals:connections]

    def _start(self, java: tuple[str, ...]) -> None:
        self._owner = os.getpid()
        self._spawner = ThreadPoolExecutor(1, "zkcoord-testing")
        atexit.register(self.stop)
        self.directory = Path(tempfile.mkdtemp(prefix="zkcoord-", dir=self._base_dir))
        self._reserved = _reserve_ports(4 * self.size)
        ports = [reserved.getsockname()[1] for reserved in self._reserved]
        client_ports, quorum_ports, election_ports, secure_ports = (ports[i::4] for i in range(4))
        config = dict(self._config)
        if self._tls:
            config = {**write_stores(self.directory, self._tls), **config}
        if self._sasl:
            java = (*java, *write_logins(self.directory, self._sasl))
        if self.size > 1:
            for number, peer_ports in enumerate(zip(quorum_ports, election_ports, strict=True), 1):
                config[f"server.{number}"] = ":".join((_HOST, *map(str, peer_ports)))
        servers = []
        for number, (port, secure_port) in enumerate(zip(client_ports, secure_ports, strict=True), 1):
            directory = self.directory / f"server-{number}"
            directory.mkdir()
            (directory / "myid").write_text(f"{number}\n")
            own = {"dataDir": directory, "clientPort": port, "clientPortAddress": _HOST}
            if self._tls:
                own |= {"secureClientPort": secure_port, "secureClientPortAddress": _HOST}
            (directory / "zoo.cfg").write_text(
                "".join(f"{key}={_setting(value)}\n" for key, value in {**config, **own}.items())
            )
            secure = secure_port if self._tls else None
            servers.append(Server(number, port, secure, directory, java, self._spawner))
        self.servers = tuple(servers)
        for server in self.servers:
            server.start()


def _setting(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _reserve_ports(count: int) -> list[socket.socket]:
    """Find free ports and hold them with sockets that are bound but do not listen.

    Java, which like these sockets sets SO_REUSEADDR, can listen there all the same, but the kernel offers the
    ports to nobody who asks for any port, not even while their server is down.
    """
    sockets = []
    for _ in range(count):
        reserved = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind((_HOST, 0))
        sockets.append(reserved)
    return sockets
