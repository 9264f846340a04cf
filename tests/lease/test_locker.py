"""`LeaseLocker`: taken, renewed and given back; lost, and told at once."""

import json
import logging
import threading

import pytest
from zkcoord import Connection, errors, lease
from zkcoord.lease import Config, LeaseLock, LeaseLocker

from tests.support.calls import Waiting, wait_until

from .conftest import LONG_LEASE, QUICK


def test_it_is_taken_renewed_and_given_back(lockers, path, record, zk):
    locker = lockers("a", lease_duration=60, retry_period=0.2, renew_deadline=1)
    assert locker.lock() is True
    assert locker.held
    stat = zk.get(path)[1]
    first = record()
    assert {name: first[name] for name in ("holderIdentity", "leaseDurationSeconds", "leaseTransitions")} == {
        "holderIdentity": "a",
        "leaseDurationSeconds": 60,
        "leaseTransitions": 0,
    }
    assert first["acquireTime"] == first["renewTime"]
    assert locker.fencing_token == stat.czxid
    wait_until(lambda: zk.get(path)[1].version >= stat.version + 3, "it was renewed three times")
    later = record()
    assert later["acquireTime"] == first["acquireTime"] < later["renewTime"]
    assert locker.fencing_token == stat.czxid == later["zkcoord"]["token"]
    assert 59 < locker.expires_in <= 60
    assert locker.record.holder_identity == "a"
    assert locker.unlock() is True
    assert not locker.held
    assert locker.fencing_token is locker.record is locker.expires_in is None
    free = record()
    assert (free["holderIdentity"], free["leaseDurationSeconds"], free["leaseTransitions"]) == ("", 1, 0)
    assert "zkcoord" not in free


def test_to_lock_twice_is_one_lease_and_one_renewer(lockers, zk, path):
    locker = lockers()
    assert locker.lock()
    token = locker.fencing_token
    together = [Waiting(locker.lock) for _ in range(5)]
    assert [each.result() for each in together] == [True] * 5
    assert locker.fencing_token == token
    assert locker.unlock() is True
    version = zk.get(path)[1].version
    threading.Event().wait(0.8)  # longer than three periods
    assert zk.get(path)[1].version == version, "nobody renews it any more"


def test_to_give_back_what_one_does_not_hold_is_false(lockers):
    locker, other = lockers("a"), lockers("a")
    assert locker.unlock() is False
    assert locker.unlock_with_retry() is False
    assert other.lock()
    assert locker.unlock() is False, "the same name is not the same holder"
    assert other.unlock() is True
    assert other.unlock() is False


def test_two_of_one_name_do_not_share_it(lockers, path, record):
    first, second = lockers("a"), lockers("a")
    assert first.lock()
    assert second.try_lock() is False
    waiting = Waiting(second.lock)
    assert first.unlock()
    assert waiting.result() is True
    assert record()["leaseTransitions"] == 1


def test_later_holders_have_greater_tokens(lockers):
    tokens = []
    for owner in "abca":
        with lockers(owner) as locker:
            tokens.append(locker.fencing_token)
    assert tokens == sorted({*tokens})


def test_waiters_are_first_in_first_out(lockers, queued):
    holder, order = lockers("h"), []
    holder.lock()
    waiting = []
    for owner in "abcd":
        locker = lockers(owner)

        def turn(locker=locker, owner=owner):
            assert locker.lock(30)
            order.append(owner)
            assert locker.unlock()

        waiting.append(Waiting(turn))
        wait_until(lambda owner=owner: queued()[-1:] == [owner], f"{owner} waits")
    late = lockers("late")
    assert late.try_lock() is False
    assert queued() == [*"abcd"], "who does not wait leaves nothing"
    holder.unlock()
    for each in waiting:
        each.result()
    assert order == [*"abcd"]
    assert late.try_lock() is True


def test_who_runs_out_of_time_leaves_nothing(lockers, queued):
    lockers("h").lock()
    other = lockers("a")
    assert other.lock(timeout=0.3) is False
    assert queued() == []
    with pytest.raises(errors.ArgumentError, match="timeout"):
        other.lock(timeout="soon")


def test_a_name_is_the_same_in_any_case(hosts, root):
    first = LeaseLocker(f"{root}/Prod/Web", "a", hosts, **LONG_LEASE)
    second = LeaseLocker(f"{root}/Prod/wEB", "b", hosts, **LONG_LEASE)
    assert first.path == second.path == f"{root}/Prod/web"
    with first:
        assert second.try_lock() is False


def test_nobody_is_no_owner(hosts, path):
    with pytest.raises(errors.ArgumentError, match="owner: is empty"):
        LeaseLocker(path, "", hosts)


@pytest.mark.parametrize(
    ("durations", "why"),
    [
        ({"lease_duration": 10, "renew_deadline": 10}, "lease_duration: is 10 s, and must be more than renew_deadline"),
        ({"renew_deadline": 2.4}, "renew_deadline: is 2.4 s, and must be more than 1.2 times retry_period"),
        ({"retry_period": 0}, "retry_period"),
        ({"lease_duration": -1}, "lease_duration: must not be negative"),
        ({"lease_duration": "x"}, "lease_duration: must be a number of seconds"),
        ({"lease_duration": float("nan")}, "lease_duration"),
        ({"lease_duration": 1e30}, "lease_duration: must be more than 0 seconds, and less than a century"),
        ({"unlock_with_retry_period": "x"}, "unlock_with_retry_period: must be a number of seconds"),
        ({"use_observed_time": "maybe"}, "use_observed_time: must be true or false"),
    ],
)
def test_durations_are_checked_before_anything_is_sent(hosts, path, durations, why):
    with pytest.raises(errors.ArgumentError, match=why):
        LeaseLocker(path, "a", hosts, **durations)
    with pytest.raises(errors.ArgumentError, match=why):
        Config(lock=LeaseLock(path, "a", hosts), **durations)


def test_all_that_the_original_documents_can_be_set(hosts, path, record):
    lock = LeaseLock(path, "a", hosts)
    config = Config(lock=lock, lease_duration=2.5, renew_deadline=1, retry_period=0.2, name="the migration")
    with LeaseLocker.from_config(config) as locker:
        assert locker.owner == "a"
        stored = record()
        assert stored["leaseDurationSeconds"] == 3, "who knows only seconds waits for long enough"
        assert stored["zkcoord"]["durationNanoseconds"] == 2_500_000_000
        assert locker.expires_in <= 2.5


class TestForeignRecords:
    """What others have written into the znode."""

    @pytest.mark.parametrize(
        "data", [b"5", b"{", b"\xff", b"{}", b'{"holderIdentity": 5}', b'[{"holderIdentity": ""}]']
    )
    def test_what_is_no_record_is_left_alone(self, lockers, zk, path, data):
        zk.create(path, data, makepath=True)
        locker = lockers()
        for call in (locker.lock, locker.try_lock):
            with pytest.raises(errors.ArgumentError, match=f"{path} holds no record of a timed lease"):
                call()
        assert zk.get(path)[0] == data
        assert zk.get(path)[1].version == 0

    def test_an_empty_znode_is_a_lease_that_nobody_has_taken(self, lockers, zk, path):
        zk.create(path, b"", makepath=True)
        assert lockers().try_lock() is True

    def test_members_that_are_not_known_stay(self, lockers, zk, path, record):
        data = '{"holderIdentity": "", "leaseTransitions": 7, "strategy": {"b": 1e400, "a": [1.0]}}'
        zk.create(path, data.encode(), makepath=True)
        locker = lockers()
        locker.lock()
        locker.renew()
        assert '"strategy":{"b": 1e400, "a": [1.0]}' in zk.get(path)[0].decode()
        locker.unlock()
        assert '"strategy":{"b": 1e400, "a": [1.0]}' in zk.get(path)[0].decode()
        assert record()["leaseTransitions"] == 8

    def test_another_programs_lease_is_respected_until_it_is_over(self, lockers, zk, path):
        foreign = {"holderIdentity": "pod", "leaseDurationSeconds": 1, "leaseTransitions": 3, "renewTime": None}
        zk.create(path, json.dumps(foreign).encode(), makepath=True)
        events = []
        locker = lockers("a", max_clock_skew=0.2, on_event=lambda *event: events.append(event))
        assert locker.try_lock() is False
        assert locker.lock(10)
        assert [kind for kind, _ in events if kind != "waiting"] == ["acquired", "taken_over"]
        assert events[-1][1]["taken_from"] == "pod"
        assert locker.record.lease_transitions == 4


class TestLoss:
    """A lease that is not the holder's any more."""

    def lost(self, lockers, caplog, **options):
        told, events = threading.Event(), []
        caplog.set_level(logging.ERROR, "zkcoord")
        locker = lockers("a", on_lost=told.set, on_event=lambda kind, about: events.append((kind, about)), **options)
        assert locker.lock()
        return locker, told, events

    def take_away(self, zk, path, how):
        if how == "deleted":
            zk.delete(path)
        elif how == "overwritten":
            zk.set(path, b"mine")
        else:
            changed = json.loads(zk.get(path)[0]) | {"holderIdentity": how, "leaseDurationSeconds": 1}
            zk.set(path, json.dumps(changed).encode())

    @pytest.mark.parametrize(
        ("how", "why"),
        [
            ("b", "'b' has it"),
            ("", "somebody else has given it back"),
            ("deleted", "somebody has deleted its record"),
            ("overwritten", "somebody has written something else over its record"),
        ],
    )
    def test_it_is_told_at_once(self, lockers, zk, path, caplog, how, why):
        locker, told, events = self.lost(lockers, caplog, retry_period=30, renew_deadline=60)
        locker.check()
        self.take_away(zk, path, how)
        assert told.wait(5), "long before the next renewal"
        assert not locker.held
        assert locker.fencing_token is None
        with pytest.raises(errors.LeaseLost, match=f"'a' has lost the lease {path}: {why}") as caught:
            locker.check()
        assert caught.value.path == path
        with pytest.raises(errors.LeaseLost):
            locker.renew()
        wait_until(lambda: [kind for kind, _ in events] == ["acquired", "lost"], "the event comes after that")
        (message,) = [record.getMessage() for record in caplog.records if "has lost the lease" in record.getMessage()]
        assert "'a' has lost the lease" in message
        assert locker.unlock() is False

    def test_it_is_never_taken_back_in_silence(self, lockers, zk, path, caplog):
        locker, told, _ = self.lost(lockers, caplog)
        token = locker.fencing_token
        self.take_away(zk, path, "")
        assert told.wait(5)
        version = zk.get(path)[1].version
        threading.Event().wait(0.8)  # three periods
        assert zk.get(path)[1].version == version
        assert locker.lock() is True, "whoever asks for it has it anew"
        assert locker.fencing_token > token

    def test_a_block_that_lost_it_ends_with_that(self, lockers, zk, path, caplog):
        def work(error=None):
            with lockers("a"):
                self.take_away(zk, path, "")
                if error:
                    raise error

        with pytest.raises(errors.LeaseLost):
            work()
        with pytest.raises(LookupError):
            work(LookupError())

    def test_a_listener_that_fails_is_its_own_affair(self, lockers, caplog):
        def fail(*_):
            raise ValueError("broken")

        locker = lockers("a", on_event=fail)
        assert locker.lock()
        assert locker.unlock() is True
        assert "a listener of a timed lease failed" in caplog.text

    def test_to_give_it_back_is_no_loss(self, lockers):
        told = threading.Event()
        locker = lockers("a", on_lost=told.set)
        locker.lock()
        locker.unlock()
        locker.check()
        assert not told.wait(0.5)

    def test_a_loss_of_one_is_told_to_nobody_else(self, hosts, root, zk):
        told = []
        held = [
            LeaseLocker(f"{root.lower()}/{n}", "a", hosts, **LONG_LEASE, on_lost=lambda n=n: told.append(n))
            for n in range(5)
        ]
        for each in held:
            assert each.lock()
        zk.delete(held[3].path)
        wait_until(lambda: told == [3], "the third is told")
        assert [each.unlock() for each in held] == [True, True, True, False, True]


def test_a_connection_and_its_chroot_serve(hosts, root, zk):
    chroot = root.lower()
    zk.create(chroot)
    with Connection(f"{hosts}{chroot}") as connection, LeaseLocker("/ns/x", "a", connection=connection, **QUICK) as it:
        assert it.path == "/ns/x"
        assert zk.exists(f"{chroot}/ns/x")
        assert lease.status("/ns/x", connection=connection)["path"] == "/ns/x"
        with pytest.raises(errors.ArgumentError, match="connection: is given"):
            LeaseLocker("/ns/x", "a", hosts, connection=connection)


def test_a_wait_is_cancelled_and_leaves_nothing(lockers, queued):
    from zkcoord import Cancel

    lockers("h").lock()
    cancel = Cancel()
    waiting = Waiting(lockers("a", cancel=cancel).lock)
    wait_until(lambda: queued() == ["a"], "it waits")
    cancel.cancel()
    with pytest.raises(errors.Cancelled, match="this call took no lease, and left no queue node"):
        waiting.result()
    assert queued() == []
