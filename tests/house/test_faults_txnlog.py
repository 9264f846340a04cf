"""The transaction order, read from the logs of real servers."""

import shutil
import struct
import zlib

import pytest
import zkcoord
import zkcoord.znode
from kazoo.client import KazooClient
from kazoo.exceptions import NoNodeError
from zkcoord.testing import Ensemble

from faults import txnlog
from faults.run import LOG_EVERYTHING
from faults.stamps import PATH, Stamps


def fail(ensemble):
    """Have a transaction refused after its first step, which is written down all the same."""
    client = KazooClient(ensemble.hosts)
    client.start()
    try:
        transaction = client.transaction()
        transaction.set_data("/p", b"2")
        transaction.delete("/nothing")
        assert isinstance(transaction.commit()[1], NoNodeError)
    finally:
        client.stop()
        client.close()


@pytest.fixture(scope="module")
def directories(tmp_path_factory):
    """What three servers wrote, of which one was away for a while."""
    with Ensemble(3, config=LOG_EVERYTHING) as ensemble:
        zkcoord.znode.create(PATH, zk_hosts=ensemble.hosts)
        stamps = Stamps(ensemble.hosts)
        zkcoord.lock("/p", ensemble.hosts, "a, 'b'", 2, ephemeral_lease=True)
        zkcoord.lock("/p", ensemble.hosts, "c", 2)
        fail(ensemble)
        away = ensemble.leader()
        away.kill()
        ensemble.wait_ready()
        zkcoord.set_max("/p", 3, zk_hosts=ensemble.hosts)
        away.start()
        ensemble.wait_ready()
        zkcoord.unlock("/p", ensemble.hosts, "c")
        zkcoord.close()
        last = stamps.stamp("the end")
        copies = [tmp_path_factory.mktemp("server") for _ in ensemble.servers]
        for server, copy in zip(ensemble.servers, copies, strict=True):
            shutil.copytree(server.directory / "version-2", copy / "version-2")
        return copies, last


def test_a_transaction_that_failed_as_a_whole_changes_nothing():
    def buffer(data):
        return struct.pack(">i", len(data)) + data

    done = struct.pack(">i", 5) + buffer(buffer(b"/a") + buffer(b"1") + struct.pack(">i", 1))
    failed = struct.pack(">i", -1) + buffer(struct.pack(">i", -101))

    def record(*parts):
        return struct.pack(">qiqqi", 1, 2, 3, 4, 14) + struct.pack(">i", len(parts)) + b"".join(parts)

    assert [it.path for it in txnlog.decode(record(done, done)).changes] == ["/a", "/a"]
    assert txnlog.decode(record(done, failed)).changes == ()


def files(directory):
    return sorted((directory / "version-2").glob("log.*"))


@pytest.fixture
def copies(directories, tmp_path):
    return [
        shutil.copytree(directory, tmp_path / str(number), dirs_exist_ok=True)
        for number, directory in enumerate(directories[0])
    ]


def test_every_change_is_there_in_order(directories):
    steps = txnlog.transactions(directories[0])
    changes = [(it.what, it.path.rpartition("/")[0], it.data) for step in steps for it in step.changes]
    interesting = [it for it in changes if it[1].startswith("/p") or it[2] in {b"2", b"3"} or it[0] == "close"]
    assert [it for it in interesting if it[0] != "close"] == [
        ("create", "", b"2"),
        ("create", "/p", b"a, 'b'"),
        ("create", "/p-__lock__", b"c"),
        ("create", "/p", b"c"),
        ("delete", "/p-__lock__", b""),
        ("set", "", b"3"),
        ("delete", "/p", b""),
    ]
    assert [step.zxid for step in steps] == sorted(step.zxid for step in steps)
    assert steps[-1].zxid == directories[1]


def test_an_ephemeral_znode_and_its_session(directories):
    steps = txnlog.transactions(directories[0])
    created = next((step, it) for step in steps for it in step.changes if it.data == b"a, 'b'")
    assert created[1].ephemeral
    ended = next(
        step for step in steps if step.session == created[0].session and step.changes == (txnlog.Change("close"),)
    )
    assert ended.cxid, "ended by its client"


def test_one_server_that_missed_something_is_made_up_for(copies, directories):
    for file in files(copies[0])[1:]:
        file.unlink()
    assert txnlog.transactions(copies) == txnlog.transactions(directories[0])


def test_what_nobody_has_is_missed(copies):
    for directory in copies:
        for file in files(directory):
            _cut_out(file, 2)
    with pytest.raises(txnlog.LogError, match="no server has logged 0x1"):
        txnlog.transactions(copies)


def test_a_record_that_was_torn_by_a_kill_ends_the_log(copies):
    file = files(copies[0])[0]
    before = list(txnlog.records(file))
    data = bytearray(file.read_bytes())
    at = data.rfind(before[-1][1])
    data[at + 3] ^= 0xFF
    file.write_bytes(data)
    assert list(txnlog.records(file)) == before[:-1]


def test_a_record_may_have_another_digest_and_may_not_say_something_else(copies, directories):
    file = next(file for file in files(copies[0]) if any(b"c" in record for _, record in txnlog.records(file)))
    opens = ((zxid, it) for zxid, it in txnlog.records(file) if txnlog.decode(it).changes == (txnlog.Change("open"),))
    zxid, record = next(opens)
    before = file.read_bytes()
    at = before.find(record)
    for changed, agree in ((record[:-1] + bytes([record[-1] ^ 1]), True), (bytes([record[0] ^ 1]) + record[1:], False)):
        checksum = struct.pack(">q", zlib.adler32(changed))
        file.write_bytes(before[: at - 12] + checksum + before[at - 4 : at] + changed + before[at + len(record) :])
        if agree:
            assert txnlog.transactions(copies) == txnlog.transactions(directories[0])
        else:
            with pytest.raises(txnlog.LogError, match=f"the servers do not agree on {zxid:#x}: "):
                txnlog.transactions(copies)


def test_what_only_a_killed_leader_has_logged_did_not_happen(copies, directories):
    last = directories[1]
    for directory in copies[1:]:
        for file in files(directory):
            data = file.read_bytes()
            ours = [record for zxid, record in txnlog.records(file) if zxid == last]
            if ours:
                file.write_bytes(data[: data.rfind(ours[0]) - 12])
    assert txnlog.transactions(copies)[-1].zxid < last


def _cut_out(file, number):
    """Remove a record from the middle of a log."""
    found = list(txnlog.records(file))
    if len(found) > number:
        data, record = file.read_bytes(), found[number][1]
        at = data.find(record)
        file.write_bytes(data[: at - 12] + data[at + len(record) + 1 :])
