"""What `zkcoord.testing` has for those who change ensembles: servers that join, are replaced, observe, answer HTTP."""

from __future__ import annotations

import json
import urllib.request

import pytest
from kazoo.client import KazooClient
from zkcoord.testing import Ensemble, EnsembleError

from tests.ensemble.conftest import DIGEST, followers
from tests.support.calls import wait_until


@pytest.fixture
def super_kazoo(lab):
    client = KazooClient(lab.hosts, auth_data=[("digest", f"{DIGEST['username']}:{DIGEST['password']}")])
    client.start()
    yield client
    client.stop()
    client.close()


def test_a_server_that_is_added_follows_and_is_no_member_until_somebody_says_so(lab, super_kazoo):
    server = lab.add()
    lab.wait_ready()
    assert (server.number, server.mode()) == (4, "follower")
    assert lab.hosts.endswith(server.address)
    line = lab.member(server)
    assert line not in super_kazoo.get("/zookeeper/config")[0].decode()
    super_kazoo.reconfig(joining=line, leaving=None, new_members=None)
    assert line in super_kazoo.get("/zookeeper/config")[0].decode()


def test_an_observer_observes_and_another_server_may_have_the_number_of_one_discarded(lab, super_kazoo):
    server = lab.add(observer=True)
    lab.wait_ready()
    assert server.mode() in {"observer", "follower"}, "it is no member yet"
    line = lab.member(server, observer=True)
    super_kazoo.reconfig(joining=line, leaving=None, new_members=None)
    wait_until(lambda: server.mode() == "observer", "it observes")
    super_kazoo.reconfig(joining=None, leaving=str(server.number), new_members=None)
    lab.discard(server)
    assert (server.running, server.directory.exists(), len(lab.servers)) == (False, False, 3)
    assert lab.add().number == server.number


def test_a_server_that_is_replaced_has_its_id_and_gets_its_data_from_the_others(lab, super_kazoo):
    super_kazoo.create("/replaced", b"data")
    server = followers(lab)[0]
    pid = server.pid
    with pytest.raises(EnsembleError, match="runs: stop it"):
        server.wipe()
    lab.replace(server)
    assert server.pid != pid
    lab.wait_ready()
    client = KazooClient(server.address)
    client.start()
    wait_until(lambda: client.exists("/replaced"), "it has what the others have")
    client.stop()
    client.close()
    super_kazoo.delete("/replaced")


def test_each_server_may_have_an_address_of_its_own_and_an_admin_server(reserved):
    assert [server.host for server in reserved.servers] == ["127.0.0.2", "127.0.0.3", "127.0.0.4"]
    assert len({(server.port, server.admin_port) for server in reserved.servers}) == 1
    for server in reserved.servers:
        url = f"http://{server.host}:{server.admin_port}/commands/ruok"
        with urllib.request.urlopen(url, timeout=10) as answer:
            assert json.load(answer) == {"command": "ruok", "error": None}


def test_only_what_is_made_for_it_can_be_added_to(lab):
    with pytest.raises(EnsembleError, match="reconfig=True"):
        Ensemble(1).add()
    with pytest.raises(ValueError, match="observers need"):
        Ensemble(1, observers=1)
    with Ensemble(3, observers=1) as ensemble:
        assert [server.mode() for server in ensemble.servers].count("observer") == 1
        assert (ensemble.servers[3].mode(), ensemble.size) == ("observer", 4)
