"""The four-letter words and the AdminServer: both ways, all servers at once, and servers that answer nonsense."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import zkcoord
from zkcoord import ensemble, errors
from zkcoord.ensemble import Answer, ZooKeeperClient
from zkcoord.testing import Ensemble

from tests.ensemble.conftest import followers
from tests.support.calls import wait_until

WORDS = ("srvr", "mntr", "ruok", "conf", "cons", "stat", "envi", "isro")


def one(answers):
    (answer,) = answers.values()
    return answer


@pytest.mark.parametrize("word", WORDS)
def test_every_word_is_answered_by_all_servers_and_by_their_admin_servers_with_the_same_names(lab, shut, word):
    by_itself = ensemble.ask(word, lab.hosts, admin_port=0)
    assert list(by_itself) == lab.hosts.split(",")
    by_admin = ensemble.ask(word, shut.hosts, admin_port=shut.servers[0].admin_port)
    for answers, source in ((by_itself, "4lw"), (by_admin, "4lw" if word == "srvr" else "admin")):
        assert {type(answer) for answer in answers.values()} == {Answer}
        assert {answer.source for answer in answers.values()} == {source}
    names = {
        "srvr": {"Zookeeper version", "Zxid", "Mode", "Connections", "Latency min/avg/max"},
        "mntr": {"zk_version", "zk_peer_state", "zk_znode_count", "zk_uptime"},
        "conf": {"clientPort", "serverId", "tickTime"},
        "stat": {"Clients", "Mode"},
        "envi": {"java.version", "host.name"},
        "cons": {"connections"},
    }
    for answer in (*by_itself.values(), *by_admin.values()):
        assert names.get(word, {word}) <= answer.keys()


def test_an_answer_of_more_than_8_kib_is_whole(lab):
    mntr = one(ensemble.ask("mntr", lab.leader().address, admin_port=0))
    text = lab.leader().four_letter("mntr")
    assert len(text) > 8192
    assert mntr.keys() == {line.split("\t")[0] for line in text.splitlines() if line}


def test_a_word_that_is_refused_is_an_error_of_its_own_that_says_what_to_do(shut):
    answer = one(ensemble.ask("mntr", shut.servers[0].address, admin_port=0))
    assert isinstance(answer, errors.WordRefused)
    assert "4lw.commands.whitelist" in str(answer)
    answer = one(ensemble.ask("mntr", shut.servers[0].address, admin_port=1))
    assert isinstance(answer, errors.WordRefused)
    assert "AdminServer at port 1: refused the connection" in str(answer)
    with pytest.raises(errors.WordRefused):
        ZooKeeperClient(shut.servers[0].address, admin_port=0).mntr  # noqa: B018
    assert ZooKeeperClient(shut.servers[0].address, admin_port=0).is_ready, "srvr tells as well"
    with pytest.raises(errors.ArgumentError, match="word: must be one of"):
        ensemble.ask("kill", shut.hosts)


def test_the_manager_does_without_the_words_where_there_is_an_admin_server(shut):
    port = shut.servers[0].admin_port
    found = ensemble.ZooKeeperManager(shut.hosts.split(","), "super", "pw", scheme="digest", admin_port=port)
    assert (found.members_syncing, found.members_broadcasting) == (False, True)
    server = shut.add()
    shut.wait_ready()
    found.add_members([shut.member(server)])
    assert shut.member(server) in found.server_members


def test_servers_without_a_quorum_say_that_they_do_not_serve(lab):
    for server in followers(lab):
        server.kill()
    left = next(server for server in lab.servers if server.running)

    def answer():
        return one(ensemble.ask("srvr", left.address, admin_port=0))

    end = time.monotonic() + 15
    while not isinstance(answer(), errors.NotServing):
        assert time.monotonic() < end
    assert isinstance(one(ensemble.ask("mntr", left.address, admin_port=0)), errors.NotServing)
    started = time.monotonic()
    status = ensemble.status(lab.hosts, admin_port=0)
    assert time.monotonic() - started < 2
    assert (status["has_quorum"], status["leader"], status["config"]) == (False, None, [])
    assert "none of the servers that were named serves" in status["trouble"]
    assert [row["trouble"] is None for row in status["servers"]] == [False] * 3
    with pytest.raises(errors.QuorumLeaderNotFoundError, match="does not serve"):
        ensemble.leader(lab.hosts, admin_port=0)


def test_the_status_is_a_row_for_every_member_also_for_those_that_are_not_named(lab, shut):
    status = ensemble.status(lab.leader().address, admin_port=0)
    assert status["servers"][0]["id"] == lab.leader().number
    assert sorted(row["id"] for row in status["servers"]) == [1, 2, 3]
    row = status["servers"][0]
    assert (row["mode"], row["role"], row["in_sync"], row["behind"]) == ("leader", "participant", True, 0)
    assert row["member"] == lab.member(lab.leader())
    assert row["words"] == dict.fromkeys(("srvr", "mntr", "conf"), "4lw")
    assert int(row["configuration"], 16) == status["config_version"]
    assert row["since"].endswith("Z")
    assert (status["has_quorum"], status["critical"]) == (True, [])
    port = shut.servers[0].admin_port
    status = ensemble.status(shut.hosts, admin_port=port, clocks=True)
    assert all(abs(row["clock"]) < 2 for row in status["servers"])
    assert {row["words"]["mntr"] for row in status["servers"]} == {"admin"}


def test_a_dead_or_a_paused_server_among_others_does_not_cost_a_connect_timeout(lab):
    def seconds() -> float:
        started = time.monotonic()
        rows = ensemble.status(lab.hosts, admin_port=0)["servers"]
        assert sum(row["in_sync"] for row in rows) >= 2
        return time.monotonic() - started

    usual, follower = seconds(), followers(lab)[0]
    follower.pause()
    assert seconds() < usual + 3, "nobody waits for it until the connect timeout, which is 10 s"
    row = next(row for row in ensemble.status(lab.hosts, admin_port=0)["servers"] if row["id"] == follower.number)
    assert "when most others had" in row["trouble"]
    follower.kill()
    assert seconds() < usual + 3


def test_the_leader_is_found_at_once_whoever_else_is_silent(lab):
    leader, silent = lab.leader(), followers(lab)[0]
    silent.pause()
    started = time.monotonic()
    assert ensemble.leader([silent.address, leader.address], admin_port=0) == leader.address
    assert time.monotonic() - started < 1
    other = next(server for server in followers(lab) if server is not silent)
    with pytest.raises(errors.QuorumLeaderNotFoundError, match=f"{silent.address}: has not answered") as caught:
        ensemble.leader([silent.address, other.address], admin_port=0)
    assert f"{other.address}: is a follower" in str(caught.value)
    silent.resume()


@contextlib.contextmanager
def serving(talk: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that says whatever it likes to whoever connects."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    threading.Thread(target=talk_to, args=(client,), daemon=True).start()

        def talk_to(client: socket.socket) -> None:
            with client, contextlib.suppress(OSError):
                client.recv(100)
                talk(client)

        threading.Thread(target=accept, daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


def a_byte_a_second(client: socket.socket) -> None:
    for byte in b"Zookeeper version: 3.8.0\nMode: leader\n":
        client.sendall(bytes([byte]))
        time.sleep(1)


def a_hundred_megabytes(client: socket.socket) -> None:
    client.sendall(b"Zookeeper version: 3.8.0\n")
    for _ in range(100):
        client.sendall(b"x" * 1_000_000)


def garbage(client: socket.socket) -> None:
    client.sendall(bytes(range(256)) * 8 + b"\x1b]0;title\x07\n")


def nothing(client: socket.socket) -> None:
    client.recv(1)


@pytest.mark.parametrize(
    ("talk", "error", "text"),
    [
        (a_byte_a_second, errors.Unreachable, "has not answered within"),
        (a_hundred_megabytes, errors.NoAnswer, "sends more than 16777216 bytes"),
        (garbage, errors.NoAnswer, "what is no answer to it"),
        (nothing, errors.Unreachable, "has not answered within"),
        (lambda _: None, errors.NoAnswer, "closed the connection on srvr without an answer"),
    ],
)
def test_a_server_that_answers_nonsense_is_bounded_in_time_and_in_bytes(lab, talk, error, text):
    with serving(talk) as address:
        started = time.monotonic()
        answer = one(ensemble.ask("srvr", address, admin_port=0, timeout=2))
        assert time.monotonic() - started < 2.5
        assert isinstance(answer, error), answer
        assert text in str(answer)
        assert str(answer).isprintable()
        started = time.monotonic()
        rows = {row["address"]: row for row in ensemble.status(f"{lab.hosts},{address}", admin_port=0)["servers"]}
        assert time.monotonic() - started < 2
        assert [rows[server.address]["in_sync"] for server in lab.servers] == [True] * 3
        assert (rows[address]["id"], rows[address]["in_sync"]) == (None, False)


def test_an_admin_server_that_answers_nonsense_is_no_answer_either(shut):
    def talk(client: socket.socket) -> None:
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n<html>\x1b[2")

    with serving(talk) as address:
        port = int(address.rpartition(":")[2])
        answer = one(ensemble.ask("mntr", shut.servers[0].address, admin_port=port))
        assert isinstance(answer, errors.WordRefused), answer
        # The server is at another address than this AdminServer.
        assert "refused the connection" in str(answer)


def test_over_tls_the_servers_are_verified(encrypted, authority):
    options = {"use_ssl": True, "ca_certs": str(authority.path), "admin_port": 0}
    answers = ensemble.ask("srvr", encrypted.secure_hosts, **options)
    assert {answer.source for answer in answers.values()} == {"4lw"}
    status = ensemble.status(encrypted.secure_hosts, **options)
    assert [row["in_sync"] for row in status["servers"]] == [True] * 3
    assert sorted(row["id"] for row in status["servers"]) == [1, 2, 3]
    manager = ensemble.ZooKeeperManager(
        encrypted.secure_hosts.split(","), use_ssl=True, ca_certs=str(authority.path), admin_port=0
    )
    assert manager.members_broadcasting
    assert len(manager.server_members) == 3
    zkcoord.close()


def test_a_certificate_of_the_wrong_host_or_authority_is_refused(encrypted, authority, tmp_path):

    from zkcoord.testing.certificates import Authority

    stranger = Authority(tmp_path, "stranger")
    answers = ensemble.ask("srvr", encrypted.secure_hosts, use_ssl=True, ca_certs=str(stranger.path), admin_port=0)
    assert {type(answer) for answer in answers.values()} == {errors.Unreachable}
    assert all("none of the authorities" in str(answer) for answer in answers.values())
    with Ensemble(1, tls=authority.server("wrong", hosts=("zk1.example.org",))) as ensemble_of_another_name:
        options = {"use_ssl": True, "ca_certs": str(authority.path), "admin_port": 0}
        answer = one(ensemble.ask("srvr", ensemble_of_another_name.secure_hosts, **options))
        assert isinstance(answer, errors.Unreachable)
        assert "the certificate is for zk1.example.org, not for 127.0.0.1" in str(answer)
        answer = one(ensemble.ask("srvr", ensemble_of_another_name.secure_hosts, **options, verify_certs=False))
        assert isinstance(answer, Answer)
        answer = one(ensemble.ask("srvr", ensemble_of_another_name.hosts, **options))
        assert "does not speak TLS" in str(answer)
        answer = one(ensemble.ask("srvr", ensemble_of_another_name.secure_hosts, admin_port=0))
        assert isinstance(answer, (errors.NoAnswer, errors.Unreachable))
    zkcoord.close()


def test_a_profile_may_ask_for_tls_and_have_a_chroot(encrypted, authority):
    hosts = [f"tcp+tls://{address}" for address in encrypted.secure_hosts.split(",")]
    config = {"hosts": [*hosts[:2], f"{hosts[2]}/app"], "ca_certs": str(authority.path)}
    with ensemble.ZooKeeperManager(None, config=config, admin_port=0) as manager:
        assert manager.hosts == encrypted.secure_hosts.split(",")
        assert manager.zk_host in manager.hosts
        assert len(manager.server_members) == 3


def test_an_admin_server_may_speak_https_and_is_verified_then(authority, tmp_path):
    certfile, keyfile = authority.issue("admin", hosts=("127.0.0.2",))
    store, trusted = tmp_path / "store.pem", tmp_path / "trusted.pem"
    store.write_text(keyfile.read_text() + certfile.read_text())
    trusted.write_text(authority.path.read_text())
    https = {
        "4lw.commands.whitelist": "srvr",
        "admin.forceHttps": True,
        "ssl.quorum.keyStore.location": store,
        "ssl.quorum.trustStore.location": trusted,
    }
    tls = authority.server("hosts-too", hosts=("127.0.0.2",))._replace(client_auth=False)
    with Ensemble(1, tls=tls, admin=True, own_hosts=True, config=https) as servers:
        (server,) = servers.servers
        options = {"use_ssl": True, "ca_certs": str(authority.path), "admin_port": server.admin_port}

        def ask():
            return one(ensemble.ask("mntr", servers.secure_hosts, **options))

        # The secure port listens a moment later than the other one.
        wait_until(lambda: isinstance(ask(), Answer), "it answers")
        answer = ask()
        assert (answer.source, answer["zk_server_state"]) == ("admin", "standalone")
        answer = one(ensemble.ask("mntr", server.address, admin_port=server.admin_port))
        assert isinstance(answer, errors.WordRefused)
        assert "AdminServer" in str(answer)
    zkcoord.close()
