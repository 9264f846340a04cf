"""Requests that are too long for a server: which are sent, which are refused here, and what one that is sent harms."""

import time

import pytest
import zkcoord
from kazoo.client import KazooClient
from zkcoord import Connection, errors, lock_holders, znode
from zkcoord.testing import Ensemble, Op

TWO_MEGABYTES = 2_000_000


@pytest.fixture(scope="module")
def greater():
    """Servers that were started with a greater jute.maxbuffer."""
    with Ensemble(3, properties={"jute.maxbuffer": 8_388_608}) as ensemble:
        yield ensemble
        zkcoord.close()


@pytest.fixture(scope="module")
def smaller():
    """Servers that were started with a smaller one."""
    with Ensemble(1, properties={"jute.maxbuffer": 100_000}) as ensemble:
        yield ensemble
        zkcoord.close()


class TestServersThatTakeMore:
    @pytest.mark.parametrize("setting", [{}, {"max_buffer": 8_388_608}])
    def test_two_megabytes_are_written(self, greater, root, setting):
        at = {"zk_hosts": greater.hosts, **setting}
        assert znode.create(root, b"x" * TWO_MEGABYTES, **at) == root
        assert znode.set(root, b"y" * TWO_MEGABYTES, **at)[4] == 1
        assert znode.get(root, **at) == b"y" * TWO_MEGABYTES
        znode.delete(root, **at)

    def test_they_are_asked_once_for_all_that_is_as_long(self, greater, root):
        at = {"zk_hosts": greater.hosts, "session_timeout": 9}
        znode.create(root, b"x" * TWO_MEGABYTES, **at)
        znode.exists(root, **at)
        before = greater.mntr()["zk_num_alive_connections"]
        for _ in range(3):
            znode.set(root, b"y" * TWO_MEGABYTES, **at)
        assert greater.mntr()["zk_num_alive_connections"] == before
        znode.delete(root, **at)

    def test_more_than_the_setting_is_refused_and_not_sent(self, greater, root):
        with pytest.raises(errors.ArgumentError, match=r"too long with 2000000 bytes; max_buffer is 1500000, path"):
            znode.create(root, b"x" * TWO_MEGABYTES, greater.hosts, max_buffer=1_500_000)

    def test_more_than_they_take_is_refused_with_its_length(self, greater, root):
        with pytest.raises(errors.ArgumentError, match=r"too long with 9000000 bytes; .* hang up on 9000\d\d\d "):
            znode.create(root, b"x" * 9_000_000, greater.hosts)
        assert not znode.exists(root, greater.hosts)

    def test_in_salts_states_and_its_section(self, greater, root, minionless):
        salt = minionless(zookeeper={"hosts": greater.hosts, "max_buffer": 8_388_608})
        state = {"big": {"zookeeper.present": [{"name": root}, {"value": "z" * TWO_MEGABYTES}]}}
        salt.state("top", state)
        assert salt.salt_call("state.apply", "top").code == 0
        assert znode.get(root, greater.hosts) == b"z" * TWO_MEGABYTES
        told = salt.salt_call("zookeeper.get", root, max_buffer="none at all")
        assert "max_buffer: must be a whole number" in told.stderr


class TestServersThatDoNot:
    @pytest.mark.parametrize("setting", [{}, {"max_buffer": 8_388_608}])
    @pytest.mark.parametrize("how", ["create", "sequence", "set"])
    def test_a_longer_one_is_refused_and_disturbs_nobody(self, proxies, root, setting, how):
        at = {"zk_hosts": proxies.hosts, **setting}
        znode.create(root, b"before", ephemeral=True, **at)
        call = {
            "create": lambda: znode.create(f"{root}-b", b"x" * TWO_MEGABYTES, **at),
            "sequence": lambda: znode.create(f"{root}-b", b"x" * TWO_MEGABYTES, sequence=True, **at),
            "set": lambda: znode.set(root, b"x" * TWO_MEGABYTES, **at),
        }[how]
        for _ in range(2):
            started = time.monotonic()
            with pytest.raises(errors.ArgumentError, match=r"too long with 2000000 bytes; .* hang up on 2000\d\d\d "):
                call()
            assert time.monotonic() - started < 5
        assert znode.get(root, **at) == b"before"
        sessions = sum(proxy.counts[Op.CREATE_SESSION] for proxy in proxies)
        assert sessions == 2 + 1, "the shared one, that which asks and hangs, and comes back"
        znode.delete(root, **at)

    def test_where_none_can_be_asked_the_usual_length_counts(self, root):
        with pytest.raises(errors.ArgumentError, match=r"servers take 1048575, .*none could be asked"):
            znode.create(root, b"x" * TWO_MEGABYTES, "127.0.0.1:1", timeout=1)

    @pytest.mark.parametrize("how", ["create", "set"])
    def test_one_that_is_lost_is_told_after_the_second_time_and_the_session_stays(self, smaller, root, how):
        at = {"zk_hosts": smaller.hosts, "session_timeout": 8}
        znode.create(root, b"before", ephemeral=True, **at)
        session = smaller.ephemerals()
        call = {
            "create": lambda: znode.create(f"{root}-b", b"x" * 200_000, **at),
            "set": lambda: znode.set(root, b"x" * 200_000, **at),
        }[how]
        started = time.monotonic()
        with pytest.raises(errors.ServerError, match=r"hang up on a request of 200\d\d\d bytes.*max_buffer") as raised:
            call()
        assert raised.value.kind == "server"
        assert time.monotonic() - started < 5
        assert znode.get(root, **at) == b"before"
        assert smaller.ephemerals() == session
        znode.delete(root, **at)

    def test_the_setting_cuts_bulk_reads(self, smaller, root):
        kazoo = KazooClient(smaller.hosts)
        kazoo.start()
        name = "y" * 300
        kazoo.create(f"{root}{name}", b"2000", makepath=True)
        for number in range(800):
            kazoo.create_async(f"{root}{name}/{number:032x}", b"who")
        assert len(kazoo.get_children(f"{root}{name}")) == 800
        with pytest.raises(errors.ServerError, match=r"hang up on a request of \d+ bytes"):
            lock_holders(f"{root}{name}", smaller.hosts)
        assert len(lock_holders(f"{root}{name}", smaller.hosts, max_buffer=100_000)) == 800
        kazoo.delete(f"{root}{name}", recursive=True)
        kazoo.stop()

    def test_a_listing_of_more_than_a_mebibyte_is_an_answer(self, hosts, root, zk):
        """The servers bound what they read, and not what they write."""
        zk.create(root)
        creating = [zk.create_async(f"{root}/{number:06}{'x' * 200}") for number in range(6000)]
        for each in creating:
            each.get()
        assert len(znode.children(root, hosts)) == 6000
        assert len(lock_holders(root, hosts)) == 6000
        znode.delete(root, hosts, recursive=True)


def test_the_setting_is_checked_and_shown():
    assert Connection().max_buffer == 1_048_575
    assert Connection(max_buffer=8_388_608).max_buffer == 8_388_608
    assert Connection(max_buffer="4096").max_buffer == 4096
    assert Connection(max_buffer=4096) != Connection()
    for wrong in (0, 1023, -1, 2**31, "much", True, 1.5):
        with pytest.raises(errors.ArgumentError, match=r"^max_buffer: must be "):
            Connection(max_buffer=wrong)
