"""A server that is cut off from the others and serves reads alone, in an ensemble whose majority is healthy."""

import contextlib
import re
import socket

import pytest
from zkcoord import Connection, errors, hold, lock, lock_holders, status
from zkcoord.testing import Ensemble

from tests.support.calls import wait_until

MOST = 60


def cut_off(server):
    """Let a server be alone: it has other ports for the others, and the addresses that it has of them are nobody's."""
    server.stop()
    with contextlib.ExitStack() as stack:
        ports = [stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(6)]
    config = server.directory / "zoo.cfg"
    moved = (f"server.{number}=127.0.0.1:{ports.pop()}:{ports.pop()}" for number in (1, 2, 3))
    config.write_text(re.sub(r"server\.\d=\S+", lambda _: next(moved), config.read_text()))
    server.start()
    wait_until(lambda: "Mode: read-only" in answer(server), "the server serves reads alone", 30)


def answer(server):
    try:
        return server.four_letter("srvr")
    except OSError:
        return ""


@pytest.fixture(scope="module")
def apart():
    with Ensemble(3, properties={"readonlymode.enabled": "true"}) as ensemble:
        yield ensemble


@pytest.fixture(scope="module")
def alone(apart):
    return next(server for server in apart.servers if server is not apart.leader())


def test_no_lease_is_lost_and_a_fresh_call_finds_another_server(apart, alone):
    taken = []
    while len(taken) < 9 or "Connections: 1\n" in answer(alone):
        assert len(taken) < MOST, "nobody goes to the server"
        connection = Connection(apart.hosts, username=f"h{len(taken)}", password="p", session_timeout=4)
        taken.append(hold("/r", connection=connection, identifier=f"h{len(taken)}", max_concurrency=MOST))
    cut_off(alone)
    for number in range(8):
        connection = Connection(apart.hosts, username=f"u{number}", password="p", session_timeout=4)
        assert len(status("/r", connection=connection)["holders"]) == len(taken)
        assert lock("/other", connection=connection, identifier="x", timeout=5) is True
        connection.close()
    for each in taken:
        each.check()
        assert each.release() is True


def test_alone_it_is_named_as_what_it_is(alone):
    if "Mode: read-only" not in answer(alone):
        cut_off(alone)
    with pytest.raises(errors.Unreachable) as caught:
        lock_holders("/r", alone.address, connect_timeout=3)
    assert f"{alone.address}: serves reads alone (read-only)" in str(caught.value)


def test_without_a_quorum_it_is_named_as_that(apart, alone):
    leader = apart.leader()
    for server in apart.servers:
        if server not in (leader, alone):
            server.kill()
    wait_until(lambda: "not currently serving" in answer(leader), "the last one has no quorum", 20)
    with pytest.raises(errors.Unreachable) as caught:
        lock_holders("/r", leader.address, connect_timeout=1.5)
    assert f"{leader.address}: serves nobody now: it says that it has no quorum" in str(caught.value)
