"""The beacon: it tells of each grant once, and of none that a run knows already."""

from __future__ import annotations

import threading

import pytest
from zkcoord import grants


@pytest.fixture
def told():
    """What went over the minion's bus."""
    return []


@pytest.fixture
def beacon(monkeypatch, config, told, hosts, tmp_path):
    """The beacon in this process, on the minion `probe`."""
    import salt.utils.event
    from saltext.zkcoord.beacons import zk_coordinator
    from saltext.zkcoord.utils import watched_grants

    class Bus:
        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def fire_event(self, data, tag):
            assert tag == "__beacons_return"
            told.extend(data["beacons"])

    def get_event(node, opts, listen):
        assert (node, listen) == ("minion", False)
        return Bus()

    monkeypatch.setattr(salt.utils.event, "get_event", get_event)
    monkeypatch.setattr(watched_grants, "_SPREAD", 0.1)
    monkeypatch.setattr(watched_grants, "_BUSY", 0.1)
    monkeypatch.setattr(watched_grants, "_remembered", {})
    opts = {"id": "probe", "grains": {}, "pillar": {"zookeeper": {"hosts": hosts}}, "cachedir": str(tmp_path)}
    for name, value in {"__opts__": opts, "__salt__": {}}.items():
        monkeypatch.setattr(zk_coordinator, name, value, raising=False)
    yield zk_coordinator
    for name in list(watched_grants._watches):
        watched_grants.stop(name)
    for thread in threading.enumerate():  # one that goes on would open a session once all are closed
        if thread.name == "zk_coordinator":
            thread.join(10)


@pytest.fixture
def place(hosts, root):
    return {"key": "salt", "root": root, "zk_hosts": hosts}


def locks(told):
    return [event["data"]["lock"] for event in told]


def test_a_grant_is_told_once_and_at_once(beacon, told, place, root, wait_until):
    grants.acquire("restart", "web1", **place)
    grants.acquire("restart", "probe", **place)
    config = [{"root": root}, {"again": 0}, {"_beacon_name": "zk_coordinator"}]
    assert beacon.beacon(config) == []
    threads = threading.active_count()
    assert beacon.beacon(config) == []
    assert threading.active_count() == threads, "one thread, however often Salt asks"
    grants.release("restart", "web1", **place)
    wait_until(lambda: told, "it is told", 5)
    (event,) = told
    assert (event["tag"], event["beacon_name"]) == ("salt/beacon/probe/zk_coordinator/granted", "zk_coordinator")
    data = event["data"]
    assert (data["lock"], data["by"], data["id"]) == ("restart", "web1", "probe")
    assert data["token"] == grants.queue("restart", **place)["holders"][0]["token"]
    grants.acquire("reboot", "web1", **place)
    grants.acquire("reboot", "probe", **place)
    grants.release("reboot", "web1", **place)
    wait_until(lambda: len(told) == 2, "a lock that is new is seen, too", 5)
    assert locks(told) == ["restart", "reboot"]


def test_what_a_run_was_granted_at_once_is_not_told_so_that_nothing_goes_round(beacon, told, place, root, wait_until):
    """A run that asks without a condition is granted the lock, acts, and gives it back; and that is all."""
    beacon.beacon([{"root": root}])
    for _ in range(3):
        assert grants.acquire("restart", "probe", **place)["granted"]
        grants.release("restart", "probe", **place)
    grants.acquire("other", "web1", **place)
    grants.acquire("other", "probe", **place)
    grants.release("other", "web1", **place)
    wait_until(lambda: told, "the other is told", 5)
    assert locks(told) == ["other"]


def test_a_grant_that_is_still_held_is_told_again(beacon, told, place, root, wait_until):
    grants.acquire("restart", "probe", **place)  # its run failed, and nobody runs again
    beacon.beacon([{"root": root}, {"again": 0.3}])
    wait_until(lambda: len(told) >= 2, "again and again", 10)
    assert set(locks(told)) == {"restart"}


def test_a_beacon_that_salt_begins_anew_remembers_what_it_has_told(beacon, told, place, root, wait_until):
    grants.acquire("restart", "web1", **place)
    grants.acquire("restart", "probe", **place)
    beacon.beacon([{"root": root}])
    grants.release("restart", "web1", **place)
    wait_until(lambda: told, "it is told", 5)
    for lock in ("second", "third"):
        beacon.close([{"root": root}])
        beacon.beacon([{"root": root}])
        grants.acquire(lock, "web1", **place)
        grants.acquire(lock, "probe", **place)
        grants.release(lock, "web1", **place)
        wait_until(lambda: locks(told)[-1] == lock, "the other is told", 5)  # noqa: B023 - called at once
    assert locks(told) == ["restart", "second", "third"]


def test_a_grant_is_not_told_again_while_a_run_goes_on(beacon, told, place, root, monkeypatch, wait_until):
    import salt.utils.minion

    asked, jobs = [], [{"fun": "test.sleep"}, {"fun": "state.apply"}]
    monkeypatch.setattr(salt.utils.minion, "running", lambda opts: asked.append(opts["id"]) or list(jobs))
    grants.acquire("restart", "probe", **place)
    beacon.beacon([{"root": root}, {"again": 0.3}])
    wait_until(lambda: len(asked) >= 3, "it would have been told", 10)
    assert told == []
    jobs.clear()
    wait_until(lambda: told, "the run has ended, and has kept it", 10)


def test_a_minion_that_is_there_does_not_expire(beacon, told, place, root, zk, wait_until):
    grants.acquire("restart", "web1", **place)
    grants.acquire("restart", "probe", expires=1, **place)
    path = f"{root}/salt/requests/restart/probe"
    before = zk.exists(path)
    beacon.beacon([{"root": root}])
    wait_until(lambda: zk.exists(path).mtime > before.mtime + 1500, "it was seen again and again", 15)
    assert grants.handle("restart", **place)["dropped"] == []
    grants.release("restart", "web1", **place)
    granted = zk.exists(path)
    wait_until(lambda: zk.exists(path).mtime > granted.mtime + 1500, "while it is granted, too", 15)
    assert zk.exists(path).czxid == before.czxid
    assert grants.handle("restart", **place)["dropped"] == []


def test_what_nobody_has_decided_is_decided_by_the_beacon(beacon, told, place, root, wait_until):
    grants.acquire("restart", "probe", policy={"window": {"from": "00:00", "to": "00:00"}, "max": 1}, **place)
    grants.release("restart", "probe", **place)
    grants.set_policy("restart", {"window": {"days": ["mon"], "from": "00:00", "to": "00:01"}}, **place)
    grants.acquire("restart", "probe", policy={"window": {"days": ["mon"], "from": "00:00", "to": "00:01"}}, **place)
    if grants.queue("restart", **place)["holders"]:
        pytest.fail("it is Monday midnight")
    grants.set_policy("restart", "serial", **place)  # as if the window had opened
    beacon.beacon([{"root": root}])
    wait_until(lambda: told, "it has looked", 5)
    assert told[0]["data"]["by"] == "beacon of probe"


def test_a_lock_that_somebody_has_broken_hides_no_other(beacon, told, place, root, zk, wait_until):
    grants.acquire("broken", "probe", **place)
    zk.set(f"{root}/salt/grants/broken", b"not JSON")
    grants.acquire("restart", "web1", **place)
    grants.acquire("restart", "probe", **place)
    beacon.beacon([{"root": root}])
    grants.release("restart", "web1", **place)
    wait_until(lambda: told, "the other is told", 10)
    assert locks(told) == ["restart"]


def test_it_goes_on_after_the_servers_were_away(beacon, told, place, root, proxies, wait_until):
    beacon.beacon([{"root": root}, {"zk_hosts": proxies.hosts}])
    grants.acquire("restart", "web1", **place)
    grants.acquire("restart", "probe", **place)
    for proxy in proxies:
        proxy.cut()
    grants.release("restart", "web1", **place)
    wait_until(lambda: told, "it is told", 15)
    assert locks(told) == ["restart"]


def test_other_settings_are_another_thread_and_a_closed_beacon_has_none(beacon, root, wait_until):
    from saltext.zkcoord.utils import watched_grants

    beacon.beacon([{"root": root}])
    _, _, first = watched_grants._watches["zk_coordinator"]
    beacon.beacon([{"root": root}, {"again": 60}])
    _, _, second = watched_grants._watches["zk_coordinator"]
    assert second is not first
    wait_until(lambda: not first.is_alive, "the first has ended")
    beacon.close([{"root": root}])
    wait_until(lambda: not second.is_alive, "the second has ended")


def test_the_configuration_is_checked(beacon):
    assert beacon.validate([]) == (True, "Valid beacon configuration")
    assert beacon.validate([{"key": "a"}, {"interval": 5}, {"again": 60}])[0] is True
    assert beacon.validate({"key": "a"})[0] is False
    assert beacon.validate([{"kye": "a"}])[1].startswith(
        "kye: is not known for the zk_coordinator beacon; it has again,"
    )
    assert beacon.validate([{"again": "soon"}])[1] == "again: must be a number of seconds, 0 for never"
