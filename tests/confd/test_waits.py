"""How a wait for replies ends: by another thread, by a signal, by a fork, with its process; and gevent and asyncio."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import textwrap
import threading
import time
from pathlib import Path

import pytest
import zkcoord
from zkcoord import confd
from zkcoord.errors import ArgumentError, Cancelled

from tests.support.calls import Waiting, wait_until
from tests.support.confd import reply, salt_of
from tests.support.processes import Script

NODE1 = "node1.example.com"
ASK = """
    from zkcoord import confd
    asking = {"peers": peers, "hmac_key": key.encode(), "port": port}
"""


@pytest.fixture
def silent(asking, peers):
    """Whom to ask to get no answer."""
    return {**asking, "peers": [peers.add().address]}


@pytest.fixture
def process(silent):
    """Run Python code in a process of its own, which knows of a silent peer."""
    started = []

    def start(code, **names):
        key = silent["hmac_key"].decode()
        known = {"peers": silent["peers"], "key": key, "port": silent["port"], "hosts": "", "root": "", **names}
        started.append(Script(textwrap.dedent(ASK) + textwrap.dedent(code), known))
        return started[-1]

    yield start
    for each in started:
        each.end()


def test_another_thread_cancels_a_wait(silent):
    cancel = zkcoord.Cancel()
    waiting = Waiting(confd.ping, timeout=60, cancel=cancel, **silent)
    cancel.cancel()
    with pytest.raises(Cancelled, match="cancelled by the caller over ganeti-confd, ping"):
        waiting.result(10)
    with pytest.raises(Cancelled):
        confd.ping(timeout=60, cancel=cancel, **silent)


def test_threads_ask_at_once(asking):
    waiting = [Waiting(confd.cluster_master, **asking) for _ in range(20)]
    assert [each.result() for each in waiting] == [NODE1] * 20


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_wait_that_is_told_to_raise(process, number):
    running = process("""
        print("waits", flush=True)
        try:
            confd.ping(timeout=60, raise_on_signal=True, **asking)
        except Exception as error:
            print(json.dumps([type(error).__name__, str(error)]))
    """)
    assert running.line() == "waits"
    time.sleep(0.2)
    running.signal(number)
    kind, text = json.loads(running.result())
    assert kind == "Cancelled"
    assert f"cancelled by {number.name} over ganeti-confd, ping" in text


def test_otherwise_the_handler_runs_that_was_there_and_ends_the_wait_if_it_raises(process):
    running = process("""
        began = time.monotonic()
        print("waits", flush=True)
        try:
            confd.ping(timeout=60, **asking)
        except KeyboardInterrupt:
            print(json.dumps(time.monotonic() - began))
    """)
    assert running.line() == "waits"
    time.sleep(0.2)
    running.signal(signal.SIGINT)
    assert json.loads(running.result()) < 20


def test_a_handler_that_does_not_raise_leaves_the_wait_alone(process):
    running = process("""
        seen = []
        signal.signal(signal.SIGUSR1, lambda *_: seen.append(1))
        print("waits", flush=True)
        found = confd.query("ping", timeout=1.5, **asking)
        print(json.dumps([found.timed_out, len(seen)]))
    """)
    assert running.line() == "waits"
    time.sleep(0.2)
    running.signal(signal.SIGUSR1)
    assert json.loads(running.result()) == [True, 1]


def test_a_thread_that_waits_does_not_keep_its_process(process):
    began = time.monotonic()
    running = process("""
        import threading
        def wait():
            try:
                confd.ping(timeout=60, **asking)
            except Exception as error:
                print(json.dumps(str(error)), flush=True)
        threading.Thread(target=wait).start()
        time.sleep(0.3)
    """)
    assert "cancelled by the end of the process" in running.result()
    assert time.monotonic() - began < 20


def test_a_child_has_a_socket_of_its_own_and_none_of_its_parents_queries(asking):
    client = confd.ConfdClient(asking["hmac_key"], asking["peers"], lambda up: None, asking["port"])
    request = confd.ConfdClientRequest(type=confd.CONFD_REQ_CLUSTER_MASTER)
    client.SendRequest(request, coverage=-1)
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            inherited = client.WaitForReply(request.rsalt, timeout=1)
            own = confd.ConfdClientRequest(type=confd.CONFD_REQ_CLUSTER_MASTER)
            client.SendRequest(own)
            os.write(write, repr((inherited, client.WaitForReply(own.rsalt)[0], len(client._requests))).encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    assert os.read(read, 1000) == b"((True, 0, 0), False, 1)"
    os.close(read)
    assert client.WaitForReply(request.rsalt) == (False, 3, 2)
    for _ in range(3):
        client.ReceiveReply(1)
    assert client._core.counts(request.rsalt) == (3, 3, True)


def test_a_task_of_asyncio_that_is_cancelled_ends_its_wait(silent, asking):
    async def main():
        assert await asyncio.to_thread(confd.cluster_master, **asking) == NODE1
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.to_thread(confd.ping, timeout=60, **silent), 0.3)
        return began

    began = asyncio.run(main())
    assert time.monotonic() - began < 20


def test_other_greenlets_run_while_one_waits(process):
    running = process("""
        import gevent.monkey
        gevent.monkey.patch_all()
        import gevent
        ticks = []
        def tick():
            while True:
                ticks.append(1)
                gevent.sleep(0.02)
        ticking = gevent.spawn(tick)
        waiting = gevent.spawn(confd.query, "ping", timeout=1, **asking)
        found = waiting.get()
        client = confd.ConfdClient(asking["hmac_key"], asking["peers"], print, asking["port"])
        request = confd.ConfdClientRequest(type=0)
        client.SendRequest(request)
        answer = gevent.spawn(client.WaitForReply, request.rsalt, 0.5).get()
        print(json.dumps([found.timed_out, len(ticks) > 20, answer]))
    """)
    assert json.loads(running.result()) == [True, True, [True, 1, 0]]


def test_a_newer_answer_that_has_come_already_is_believed(asking, peers, process):
    """The process is stopped while the replies come: the first two are enough, and the third is newer."""
    salts = {}

    def act(peer, request, sender):
        salts[peer] = (salt_of(request), sender)

    three = [peers.add(act) for _ in range(3)]
    running = process(
        """
        print("asks", flush=True)
        found = confd.query("cluster_master", **{**asking, "peers": peers})
        print(json.dumps([found.answer, found.serial, found.replied, found.consistent]))
        """,
        peers=[peer.address for peer in three],
    )
    assert running.line() == "asks"
    wait_until(lambda: len(salts) == 3, "all three are asked")
    os.kill(running.pid, signal.SIGSTOP)
    stat = Path(f"/proc/{running.pid}/stat")
    wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", "the process is stopped")
    for peer, serial in zip(three, (42, 42, 43), strict=True):
        salt, sender = salts[peer]
        peer.send(reply(f"serial {serial}", salt, asking["hmac_key"], serial), sender)
    os.kill(running.pid, signal.SIGCONT)
    assert json.loads(running.result()) == ["serial 43", 43, 3, True]


def test_a_late_reply_to_one_query_is_none_to_the_next_on_the_same_socket(asking, peers):
    senders = []

    def act(peer, request, sender):
        senders.append(sender)
        if len(senders) == 1:
            held.append(salt_of(request))
            return
        for salt in (*held, salt_of(request)):
            peer.send(reply("late" if salt in held else "now", salt, asking["hmac_key"]), sender)

    held = []
    slow = {**asking, "peers": [peers.add(act).address]}
    assert confd.query("cluster_master", timeout=0.1, retries=0, **slow).timed_out
    found = confd.query("cluster_master", timeout=10, **slow)
    assert (found.answer, found.discarded) == ("now", ())
    assert senders[0] == senders[1], "the socket is kept"


def test_a_child_asks_by_a_socket_of_its_own_and_its_parent_keeps_the_one_it_had(asking, peers):
    senders = []
    silent = {**asking, "peers": [peers.add(lambda peer, request, sender: senders.append(sender)).address]}

    def ask():
        assert confd.query("ping", timeout=0.1, retries=0, **silent).timed_out

    ask()
    child = os.fork()
    if not child:
        try:
            ask()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    ask()
    wait_until(lambda: len(senders) == 3, "all three have asked")
    assert senders[0] == senders[2] != senders[1]


def test_a_socket_that_somebody_has_closed_is_not_used_again_nor_closed(process, asking):
    running = process(
        """
        import contextlib, os
        def sockets():
            found = []
            for fd in os.listdir("/proc/self/fd"):
                with contextlib.suppress(FileNotFoundError):  # that of the list itself
                    if os.readlink(f"/proc/self/fd/{fd}").startswith("socket:"):
                        found.append(int(fd))
            return found
        before = set(sockets())
        confd.query("ping", timeout=0, **asking)
        (kept,) = set(sockets()) - before
        os.close(kept)
        read, write = os.pipe()
        assert kept in (read, write)
        confd.query("ping", timeout=0, **asking)
        os.write(write, b"x")
        print(json.dumps(os.read(read, 1).decode()))
        """
    )
    assert json.loads(running.result()) == "x"


def test_the_interpreter_runs_other_threads_meanwhile(silent):
    ticks, waiting = [], Waiting(confd.query, "ping", timeout=0.5, **silent)
    while not waiting.done:
        ticks.append(1)
        time.sleep(0.01)
    assert waiting.result().timed_out
    assert len(ticks) > 10


def test_a_callback_in_another_thread_than_the_sender(asking):
    came = []
    client = confd.ConfdClient(asking["hmac_key"], asking["peers"], came.append, asking["port"])
    stop = threading.Event()

    def receive():
        while not stop.is_set():
            client.ReceiveReply(0.2)

    receiver = threading.Thread(target=receive)
    receiver.start()
    salts = []
    for _ in range(50):
        request = confd.ConfdClientRequest(type=confd.CONFD_REQ_PING)
        client.SendRequest(request, coverage=-1)
        salts.append(request.rsalt)
    end = time.monotonic() + 10
    while len(came) < 150 and time.monotonic() < end:
        time.sleep(0.01)
    stop.set()
    receiver.join()
    assert sorted(up.salt for up in came) == sorted(salts * 3)


def test_thousands_of_queries_leave_no_descriptor_open(asking):
    confd.ping(**asking)
    gc.collect()  # what other tests have left
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(500):
        confd.ping(**asking)
        with pytest.raises(ArgumentError):
            confd.ping(coverage=9, **asking)
    # A few sockets are kept for the next queries, and no more.
    assert len(os.listdir("/proc/self/fd")) <= before
