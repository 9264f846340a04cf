"""`LockRecord` and `LeaseLock`: the record as it is, and the original's conversions."""

import dataclasses
import json
from datetime import datetime, timedelta, timezone

import pytest
from zkcoord import errors
from zkcoord.lease import LeaseLock, LeaseLocker, LockRecord
from zkcoord.testing import Op

THEN = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=timezone.utc)
RECORD = LockRecord("a", 15, THEN, THEN + timedelta(seconds=2), 3)
SPEC = {
    "holderIdentity": "a",
    "leaseDurationSeconds": 15,
    "acquireTime": "2026-01-02T03:04:05.678901Z",
    "renewTime": "2026-01-02T03:04:07.678901Z",
    "leaseTransitions": 3,
}


class TestLockRecord:
    def test_it_is_frozen(self):
        with pytest.raises(dataclasses.FrozenInstanceError):
            RECORD.holder_identity = "b"

    def test_its_json_has_the_originals_members(self):
        assert json.loads(RECORD.to_json()) == SPEC
        assert LockRecord.from_json(RECORD.to_json()) == RECORD
        assert LockRecord.from_json(b"") == LockRecord.from_json(LockRecord().to_json()) == LockRecord()

    def test_the_two_conversions(self):
        assert RECORD.to_lease_spec() == SPEC
        assert LockRecord.from_lease_spec(SPEC) == RECORD
        assert LockRecord.from_lease_spec({}) == LockRecord()
        assert LockRecord.from_lease_spec(dict.fromkeys(SPEC)) == LockRecord()

    @pytest.mark.parametrize(
        "text", ["2026-01-02T03:04:05.678901Z", "2026-01-02T04:04:05.678901+01:00", "2026-01-02T03:04:05.678901234Z"]
    )
    def test_notations_of_a_time(self, text):
        record = LockRecord.from_json(json.dumps({"holderIdentity": "", "renewTime": text}))
        assert record.renew_time == THEN

    @pytest.mark.parametrize("text", ["soon", "", "2026-13-02T03:04:05Z", None])
    def test_what_is_no_time_is_none(self, text):
        assert LockRecord.from_json(json.dumps({"holderIdentity": "", "renewTime": text})).renew_time is None

    def test_a_time_without_a_zone_is_local(self):
        local = LockRecord(acquire_time=THEN.astimezone().replace(tzinfo=None))
        assert LockRecord.from_json(local.to_json()).acquire_time == THEN

    def test_other_members_are_kept_as_text(self):
        record = LockRecord.from_json('{"holderIdentity":"","x":[1e400, 1.0]}')
        assert record.more == {"x": "[1e400, 1.0]"}
        assert '"x":[1e400, 1.0]' in dataclasses.replace(record, lease_transitions=2).to_json()

    @pytest.mark.parametrize(
        "wrong",
        [
            {"lease_duration_seconds": -1},
            {"lease_duration_seconds": "x"},
            {"lease_transitions": 2**70},
            {"renew_time": "2026"},
            {"more": {"x": "{"}},
            {"more": 5},
        ],
    )
    def test_what_is_wrong_is_an_argument_error(self, wrong):
        with pytest.raises(errors.ArgumentError):
            LockRecord(holder_identity="a", **wrong).to_json()


class TestLeaseLock:
    @pytest.fixture
    def lock(self, hosts, path):
        return LeaseLock(path, "me", hosts)

    def test_it_is_created_read_and_written(self, lock, zk, path):
        with pytest.raises(errors.NoNode, match=f"{path} does not exist"):
            lock.get()
        lock.create(RECORD)
        with pytest.raises(errors.NodeExists):
            lock.create(RECORD)
        record, raw = lock.get()
        assert (record, raw) == (RECORD, zk.get(path)[0])
        lock.update(dataclasses.replace(record, holder_identity="b"))
        lock.update(dataclasses.replace(record, holder_identity="c"))
        assert lock.get()[0].holder_identity == "c"

    def test_it_says_what_it_is(self, hosts):
        lock = LeaseLock("/leases/Prod/Web", "me", hosts)
        assert (lock.describe(), lock.identity, lock.path) == ("Prod/web", "me", "/leases/Prod/web")

    def test_nobody_is_no_identity(self, hosts, path):
        with pytest.raises(errors.ArgumentError, match="identity: is empty"):
            LeaseLock(path, "", hosts)

    def test_what_was_not_read_is_not_written_over(self, lock, hosts, path, zk):
        LeaseLock(path, "other", hosts).create(RECORD)
        with pytest.raises(errors.ArgumentError, match="was not read yet"):
            lock.update(RECORD)
        assert zk.get(path)[1].version == 0

    def test_an_update_that_fails_changes_nothing_here_or_there(self, lock, hosts, path, zk):
        """The original changes its cache first: the next update would go through."""
        lock.create(RECORD)
        other = LeaseLock(path, "other", hosts)
        other.get()
        other.update(dataclasses.replace(RECORD, holder_identity="other"))
        for _ in range(2):
            with pytest.raises(errors.BadVersion):
                lock.update(dataclasses.replace(RECORD, holder_identity="me"))
        assert lock.get()[0].holder_identity == "other"
        lock.update(dataclasses.replace(RECORD, holder_identity="me"))

    def test_an_update_after_a_deletion_is_an_error(self, lock, zk, path):
        lock.create(RECORD)
        zk.delete(path)
        with pytest.raises(errors.NoNode):
            lock.update(RECORD)

    def test_what_is_no_record_is_left_alone(self, lock, zk, path):
        lock.create(RECORD)
        zk.set(path, b"mine")
        for call in (lock.get, lambda: lock.update(RECORD)):
            with pytest.raises(errors.ArgumentError, match="holds no record of a timed lease"):
                call()
        assert zk.get(path)[0] == b"mine"

    def test_unknown_members_stay_under_a_record_that_was_made_from_nothing(self, lock, zk, path):
        zk.create(path, b'{"holderIdentity":"","x":[1e400, 1.0]}', makepath=True)
        lock.get()
        lock.update(RECORD)
        assert b'"x":[1e400, 1.0]' in zk.get(path)[0]

    def test_a_holder_whose_record_is_written_over_has_lost(self, lock, hosts, path):
        locker = LeaseLocker(path, "a", hosts)
        locker.lock()
        lock.get()
        lock.update(RECORD)
        with pytest.raises(errors.LeaseLost):
            locker.renew()

    @pytest.mark.parametrize("what", ["drop_reply", "drop_request"])
    def test_a_lost_reply_is_no_stale_version(self, proxies, path, what):
        lock = LeaseLock(path, "me", proxies.hosts)
        lock.create(RECORD)
        for number in range(3):
            for proxy in proxies:
                getattr(proxy, what)(Op.SET_DATA)
            lock.update(dataclasses.replace(RECORD, lease_transitions=number))
            assert lock.get()[0].lease_transitions == number
        assert {opcode for proxy in proxies for opcode in proxy.dropped} == {Op.SET_DATA}

    def test_an_event_goes_to_the_log_and_to_who_listens(self, hosts, path, caplog):
        caplog.set_level("INFO", "zkcoord")
        told = []
        LeaseLock(path, "me", hosts, on_event=told.append).record_event("became leader")
        assert told == ["became leader"]
        assert "me became leader" in caplog.text
