"""Every statement of docs/permissions.rst, on real servers."""

import time
from collections.abc import Callable, Iterator

import pytest
import zkcoord
from kazoo.client import KazooClient
from kazoo.exceptions import QuotaExceededError
from zkcoord import errors, lock, lock_holders, set_max, status, unlock, znode
from zkcoord.testing import Ensemble

from tests.support.calls import Waiting, children


def user(name: str) -> dict[str, str]:
    return {"username": name, "password": f"{name}-pw"}


def may(name: str, permissions: str) -> dict[str, object]:
    return {"scheme": "digest", "id": znode.digest_acl({**user(name), "read": True})[1][1], "perms": permissions}


OPERATORS, MINIONS, AUDITORS, STRANGERS = (user(name) for name in ("operators", "minions", "auditors", "strangers"))
POOL = QUEUE = [may("operators", "all"), may("minions", "crd"), may("auditors", "r")]
DEFAULT = [may("operators", "all"), may("minions", "r"), may("auditors", "r")]
"""What the minions' profile says: of their leases, and of their places in the queue."""


OWN = [may("operators", "all")]


def prepare(hosts: str, path: str, limit: int = 2, pool: object = POOL, queue: object = QUEUE) -> None:
    """What an operator does before the first lock."""
    znode.create(path, str(limit), acls=pool, zk_hosts=hosts, **OPERATORS)
    znode.create(f"{path}-__lock__", acls=queue, zk_hosts=hosts, **OPERATORS)


def limit_by_quota(hosts: str, path: str) -> None:
    """What an operator does where minions must not force: two leases and a limit of three znodes, the pool included."""
    prepare(hosts, path)
    quota = [may("operators", "all"), may("minions", "r"), may("auditors", "r")]
    limits = {"acls": quota, "makepath": True, "zk_hosts": hosts, **OPERATORS}
    quota_path = f"/zookeeper/quota{path}"
    znode.create(f"{quota_path}/zookeeper_limits", "count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=3", **limits)
    znode.create(f"{quota_path}/zookeeper_stats", "count=0,bytes=0", **limits)


@pytest.fixture
def pool(hosts: str, root: str) -> str:
    prepare(hosts, root)
    return root


@pytest.fixture
def take(hosts: str) -> Callable[..., bool]:
    """Lock as the minions."""

    def take(path: str, identifier: str, **more: object) -> bool:
        arguments = {"max_concurrency": 2, "timeout": 5, "default_acl": DEFAULT, **MINIONS, **more}
        return lock(path, hosts, identifier=identifier, **arguments)

    return take


class TestTheThreeRoles:
    def test_minions_lock_wait_and_unlock(self, hosts, pool, take, zk, wait_until):
        assert take(pool, "web1")
        assert take(pool, "web2", ephemeral_lease=True)
        third = Waiting(take, pool, "web3", timeout=30)
        wait_until(lambda: len(status(pool, zk_hosts=hosts, **AUDITORS)["waiters"]) == 1, "web3 waits")
        assert unlock(pool, hosts, identifier="web1", **MINIONS)
        assert third.result()
        assert sorted(lock_holders(pool, hosts, **MINIONS)) == ["web2", "web3"]

    def test_auditors_look_and_nothing_else(self, hosts, pool, take):
        take(pool, "web1")
        assert lock_holders(pool, hosts, **AUDITORS) == ["web1"]
        assert status(pool, zk_hosts=hosts, **AUDITORS)["max_concurrency"] == 2
        for forbidden in (
            lambda: lock(pool, hosts, identifier="x", max_concurrency=2, timeout=5, **AUDITORS),
            lambda: lock(pool, hosts, identifier="x", max_concurrency=2, force=True, **AUDITORS),
            lambda: unlock(pool, hosts, identifier="web1", **AUDITORS),
            lambda: set_max(pool, 3, zk_hosts=hosts, **AUDITORS),
            lambda: znode.set_acls(pool, [may("auditors", "all")], zk_hosts=hosts, **AUDITORS),
        ):
            with pytest.raises(errors.NoAuth, match="as digest:auditors"):
                forbidden()
        assert lock_holders(pool, hosts, **AUDITORS) == ["web1"]

    def test_minions_change_neither_the_limit_nor_a_lease_nor_an_acl(self, hosts, pool, take):
        take(pool, "web1")
        (lease,) = znode.children(pool, zk_hosts=hosts, **OPERATORS)
        for path in (pool, f"{pool}-__lock__", f"{pool}/{lease}"):
            with pytest.raises(errors.NoAuth, match=rf"write {path} as digest:minions"):
                znode.set(path, "x", zk_hosts=hosts, **MINIONS)
            with pytest.raises(errors.NoAuth, match=rf"change the ACL of {path} as digest:minions"):
                znode.set_acls(path, DEFAULT, zk_hosts=hosts, **MINIONS)
        with pytest.raises(errors.NoAuth):
            set_max(pool, 9, zk_hosts=hosts, **MINIONS)

    def test_operators_do_everything(self, hosts, pool, take):
        take(pool, "web1")
        assert lock(pool, hosts, identifier="op", max_concurrency=2, force=True, **OPERATORS)
        assert set_max(pool, 3, zk_hosts=hosts, **OPERATORS)["new"] == 3
        assert unlock(pool, hosts, identifier="web1", **OPERATORS)

    def test_strangers_do_nothing(self, hosts, pool, take):
        take(pool, "web1")
        for who in (STRANGERS, {}):
            for forbidden in (lock_holders, unlock, lock):
                with pytest.raises(errors.NoAuth):
                    forbidden(pool, hosts, identifier="web1", max_concurrency=2, timeout=5, **who)

    def test_minions_do_not_make_pools_where_they_may_not(self, hosts, root, take):
        znode.create(root, acls=[may("operators", "all"), may("minions", "r")], zk_hosts=hosts, **OPERATORS)
        for force in (False, True):
            with pytest.raises(errors.NoAuth, match=rf"create {root}/new.* as digest:minions"):
                take(f"{root}/new", "web1", force=force)


# What a call needs on the pool and on its queue: with it, it succeeds, and without any one of it, it does not.
NEEDS = {
    "lock": ("cr", "crd", lambda path, **it: lock(path, identifier="a", max_concurrency=5, timeout=5, **it)),
    "unlock": ("dr", "", lambda path, **it: unlock(path, identifier="held", **it)),
    "force": ("cr", "crd", lambda path, **it: lock(path, identifier="a", force=True, **it)),
    "lock_holders": ("r", "", lock_holders),
    "status": ("r", "r", status),
    "set_max": ("rw", "", lambda path, **it: set_max(path, 7, **it)),
}


@pytest.mark.parametrize(("on_pool", "on_queue", "call"), NEEDS.values(), ids=NEEDS)
def test_the_table_of_what_each_call_needs(hosts, root, on_pool, on_queue, call):
    def attempt(path: str, on_pool: str, on_queue: str) -> object:
        acls = [[may("operators", "all"), may("minions", perms)] if perms else OWN for perms in (on_pool, on_queue)]
        prepare(hosts, path, 5, *acls)
        lock(path, hosts, identifier="held", max_concurrency=5, timeout=5, default_acl=DEFAULT, **OPERATORS)
        return call(path, zk_hosts=hosts, **MINIONS)

    assert attempt(root, on_pool, on_queue)
    for missing in on_pool:
        with pytest.raises(errors.NoAuth, match="as digest:minions"):
            attempt(f"{root}-without-{missing}", on_pool.replace(missing, ""), on_queue)
    for missing in on_queue:
        with pytest.raises(errors.NoAuth, match="as digest:minions"):
            attempt(f"{root}-queue-without-{missing}", on_pool, on_queue.replace(missing, ""))


class TestWhatAclsCannotTell:
    def test_force_is_no_other_permission_than_lock(self, hosts, pool, take):
        assert take(pool, "web1")
        assert take(pool, "web2")
        assert take(pool, "web3", force=True)
        assert len(status(pool, zk_hosts=hosts, **AUDITORS)["holders"]) == 3, "and it is seen: 3 of 2"

    def test_who_may_unlock_may_unlock_what_is_anothers(self, hosts, pool, take):
        assert lock(pool, hosts, identifier="op", max_concurrency=2, default_acl=DEFAULT, **OPERATORS)
        assert unlock(pool, hosts, identifier="op", **MINIONS)

    def test_an_identifier_is_what_one_says_it_is(self, hosts, pool, take):
        assert take(pool, "web2")
        assert lock_holders(pool, hosts, **AUDITORS) == ["web2"]

    def test_acls_are_not_inherited_and_a_chroot_is_no_wall(self, hosts, root):
        team = [may("operators", "all")]
        znode.create(root, acls=team, zk_hosts=hosts, **OPERATORS)
        assert lock("/pool", f"{hosts}{root}", identifier="a", **OPERATORS), "no default_acl"
        assert lock_holders(f"{root}/pool", hosts, **STRANGERS) == ["a"]
        assert unlock(f"{root}/pool", hosts, identifier="a", **STRANGERS)

    def test_with_a_default_acl_of_its_own_a_team_has_its_pools_to_itself(self, hosts, root):
        team = {"zk_hosts": f"{hosts}{root}", "default_acl": "creator_all", **MINIONS}
        assert lock("/pool", identifier="a", **team)
        for forbidden in (lock_holders, unlock):
            with pytest.raises(errors.NoAuth, match=f"{root}/pool"):
                forbidden("/pool", f"{hosts}{root}", identifier="a", **STRANGERS)
        with pytest.raises(errors.NoAuth, match=f"create {root}/other"):
            lock("/other", f"{hosts}{root}", identifier="a", **STRANGERS)


class TestNobodyFreesWhatIsAnothers:
    """Without `d` on the pool."""

    @pytest.fixture
    def pool(self, hosts, root):
        prepare(hosts, root, pool=[may("operators", "all"), may("minions", "cr"), may("auditors", "r")])
        return root

    def test_an_ephemeral_lease_ends_with_its_process_and_not_before(self, hosts, pool, take, script, wait_until):
        holder = script(
            """
            user = {"username": name, "password": secret, "default_acl": acl}
            assert zkcoord.lock(root, hosts, "web1", 2, 5, True, session_timeout=2, **user)
            print("held")
            threading.Event().wait()
            """,
            acl=DEFAULT,
            name=MINIONS["username"],
            secret=MINIONS["password"],
        )
        assert holder.line() == "held"
        with pytest.raises(errors.NoAuth, match=rf"delete {pool}/\w+ as digest:minions"):
            unlock(pool, hosts, identifier="web1", **MINIONS)
        assert lock_holders(pool, hosts, **AUDITORS) == ["web1"]
        holder.end()
        wait_until(lambda: not lock_holders(pool, hosts, **AUDITORS), "the lease is gone with its session", 30)

    def test_close_ends_it_sooner(self, hosts, pool, take):
        take(pool, "web1", ephemeral_lease=True)
        zkcoord.close()
        assert lock_holders(pool, hosts, **AUDITORS) == []

    def test_a_persistent_lease_is_the_operators_to_free(self, hosts, pool, take):
        take(pool, "web1")
        with pytest.raises(errors.NoAuth):
            unlock(pool, hosts, identifier="web1", **MINIONS)
        assert unlock(pool, hosts, identifier="web1", **OPERATORS)


@pytest.fixture(scope="module")
def strict() -> Iterator[str]:
    """A server that enforces quotas."""
    with Ensemble(1, config={"enforceQuota": "true"}) as ensemble:
        yield ensemble.hosts
        zkcoord.close()


class TestOnlyOperatorsForce:
    """Servers with `enforceQuota=true` let nobody put more leases into a pool than its quota says."""

    @pytest.fixture
    def pool(self, strict, root):
        limit_by_quota(strict, root)
        return root

    @pytest.fixture
    def minion(self, strict) -> Callable[..., bool]:
        def minion(path: str, identifier: str, **more: object) -> bool:
            arguments = {"max_concurrency": 2, "timeout": 5, "default_acl": DEFAULT, **MINIONS, **more}
            return lock(path, strict, identifier=identifier, **arguments)

        return minion

    @pytest.mark.zookeeper("3.7")
    def test_minions_lock_up_to_the_limit_and_not_beyond(self, strict, pool, minion):
        assert minion(pool, "web1")
        assert minion(pool, "web2")
        assert not minion(pool, "web3", timeout=0)
        with pytest.raises(errors.ServerError, match=rf"could not create {pool}/\w+: exceed path quota"):
            minion(pool, "web3", force=True)
        assert sorted(lock_holders(pool, strict, **AUDITORS)) == ["web1", "web2"]
        assert unlock(pool, strict, identifier="web1", **MINIONS)
        assert minion(pool, "web3", timeout=0)

    def test_minions_do_not_touch_the_quota(self, strict, pool):
        limits = f"/zookeeper/quota{pool}/zookeeper_limits"
        for forbidden in (
            lambda: znode.set(limits, "count=-1,bytes=-1", zk_hosts=strict, **MINIONS),
            lambda: znode.delete(limits, zk_hosts=strict, **MINIONS),
            lambda: znode.delete(f"/zookeeper/quota{pool}", recursive=True, zk_hosts=strict, **MINIONS),
        ):
            with pytest.raises(errors.NoAuth):
                forbidden()

    @pytest.mark.zookeeper("3.7")
    def test_an_operator_raises_the_quota_and_then_forces(self, strict, pool, minion):
        minion(pool, "web1")
        minion(pool, "web2")
        with pytest.raises(errors.ServerError, match="quota"):
            lock(pool, strict, identifier="op", max_concurrency=2, force=True, **OPERATORS)
        more = "count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=4"
        znode.set(f"/zookeeper/quota{pool}/zookeeper_limits", more, zk_hosts=strict, **OPERATORS)
        assert lock(pool, strict, identifier="op", max_concurrency=2, force=True, **OPERATORS)

    @pytest.mark.zookeeper("3.7")
    def test_a_full_pool_swaps_no_lease(self, strict, pool, minion):
        minion(pool, "web1")
        minion(pool, "web2", ephemeral_lease=True)
        with pytest.raises(errors.ServerError, match="quota"):
            minion(pool, "web2")

    @pytest.mark.zookeeper("3.7")
    def test_kazoo_is_stopped_too(self, strict, pool, minion):
        minion(pool, "web1")
        minion(pool, "web2")
        client = KazooClient(strict, auth_data=[("digest", "minions:minions-pw")])
        client.start(timeout=30)
        try:
            with pytest.raises(QuotaExceededError):
                client.create(f"{pool}/lease")
            assert len(children(client, pool)) == 2
        finally:
            client.stop()
            client.close()


@pytest.mark.zookeeper("3.7")
def test_what_comes_in_the_same_instant_may_pass_the_quota(root):
    """The leader checks all of it before the followers have confirmed the first."""
    with Ensemble(3, config={"enforceQuota": "true"}) as servers:
        limit_by_quota(servers.hosts, root)
        zkcoord.close()
        leader = servers.leader()
        followers = [server for server in servers.servers if server is not leader]
        client = KazooClient(leader.address, auth_data=[("digest", "minions:minions-pw")])
        client.start(timeout=30)
        try:
            for follower in followers:
                follower.pause()
            creating = [client.create_async(f"{root}/lease-{number}") for number in range(20)]
            time.sleep(0.5)
            for follower in followers:
                follower.resume()
            for created in creating:
                created.wait(30)
            assert sum(created.successful() for created in creating) > 2
        finally:
            client.stop()
            client.close()
