"""The classes of Charmed ZooKeeper's library: the documented methods, and each of its faults mended."""

from __future__ import annotations

import inspect
import logging
import pickle

import pytest
import zkcoord
from kazoo.security import make_acl
from zkcoord import ensemble, errors
from zkcoord.ensemble import ZooKeeperClient, ZooKeeperManager

from tests.ensemble.conftest import SUPER, followers
from tests.ensemble.test_words import serving
from tests.support.calls import children

METHODS = {
    "get_leader get_any_unit server_members config_version members_syncing members_broadcasting add_members "
    "remove_members leader_znodes create_znode_leader set_acls_znode_leader delete_znode_leader get_version "
    "__enter__ __exit__": ZooKeeperManager,
    "config srvr mntr is_ready get_all_znode_children delete_znode create_znode get_acls set_acls __enter__ "
    "__exit__": ZooKeeperClient,
}


def test_all_that_is_documented_is_there_by_its_name_and_in_its_order():
    for names, kind in METHODS.items():
        assert [name for name in names.split() if not hasattr(kind, name)] == []
    parameters = list(inspect.signature(ZooKeeperManager).parameters)
    assert parameters[:9] == [
        "hosts", "username", "password", "client_port", "use_ssl", "keyfile_path", "keyfile_password", "certfile_path",
        "read_only",
    ]  # fmt: skip
    assert list(inspect.signature(ZooKeeperClient).parameters)[:8] == [
        "host", "client_port", "username", "password", "use_ssl", "keyfile_path", "keyfile_password", "certfile_path"
    ]  # fmt: skip
    for name in ("MembersSyncingError", "MemberNotReadyError", "QuorumLeaderNotFoundError", "NoUnitFoundError"):
        assert getattr(ensemble, name) is getattr(errors, name)
        assert issubclass(getattr(ensemble, name), errors.Error)


def test_what_it_tells_of_an_ensemble(lab, manager):
    with manager() as found:
        assert found.server_members == {lab.member(server) for server in lab.servers}
        assert type(found.config_version) is int
        assert found.config_version >= 1 << 32
        assert (found.members_syncing, found.members_broadcasting) == (False, True)
        assert found.get_version().count(".") == 2
        assert found.get_leader() == found.zk_host == lab.leader().address
        assert found.get_any_unit() in found.hosts


def test_hosts_may_be_without_a_port(lab, reserved):
    one = reserved.servers[0]
    manager = ZooKeeperManager([server.host for server in reserved.servers], client_port=one.port, admin_port=0)
    assert manager.zk_host in manager.hosts
    assert len(manager.server_members) == 3
    assert ZooKeeperClient(one.host, one.port).config[0] == ZooKeeperClient(one.address).config[0]


def test_whoever_is_connected_to_a_follower_asks_the_leader_whether_members_sync(lab, manager):
    follower, leader = followers(lab)[0], lab.leader()
    found = manager([follower.address, leader.address], read_only=True)
    assert found.zk_host == follower.address
    assert found.members_syncing is False
    assert found.zk_host == leader.address


def test_a_server_that_runs_and_does_not_serve_is_being_brought_up_to_date(lab, manager):
    found, server = manager(), followers(lab)[0]
    server.kill()
    assert (found.members_syncing, found.members_broadcasting) == (False, False), "it is not there at all"
    with serving(lambda client: client.sendall(b"This ZooKeeper instance is not currently serving requests\n")) as late:
        assert manager([lab.leader().address, late]).members_syncing is True


def test_without_a_leader_among_the_hosts_it_is_not_said_that_nobody_syncs(lab, manager):
    follower = followers(lab)[0]
    with pytest.raises(errors.QuorumLeaderNotFoundError, match=f"{follower.address}: is a follower"):
        manager([follower.address])
    with pytest.raises(errors.QuorumLeaderNotFoundError, match="no server leads"):
        manager([follower.address], read_only=True).members_syncing  # noqa: B018 - it asks


def test_a_silent_host_does_not_cost_all_of_the_time_where_others_answer(lab, manager):
    silent = followers(lab)[0]
    silent.pause()
    found = manager(timeout=60, read_only=True)
    assert not found.members_broadcasting
    assert found.members_syncing is False
    assert found.get_any_unit() != silent.address
    silent.resume()


def test_no_host_that_answers_costs_the_time_once(manager):
    with pytest.raises(errors.QuorumLeaderNotFoundError, match=r"127\.0\.0\.1:1.*refused the connection"):
        manager(["127.0.0.1:1", "127.0.0.1:2"], timeout=1)
    with pytest.raises(errors.NoUnitFoundError, match=r"127\.0\.0\.1:1.*refused the connection"):
        manager(["127.0.0.1:1"], read_only=True)


def test_sasl_that_fails_or_is_not_done_is_an_error(lab, manager, reserved):
    assert manager(username="bob", password="builder").server_members
    with pytest.raises(errors.AuthFailed):
        manager(password="wrong").server_members  # noqa: B018
    hosts = [server.address for server in reserved.servers]
    with pytest.raises(errors.AuthFailed, match="SASL is off there"):
        ZooKeeperManager(hosts, **SUPER, admin_port=0).server_members  # noqa: B018


def test_one_session_is_shared_and_nobodys_logger_is_touched(lab, manager):
    before = lab.sessions()
    found = manager()
    for _ in range(3):
        assert found.server_members
        assert found.config_version
        assert found.leader_znodes("/") is not None
        assert found.members_broadcasting
    assert manager().config_version == found.config_version
    assert len(lab.sessions() - before) == 1
    found.close()
    assert not lab.sessions() - before
    assert not logging.getLogger("kazoo.client").disabled


def test_a_session_that_others_use_outlasts_the_manager(lab, manager):
    found = manager()
    with zkcoord.hold("/held", connection=found._connection) as hold:
        with found:
            assert found.server_members
        hold.check()
        assert not hold.lost.is_set()
    for path in ("/held", "/held-__lock__"):
        found.delete_znode_leader(path)


@pytest.mark.parametrize(
    "options",
    [
        {"hosts": []},
        {"hosts": ""},
        {"hosts": 5},
        {"hosts": [""]},
        {"hosts": ["a", 5]},
        {"timeout": None},
        {"timeout": "10"},
    ],
)
def test_arguments_that_are_none_are_errors_of_ours(options):
    with pytest.raises(errors.ArgumentError, match=r"^(hosts|timeout): "):
        ZooKeeperManager(**{"hosts": "127.0.0.1:1", "timeout": 1, **options})


def test_what_is_no_list_is_an_error_of_ours(lab, manager):
    found = manager()
    with pytest.raises(errors.ArgumentError, match=r"^members: must be a list"):
        found.add_members(None)
    with pytest.raises(errors.ArgumentError, match=r"^ids: must be a list"):
        ensemble.wait_synced(3, lab.hosts)
    with pytest.raises(errors.ArgumentError, match=r"^lines: must be a list"):
        ensemble.set_config(None, lab.hosts)
    with pytest.raises(errors.ArgumentError, match=r"^wanted: must be a list"):
        ensemble.steps([], None)


def test_hosts_may_be_a_text_with_commas_and_what_is_for_tls_is_of_no_use_without_it(lab):
    files = {"certfile_path": "/nowhere/a", "keyfile_path": "/nowhere/b", "keyfile_password": "c"}
    found = ZooKeeperManager(lab.hosts, admin_port=0, client_port=1, **files)
    assert found.hosts == lab.hosts.split(",")
    assert found.zk_host == lab.leader().address


@pytest.mark.parametrize(
    "line", ["Server.3=c:1:2;2181", "sever.3=c:1:2;2181", "group.1=1:2", "version=1", "server.3=c"]
)
def test_a_line_that_is_no_member_is_an_error_and_removes_nobody(lab, line):
    now = ["server.1=a:1:2;2181", "server.2=b:1:2;2181", "server.3=c:1:2;2181"]
    with pytest.raises(errors.ArgumentError, match="member"):
        ensemble.steps(now, [*now[:2], line])
    with pytest.raises(errors.ArgumentError, match="there twice"):
        ensemble.steps(now, [*now, now[0]])
    assert ensemble.steps(now, [*now[:2], f" {now[2]}"]) == [], "a blank before it, as of a template, means nothing"
    if not line.startswith(("group", "version")):
        with pytest.raises(errors.ArgumentError, match="members: "):
            ensemble.set_config([*now[:2], line], lab.hosts)


def test_a_tree_is_the_same_with_and_without_a_slash_and_without_zookeepers_own(lab, manager):
    found = manager()
    for path in ("/app/a/b", "/app/c", "/other"):
        found.create_znode_leader(path)
    assert found.leader_znodes("/app/") == found.leader_znodes("/app") == {"/app", "/app/a", "/app/a/b", "/app/c"}
    assert found.leader_znodes("/") == {"/app", "/app/a", "/app/a/b", "/app/c", "/other"}
    assert ZooKeeperClient(found.zk_host).get_all_znode_children("/other/") == {"/other"}
    with pytest.raises(errors.NoNode):
        found.leader_znodes("/missing")
    for path in ("/app", "/other", "/missing"):
        found.delete_znode_leader(path)
    assert found.leader_znodes("/") == set()


def test_a_znode_that_is_there_is_an_error_of_ours_and_none_stands_for_what_created_znodes_permit(lab, manager):
    found, client = manager(), ZooKeeperClient(lab.leader().address, **SUPER)
    everybody, mine = (31, ("world", "anyone")), (31, ("sasl", "super"))
    found.create_znode_leader("/a/b", [make_acl("sasl", "super", all=True)])
    assert client.get_acls("/a/b") == client.get_acls("/a") == [mine]
    with pytest.raises(errors.NodeExists, match="/a/b exists already"):
        found.create_znode_leader("/a/b")
    found.set_acls_znode_leader("/a/b")
    assert client.get_acls("/a/b") == [everybody]
    client.set_acls("/a/b", {"scheme": "sasl", "id": "super", "perms": "all"})
    assert client.get_acls("/a/b") == [mine]
    client.create_znode("/c", None)
    assert client.get_acls("/c") == [everybody]
    with pytest.raises(errors.NoNode):
        client.set_acls("/missing", None)
    for path in ("/a", "/c"):
        client.delete_znode(path)


def test_one_server_tells_of_itself(lab):
    client = ZooKeeperClient(lab.leader().address, admin_port=0)
    assert client.srvr["Mode"] == "leader"
    assert client.srvr["Latency min/avg/max"].count("/") == 2
    assert client.mntr["zk_peer_state"] == "leading - broadcast"
    assert client.mntr.source == "4lw"
    assert pickle.loads(pickle.dumps(client.mntr)).source == "4lw"
    assert client.is_ready
    assert client.config == (sorted(lab.member(server) for server in lab.servers), client.config[1])
    with pytest.raises(errors.Unreachable, match="refused the connection"):
        ZooKeeperClient("127.0.0.1:1").srvr  # noqa: B018
    assert not ZooKeeperClient("127.0.0.1:1").is_ready


def test_a_server_that_stands_alone_leads_nobody_and_has_no_members():
    from zkcoord.testing import Ensemble

    with Ensemble(1) as alone:
        client = ZooKeeperClient(alone.hosts)
        assert (client.is_ready, client.config) == (False, ([], 0))
        with pytest.raises(errors.QuorumLeaderNotFoundError, match="is a standalone"):
            ZooKeeperManager(alone.hosts)
        manager = ZooKeeperManager(alone.hosts, read_only=True)
        assert (manager.server_members, manager.config_version) == (set(), 0)
        with pytest.raises(errors.UnsafeStep, match="stands alone"):
            manager.remove_members(["1"])


@pytest.mark.parametrize(
    ("hosts", "found"), [("::1", "[::1]:2181"), ("[::1]", "[::1]:2181"), ("[::1]:9", "[::1]:9"), ("zk1", "zk1:2181")]
)
def test_hosts_of_ipv6_are_taken_with_and_without_brackets(hosts, found):
    from zkcoord._servers import server

    assert server(hosts, 2181) == found
    with pytest.raises(errors.ArgumentError):
        server("", 2181)


def test_a_member_that_is_none_is_refused_before_anything_is_sent(manager):
    found = manager()
    for member in ("", "server", "server.x=a:1:2", "4x", "server.4"):
        with pytest.raises(errors.ArgumentError, match=r"^members?: "):
            found.add_members([member])
    for member in ("", "server.", "x", "server.4=", "-1"):
        with pytest.raises(errors.ArgumentError, match=r"^members?: "):
            found.remove_members([member])
    line = "server.9=[2001:db8::8]:2888:3888:participant;[2001:db8::8]:2181"
    with pytest.raises(errors.MemberNotReadyError, match=r"server\.9 cannot join yet"):
        found.add_members([line])


def test_znodes_of_many_levels_come_a_level_at_a_time(lab, manager):
    found = manager()
    znodes = {f"/deep/{one}/{two}" for one in range(12) for two in range(25)}
    for one in range(12):
        found.create_znode_leader(f"/deep/{one}")
    from kazoo.client import KazooClient

    client = KazooClient(lab.hosts)
    client.start()
    for waiting in [client.create_async(path) for path in znodes]:
        waiting.get(10)
    before = lab.mntr()["zk_packets_received"]
    assert znodes <= found.leader_znodes("/deep")
    assert lab.mntr()["zk_packets_received"] - before < 40
    found.delete_znode_leader("/deep")
    assert children(client, "/deep") == []
    client.stop()
    client.close()
