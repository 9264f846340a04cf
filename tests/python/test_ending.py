"""What ends a call from outside, or a session: and what that leaves alone."""

import threading
import time

import pytest
import zkcoord
from zkcoord import Cancel, Connection, errors, hold, lock, lock_holders, party_members, set_max, status, unlock, znode

from tests.support.calls import Waiting, children, queue

CALLS = {
    "lock": lambda root, **at: lock(root, identifier="a", **at),
    "hold": lambda root, **at: hold(root, identifier="a", **at),
    "unlock": lambda root, **at: unlock(root, identifier="h", **at),
    "lock_holders": lock_holders,
    "party_members": lambda root, **at: party_members(root, min_nodes=5, blocking=True, **at),
    "status": status,
    "set_max": lambda root, **at: set_max(root, 5, **at),
    "create": lambda root, **at: znode.create(f"{root}-new", "x", **at),
    "set": lambda root, **at: znode.set(root, "5", **at),
    "delete": lambda root, **at: znode.delete(root, recursive=True, **at),
}


@pytest.mark.parametrize("call", CALLS)
def test_cancelled_before_it_begins_a_call_does_nothing(hosts, root, zk, call):
    lock(root, hosts, identifier="h")
    before = children(zk, root)
    cancel = Cancel()
    assert not cancel.cancelled
    cancel.cancel()
    cancel.cancel()
    assert cancel.cancelled
    with pytest.raises(errors.Cancelled, match="cancelled by the caller"):
        CALLS[call](root, zk_hosts=hosts, cancel=cancel)
    assert children(zk, root) == before
    assert zk.get(root)[0] == b"1"
    assert queue(zk, root) == []
    assert not zk.exists(f"{root}-new")


@pytest.mark.parametrize("call", CALLS)
def test_a_call_that_finds_nobody_can_be_ended(proxies, root, call):
    lock(root, proxies.hosts, identifier="h")
    for proxy in proxies:
        proxy.stall()
    cancel = Cancel()
    calling = Waiting(CALLS[call], root, zk_hosts=proxies.hosts, timeout=60, cancel=cancel)
    other = Waiting(lock_holders, root, proxies.hosts, connect_timeout=30)
    time.sleep(0.2)
    cancel.cancel()
    with pytest.raises((errors.Cancelled, errors.ConnectionLost)):
        calling.result(5)
    assert not other.done
    for proxy in proxies:
        proxy.resume()
    other.result()


def test_close_lets_a_wait_begin_anew_and_other_connections_alone(hosts, root, zk, wait_until):
    lock(root, hosts, identifier="h")
    mine, other = Connection(hosts, session_timeout=7), Connection(hosts, session_timeout=8)
    held = hold(f"{root}-2", connection=other, identifier="a")
    lost = hold(f"{root}-3", connection=mine, identifier="a", on_lost=threading.Event().set)
    waiter = Waiting(lock, root, connection=mine, identifier="w")
    wait_until(lambda: queue(zk, root) == ["w"], "it waits")
    (place,) = children(zk, f"{root}-__lock__")
    mine.close()
    assert lost.lost.wait(10), "its ephemeral lease has gone"
    assert lost.release() is False
    wait_until(lambda: children(zk, f"{root}-__lock__") not in ([], [place]), "it waits again")
    held.check()
    assert not held.lost.is_set()
    unlock(root, hosts, identifier="h")
    assert waiter.result() is True
    assert held.release() is True


def test_those_that_are_equal_share_a_session_and_others_do_not(ensemble, hosts, root):
    zkcoord.close()
    before = ensemble.sessions()
    for connection in (Connection(hosts, username="u", password="p"), Connection(hosts.split(","), **{})):
        assert status(root, connection=connection)["holders"] == []
        assert status(root, hosts)["holders"] == []
    assert status(root, hosts, username="u", password="p")["holders"] == []
    assert len(ensemble.sessions() - before) == 2


def test_a_forked_child_does_nothing_to_the_connection_of_its_parent(script, hosts, root):
    process = script("""
        connection = zkcoord.Connection(hosts)
        with zkcoord.hold(root, connection=connection, identifier="a") as held:
            if os.fork() == 0:
                connection.close()
                print(hash(connection) == hash(zkcoord.Connection(hosts)), flush=True)
                os._exit(0)
            os.wait()
            held.check()
            print("held", flush=True)
    """)
    assert process.result() == "True\nheld"


@pytest.mark.parametrize("name", ["hosts", "user", "session_timeout", "password", "_settings", "anything"])
def test_nothing_of_a_connection_can_be_set_or_deleted(name):
    connection = Connection("a:1", username="u", password="hunter2-canary")
    before = hash(connection)
    with pytest.raises(AttributeError, match="frozen"):
        setattr(connection, name, "b:1")
    with pytest.raises(AttributeError, match="frozen"):
        delattr(connection, name)
    assert hash(connection) == before
    assert "hunter2-canary" not in repr(connection) + repr(vars(type(connection)))
