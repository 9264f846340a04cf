"""The faults that `tests.support.proxy` makes, as a client sees them and as the server sees them."""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
import time
from collections.abc import Callable, Iterator

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import ConnectionLoss
from zkcoord.testing import Ensemble, Op, Proxy, proxied

_numbers = itertools.count()


@pytest.fixture
def proxy(ensemble: Ensemble) -> Iterator[Proxy]:
    with Proxy(ensemble.servers[0].port) as proxy:
        yield proxy


@contextlib.contextmanager
def kazoo(hosts: str, timeout: float = 10.0) -> Iterator[KazooClient]:
    retry = {"max_tries": -1, "delay": 0.02, "max_delay": 0.1}
    client = KazooClient(hosts, timeout, connection_retry=retry)
    client.start()
    try:
        yield client
    finally:
        client.stop()
        client.close()


@pytest.fixture
def client(proxy: Proxy) -> Iterator[KazooClient]:
    with kazoo(proxy.address) as client:
        yield client


@pytest.fixture
def path() -> str:
    return f"/proxy-{next(_numbers)}"


@contextlib.contextmanager
def both_ends() -> Iterator[tuple[Proxy, socket.socket, socket.socket]]:
    """A proxy, and the client's and the server's end of a connection through it."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        Proxy(listener.getsockname()[1]) as proxy,
        socket.create_connection(("127.0.0.1", proxy.port), 5) as client,
    ):
        server, _ = listener.accept()
        server.settimeout(5)
        with server:
            yield proxy, client, server


def frame(*numbers: int) -> bytes:
    body = struct.pack(f">{len(numbers)}i", *numbers)
    return struct.pack(">i", len(body)) + body


def seconds(action: Callable[[], object]) -> float:
    start = time.monotonic()
    action()
    return time.monotonic() - start


def test_requests_are_forwarded_and_counted_by_opcode(proxy: Proxy, client: KazooClient, path: str) -> None:
    client.create(path, b"data")
    assert client.get(path)[0] == b"data"
    client.delete(path)
    client.delete_async(path).wait()
    assert {op: proxy.counts[op] for op in (Op.CREATE_SESSION, Op.CREATE, Op.GET_DATA, Op.DELETE)} == {
        Op.CREATE_SESSION: 1,
        Op.CREATE: 1,
        Op.GET_DATA: 1,
        Op.DELETE: 2,
    }


def test_large_requests_and_replies_go_through_whole(client: KazooClient, path: str) -> None:
    data = bytes(range(256)) * 3900  # a little less than the 1 MiB a server takes
    client.create(path, data, ephemeral=True)
    assert client.get(path)[0] == data


def test_a_four_letter_word_and_its_answer_go_through(proxy: Proxy) -> None:
    with (
        socket.create_connection(("127.0.0.1", proxy.port), 5) as connection,
        connection.makefile("rb") as answer,
    ):
        connection.sendall(b"mntr")
        assert answer.read().startswith(b"zk_version\t")


def test_a_create_whose_reply_is_lost_was_done(proxy: Proxy, client: KazooClient, path: str) -> None:
    proxy.drop_reply(Op.CREATE)
    with pytest.raises(ConnectionLoss):
        client.create(path, ephemeral=True)
    assert client.retry(client.exists, path)
    assert proxy.counts[Op.CREATE] == proxy.dropped[Op.CREATE] == 1


def test_a_create_that_is_lost_was_not_done(proxy: Proxy, client: KazooClient, path: str) -> None:
    proxy.drop_request(Op.CREATE)
    with pytest.raises(ConnectionLoss):
        client.create(path)
    assert client.retry(client.exists, path) is None
    assert (proxy.counts[Op.CREATE], proxy.dropped[Op.CREATE]) == (0, 1)


def test_as_many_replies_are_lost_as_was_asked(proxy: Proxy, client: KazooClient, path: str) -> None:
    client.create(path, b"", ephemeral=True)
    proxy.drop_reply(Op.SET_DATA, count=2)
    assert client.retry(client.set, path, b"").version == 3
    assert proxy.dropped[Op.SET_DATA] == 2


def test_what_was_answered_before_a_lost_reply_arrives(proxy: Proxy, client: KazooClient, path: str) -> None:
    proxy.delay(0.1)
    proxy.drop_reply(Op.CREATE)
    before, lost = client.exists_async(path), client.create_async(path, ephemeral=True)
    assert before.get(5) is None
    with pytest.raises(ConnectionLoss):
        lost.get(5)
    assert client.retry(client.exists, path)  # connected again, it closes its session


def test_a_session_whose_first_reply_is_lost_is_left_behind(ensemble: Ensemble, proxy: Proxy) -> None:
    before = ensemble.sessions()
    proxy.drop_reply(Op.CREATE_SESSION)
    with kazoo(proxy.address, timeout=1) as client:
        new = ensemble.sessions() - before
        assert len(new) == 2
        assert f"{client.client_id[0]:#x}" in new


def test_a_cut_client_comes_back_with_its_session(proxy: Proxy, client: KazooClient) -> None:
    session = client.client_id
    proxy.cut()
    assert client.retry(client.exists, "/")
    assert client.client_id == session
    assert proxy.counts[Op.CREATE_SESSION] == 2


def test_a_cut_is_a_reset_on_both_sides() -> None:
    with both_ends() as (proxy, client, server):
        proxy.cut()
        for end in (client, server):
            with pytest.raises(ConnectionResetError):
                end.recv(1)


def test_an_end_or_a_reset_is_passed_on_after_what_was_said() -> None:
    with both_ends() as (_, client, server):
        client.sendall(frame(1, 2, 3))
        client.close()
        assert server.recv(100) == frame(1, 2, 3)
        assert server.recv(100) == b""
    with both_ends() as (_, client, server):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        with pytest.raises(ConnectionResetError):
            server.recv(1)


def test_a_refusing_proxy_cuts_and_refuses_until_it_accepts_on_the_same_port(proxy: Proxy, client: KazooClient) -> None:
    proxy.refuse()
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", proxy.port), 5)
    asked = client.exists_async("/")
    asked.wait(0.2)
    assert not asked.successful()
    proxy.accept()
    proxy.accept()
    assert client.retry(client.exists, "/")


def test_a_stalled_proxy_holds_everything_back_and_loses_nothing(proxy: Proxy, client: KazooClient, path: str) -> None:
    proxy.stall()
    created = client.create_async(path, ephemeral=True)
    created.wait(0.3)
    assert not created.ready()
    assert proxy.counts[Op.CREATE] == 0
    proxy.resume()
    assert created.get(5) == path
    assert proxy.counts[Op.CREATE_SESSION] == 1


def test_a_stalled_proxy_hides_that_a_client_is_gone() -> None:
    with both_ends() as (proxy, client, server):
        proxy.stall()
        client.close()
        server.settimeout(0.2)
        with pytest.raises(TimeoutError):
            server.recv(1)
        proxy.resume()
        assert server.recv(1) == b""


def test_a_delay_lengthens_the_round_trip_both_ways(proxy: Proxy, client: KazooClient) -> None:
    def round_trip() -> float:
        return min(seconds(lambda: client.exists("/")) for _ in range(3))

    assert round_trip() < 0.1
    proxy.delay(0.1)
    assert round_trip() >= 0.2
    proxy.delay(0)
    assert round_trip() < 0.1


def test_delayed_requests_do_not_wait_for_each_other(proxy: Proxy, client: KazooClient) -> None:
    proxy.delay(0.1)

    def many() -> None:
        for asked in [client.exists_async("/") for _ in range(50)]:
            asked.get(5)

    assert 0.2 <= seconds(many) < 50 * 0.2 / 4


def test_a_delay_that_shrinks_does_not_change_the_order() -> None:
    with both_ends() as (proxy, client, server):
        proxy.delay(0.3)
        client.sendall(frame(1, 1, 1))
        time.sleep(0.1)
        proxy.delay(0)
        client.sendall(frame(2, 2, 2))
        assert server.recv(16) + server.recv(16) == frame(1, 1, 1) + frame(2, 2, 2)


def test_healing_ends_every_fault_those_to_come_too(proxy: Proxy, client: KazooClient, path: str) -> None:
    proxy.drop_reply(Op.CREATE)
    proxy.drop_request(Op.CREATE)
    proxy.delay(30)
    proxy.stall()
    proxy.refuse()
    proxy.heal()
    client.retry(client.create, path)
    assert proxy.dropped.total() == 0


def test_small_answers_are_not_held_back() -> None:
    """Nagle's algorithm would, until the client acknowledges the one before, up to 40 ms later."""
    with both_ends() as (proxy, client, server):
        client.sendall(frame(1))
        server.recv(8)
        sockets = [side.get_extra_info("socket") for it in proxy._connections for side in (it._client, it._server)]
        assert len(sockets) == 2
        assert all(it.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for it in sockets)


def test_a_client_of_a_server_that_is_down_is_reset() -> None:
    with socket.socket() as down:
        down.bind(("127.0.0.1", 0))
        with (
            Proxy(down.getsockname()[1]) as proxy,
            pytest.raises(ConnectionResetError),
            socket.create_connection(("127.0.0.1", proxy.port), 5) as client,
        ):
            client.recv(1)


def test_an_ensemble_behind_proxies_serves_while_two_of_them_refuse(ensemble: Ensemble) -> None:
    with proxied(ensemble) as proxies:
        assert proxies.hosts == ",".join(proxy.address for proxy in proxies)
        assert [proxy.upstream_port for proxy in proxies] == [server.port for server in ensemble.servers]
        proxies[0].refuse()
        proxies[2].refuse()
        with kazoo(proxies.hosts) as client:
            assert client.exists("/")
        assert [proxy.counts[Op.EXISTS] for proxy in proxies] == [0, 1, 0]


def test_a_closed_proxy_frees_its_port_and_may_be_closed_again() -> None:
    with both_ends() as (proxy, client, _):
        proxy.stall()
        proxy.close()
        proxy.close()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        with socket.create_server(("127.0.0.1", proxy.port)):
            pass
