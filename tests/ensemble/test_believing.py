"""Whom to believe: servers that are others than the member at their address, leaders of the past, ports of others."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from zkcoord import ensemble, errors
from zkcoord.testing import Ensemble, Server

from tests.ensemble.conftest import followers

CLOSED = {"4lw.commands.whitelist": "srvr"}
WAITED = r"not all members are in sync after \d\.\d s: "


@contextlib.contextmanager
def answering(host: str, port: int, answer: Callable[[str], str | None]) -> Iterator[str]:
    """A server that answers four-letter words as it likes; ``None`` stands for silence."""
    silent = threading.Event()
    with socket.create_server((host, port)) as listener:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    threading.Thread(target=talk, args=(client,), daemon=True).start()

        def talk(client: socket.socket) -> None:
            with client, contextlib.suppress(OSError):
                text = answer(client.recv(100).decode(errors="replace").strip())
                if text is None:
                    silent.wait()
                else:
                    client.sendall(text.encode())

        threading.Thread(target=accept, daemon=True).start()
        yield f"{host}:{listener.getsockname()[1]}"
        silent.set()
        listener.shutdown(socket.SHUT_RDWR)


def srvr(mode: str, zxid: str = "0x0") -> str:
    return f"Zookeeper version: 3.8.0, built on today\nZxid: {zxid}\nMode: {mode}\n"


def posing(
    lab: Ensemble, server: Server, mode: str, zxid: str = "0x0", **conf: object
) -> contextlib.AbstractContextManager[str]:
    """Something at the address of a server that is down, which says what it is, and which member it is."""
    lines = conf.pop("membership", "\n".join(ensemble.config(lab.hosts)[0]))
    number = conf.pop("number", server.number)
    words = {
        "srvr": srvr(mode, zxid),
        "conf": f"clientPort={server.port}\nserverId={number}\nmembership: \n{lines}\nversion=1\n",
    }
    return answering(server.host, server.port, lambda word: words.get(word, f"{word} is not in the whitelist"))


def row(lab: Ensemble, server: Server, hosts: str | None = None) -> dict[str, object]:
    found = ensemble.status(hosts or lab.hosts, admin_port=0)
    return next(row for row in found["servers"] if row["id"] == server.number)


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize(
    ("poses", "why"),
    [
        ({"number": 9}, "says that it is server.9"),
        ({"membership": "server.1=z1:1:2\nserver.2=z2:1:2\nserver.3=z3:1:2"}, r"is server.\d of another ensemble"),
    ],
)
def test_another_server_at_the_address_of_a_dead_member_is_not_taken_for_it(lab, manager, named, poses, why):
    dead, alive = followers(lab)
    dead.kill()
    hosts = lab.hosts if named else lab.leader().address
    with posing(lab, dead, "follower", **poses):
        assert not row(lab, dead, hosts)["in_sync"]
        with pytest.raises(errors.MembersSyncingError, match=f"{WAITED}server.{dead.number} {why}"):
            ensemble.wait_synced(None, hosts, admin_port=0, timeout=2)
        with pytest.raises(errors.NoQuorum):
            manager(hosts.split(",")).remove_members([alive.number])


def test_of_two_that_say_that_they_lead_only_the_one_of_the_later_epoch_does(lab):
    dead = followers(lab)[0]
    dead.kill()
    with posing(lab, dead, "leader", "0x7"):
        status = ensemble.status(lab.hosts, admin_port=0)
        assert status["leader"] == lab.leader().number
        assert [row["in_sync"] for row in status["servers"] if row["id"] == dead.number] == [False]
        with pytest.raises(errors.MembersSyncingError, match=f"{WAITED}server.{dead.number} is not currently serving"):
            ensemble.wait_synced([dead.number], lab.hosts, admin_port=0, timeout=2)


def test_a_follower_that_does_not_get_on_with_the_leader_is_not_in_sync(lab, manager):
    manager().create_znode_leader("/ordered")
    manager().delete_znode_leader("/ordered")
    dead = followers(lab)[0]
    dead.kill()
    with (
        posing(lab, dead, "follower", "0x1"),
        pytest.raises(errors.MembersSyncingError, match=f"server.{dead.number} does not get on with the leader"),
    ):
        ensemble.wait_synced(None, lab.hosts, admin_port=0, timeout=2)


def test_a_gate_over_an_id_that_is_no_member_is_shut(lab):
    with pytest.raises(errors.MembersSyncingError, match=f"{WAITED}server.9 is no member"):
        ensemble.wait_synced([1, 9], lab.hosts, admin_port=0, timeout=1)


def test_a_server_that_is_named_twice_has_one_row(lab):
    rows = ensemble.status(f"localhost:{lab.servers[0].port},{lab.hosts}", admin_port=0)["servers"]
    assert sorted(row["id"] for row in rows) == [1, 2, 3]


def test_a_server_that_is_named_by_another_name_is_known_where_it_tells_no_id(shut):
    server = shut.servers[0]
    assert server.host == "127.0.0.2"
    rows = ensemble.status(f"127.2:{server.port}", admin_port=0)["servers"]
    assert sorted(row["id"] for row in rows) == [1, 2, 3]
    assert rows[0]["id"] == server.number


def test_the_admin_server_of_another_server_of_the_host_is_not_believed(shut):
    server = shut.servers[0]
    words = {"srvr": srvr("follower")}
    with answering(server.host, 0, lambda word: words.get(word, f"{word} is not in the whitelist")) as neighbour:
        answers = ensemble.ask("mntr", f"{server.address},{neighbour}", admin_port=server.admin_port)
        assert answers[server.address].source == "admin"
        assert isinstance(answers[neighbour], errors.WordRefused)
        assert f"is that of another server, whose port for clients is {server.port}" in str(answers[neighbour])


def test_an_admin_server_that_cannot_be_connected_to_does_not_cost_all_of_the_time(shut):
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.create_server((shut.servers[0].host, 0), backlog=0))
        port = full.getsockname()[1]
        for _ in range(3):  # beyond its backlog the kernel drops what connects
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex((shut.servers[0].host, port))
        answer = ensemble.ask("mntr", shut.servers[0].address, admin_port=port, timeout=20)[shut.servers[0].address]
        assert isinstance(answer, errors.WordRefused), answer
        assert "cannot be connected to within 1s" in str(answer)


def test_a_silent_server_that_is_named_does_not_make_others_silent(lab, manager):
    silent, other = followers(lab)
    silent.pause()
    found = manager([lab.leader().address, silent.address], timeout=20)
    found.remove_members([silent.number])
    assert found.server_members == {lab.member(lab.leader()), lab.member(other)}
    silent.kill()


def test_whoever_is_silent_keeps_nobody_from_saying_that_it_leads_by_now():
    said = []

    def electing(word: str) -> str:
        said.append(word)
        return srvr("leader") if len(said) > 2 else "This ZooKeeper instance is not currently serving requests\n"

    with answering("127.0.0.1", 0, lambda _: None) as silent, answering("127.0.0.1", 0, electing) as elected:
        assert ensemble.leader(f"{silent},{elected}", admin_port=0) == elected


def test_a_leader_that_was_removed_is_not_named(lab):
    conf = "clientPort=1\nserverId=7\nmembership: \nserver.1=a:1:2\nserver.2=b:1:2\nversion=1\n"
    words = {"srvr": srvr("leader"), "conf": conf}
    with answering("127.0.0.1", 0, lambda word: words[word]) as removed:
        assert ensemble.leader(f"{removed},{lab.hosts}", admin_port=0) == lab.leader().address
        with pytest.raises(errors.QuorumLeaderNotFoundError, match="led, and is no member any more"):
            ensemble.leader(removed, admin_port=0, timeout=1)


def test_a_password_that_is_wrong_is_not_waited_out(lab):
    wrong = {"username": "super", "password": "wrong", "scheme": "sasl"}
    with pytest.raises(errors.AuthFailed):
        ensemble.wait_synced(None, lab.hosts, **wrong, admin_port=0, timeout=600)


def test_a_server_of_another_ensemble_is_known_where_all_words_are_closed(shut):
    with Ensemble(3, own_hosts=True, config=CLOSED) as others:
        stranger = followers(others)[0]
        line = f"server.9={stranger.host}:1:2:participant;{stranger.address}"
        options = {"username": "super", "password": "pw", "scheme": "digest", "admin_port": 0}
        with pytest.raises(errors.MemberNotReadyError, match=r"server\.9 cannot join yet: it says that it is server"):
            ensemble.add_member(line, shut.hosts, **options)
        line = line.replace("server.9=", f"server.{stranger.number}=")
        ensemble.remove_member(stranger.number, shut.hosts, **options)
        with pytest.raises(errors.MemberNotReadyError, match=r"of another ensemble"):
            ensemble.add_member(line, shut.hosts, **options)
