"""Wrong input is refused before anything is sent; nothing is echoed that could be a secret."""

import pytest
from zkcoord import errors, lock, lock_holders, party_members, unlock

REFUSED = [
    ("path", ""),
    ("path", "/"),
    ("path", "/a/../b"),
    ("path", "/a\0b"),
    ("path", "/zookeeper"),
    ("path", "/zookeeper/quota"),
    ("path", None),
    ("path", 5),
    ("path", "/a\ud800"),
    ("max_concurrency", 0),
    ("max_concurrency", -1),
    ("max_concurrency", 1.5),
    ("max_concurrency", True),
    ("max_concurrency", "two"),
    ("max_concurrency", 2**40),
    ("timeout", -1),
    ("timeout", "-0.5"),
    ("timeout", float("nan")),
    ("timeout", float("inf")),
    ("timeout", "soon"),
    ("timeout", True),
    ("identifier", ["a"]),
    ("identifier", b"a"),
    ("ephemeral_lease", "perhaps"),
    ("ephemeral_lease", 2),
    ("force", []),
    ("zk_hosts", "a:b"),
    ("zk_hosts", "a:1:2"),
    ("zk_hosts", "::1:2181"),
    ("zk_hosts", ["a:1", 2]),
    ("zk_hosts", 2181),
    ("scheme", "kerberos"),
    ("scheme", 5),
    ("username", "without a password"),
    ("default_acl", "text"),
    ("default_acl", [["a"]]),
    ("default_acl", {"username": "u", "password": "p"}),
    ("default_acl", {"username": "u", "password": "p", "raed": True}),
    ("default_acl", {"username": "u", "read": True}),
    ("default_acl", {1: 2}),
]


@pytest.mark.parametrize(("argument", "value"), REFUSED)
def test_it_is_refused_and_nothing_is_written(hosts, root, zk, argument, value):
    arguments = {"path": root, "zk_hosts": hosts} | {argument: value}
    with pytest.raises(errors.ArgumentError, match=f"^{argument}: "):
        lock(**arguments)
    assert zk.exists(root) is None


@pytest.mark.parametrize("function", [lock, unlock, lock_holders, party_members])
def test_every_function_refuses_alike_and_needs_no_server_for_it(function):
    with pytest.raises(errors.ArgumentError, match=r"^path: .*absolute"):
        function("/a/../b", "127.0.0.1:1")


def test_numbers_are_taken_as_text_too(hosts, root):
    assert lock(root, hosts, identifier="a", max_concurrency="2", timeout="5", ephemeral_lease="False", force=0)
    assert lock(root, hosts, identifier="b", max_concurrency=2, timeout=5.0, ephemeral_lease="true")
    assert not lock(root, hosts, identifier="c", max_concurrency=2, timeout="0")


def test_a_very_long_timeout_is_as_good_as_none(hosts, root):
    assert lock(root, hosts, identifier="a", timeout=1e300)


SECRET = "hunter2-canary"


@pytest.mark.parametrize(
    "arguments",
    [
        {"password": SECRET},
        {"username": ["u"], "password": SECRET},
        {"username": "u", "password": [SECRET]},
        {"username": "u:v", "password": SECRET},
        {"default_acl": SECRET},
        {"default_acl": [SECRET]},
        {"default_acl": {"username": "u", "password": SECRET}},
        {"default_acl": {"username": "u", "password": [SECRET], "read": True}},
        {"default_acl": {"username": "u", "password": SECRET, "read": SECRET}},
        {"username": "u", "password": SECRET, "zk_hosts": "127.0.0.1:1", "timeout": 0.2},
    ],
)
def test_a_secret_is_in_no_error(arguments, capfd):
    with pytest.raises(errors.Error) as caught:
        lock(**({"path": "/p", "zk_hosts": "127.0.0.1:1"} | arguments))
    shown = "".join(map(str, [caught.value, repr(caught.value), caught.getrepr(), *capfd.readouterr()]))
    assert SECRET not in shown.replace(f"'{SECRET}'", "")


def test_an_identifier_too_long_for_a_request_is_refused(hosts, root, zk):
    with pytest.raises(errors.ArgumentError, match=r"^identifier: must not be longer"):
        lock(root, hosts, identifier="x" * 2**20)
    with pytest.raises(errors.ArgumentError, match=r"^path: must not be longer"):
        lock(root + "x" * 2**20, hosts)
    assert zk.exists(root) is None
