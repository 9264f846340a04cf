"""`Connection`: resolved once, shared by those that are equal, ended when nobody uses it."""

import os
import threading
import time

import pytest
import zkcoord
from zkcoord import Connection, errors, hold, lock, lock_holders, status, unlock, znode

from tests.support.calls import Waiting, children, queue

SECRET = "hunter2-canary"


def connections():
    """How many sockets this process has open to anybody."""
    found = 0
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            found += os.readlink(f"/proc/self/fd/{descriptor}").startswith("socket:")
        except FileNotFoundError:
            continue
    return found


def test_it_is_frozen_and_equal_to_its_like_and_shows_no_secret():
    one, same = (Connection("a:1", username="u", password=SECRET, default_acl="creator_all") for _ in range(2))
    assert one == same
    assert len({one, same, Connection("a:1")}) == 2
    assert one != Connection("a:1", username="u", password="other")
    with pytest.raises(AttributeError):
        one.hosts = "b:1"
    assert SECRET not in repr(one) + str(one)
    assert repr(one).startswith("Connection('a:1', user='digest:u', session_timeout=10")


def test_it_stands_for_the_keywords(hosts, root):
    connection = Connection(hosts, session_timeout=5)
    assert lock(root, connection=connection, identifier="a")
    assert zkcoord.status(root, connection=connection)["holders"][0]["identifier"] == "a"
    assert unlock(root, connection=connection, identifier="a")
    with hold(root, connection=connection):
        assert znode.exists(root, connection=connection)
    with pytest.raises(errors.ArgumentError, match=r"^connection: is given, and so is zk_hosts"):
        lock(root, hosts, connection=connection)
    with pytest.raises(errors.ArgumentError, match=r"^connection: is given, and so is username"):
        lock_holders(root, connection=connection, username="u")
    with pytest.raises(errors.ArgumentError, match=r"^connection: must be"):
        lock(root, connection=hosts)


@pytest.mark.parametrize("profile", ["prod", 7, "7"])
def test_what_it_leaves_open_is_in_a_mapping(hosts, root, profile):
    config = {"hosts": "127.0.0.1:1", "prod": {"hosts": hosts, "session_timeout": 5}, 7: {"hosts": hosts}}
    connection = Connection(profile=profile, config=config)
    assert connection.hosts == hosts
    assert lock(root, profile=profile, config=config)
    assert Connection("b:1", profile=profile, config=config).hosts == "b:1"
    assert Connection(config=config).hosts == "127.0.0.1:1"


@pytest.mark.parametrize("wrong", ["text", 5, ["a"]])
def test_a_configuration_that_is_no_mapping_is_refused(wrong):
    with pytest.raises(errors.ArgumentError, match=r"^config: "):
        Connection(config=wrong)


def test_the_servers_may_be_given_by_position_everywhere(hosts, root):
    assert znode.create(root, "x", hosts) == root
    assert znode.exists(root, hosts)
    assert znode.get(root, hosts) == b"x"
    assert znode.children(root, hosts) == []
    assert znode.set(root, "2", hosts)[4] == 1
    assert znode.get_acls(root, hosts)
    assert znode.set_acls(root, {"scheme": "world", "id": "anyone", "perms": "all"}, hosts)
    assert zkcoord.set_max(root, 3, hosts)["old"] == 2
    assert zkcoord.status(root, hosts)["max_concurrency"] == 3
    znode.delete(root, hosts)


def test_callers_with_other_chroots_share_a_session(ensemble, hosts, root):
    lock(root, hosts)
    before = ensemble.sessions()
    for number in range(20):
        assert lock("/pool", f"{hosts}{root}/tenant-{number}", timeout=10)
    assert ensemble.sessions() == before


def test_many_users_leave_few_connections(hosts, root):
    before = connections()
    for number in range(30):
        assert lock_holders(root, hosts, username=f"user-{number}", password="p") == []
    assert connections() - before <= 6


def test_close_lets_a_wait_begin_anew_and_other_connections_alone(hosts, root, zk, wait_until):
    lock(root, hosts, identifier="h")
    mine, other = Connection(hosts, session_timeout=7), Connection(hosts, session_timeout=8)
    held = hold(f"{root}-2", connection=other, identifier="a")
    lost = hold(f"{root}-3", connection=mine, identifier="a", on_lost=threading.Event().set)
    waiter = Waiting(lock, root, connection=mine, identifier="w")
    wait_until(lambda: queue(zk, root) == ["w"], "it waits")
    (place,) = children(zk, f"{root}-__lock__")
    mine.close()
    assert lost.lost.wait(10), "its ephemeral lease has gone"
    lost.release()
    assert children(zk, f"{root}-3") == []
    wait_until(lambda: children(zk, f"{root}-__lock__") not in ([], [place]), "it waits again")
    held.check()
    assert not held.lost.is_set()
    unlock(root, hosts, identifier="h")
    assert waiter.result() is True
    assert held.release() is True


def test_those_that_are_equal_share_a_session_and_others_do_not(ensemble, hosts, root):
    zkcoord.close()
    before = ensemble.sessions()
    for connection in (Connection(hosts, username="u", password="p"), Connection(hosts.split(","), **{})):
        assert status(root, connection=connection)["holders"] == []
        assert status(root, hosts)["holders"] == []
    assert status(root, hosts, username="u", password="p")["holders"] == []
    assert len(ensemble.sessions() - before) == 2


def test_a_forked_child_does_nothing_to_the_connection_of_its_parent(script, hosts, root):
    process = script("""
        connection = zkcoord.Connection(hosts)
        with zkcoord.hold(root, connection=connection, identifier="a") as held:
            if os.fork() == 0:
                connection.close()
                print(hash(connection) == hash(zkcoord.Connection(hosts)), flush=True)
                os._exit(0)
            os.wait()
            held.check()
            print("held", flush=True)
    """)
    assert process.result() == "True\nheld"


@pytest.mark.parametrize("name", ["hosts", "user", "session_timeout", "password", "_settings", "anything"])
def test_nothing_of_a_connection_can_be_set_or_deleted(name):
    connection = Connection("a:1", username="u", password="hunter2-canary")
    before = hash(connection)
    with pytest.raises(AttributeError, match="frozen"):
        setattr(connection, name, "b:1")
    with pytest.raises(AttributeError, match="frozen"):
        delattr(connection, name)
    assert hash(connection) == before
    assert "hunter2-canary" not in repr(connection) + repr(vars(type(connection)))


class TestIdle:
    """A session that nobody uses ends after a while."""

    def test_it_ends_and_the_next_call_opens_another(self, ensemble, hosts, root, wait_until):
        zkcoord.close()
        before = ensemble.sessions()
        connection = Connection(hosts, idle_timeout=0.5)
        assert lock(root, connection=connection)
        (mine,) = ensemble.sessions() - before
        wait_until(lambda: mine not in ensemble.sessions(), "it has ended")
        assert unlock(root, connection=connection) is True

    @pytest.mark.parametrize("what", ["hold", "lock", "wait", "znode"])
    def test_it_stays_while_somebody_needs_it(self, ensemble, hosts, root, zk, wait_until, what):
        connection = Connection(hosts, idle_timeout=0.2)
        if what == "hold":
            need = hold(root, connection=connection)
        elif what == "lock":
            assert lock(root, connection=connection, ephemeral_lease=True)
        elif what == "znode":
            znode.create(root, connection=connection, ephemeral=True)
        else:
            lock(root, hosts, identifier="h")
            need = Waiting(lock, root, connection=connection, identifier="w")
            wait_until(lambda: queue(zk, root) == ["w"], "it waits")
        ephemerals = {path for paths in ensemble.ephemerals().values() for path in paths if path.startswith(root)}
        assert len(ephemerals) == 1
        time.sleep(0.8)
        assert ephemerals <= {path for paths in ensemble.ephemerals().values() for path in paths}
        if what == "hold":
            assert need.release() is True
        elif what == "lock":
            assert unlock(root, connection=connection, ephemeral_lease=True)
        elif what == "znode":
            znode.delete(root, connection=connection)
        else:
            unlock(root, hosts, identifier="h")
            assert need.result() is True
        sessions = len(ensemble.sessions())
        wait_until(lambda: len(ensemble.sessions()) < sessions, "it ends once nobody needs it")

    def test_close_ends_one_session_and_no_other(self, hosts, root):
        with Connection(hosts, username="u", password="p") as mine:
            assert lock(root, connection=mine, identifier="a", max_concurrency=2, ephemeral_lease=True)
            assert lock(root, hosts, identifier="b", max_concurrency=2, ephemeral_lease=True)
        assert lock_holders(root, hosts) == ["b"]
