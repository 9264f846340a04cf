"""`lock` and `unlock` on a real ensemble."""

import time

import pytest
from zkcoord import errors, lock, lock_holders, unlock

from tests.support.calls import Waiting, children, queue


def test_a_slot_is_taken_and_given_back(hosts, root, zk):
    assert lock(root, hosts, identifier="a") is True
    assert lock_holders(root, hosts) == ["a"]
    assert unlock(root, hosts, identifier="a") is True
    assert lock_holders(root, hosts) == []
    assert zk.get(root)[0] == b"1"
    assert queue(zk, root) == []


def test_taking_again_is_idempotent_and_not_counted(hosts, root):
    assert lock(root, hosts, identifier="a", max_concurrency=2)
    assert lock(root, hosts, identifier="a", max_concurrency=2)
    assert lock_holders(root, hosts) == ["a"]
    assert unlock(root, hosts, identifier="a") is True
    assert unlock(root, hosts, identifier="a") is False


def test_the_limit_holds_and_a_timeout_is_false(hosts, root, zk):
    assert lock(root, hosts, identifier="a", max_concurrency=2)
    assert lock(root, hosts, identifier="b", max_concurrency=2)
    assert lock(root, hosts, identifier="c", max_concurrency=2, timeout=0) is False
    assert lock(root, hosts, identifier="c", max_concurrency=2, timeout=0.2) is False
    assert sorted(lock_holders(root, hosts)) == ["a", "b"]
    assert queue(zk, root) == []


def test_a_waiter_gets_the_slot_when_it_is_given_back(hosts, root, zk, wait_until):
    assert lock(root, hosts, identifier="a")
    waiter = Waiting(lock, root, hosts, identifier="b")
    wait_until(lambda: queue(zk, root) == ["b"], "b waits")
    assert not waiter.done
    unlock(root, hosts, identifier="a")
    assert waiter.result() is True
    assert lock_holders(root, hosts) == ["b"]


def test_waiters_are_served_first_in_first_out(hosts, root, zk, wait_until):
    assert lock(root, hosts, identifier="w")
    waiters, order = {}, list("dacb")
    for count, name in enumerate(order, 1):
        waiters[name] = Waiting(lock, root, hosts, identifier=name)
        wait_until(lambda count=count: len(queue(zk, root)) == count, f"{name} waits")
    assert queue(zk, root) == order
    for before, name in zip(["w", *order], order, strict=False):
        unlock(root, hosts, identifier=before)
        assert waiters[name].result() is True
        assert lock_holders(root, hosts) == [name]


def test_a_waiter_that_gives_up_in_the_middle_does_not_break_the_queue(hosts, root, zk, wait_until):
    assert lock(root, hosts, identifier="a")
    middle = Waiting(lock, root, hosts, identifier="middle", timeout=1)
    wait_until(lambda: queue(zk, root) == ["middle"], "the middle one waits")
    last = Waiting(lock, root, hosts, identifier="last")
    wait_until(lambda: queue(zk, root) == ["middle", "last"], "the last one waits")
    assert middle.result() is False
    unlock(root, hosts, identifier="a")
    assert last.result() is True


def test_one_timeout_covers_everything(hosts, root):
    assert lock(root, hosts, identifier="a")
    started = time.monotonic()
    assert lock(root, hosts, identifier="b", timeout="0.5") is False
    assert 0.5 <= time.monotonic() - started < 5


def test_force_takes_a_slot_whatever_the_count_and_whoever_waits(hosts, root, zk, wait_until):
    assert lock(root, hosts, identifier="a")
    waiter = Waiting(lock, root, hosts, identifier="b")
    wait_until(lambda: queue(zk, root) == ["b"], "b waits")
    assert lock(root, hosts, identifier="c", force=True)
    assert lock(root, hosts, identifier="c", force=True), "again"
    assert sorted(lock_holders(root, hosts)) == ["a", "c"]
    unlock(root, hosts, identifier="a")
    assert not waiter.done, "the forced slot counts"
    unlock(root, hosts, identifier="c")
    assert waiter.result() is True


def test_who_forces_twice_at_once_holds_one_slot(hosts, root, zk):
    lock(root, hosts, identifier="a")
    for _ in range(30):
        calls = [Waiting(lock, root, hosts, identifier="b", force=True) for _ in range(3)]
        assert [call.result() for call in calls] == [True] * 3
        assert sorted(lock_holders(root, hosts)) == ["a", "b"]
        assert unlock(root, hosts, identifier="b") is True


def test_force_on_a_fresh_path_makes_a_pool_that_others_can_use(hosts, root):
    assert lock(f"{root}/deep/pool", hosts, identifier="a", force=True, max_concurrency=2)
    assert lock(f"{root}/deep/pool", hosts, identifier="b", max_concurrency=2, timeout=5)
    assert not lock(f"{root}/deep/pool", hosts, identifier="c", max_concurrency=2, timeout=0)


def test_force_ignores_the_number_that_the_pool_stores(hosts, root, zk):
    lock(root, hosts, identifier="a", max_concurrency=2)
    assert lock(root, hosts, identifier="b", force=True)
    assert zk.get(root)[0] == b"2"


def test_another_limit_than_the_pools_is_an_error_that_names_both(hosts, root, zk):
    lock(root, hosts, identifier="a", max_concurrency=2)
    with pytest.raises(errors.LimitMismatch, match=rf"{root}.*\b2\b.*\b5\b") as caught:
        lock(root, hosts, identifier="b", max_concurrency=5)
    assert caught.value.path == root
    assert queue(zk, root) == []
    assert lock_holders(root, hosts) == ["a"]


def test_a_holder_takes_again_whatever_limit_it_names(hosts, root):
    lock(root, hosts, identifier="a", max_concurrency=2)
    assert lock(root, hosts, identifier="a", max_concurrency=5)


def test_an_empty_pool_is_given_the_number(hosts, root, zk):
    zk.create(root, b"")
    assert lock(root, hosts, identifier="a", max_concurrency=3)
    assert zk.get(root)[0] == b"3"


def test_data_that_is_no_number_is_left_alone(hosts, root, zk):
    zk.create(root, b"ask ops")
    assert lock(root, hosts, identifier="a", max_concurrency=1)
    assert not lock(root, hosts, identifier="b", max_concurrency=1, timeout=0)
    assert zk.get(root)[0] == b"ask ops"


def test_a_waiter_obeys_a_limit_that_grows(hosts, root, zk, wait_until):
    lock(root, hosts, identifier="a")
    waiter = Waiting(lock, root, hosts, identifier="b")
    wait_until(lambda: queue(zk, root) == ["b"], "b waits")
    zk.set(root, b"2")
    assert waiter.result() is True


def test_any_child_of_the_pool_takes_up_a_slot(hosts, root, zk):
    zk.create(f"{root}/somebody-else", b"\xff\xfe", makepath=True)
    assert lock(root, hosts, identifier="a", timeout=0) is False
    assert lock_holders(root, hosts) == ["\ufffd\ufffd"]


def test_a_trailing_slash_and_a_missing_one_mean_the_same_path(hosts, root):
    assert lock(f"{root[1:]}//pool/", hosts, identifier="a")
    assert lock_holders(f"{root}/pool", hosts) == ["a"]


@pytest.mark.parametrize(("given", "text"), [(5, "5"), (1.5, "1.5"), (True, "True"), ("né", "né")])
def test_any_scalar_is_an_identifier_and_taken_as_text(hosts, root, given, text):
    assert lock(root, hosts, identifier=given)
    assert lock_holders(root, hosts) == [text]
    assert unlock(root, hosts, identifier=text) is True


@pytest.mark.parametrize("nobody", [None, ""])
def test_without_an_identifier_it_is_the_hosts_name(hosts, root, nobody):
    import socket

    assert lock(root, hosts, identifier=nobody)
    assert lock_holders(root, hosts) == [socket.gethostname()]
    assert unlock(root, hosts)


def test_an_operator_who_removes_a_lease_frees_the_slot_and_the_holder_notices(hosts, root, zk):
    lock(root, hosts, identifier="a")
    zk.delete(f"{root}/{zk.get_children(root)[0]}")
    assert lock(root, hosts, identifier="b", timeout=5)
    assert lock(root, hosts, identifier="a", timeout=0) is False


def test_an_operator_who_removes_a_waiters_place_sends_it_to_the_end(hosts, root, zk, wait_until):
    lock(root, hosts, identifier="h")
    first = Waiting(lock, root, hosts, identifier="first")
    wait_until(lambda: queue(zk, root) == ["first"], "the first waits")
    second = Waiting(lock, root, hosts, identifier="second")
    wait_until(lambda: queue(zk, root) == ["first", "second"], "the second waits")
    zk.delete(f"{root}-__lock__/{min(zk.get_children(f'{root}-__lock__'), key=lambda name: name[-10:])}")
    unlock(root, hosts, identifier="h")
    assert second.result() is True
    unlock(root, hosts, identifier="second")
    assert first.result() is True


def test_a_pool_that_is_removed_under_a_waiter_is_made_again(hosts, root, zk, wait_until):
    lock(root, hosts, identifier="a")
    waiter = Waiting(lock, root, hosts, identifier="b")
    wait_until(lambda: queue(zk, root) == ["b"], "b waits")
    transaction = zk.transaction()
    transaction.delete(f"{root}/{children(zk, root)[0]}")
    transaction.delete(root)
    assert transaction.commit() == [True, True]
    assert waiter.result() is True
    assert (zk.get(root)[0], lock_holders(root, hosts)) == (b"1", ["b"])


class TestEphemeral:
    """Leases that belong to a session."""

    def test_it_is_ephemeral_and_goes_with_an_unlock(self, hosts, root, zk):
        assert lock(root, hosts, identifier="a", ephemeral_lease=True)
        (lease,) = children(zk, root)
        assert zk.get(f"{root}/{lease}")[1].ephemeralOwner
        assert lock(root, hosts, identifier="a", ephemeral_lease=True), "again"
        assert len(children(zk, root)) == 1
        assert unlock(root, hosts, identifier="a", ephemeral_lease=True) is True

    def test_an_unlock_that_does_not_know_its_kind_removes_it(self, hosts, root):
        lock(root, hosts, identifier="a", ephemeral_lease=True)
        assert unlock(root, hosts, identifier="a") is True
        assert lock_holders(root, hosts) == []

    def test_another_process_unlocks_it(self, hosts, root, script):
        lock(root, hosts, identifier="a", ephemeral_lease=True)
        assert script("print(zkcoord.unlock(root, hosts, identifier='a', ephemeral_lease=True))").result() == "True"
        assert lock_holders(root, hosts) == []

    def test_a_new_session_of_the_identifier_takes_it_over(self, hosts, root, script):
        other = script("zkcoord.lock(root, hosts, identifier='a', ephemeral_lease=True); print(1); sys.stdin.read()")
        other.line()
        assert lock(root, hosts, identifier="a", ephemeral_lease=True, timeout=5)
        other.end()
        assert lock_holders(root, hosts) == ["a"], "it now belongs to this session"

    def test_a_persistent_claim_outlives_the_session_that_was_there_before(self, hosts, root, zk):
        lock(root, hosts, identifier="a", ephemeral_lease=True)
        assert lock(root, hosts, identifier="a", timeout=5)
        (lease,) = children(zk, root)
        assert zk.get(f"{root}/{lease}")[1].ephemeralOwner == 0

    def test_a_persistent_lease_is_as_good_as_an_ephemeral_one(self, hosts, root, zk):
        lock(root, hosts, identifier="a")
        assert lock(root, hosts, identifier="a", ephemeral_lease=True, timeout=5)
        (lease,) = children(zk, root)
        assert zk.get(f"{root}/{lease}")[1].ephemeralOwner == 0


class TestUnlock:
    """What `unlock` says."""

    def test_of_a_missing_path_it_is_false_and_creates_nothing(self, hosts, root, zk):
        assert unlock(root, hosts, identifier="a") is False
        zk.sync("/")
        assert zk.exists(root) is None

    def test_of_somebody_elses_lease_it_is_false(self, hosts, root):
        lock(root, hosts, identifier="a")
        assert unlock(root, hosts, identifier="b") is False
        assert lock_holders(root, hosts) == ["a"]

    def test_it_works_from_any_process(self, hosts, root, script):
        lock(root, hosts, identifier="a")
        assert script("print(zkcoord.unlock(root, hosts, identifier='a'))").result() == "True"

    def test_of_two_identifiers_in_one_process_each_frees_its_own(self, hosts, root):
        lock(root, hosts, identifier="a", max_concurrency=2)
        lock(root, hosts, identifier="b", max_concurrency=2)
        assert unlock(root, hosts, identifier="b")
        assert lock_holders(root, hosts) == ["a"]
