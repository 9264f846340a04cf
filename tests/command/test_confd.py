"""`zkcoord confd`: what genuine ganeti-confd servers say, and when it is believed. No ZooKeeper is asked."""

import json

import pytest
from zkcoord import confd
from zkcoord.testing import ConfdServers

from tests.support import confd as support

MASTER = "node1.example.com"


@pytest.fixture
def hosts():
    """Of ZooKeeper there is nothing to be had."""
    return "127.0.0.1:1"


@pytest.fixture(scope="module")
def started():
    with ConfdServers(3) as servers:
        yield servers


@pytest.fixture
def servers(started):
    yield started
    started.reset()


@pytest.fixture
def peers(servers):
    with support.peers(servers) as made:
        yield made


@pytest.fixture
def ask(shell, servers):
    """Run a subcommand."""

    def run(name, *arguments, options=(), peers=None, key=servers.hmac_key_file, **environment):
        whom = ("--peers", ",".join(peers or servers.peers), "--port", str(servers.port), "--hmac-key-file", str(key))
        return shell(*options, "confd", *whom, name, *arguments, **environment)

    return run


@pytest.fixture
def asking(servers):
    return {"peers": servers.peers, "hmac_key": servers.hmac_key, "port": servers.port}


def failed(done, status, text):
    """Whether it failed so, in one line, and without the key."""
    message = done.stderr.decode()
    assert (done.returncode, done.stdout) == (status, b""), message
    assert text in message
    assert len(message.splitlines()) == 1


class TestMaster:
    def test_it_is_that_of_the_library(self, ask, asking):
        done = ask("master")
        assert (done.returncode, done.stdout.decode()) == (0, confd.cluster_master(**asking) + "\n")
        assert json.loads(ask("master", options=("--json",)).stdout) == MASTER

    def test_fields(self, ask, asking):
        fields = ("--field", "name", "--field", "ip", "--field", "mnode-pip")
        expected = confd.cluster_master([0, 1, 2], **asking)
        assert ask("master", *fields).stdout.decode().splitlines() == expected
        assert json.loads(ask("master", *fields, options=("--json",)).stdout) == expected
        assert ask("master", "--field", "x").returncode == 2

    def test_on_a_node_all_of_it_is_the_nodes_own(self, shell, servers):
        done = shell("confd", "master", "--port", str(servers.port), GANETI_ROOTDIR=str(servers.root))
        assert (done.returncode, done.stdout.decode()) == (0, MASTER + "\n")
        failed(shell("confd", "master", GANETI_ROOTDIR="/nowhere"), 2, "has to be given")

    def test_settings_of_the_environment(self, shell, servers):
        environment = {
            "ZKCOORD_CONFD_PEERS": ",".join(servers.peers),
            "ZKCOORD_CONFD_PORT": str(servers.port),
            "ZKCOORD_CONFD_HMAC_KEY_FILE": str(servers.hmac_key_file),
        }
        assert shell("confd", "master", **environment).stdout.decode() == MASTER + "\n"


class TestTrust:
    def test_too_few_replies_are_1(self, ask, servers):
        for server in servers.servers[:2]:
            server.pause()
        named = ", ".join(servers.peers[:2])
        failed(
            ask("master", "-t", "1"),
            1,
            f"1 of 3 peers replied to cluster_master within 1 s, and 2 replies are needed; silent: {named}",
        )
        error = json.loads(ask("master", "-t", "1", options=("--json",)).stderr)
        assert error["status"] == 1

    def test_no_reply_at_all_is_3(self, ask, servers):
        for server in servers.servers:
            server.pause()
        failed(ask("master", "-t", "1"), 3, "no ganeti-confd answered cluster_master within 1 s")

    def test_contradictions_are_1(self, ask, servers, peers):
        def contradict(peer, request, sender):
            peer.send(support.reply("other.example.com", support.salt_of(request), servers.hmac_key), sender)

        liar = peers.add(contradict)
        failed(ask("master", "--coverage=-1", peers=[servers.peers[0], liar.address]), 1, "contradict each other about")

    def test_another_key_gets_no_reply_and_is_not_shown(self, ask, tmp_path):
        key = tmp_path / "key"
        key.write_bytes(b"f" * 40 + b"\n")
        done = ask("master", "-t", "0.5", key=key)
        failed(done, 3, "that the key is the cluster's")
        assert b"ffff" not in done.stderr
        key.write_bytes(b"f" * 40)
        failed(ask("master", "-t", "0.5", key=key), 3, "has no newline at its end")

    def test_what_cannot_be_asked_is_2(self, ask, tmp_path):
        failed(ask("master", key=tmp_path / "nothing"), 2, "there is no such file")
        failed(ask("master", "--coverage", "9"), 2, "only 3 are known")
        failed(ask("master", peers=["node1"]), 2, "is not an address")
        assert ask("query", "nothing").returncode == 2
        assert ask("master", "--port", "0").returncode == 2


class TestRole:
    @pytest.mark.parametrize("name", ["node1.example.com", "node2.example.com"])
    def test_it_is_that_of_the_library(self, ask, asking, name):
        role = confd.node_role_by_name(name, **asking).name.lower()
        assert ask("role", name).stdout.decode() == role + "\n"
        assert json.loads(ask("role", name, options=("--json",)).stdout) == role

    def test_a_node_that_is_none_is_1(self, ask):
        failed(ask("role", "n\x1b[2J"), 1, r'no such entry: node_role_by_name of "n')


class TestQuery:
    def test_a_list_is_a_line_each(self, ask, asking):
        assert sorted(ask("query", "mc_pip_list").stdout.decode().split()) == sorted(confd.mc_pip_list(**asking))
        found = json.loads(ask("query", "mc_pip_list", options=("--json",)).stdout)
        assert (found["asked"], found["needed"]) == (3, 2)
        assert sorted(found["answer"]) == sorted(confd.mc_pip_list(**asking))

    def test_a_part_of_the_configuration(self, ask, asking):
        done = ask("query", "config_query", "/cluster/cluster_name")
        assert done.stdout.decode().strip() == confd.config_query("/cluster/cluster_name", **asking)
        assert json.loads(ask("query", "config_query", "/cluster").stdout) == confd.config_query("/cluster", **asking)

    def test_secrets_are_left_out_unless_they_are_asked_for(self, ask, asking):
        disks = ("query", "config_query", "/disks")
        assert b"drbdsecret" not in ask(*disks).stdout
        assert b"drbdsecret" not in ask(*disks, options=("--json",)).stdout
        shown = json.loads(ask(*disks, "--secrets", options=("--json",)).stdout)["answer"]
        assert shown == confd.config_query("/disks", secrets=True, **asking)
        assert "drbdsecret" in str(shown)

    def test_an_object_as_a_question(self, ask, asking):
        done = ask("query", "node_pip_by_instance_ip", '{"1": "198.51.100.1"}')
        assert done.stdout.decode().strip() == confd.node_pip_by_instance_ip("198.51.100.1", **asking)
        assert ask("query", "node_pip_by_instance_ip", '{"1"').returncode == 2
        assert ask("query", "node_pip_by_instance_ip", '{"9": ""}').returncode == 2

    def test_no_command_reaches_a_terminal(self, ask, servers, peers):
        def hostile(peer, request, sender):
            peer.send(support.reply("web\x1b[2J\u202e\n", support.salt_of(request), servers.hmac_key), sender)

        done = ask("query", "cluster_master", peers=[peers.add(hostile).address])
        assert done.stdout.decode() == "web\\u{1b}[2J\\u{202e}\\n\n"


class TestPeers:
    def test_all_are_current(self, ask, servers):
        done = ask("peers", options=("--json",))
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert (found["master"], found["consistent"], list(found["peers"])) == (MASTER, True, servers.peers)
        assert {reply["state"] for reply in found["peers"].values()} == {"current"}
        text = ask("peers").stdout.decode()
        assert text.startswith(f"the master is {MASTER}, serial {found['serial']}\n")

    def test_who_is_stale_broken_or_silent_is_seen_and_it_is_1(self, ask, servers, peers):
        def stale(peer, request, sender):
            peer.send(support.reply("old\x1b", support.salt_of(request), servers.hmac_key, serial=1), sender)

        old, silent = peers.add(stale), peers.add()
        done = ask("peers", "-t", "1", peers=[*servers.peers, old.address, silent.address], options=("--json",))
        assert done.returncode == 1
        states = {peer: reply["state"] for peer, reply in json.loads(done.stdout)["peers"].items()}
        assert states == {**dict.fromkeys(servers.peers, "current"), old.address: "stale", silent.address: "silent"}
        text = ask("peers", "-t", "1", peers=[servers.peers[0], old.address]).stdout.decode()
        assert r"old\u{1b}" in text

    def test_all_silent_is_3(self, ask, peers):
        done = ask("peers", "-t", "0.3", peers=[peers.add().address])
        assert done.returncode == 3
        assert done.stdout.decode().startswith("no candidate has an answer\n")
