"""A session outlives its certificate: files that were replaced are read again before the next connection."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zkcoord
from zkcoord import errors
from zkcoord.testing import Ensemble, Tls
from zkcoord.testing.certificates import Authority

from tests.support.calls import Waiting

# Seconds for which a certificate is valid that is to expire under an open session.
SHORT = 5.0
DAY = 86400
SESSION_TIMEOUT = 20
PASSWORD = "c0rrect-h0rse"


class Wire:
    """Carries bytes to a server, whatever they are, until it is cut; and again after that."""

    def __init__(self, port: int) -> None:
        self._upstream = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ends: list[socket.socket] = []
        self.carried = 0
        """How many connections there have been."""
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def cut(self) -> None:
        ends, self._ends = self._ends, []
        for end in ends:
            _shut(end)

    def close(self) -> None:
        _shut(self._listener)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client = self._listener.accept()[0]
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._upstream))
            except OSError:
                client.close()
                continue
            self.carried += 1
            self._ends += [client, server]
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                target.sendall(data)
        except OSError:
            pass
        _shut(source)
        _shut(target)


def _shut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


class Files:
    """A client's certificate, its key and its authorities, in files that are replaced as a whole."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.certfile, self.keyfile, self.ca_certs = (directory / name for name in ("me.crt", "me.key", "ca.pem"))

    def put(self, certificate: tuple[Path, Path], ca_certs: Path) -> None:
        for source, target in (
            (certificate[0], self.certfile),
            (certificate[1], self.keyfile),
            (ca_certs, self.ca_certs),
        ):
            self.replace(target, source.read_bytes())

    def replace(self, target: Path, content: bytes) -> None:
        beside = target.with_suffix(".new")
        beside.write_bytes(content)
        beside.replace(target)

    @property
    def arguments(self) -> dict[str, Any]:
        files = {"ca_certs": self.ca_certs, "certfile": self.certfile, "keyfile": self.keyfile}
        return {"use_ssl": True, "session_timeout": SESSION_TIMEOUT, **files}


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("old"), "old")


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("new"), "new")


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, old: Authority, new: Authority) -> Path:
    """The certificates of both authorities, which the servers accept clients of."""
    path = tmp_path_factory.mktemp("both") / "both.pem"
    path.write_bytes(old.path.read_bytes() + new.path.read_bytes())
    return path


@pytest.fixture(scope="module")
def servers(old: Authority, both: Path) -> Iterator[Ensemble]:
    with Ensemble(1, tls=Tls(*old.issue("server"), both)) as ensemble:
        yield ensemble


@pytest.fixture
def wire(servers: Ensemble) -> Iterator[Wire]:
    wire = Wire(servers.servers[0].secure_port)
    try:
        yield wire
        zkcoord.close()
    finally:
        wire.close()


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def short_lived(authority: Authority) -> tuple[tuple[Path, Path], float]:
    """A certificate that expires soon, and when that is."""
    return authority.issue("short", days=(-1, SHORT / DAY)), time.monotonic() + SHORT


def until(moment: float) -> None:
    """Wait until a certificate has expired: a date is in whole seconds."""
    time.sleep(max(0.0, moment + 1.5 - time.monotonic()))


def reconnected(wire: Wire, wait_until: Callable[..., None]) -> None:
    before = wire.carried
    wire.cut()
    wait_until(lambda: wire.carried > before, "it connects again")


class TestASession:
    def test_goes_on_with_a_certificate_that_has_taken_the_place_of_an_expired_one(
        self, servers, wire, files, old, new, both, root, wait_until
    ):
        certificate, end = short_lived(old)
        files.put(certificate, old.path)
        at = {"zk_hosts": wire.host, **files.arguments}
        assert zkcoord.lock(root, identifier="a", ephemeral_lease=True, **at)
        (before,) = zkcoord.status(root, **at)["holders"]
        waiting = Waiting(zkcoord.lock, root, identifier="b", **at)
        files.put(new.issue("client"), both)
        until(end)
        reconnected(wire, wait_until)
        (after,) = zkcoord.status(root, **at)["holders"]
        assert (after["session"], after["lease"]) == (before["session"], before["lease"])
        assert not waiting.done
        assert zkcoord.unlock(root, identifier="a", **at)
        assert waiting.result() is True
        zkcoord.unlock(root, identifier="b", **at)

    def test_does_not_go_on_where_nothing_has_taken_its_place(self, wire, files, old, root):
        """What the test above is worth."""
        certificate, end = short_lived(old)
        files.put(certificate, old.path)
        at = {"zk_hosts": wire.host, **files.arguments}
        assert zkcoord.lock(root, identifier="a", ephemeral_lease=True, **at)
        until(end)
        wire.cut()
        with pytest.raises(errors.Unreachable):
            zkcoord.status(root, timeout=2, connect_timeout=2, **at)

    def test_takes_up_a_new_authority_of_the_servers(self, files, old, new, both, root, wait_until):
        config = Tls(*old.issue("first"), both)
        with Ensemble(1, tls=config) as ensemble:
            wire = Wire(ensemble.servers[0].secure_port)
            try:
                files.put(old.issue("client"), old.path)
                at = {"zk_hosts": wire.host, **files.arguments}
                assert zkcoord.lock(root, identifier="a", ephemeral_lease=True, **at)
                (before,) = zkcoord.status(root, **at)["holders"]
                certfile, keyfile = new.issue("second")
                store = ensemble.directory / "server.pem"
                store.write_text(keyfile.read_text() + certfile.read_text())
                files.replace(files.ca_certs, new.path.read_bytes())
                ensemble.servers[0].restart()
                ensemble.wait_ready()
                (after,) = zkcoord.status(root, **at)["holders"]
                assert after["session"] == before["session"]
                zkcoord.close()
            finally:
                wire.close()

    @pytest.mark.parametrize("damage", ["cut", "gone", "foreign key", "empty"])
    def test_goes_on_with_what_it_has_where_the_new_files_are_damaged(
        self, wire, files, old, new, root, wait_until, damage
    ):
        files.put(old.issue("client"), old.path)
        at = {"zk_hosts": wire.host, **files.arguments}
        assert zkcoord.lock(root, identifier="a", ephemeral_lease=True, **at)
        (before,) = zkcoord.status(root, **at)["holders"]
        if damage == "gone":
            files.certfile.unlink()
        else:
            certfile, keyfile = new.issue("client")
            content = {"cut": certfile.read_bytes()[:200], "empty": b"", "foreign key": keyfile.read_bytes()}[damage]
            files.replace(files.keyfile if damage == "foreign key" else files.certfile, content)
        reconnected(wire, wait_until)
        (after,) = zkcoord.status(root, **at)["holders"]
        assert after["session"] == before["session"]
        # The next error says so.
        wire.close()
        with pytest.raises(errors.Unreachable, match="the files of the certificates have changed") as caught:
            zkcoord.status(root, timeout=2, connect_timeout=2, **at)
        text = str(caught.value)
        assert "those before are still used: " in text
        assert str(files.keyfile if damage == "foreign key" else files.certfile) in text
        assert "\n" not in text
        assert "PRIVATE" not in text

    def test_takes_up_files_that_are_whole_again(self, wire, files, old, new, both, root, wait_until):
        certificate, end = short_lived(old)
        files.put(certificate, both)
        at = {"zk_hosts": wire.host, **files.arguments}
        assert zkcoord.lock(root, identifier="a", ephemeral_lease=True, **at)
        (before,) = zkcoord.status(root, **at)["holders"]
        certfile, keyfile = new.issue("client")
        files.replace(files.certfile, certfile.read_bytes())  # and the key is still the old one
        reconnected(wire, wait_until)
        assert zkcoord.status(root, **at)["holders"]
        files.replace(files.keyfile, keyfile.read_bytes())
        until(end)
        reconnected(wire, wait_until)
        (after,) = zkcoord.status(root, **at)["holders"]
        assert after["session"] == before["session"]

    def test_takes_up_a_key_that_is_encrypted(self, wire, files, old, new, root, wait_until):
        certificate, end = old.issue("short", days=(-1, SHORT / DAY), password=PASSWORD), time.monotonic() + SHORT
        files.put(certificate, old.path)
        at = {"zk_hosts": wire.host, "keyfile_password": PASSWORD, **files.arguments}
        assert zkcoord.lock(root, identifier="a", ephemeral_lease=True, **at)
        (before,) = zkcoord.status(root, **at)["holders"]
        files.put(new.issue("client", password=PASSWORD), old.path)
        until(end)
        reconnected(wire, wait_until)
        (after,) = zkcoord.status(root, **at)["holders"]
        assert after["session"] == before["session"]

    def test_takes_up_a_link_that_points_elsewhere(self, wire, files, old, new, root, wait_until):
        """As secrets of Kubernetes are replaced."""
        certificate, end = short_lived(old)
        for name, source in (("one", certificate), ("two", new.issue("client"))):
            directory = files.directory / name
            directory.mkdir()
            shutil.copy(source[0], directory / "me.crt")
            shutil.copy(source[1], directory / "me.key")
        link = files.directory / "data"
        link.symlink_to("one")
        files.certfile, files.keyfile = link / "me.crt", link / "me.key"
        files.replace(files.ca_certs, old.path.read_bytes())
        at = {"zk_hosts": wire.host, **files.arguments}
        assert zkcoord.lock(root, identifier="a", ephemeral_lease=True, **at)
        (before,) = zkcoord.status(root, **at)["holders"]
        (files.directory / "next").symlink_to("two")
        (files.directory / "next").replace(link)
        until(end)
        reconnected(wire, wait_until)
        (after,) = zkcoord.status(root, **at)["holders"]
        assert after["session"] == before["session"]

    def test_does_not_wait_for_files_that_hang(self, wire, files, old, root, wait_until):
        """A pipe that nobody writes to stands in for a file system that does not answer."""
        files.put(old.issue("client"), old.path)
        at = {"zk_hosts": wire.host, **files.arguments}
        assert zkcoord.lock(root, identifier="a", ephemeral_lease=True, **at)
        (before,) = zkcoord.status(root, **at)["holders"]
        files.certfile.unlink()
        os.mkfifo(files.certfile)
        try:
            reconnected(wire, wait_until)
            (after,) = zkcoord.status(root, timeout=5, **at)["holders"]
            assert after["session"] == before["session"]
        finally:
            os.close(os.open(files.certfile, os.O_RDWR | os.O_NONBLOCK))
