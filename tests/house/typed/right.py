"""What a type checker has nothing to say about. It is read by `tests/house/test_types.py`, and not run."""

from __future__ import annotations

import threading
from typing import Any

import zkcoord
from typing_extensions import assert_type
from zkcoord import aio, confd, coordinator, grants, lease, znode


def calls(config: dict[str, Any]) -> None:
    connection = zkcoord.Connection("a:1,b:1/chroot", profile=7, config=config, session_timeout=5, use_ssl=True)
    assert_type(zkcoord.lock("/p", "a:1", "me", 2, 0.5, True, username="u", password="p"), bool)
    assert_type(zkcoord.lock("/p", ["a:1", "b:1"], on_position=print, on_lost=threading.Event().set), bool)
    assert_type(zkcoord.unlock("/p", connection=connection, timeout=60), bool)
    assert_type(zkcoord.lock_holders("/p", connection=connection), list[str])
    assert_type(zkcoord.party_members("/p", "a:1", 3, True, timeout=None), list[str])
    status = zkcoord.status("/p", "a:1", connect_timeout=1, mechanism="GSSAPI")
    assert_type(status["holders"][0]["fencing_token"], int)
    assert_type(status["holders"][0]["session"], str | None)
    assert_type(status["waiters"][0]["position"], int)
    assert_type(status["free"], int | None)
    assert_type(zkcoord.set_max("/p", 2)["overshoot"], int)
    assert_type(zkcoord.lock("/p", "a:1", max_concurrency="stored"), bool)
    assert_type(zkcoord.evict("/p", "me", "why", "a:1", by="ann")["leases"], list[str])
    with zkcoord.party("/members", "a:1", "me", shallow=True) as membership:
        assert_type(membership, zkcoord.Membership)
        assert_type(membership.lost, threading.Event)
    assert_type(zkcoord.party_join("/members", connection=connection), bool)
    assert_type(zkcoord.party_leave("/members", connection=connection), bool)
    cancel = zkcoord.Cancel()
    with zkcoord.hold("/p", connection=connection, cancel=cancel, ephemeral_lease=False) as hold:
        assert_type(hold, zkcoord.Hold)
        assert_type(hold.token, int)
        assert_type(hold.lost, threading.Event)
        hold.check(timeout=1)
    assert_type(hold.release(), bool)
    assert_type(cancel.cancelled, bool)
    acl = {"username": "u", "password": "p", "read": True}
    assert_type(znode.create("/z", b"x", "a:1", [acl, "creator_all"], ephemeral=True), str)
    assert_type(znode.get("/z", connection=connection), bytes)
    assert_type(znode.children("/z"), list[str])
    assert_type(znode.exists("/z", default_acl=acl), bool)
    zkcoord.close()


def leases(connection: zkcoord.Connection) -> None:
    lock = lease.LeaseLock("/l", "me", connection=connection, timeout=5)
    assert_type(lock.get(), tuple[lease.LockRecord, bytes])
    config = lease.Config(lock=lock, lease_duration=30, use_observed_time=True)
    with lease.LeaseLocker.from_config(config, on_lost=threading.Event().set) as locker:
        assert_type(locker, lease.LeaseLocker)
        assert_type(locker.fencing_token, int | None)
        assert_type(locker.try_lock(), bool)
        locker.check(max_tolerable_expired_lease=2)
    assert_type(lease.take("/l", "me", "a:1", lease_duration=0.5, max_clock_skew=None), lease.Taken | None)
    assert_type(lease.renew("/l", "me", connection=connection), float | None)
    holder = lease.status("/l", "a:1")["holder"]
    assert_type(holder and holder["fencing_token"], int | None)


def asks() -> None:
    asking: confd.Asking = {"peers": ["192.0.2.1"], "hmac_key": b"key", "timeout": 1}
    assert_type(confd.cluster_master(**asking), str)
    assert_type(confd.cluster_master([confd.MasterField.NAME], **asking), list[str])
    assert_type(confd.node_role_by_name("a", require_quorum=False), confd.NodeRole)
    assert_type(confd.node_pip_by_instance_ip("192.0.2.9", "br0"), str)
    assert_type(confd.node_pip_by_instance_ip(["192.0.2.9"], coverage=-1), dict[str, str | None])
    assert_type(confd.node_instances("a").primary[0], dict[str, Any])
    assert_type(confd.node_drbd("a")[0].minor, int)
    assert_type(confd.data_collectors()["drbd"].interval, float)
    answer = confd.query("config_query", "/cluster/tags", **asking)
    assert_type(answer.by_peer["192.0.2.1"].latency, float | None)
    assert_type(answer.consistent, bool)
    store = confd.StoreResultCallback()
    client = confd.ConfdClient("key", ["192.0.2.1"], confd.ConfdFilterCallback(store), port=1814)
    request = confd.ConfdClientRequest(type=confd.CONFD_REQ_PING)
    client.SendRequest(request, args=(1, 2), coverage=-1)
    assert_type(client.WaitForReply(request.rsalt, timeout=2), tuple[bool, int, int])


async def waits() -> None:
    async with aio.hold("/p", "a:1", identifier="me") as hold:
        await hold.check()
        assert_type(await hold.release(), bool)
    assert_type(await aio.lock("/p", "a:1"), bool)
    assert_type((await aio.status("/p"))["holders"][0]["fencing_token"], int)
    assert_type(await aio.znode_get("/z"), bytes)


def fails() -> str | None:
    try:
        zkcoord.lock("/p")
    except zkcoord.errors.Cancelled as error:
        assert_type(error.answer, object)
    except zkcoord.errors.Error as error:
        assert_type(error.kind, str)
        return error.path
    return None


class Racks(coordinator.BaseCoordinator):
    def default_grant(self, lock: str, unit: str, granted: set[str], queue: list[str]) -> bool:
        return len(granted) < 2


def coordinated() -> None:
    serial = coordinator.Serial(unit="a", zk_hosts="a:1", policy={"max": 2})
    with serial.hook() as hook:
        assert_type(hook.acquire("restart", reason="kernel", labels={"rack": 1}, expires=60), bool)
        assert_type(hook.granted("restart"), bool)
        assert_type(hook.grants, dict[str, dict[str, str]])
        assert_type(hook.queue("restart")["waiters"][0]["position"], int)
    assert_type(grants.acquire("restart", "a", policy="serial")["position"], int | None)
    assert_type(grants.release("restart", connection=zkcoord.Connection("a:1"))["granted"], bool)
    assert_type(grants.grant("restart", "a", reason="why"), bool)
    assert_type(grants.granted("a", [1], timeout=0)["granted"][0]["token"], int | None)
