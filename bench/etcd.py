"""An etcd of three members on loopback, ended with the context."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType

from bench.measure import BenchError, until

_HOST = "127.0.0.1"
_DIE_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL")


class Etcd:
    """Three members with their own data, which is removed at the end."""

    def __init__(self, base_dir: str | None = None) -> None:
        """`base_dir`: where the data goes, instead of the system's default."""
        self._base_dir = base_dir
        self._directory = ""
        self._members: list[subprocess.Popen[bytes]] = []
        self.endpoints = ""
        """What `etcdctl --endpoints` takes."""

    def __enter__(self) -> Etcd:
        """Start the members, and wait until they serve."""
        self._directory = tempfile.mkdtemp(prefix="zkcoord-etcd-", dir=self._base_dir)
        try:
            self._start()
            until(self._healthy, "etcd serves", 30)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the members."""
        self._stop()

    def _start(self) -> None:
        ports = _free_ports(6)
        clients, peers = ([f"http://{_HOST}:{port}" for port in ports[i::2]] for i in range(2))
        initial = ",".join(f"m{number}={peer}" for number, peer in enumerate(peers))
        for number, (client, peer) in enumerate(zip(clients, peers, strict=True)):
            options = {
                "name": f"m{number}",
                "data-dir": f"{self._directory}/m{number}",
                "listen-client-urls": client,
                "advertise-client-urls": client,
                "listen-peer-urls": peer,
                "initial-advertise-peer-urls": peer,
                "initial-cluster": initial,
                "log-outputs": "stderr",
                "logger": "zap",
            }
            with self._log(number).open("wb") as log:
                self._members.append(
                    subprocess.Popen(
                        [*_DIE_WITH_PARENT, _program("etcd"), *(f"--{key}={value}" for key, value in options.items())],
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        env={key: value for key, value in os.environ.items() if not key.startswith("ETCD")},
                        start_new_session=True,
                    )
                )
        self.endpoints = ",".join(clients)

    def _healthy(self) -> bool:
        for number, member in enumerate(self._members):
            if member.poll() is not None:
                printed = self._log(number).read_text(errors="replace").strip()[-300:]
                raise BenchError(f"an etcd member ended with {member.returncode}: {printed}")
        command = [etcdctl(), "--endpoints", self.endpoints, "endpoint", "health"]
        return subprocess.run(command, capture_output=True, timeout=20, check=False).returncode == 0

    def _stop(self) -> None:
        for member in self._members:
            member.kill()
            member.wait(10)
        self._members.clear()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _log(self, number: int) -> Path:
        return Path(self._directory) / f"m{number}.log"


def etcdctl() -> str:
    """The client's program."""
    return _program("etcdctl")


def etcd_version() -> str:
    """The version of both."""
    etcdctl()
    printed = subprocess.run([_program("etcd"), "--version"], capture_output=True, text=True, timeout=10, check=True)
    return printed.stdout.split()[2]


def _program(name: str) -> str:
    found = shutil.which(name)
    if not found:
        raise BenchError(f"{name} is missing; on Debian: apt-get install etcd-server etcd-client")
    return found


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server((_HOST, 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
