"""Whoever can send datagrams to an open client: nothing that comes raises, counts, or takes memory."""

from __future__ import annotations

import contextlib
import json
import random
import resource
import socket
import threading
import time

import pytest
import zkcoord
from zkcoord import confd
from zkcoord.errors import Cancelled, ServerError, TooFewReplies

from tests.support.calls import Waiting
from tests.support.confd import reply, salt_of, signed

DATAGRAMS = 100_000
SEED = 1814
FLOOD = 3.0


def mutated(dice: random.Random, datagram: bytes) -> bytes:
    """A datagram with a few changes, each of which may be anywhere."""
    changed = bytearray(datagram)
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(changed) + 1)
        kind = dice.randrange(4)
        if kind == 0 and at < len(changed):
            changed[at] = dice.randrange(256)
        elif kind == 1:
            changed[at:at] = dice.randbytes(dice.randint(1, 8))
        elif kind == 2:
            del changed[at : at + dice.randint(1, 20)]
        else:
            changed[at:] = changed[at : at + dice.randint(0, 40)] * dice.randint(1, 3)
    return bytes(changed[:65507])


def junk(dice: random.Random, genuine: list[bytes]) -> bytes:
    """Random bytes, with and without the magic, or something like a reply."""
    kind = dice.randrange(4)
    if kind == 0:
        return dice.randbytes(dice.randint(0, 300))
    if kind == 1:
        return b"plj0" + dice.randbytes(dice.randint(0, 300))
    return mutated(dice, dice.choice(genuine))


@pytest.fixture
def came():
    return []


@pytest.fixture
def client(asking, came):
    return confd.ConfdClient(asking["hmac_key"], asking["peers"], came.append, asking["port"])


@pytest.fixture
def salt(client, servers):
    """An open query of which no server has replied, nor will: they are stopped."""
    for server in servers.servers:
        server.pause()
    request = confd.ConfdClientRequest(type=confd.CONFD_REQ_CLUSTER_MASTER)
    client.SendRequest(request)
    return request.rsalt


def test_random_and_mutated_datagrams_raise_nothing_and_count_for_nothing(client, came, salt, asking):
    dice, key = random.Random(SEED), asking["hmac_key"]
    sources = [*asking["peers"], "127.9.9.9"]
    genuine = [
        reply("node1.example.com", salt, b"another key\n"),
        reply("node1.example.com", "another-salt", key),
        signed({"protocol": 1, "status": 0, "answer": 1}, salt, key),
        signed("[" * 500, salt, key),
        reply({"é": ["ü"] * 20}, salt, b""),
    ]
    for number in range(DATAGRAMS):
        # So that the query is open throughout: a loop of this length takes longer than its ten seconds.
        if number % 1000 == 0:
            client.WaitForReply(salt, timeout=1e-6)
        client.HandleResponse(junk(dice, genuine), dice.choice(sources), dice.randrange(65536))
    assert came == []
    assert client._core.counts(salt)[:2] == (3, 0)
    # What is genuine counts still.
    client.HandleResponse(reply("node1.example.com", salt, key), asking["peers"][0], asking["port"])
    assert [up.server_reply.answer for up in came] == ["node1.example.com"]


def test_what_comes_through_the_socket_raises_nothing_and_counts_for_nothing_either(client, came, salt, asking):
    dice, key = random.Random(SEED), asking["hmac_key"]
    genuine = [reply("x", salt, b"another key\n"), signed({"protocol": 1, "status": 0, "answer": 1}, salt, key)]
    with socket.fromfd(client.fileno(), socket.AF_INET, socket.SOCK_DGRAM) as same:
        target = ("127.0.0.1", same.getsockname()[1])
    received, rounds = 0, 500
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for number in range(rounds):
            # No more at a time than the receiver has room for.
            for _ in range(20):
                sender.sendto(junk(dice, genuine), target)
            if number % 50 == 0:
                client.WaitForReply(salt, timeout=1e-6)
            while client.ReceiveReply(0):
                received += 1
    assert received > 20 * (rounds - 50)
    assert came == []
    assert client._core.counts(salt)[:2] == (3, 0)


def flooding(stop, piece):
    """A peer that answers a request with datagrams for as long as nobody stops it."""

    def act(peer, request, sender):
        datagram = piece(salt_of(request))
        while not stop.is_set():
            with contextlib.suppress(OSError):
                peer.send(datagram, sender)

    return act


@pytest.mark.parametrize("ends", ["by its time", "by another thread"])
def test_a_flood_of_costly_junk_makes_no_query_longer_than_its_time(asking, peers, ends):
    """Each datagram is read twice, as UTF-8 and as Latin-1, and signed: that takes longer than to send it."""
    heavy = json.dumps({"msg": "\u00e9" * 25_000, "salt": "a", "hmac": "0" * 40}, ensure_ascii=False)
    stop, cancel = threading.Event(), zkcoord.Cancel()
    flood = peers.add(flooding(stop, lambda _: b"plj0" + heavy.encode()))
    seconds = 0.5 if ends == "by its time" else 3600
    waiting = Waiting(confd.query, "ping", timeout=seconds, cancel=cancel, **{**asking, "peers": [flood.address]})
    try:
        if ends == "by its time":
            assert waiting.result().timed_out
        else:
            while not flood.requests:
                time.sleep(0.001)
            cancel.cancel()
            with pytest.raises(Cancelled):
                waiting.result()
    finally:
        stop.set()


def test_a_reply_that_is_sent_again_from_the_address_of_another_peer_counts_once(asking, servers, peers):
    """Somebody without the key repeats the reply of one candidate, an old one, in the name of the two others."""

    def hand_on(peer, request, sender):
        answer = reply("old", salt_of(request), asking["hmac_key"], serial=41)
        for each in (peer, *silent):
            each.send(answer, sender)

    silent = [peers.add() for _ in range(2)]
    asked = {**asking, "peers": [peers.add(hand_on).address, *(each.address for each in silent)]}
    found = confd.query("cluster_master", timeout=0.5, **asked)
    assert (found.timed_out, found.replied, found.answer) == (True, 1, "old")
    with pytest.raises(
        TooFewReplies, match="was discarded: it comes from an address that was not asked, or is the reply"
    ):
        found.result()


def test_mutations_of_what_would_count_are_that_reply_or_nothing(client, came, salt, asking):
    dice, key = random.Random(SEED), asking["hmac_key"]
    datagram = reply("node1.example.com", salt, key)
    for _ in range(20_000):
        client.HandleResponse(mutated(dice, datagram), asking["peers"][0], 1814)
    # A space more, or a digit of the signature in another case, is the same message.
    assert {(up.server_reply.answer, up.server_reply.serial) for up in came} <= {("node1.example.com", 42)}


def open_port(client, asking, peers):
    """The address at which a client listens, as whoever is asked by it can see."""
    seen = []
    spy = peers.add(lambda peer, request, sender: seen.append((salt_of(request), sender)))
    client.UpdatePeerList([spy.address])
    request = confd.ConfdClientRequest(type=confd.CONFD_REQ_PING)
    client.SendRequest(request)
    end = time.monotonic() + 10
    while not seen and time.monotonic() < end:
        time.sleep(0.001)
    ((salt, (_, port)),) = seen
    client.UpdatePeerList(asking["peers"])
    return salt, ("127.0.0.1", port)


def test_spoofed_sources_count_for_nothing_with_or_without_the_key(client, came, salt, asking, peers):
    spied, target = open_port(client, asking, peers)
    for number in range(5):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as spoofer:
            spoofer.bind((f"127.88.88.{number + 1}", 0))
            for secret in (asking["hmac_key"], b"guessed\n"):
                for known in (salt, spied, "expired"):
                    spoofer.sendto(reply("spoofed", known, secret, serial=10**9), target)
    handled = 0
    while client.ReceiveReply(0.2):
        handled += 1
    assert handled == 30
    assert came == []
    assert (client._core.counts(salt)[1], client._core.counts(spied)[1]) == (0, 0)


def test_replies_to_salts_that_have_expired_count_for_nothing(client, came, salt, asking):
    assert client.WaitForReply(salt, timeout=0)[0]
    client._core.await_for(salt, 0)
    end = time.monotonic() + 11
    while client._core.counts(salt) is not None and time.monotonic() < end:
        time.sleep(0.05)
        client.ExpireRequests()
    (over,) = came
    assert over.type == confd.UPCALL_EXPIRE
    for peer in asking["peers"]:
        client.HandleResponse(reply("late", salt, asking["hmac_key"]), peer, 1814)
    assert came == [over]


def test_a_flood_leaves_a_client_that_is_still_answered_and_takes_no_memory(asking, servers, peers):
    """Junk as fast as one thread can send it, to a client that asks all the time."""
    client = confd.ConfdClient(asking["hmac_key"], asking["peers"], lambda up: None, asking["port"])
    _, target = open_port(client, asking, peers)
    stop, sent = threading.Event(), [0]
    pieces = [b"x", b"plj0{", reply(1, "no-such-salt", asking["hmac_key"]), b"plj0" + bytes(8000)]

    def flood():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flooder:
            while not stop.is_set():
                flooder.sendto(pieces[sent[0] % len(pieces)], target)
                sent[0] += 1

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        answered, lost, before, end = 0, 0, None, time.monotonic() + FLOOD
        while time.monotonic() < end:
            request = confd.ConfdClientRequest(type=confd.CONFD_REQ_CLUSTER_MASTER)
            client.SendRequest(request)
            timed_out, _, _ = client.WaitForReply(request.rsalt, timeout=10)
            answered += not timed_out
            lost += timed_out
            if before is None:
                before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    finally:
        stop.set()
        thread.join()
    # The system drops what it has no room for, replies too: they are asked for again, and a few are lost each time.
    assert answered > lost
    assert sent[0] > 1000
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 20_000, f"{grown} KiB more"


def test_a_query_that_is_flooded_tells_why_datagrams_were_discarded_and_keeps_few_of_them(asking, peers):
    def act(peer, request, sender):
        for number in range(200):
            peer.send(reply(number, salt_of(request), b"another key\n"), sender)

    found = confd.query("ping", timeout=0.5, retries=0, **{**asking, "peers": [peers.add(act).address]})
    assert found.timed_out
    assert len(found.discarded) == 1
    with pytest.raises(ConnectionError, match="was discarded: its signature is not that of our key"):
        found.result()


def test_an_answer_with_a_terminals_commands_is_harmless_in_an_error(asking, peers):
    def act(peer, request, sender):
        peer.send(reply("\x1b[2J\u202eevil", salt_of(request), asking["hmac_key"], status=1), sender)

    with pytest.raises(ServerError) as caught:
        confd.ping(**{**asking, "peers": [peers.add(act).address]})
    assert str(caught.value).isprintable()
