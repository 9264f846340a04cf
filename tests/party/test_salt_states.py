"""The state `min_party`: it counts and waits. What it has in common with the others is in semaphore/."""

from __future__ import annotations

import pytest

from tests.support.calls import Waiting


class TestMinParty:
    @pytest.fixture
    def members(self, zk, root):
        zk.ShallowParty(root, "a").join()
        zk.Party(root, "b").join()
        yield
        for member in zk.get_children(root):
            zk.delete(f"{root}/{member}")

    @pytest.mark.usefixtures("members")
    @pytest.mark.parametrize(("least", "expected"), [(2, (True, ">= 2")), ("2", (True, ">= 2")), (3, (False, "< 3"))])
    def test_it_counts(self, states, root, hosts, outcome, least, expected):
        result, relation = expected
        assert outcome(states.min_party(root, hosts, least)) == (result, f"Currently 2 nodes, which is {relation}")

    def test_it_waits_for_them_honestly(self, states, root, hosts, outcome, zk, wait_until, members):
        waiting = Waiting(states.min_party, root, hosts, 3, True, timeout=30)
        zk.ShallowParty(root, "c").join()
        comment = "Blocked until 3 nodes were available. Unblocked after 3 nodes became available"
        assert outcome(waiting.result()) == (True, comment)

    @pytest.mark.usefixtures("members")
    def test_when_the_time_ran_out_it_fails_with_the_number_so_far(self, states, root, hosts, outcome):
        ret = states.min_party(root, hosts, 3, blocking=True, timeout=0.2)
        assert outcome(ret) == (False, "Currently 2 nodes, which is < 3")

    def test_an_empty_party_is_not_created(self, states, root, hosts, outcome, zk):
        assert outcome(states.min_party(root, hosts, 1)) == (False, "Currently 0 nodes, which is < 1")
        assert zk.exists(root) is None
