"""Ganeti's own Python client and ours on the same genuine servers: one script, of which only the imports differ.

Where the outcomes differ, it is one of the faults that ours does not have, and the test says which.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from zkcoord.testing import ConfdServers

from tests.support.confd import peers as make_peers
from tests.support.confd import reply, salt_of, signed
from tests.support.processes import MARK

ROOT = Path(__file__).parents[2]
THEIRS = """
import sys, warnings
warnings.simplefilter("ignore")
from ganeti.confd import client as confd
from ganeti import constants
from ganeti.errors import ConfdClientError
"""
OURS = """
import sys
from zkcoord import confd
from zkcoord import confd as constants
from zkcoord.confd import ConfdClientError
"""
COMMON = """
import json, logging, time
given = json.loads(sys.argv[1])
key, addresses, port = given["key"], given["peers"], given["port"]
store = confd.StoreResultCallback()
filtering = confd.ConfdFilterCallback(store)
counting = confd.ConfdCountingCallback(filtering)

def client(peers=addresses, callback=counting, **options):
    return confd.ConfdClient(key, peers, callback, port=port, **options)

def ask(client, kind, query=None, coverage=0, timeout=10, everybody=False):
    request = confd.ConfdClientRequest(type=kind, query=query)
    client.SendRequest(request, coverage=coverage, async_=False)
    timed_out, sent, received = client.WaitForReply(request.rsalt, timeout=timeout)
    while everybody and received < sent and client.ReceiveReply(5):
        timed_out, sent, received = client.WaitForReply(request.rsalt, timeout=0.1)
    have, up = store.GetResponse(request.rsalt)
    found = (up.server_reply.status, up.server_reply.answer, up.server_reply.serial) if have else None
    return [timed_out, sent, found, filtering.consistent.get(request.rsalt)]

def raised(work):
    try:
        work()
    except Exception as error:
        return type(error).__name__
    return "nothing"
"""


@pytest.fixture(scope="module")
def started():
    mark = os.environ.pop(MARK, None)  # they outlive the test that starts them
    with ConfdServers(4) as servers:
        if mark is not None:
            os.environ[MARK] = mark
        yield servers


@pytest.fixture
def servers(started):
    yield started
    started.reset()


@pytest.fixture
def peers(servers):
    with make_peers(servers) as made:
        yield made


@pytest.fixture(scope="module")
def path():
    """Where Ganeti's client is. One that cannot be had is a failure, as a missing server is."""
    done = subprocess.run([ROOT / "tools/ganeti-client"], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def both(servers, path):
    """Run a script with Ganeti's client and with ours: what each prints, theirs first."""

    def run(script, **more):
        given = {"key": servers.hmac_key.decode(), "peers": servers.peers, "port": servers.port, **more}
        outcomes = []
        for python, imports, environment in (
            ("/usr/bin/python3", THEIRS, {"PYTHONPATH": path}),
            (sys.executable, OURS, {}),
        ):
            command = [python, "-c", imports + COMMON + textwrap.dedent(script), json.dumps(given)]
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=90, check=False, env={**os.environ, **environment}
            )
            assert done.returncode == 0, (python, done.stderr)
            outcomes.append(json.loads(done.stdout))
        return tuple(outcomes)

    return run


FORMS = [
    (0, None),
    (1, "node1.example.com"),
    (1, "node5.example.com"),
    (1, "nobody"),
    (1, None),
    (2, {"1": "198.51.100.1"}),
    (2, {"1": "203.0.113.7", "0": "br1"}),
    (2, {"2": ["198.51.100.1", "192.0.2.9"], "0": None}),
    (2, {}),
    (2, "198.51.100.1"),
    (3, None),
    (3, {"3": [0, 1, 2]}),
    (3, "x"),
    (4, None),
    (5, None),
    (6, None),
    (6, "br1"),
    (7, "node1.example.com"),
    (9, "inst1.example.com"),
    (9, "nothing"),
    (10, "/cluster/cluster_name"),
    (10, "/cluster/ipolicy"),
    (10, "/nothing"),
    (11, None),
]


def test_every_query_has_the_same_outcome(both):
    theirs, ours = both(
        """
        it = client()
        print(json.dumps([ask(it, kind, query, everybody=True) for kind, query in given["forms"]]))
        """,
        forms=FORMS,
    )
    assert theirs == ours
    assert len(ours) == len(FORMS)
    assert all(outcome[:2] == [False, 4] and outcome[2] and outcome[3] for outcome in ours)


def test_coverage_waits_and_counts_are_the_same(both):
    theirs, ours = both("""
        it = client()
        found = [ask(it, 3, coverage=coverage)[:2] for coverage in (0, -1, 1, 2, 3, 4)]
        found.append(raised(lambda: ask(it, 3, coverage=5)))
        found.append([confd.ConfdClient._NeededReplies(number) for number in range(9)])
        found.append(list(it.WaitForReply("another")))
        request = confd.ConfdClientRequest(type=3)
        it.SendRequest(request, async_=False)
        found.append(raised(lambda: it.SendRequest(request, async_=False)))
        found.append(raised(lambda: confd.ConfdClientRequest(type=99)))
        found.append(raised(lambda: client(peers=["127.0.0.1", "::1"])))
        found.append(raised(lambda: client(peers=["node1"])))
        counting.RegisterQuery("salt")
        found.append(counting.AllAnswered())
        print(json.dumps(found))
    """)
    assert theirs == ours
    assert ours[6] == "ConfdClientError"


def test_a_newer_serial_wins_and_one_serial_with_two_contents_is_inconsistent_in_both(both, servers):
    servers.servers[1].configure(serial=43, master=2)
    newer = both("print(json.dumps(ask(client(), 3, coverage=-1, everybody=True)))")
    assert newer[0] == newer[1] == [False, 4, [0, "node2.example.com", 43], True]
    servers.servers[1].configure(serial=42, master=2)
    theirs, ours = both("print(json.dumps(ask(client(), 3, coverage=-1, everybody=True)))")
    assert theirs[3] is ours[3] is False


def test_dead_servers_are_waited_for_alike(both, servers):
    for server in servers.servers[2:]:
        server.kill()
    theirs, ours = both("print(json.dumps([ask(client(), 3, timeout=2), ask(client(addresses[:3]), 3, timeout=2)]))")
    assert theirs == ours
    assert [outcome[0] for outcome in ours] == [True, False]


class TestFaults:
    """What is different, and is meant to be."""

    def test_a_late_reply_crashes_whoever_has_a_logger(self, both):
        script = """
            it = client(logger=logging.getLogger("x"))
            print(json.dumps(raised(lambda: it.HandleResponse(given["late"].encode(), addresses[0], 1814))))
        """
        late = reply("x", "unknown", b"0123456789abcdef0123456789abcdef01234567\n").decode()
        assert both(script, late=late) == ("UnboundLocalError", "nothing")

    def test_junk_that_anybody_can_send_crashes_it(self, both, servers):
        key = servers.hmac_key
        more = signed({"protocol": 1, "status": 0, "answer": 1, "serial": 1, "more": 1}, "a", key)
        junk = [b"plj0{", b"plj0\xff\xfe", b'plj0{"msg": "x", "salt": 5, "hmac": "y"}', more]
        theirs, ours = both(
            """
            found = []
            for text in given["junk"]:
                it = client()
                found.append(raised(lambda: it.HandleResponse(text.encode("latin-1"), addresses[0], 1814)))
            print(json.dumps(found))
            """,
            junk=[each.decode("latin-1") for each in junk],
        )
        assert "nothing" not in theirs
        assert ours == ["nothing"] * 4

    def test_an_error_that_is_not_ascii_crashes_it(self, both):
        script = """
            it = client()
            outcome = []
            crash = raised(lambda: outcome.append(ask(it, 1, "caf\\xe9")))
            print(json.dumps([crash, outcome and outcome[0][2][0]]))
        """
        assert both(script) == (["UnicodeDecodeError", []], ["nothing", 1])

    def test_it_counts_whoever_replies(self, both, servers, peers):
        """Five strangers with the key answer for three peers who are silent."""

        def act(peer, request, sender):
            for stranger in strangers:
                stranger.send(reply("spoofed", salt_of(request), servers.hmac_key), sender)

        strangers = [peers.add() for _ in range(5)]
        asked = [peers.add(act).address, *(peers.add().address for _ in range(2))]
        theirs, ours = both("print(json.dumps(ask(client(), 3, timeout=1.5)))", peers=asked)
        assert theirs[:2] == [False, 3]
        assert theirs[2][1] == "spoofed"
        assert ours[:3] == [True, 3, None]

    def test_nobody_asked_counts_as_answered(self, both):
        script = """
            it = client()
            print(json.dumps([raised(lambda: it.UpdatePeerList([])), ask(it, 3)[:2]]))
        """
        theirs, ours = both(script)
        assert theirs == ["nothing", [False, 0]]
        assert ours == ["ConfdClientError", [False, 4]]

    def test_a_negative_coverage_slices(self, both):
        theirs, ours = both("print(json.dumps(raised(lambda: ask(client(), 3, coverage=-3))))")
        assert (theirs, ours) == ("nothing", "ConfdClientError")

    def test_a_wait_lasts_whole_seconds(self, both, peers):
        script = """
            it = client()
            began = time.monotonic()
            ask(it, 3, timeout=0.3)
            print(json.dumps(time.monotonic() - began))
        """
        theirs, ours = both(script, peers=[peers.add().address])
        assert theirs > 0.95
        assert 0.29 < ours < 0.9

    def test_a_query_that_expired_without_a_reply_counts_as_answered(self, both):
        script = """
            counting.RegisterQuery("a")
            counting(confd.ConfdUpcallPayload(salt="a", type=confd.UPCALL_EXPIRE))
            print(json.dumps(counting.AllAnswered()))
        """
        assert both(script) == (True, False)

    def test_an_error_replaces_an_answer(self, both, servers, peers):
        """It comes first here, and has a higher serial, which a genuine server's has not."""

        def act(status, answer, serial):
            def say(peer, request, sender):
                peer.send(reply(answer, salt_of(request), servers.hmac_key, serial, status), sender)

            return say

        asked = [peers.add(act(0, "good", 42)).address, peers.add(act(1, "Cannot load", 99)).address]
        theirs, ours = both("print(json.dumps(ask(client(), 3)[2]))", peers=asked)
        assert theirs == [1, "Cannot load", 99]
        assert ours == [0, "good", 42]

    def test_a_lost_datagram_is_lost(self, both, servers, peers):
        lossy = peers.in_front_of(servers.servers[0], losing=2)
        theirs, ours = both("print(json.dumps(ask(client(), 3, timeout=3)[0]))", peers=[lossy.address])
        # Theirs loses its only one, and then ours its first of two.
        assert (theirs, ours) == (True, False)
        assert len(lossy.requests) == 3

    def test_it_refuses_one_type(self, both):
        theirs, ours = both("print(json.dumps(raised(lambda: ask(client(), 8, 'node5.example.com'))))")
        assert (theirs, ours) == ("ConfdClientError", "nothing")

    def test_a_request_that_no_server_reads_is_sent(self, both):
        script = """
            it = client()
            print(json.dumps(raised(lambda: ask(it, 10, "/" + "x" * 5000, timeout=0.2))))
        """
        assert both(script) == ("nothing", "ConfdClientError")
