"""`ConfdClient`: what scripts know of Ganeti's own, and what was wrong with that."""

from __future__ import annotations

import logging
import select
import time

import pytest
from zkcoord import confd
from zkcoord.confd import ConfdClient, ConfdClientError, ConfdClientRequest

from tests.support.confd import reply, signed

NODE1 = "node1.example.com"
MASTER = confd.CONFD_REQ_CLUSTER_MASTER


class Script:
    """A client, and all that it has called back with."""

    def __init__(self, asking, **options):
        self.came = []
        peers, key, port = asking["peers"], asking["hmac_key"], asking["port"]
        self.client = ConfdClient(key, peers, self.came.append, port, **options)

    def send(self, kind=MASTER, query=None, coverage=0, args=None):
        request = ConfdClientRequest(type=kind, query=query)
        self.client.SendRequest(request, args=args, coverage=coverage)
        return request.rsalt

    @property
    def answers(self):
        return [up.server_reply.answer for up in self.came if up.type == confd.UPCALL_REPLY]


@pytest.fixture
def script(asking):
    return Script(asking)


def test_a_script_asks_and_is_called_back(script, asking):
    salt = script.send(args=("mine", 7), coverage=-1)
    assert script.client.WaitForReply(salt) == (False, 3, 2)
    for up in script.came:
        assert (up.salt, up.type, up.extra_args, up.client) == (salt, confd.UPCALL_REPLY, ("mine", 7), script.client)
        assert (up.orig_request.type, up.orig_request.protocol, up.server_port) == (MASTER, 1, asking["port"])
        assert up.server_ip in asking["peers"]
        found = up.server_reply
        assert (found.protocol, found.status, found.answer, found.serial) == (1, 0, NODE1, 42)
    while script.client.ReceiveReply(0.5):
        pass
    assert sorted(up.server_ip for up in script.came) == sorted(asking["peers"])
    assert script.client.WaitForReply(salt) == (False, 3, 3)


def test_the_typical_chain_of_callbacks(asking):
    store = confd.StoreResultCallback()
    filtering = confd.ConfdFilterCallback(store)
    counting = confd.ConfdCountingCallback(filtering)
    client = ConfdClient(asking["hmac_key"].decode(), asking["peers"], counting, port=asking["port"])
    requests = [ConfdClientRequest(type=MASTER), ConfdClientRequest(type=confd.CONFD_REQ_PING)]
    for request in requests:
        counting.RegisterQuery(request.rsalt)
        client.SendRequest(request, async_=False)
    client.FlushSendQueue()
    while not counting.AllAnswered():
        assert client.ReceiveReply()
    answers = []
    for request in requests:
        have, up = store.GetResponse(request.rsalt)
        assert have
        assert filtering.consistent[request.rsalt]
        answers.append(up.server_reply.answer)
    assert answers == [NODE1, 3000000]
    assert store.GetResponse("another") == (False, None)


def test_a_loop_of_somebody_elses_receives_when_the_descriptor_can_be_read(script):
    script.send(coverage=-1)
    while len(script.answers) < 3:
        ready, _, _ = select.select([script.client], [], [], 10)
        assert ready == [script.client]
        assert script.client.ReceiveReply(0)
    assert script.answers == [NODE1] * 3


def test_whatever_a_callback_raises_at_an_expiry_the_others_expire_too(script, servers):
    for server in servers.servers:
        server.pause()
    salts = {script.send() for _ in range(3)}
    raised = []

    def callback(up):
        raised.append(up.salt)
        raise RuntimeError(up.salt)

    class Core:
        """All are over at once, as after ten seconds."""

        def __init__(self):
            self.over = sorted(salts)

        def expire(self):
            found, self.over = self.over, []
            return found

    script.client._callback, script.client._core = callback, Core()
    for _ in salts:
        with pytest.raises(RuntimeError):
            script.client.ExpireRequests()
    script.client.ExpireRequests()
    assert sorted(raised) == sorted(salts)
    assert script.client._requests == {}


def test_a_peer_that_cannot_be_sent_to_takes_no_memory(asking):
    script = Script({**asking, "peers": [*asking["peers"][:2], "255.255.255.255"]})
    for _ in range(200):
        assert script.client.WaitForReply(script.send(), timeout=10) == (False, 3, 2)
        script.client.FlushSendQueue()
    # Each is open until it expires, and nothing of it is sent again.
    assert len(script.client._requests) == 200


def test_needed_replies():
    assert [ConfdClient._NeededReplies(peers) for peers in range(9)] == [0, 1, 2, 2, 3, 3, 4, 4, 5]


def test_a_wait_ends_with_the_last_reply_or_with_its_time(script, servers):
    began = time.monotonic()
    assert script.client.WaitForReply(script.send(), timeout=30)[0] is False
    assert time.monotonic() - began < 10
    for server in servers.servers[1:]:
        server.kill()
    began = time.monotonic()
    assert script.client.WaitForReply(script.send(), timeout=0.3) == (True, 3, 1)
    assert 0.29 < time.monotonic() - began < 0.9
    for unknown in ("another", None, 7):
        assert script.client.WaitForReply(unknown) == (True, 0, 0)
    for wrong in (None, "soon", -1):
        with pytest.raises(ConfdClientError, match="timeout: "):
            script.client.WaitForReply(script.send(), timeout=wrong)
        with pytest.raises(ConfdClientError, match="timeout: "):
            script.client.ReceiveReply(wrong)


def test_a_query_expires_ten_seconds_later_or_after_the_wait(script, servers):
    for server in servers.servers:
        server.kill()
    quick = script.send()
    assert script.client.WaitForReply(quick, timeout=0.1)[0]
    script.client.ExpireRequests()
    assert script.came == []
    end = time.monotonic() + 10.5
    while not script.came and time.monotonic() < end:
        script.client.ReceiveReply(1)
    (over,) = script.came
    assert (over.type, over.salt, over.server_reply, over.server_ip) == (confd.UPCALL_EXPIRE, quick, None, None)
    assert over.orig_request.rsalt == quick
    assert time.monotonic() > end - 0.5
    assert script.client.WaitForReply(quick) == (True, 0, 0)
    assert script.client._requests == {}


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"callback": None}, "callback: must be callable"),
        ({"peers": ("127.0.0.1",)}, "peers: must be a list"),
        ({"peers": []}, "peers: is empty"),
        ({"peers": ["node1"]}, "peers: node1 is not an address"),
        ({"peers": ["127.0.0.1", "::1"]}, "of one family"),
        ({"hmac_key": ""}, "hmac_key: is empty"),
        ({"port": 70000}, "port: must be"),
    ],
)
def test_a_client_that_cannot_work_is_not_made(asking, wrong, why):
    options = {**asking, "callback": print, **wrong}
    with pytest.raises(ConfdClientError, match=why):
        ConfdClient(**options)


def test_a_request_that_cannot_be_sent_is_refused(script):
    request = ConfdClientRequest(type=MASTER)
    script.client.SendRequest(request)
    with pytest.raises(ConfdClientError, match="rsalt: is that of a query that is open"):
        script.client.SendRequest(request)
    with pytest.raises(ConfdClientError, match="type: "):
        ConfdClientRequest(type=12)
    with pytest.raises(ConfdClientError, match="colour: "):
        ConfdClientRequest(type=1, colour="red")
    with pytest.raises(ConfdClientError, match="rsalt: is empty"):
        script.client.SendRequest(confd.ConfdRequest(protocol=1, type=MASTER))
    with pytest.raises(ConfdClientError, match="coverage: 4 peers"):
        script.send(coverage=4)
    with pytest.raises(ConfdClientError, match="coverage: must be"):
        script.send(coverage=-3)
    with pytest.raises(ConfdClientError, match="reads 4096"):
        script.send(confd.CONFD_REQ_CONFIG_QUERY, "/" * 4096)
    assert len(script.client._requests) == 1


def test_peers_that_are_none_leave_those_of_before(script, asking, several):
    for wrong in ([], ["x"], "127.0.0.1", ["127.0.0.1", "::1"]):
        with pytest.raises(ConfdClientError, match="peers"):
            script.client.UpdatePeerList(wrong)
    assert script.client.WaitForReply(script.send()) == (False, 3, 2)
    script.client.UpdatePeerList(asking["peers"][:1])
    assert script.client.WaitForReply(script.send()) == (False, 1, 1)


def test_peers_of_the_other_family_are_asked_from_then_on(asking, several):
    servers = several(1, address="::1")
    script = Script({**asking, "port": servers.port})
    script.client.UpdatePeerList(["::1"])
    assert script.client.WaitForReply(script.send(), timeout=10) == (False, 1, 1)
    assert script.answers == [NODE1]


def test_what_is_received_elsewhere_is_handed_in(script, asking):
    salt = script.send()
    datagram = reply("handed in", salt, asking["hmac_key"], serial=99)
    script.client.HandleResponse(datagram, asking["peers"][0], 1814)
    assert script.answers == ["handed in"]
    assert script.came[0].server_port == 1814
    with pytest.raises(ConfdClientError, match="payload"):
        script.client.HandleResponse("text", asking["peers"][0], 1814)
    with pytest.raises(ConfdClientError, match="ip: "):
        script.client.HandleResponse(datagram, "node1", 1814)


def test_a_peer_that_repeats_itself_counts_once_and_is_passed_on(script, asking):
    salt = script.send(coverage=-1)
    for _ in range(5):
        script.client.HandleResponse(reply(1, salt, asking["hmac_key"]), asking["peers"][0], 1)
    assert script.client._core.counts(salt) == (3, 1, False)
    assert script.answers == [1] * 5


def test_what_was_not_asked_or_is_not_signed_is_a_line_in_the_debug_log(asking, caplog):
    script = Script(asking, logger=logging.getLogger("script"))
    salt, key, peer = script.send(), asking["hmac_key"], asking["peers"][0]
    caplog.set_level(logging.DEBUG, "script")
    for datagram, sender, why in [
        (b"", peer, "does not begin with plj0"),
        (b"plj0{", peer, "not the JSON"),
        (b"plj0\xff\x00\xfe", peer, "not the JSON"),
        (b'plj0{"msg": "x", "salt": 1, "hmac": "y"}', peer, "not the JSON"),
        (reply(1, salt, b"another key\n"), peer, "not that of our key"),
        (signed({"protocol": 1, "status": 0, "answer": 1, "serial": 1, "more": 1}, salt, key), peer, "not a reply"),
        (reply(1, "late-or-unknown", key), peer, "no query that is open"),
        (reply(1, salt, key), "127.0.0.99", "not asked"),
    ]:
        caplog.clear()
        script.client.HandleResponse(datagram, sender, 1814)
        (record,) = caplog.records
        assert f"discarded a datagram from {sender}" in record.getMessage()
        assert why in record.getMessage()
    assert script.came == []
    assert script.client._core.counts(salt)[1] == 0


def test_five_spoofed_sources_with_the_key_make_no_answer(script, asking, servers):
    for server in servers.servers:
        server.pause()
    salt = script.send()
    for number in range(5):
        script.client.HandleResponse(reply("spoofed", salt, asking["hmac_key"]), f"127.1.2.{number + 1}", 1814)
    assert script.client.WaitForReply(salt, timeout=0.2) == (True, 3, 0)
    assert script.came == []


def test_lost_datagrams_are_sent_again_while_somebody_waits(asking, servers, peers):
    lossy = peers.in_front_of(servers.servers[0], losing=2)
    script = Script({**asking, "peers": [lossy.address]})
    assert script.client.WaitForReply(script.send(), timeout=4) == (False, 1, 1)
    once = Script({**asking, "peers": [peers.in_front_of(servers.servers[0], losing=1).address]}, retries=0)
    assert once.client.WaitForReply(once.send(), timeout=0.5) == (True, 1, 0)


def test_whatever_a_callback_raises_comes_through_and_the_client_goes_on(asking):
    def callback(up):
        raise RuntimeError(up.salt)

    client = ConfdClient(asking["hmac_key"], asking["peers"], callback, asking["port"])
    request = ConfdClientRequest(type=MASTER)
    client.SendRequest(request)
    for _ in range(2):
        with pytest.raises(RuntimeError, match=request.rsalt):
            client.ReceiveReply(10)
    assert client.WaitForReply(request.rsalt) == (False, 3, 2)


def test_a_callback_may_ask_again(asking):
    answers, client = [], None

    def callback(up):
        answers.append(up.server_reply.answer)
        if len(answers) == 1:
            client.SendRequest(ConfdClientRequest(type=confd.CONFD_REQ_PING), coverage=1)

    client = ConfdClient(asking["hmac_key"], asking["peers"], callback, asking["port"])
    client.SendRequest(ConfdClientRequest(type=MASTER), coverage=1)
    while len(answers) < 2:
        assert client.ReceiveReply(10)
    assert answers == [NODE1, 3000000]


class TestNode:
    """On a node of a cluster nothing has to be said."""

    def test_addresses_key_and_port_are_the_nodes(self, servers, monkeypatch, asking):
        from zkcoord.confd import _node

        monkeypatch.setenv("GANETI_ROOTDIR", str(servers.root))
        assert confd.candidates() == servers.peers
        assert confd.hmac_key() == servers.hmac_key
        assert confd.hmac_key().endswith(b"\n")
        assert _node.port() in (1814, servers.port)
        assert confd.cluster_master(port=servers.port) == NODE1
        monkeypatch.setattr(_node, "port", lambda: servers.port)
        store = confd.StoreResultCallback()
        client = confd.GetConfdClient(store)
        request = ConfdClientRequest(type=MASTER)
        client.SendRequest(request)
        assert client.WaitForReply(request.rsalt)[0] is False
        assert store.GetResponse(request.rsalt)[1].server_reply.answer == NODE1

    def test_a_file_that_changes_is_read_again(self, servers, monkeypatch, tmp_path):
        monkeypatch.setenv("GANETI_ROOTDIR", str(tmp_path))
        file = tmp_path / "var/lib/ganeti/ssconf_master_candidates_ips"
        file.parent.mkdir(parents=True)
        for addresses in (["192.0.2.1"], ["192.0.2.2"], ["192.0.2.2", "192.0.2.3"]):
            file.with_suffix(".new").write_text("\n".join(addresses))
            file.with_suffix(".new").rename(file)
            assert confd.candidates() == confd.candidates() == addresses

    def test_a_key_that_is_given_for_the_name_of_its_file_is_not_shown(self, tmp_path):
        key = "0123456789abcdef0123456789abcdef01234567"
        for given in (key, f"{key}\n", key.encode()):
            with pytest.raises(
                ValueError, match="hmac_key: this is a key itself, and must be the name of a file"
            ) as caught:
                confd.hmac_key(given)
            assert key not in str(caught.value)
        for given in (123, ["x"]):
            with pytest.raises(ValueError, match="hmac_key: the name of its file must be text"):
                confd.hmac_key(given)

    def test_what_is_missing_is_named(self, monkeypatch, tmp_path):
        monkeypatch.setenv("GANETI_ROOTDIR", str(tmp_path))
        with pytest.raises(confd.ConfdClientError, match=r"hmac_key: .*hmac\.key' cannot be read: No such file"):
            confd.GetConfdClient(print)
        data = tmp_path / "var/lib/ganeti"
        data.mkdir(parents=True)
        (data / "hmac.key").write_text("\n")
        with pytest.raises(ValueError, match=r"hmac\.key' is empty"):
            confd.ping(peers=["127.0.0.1"])
        (data / "hmac.key").write_text("key\n")
        with pytest.raises(ValueError, match=r"^peers: .*ssconf_master_candidates_ips' cannot be read"):
            confd.ping()
