"""Answers that come when the lease is over already: nobody is told that it is held, and no loss goes unheard."""

import json
import logging
import threading
import time
from collections import Counter

import pytest
import zkcoord
from zkcoord import Cancel, errors, lease
from zkcoord.lease import LeaseLock, LeaseLocker, LockRecord
from zkcoord.testing import Op

from tests.support.calls import Waiting, wait_until

from .conftest import QUICK

DURATION = QUICK["lease_duration"]


@pytest.fixture
def free(zk, path):
    """A lease that was held before, so that to take it is one write."""
    zk.create(path, b'{"holderIdentity":"","leaseDurationSeconds":1,"leaseTransitions":0}', makepath=True)


@pytest.fixture
def away(proxies):
    """Take the servers away as soon as they have carried a request out, for longer than the lease lasts."""

    def away(opcode, record, held):
        for proxy in proxies:
            proxy.drop_reply(opcode)

        def cut():
            wait_until(lambda: any(proxy.dropped[opcode] for proxy in proxies), "the reply is lost")
            for proxy in proxies:
                proxy.stall()
            threading.Event().wait(DURATION + 0.2)
            for proxy in proxies:
                proxy.resume()

        return Waiting(cut)

    return away


def test_a_lock_whose_reply_is_lost_for_longer_than_it_lasts_is_taken_again(proxies, lockers, free, record, away):
    locker = lockers("a", proxies.hosts, **QUICK)
    lease.status(locker.path, proxies.hosts)  # a session
    outage = away(Op.SET_DATA, record, locker)
    assert locker.lock(60) is True
    assert locker.held
    assert locker.fencing_token is not None
    assert record()["leaseTransitions"] == 2, "it was taken once, was over, and was taken again"
    outage.result()


def test_so_it_is_where_the_reply_only_comes_late(proxies, lockers, free, record, path, zk):
    locker = lockers("a", proxies.hosts, lease_duration=0.5, renew_deadline=0.3, retry_period=0.1)
    lease.status(path, proxies.hosts)
    for proxy in proxies:
        proxy.delay(0.4)
    taking = Waiting(locker.lock, 60)
    wait_until(lambda: record()["leaseTransitions"] >= 2, "the first was over when its reply came")
    for proxy in proxies:
        proxy.delay(0)
    assert taking.result() is True
    assert locker.fencing_token is not None


def test_so_it_is_by_name(proxies, path, free, record, away):
    lease.status(path, proxies.hosts)
    outage = away(Op.SET_DATA, record, None)
    taken = lease.take(path, "a", proxies.hosts, lease_duration=DURATION, timeout=60)
    assert taken.expires_in > 0
    assert record()["leaseTransitions"] == 2
    outage.result()


def test_a_renewal_by_name_counts_from_its_own_request(proxies, path, free, zk, away):
    lease.take(path, "a", proxies.hosts, lease_duration=DURATION)
    outage = away(Op.SET_DATA, None, None)
    version = zk.get(path)[1].version
    left = lease.renew(path, "a", proxies.hosts, timeout=60)
    assert 0 < left <= DURATION
    assert zk.get(path)[1].version == version + 2, "the one whose reply was lost is over"
    outage.result()


def test_a_release_whose_reply_is_lost_is_one_though_the_next_has_it_already(proxies, lockers, hosts, free, queued):
    holder, other = lockers("a", proxies.hosts, retry_period=20, renew_deadline=60), lockers("b")
    holder.lock()
    waiting = Waiting(other.lock, 60)
    wait_until(lambda: queued() == ["b"], "b waits")
    for proxy in proxies:
        proxy.drop_reply(Op.SET_DATA)
    releasing = Waiting(holder.unlock, 30)
    wait_until(lambda: any(proxy.dropped[Op.SET_DATA] for proxy in proxies), "the reply is lost")
    assert waiting.result() is True
    assert releasing.result() is True
    assert other.held


def test_who_gives_up_does_not_renew_the_lease_of_the_dead(proxies, path, hosts, zk, record):
    """Its takeover may still come, and so it takes the version away: with a free lease, for which nobody waits anew."""
    lease.take(path, "dead", hosts, lease_duration=0.5)
    version = zk.get(path)[1].version
    (proxy, *_) = proxies
    cancel = Cancel()
    locker = LeaseLocker(path, "a", proxy.address, cancel=cancel, max_clock_skew=0)
    lease.status(path, proxy.address)
    proxy.hold_request(Op.MULTI, 1000)
    waiting = Waiting(locker.lock)
    wait_until(lambda: proxy.dropped[Op.MULTI] > 0, "the takeover is on its way")
    cancel.cancel()
    with pytest.raises(errors.Error):
        waiting.result()
    proxy.heal()
    wait_until(lambda: zk.get(path)[1].version > version, "the version that it needs is taken away")
    assert record()["holderIdentity"] == ""
    assert record()["leaseTransitions"] == 0


def test_nobody_waits_for_what_looks_for_a_server_in_the_background(proxies, path, hosts, zk):
    """A close has no session to end while another is being opened, however long that takes."""
    lease.take(path, "dead", hosts, lease_duration=0.5)
    version = zk.get(path)[1].version
    (proxy, *_) = proxies
    cancel = Cancel()
    locker = LeaseLocker(path, "a", proxy.address, cancel=cancel, max_clock_skew=0)
    lease.status(path, proxy.address)
    proxy.hold_request(Op.MULTI, 1000)
    waiting = Waiting(locker.lock)
    wait_until(lambda: proxy.dropped[Op.MULTI] > 0, "the takeover is on its way")
    cancel.cancel()
    with pytest.raises(errors.Error):
        waiting.result()
    proxy.heal()
    wait_until(lambda: zk.get(path)[1].version > version, "the version that it needs is taken away")
    proxy.refuse()
    zkcoord.close()  # before the reply: what goes on in the background needs another session now
    before = time.monotonic()
    for _ in range(10):
        zkcoord.close()
        time.sleep(0.1)
    assert time.monotonic() - before < 6, "each close has waited a second"


class TestLosses:
    """Each is told, once."""

    @pytest.fixture
    def overdue(self, proxies, lockers, free):
        """A lease that was not renewed in time, and a way to have the servers back."""

        def overdue(**options):
            events = []
            locker = lockers(
                "a", proxies.hosts, on_event=lambda kind, about: events.append(kind), **{**QUICK, **options}
            )
            locker.lock()
            for proxy in proxies:
                proxy.refuse()
                proxy.cut()
            return locker, events

        return overdue

    def test_a_block_that_ends_in_the_outage_ends_with_the_loss(self, overdue, proxies, caplog):
        locker, events = overdue(connect_timeout=1)
        with pytest.raises(errors.LeaseLost) as caught, locker:
            wait_until(lambda: not locker.held, "it is over")
        assert isinstance(caught.value.__cause__, errors.Error)
        assert events.count("lost") == 1
        assert "has lost the lease" in caplog.text
        for proxy in proxies:
            proxy.accept()

    def test_an_unlock_that_comes_too_late_tells_it(self, holder_stopped):
        assert holder_stopped("print(locker.unlock(), events, told.wait(5), flush=True)") == (
            "True ['acquired', 'lost', 'released'] True"
        )

    def test_so_does_the_end_of_a_block_that_has_failed(self, holder_stopped):
        code = "locker.__exit__(ValueError, ValueError(), None); print(events, told.wait(5), flush=True)"
        assert holder_stopped(code) == "['acquired', 'lost', 'released'] True"

    @pytest.fixture
    def holder_stopped(self, script, path):
        """A process that was stopped for longer than its lease lasts, and does something first of all."""
        import signal

        def run(code):
            process = script(
                f"""
                from zkcoord.lease import LeaseLocker
                told, events = threading.Event(), []
                listen = lambda kind, _: events.append(kind)
                locker = LeaseLocker(path, "a", hosts, on_lost=told.set, on_event=listen, **options)
                locker.lock()
                end = time.clock_gettime(time.CLOCK_BOOTTIME) + options["lease_duration"] + 0.1
                print("held", flush=True)
                while time.clock_gettime(time.CLOCK_BOOTTIME) < end: pass
                {code}
                """,
                path=path,
                options={**QUICK, "session_timeout": 1},
            )
            assert process.line() == "held"
            process.signal(signal.SIGSTOP)
            threading.Event().wait(DURATION + 0.2)
            process.signal(signal.SIGCONT)
            return process.line()

        return run

    def test_a_listener_that_wants_the_process_to_end_silences_no_other(self, hosts, root, zk):
        def leave(kind, _):
            if kind == "lost":
                raise SystemExit(1)

        told = [threading.Event() for _ in range(2)]
        held = [
            LeaseLocker(f"{root.lower()}/{n}", "a", hosts, lease_duration=600, on_lost=told[n].set, on_event=leave)
            for n in range(2)
        ]
        for locker, event in zip(held, told, strict=True):
            assert locker.lock()
            zk.delete(locker.path)
            assert event.wait(10)

    def test_what_is_tolerated_ends_when_another_has_it(self, overdue, proxies, lockers):
        locker, events = overdue()
        wait_until(lambda: not locker.held, "it is over")
        locker.check(600)
        other = lockers("b")
        assert other.lock(30)
        for proxy in proxies:
            proxy.accept()

        def is_known():
            try:
                locker.check(600)
            except errors.LeaseLost as loss:
                return "'b' has it" in str(loss)

        wait_until(is_known, "it is seen who has it")
        assert events.count("lost") == 1

    def test_one_whose_duration_is_made_shorter_by_hand_is_lost(self, lockers, hosts, path, zk, free):
        told = threading.Event()
        locker = lockers("a", retry_period=30, renew_deadline=60, on_lost=told.set)
        locker.lock()
        record = LeaseLock(path, "x", hosts)
        found = json.loads(record.get()[1]) | {"leaseDurationSeconds": 1}
        record.update(LockRecord.from_json(json.dumps(found)))
        assert told.wait(10)
        assert not locker.held


def test_one_who_is_written_by_hand_has_a_token_of_its_own(hosts, path):
    from dataclasses import replace

    first = lease.take(path, "a", hosts, lease_duration=600)
    lock = LeaseLock(path, "x", hosts)
    lock.update(replace(lock.get()[0], lease_duration_seconds=700))
    assert lease.status(path, hosts)["holder"]["fencing_token"] == first.token, "the same holder keeps it"
    lock.update(replace(lock.get()[0], holder_identity="b"))
    assert lease.take(path, "b", hosts, timeout=0).token > first.token


def test_a_refusal_is_told_with_what_is_late(lockers, path, zk, free, caplog):
    from kazoo.security import make_acl

    caplog.set_level(logging.WARNING, "zkcoord")
    locker = lockers("a", lease_duration=60, renew_deadline=0.5, retry_period=0.1)
    locker.lock()
    acls = zk.get_acls(path)[0]
    zk.set_acls(path, [make_acl("world", "anyone", read=True, admin=True)])
    wait_until(lambda: "it is tried on: " in caplog.text, "it is told why")
    zk.set_acls(path, acls)
    wait_until(lambda: locker.expires_in > 59, "it is renewed again")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"owner": b"web1"}, "owner: must be text or a number"),
        ({"owner": ["x"]}, "owner: must be text or a number"),
        ({"on_lost": 5}, "on_lost: must be callable"),
        ({"on_event": 5}, "on_event: must be callable"),
        ({"max_clock_skew": "x"}, "max_clock_skew: must be a number of seconds"),
    ],
)
def test_what_would_fail_only_at_the_loss_is_refused_at_once(hosts, path, options, why):
    with pytest.raises(errors.ArgumentError, match=why):
        LeaseLocker(path, zk_hosts=hosts, **options)


def test_so_are_the_arguments_of_a_check_and_what_is_no_record(hosts, path):
    from datetime import datetime, timedelta, timezone

    for wrong in ("x", None, float("nan"), -1):
        with pytest.raises(errors.ArgumentError, match="max_tolerable_expired_lease"):
            LeaseLocker(path, "a", hosts).check(wrong)
    lock = LeaseLock(path, "a", hosts)
    with pytest.raises(errors.ArgumentError, match="record: must be a LockRecord"):
        lock.create({"holderIdentity": "a"})
    with pytest.raises(errors.ArgumentError, match="identity: must be text or a number"):
        LeaseLock(path, ["x"], hosts)
    late = datetime.max.replace(tzinfo=timezone(timedelta(hours=-5)))
    for make in (
        lambda: LockRecord.from_lease_spec(None),
        lambda: LockRecord(None).to_json(),
        lambda: LockRecord("a", 1, renew_time=late).to_json(),
    ):
        with pytest.raises(errors.ArgumentError):
            make()
    with pytest.raises(errors.ArgumentError, match="record: it has no holderIdentity"):
        LockRecord.from_json(b"{}")


def test_who_holds_it_need_not_wait_for_another_call_of_the_same_object(lockers):
    locker = lockers("a")
    locker.lock()
    with locker._guard:
        assert locker.try_lock() is True


def test_a_renewal_is_two_requests(proxies, lockers, free):
    """The write, and the next watch. The one before is used up by the write, and is not taken off the server."""
    remove_watches = 18
    locker = lockers("a", proxies.hosts, retry_period=0.1, renew_deadline=1)
    locker.lock()
    wait_until(lambda: locker._lease.renewals >= 2, "it is renewed")
    before, renewals = sum((proxy.counts for proxy in proxies), Counter()), locker._lease.renewals
    wait_until(lambda: locker._lease.renewals >= renewals + 10, "it is renewed ten times")
    counts = sum((proxy.counts for proxy in proxies), Counter()) - before
    assert counts[remove_watches] == 0
    assert abs(counts[Op.EXISTS] - counts[Op.SET_DATA]) <= 1
