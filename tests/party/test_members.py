"""`party_members` on a real ensemble; and that reading, also of holders, creates nothing."""

import time

import pytest
from kazoo.recipe.party import Party, ShallowParty
from zkcoord import errors, lock_holders, party_members

from tests.support.calls import Waiting


def test_reading_what_is_missing_is_empty_and_creates_nothing(hosts, root, zk):
    assert lock_holders(root, hosts) == []
    assert party_members(root, hosts) == []
    assert party_members(root, hosts, blocking=True, timeout=0.1) == []
    zk.sync("/")
    assert zk.exists(root) is None
    assert zk.exists(f"{root}-__lock__") is None


@pytest.fixture
def join(zk, root):
    """Join the party, as either kind of member; all leave in the end."""
    members = []

    def join(kind, identifier):
        member = kind(zk, root, identifier)
        member.join()
        members.append(member)
        return member

    yield join
    for member in members:
        member.leave()


def test_members_of_both_kinds_are_listed_and_other_children_are_not(hosts, root, zk, join):
    join(Party, "in the data")
    join(ShallowParty, "in-the-name")
    zk.create(f"{root}/ready")
    assert sorted(party_members(root, hosts)) == ["in the data", "in-the-name"]


def test_waiting_ends_when_enough_are_there(hosts, root, zk, join):
    waiting = Waiting(party_members, root, hosts, min_nodes=2, blocking=True)
    join(Party, "a")
    time.sleep(0.2)
    assert not waiting.done, "one is not two"
    join(ShallowParty, "b")
    assert sorted(waiting.result()) == ["a", "b"]


def test_waiting_for_those_who_are_there_ends_at_once(hosts, root, join):
    join(Party, "a")
    assert party_members(root, hosts, min_nodes=1, blocking=True) == ["a"]


def test_waiting_is_bounded_and_says_who_is_there_so_far(hosts, root, join):
    join(Party, "a")
    assert party_members(root, hosts, min_nodes=3, blocking=True, timeout=0.3) == ["a"]
    assert party_members(root, hosts, min_nodes=3, blocking=True, timeout=0) == ["a"]


def test_without_blocking_min_nodes_is_not_waited_for(hosts, root, join):
    join(Party, "a")
    assert party_members(root, hosts, min_nodes=3) == ["a"]


def test_nobody_answering_is_not_an_empty_party(root):
    for blocking in (False, True):
        with pytest.raises(errors.Unreachable):
            party_members(root, "127.0.0.1:1", blocking=blocking, timeout=0.3)
