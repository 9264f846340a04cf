"""Sessions: shared, surviving a lost connection, replaced when they expired."""

import time

import pytest
import zkcoord
from zkcoord import errors, lock, lock_holders, unlock

from tests.support.calls import Waiting, children, queue, settings


def test_callers_with_the_same_settings_share_one_session(ensemble, hosts, root):
    lock(root, hosts, identifier="a")
    before = ensemble.sessions()
    lock_holders(root, hosts.split(","))
    unlock(root, hosts, identifier="a")
    assert ensemble.sessions() == before


def test_a_cut_connection_between_two_calls_is_no_matter(proxies, root):
    assert lock(root, proxies.hosts, identifier="a")
    for proxy in proxies:
        proxy.cut()
    assert lock_holders(root, proxies.hosts) == ["a"]
    assert unlock(root, proxies.hosts, identifier="a") is True


def test_a_waiter_survives_a_cut_connection_and_keeps_its_place(proxies, hosts, root, zk, wait_until):
    lock(root, hosts, identifier="a")
    waiter = Waiting(lock, root, proxies.hosts, identifier="b")
    wait_until(lambda: queue(zk, root) == ["b"], "b waits")
    place = children(zk, f"{root}-__lock__")
    for proxy in proxies:
        proxy.cut()
    later = Waiting(lock, root, hosts, identifier="c")
    wait_until(lambda: queue(zk, root) == ["b", "c"], "c waits behind b")
    assert set(place) < set(children(zk, f"{root}-__lock__"))
    unlock(root, hosts, identifier="a")
    assert waiter.result() is True
    unlock(root, hosts, identifier="b")
    assert later.result() is True


def test_a_release_during_an_outage_of_the_connection_is_not_missed(proxies, hosts, root, zk, wait_until):
    lock(root, hosts, identifier="a")
    waiter = Waiting(lock, root, proxies.hosts, identifier="b")
    wait_until(lambda: queue(zk, root) == ["b"], "b waits")
    for proxy in proxies:
        proxy.refuse()
    unlock(root, hosts, identifier="a")
    for proxy in proxies:
        proxy.accept()
    assert waiter.result() is True


def test_an_ephemeral_lease_survives_a_cut_connection(proxies, hosts, root):
    lock(root, proxies.hosts, identifier="a", ephemeral_lease=True)
    for proxy in proxies:
        proxy.cut()
    assert lock(root, proxies.hosts, identifier="a", ephemeral_lease=True)
    assert lock_holders(root, hosts) == ["a"]


def test_a_waiter_whose_session_expired_queues_again(proxies, hosts, root, zk, wait_until):
    lock(root, hosts, identifier="a")
    short = settings(session_timeout=1)
    waiter = Waiting(lock, root, proxies.hosts, identifier="b", config_get=short)
    wait_until(lambda: queue(zk, root) == ["b"], "b waits")
    (before,) = children(zk, f"{root}-__lock__")
    for proxy in proxies:
        proxy.stall()
    wait_until(lambda: queue(zk, root) == [], "the server has ended b's session")
    for proxy in proxies:
        proxy.resume()
    wait_until(lambda: queue(zk, root) == ["b"], "b waits again")
    assert children(zk, f"{root}-__lock__") != [before]
    unlock(root, hosts, identifier="a")
    assert waiter.result() is True


def test_a_call_after_an_expiry_gets_a_new_session(proxies, ensemble, hosts, root, wait_until):
    short = settings(session_timeout=1)
    lock(root, proxies.hosts, identifier="a", ephemeral_lease=True, config_get=short)
    for proxy in proxies:
        proxy.stall()
    wait_until(lambda: lock_holders(root, hosts) == [], "the lease has gone with its session")
    for proxy in proxies:
        proxy.resume()
    assert lock(root, proxies.hosts, identifier="a", ephemeral_lease=True, config_get=short)
    assert lock_holders(root, hosts) == ["a"]


def test_a_timeout_during_an_outage_is_an_error_that_names_the_hosts(proxies, hosts, root, zk, wait_until):
    lock(root, hosts, identifier="a")
    waiter = Waiting(lock, root, proxies.hosts, identifier="b", timeout=1, config_get=settings(session_timeout=2))
    wait_until(lambda: queue(zk, root) == ["b"], "b waits")
    for proxy in proxies:
        proxy.stall()
    with pytest.raises(errors.Unreachable, match=proxies.hosts):
        waiter.result()
    for proxy in proxies:
        proxy.resume()
    wait_until(lambda: queue(zk, root) == [], "the place is tidied away")
    assert lock_holders(root, hosts) == ["a"]


def test_the_death_of_the_leader_is_survived(ensemble, hosts, root, zk, wait_until):
    lock(root, hosts, identifier="a")
    waiter = Waiting(lock, root, hosts, identifier="b", timeout=60)
    wait_until(lambda: queue(zk, root) == ["b"], "b waits")
    leader = ensemble.leader()
    leader.kill()
    try:
        assert unlock(root, hosts, identifier="a") is True
        assert waiter.result(60) is True
        assert lock_holders(root, hosts) == ["b"]
    finally:
        leader.start()
        ensemble.wait_ready()


def test_a_paused_majority_is_survived(ensemble, hosts, root, zk, wait_until):
    lock(root, hosts, identifier="a")
    waiter = Waiting(lock, root, hosts, identifier="b", timeout=60)
    wait_until(lambda: queue(zk, root) == ["b"], "b waits")
    for server in ensemble.servers[:2]:
        server.pause()
    time.sleep(1)
    for server in ensemble.servers[:2]:
        server.resume()
    ensemble.wait_ready()
    assert unlock(root, hosts, identifier="a") is True
    assert waiter.result(60) is True


def test_close_ends_the_session_and_later_calls_open_another(ensemble, hosts, root):
    lock(root, hosts, identifier="a", ephemeral_lease=True)
    before = ensemble.sessions()
    zkcoord.close()
    assert len(ensemble.sessions()) == len(before) - 1
    assert lock_holders(root, hosts) == []
