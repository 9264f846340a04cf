"""Leases by their owners' names, from any process; who holds them, and who waits."""

import threading
import time

import pytest
from zkcoord import errors, lease
from zkcoord.lease import LeaseLocker

from tests.support.calls import Waiting, wait_until

from .conftest import LONG_LEASE


def test_it_is_taken_renewed_and_given_back_from_anywhere(hosts, path, script):
    taken = lease.take(path, "a", hosts, lease_duration=30)
    assert (taken.is_new, taken.taken_from, taken.transitions) == (True, None, 0)
    assert 29 < taken.expires_in <= 30
    code = """
        from zkcoord import lease
        again = lease.take(path, "a", hosts, lease_duration=60, timeout=0)
        print(again.is_new, again.token, 80 < lease.renew(path, "a", hosts, lease_duration=90.5) <= 90.5, flush=True)
        print(lease.renew(path, "a", hosts) > 80, end=" ")
        print(lease.renew(path, "b", hosts), lease.take(path, "b", hosts, timeout=0))
        print(lease.give_back(path, "b", hosts), lease.give_back(path, "a", hosts), lease.give_back(path, "a", hosts))
    """
    said = script(code, path=path).result().splitlines()
    assert said == [f"False {taken.token} True", "True None None", "None a None"]
    assert lease.renew(path, "a", hosts) is None


def test_it_outlives_its_process_and_ends_by_itself(hosts, path, script):
    script("from zkcoord import lease; lease.take(path, 'a', hosts, lease_duration=1.5)", path=path).result()
    assert lease.take(path, "b", hosts, timeout=0) is None
    assert lease.take(path, "b", hosts, timeout=20).taken_from == "a"


def test_what_a_locker_holds_is_not_shared_by_name_but_given_back(hosts, path, lockers):
    locker = lockers("a")
    locker.lock()
    assert lease.take(path, "a", hosts, timeout=0) is None
    assert lease.renew(path, "a", hosts) is None
    assert lease.give_back(path, "a", hosts) == "a"
    wait_until(lambda: not locker.held, "it is told")


def test_whoever_has_it_can_be_made_to_give_it_back(hosts, path):
    assert lease.give_back(path, None, hosts) is None
    lease.take(path, "a", hosts)
    assert lease.give_back(path, None, hosts) == "a"
    assert lease.status(path, hosts)["holder"] is None


@pytest.mark.parametrize("function", [lease.take, lease.renew, lease.give_back])
def test_nobody_is_no_owner(hosts, path, function):
    with pytest.raises(errors.ArgumentError, match="owner: is empty"):
        function(path, "", hosts)


def test_durations_are_positive(hosts, path):
    for function in (lease.take, lease.renew):
        for wrong in (0, -1, "x", float("nan"), 1e30):
            with pytest.raises(errors.ArgumentError, match="lease_duration"):
                function(path, "a", hosts, lease_duration=wrong)


def test_an_overdue_lease_is_renewed_while_nobody_else_has_it(hosts, path):
    token = lease.take(path, "a", hosts, lease_duration=0.5).token
    time.sleep(0.7)
    assert 0 < lease.renew(path, "a", hosts) <= 0.5
    assert lease.take(path, "a", hosts, lease_duration=1).token == token


def test_a_shorter_take_does_not_make_it_shorter_for_the_owners_other_processes(hosts, path):
    lease.take(path, "a", hosts, lease_duration=600)
    again = lease.take(path, "a", hosts, lease_duration=1, timeout=0)
    assert again.expires_in <= 1
    assert lease.status(path, hosts)["holder"]["duration"] == 600
    lease.renew(path, "a", hosts, lease_duration=5)
    assert lease.status(path, hosts)["holder"]["duration"] == 5


def test_a_foreign_lease_that_is_renewed_by_name_keeps_its_token(hosts, path, zk):
    zk.create(path, b'{"holderIdentity":"a","leaseDurationSeconds":60,"leaseTransitions":3}', makepath=True)
    tokens = {lease.take(path, "a", hosts, timeout=0).token for _ in range(3)}
    assert tokens == {zk.get(path)[1].czxid}


def test_the_rule_of_recorded_times_is_warned_of_in_all_its_spellings(hosts, path, caplog):
    for word in (False, "no", "off", 0):
        caplog.clear()
        assert lease.take(path, "a", hosts, timeout=0, use_observed_time=word)
        assert "where the clocks of two hosts differ" in caplog.text
        caplog.clear()
        LeaseLocker(path, "a", hosts, use_observed_time=word)
        assert "where the clocks of two hosts differ" in caplog.text


def test_who_holds_it_and_who_waits(hosts, path, queued):
    empty = {"path": path, "holder": None, "transitions": 0, "waiters": []}
    assert lease.status(path, hosts) == empty
    holder = LeaseLocker(path, "h", hosts, **LONG_LEASE)
    holder.lock()
    waiting = Waiting(lease.take, path, "w", hosts, timeout=20)
    wait_until(lambda: queued() == ["w"], "w waits")
    status = lease.status(path, hosts)
    (waiter,) = status["waiters"]
    assert (waiter["owner"], waiter["position"]) == ("w", 1)
    assert 0 <= waiter["age"] < 20
    held = status["holder"]
    assert (held["owner"], held["duration"], held["by_name"]) == ("h", 600.0, False)
    assert held["fencing_token"] == holder.fencing_token
    assert 590 < held["left"] <= 600
    assert held["acquired"] < held["until"]
    assert holder.unlock()
    assert waiting.result().transitions == 1
    assert lease.status(path, hosts)["holder"]["by_name"] is True


def test_a_position_is_told_while_one_waits(hosts, path, lockers):
    lockers("h").lock()
    told = threading.Event()
    waiting = Waiting(lease.take, path, "w", hosts, timeout=20, on_position=lambda position: told.set())
    assert told.wait(10)
    lease.give_back(path, "h", hosts)
    assert waiting.result()


def test_the_leases_below_a_path(hosts, root, zk):
    base = root.lower()
    assert lease.below(base, hosts) == []
    for name in "ba":
        lease.take(f"{base}/{name}", name, hosts)
    lease.give_back(f"{base}/b", "b", hosts)
    zk.create(f"{base}/junk", b"\x1b[2J")
    zk.create(f"{base}/empty")
    found = lease.below(base, hosts)
    assert [(it["path"], it["holder"] and it["holder"]["owner"], it["waiting"]) for it in found] == [
        (f"{base}/a", "a", 0),
        (f"{base}/b", None, 0),
    ]
