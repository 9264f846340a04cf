"""What a timed lease needs of ACLs, as the page on permissions says."""

import pytest
from kazoo.security import make_acl, make_digest_acl_credential
from zkcoord import errors, lease

USER = {"username": "ann", "password": "pw"}


def acl(letters):
    wanted = {name: name[0] in letters for name in ("read", "write", "create", "delete", "admin")}
    return [make_acl("digest", make_digest_acl_credential("ann", "pw"), **wanted)]


@pytest.fixture
def guarded(zk, path):
    """A record and a queue that permit so much, and no more."""

    def make(record, queue, data=b'{"holderIdentity":"","leaseDurationSeconds":1,"leaseTransitions":0}'):
        zk.ensure_path(path.rpartition("/")[0])
        zk.create(path, data, acl(record))
        zk.create(f"{path}-__wait__", b"", acl(queue))

    return make


def test_what_is_said_to_be_enough_is_enough(guarded, hosts, path):
    guarded("rw", "crd")
    assert lease.take(path, "a", hosts, lease_duration=0.5, **USER)
    assert lease.renew(path, "a", hosts, **USER)
    assert lease.take(path, "b", hosts, timeout=10, **USER).taken_from == "a"
    assert lease.give_back(path, "b", hosts, **USER) == "b"
    assert lease.status(path, hosts, **USER)["holder"] is None


@pytest.mark.parametrize(("record", "queue", "missing"), [("r", "crd", "write"), ("w", "crd", "read")])
def test_less_is_an_error_that_names_what_is_missing(guarded, hosts, path, record, queue, missing):
    guarded(record, queue)
    with pytest.raises(errors.NoAuth, match=f"not permitted to {missing} {path} as digest:ann"):
        lease.take(path, "a", hosts, timeout=1, **USER)


def test_who_may_not_enter_the_queue_is_told(guarded, hosts, path):
    guarded("rw", "r", b'{"holderIdentity":"b","leaseDurationSeconds":60,"leaseTransitions":0}')
    with pytest.raises(errors.NoAuth, match=f"not permitted to create {path}-__wait__"):
        lease.take(path, "a", hosts, timeout=1, **USER)


def test_a_queue_node_that_may_not_be_written_waits_for_the_whole_duration(guarded, hosts, path):
    guarded("rw", "crd", b'{"holderIdentity":"b","leaseDurationSeconds":1,"leaseTransitions":0}')
    own = {**USER, "default_acl": {**USER, "read": True, "delete": True}}
    assert lease.take(path, "a", hosts, timeout=20, max_clock_skew=0.1, **own)


def test_whoever_may_not_read_is_told_and_nothing_is_written(guarded, hosts, path, zk):
    guarded("rw", "crd")
    for call in (lease.take, lease.renew, lease.give_back):
        with pytest.raises(errors.NoAuth, match=f"read {path} as anonymous"):
            call(path, "a", hosts)
