"""`zkcoord coordinator`: requests that outlive the command, and what the library sees of them."""

import json
import socket

import pytest
from zkcoord import grants

HOSTILE = "web\x1b[2J\u202e\n"
SHOWN = r"web\u{1b}[2J\u{202e}\n"
HOST = socket.gethostname()


@pytest.fixture
def coordinator(shell, root):
    """Run a subcommand on the test's own coordinator."""

    def run(name, *arguments, options=()):
        return shell(*options, "coordinator", name, *arguments, "--root", root, "--key", "k")

    return run


@pytest.fixture
def queue(hosts, root):
    """What the Python library sees."""
    return lambda lock="restart": grants.queue(lock, "k", hosts, root=root)


@pytest.fixture
def units(queue):
    def units():
        found = queue()
        return [it["unit"] for it in found["holders"]], [it["unit"] for it in found["waiters"]]

    return units


def test_the_first_is_granted_and_others_queue(coordinator, units, queue):
    done = coordinator(
        "acquire", "restart", "--unit", "a", "--reason", "kernel", "--label", "rack=r1", "--expires", "1h"
    )
    holder = queue()["holders"][0]
    assert (done.returncode, done.stdout.decode()) == (0, f"restart: granted, token {holder['token']}\n")
    assert (holder["reason"], holder["labels"], holder["expires"]) == ("kernel", {"rack": "r1"}, 3600.0)
    done = coordinator("acquire", "restart")
    assert done.returncode == 1
    since = holder["granted"]
    assert done.stdout.decode() == f"restart: queued 1st of 1, held by a since {since}\n"
    assert units() == (["a"], [HOST])
    again = coordinator("acquire", "restart", options=("--json",))
    assert again.returncode == 1
    found = json.loads(again.stdout)
    assert (found["granted"], found["position"], found["is_new"]) == (False, 1, False)


def test_a_release_grants_to_the_next(coordinator, units):
    for unit in "abc":
        coordinator("acquire", "restart", "--unit", unit)
    done = coordinator("release", "restart", "--unit", "a")
    assert (done.returncode, done.stdout) == (0, b"restart: the grant of a is gone; granted to b\n")
    done = coordinator("release", "restart", "--unit", "c")
    assert (done.returncode, done.stdout) == (0, b"restart: the request of c is gone\n")
    done = coordinator("release", "restart", "--unit", "c")
    assert (done.returncode, done.stdout) == (1, b"restart: c has no request\n")
    assert units() == (["b"], [])
    done = coordinator("release", "restart", "--unit", "b", options=("--json",))
    assert json.loads(done.stdout)["granted"] is True


def test_a_request_of_the_library_is_seen_and_the_other_way_round(coordinator, hosts, root, units):
    assert grants.acquire("restart", "python", "k", zk_hosts=hosts, root=root)["granted"]
    assert coordinator("acquire", "restart", "--unit", "shell").returncode == 1
    assert grants.release("restart", "python", "k", hosts, root=root)["effects"]["granted"] == ["shell"]
    assert coordinator("acquire", "restart", "--unit", "shell").returncode == 0
    assert units() == (["shell"], [])


def test_the_defaults_are_those_of_the_salt_module(shell, hosts, root):
    lock = f"restart{root}"
    try:
        assert shell("coordinator", "acquire", lock).returncode == 0
        assert grants.queue(lock, "salt", hosts, root="/coordinator")["holders"][0]["unit"] == HOST
    finally:
        assert shell("coordinator", "release", lock).returncode == 0


def test_all_must_name_the_same_policy(coordinator):
    policy = '{"max": 2, "per": {"rack": 1}}'
    done = coordinator("acquire", "restart", "--unit", "a", "--policy", policy, "--label", "rack=r1")
    assert done.returncode == 0, done.stderr
    done = coordinator("acquire", "restart", "--unit", "b", "--policy", policy, "--label", "rack=r1")
    assert done.returncode == 1
    done = coordinator("acquire", "restart", "--unit", "c", "--policy", policy, "--label", "rack=r2")
    assert done.returncode == 0
    done = coordinator("acquire", "restart", "--unit", "d")
    assert done.returncode == 2
    assert "has the policy max 2 and per rack 1, but serial was asked for" in done.stderr.decode()
    done = coordinator("acquire", "restart", "--unit", "d", "--policy", policy)
    assert done.returncode == 2
    assert done.stderr.decode().startswith("zkcoord: labels: ")


def test_an_operator_grants_and_revokes(coordinator, units, queue):
    for unit in "abc":
        coordinator("acquire", "restart", "--unit", unit)
    done = coordinator("grant", "restart", "c", "--reason", "urgent")
    assert (done.returncode, done.stdout) == (0, b"restart: granted to c\n")
    assert coordinator("grant", "restart", "c").returncode == 1
    holder = queue()["holders"][1]
    assert (holder["unit"], holder["by"], holder["granted_because"]) == ("c", f"operator on {HOST}", "urgent")
    assert units() == (["a", "c"], ["b"])
    assert coordinator("revoke", "restart", "c", "--by", "ann").returncode == 0
    assert coordinator("revoke", "restart", "c").returncode == 1
    assert units() == (["a"], ["b"])
    done = coordinator("grant", "restart", "nobody")
    assert done.returncode == 2
    assert "has no request" in done.stderr.decode()


def test_the_queue_is_that_of_the_library(coordinator, queue):
    coordinator("acquire", "restart", "--unit", HOSTILE, "--reason", HOSTILE)
    coordinator("acquire", "restart", "--unit", "b", "--label", f"rack={HOSTILE}")
    seen, known = json.loads(coordinator("queue", "restart", options=("--json",)).stdout), queue()
    for found in (seen, known):
        for entry in (*found["holders"], *found["waiters"]):
            del entry["age"], entry["unseen"]
    assert seen == known
    text = coordinator("queue", "restart").stdout.decode()
    assert text.startswith("restart: serial, 1 granted, 1 waiting\n")
    assert f"rack={SHOWN}" in text
    assert text.count(SHOWN) == 4
    assert not set(text) & set("\x1b\u202e")


def test_all_queues(coordinator):
    assert coordinator("queue").stdout == b"nobody has asked for any lock\n"
    assert coordinator("queue", options=("--json",)).stdout == b"[]\n"
    coordinator("acquire", "restart")
    coordinator("acquire", "app/0")
    text = coordinator("queue").stdout.decode()
    assert [line.partition(":")[0] for line in text.splitlines() if ": serial" in line] == ["app/0", "restart"]
    found = json.loads(coordinator("queue", options=("--json",)).stdout)
    assert [queue["lock"] for queue in found] == ["app/0", "restart"]
    assert coordinator("queue", "other").stdout == b"other: nobody has asked for it\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("acquire", ""),
        ("acquire", "a", "--policy", "parallel"),
        ("acquire", "a", "--policy", '{"max": 0}'),
        ("acquire", "a", "--label", "rack"),
        ("acquire", "a", "--expires", "0.5"),
        ("release", "a", "--unit", ""),
        ("grant", "a"),
    ],
)
def test_usage(coordinator, arguments):
    assert coordinator(*arguments).returncode == 2


def test_unreachable(coordinator):
    done = coordinator("queue", "a", options=("--hosts", "127.0.0.1:1", "--connect-timeout", "0.2"))
    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == 1
