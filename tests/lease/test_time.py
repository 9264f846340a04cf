"""Whose clock counts: a dead holder's lease is over in time, and a living one's never before."""

import signal
import time

import pytest
from zkcoord import lease

from tests.support.calls import Waiting, wait_until

from .conftest import QUICK

HOLD = """
    from zkcoord.lease import LeaseLocker
    locker = LeaseLocker(path, "dead", hosts, **options)
    locker.lock()
    print(locker.fencing_token, flush=True)
"""
DURATION = QUICK["lease_duration"]
SLACK = 2 * QUICK["retry_period"] + 0.5
"""What a takeover may take beyond the duration, on a busy machine."""


@pytest.fixture
def holder(script, path):
    """A process that holds the lease; what else it does is in `then`."""

    def start(then="signal.pause()", **options):
        # What is killed leaves a session that ends soon.
        process = script(HOLD + f"    {then}\n", path=path, options={**QUICK, "session_timeout": 1, **options})
        return process, int(process.line())

    return start


def test_a_waiter_takes_a_dead_holders_lease_after_the_duration(lockers, holder, queued, zk, path):
    process, token = holder()
    locker = lockers("b", **QUICK)
    waiting = Waiting(locker.lock, 30)
    wait_until(lambda: queued() == ["b"], "b waits")
    wait_until(lambda: zk.get(path)[1].version >= 2, "it is renewed")
    assert not waiting.done
    process.signal(signal.SIGKILL)
    process.process.wait()
    died = time.monotonic()
    assert waiting.result() is True
    took = time.monotonic() - died
    assert DURATION - QUICK["retry_period"] - 0.2 < took < DURATION + SLACK
    assert locker.fencing_token > token


def test_who_cannot_stay_takes_it_when_the_servers_clock_says_so(holder, hosts, path, zk):
    process, token = holder()
    options = {"timeout": 0, "max_clock_skew": 0.5, "lease_duration": 1}
    assert lease.take(path, "b", hosts, **options) is None
    process.signal(signal.SIGKILL)
    process.process.wait()
    modified = zk.get(path)[1].mtime / 1000
    while (taken := lease.take(path, "b", hosts, **options)) is None:
        time.sleep(0.05)
    # The servers are of this machine, and their clock is this one's.
    assert DURATION + 0.5 <= time.time() - modified < DURATION + 0.5 + SLACK
    assert (taken.taken_from, taken.token > token) == ("dead", True)


def test_who_comes_late_does_not_wait_for_another_whole_duration(lockers, holder, zk, path):
    process, _ = holder(lease_duration=6)
    process.signal(signal.SIGKILL)
    process.process.wait()
    modified = zk.get(path)[1].mtime / 1000
    wait_until(lambda: time.time() > modified + 4, "most of it is over")
    assert lockers("b", max_clock_skew=0.5).lock(30)
    assert 6.5 <= time.time() - modified < 6.5 + SLACK


def test_without_the_servers_clock_it_is_the_whole_duration(lockers, holder):
    process, _ = holder()
    process.signal(signal.SIGKILL)
    process.process.wait()
    locker = lockers("b", max_clock_skew=None)
    assert locker.try_lock() is False
    began = time.monotonic()
    assert locker.lock(30)
    assert DURATION <= time.monotonic() - began < DURATION + SLACK


def test_a_living_holder_is_never_taken_over(lockers, holder, queued):
    process, _ = holder()
    assert lockers("b", **QUICK).lock(timeout=2 * DURATION) is False
    assert queued() == []
    process.signal(signal.SIGKILL)


def test_who_was_stopped_finds_it_over_at_the_first_look(lockers, holder, record):
    process, _ = holder(
        """signal.signal(signal.SIGUSR1, lambda *_: print(locker.held, locker.fencing_token, flush=True))
    print("ready", flush=True)
    while True:
        time.sleep(0.05)  # a signal may interrupt another thread"""
    )
    assert process.line() == "ready"
    process.signal(signal.SIGUSR1)
    assert process.line().startswith("True ")
    process.signal(signal.SIGSTOP)
    locker = lockers("b")
    assert locker.lock(30)
    process.signal(signal.SIGUSR1)
    process.signal(signal.SIGCONT)
    assert process.line() == "False None"
    time.sleep(3 * QUICK["retry_period"])
    assert record()["holderIdentity"] == "b", "nothing was taken back"
    assert locker.held


def test_who_was_stopped_finds_it_over_also_where_nobody_has_taken_it(holder, zk, path):
    process, _ = holder(
        """told = threading.Event(); locker._on_lost = told.set
    print("ready", flush=True)
    told.wait()
    try: locker.check()
    except zkcoord.errors.LeaseExpired as error: print(error, flush=True)
    print(locker.held, locker.unlock(), flush=True)"""
    )
    assert process.line() == "ready"
    process.signal(signal.SIGSTOP)
    time.sleep(DURATION + 0.2)
    version = zk.get(path)[1].version
    process.signal(signal.SIGCONT)
    assert "is overdue by" in process.line()
    assert process.line() == "False True", "what it gives back, it had still on the servers"
    process.result()
    assert zk.get(path)[1].version == version + 1, "what is over is not renewed"


@pytest.mark.parametrize("hours", [-5, 5])
def test_wall_clocks_do_not_matter(lockers, holder, wrong_clock, hours, record):
    wrong_clock(hours=hours)
    process, _ = holder()
    wrong_clock(hours=0)
    hour = int(record()["renewTime"][11:13])
    assert (hour - time.gmtime().tm_hour - hours) % 24 in {0, 23, 1}, "its clock is moved"
    waiting = Waiting(lockers("b").lock, 30)
    time.sleep(DURATION + 0.5)
    assert not waiting.done, "a clock that is behind gives nothing away"
    process.signal(signal.SIGKILL)
    process.process.wait()
    died = time.monotonic()
    assert waiting.result() is True
    assert time.monotonic() - died < DURATION + SLACK, "and one that is ahead keeps nothing"


class TestRecordedTime:
    """`use_observed_time=False`: the time in the record, as in the original."""

    def test_it_warns_and_compares_clocks(self, lockers, zk, path, caplog):
        old = (
            '{"holderIdentity":"pod","leaseDurationSeconds":1,"renewTime":"2020-01-01T00:00:00Z","leaseTransitions":0}'
        )
        zk.create(path, old.encode(), makepath=True)
        locker = lockers("b", use_observed_time=False)
        assert "where the clocks of two hosts differ" in caplog.text
        assert locker.try_lock() is True

    def test_a_time_in_the_future_is_waited_for_no_longer_than_it_is_seen(self, lockers, zk, path):
        new = (
            '{"holderIdentity":"pod","leaseDurationSeconds":2,"renewTime":"2999-01-01T00:00:00Z","leaseTransitions":0}'
        )
        zk.create(path, new.encode(), makepath=True)
        locker = lockers("b", use_observed_time=False)
        assert locker.try_lock() is False
        began = time.monotonic()
        assert locker.lock(30)
        assert 2 <= time.monotonic() - began < 2 + SLACK


def test_what_is_tolerated_is_counted(holder):
    process, _ = holder(
        """told = threading.Event(); locker._on_lost = told.set
    print("ready", flush=True)
    told.wait()
    for tolerated in (60, 0):
        try: print(locker.check(tolerated), flush=True)
        except zkcoord.errors.LeaseExpired as error: print("expired", flush=True)
    locker.unlock()"""
    )
    assert process.line() == "ready"
    process.signal(signal.SIGSTOP)
    time.sleep(DURATION + 0.1)
    process.signal(signal.SIGCONT)
    assert [process.line(), process.line()] == ["None", "expired"]
    process.result()
