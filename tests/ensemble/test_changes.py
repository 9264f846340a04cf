"""Changing an ensemble: what goes well, what is refused, and what becomes of it when something breaks meanwhile."""

from __future__ import annotations

import re
import resource
import time
from pathlib import Path

import pytest
import zkcoord
from zkcoord import ensemble, errors
from zkcoord.testing import Ensemble, Op, proxied

from tests.ensemble.conftest import DIGEST, SUPER, followers
from tests.support.calls import Waiting, wait_until

NOT_YET = (
    errors.NoQuorum,
    errors.MembersSyncingError,
    errors.QuorumLeaderNotFoundError,
    errors.NoUnitFoundError,
    errors.MemberNotReadyError,
)


def members(lab, *servers):
    return {lab.member(server) for server in servers or lab.servers}


def test_a_server_is_added_and_removed_one_at_a_time(lab, manager):
    found, first = manager(timeout=20), lab.add()
    second = lab.add(observer=True)
    lab.wait_ready()
    lines = [lab.member(first), lab.member(second, observer=True)]
    before = found.config_version
    found.add_members(lines)
    assert found.server_members == {*members(lab, *lab.servers[:4]), lines[1]}
    assert found.config_version > before
    status = ensemble.status(lab.hosts, admin_port=0)
    assert {row["id"]: row["role"] for row in status["servers"]}[5] == "observer"
    assert all(row["in_sync"] for row in status["servers"])
    version = found.config_version
    found.add_members(lines)
    assert found.config_version == version, "they are there already"
    found.remove_members([*lines, "77"])
    assert found.server_members == members(lab, *lab.servers[:3])


def test_an_observer_is_made_a_participant_by_adding_it_as_one(lab, manager):
    found, server = manager(timeout=20), lab.add(observer=True)
    lab.wait_ready()
    found.add_members([lab.member(server, observer=True)])
    found.add_members([lab.member(server)])
    assert lab.member(server) in found.server_members
    wait_until(lambda: server.mode() == "follower", "it votes")


def test_a_server_that_is_not_there_is_an_error_and_not_passed_over(lab, manager):
    found, version = manager(), None
    version = found.config_version
    started = time.monotonic()
    with pytest.raises(errors.MemberNotReadyError, match=r"server\.4 cannot join yet: it refused the connection"):
        found.add_members(["server.4=127.0.0.1:1:2:participant;127.0.0.1:3"])
    assert time.monotonic() - started < 2
    assert found.config_version == version


def test_a_silent_server_is_not_waited_for_beyond_the_calls_time(lab, manager, joining):
    found = manager(timeout=4)
    joining.pause()
    started = time.monotonic()
    with pytest.raises(errors.MemberNotReadyError, match="has not answered within"):
        found.add_members([lab.member(joining)])
    assert time.monotonic() - started < 4
    joining.resume()


def test_a_server_of_another_ensemble_is_not_added(lab, manager, reserved):
    stranger = next(server for server in reserved.servers if server.mode() == "follower")
    line = reserved.member(stranger).replace(f"server.{stranger.number}=", "server.9=")
    with pytest.raises(errors.MemberNotReadyError, match=r"server\.9 cannot join yet: .*another ensemble"):
        manager().add_members([line])


def test_ids_and_addresses_that_are_taken_are_refused(lab, manager, joining):
    found, first = manager(), lab.member(lab.servers[0])
    for line in (first.replace("=127.0.0.1", "=127.0.0.9"), first.replace("server.1", "server.9")):
        with pytest.raises(errors.UnsafeStep, match="taken"):
            found.add_members([line])
    elsewhere = first.replace("=127.0.0.1", "=127.0.0.9")
    with pytest.raises(errors.UnsafeStep, match="is no member: id 1 is"):
        found.remove_members([elsewhere])


def test_no_step_loses_the_quorum(lab, manager):
    found, dead = manager(), followers(lab)[0]
    dead.kill()
    alive = next(server for server in followers(lab) if server is not dead)
    with pytest.raises(errors.NoQuorum, match=rf"server\.{dead.number} refused the connection"):
        found.remove_members([str(alive.number)])
    found.remove_members([str(dead.number)])
    assert found.server_members == members(lab, *(it for it in lab.servers if it is not dead))


def test_the_servers_refuse_fewer_than_two_participants_and_why_is_said(lab, manager):
    found = manager()
    found.remove_members([followers(lab)[0].number])
    with pytest.raises(errors.UnsafeStep, match="standaloneEnabled"):
        found.remove_members([followers(lab)[1].number])
    observing = [line.replace("participant", "observer") for line in found.server_members]
    with pytest.raises(errors.UnsafeStep, match="no participant"):
        ensemble.set_config(observing, lab.hosts, **DIGEST)


def test_the_leader_goes_and_another_one_leads(lab, manager):
    found, leader = manager(timeout=20), lab.leader()
    found.remove_members([leader.number])
    wait_until(lambda: found.get_leader() != leader.address, "the one that was removed says no more that it leads")
    assert len(found.server_members) == 2


def test_whoever_may_not_change_it_learns_who_may(lab, manager):
    with pytest.raises(errors.ReconfigForbidden, match=r"as sasl:bob: the ACL of /zookeeper/config .*set_acls") as it:
        manager(username="bob", password="builder").remove_members(["1"])
    assert isinstance(it.value, PermissionError)
    with pytest.raises(errors.ReconfigForbidden, match="as anonymous"):
        manager(username=None, password=None).remove_members(["1"])
    entries = [{"scheme": "sasl", "id": "bob", "perms": "rw"}, {"scheme": "world", "id": "anyone", "perms": "r"}]
    zkcoord.znode.set_acls("/zookeeper/config", entries, lab.hosts, **DIGEST)
    bob = manager(username="bob", password="builder")
    bob.remove_members([followers(lab)[0].number])
    assert len(bob.server_members) == 2
    open_to_read = {"scheme": "world", "id": "anyone", "perms": "r"}
    zkcoord.znode.set_acls("/zookeeper/config", open_to_read, lab.hosts, **DIGEST)


def test_servers_that_are_told_so_refuse_all_changes(ensemble):
    from zkcoord import ensemble as administered

    before = administered.config(ensemble.hosts)
    with pytest.raises(errors.ReconfigDisabled, match="reconfigEnabled=true"):
        administered.remove_member(followers(ensemble)[0].number, ensemble.hosts)
    assert administered.config(ensemble.hosts) == before


def test_a_step_planned_from_another_version_is_not_taken(lab, super_user, joining):
    version = ensemble.config(connection=super_user)[1]
    decided = ensemble.add_member(lab.member(joining), connection=super_user, only_decide=True, admin_port=0)
    assert decided["changed"]
    assert ensemble.config(connection=super_user)[1] == version, "nothing was sent"
    ensemble.add_member(lab.member(joining), connection=super_user, version=version, admin_port=0)
    with pytest.raises(errors.ReconfigConflict, match=f"planned from {version:x}"):
        ensemble.remove_member(joining.number, connection=super_user, version=version, admin_port=0)


def test_of_two_managers_at_once_both_are_told_the_truth(lab, manager):
    servers = [lab.add(), lab.add()]
    lab.wait_ready()
    waiting = [Waiting(manager(timeout=20).add_members, [lab.member(server)]) for server in servers]
    outcomes = []
    for each in waiting:
        try:
            outcomes.append(each.result())
        except (errors.ReconfigConflict, errors.ReconfigInProgress, errors.MembersSyncingError) as error:
            outcomes.append(error)
    there = manager().server_members
    for server, outcome in zip(servers, outcomes, strict=True):
        assert (lab.member(server) in there) == (outcome is None), outcome
    assert None in outcomes, "one of them at least was first"


@pytest.mark.parametrize("loss", ["reply", "request"])
def test_a_change_whose_reply_or_request_is_lost_is_made_once(lab, loss, joining):
    with proxied(lab) as proxies:
        connection = zkcoord.Connection(proxies.hosts, **DIGEST)
        before = ensemble.config(connection=connection)[1]
        for proxy in proxies:
            (proxy.drop_reply if loss == "reply" else proxy.drop_request)(Op.RECONFIG)
        changed = ensemble.add_member(lab.member(joining), connection=connection, admin_port=0, timeout=20)
        dropped = sum(proxy.dropped[Op.RECONFIG] for proxy in proxies)
        assert dropped == 1 if loss == "reply" else dropped >= 1
        assert changed["changed"]
        assert changed["version"] == ensemble.config(connection=connection)[1] > before
        connection.close()


def test_a_leader_that_dies_between_plan_and_change_costs_only_time(lab, manager, joining):
    found, line, leader = manager(timeout=5), lab.member(joining), lab.leader()
    version = found.config_version
    leader.kill()
    refused = []

    def added() -> bool:
        try:
            found.add_members([line])
        except NOT_YET as error:
            refused.append(error)
            return line in found.server_members
        return True

    wait_until(added, "an ensemble of four with one dead has a quorum, and takes the server", 40)
    assert line in found.server_members
    assert found.config_version > version
    leader.start()
    lab.wait_ready()
    assert ensemble.wait_synced(None, lab.hosts, admin_port=0, timeout=20)["version"] == found.config_version


@pytest.mark.parametrize("loss", ["drop_request", "drop_reply"])
def test_a_leader_that_dies_when_the_change_is_planned_leaves_one_truth(lab, joining, loss):
    line = lab.member(joining)
    with proxied(lab) as proxies:
        connection = zkcoord.Connection(proxies.hosts, **DIGEST)
        for proxy in proxies:
            getattr(proxy, loss)(Op.RECONFIG, 1000)
        adding = Waiting(ensemble.add_member, line, connection=connection, admin_port=0, timeout=30)
        wait_until(lambda: sum(proxy.dropped[Op.RECONFIG] for proxy in proxies) > 0, "it is planned and sent")
        leader = lab.leader()
        leader.kill()
        for proxy in proxies:
            proxy.heal()
        refused = None
        try:
            adding.result(60)
        except (*NOT_YET, errors.ReconfigInProgress, errors.ConnectionLost) as error:
            refused = error
        connection.close()
    leader.start()
    lab.wait_ready()
    there = line in ensemble.config(lab.hosts)[0]
    assert there or refused is not None, "what is reported as done is done"
    if refused is not None and "was changed" not in str(refused):
        assert there is False or isinstance(refused, errors.ConnectionLost), refused


def test_a_change_whose_reply_is_lost_is_not_denied_when_somebody_goes_on_from_it(lab, joining):
    with proxied(lab) as proxies:
        connection = zkcoord.Connection(proxies.hosts, **DIGEST)
        assert ensemble.config(connection=connection)
        for proxy in proxies:
            proxy.delay(0.4)
            proxy.drop_reply(Op.RECONFIG)
        adding = Waiting(ensemble.add_member, lab.member(joining), connection=connection, admin_port=0, timeout=30)
        wait_until(lambda: sum(proxy.dropped[Op.RECONFIG] for proxy in proxies) > 0, "its reply is lost")
        for proxy in proxies:
            proxy.refuse()
        assert lab.member(joining) in ensemble.config(lab.hosts)[0]
        ensemble.remove_member(followers(lab)[0].number, lab.hosts, **DIGEST, admin_port=0)
        for proxy in proxies:
            proxy.delay(0)
            proxy.accept()
        with pytest.raises(errors.ConnectionLost, match="whether the ensemble was changed is not known"):
            adding.result(60)
        connection.close()


def test_a_call_that_is_cancelled_after_the_change_says_that_it_was_made(lab, joining):
    cancel = zkcoord.Cancel()
    options = {**DIGEST, "timeout": 60, "cancel": cancel, "admin_port": 0}
    with proxied(lab) as proxies:
        for proxy in proxies:
            proxy.drop_reply(Op.RECONFIG)
        adding = Waiting(ensemble.add_member, lab.member(joining), proxies.hosts, **options)
        wait_until(lambda: sum(proxy.dropped[Op.RECONFIG] for proxy in proxies) > 0, "it was made")
        cancel.cancel()
        with pytest.raises(errors.Error, match="ensemble was changed"):
            adding.result()


def test_a_member_that_is_replaced_by_an_empty_one_is_waited_for(lab, manager):
    found, server = manager(), followers(lab)[0]
    found.create_znode_leader("/kept")
    lab.replace(server)
    server.pause()  # it cannot have caught up by now
    late = rf"not all members are in sync after \d\.\d s: (server\.{server.number}|no ZooKeeper server answered)"
    with pytest.raises(errors.MembersSyncingError, match=late):
        ensemble.wait_synced(None, lab.hosts, admin_port=0, timeout=3)
    server.resume()
    ensemble.wait_synced([server.number], lab.hosts, admin_port=0, timeout=20)
    assert "/kept" in ensemble.tree("/", server.address)
    found.delete_znode_leader("/kept")


def test_a_member_whose_disk_takes_no_more_is_seen_and_can_go(lab, manager):
    found, server = manager(timeout=20), followers(lab)[0]
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (0, 0))
    found.create_znode_leader("/more")  # which it cannot write down

    def row() -> dict[str, object]:
        rows = ensemble.status(lab.hosts, admin_port=0)["servers"]
        return next(row for row in rows if row["id"] == server.number)

    wait_until(lambda: not row()["in_sync"], "it runs, and does not serve any more")
    assert re.search("not currently serving requests|closed the connection", row()["trouble"])
    with pytest.raises(
        errors.MembersSyncingError, match=rf"server\.{server.number} (is not currently serving|closed the connection)"
    ):
        ensemble.wait_synced(None, lab.hosts, admin_port=0, timeout=3)
    found.remove_members([server.number])
    assert len(found.server_members) == 2
    found.delete_znode_leader("/more")
    server.kill()


def test_no_step_while_a_member_does_not_get_in_step_but_the_one_that_removes_it(lab, manager, joining):
    found, lost = manager(timeout=20), followers(lab)[0]
    lost.kill()
    settings = lost.directory / "zoo.cfg"
    written = Path(re.search(r"dynamicConfigFile=(.+)", settings.read_text())[1])
    known = written.read_text()
    # It runs, and finds none of the others: their ports are not those.
    written.write_text(re.sub(rf"(?m)^(server\.(?!{lost.number}=)\d+=[^:]+):\d+:\d+", r"\1:1:2", known))
    lost.start()

    def does_not_serve() -> bool:
        answer = next(iter(ensemble.ask("srvr", lost.address, admin_port=0).values()))
        return isinstance(answer, errors.NotServing)

    wait_until(does_not_serve, "it runs, and does not serve")
    with pytest.raises(errors.MembersSyncingError, match=rf"server\.{lost.number} is not currently serving"):
        found.add_members([lab.member(joining)])
    with pytest.raises(errors.MembersSyncingError, match=rf"server\.{lost.number} is not currently serving"):
        found.remove_members([joining.number + 1, next(it.number for it in followers(lab) if it is not lost)])
    found.remove_members([lost.number])
    found.add_members([lab.member(joining)])
    lost.kill()
    written.write_text(known)


def test_a_call_that_is_cancelled_says_whether_it_may_have_changed_anything(lab, joining):
    cancel = zkcoord.Cancel()
    joining.pause()
    waiting = Waiting(
        ensemble.add_member, lab.member(joining), lab.hosts, **DIGEST, timeout=60, cancel=cancel, admin_port=0
    )
    cancel.cancel()
    with pytest.raises(errors.Cancelled, match="nothing was changed"):
        waiting.result()
    joining.resume()


def test_the_hosts_may_be_a_profiles(lab):
    config = {"admin": {"hosts": lab.hosts, "username": "super", "password": "pw", "scheme": "digest"}}
    from zkcoord.ensemble import ZooKeeperManager

    found = ZooKeeperManager(None, profile="admin", config=config, admin_port=0)
    assert found.hosts == lab.hosts.split(",")
    found.remove_members([followers(lab)[0].number])
    assert len(found.server_members) == 2
    assert SUPER["username"] == "super"


def test_voters_in_groups_are_changed_whole():
    groups = {"group.1": "1:2:3", "weight.1": 1, "weight.2": 1, "weight.3": 1}
    with Ensemble(3, reconfig=True, super_user=("super", "pw"), config=groups) as grouped:
        connection = zkcoord.Connection(grouped.hosts, **DIGEST)
        status = ensemble.status(connection=connection, admin_port=0)
        assert "group.1=1:2:3" in status["config"]
        assert (status["has_quorum"], status["critical"]) == (True, [])
        leaving, staying = (server.number for server in followers(grouped))
        lines = [line.replace(f"weight.{staying}=1", f"weight.{staying}=2") for line in status["config"]]
        ensemble.set_config(lines, connection=connection, admin_port=0, timeout=20)
        changed = ensemble.remove_member(leaving, connection=connection, admin_port=0, timeout=20)
        (group,) = [line for line in changed["members"] if line.startswith("group.1=")]
        assert len(group.split(":")) == 2
        assert f"weight.{staying}=2" in changed["members"]
        assert not [
            line for line in changed["members"] if line.startswith((f"weight.{leaving}=", f"server.{leaving}="))
        ]
        connection.close()
