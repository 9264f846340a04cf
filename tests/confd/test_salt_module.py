"""The execution module `ganeti_confd`, through real salt-call and in this process, on genuine servers."""

from __future__ import annotations

import json

import pytest

from tests.support.salt import VERSIONS

NODE1, NODE2 = "node1.example.com", "node2.example.com"
DIGITS = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def section(servers, tmp_path):
    """The configuration of a minion that is no node of the cluster."""
    key = tmp_path / "hmac.key"
    key.write_bytes(servers.hmac_key)
    return {
        "peers": servers.peers,
        "port": servers.port,
        "hmac_key_file": str(key),
        "timeout": 5,
        "dead": {"peers": ["127.0.0.254"], "port": servers.port, "hmac_key": DIGITS, "timeout": 0.3},
        "text": {"peers": servers.peers, "port": servers.port, "hmac_key": DIGITS},
    }


@pytest.fixture
def module(monkeypatch, section):
    """The module in this process, with what the loader puts into it."""
    from saltext.zkcoord.modules import ganeti_confd

    for name, value in {"__opts__": {"ganeti_confd": section}, "__grains__": {}, "__pillar__": {}}.items():
        monkeypatch.setattr(ganeti_confd, name, value, raising=False)
    assert ganeti_confd.__virtual__() == "ganeti_confd"
    return ganeti_confd


@pytest.mark.parametrize("version", VERSIONS)
def test_salt_call_answers_and_fails_in_one_line(minionless, section, servers, version):
    salt = minionless(version, ganeti_confd=section)
    calls = {
        ("cluster_master",): (0, NODE1),
        ("cluster_master", "[name, mnode_pip]"): (0, [NODE1, servers.peers[0]]),
        ("node_role_by_name", NODE2): (0, "candidate"),
        ("query", "ping"): None,
        ("node_role_by_name", "nobody"): "Error running 'ganeti_confd.node_role_by_name': ganeti-confd knows no such",
        ("ping", "profile=dead"): "Error running 'ganeti_confd.ping': no ganeti-confd answered ping within 0.3 s",
    }
    commands = {call: salt.start(f"ganeti_confd.{call[0]}", *call[1:]) for call in calls}
    for call, expected in calls.items():
        answer = commands[call].answer()
        if isinstance(expected, str):
            assert answer.code == 1
            assert answer.complaint.startswith(expected)
        elif expected is None:
            assert (answer.code, answer.value["answer"], answer.value["serial"]) == (0, 3000000, 0)
        else:
            assert answer.outcome == expected


def test_the_key_is_in_no_file_that_salt_writes(minionless, section):
    salt = minionless(ganeti_confd=section)
    for call in (("ping",), ("query", "cluster_master", "profile=text"), ("ping", "profile=dead")):
        answer = salt.salt_call(f"ganeti_confd.{call[0]}", *call[1:], options=("-l", "all"))
        assert DIGITS not in answer.stdout + answer.stderr
    assert not [path for path, text in salt.written().items() if DIGITS in text]


class TestFunctions:
    def test_each_answers_in_plain_types(self, module, servers):
        first, second, third = servers.peers
        answers = {
            module.ping(): 3000000,
            module.cluster_master(): NODE1,
            module.node_role_by_name("node6.example.com"): "drained",
            module.node_pip_by_instance_ip("203.0.113.7", "br1"): second,
            module.config_query("/cluster/cluster_name"): "cluster.example.com",
        }
        assert list(answers) == list(answers.values())
        assert module.node_pip_by_instance_ip(["198.51.100.1", "1.2.3.4"]) == {"198.51.100.1": first, "1.2.3.4": None}
        assert sorted(module.mc_pip_list()) == sorted((first, second, third))
        assert len(module.node_pip_list()) == 6
        assert module.instances_ips_list("br1") == ["203.0.113.7"]
        (device,) = module.node_drbd(NODE2)
        assert device == {
            **{"node": NODE2, "minor": 5, "instance": "inst1.example.com"},
            **{"disk": "disk/0", "role": "secondary", "peer": NODE1},
        }
        here = module.node_instances(NODE2)
        assert {kind: [it["name"] for it in found] for kind, found in here.items()} == {
            "primary": ["inst2.example.com"],
            "secondary": ["inst1.example.com"],
        }
        assert module.data_collectors()["drbd"] == {"active": False, "interval": 7.0}
        everything = [here, device, module.data_collectors(), module.query("cluster_master")]
        assert json.loads(json.dumps(everything)) == everything

    def test_fields_are_names_or_numbers(self, module, servers, invocation_error):
        wanted = ["192.0.2.1", NODE1]
        for fields in (["ip", "name"], [1, 0], "ip,name", "1,0"):
            assert module.cluster_master(fields) == wanted
        for wrong in (["x"], [3], 7):
            with pytest.raises(invocation_error, match="fields: must be a list of name, ip, mnode_pip"):
                module.cluster_master(wrong)

    def test_secrets_are_shown_to_those_who_ask_for_them(self, module):
        for shown, calls in {
            False: (module.instance_disks, module.query),
            True: (lambda *it: module.instance_disks(*it, secrets=True), lambda *it: module.query(*it, secrets=True)),
        }.items():
            disks, query = calls
            assert ("drbdsecret" in str(disks("inst1.example.com"))) is shown
            assert ("drbdsecret" in str(query("instance_disks", "inst1.example.com"))) is shown

    def test_a_query_tells_what_each_candidate_has_replied(self, module, servers):
        servers.servers[2].configure(serial=41)
        found = module.query("cluster_master", replies=-1)
        assert (found["answer"], found["serial"], found["asked"], found["replied"]) == (NODE1, 42, 3, 3)
        assert [found["by_peer"][peer]["serial"] for peer in servers.peers] == [42, 42, 41]
        nobody = module.query("node_role_by_name", "nobody", replies=-1)
        assert (nobody["status"], nobody["consistent"]) == (1, True)


class TestTrust:
    def test_too_few_replies_are_an_error_unless_they_will_do(self, module, servers, execution_error):
        for server in servers.servers[1:]:
            server.kill()
        with pytest.raises(execution_error, match="1 of 3 peers replied"):
            module.cluster_master(timeout=0.4)
        assert module.cluster_master(timeout=0.4, require_quorum=False) == NODE1
        assert module.query("cluster_master", timeout=0.4, require_quorum=False)["timed_out"] is True
        with pytest.raises(execution_error, match="1 of 3 peers replied"):
            module.query("cluster_master", timeout=0.4)

    def test_contradictions_are_an_error_unless_the_majority_will_do(self, module, servers, execution_error):
        servers.servers[0].configure(master=2)
        with pytest.raises(execution_error, match="contradict each other about cluster_master"):
            module.cluster_master(replies=-1)
        with pytest.raises(execution_error, match="contradict each other"):
            module.query("cluster_master", replies=-1)
        assert module.cluster_master(replies=-1, require_consistent=False) == NODE1
        assert module.query("cluster_master", replies=-1, require_consistent=False)["consistent"] is False

    def test_words_of_yaml_are_truth_values(self, module, servers):
        for server in servers.servers[1:]:
            server.kill()
        assert module.cluster_master(timeout=0.4, require_quorum="no") == NODE1


class TestSettings:
    def test_an_argument_wins_over_the_profile(self, module, execution_error):
        with pytest.raises(execution_error, match=r"within 0\.3 s, asked 127\.0\.0\.254"):
            module.ping(profile="dead")
        with pytest.raises(execution_error, match=r"within 0\.2 s"):
            module.ping(profile="dead", timeout=0.2)

    def test_a_key_as_text_may_lack_its_newline(self, module):
        assert module.ping(profile="text") == 3000000

    def test_the_nodes_own_files_are_the_default(self, module, section, servers, monkeypatch):
        for name in ("peers", "hmac_key_file"):
            del section[name]
        monkeypatch.setenv("GANETI_ROOTDIR", str(servers.root))
        assert module.cluster_master() == NODE1

    def test_pillar_and_grains_are_read_too(self, module, section, monkeypatch):
        monkeypatch.setattr(module, "__opts__", {"ganeti_confd": {"port": section["port"]}})
        monkeypatch.setattr(module, "__grains__", {"ganeti_confd": {"peers": section["peers"]}})
        monkeypatch.setattr(module, "__pillar__", {"ganeti_confd": {"hmac_key": DIGITS, "port": 1}})
        assert module.ping() == 3000000

    @pytest.mark.parametrize(
        ("change", "why"),
        [
            (
                {"profile": "nobody"},
                "nobody configures nothing in the section ganeti_confd .* profiles there: dead, text",
            ),
            ({"hmac_key": 123}, "hmac_key: must be text in the configuration: put it in quotes"),
            ({"hmac_key_file": "/no/such"}, "hmac_key: '/no/such' cannot be read: No such file"),
            ({"hmac_key_file": DIGITS}, "hmac_key: this is a key itself, and must be the name of a file$"),
            ({"hmac_key_file": 123}, "hmac_key: the name of its file must be text"),
            ({"hmac_keyfile": "x"}, "hmac_keyfile: is not known in the section ganeti_confd; known are coverage, "),
            ({"peers": ["node1"]}, "peers: node1 is not an address"),
            ({"peers": "127.0.0.1"}, "peers: must be a list of texts"),
            ({"coverage": 9}, "coverage: 9 peers are to be asked"),
            ({"timeout": "soon"}, "timeout: must be a number"),
        ],
    )
    def test_a_wrong_setting_is_named(self, module, section, invocation_error, change, why):
        profile = change.pop("profile", None)
        section.update(change)
        with pytest.raises(invocation_error, match=why):
            module.cluster_master(profile=profile)
