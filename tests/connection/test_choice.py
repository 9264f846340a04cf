"""Which server a session goes to, while a minority of them is of no use: no session is lost, and no call fails."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack

import psutil
import pytest
import zkcoord
from zkcoord import Connection, errors, hold, lock, lock_holders, status
from zkcoord.testing import Ensemble, Op

from tests.support.calls import Waiting, queue

FAULTS = ["stall", "filter", "hang_up", "refuse", "trickle"]


def through(proxies):
    """The proxies that a session goes through now."""
    return [proxy for proxy in proxies if proxy._connections]


@pytest.mark.parametrize(("fault", "timeout"), [*((fault, 2) for fault in FAULTS), ("filter", 10)])
def test_a_session_outlives_the_fault_of_its_server(proxies, hosts, root, fault, timeout):
    connection = Connection(proxies.hosts, session_timeout=timeout)
    held = hold(root, connection=connection, identifier="a", on_lost=lambda: None)
    (server,) = through(proxies)
    getattr(server, fault)()
    end = time.monotonic() + 1.5 * timeout
    while time.monotonic() < end:
        assert not held.lost.is_set()
        assert lock_holders(root, hosts) == ["a"]
        time.sleep(0.1)
    held.check()
    server.heal()
    assert held.release() is True


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fresh_call_finds_another_server(proxies, root, fault):
    """Each time in a session of its own: the faulty server is the first for a third of them."""
    proxies[0].heal()
    getattr(proxies[0], fault)()
    for number in range(8):
        connection = Connection(proxies.hosts, username=f"u{number}", password="p", session_timeout=4)
        started = time.monotonic()
        assert status(root, connection=connection)["holders"] == []
        assert time.monotonic() - started < 3
        connection.close()
    proxies[0].heal()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_call_whose_request_is_out_is_answered_by_another_server(proxies, root, fault):
    connection = Connection(proxies.hosts, session_timeout=3)
    assert lock_holders(root, connection=connection) == []
    (server,) = through(proxies)
    server.stall()
    calling = Waiting(lock_holders, root, connection=connection)
    time.sleep(0.2)
    assert not calling.done
    getattr(server, fault)()
    assert calling.result(5) == []
    server.heal()


def test_a_handshake_that_stops_in_the_middle_is_left(proxies, root):
    """The connection is there, the session is not, and a byte a second comes."""
    for proxy in proxies[:1]:
        proxy.trickle()
    for number in range(6):
        connection = Connection(proxies.hosts, username=f"u{number}", password="p", session_timeout=6)
        started = time.monotonic()
        assert lock_holders(root, connection=connection) == []
        assert time.monotonic() - started < 3
        connection.close()


def test_sessions_are_spread(proxies, root):
    connections = [Connection(proxies.hosts, username=f"u{number}", password="p") for number in range(24)]
    calls = [Waiting(lock_holders, root, connection=connection) for connection in connections]
    assert [call.result() for call in calls] == [[]] * 24
    opened = [proxy.counts[Op.CREATE_SESSION] for proxy in proxies]
    assert sum(opened) == 24
    assert all(count >= 2 for count in opened), opened


def test_servers_that_are_well_see_no_probe(proxies, root):
    """A session costs one connection."""
    for number in range(5):
        connection = Connection(proxies.hosts, username=f"u{number}", password="p")
        lock_holders(root, connection=connection)
    assert sum(len(proxy._connections) for proxy in proxies) == 5


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_many_sessions_outlive_a_follower(root, number):
    """As they are without a proxy between: the kernel of a stopped server takes connections."""
    count, timeout = 60, 4
    with Ensemble(3) as ensemble:
        connections = [
            Connection(ensemble.hosts, username=f"u{one}", password="p", session_timeout=timeout)
            for one in range(count)
        ]
        holds = [
            hold(f"{root}-{one}", connection=connection, identifier="a") for one, connection in enumerate(connections)
        ]
        victim = next(server for server in ensemble.servers if server is not ensemble.leader())
        if number == signal.SIGSTOP:
            victim.pause()
        else:
            victim.kill()
        time.sleep(2.5 * timeout)
        lost = [held.path for held in holds if lock_holders(held.path, ensemble.hosts) != ["a"]]
        assert lost == []
        if number == signal.SIGSTOP:
            victim.resume()
        zkcoord.close()


@pytest.mark.parametrize("fault", FAULTS)
def test_sessions_outlive_a_fault_that_their_next_server_has_as_well(proxies, hosts, root, fault):
    """Two of three ways are of no use. Whoever is on one of them has no time to try the other one."""
    connections = [Connection(proxies.hosts, username=f"u{one}", password="p", session_timeout=4) for one in range(20)]
    holds = [hold(f"{root}-{one}", connection=connection, identifier="a") for one, connection in enumerate(connections)]
    for proxy in proxies[:2]:
        getattr(proxy, fault)()
    end = time.monotonic() + 8
    while time.monotonic() < end:
        assert [held.path for held in holds if held.lost.is_set()] == []
        time.sleep(0.1)
    assert [held.path for held in holds if lock_holders(held.path, hosts) != ["a"]] == []
    for proxy in proxies[:2]:
        proxy.heal()
    for held, connection in zip(holds, connections, strict=True):
        assert held.release() is True
        connection.close()


def test_a_server_that_takes_sessions_and_closes_them_is_not_tried_without_a_pause(proxies, root):
    connection = Connection(proxies.hosts, session_timeout=6)
    assert lock_holders(root, connection=connection) == []
    before = sum(proxy.counts[Op.CREATE_SESSION] for proxy in proxies)
    for _ in range(60):
        for proxy in proxies:
            proxy.cut()
        time.sleep(0.05)
    made = sum(proxy.counts[Op.CREATE_SESSION] for proxy in proxies) - before
    assert 3 <= made <= 30, "each time all servers are tried, there is a pause that grows"
    assert lock_holders(root, connection=connection) == []


@pytest.fixture
def with_hosts(tmp_path):
    """Run Python code where names have the given addresses: `with_hosts(names, code, *arguments)`; what it prints."""

    def run(names, code, *arguments):
        hosts = tmp_path / "hosts"
        hosts.write_text("".join(f"{address} {name}\n" for name, addresses in names.items() for address in addresses))
        # Whoever is not root may do so in a user namespace.
        user = [] if os.geteuid() == 0 else ["--map-root-user"]
        bind = f'mount --bind {hosts} /etc/hosts && exec "$@"'
        python = [sys.executable, "-c", code, *map(str, arguments)]
        command = ["unshare", *user, "--mount", "sh", "-c", bind, "sh", *python]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.split()

    return run


@contextlib.contextmanager
def relayed(address, port, target):
    """Forward what comes to an address; without a target it is taken and left alone, as by a server that is stopped.

    Yields what was accepted.
    """
    accepted = []
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, port), family=family, backlog=100) as listener:
        if target is None:
            yield accepted
            return
        with ExitStack() as stack:
            _in_background(_serve, listener, target, stack, accepted)
            yield accepted
            _hang_up(listener)


def _in_background(function, *arguments):
    threading.Thread(target=function, args=arguments, daemon=True).start()


def _serve(listener, target, stack, accepted):
    with contextlib.suppress(OSError):
        while True:
            client, _ = listener.accept()
            accepted.append(client)
            server = socket.create_connection(("127.0.0.1", target))
            for one, other in ((client, server), (server, client)):
                stack.callback(_hang_up, one)
                _in_background(_pump, one, other)


def _pump(one, other):
    with contextlib.suppress(OSError):
        while data := one.recv(1 << 16):
            other.sendall(data)
    _hang_up(other)


def _hang_up(one):
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)


SESSIONS = """
import sys, time, zkcoord
root, hosts, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
for number in range(count):
    connection = zkcoord.Connection(hosts, username=f"u{number}", password="p", session_timeout=4)
    started = time.monotonic()
    assert zkcoord.lock_holders(root, connection=connection) == []
    print(time.monotonic() - started < 3)
"""


def free_port(*addresses):
    """A port that is free on all of the addresses."""
    with ExitStack() as stack:
        first = stack.enter_context(socket.create_server((addresses[0], 0)))
        return first.getsockname()[1]


def test_all_addresses_of_a_name_are_tried(ensemble, root, with_hosts):
    """The first that the resolver names belongs to a server that is stopped."""
    addresses = ["127.0.0.11", "127.0.0.12", "127.0.0.13"]
    port = free_port("127.0.0.11")
    targets = [None, ensemble.servers[1].port, ensemble.servers[2].port]
    with ExitStack() as stack:
        for address, target in zip(addresses, targets, strict=True):
            stack.enter_context(relayed(address, port, target))
        assert with_hosts({"zk.test": addresses}, SESSIONS, root, f"zk.test:{port}", 6) == ["True"] * 6


def test_an_address_of_either_family_is_tried(ensemble, root, with_hosts):
    """Something else listens at ::1, and says nothing."""
    port = free_port("127.0.0.1")
    with relayed("::1", port, None), relayed("127.0.0.1", port, ensemble.servers[0].port):
        assert with_hosts({"zk.test": ["::1", "127.0.0.1"]}, SESSIONS, root, f"zk.test:{port}", 4) == ["True"] * 4


def test_sessions_are_spread_over_the_addresses_of_a_name(ensemble, root, with_hosts):
    port = free_port("127.0.0.11")
    addresses = ["127.0.0.11", "127.0.0.12", "127.0.0.13"]
    with ExitStack() as stack:
        accepted = [
            stack.enter_context(relayed(address, port, server.port))
            for address, server in zip(addresses, ensemble.servers, strict=True)
        ]
        with_hosts({"zk.test": addresses}, SESSIONS, root, f"zk.test:{port}", 24)
        assert sum(map(len, accepted)) == 24
        assert all(len(each) >= 2 for each in accepted)


def test_a_session_that_an_ensemble_does_not_know_any_more_is_replaced(root):
    """Its data were lost. The servers send away whoever has seen newer data."""
    with Ensemble(3) as ensemble:
        connection = Connection(ensemble.hosts, session_timeout=30)
        assert lock(root, connection=connection, identifier="a")
        for server in ensemble.servers:
            server.kill()
        for server in ensemble.servers:
            for data in server.directory.rglob("version-2"):
                shutil.rmtree(data)
            server.start()
        ensemble.wait_ready()
        assert lock_holders(root, connection=connection) == []
        assert lock(root, connection=connection, identifier="a", timeout=20)
        assert lock_holders(root, ensemble.hosts) == ["a"]
        zkcoord.close()


@pytest.mark.parametrize("moment", [0, 1])
def test_the_same_call_on_the_same_outage_has_the_same_answer(proxies, root, moment):
    connection = Connection(proxies.hosts, session_timeout=2, connect_timeout=2)
    assert lock_holders(root, connection=connection) == []
    for proxy in proxies:
        proxy.stall()
    time.sleep(moment)
    started = time.monotonic()
    with pytest.raises((errors.Unreachable, errors.ConnectionLost)):
        lock(root, connection=connection, identifier="a", timeout=60)
    # At first the connection has to be given up, which takes 2/5 of the session's timeout.
    assert time.monotonic() - started < 10
    for proxy in proxies:
        proxy.resume()


def test_a_wait_that_has_begun_outlasts_an_outage(proxies, hosts, root, wait_until):
    connection = Connection(proxies.hosts, connect_timeout=0.5)
    assert lock(root, hosts, identifier="a")
    positions = []
    waiting = Waiting(lock, root, connection=connection, identifier="b", on_position=positions.append)
    # Its queue node is there before it knows that: an outage at that moment would be one at its start.
    wait_until(lambda: positions, "it waits")
    for proxy in proxies:
        proxy.refuse()
    time.sleep(3)
    assert not waiting.done
    for proxy in proxies:
        proxy.accept()
    assert zkcoord.unlock(root, hosts, identifier="a")
    assert waiting.result() is True


class TestTls:
    def test_a_connection_that_is_idle_stays(self, secure, tls, root):
        connection = Connection(secure.secure_hosts, session_timeout=2, **tls)
        held = hold(root, connection=connection, identifier="a", on_lost=lambda: None)
        before = own_ports()
        time.sleep(5)
        assert own_ports() == before
        assert held.release() is True

    def test_a_session_outlives_a_server_that_is_stopped(self, secure, tls, root):
        connections = [Connection(secure.secure_hosts, session_timeout=4 + number / 10, **tls) for number in range(6)]
        holds = [hold(f"{root}-{at}", connection=it, identifier="a") for at, it in enumerate(connections)]
        victim = next(server for server in secure.servers if server is not secure.leader())
        victim.pause()
        try:
            time.sleep(8)
            assert [lock_holders(held.path, secure.hosts) for held in holds] == [["a"]] * 6
            fresh = Connection(secure.secure_hosts, session_timeout=9, **tls)
            assert lock_holders(holds[0].path, connection=fresh) == ["a"]
        finally:
            victim.resume()
            secure.wait_ready()
        assert [held.release(timeout=20) for held in holds] == [True] * 6


def own_ports():
    """The ports that this process has connections from."""
    connections = psutil.Process().net_connections("tcp")
    return {it.laddr.port for it in connections if it.status == psutil.CONN_ESTABLISHED and it.raddr}


def test_a_wait_through_an_outage_is_in_the_log(proxies, hosts, root, zk, wait_until, caplog):
    assert lock(root, hosts, identifier="a")
    waiting = Waiting(lock, root, proxies.hosts, identifier="b")
    wait_until(lambda: queue(zk, root) == ["b"], "it waits")
    for proxy in proxies:
        proxy.refuse()
    with caplog.at_level("INFO", "zkcoord"):
        wait_until(lambda: "no ZooKeeper server answers" in caplog.text, "it is in the log", 20)
        for proxy in proxies:
            proxy.accept()
        wait_until(lambda: "answers again" in caplog.text, "its end is in the log", 20)
    begun, over = [record.getMessage() for record in caplog.records if record.name == "zkcoord"]
    assert root in begun
    assert "refused the connection" in begun
    assert root in over
    zkcoord.unlock(root, hosts, identifier="a")
    assert waiting.result() is True


def test_a_server_that_is_named_twice_is_one(proxies, root):
    connection = Connection([proxies[0].address] * 2, session_timeout=4)
    held = hold(root, connection=connection, identifier="a", on_lost=lambda: None)
    proxies[0].refuse()
    time.sleep(1)
    with pytest.raises(errors.Unreachable, match="refused the connection"):
        lock_holders(root, connection=connection)
    proxies[0].accept()
    assert lock_holders(root, connection=connection) == ["a"]
    assert held.release(timeout=10) is True


def test_an_address_that_refuses_does_not_speak_for_the_others_of_its_name(ensemble, root, with_hosts):
    port = free_port("127.0.0.12")
    addresses = ["127.0.0.11", "127.0.0.12", "127.0.0.13", "127.0.0.14", "127.0.0.15"]
    with relayed("127.0.0.12", port, ensemble.servers[0].port):
        assert with_hosts({"zk.test": addresses}, SESSIONS, root, f"zk.test:{port}", 12) == ["True"] * 12
