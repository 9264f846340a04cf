"""Real ZooKeeper ensembles for tests: real servers, real elections, real faults, on loopback.

    from zkcoord.testing import Ensemble

    with Ensemble(3) as ensemble:
        client = connect(ensemble.hosts)
        ensemble.leader().kill()
        ensemble.wait_ready()

or, for anything that is not Python, ``python -m zkcoord.testing``, which prints a connect string and runs until it is
told to stop. ``python -m zkcoord.testing confd`` does so with `ConfdServers`: those of a Ganeti cluster, for
``zkcoord.confd``. For pytest there are fixtures, in `zkcoord.pytest_plugin`. Faults between clients and servers are
made by a `Proxy` before each server, and certificates for `Tls` by `zkcoord.testing.certificates`.

Every server is a Java process of its own, run from the jars of Debian's ``libzookeeper-java`` or from the class path in
``ZKCOORD_ZOOKEEPER_CLASSPATH``, which must hold an slf4j binding that logs to standard error. The servers die with the
process that started them, however it dies. Their files are removed when the ensemble stops, but not where
``ZKCOORD_KEEP`` is ``1``, and not by a process that is killed. It needs Linux and Python's standard library.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import shutil
import socket
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from zkcoord.testing._confd import ConfdError, ConfdServer, ConfdServers
from zkcoord.testing._java import EnsembleError, java_command
from zkcoord.testing._ports import own_addresses, reserve, reserve_shared
from zkcoord.testing._proxy import Proxies, Proxy, proxied
from zkcoord.testing._relay import Op
from zkcoord.testing._security import SASL_SETTINGS, Kerberos, Tls, super_user_flags, write_logins, write_stores
from zkcoord.testing._server import HOST, Mode, PortTakenError, Server

__all__ = [
    "ConfdError",
    "ConfdServer",
    "ConfdServers",
    "Ensemble",
    "EnsembleError",
    "Kerberos",
    "Mode",
    "Op",
    "Proxies",
    "Proxy",
    "Server",
    "Tls",
    "proxied",
]

_START_ATTEMPTS = 3
# How many servers may be added to an ensemble whose servers have addresses of their own.
_MOST_ADDED = 8


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
        observers: int = 0,
        reconfig: bool = False,
        super_user: tuple[str, str] | None = None,
        admin: bool = False,
        own_hosts: bool = False,
        config: Mapping[str, object] | None = None,
        properties: Mapping[str, object] | None = None,
        base_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        """Describe an ensemble, without starting anything.

        :param size: how many servers; 1 is a standalone server, without a quorum
        :param tick_ms: ZooKeeper's ``tickTime`` in milliseconds. It is also the shortest session timeout that
            the servers grant, and the step in which they expire sessions. After ten ticks without an answer a follower
            and its leader give each other up.
        :param fsync: write transactions through to the disk, as real servers must and tests need not
        :param fast_start: Java that starts in half the time, and never runs at full speed; not for servers that are
            measured
        :param tls: the certificates of a secure port, which each server has beside its port for plain text
        :param sasl: for SASL by DIGEST-MD5, the passwords of the users by their names; for GSSAPI, who the servers are
            in a Kerberos realm. Clients that do no SASL are let in all the same, unless `config` has
            ``enforce.auth.enabled`` and ``enforce.auth.schemes``.
        :param observers: how many more servers follow and do not vote. They are the last ones of `servers`.
        :param reconfig: whether servers can be added and removed while the ensemble runs (``reconfigEnabled``), by
            whoever may write ``/zookeeper/config``, such as the `super_user`
        :param super_user: name and password of a user who may do everything, by the digest scheme; also by SASL, if
            `sasl` has that name
        :param admin: whether each server has an AdminServer, over HTTP. On Debian it needs libservlet-api-java.
        :param own_hosts: whether each server has an address of its own, 127.0.0.2 and so on, and all have the same
            ports
        :param config: more settings for ``zoo.cfg``, which win over those made here
        :param properties: system properties of the servers' Java, for what ``zoo.cfg`` cannot set, such as
            ``{"jute.maxbuffer": 8388608}``
        :param base_dir: where the ensemble's temporary directory is made, instead of the system's default
        :raises ValueError: `size` is less than 1, or there are observers of one server
        """
        if size < 1:
            raise ValueError(f"an ensemble needs at least one server, not {size}")
        if observers and size == 1:
            raise ValueError("observers need at least two servers that vote: one alone is no ensemble")
        self.size = size + observers
        """How many servers there are at the start, running or not."""
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
            "admin.enableServer": admin,
            "4lw.commands.whitelist": "*",
            "forceSync": "yes" if fsync else "no",
            **({"reconfigEnabled": True} if reconfig else {}),
            **(SASL_SETTINGS if sasl else {}),
            **(config or {}),
        }
        self._properties = {**(super_user_flags(super_user) if super_user else {}), **(properties or {})}
        self._observers, self._reconfig, self._admin, self._own_hosts = observers, reconfig, admin, own_hosts
        self._ports: list[list[int]] = []
        self._java: tuple[str, ...] = ()
        self._stores: dict[str, object] = {}
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
        return ",".join(f"{server.host}:{server.secure_port}" for server in self.servers)

    def start(self, timeout: float = 60.0) -> None:
        """Start every server and wait until they serve; does nothing if the ensemble is started.

        :param timeout: seconds until the ensemble must serve
        :raises EnsembleError: Java or ZooKeeper is not installed, or the servers do not come up
        """
        if self._spawner:
            return
        java = java_command(bool(self._tls), self._fast_start, self._admin)
        java = (*java, *(f"-D{name}={value}" for name, value in self._properties.items()))
        for attempt in range(1, _START_ATTEMPTS + 1):
            try:
                self._start(java)
                self.wait_ready(timeout)
                return
            except BaseException as error:
                self.stop()
                if not isinstance(error, PortTakenError) or attempt == _START_ATTEMPTS:
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
        :raises EnsembleError: this was not so in time, or a server ended by itself; the message has the logs' ends
        """
        deadline = time.monotonic() + timeout
        while True:
            for server in self.servers:
                server._check_alive()
            modes = [server.mode(timeout=1) for server in self._serving()]
            leaders = modes.count("leader") + modes.count("standalone")
            if leaders == 1 and None not in modes and all(server._takes_tls() for server in self._serving()):
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

        They are those that the leader knows. Raises what `sessions` raises.
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
        self._reserved, self._ports = [], []
        self._ports = self._reserve(self.size)
        self._stores = write_stores(self.directory, self._tls) if self._tls else {}
        if self._sasl:
            java = (*java, *write_logins(self.directory, self._sasl))
        self._java = java
        numbers = range(1, self.size + 1)
        members = [self._member(number, number > self.size - self._observers) for number in numbers]
        self.servers = tuple(self._make(number, members if self.size > 1 else []) for number in numbers)
        for server in self.servers:
            server.start()

    def add(self, *, observer: bool = False) -> Server:
        """Start a server that is no member yet, with all members in its list: it follows the leader, and does not vote.

        The line of `member`, in the configuration, makes it a member. Returns at once; see `wait_ready`.

        :raises EnsembleError: the ensemble was made without `reconfig`, or is not started
        """
        if not self._reconfig or not self._spawner:
            raise EnsembleError("a server is added to an ensemble that was made with reconfig=True, and is started")
        number = max(server.number for server in self.servers) + 1
        if len(self._ports) < number:
            self._ports += self._reserve(1)
        server = self._make(number, [*self._known_members(), self._member(number, observer)])
        self.servers = (*self.servers, server)
        server.start()
        return server

    def replace(self, server: Server) -> None:
        """Kill a server, and start it anew with the same id and an empty disk. Returns at once; see `wait_ready`."""
        server.kill()
        server.wipe()
        server.start()

    def discard(self, server: Server) -> None:
        """Kill a server that is no member any more, and remove its files. A later server may get its number."""
        server.kill()
        shutil.rmtree(server.directory, ignore_errors=True)
        self.servers = tuple(each for each in self.servers if each is not server)

    def member(self, server: Server, *, observer: bool = False) -> str:
        """Return the line of a server in the configuration: ``server.4=127.0.0.1:1:2:participant;127.0.0.1:3``."""
        return self._member(server.number, observer)

    def _known_members(self) -> list[str]:
        """The lines of the members, as a server that is in the ensemble has written them down."""
        for server in self.servers:
            settings = (server.directory / "zoo.cfg").read_text()
            if found := re.search(r"^dynamicConfigFile=(.+)$", settings, re.MULTILINE):
                lines = Path(found[1]).read_text().splitlines()
                return [line for line in lines if line.startswith("server.")]
        raise EnsembleError(f"no server has written down who the members are; the logs:\n{self.logs(15)}")

    def _reserve(self, count: int) -> list[list[int]]:
        """Hold the ports of this many more servers: for clients, quorum, election, TLS and the AdminServer."""
        if not self._own_hosts:
            reserved = _reserve_ports(5 * count)
            self._reserved += reserved
            ports = [each.getsockname()[1] for each in reserved]
            return [ports[number::count] for number in range(count)]
        if self._ports:
            return [self._ports[0]]
        shared = reserve_shared(5, own_addresses(self.size + _MOST_ADDED))
        self._reserved += [each for sockets in shared for each in sockets]
        return [[sockets[0].getsockname()[1] for sockets in shared]] * count

    def _host(self, number: int) -> str:
        return own_addresses(number)[-1] if self._own_hosts else HOST

    def _member(self, number: int, observer: bool) -> str:
        host = self._host(number)
        client, quorum, election, _, _ = self._ports[number - 1]
        # Without a role and an address for clients it is what a server before 3.5 would read.
        role = ":observer" if observer else ":participant" if self._reconfig else ""
        return f"server.{number}={host}:{quorum}:{election}{role}" + (f";{host}:{client}" if self._reconfig else "")

    def _make(self, number: int, members: list[str]) -> Server:
        """Write the files of a server."""
        assert self.directory is not None
        assert self._spawner is not None
        host, directory = self._host(number), self.directory / f"server-{number}"
        client, _, _, secure, admin = self._ports[number - 1]
        directory.mkdir()
        (directory / "myid").write_text(f"{number}\n")
        own: dict[str, object] = {"dataDir": directory}
        if not (self._reconfig and members):
            own |= {"clientPort": client, "clientPortAddress": host}
        if any(line.startswith(f"server.{number}=") and ":observer" in line for line in members):
            own["peerType"] = "observer"
        if self._tls:
            own |= {"secureClientPort": secure, "secureClientPortAddress": host}
        if self._admin:
            own |= {"admin.serverAddress": host, "admin.serverPort": admin}
        settings = [f"{key}={_setting(value)}" for key, value in {**self._stores, **self._config, **own}.items()]
        (directory / "zoo.cfg").write_text("\n".join([*settings, *members, ""]))
        shown = (secure if self._tls else None), (admin if self._admin else None)
        return Server(number, client, shown[0], directory, self._java, self._spawner, host, shown[1])


def _setting(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _reserve_ports(count: int, host: str = HOST) -> list[socket.socket]:
    return reserve(count, host)
