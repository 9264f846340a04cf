"""Candidates that are stale, dead, stopped or broken, a fail-over, lost datagrams: what is told, and when."""

from __future__ import annotations

import itertools
import json
import time

import pytest
from zkcoord import confd
from zkcoord.errors import Inconsistent, ServerError, TooFewReplies, UnknownEntry, Unreachable

from tests.support.confd import reply, salt_of, signed

NODE1, NODE2 = "node1.example.com", "node2.example.com"
LONG = 30.0
"""Seconds that no test waits for: an answer that comes within them has not waited for the end of the time."""


def timed(function, *arguments, **options):
    began = time.monotonic()
    return function(*arguments, **options), time.monotonic() - began


@pytest.mark.parametrize(("size", "asked", "needed"), [(1, 1, 1), (2, 2, 2), (3, 3, 2), (4, 4, 3), (7, 6, 4)])
def test_so_many_servers_are_asked_and_so_many_replies_are_enough(several, size, asked, needed):
    servers = several(size)
    asking = {"peers": servers.peers, "hmac_key": servers.hmac_key, "port": servers.port}
    found = confd.query("cluster_master", **asking)
    assert (found.asked, found.needed, found.answer) == (asked, needed, NODE1)
    assert needed <= found.replied <= asked
    assert list(found.by_peer) == [peer for peer in servers.peers if peer in found.by_peer]
    everybody = confd.query("cluster_master", coverage=-1, replies=-1, **asking)
    assert (everybody.asked, everybody.replied) == (size, size)
    # As many may be dead as replies are not needed, and it costs nothing.
    for server in servers.servers[: size - confd.ConfdClient._NeededReplies(size)]:
        server.kill()
    found, took = timed(confd.query, "cluster_master", coverage=-1, timeout=LONG, **asking)
    assert (found.timed_out, found.answer) == (False, NODE1)
    assert took < LONG / 2


class TestStale:
    def test_the_newest_answer_is_believed_whoever_comes_first(self, servers, asking):
        servers.servers[2].configure(serial=43, master=2)
        found = confd.query("cluster_master", replies=-1, **asking)
        assert (found.answer, found.serial, found.consistent) == (NODE2, 43, True)
        assert [reply.serial for reply in found.by_peer.values()] == [42, 42, 43]
        assert confd.cluster_master(replies=-1, **asking) == NODE2

    def test_two_contents_of_one_serial_are_an_error_that_says_who_says_what(self, servers, asking):
        servers.servers[0].configure(serial=42, master=2)
        with pytest.raises(Inconsistent) as caught:
            confd.cluster_master(replies=-1, **asking)
        first, second, third = servers.peers
        assert f"{first} has '{NODE2}' (serial 42), {second} has '{NODE1}' (serial 42), {third}" in str(caught.value)
        assert "\n" not in str(caught.value)
        assert confd.cluster_master(replies=-1, require_consistent=False, **asking) == NODE1
        found = confd.query("cluster_master", replies=-1, **asking)
        assert (found.ok, found.consistent, found.serial) == (True, False, 42)

    def test_no_such_entry_beside_an_answer_is_inconsistent(self, servers, asking):
        def edit(config):
            del config["instances"]["b0000000-0000-4000-8000-000000000003"]

        servers.servers[0].configure(edit=edit)
        with pytest.raises(Inconsistent, match="has the error"):
            confd.instance_disks("inst3.example.com", replies=-1, **asking)
        for server in servers.servers:
            server.configure(edit=edit)
        with pytest.raises(UnknownEntry):
            confd.instance_disks("inst3.example.com", replies=-1, **asking)

    def test_what_is_in_contradicting_answers_may_be_secret_and_is_not_in_the_error(self, servers, asking):
        def edit(config):
            (disk,) = config["disks"].values()
            disk["logical_id"][5] = "another-drbdsecret"

        servers.servers[0].configure(edit=edit)
        with pytest.raises(Inconsistent) as caught:
            confd.instance_disks("inst1.example.com", secrets=True, replies=-1, **asking)
        assert "drbdsecret" not in str(caught.value)


class TestDead:
    def test_one_dead_of_three_costs_nothing(self, servers, asking):
        servers.servers[1].kill()
        for _ in range(10):
            found, took = timed(confd.query, "cluster_master", timeout=LONG, **asking)
            assert (found.answer, found.timed_out) == (NODE1, False)
            assert took < 5

    def test_too_few_replies_are_an_error_that_names_the_silent_ones(self, servers, asking):
        for server in servers.servers[1:]:
            server.kill()
        with pytest.raises(TooFewReplies) as caught:
            confd.cluster_master(timeout=0.5, **asking)
        _, second, third = servers.peers
        assert str(caught.value) == (
            f"1 of 3 peers replied to cluster_master within 0.5 s, and 2 replies are needed; silent: {second}, {third}"
        )
        assert confd.cluster_master(timeout=0.5, require_quorum=False, **asking) == NODE1
        found = confd.query("cluster_master", timeout=0.5, **asking)
        assert (found.timed_out, found.replied, found.answer, found.silent) == (True, 1, NODE1, [second, third])

    def test_nobody_there_is_told_after_the_time_and_not_after_a_second(self, servers, asking):
        for server in servers.servers:
            server.kill()
        with pytest.raises(Unreachable, match=r"^no ganeti-confd answered ping within 0\.3 s, asked 127\.") as caught:
            timed(confd.ping, timeout=0.3, **asking)
        assert "the clocks differ by less than 300 s" in str(caught.value)
        found, took = timed(confd.query, "ping", timeout=0.3, **asking)
        assert 0.29 < took < 0.9
        assert (found.answer, found.status, found.replied, found.consistent) == (None, None, 0, True)

    def test_a_timeout_of_zero_sends_and_does_not_wait(self, asking):
        found, took = timed(confd.query, "ping", timeout=0, **asking)
        assert found.asked == 3
        assert took < 1

    def test_a_key_without_its_newline_is_recognised(self, asking):
        with pytest.raises(Unreachable, match="hmac_key has no newline at its end"):
            confd.ping(timeout=0.3, **{**asking, "hmac_key": asking["hmac_key"].strip()})

    def test_a_peer_that_cannot_be_sent_to_does_not_keep_the_others_from_being_asked(self, asking):
        nowhere = {**asking, "peers": [asking["peers"][0], "255.255.255.255", asking["peers"][1]]}
        found = confd.query("cluster_master", timeout=LONG, **nowhere)
        assert (found.answer, found.replied) == (NODE1, 2)
        assert "denied" in found.by_peer["255.255.255.255"].trouble
        with pytest.raises(Unreachable, match=r"255\.255\.255\.255 could not be sent to: permission denied"):
            confd.ping(timeout=0.2, **{**asking, "peers": ["255.255.255.255"]})


class TestPaused:
    def test_one_stopped_of_three_costs_nothing_and_its_late_reply_harms_nobody(self, servers, asking):
        stopped = servers.servers[0]
        stopped.pause()
        for _ in range(5):
            assert confd.cluster_master(timeout=LONG, **asking) == NODE1
        stopped.resume()
        assert confd.query("cluster_master", replies=-1, **asking).replied == 3

    def test_a_reply_that_comes_late_but_in_time_counts(self, servers, asking, peers):
        def sleep(peer, request, sender):
            time.sleep(0.3)
            hand_on(peer, request, sender)

        slow = peers.in_front_of(servers.servers[0])
        hand_on, slow._act = slow._act, sleep
        found = confd.query("cluster_master", timeout=LONG, **{**asking, "peers": [slow.address]})
        assert found.answer == NODE1
        assert 0.3 <= found.by_peer[slow.address].latency < 5


class TestBroken:
    def test_one_that_cannot_read_its_configuration_agrees_with_nobody(self, servers, asking):
        servers.servers[0].break_configuration()
        first, second, _ = servers.peers
        found = confd.query("cluster_master", replies=-1, **asking)
        assert (found.answer, found.consistent, found.replied, found.answered) == (NODE1, True, 3, 2)
        assert (found.by_peer[first].status, found.by_peer[first].is_broken) == (1, True)
        assert not found.by_peer[second].is_broken
        with pytest.raises(TooFewReplies) as caught:
            confd.cluster_master(replies=-1, **asking)
        assert str(caught.value).startswith(
            "3 of 3 peers replied to cluster_master, 1 of them with an error of its own, and 3 replies are needed; "
            f"{first}: 'Cannot load configuration"
        )
        assert caught.value.answer.by_peer[second].answer == NODE1
        assert confd.cluster_master(replies=-1, require_quorum=False, **asking) == NODE1

    def test_a_fresh_one_is_waited_for_where_another_is_broken_and_a_third_is_old(self, servers, asking, peers):
        """By default two replies of three are enough: those of the broken one and of the old one come first."""

        def late(peer, request, sender):
            time.sleep(0.3)
            hand_on(peer, request, sender)

        servers.servers[0].break_configuration()
        servers.servers[2].configure(serial=43, master=2)
        fresh = peers.in_front_of(servers.servers[2])
        hand_on, fresh._act = fresh._act, late
        found = confd.query("cluster_master", **{**asking, "peers": [*servers.peers[:2], fresh.address]})
        assert (found.result(), found.serial, found.answered) == (NODE2, 43, 2)

    def test_no_such_entry_is_the_answer_whoever_comes_first_and_one_alone_is_too_few(self, servers, asking):
        servers.servers[0].break_configuration()
        for server in servers.servers[1:]:
            server.kill()
        servers.servers[1].start()
        two = {**asking, "peers": servers.peers[:2]}
        for _ in range(5):
            found = confd.query("instance_disks", "nothing", **two)
            assert (found.is_no_such_entry, found.answered, found.replied) == (True, 1, 2)
        with pytest.raises(TooFewReplies, match="2 of 2 peers replied to instance_disks, 1 of them with an error"):
            found.result()
        with pytest.raises(UnknownEntry):
            found.result(require_quorum=False)

    def test_all_broken_is_an_error_in_their_words(self, servers, asking):
        for server in servers.servers:
            server.break_configuration()
        with pytest.raises(ServerError, match="could not answer cluster_master: 'Cannot load configuration from"):
            confd.cluster_master(**asking)

    @pytest.mark.parametrize(("seconds", "replied"), [(-310, 0), (-290, 1), (290, 1), (310, 0)])
    def test_one_whose_clock_differs_by_more_than_300_seconds_is_silent(self, servers, asking, peers, seconds, replied):
        """What a genuine server does to a request that was signed by another clock."""

        def shift(peer, request, sender):
            envelope = json.loads(request[4:])
            hand_on(peer, signed(envelope["msg"], str(int(envelope["salt"]) + seconds), asking["hmac_key"]), sender)

        shifted = peers.in_front_of(servers.servers[0])
        hand_on, shifted._act = shifted._act, shift
        found = confd.query("ping", timeout=5 if replied else 0.5, **{**asking, "peers": [shifted.address]})
        assert found.replied == replied
        assert shifted.requests


class TestNumbers:
    """Errors that are numbers: some say that there is no such entry, and some do not."""

    @pytest.mark.parametrize(
        ("kind", "question", "number", "error", "why"),
        [
            ("node_pip_by_instance_ip", {"1": "192.0.2.9"}, 0, UnknownEntry, "no such entry"),
            ("config_query", "/nothing", 2, UnknownEntry, "no such entry"),
            ("cluster_master", "x", 2, ServerError, "could not answer cluster_master of 'x': 2, the query is wrong"),
            (
                "cluster_master",
                None,
                1,
                ServerError,
                "could not answer cluster_master: 1, an error within ganeti-confd",
            ),
        ],
    )
    def test_each_is_what_it_means_for_its_type(self, asking, peers, kind, question, number, error, why):
        def act(peer, request, sender):
            peer.send(reply(number, salt_of(request), asking["hmac_key"], serial=0, status=1), sender)

        found = confd.query(kind, question, **{**asking, "peers": [peers.add(act).address]})
        with pytest.raises(error, match=why):
            found.result()


def test_an_answer_that_is_longer_than_a_datagram_is_silence_and_the_error_says_so(servers, asking):
    def edit(config):
        config["cluster"]["tags"] = [f"{number:0>100}" for number in range(700)]

    for server in servers.servers:
        server.configure(edit=edit)
    with pytest.raises(Unreachable, match="the answer is longer than a datagram can be, 65,507 bytes: ask for a part"):
        confd.config_query("/cluster/tags", timeout=0.5, retries=0, **asking)
    assert confd.config_query("/cluster/tags/699", **asking)
    with pytest.raises(Unreachable) as caught:
        confd.ping(timeout=0.3, **{**asking, "peers": ["127.0.0.254"]})
    assert "datagram" not in str(caught.value)


def test_what_a_silent_peer_sent_is_told_beside_what_the_others_reply(asking, peers):
    """One of three has another key: it is silent, and the error says why."""

    def act(peer, request, sender):
        peer.send(reply(1, salt_of(request), b"another key\n"), sender)

    other = peers.add(act).address
    with pytest.raises(TooFewReplies, match=rf"silent: {other}; a datagram from {other} was discarded: its signature"):
        confd.ping(replies=-1, timeout=0.5, **{**asking, "peers": [*asking["peers"][:2], other]})


def test_a_fail_over_is_seen_as_soon_as_the_first_candidate_has_heard_of_it(servers, asking):
    masters = []
    for server in servers.servers:
        masters.append(confd.cluster_master(replies=-1, **asking))
        server.configure(serial=43, master=3)
    masters.append(confd.cluster_master(replies=-1, **asking))
    assert masters == [NODE1, *["node3.example.com"] * 3]
    assert confd.node_role_by_name(NODE1, **asking) == confd.NodeRole.CANDIDATE


class TestLost:
    def test_a_datagram_that_is_lost_is_sent_again(self, servers, asking, peers):
        lossy = peers.in_front_of(servers.servers[0], losing=3)
        found = confd.query("cluster_master", timeout=4, **{**asking, "peers": [lossy.address]})
        assert found.answer == NODE1
        assert len(lossy.requests) == 4
        assert len(set(lossy.requests)) == 1, "the same datagram, and so the same salt"

    def test_it_is_sent_four_times_at_most_and_the_pauses_grow(self, asking, peers):
        at = []
        silent = peers.add(lambda *_: at.append(time.monotonic()))
        confd.query("ping", timeout=1.6, **{**asking, "peers": [silent.address]})
        pauses = [later - earlier for earlier, later in itertools.pairwise(at)]
        assert len(at) == 4
        assert pauses == pytest.approx([0.2, 0.4, 0.8], abs=0.15)

    def test_only_those_who_have_not_replied_are_sent_to_again(self, servers, asking, peers):
        there, silent = peers.in_front_of(servers.servers[0]), peers.add()
        found = confd.query("ping", timeout=0.8, **{**asking, "peers": [there.address, silent.address]})
        assert (found.replied, len(there.requests), len(silent.requests)) == (1, 1, 4)

    def test_without_retries_it_is_sent_once(self, asking, peers):
        silent = peers.add()
        found, took = timed(confd.query, "ping", timeout=0.5, retries=0, **{**asking, "peers": [silent.address]})
        assert found.timed_out
        assert len(silent.requests) == 1
        assert took >= 0.49


def test_ipv6(several):
    servers = several(1, address="::1")
    asking = {"peers": ["::1"], "hmac_key": servers.hmac_key, "port": servers.port}
    assert confd.cluster_master(**asking) == NODE1
    assert list(confd.query("ping", **asking).by_peer) == ["::1"]
    assert list(confd.query("ping", **{**asking, "peers": ["0:0:0:0:0:0:0:1"]}).by_peer) == ["::1"]
