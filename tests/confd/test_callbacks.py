"""The callbacks, reply by reply; and that they judge as the core does."""

from __future__ import annotations

import itertools

import pytest
from zkcoord import confd
from zkcoord.confd import ConfdClientError, ConfdReply, ConfdUpcallPayload
from zkcoord.confd._callbacks import contradicts, outranks, same


def up(answer, serial, salt="a", status=0):
    found = ConfdReply(protocol=1, status=status, answer=answer, serial=serial)
    return ConfdUpcallPayload(salt=salt, type=confd.UPCALL_REPLY, server_reply=found)


def end(salt="a"):
    return ConfdUpcallPayload(salt=salt, type=confd.UPCALL_EXPIRE)


@pytest.fixture
def passed():
    return []


@pytest.fixture
def filtering(passed):
    return confd.ConfdFilterCallback(passed.append)


def test_what_is_new_is_passed_on_and_what_confirms_it_is_swallowed(filtering, passed):
    replies = [up("x", 41), up("x", 41), up("x", 42), up("y", 43), up("x", 42), up("y", 43), up("y", 44)]
    for each in replies:
        filtering(each)
    assert passed == [replies[0], replies[3]]
    assert filtering.consistent == {"a": True}


def test_one_serial_with_two_contents_is_inconsistent_for_good(filtering, passed):
    for each in (up("x", 42), up("y", 42), up("x", 42), up("z", 43)):
        filtering(each)
    assert [each.server_reply.answer for each in passed] == ["x", "z"]
    assert filtering.consistent == {"a": False}
    filtering(up("x", 1, salt="b"))
    assert filtering.consistent == {"a": False, "b": True}


def test_an_error_never_replaces_an_answer_and_an_answer_replaces_an_error(filtering, passed):
    for each in (
        up("Cannot load", 0, status=1),
        up("x", 42),
        up("Cannot load", 99, status=1),
        up("Failed", 0, status=1),
    ):
        filtering(each)
    assert [each.server_reply.answer for each in passed] == ["Cannot load", "x"]
    assert filtering.consistent == {"a": True}


def test_no_such_entry_beside_an_answer_is_inconsistent(filtering):
    filtering(up(0, 0, status=1))
    filtering(up("x", 42))
    assert filtering.consistent == {"a": False}


def test_a_query_that_expires_is_forgotten(filtering, passed):
    filtering(up("x", 42))
    filtering(end())
    assert passed[-1].type == confd.UPCALL_EXPIRE
    assert (filtering.consistent, filtering._replies, filtering._best) == ({}, {}, {})


def test_a_server_that_changes_its_mind_for_ever_takes_no_more_memory(filtering):
    for number in range(10_000):
        filtering(up(number, 42))
    assert len(filtering._replies["a"]) <= 100


class Log(list):
    def debug(self, message, *details):
        self.append(("debug", message % details))

    def warning(self, message, *details):
        self.append(("warning", message % details))


def test_what_is_swallowed_is_logged(passed):
    log = Log()
    filtering = confd.ConfdFilterCallback(passed.append, logger=log)
    for each in (up("x", 42), up("x", 43), up("x", 1), up("y", 43)):
        filtering(each)
    assert [level for level, _ in log] == ["debug", "debug", "warning"]
    assert log[2][1] == "contradicting answers to a of serial 43"


def test_a_query_that_expired_without_a_reply_is_not_answered(passed):
    counting = confd.ConfdCountingCallback(passed.append)
    assert counting.AllAnswered()
    for salt in "ab":
        counting.RegisterQuery(salt)
    with pytest.raises(ConfdClientError, match="registered already"):
        counting.RegisterQuery("a")
    counting(up("x", 1, salt="a"))
    counting(up("x", 1, salt="not registered"))
    assert not counting.AllAnswered()
    counting(end("a"))
    counting(end("b"))
    assert not counting.AllAnswered()
    assert len(passed) == 4
    with pytest.raises(ConfdClientError, match="registered already"):
        counting.RegisterQuery("b")
    # Whoever has been told goes on with the next.
    counting.RegisterQuery("c")
    counting(up("x", 1, salt="c"))
    assert counting.AllAnswered()


def test_queries_that_are_lost_all_night_take_no_memory_and_are_told_once(passed):
    counting = confd.ConfdCountingCallback(passed.append)
    for number in range(3000):
        counting.RegisterQuery(number)
        counting(end(number))
    assert len(counting._counts) + len(counting._lost) <= 1000
    assert not counting.AllAnswered()
    counting.RegisterQuery("a")
    counting(up("x", 1, salt="a"))
    assert counting.AllAnswered()


def test_results_stay_after_the_query_has_expired_but_not_for_ever():
    store = confd.StoreResultCallback()
    store(up("x", 1, salt="a"))
    store(up("y", 2, salt="a"))
    store(end("a"))
    have, found = store.GetResponse("a")
    assert (have, found.server_reply.answer) == (True, "y")
    for number in range(1000):
        store(up(number, 1, salt=str(number)))
    assert store.GetResponse("a") == (False, None)
    assert store.GetResponse("999")[0]


def test_a_callback_has_to_be_one():
    for kind in (confd.ConfdFilterCallback, confd.ConfdCountingCallback):
        with pytest.raises(ConfdClientError, match="callback: must be callable"):
            kind(None)


def test_messages_have_their_attributes_and_no_others():
    request = confd.ConfdClientRequest(type=1, query="x", rsalt="a-salt")
    assert request.ToDict() == {"protocol": 1, "type": 1, "query": "x", "rsalt": "a-salt"}
    assert repr(request) == "ConfdClientRequest(protocol=1, type=1, query='x', rsalt='a-salt')"
    salts = {confd.ConfdClientRequest(type=0).rsalt for _ in range(100)}
    assert len(salts) == 100
    assert ConfdReply().answer is None
    with pytest.raises(AttributeError):
        request.qeury = "y"
    copied = request.Copy()
    copied.query = "y"
    assert (request.query, copied.query, type(copied)) == ("x", "y", confd.ConfdClientRequest)
    assert ConfdReply.FromDict({"answer": 1, "serial": 2}).ToDict() == {"answer": 1, "serial": 2}
    for wrong in ([], {1: 2}, {"colour": "red"}):
        with pytest.raises(ConfdClientError):
            ConfdReply.FromDict(wrong)


def test_an_error_within_a_server_is_not_one_of_an_entry(filtering):
    filtering(up(1, 0, status=1))
    filtering(up("x", 42))
    assert filtering.consistent == {"a": True}


REPLIES = [
    *((0, answer, serial) for answer in (1, True, 4.0, 4, "x", [1], {"a": 1}) for serial in (0, 1)),
    *((1, answer, 0) for answer in (0, 1, 2, "Cannot load", "error type: ECodeNoEnt")),
    (2, "x", 0),
]


def test_they_judge_as_the_core_does(asking, peers):
    """Every pair of replies, given by two peers: the core's verdict is that of `outranks` and `contradicts`."""
    from tests.support.confd import reply, salt_of

    say = {}

    def act(peer, request, sender):
        status, answer, serial = say[peer.address]
        peer.send(reply(answer, salt_of(request), asking["hmac_key"], serial, status), sender)

    two = [peers.add(act).address for _ in range(2)]
    for one, other in itertools.combinations_with_replacement(REPLIES, 2):
        say.update(zip(two, (one, other), strict=True))
        found = confd.query("cluster_master", **{**asking, "peers": two})
        replies = [ConfdReply(status=status, answer=answer, serial=serial) for status, answer, serial in (one, other)]
        assert found.consistent is not contradicts(*replies), (one, other)
        assert contradicts(*replies) is contradicts(*reversed(replies))
        best = next((new for new, old in (replies, replies[::-1]) if outranks(new, old)), None)
        if best is not None:
            assert (found.status, found.serial) == (best.status, best.serial)
            assert same(found.answer, best.answer)
