"""`Cancel` ends one call: nothing is held, and no znode is left."""

import threading
import time

import pytest
from zkcoord import Cancel, errors, hold, lock, lock_holders, party_members, set_max, status, unlock, znode

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


@pytest.mark.parametrize("function", [lock, hold])
def test_another_thread_ends_a_wait_and_no_other(hosts, root, zk, wait_until, function):
    lock(root, hosts, identifier="h")
    cancel = Cancel()
    mine = Waiting(function, root, hosts, identifier="a", cancel=cancel)
    wait_until(lambda: queue(zk, root) == ["a"], "a waits")
    other = Waiting(lock, root, hosts, identifier="b")
    wait_until(lambda: queue(zk, root) == ["a", "b"], "b waits")
    cancel.cancel()
    with pytest.raises(errors.Cancelled, match=f"cancelled by the caller over {root}"):
        mine.result(5)
    assert cancel.cancelled
    assert queue(zk, root) == ["b"]
    unlock(root, hosts, identifier="h")
    assert other.result() is True
    assert lock_holders(root, hosts) == ["b"]


def test_it_may_be_shared_and_stays_cancelled(hosts, root, zk, wait_until):
    lock(root, hosts, identifier="h")
    cancel = Cancel()
    waits = [Waiting(lock, root, hosts, identifier=name, cancel=cancel) for name in "abc"]
    wait_until(lambda: len(queue(zk, root)) == len(waits), "they wait")
    cancel.cancel()
    for wait in waits:
        with pytest.raises(errors.Cancelled):
            wait.result(5)
    with pytest.raises(errors.Cancelled):
        party_members(root, hosts, 5, True, cancel=cancel)
    assert queue(zk, root) == []


def test_what_is_no_cancel_is_refused():
    with pytest.raises(errors.ArgumentError, match=r"^cancel: "):
        lock("/p", "127.0.0.1:1", cancel=threading.Event())


def test_a_forked_child_has_one_of_its_own(script, hosts, root):
    lock(root, hosts, identifier="h")
    process = script("""
        import os, threading
        cancel = zkcoord.Cancel()
        if os.fork() == 0:
            threading.Timer(0.5, cancel.cancel).start()
            try:
                zkcoord.lock(root, hosts, identifier="child", cancel=cancel)
            except zkcoord.errors.Cancelled:
                print("ended", flush=True)
            zkcoord.close()
            os._exit(0)
        os.wait()
        print(cancel.cancelled, flush=True)
    """)
    assert process.line() == "ended"
    assert process.line() == "False"
    process.result()


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
