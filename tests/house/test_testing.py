"""The ensembles of `zkcoord.testing`: they start, fail on demand, recover, and leave nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kazoo.client import KazooClient
from zkcoord import testing
from zkcoord.testing import Ensemble, EnsembleError, Server, _java

COMMAND = (sys.executable, "-m", "zkcoord.testing")


@pytest.fixture(scope="module")
def fragile() -> Iterator[Ensemble]:
    """An ensemble to be rough with, whose servers give a silent peer up after two seconds."""
    with Ensemble(3, config={"syncLimit": 4}) as ensemble:
        yield ensemble


@contextlib.contextmanager
def kazoo(hosts: str) -> Iterator[KazooClient]:
    client = KazooClient(hosts)
    client.start()
    try:
        yield client
    finally:
        client.stop()
        client.close()


@contextlib.contextmanager
def run(*command: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def eventually(condition: Callable[[], bool], timeout: float = 10.0) -> bool:
    deadline = time.monotonic() + timeout
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def follower(ensemble: Ensemble) -> Server:
    return next(server for server in ensemble.servers if server.mode() == "follower")


def test_three_servers_serve_and_one_of_them_leads(ensemble: Ensemble) -> None:
    assert sorted(str(server.mode()) for server in ensemble.servers) == ["follower", "follower", "leader"]
    assert ensemble.leader().mode() == "leader"
    assert ensemble.hosts == ",".join(f"127.0.0.1:{server.port}" for server in ensemble.servers)
    assert len({server.pid for server in ensemble.servers}) == 3


def test_sessions_and_ephemerals_come_and_go_with_a_client(ensemble: Ensemble) -> None:
    before = ensemble.sessions()
    with kazoo(ensemble.hosts) as client:
        client.create("/é (1): \u2028", ephemeral=True)
        session = f"{client.client_id[0]:#x}"
        assert ensemble.sessions() - before == {session}
        assert eventually(lambda: ensemble.ephemerals().get(session) == {"/é (1): \u2028"})
    assert eventually(lambda: session not in ensemble.sessions() | set(ensemble.ephemerals()))


def test_an_answer_longer_than_8_kib_is_whole(ensemble: Ensemble) -> None:
    paths = {f"/{number:0>200}" for number in range(100)}
    with kazoo(ensemble.hosts) as client:
        transaction = client.transaction()
        for path in paths:
            transaction.create(path, ephemeral=True)
        transaction.commit()
        session = f"{client.client_id[0]:#x}"
        assert eventually(lambda: ensemble.ephemerals().get(session) == paths)


def test_mntr_is_summed_over_the_servers(ensemble: Ensemble) -> None:
    before = ensemble.mntr()
    for server in ensemble.servers:
        with kazoo(server.address) as client:
            for _ in range(10):
                client.exists("/")
    assert ensemble.mntr()["zk_packets_received"] >= before["zk_packets_received"] + 30


def test_a_killed_leader_is_replaced_and_the_server_comes_back(fragile: Ensemble) -> None:
    leader = fragile.leader()
    leader.kill()
    assert not leader.running
    assert leader.mode() is None
    fragile.wait_ready()
    assert fragile.leader() is not leader
    leader.start()
    fragile.wait_ready()
    assert leader.mode() == "follower"


def test_a_paused_leader_is_replaced_and_follows_when_it_is_resumed(fragile: Ensemble) -> None:
    leader = fragile.leader()
    leader.pause()
    assert leader.paused
    with pytest.raises(TimeoutError):
        leader.four_letter("ruok", timeout=0.1)
    fragile.wait_ready()
    assert fragile.leader() is not leader
    leader.resume()
    fragile.wait_ready()
    assert leader.mode() == "follower"


def test_a_paused_server_can_be_stopped_and_killed(fragile: Ensemble) -> None:
    server = follower(fragile)
    start = time.monotonic()
    for end in (server.stop, server.kill):
        server.pause()
        end()
        assert not server.running
        server.start()
        assert not server.paused
    assert time.monotonic() - start < 8  # that is, `stop` did not have to kill it
    fragile.wait_ready()


def test_a_server_outlives_the_thread_that_started_it(fragile: Ensemble) -> None:
    server = follower(fragile)

    def restart() -> None:
        server.restart()
        fragile.wait_ready()

    thread = threading.Thread(target=restart)
    thread.start()
    thread.join()
    assert not eventually(lambda: not server.running, timeout=0.3)
    assert server.mode() == "follower"


def test_a_restarted_server_keeps_its_port_and_its_data_and_its_log() -> None:
    with Ensemble(1) as ensemble:
        (server,) = ensemble.servers
        assert server.mode() == "standalone"
        with kazoo(ensemble.hosts) as client:
            client.create("/kept", b"data")
        pid, first_line = server.pid, server.log_tail(1000).partition("\n")[0]
        server.restart()
        ensemble.wait_ready()
        assert server.pid != pid
        assert server.log_tail(1000).startswith(first_line)
        with kazoo(ensemble.hosts) as client:
            assert client.get("/kept")[0] == b"data"


def test_the_port_of_a_server_that_is_down_belongs_to_nobody_else() -> None:
    with Ensemble(1) as ensemble:
        (server,) = ensemble.servers
        server.kill()
        with pytest.raises(ConnectionRefusedError):
            server.four_letter("ruok")
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", server.port))


def test_stop_ends_all_servers_and_removes_what_they_wrote_and_may_be_repeated(tmp_path: Path) -> None:
    ensemble = Ensemble(2, base_dir=tmp_path)
    ensemble.start()
    directory, pids = ensemble.directory, [server.pid for server in ensemble.servers]
    assert directory is not None
    assert directory.parent == tmp_path
    ensemble.servers[0].pause()
    ensemble.stop()
    ensemble.stop()
    assert not directory.exists()
    assert not any(pid and alive(pid) for pid in pids)


def test_a_stopped_ensemble_starts_again_empty() -> None:
    ensemble = Ensemble(1)
    with ensemble, kazoo(ensemble.hosts) as client:
        client.create("/gone")
    with ensemble, kazoo(ensemble.hosts) as client:
        assert client.exists("/gone") is None


def test_what_the_servers_wrote_is_kept_on_demand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ZKCOORD_KEEP", "1")
    with Ensemble(1, base_dir=tmp_path) as ensemble:
        directory = ensemble.directory
        assert directory is not None
    assert (directory / "server-1" / "server.log").stat().st_size > 0
    assert str(directory) in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["java", "zookeeper.jar"])
def test_an_absent_java_or_zookeeper_is_one_line_that_says_what_to_install(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if missing == "java":
        monkeypatch.setenv("PATH", str(tmp_path))
    else:
        monkeypatch.setattr(_java, "_JAR_DIR", tmp_path)
        monkeypatch.delenv("ZKCOORD_ZOOKEEPER_CLASSPATH", raising=False)
    with pytest.raises(EnsembleError, match=f"{missing}.*apt-get install .*libzookeeper-java") as raised:
        Ensemble().start()
    assert "\n" not in str(raised.value)


def test_the_class_path_can_be_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    default = ":".join(str(_java._JAR_DIR / f"{name}.jar") for name in _java._JARS)
    monkeypatch.setenv("ZKCOORD_ZOOKEEPER_CLASSPATH", os.environ.get("ZKCOORD_ZOOKEEPER_CLASSPATH", default))
    monkeypatch.setattr(_java, "_JAR_DIR", tmp_path)
    with Ensemble(1) as ensemble:
        assert ensemble.leader().mode() == "standalone"


def test_a_server_that_ends_by_itself_is_an_error_with_its_log() -> None:
    with pytest.raises(EnsembleError, match=r"(?s)server 1 ended by itself.*NumberFormatException"):
        Ensemble(1, config={"tickTime": "soon"}).start()


def test_a_start_whose_ports_were_taken_is_repeated_with_others(monkeypatch: pytest.MonkeyPatch) -> None:
    reserve, attempts = testing._reserve_ports, 0

    def reserve_a_taken_port(count: int) -> list[socket.socket]:
        nonlocal attempts
        attempts += 1
        sockets = reserve(count)
        if attempts == 1:
            sockets[0].listen()
        return sockets

    monkeypatch.setattr(testing, "_reserve_ports", reserve_a_taken_port)
    with Ensemble(2):
        assert attempts == 2


def test_servers_die_with_a_parent_that_is_killed() -> None:
    with run(*COMMAND, "--json") as command:
        assert command.stdout is not None
        facts = json.loads(command.stdout.readline())
        pids = [server["pid"] for server in facts["servers"]]
        assert facts["hosts"] == ",".join(server["address"] for server in facts["servers"])
        assert all(map(alive, pids))
        command.kill()
        assert eventually(lambda: not any(map(alive, pids)))
    shutil.rmtree(facts["directory"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_foreground_command_prints_its_connect_string_and_stops_on_a_signal(number: int) -> None:
    with run(*COMMAND, "--size", "1") as command:
        assert command.stdout is not None
        with kazoo(command.stdout.readline().strip()) as client:
            assert client.exists("/")
        command.send_signal(number)
        assert command.communicate(timeout=10) == ("", "")
        assert command.returncode == 0


def test_the_foreground_command_stops_when_its_parent_dies() -> None:
    script = f"import subprocess; subprocess.run({(*COMMAND, '--json', '--size', '1')!r})"
    with run(sys.executable, "-c", script) as parent:
        assert parent.stdout is not None
        facts = json.loads(parent.stdout.readline())
        parent.kill()
        assert eventually(lambda: not alive(facts["servers"][0]["pid"]))
        assert eventually(lambda: not Path(facts["directory"]).exists())


def test_an_ensemble_nobody_stops_is_stopped_at_exit_but_not_by_a_forked_child() -> None:
    script = """if True:
        import os, sys
        from zkcoord.testing import Ensemble
        ensemble = Ensemble(1)
        ensemble.start()
        if os.fork() == 0:
            sys.exit()
        os.wait()
        assert ensemble.directory.exists()
        print(ensemble.servers[0].mode(), ensemble.servers[0].pid, ensemble.directory)
    """
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    mode, pid, directory = done.stdout.split()
    assert mode == "standalone"
    assert not alive(int(pid))
    assert not Path(directory).exists()
