"""Servers that keep sessions to themselves (localSessionsEnabled), and tell the others of some of them, or of none."""

import pytest
import zkcoord
from kazoo.client import KazooClient
from zkcoord import errors, hold, lock, lock_holders, party_members, status, unlock, znode
from zkcoord.testing import Ensemble

from tests.support.calls import Waiting, queue


def servers(upgrading):
    return Ensemble(3, config={"localSessionsEnabled": "true", "localSessionsUpgradingEnabled": str(upgrading).lower()})


@pytest.fixture(scope="module")
def local():
    with servers(False) as ensemble:
        yield ensemble
        zkcoord.close()


@pytest.fixture
def upgrading():
    with servers(True) as ensemble:
        yield ensemble
        zkcoord.close()


class TestLocalOnly:
    def test_reading_and_lasting_znodes_are_as_ever(self, local, root):
        assert znode.create(root, b"x", local.hosts) == root
        assert znode.get(root, local.hosts) == b"x"
        assert lock_holders(root, local.hosts) == party_members(root, local.hosts) == []
        assert status(root, local.hosts)["waiters"] == []

    @pytest.mark.parametrize("how", ["lock", "hold", "ephemeral", "create"])
    def test_what_needs_an_ephemeral_znode_is_an_error_that_says_what_to_do(self, local, root, how):
        call = {
            "lock": lambda: lock(root, local.hosts),
            "hold": lambda: hold(root, local.hosts),
            "ephemeral": lambda: lock(root, local.hosts, ephemeral_lease=True),
            "create": lambda: znode.create(root, b"", local.hosts, ephemeral=True),
        }[how]
        with pytest.raises(errors.ServerError, match="localSessionsUpgradingEnabled"):
            call()
        assert lock_holders(root, local.hosts) == []
        assert local.ephemerals() == {}


class TestUpgrading:
    def test_slots_are_taken_waited_for_and_given_back(self, upgrading, root, wait_until):
        hosts = upgrading.hosts
        assert lock_holders(root, hosts) == []  # the session is local until it needs to be more
        assert lock(root, hosts, identifier="a")
        assert lock(f"{root}-b", hosts, identifier="a", ephemeral_lease=True)
        waiter = Waiting(lock, root, hosts, identifier="w")
        wait_until(lambda: [it["identifier"] for it in status(root, hosts)["waiters"]] == ["w"], "it waits")
        assert unlock(root, hosts, identifier="a")
        assert waiter.result() is True
        with hold(root + "-c", hosts) as held:
            held.check()
        assert len(upgrading.sessions()) == 1

    def test_a_place_is_kept_when_its_server_dies(self, upgrading, root, wait_until):
        kazoo = KazooClient(upgrading.hosts)
        kazoo.start()
        kazoo.create(f"{root}/somebody", makepath=True)
        hosts = upgrading.servers[0].address + "," + upgrading.servers[1].address
        waiter = Waiting(lock, root, hosts, identifier="w")
        wait_until(lambda: queue(kazoo, root) == ["w"], "it waits")
        place = kazoo.get_children(f"{root}-__lock__")
        for server in upgrading.servers[:2]:
            server.kill()
            server.start()
            upgrading.wait_ready()
        kazoo.stop()
        kazoo = KazooClient(upgrading.hosts)
        kazoo.start()
        assert kazoo.get_children(f"{root}-__lock__") == place
        kazoo.delete(f"{root}/somebody")
        assert waiter.result() is True
        kazoo.stop()

    def test_a_local_session_that_another_server_does_not_know_is_replaced(self, upgrading, root):
        hosts = upgrading.hosts
        assert lock_holders(root, hosts) == []
        for server in upgrading.servers:
            server.kill()
            server.start()
            upgrading.wait_ready()
            assert lock_holders(root, hosts, timeout=9) == []
        assert lock(root, hosts, identifier="a")
