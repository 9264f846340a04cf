"""All twelve types of requests, in every form that a query has, asked of genuine servers."""

from __future__ import annotations

import inspect
import json
import re

import pytest
from zkcoord import confd
from zkcoord.confd import NodeRole
from zkcoord.errors import ArgumentError, ServerError, UnknownEntry

from tests.support.calls import wait_until

NODE1, NODE2, NODE5 = "node1.example.com", "node2.example.com", "node5.example.com"
INSTANCE = "inst1.example.com"
TYPED = (
    *("ping", "node_role_by_name", "node_pip_by_instance_ip", "cluster_master", "node_pip_list", "mc_pip_list"),
    *("instances_ips_list", "node_drbd", "node_instances", "instance_disks", "config_query", "data_collectors"),
)


def _uuid(number):
    """The UUID of a node."""
    return f"a0000000-0000-4000-8000-00000000000{number}"


# Type, query, and the status, the answer and the serial. Addresses of the servers are written as their numbers.
FORMS = [
    ("ping", None, 0, 3000000, 0),
    ("ping", "whatever", 0, 3000000, 0),
    ("ping", {"1": "x"}, 0, 3000000, 0),
    ("node_role_by_name", NODE1, 0, 0, 42),
    ("node_role_by_name", NODE2, 0, 1, 42),
    ("node_role_by_name", "node4.example.com", 0, 4, 42),
    ("node_role_by_name", NODE5, 0, 2, 42),
    ("node_role_by_name", "node6.example.com", 0, 3, 42),
    ("node_role_by_name", "node1", 0, 1, 42),  # the master, but not by its full name
    ("node_role_by_name", _uuid(1), 0, 1, 42),  # nor by its UUID
    ("node_role_by_name", "NODE1.example.com", 1, re.compile("ECodeNoEnt"), 0),
    ("node_role_by_name", "café", 1, re.compile("café not found"), 0),
    ("node_role_by_name", None, 1, re.compile("Invalid query type"), 0),
    ("node_pip_by_instance_ip", {"1": "198.51.100.1"}, 0, 1, 42),
    ("node_pip_by_instance_ip", {"1": "198.51.100.1", "0": None}, 0, 1, 42),
    ("node_pip_by_instance_ip", {"1": "198.51.100.1", "0": "br0"}, 0, 1, 42),
    ("node_pip_by_instance_ip", {"1": "203.0.113.7", "0": "br1"}, 0, 2, 42),
    ("node_pip_by_instance_ip", {"1": "203.0.113.7"}, 1, 0, 0),
    ("node_pip_by_instance_ip", {"2": ["198.51.100.1", "192.0.2.9"]}, 0, [[0, 1, 42], [1, 0, 0]], 42),
    ("node_pip_by_instance_ip", {"2": [], "0": "br1"}, 0, [], 42),
    ("node_pip_by_instance_ip", {"1": "198.51.100.2", "2": []}, 0, 2, 42),
    ("node_pip_by_instance_ip", {}, 0, [], 42),
    ("node_pip_by_instance_ip", None, 1, 2, 0),
    ("node_pip_by_instance_ip", "198.51.100.1", 1, 2, 0),
    ("cluster_master", None, 0, NODE1, 42),
    ("cluster_master", {"3": [0, 1, 2, 0]}, 0, [NODE1, "192.0.2.1", 1, NODE1], 42),
    ("cluster_master", {}, 0, [], 42),
    ("cluster_master", "node1", 1, 2, 0),
    ("node_pip_list", None, 0, {"192.0.2.106", "192.0.2.105", "192.0.2.104", 3, 2, 1}, 42),
    ("mc_pip_list", None, 0, {1, 2, 3}, 42),
    ("mc_pip_list", "ignored", 0, {1, 2, 3}, 42),
    ("instances_ips_list", None, 0, ["198.51.100.1", "198.51.100.2"], 42),
    ("instances_ips_list", "br1", 0, ["203.0.113.7"], 42),
    ("instances_ips_list", "br9", 0, [], 42),
    ("instances_ips_list", {"0": "br1"}, 1, re.compile("Invalid query"), 0),
    ("node_drbd", NODE1, 0, [[NODE1, 3, INSTANCE, "disk/0", "primary", NODE2]], 101),
    ("node_drbd", NODE2, 0, [[NODE2, 5, INSTANCE, "disk/0", "secondary", NODE1]], 102),
    ("node_drbd", NODE5, 0, [], 105),
    ("node_drbd", "node1", 0, [[NODE1, 3, INSTANCE, "disk/0", "primary", NODE2]], 101),
    ("node_drbd", _uuid(1), 0, [[NODE1, 3, INSTANCE, "disk/0", "primary", NODE2]], 101),
    ("node_drbd", None, 1, re.compile("Invalid query type"), 0),
    ("node_instances", NODE5, 0, [[], []], 105),
    ("node_instances", "node5", 0, [[], []], 105),
    ("node_instances", _uuid(5), 0, [[], []], 105),
    ("node_instances", None, 1, re.compile("Invalid query type"), 0),
    ("node_instances", "nowhere", 1, re.compile("ECodeNoEnt"), 0),
    ("instance_disks", "inst3.example.com", 0, [], 203),
    ("instance_disks", "inst3", 0, [], 203),
    ("instance_disks", "b0000000-0000-4000-8000-000000000003", 0, [], 203),
    ("instance_disks", None, 1, re.compile("Invalid query type"), 0),
    ("instance_disks", "nothing", 1, re.compile("ECodeNoEnt"), 0),
    ("config_query", "/cluster/cluster_name", 0, "cluster.example.com", 42),
    ("config_query", "/cluster/tags", 0, ["café", "plain"], 42),
    ("config_query", "/cluster/ipolicy/vcpu-ratio", 0, 4, 42),
    ("config_query", "/cluster/master_ip/nothing", 1, 2, 0),
    ("config_query", "cluster", 1, 2, 0),
    ("config_query", None, 1, re.compile("Invalid query type"), 0),
]


def with_addresses(value, peers):
    """A value in which the numbers of servers stand for their addresses, and sets for lists in any order."""
    if isinstance(value, set):
        return sorted(peers[each - 1] if isinstance(each, int) else each for each in value)
    return value


@pytest.mark.parametrize(("kind", "question", "status", "answer", "serial"), FORMS)
def test_each_form_of_a_query(asking, kind, question, status, answer, serial):
    found = confd.query(kind, question, replies=-1, **asking)
    assert (found.status, found.serial, found.asked, found.replied) == (status, serial, 3, 3), found
    assert (found.consistent, found.timed_out, found.type, found.query) == (True, False, kind, question)
    peers = asking["peers"]
    if isinstance(answer, re.Pattern):
        assert answer.search(found.answer)
        return
    if kind == "node_pip_by_instance_ip" and status == 0:
        if isinstance(answer, int):
            answer = peers[answer - 1]
        else:
            answer = [[good, peers[who - 1] if good == 0 else who, its] for good, who, its in answer]
    elif kind == "cluster_master" and isinstance(answer, list):
        answer = [peers[0] if each == 1 else each for each in answer]
    elif isinstance(answer, set):
        assert sorted(found.answer) == with_addresses(answer, peers)
        return
    assert found.answer == answer


def test_types_are_numbers_or_names():
    assert [confd.CONFD_REQ_PING, confd.CONFD_REQ_DATA_COLLECTORS] == [0, 11]
    values = {name: getattr(confd, name) for name in confd.__all__ if name.startswith("CONFD_REQ_")}
    assert sorted(values.values()) == list(range(12))
    assert {value: name for name, value in values.items()}[8] == "CONFD_REQ_NODE_INSTANCES"


def test_a_number_asks_the_same_as_its_name(asking, peers):
    sent = []
    peer = peers.add(lambda peer, request, sender: sent.append(json.loads(json.loads(request[4:])["msg"])["type"]))
    silent = {**asking, "peers": [peer.address]}
    for number, name in enumerate(TYPED):
        for kind in (number, name):
            assert confd.query(kind, timeout=0, **silent).type == name
    wait_until(lambda: len(sent) == 2 * len(TYPED), "all have come")
    assert sent == [number for number in range(len(TYPED)) for _ in range(2)]


class TestTyped:
    def test_ping(self, asking):
        assert confd.ping(**asking) == 3000000

    def test_roles(self, asking):
        roles = [confd.node_role_by_name(f"node{number}.example.com", **asking) for number in range(1, 7)]
        candidate = NodeRole.CANDIDATE
        assert roles == [
            *(NodeRole.MASTER, candidate, candidate),
            *(NodeRole.REGULAR, NodeRole.OFFLINE, NodeRole.DRAINED),
        ]
        # The servers themselves call the master a candidate where it is not named in full.
        assert confd.node_role_by_name("node1", **asking) == NodeRole.MASTER
        assert confd.node_role_by_name(_uuid(1), **asking) == NodeRole.MASTER
        assert confd.node_role_by_name("node2", **asking) == confd.node_role_by_name(_uuid(2), **asking) == candidate
        assert confd.is_called(NODE1, "node1")
        assert not confd.is_called("node10.example.com", "node1")
        with pytest.raises(UnknownEntry, match="node_role_by_name of 'node7'"):
            confd.node_role_by_name("node7", **asking)

    def test_primary_addresses(self, asking):
        first, second, _ = asking["peers"]
        assert confd.node_pip_by_instance_ip("198.51.100.2", **asking) == second
        assert confd.node_pip_by_instance_ip("203.0.113.7", "br1", **asking) == second
        both = confd.node_pip_by_instance_ip(["198.51.100.1", "203.0.113.7"], **asking)
        assert both == {"198.51.100.1": first, "203.0.113.7": None}
        with pytest.raises(UnknownEntry, match=r"203\.0\.113\.7"):
            confd.node_pip_by_instance_ip("203.0.113.7", **asking)

    def test_the_master(self, asking):
        assert confd.cluster_master(**asking) == NODE1
        fields = [confd.MasterField.MNODE_PIP, confd.MasterField.NAME]
        assert confd.cluster_master(fields, **asking) == [asking["peers"][0], NODE1]
        for wrong in ([3], ["0", "x"], 7):
            with pytest.raises(ArgumentError, match=r"^fields: "):
                confd.cluster_master(wrong, **asking)

    def test_lists(self, asking):
        assert sorted(confd.mc_pip_list(**asking)) == sorted(asking["peers"])
        assert set(confd.node_pip_list(**asking)) > set(asking["peers"])
        assert confd.instances_ips_list(**asking) == ["198.51.100.1", "198.51.100.2"]
        assert confd.instances_ips_list("br1", **asking) == ["203.0.113.7"]

    def test_devices_of_a_node(self, asking):
        (device,) = confd.node_drbd(NODE2, **asking)
        assert (device.role, device.minor, device.peer, device.disk) == ("secondary", 5, NODE1, "disk/0")

    def test_instances_of_a_node(self, asking):
        here = confd.node_instances(NODE2, **asking)
        assert [it["name"] for it in here.primary] == ["inst2.example.com"]
        assert [it["name"] for it in here.secondary] == [INSTANCE]

    def test_disks_come_without_their_secret_unless_it_is_asked_for(self, asking):
        (disk,) = confd.instance_disks(INSTANCE, **asking)
        assert (disk["size"], disk["logical_id"][2:]) == (1024, [11000, 3, 5, None])
        (disk,) = confd.instance_disks(INSTANCE, secrets=True, **asking)
        assert disk["logical_id"][5] == "drbdsecret"
        assert "drbdsecret" not in str(confd.config_query("/disks", **asking))
        assert "drbdsecret" in str(confd.config_query("/disks", secrets=True, **asking))
        assert "drbdsecret" not in str(confd.query("instance_disks", INSTANCE, secrets=False, **asking))

    def test_private_parameters_come_without_their_values(self, asking, servers):
        def edit(config):
            (first, *_) = config["instances"].values()
            first["osparams_private"] = {"root_password": "s3cret"}

        for server in servers.servers:
            server.configure(edit=edit)
        assert confd.node_instances(NODE1, **asking).primary[0]["osparams_private"] == {"root_password": None}
        shown = confd.node_instances(NODE1, secrets=True, **asking)
        assert shown.primary[0]["osparams_private"] == {"root_password": "s3cret"}

    def test_a_part_of_the_configuration(self, asking):
        assert confd.config_query("/cluster/tags/0", **asking) == "café"
        with pytest.raises(UnknownEntry, match="'/nothing'"):
            confd.config_query("/nothing", **asking)

    def test_collectors(self, asking):
        found = confd.data_collectors(**asking)
        assert found["drbd"] == (False, 7.0)
        assert found["lv"].active is True
        assert len(found) == 6


@pytest.mark.parametrize("name", [*TYPED, "query"])
def test_each_function_tells_of_each_of_its_parameters_of_its_errors_and_of_its_source(name):
    function = getattr(confd, name)
    text = inspect.getdoc(function)
    parameters = inspect.signature(function).parameters.values()
    named = {it.name for it in parameters if it.kind is not it.VAR_KEYWORD}
    named |= {"peers", "hmac_key", "port", "coverage", "replies", "timeout", "retries", "cancel", "raise_on_signal"}
    for parameter in named:
        assert re.search(rf"^ +{parameter}: \S", text, re.M), (name, parameter)
    for word in ("Raises:", "ArgumentError", "Source:"):
        assert word in text


def test_what_no_server_would_answer_is_refused_before_it_is_sent(asking, servers):
    for kind, question, why in [
        (3, {"3": ["0"]}, "as numbers"),
        (3, {"9": "x"}, "do not know"),
        (6, ["br0"], "nothing, a text or an object"),
        (6, 7, "nothing, a text or an object"),
        (2, {"2": "198.51.100.1"}, "list of texts"),
        (10, "/" + "x" * 4100, "ganeti-confd reads 4096"),
        (10, "/" + "é" * 1000, "ganeti-confd reads 4096"),
        (12, None, "0 to 11"),
        ("pong", None, "whole number"),
        (2, {1: "x"}, "texts for keys"),
    ]:
        with pytest.raises(ArgumentError, match=why):
            confd.query(kind, question, **asking)


def test_the_longest_request_that_is_allowed_is_answered(asking):
    with pytest.raises(ArgumentError) as refused:
        confd.query(10, "/" + "x" * 5000, **asking)
    (size,) = re.findall(r"would have (\d+) bytes", str(refused.value))
    longest = "/" + "x" * (5000 - (int(size) - 4096))
    assert confd.query(10, longest, replies=-1, **asking).answer == 2


def test_a_long_answer_comes_whole(asking, servers):
    tags = [f"{number:0>100}" for number in range(550)]

    def edit(config):
        config["cluster"]["tags"] = tags

    for server in servers.servers:
        server.configure(edit=edit)
    assert sorted(confd.config_query("/cluster/tags", **asking)) == tags


def test_an_answer_of_another_kind_is_an_error_of_one_line(asking, peers):
    from tests.support.confd import reply, salt_of

    def lie(peer, request, sender):
        peer.send(reply([1, 2], salt_of(request), asking["hmac_key"]), sender)

    liar = {**asking, "peers": [peers.add(lie).address]}
    for call, arguments in [
        (confd.ping, ()),
        (confd.node_role_by_name, ("x",)),
        (confd.cluster_master, ()),
        (confd.mc_pip_list, ()),
        (confd.node_drbd, ("x",)),
        (confd.node_instances, ("x",)),
        (confd.data_collectors, ()),
        (confd.node_pip_by_instance_ip, (["198.51.100.1"],)),
    ]:
        with pytest.raises(ServerError, match=r"^ganeti-confd answered \w+ with a list of 2, which is no answer"):
            call(*arguments, **liar)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"peers": "127.0.0.1"}, "peers: must be a list of texts"),
        ({"peers": []}, "peers: is empty"),
        ({"peers": ["localhost"]}, "peers: localhost is not an address"),
        ({"peers": ["127.0.0.1", "::1"]}, "peers: must be of one family"),
        ({"peers": [7]}, "peers: must be a list of texts"),
        ({"peers": ["\x1b[2J"]}, r"peers: \\u\{1b\}\[2J is not"),
        ({"hmac_key": 7}, "hmac_key: must be bytes or text"),
        ({"hmac_key": b""}, "hmac_key: is empty"),
        ({"port": 0}, "port: must be"),
        ({"port": "x"}, "port: must be"),
        ({"coverage": 4}, "coverage: 4 peers"),
        ({"coverage": -3}, "coverage: must be"),
        ({"coverage": 2, "replies": 3}, "replies: 3 are wanted"),
        ({"retries": 4}, "retries: must be from 0 to 3"),
        ({"timeout": None}, "timeout: must be a number of seconds"),
        ({"timeout": -1}, "timeout: must not be negative"),
        ({"timeout": 1e19}, "timeout: must not be more than the seconds of a year"),
        ({"nonsense": 1}, "keyword: nonsense is not known"),
        ({"cancel": 1}, "cancel: must be"),
    ],
)
def test_a_wrong_argument_is_one_line_that_names_it(asking, wrong, why):
    with pytest.raises(ArgumentError, match=why):
        confd.cluster_master(**{**asking, **wrong})
