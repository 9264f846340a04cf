"""`zkcoord doctor`: what is odd, and commands that put it right when they are pasted."""

import json
import shlex
import subprocess

import pytest
from kazoo.security import make_digest_acl

HOSTILE = "web\x1b[2J' $(touch x)\n"
QUEUE_NODE = f"{'a' * 32}__lock__0000000000"


@pytest.fixture
def pool_of_two(shell, root):
    for identifier in ("web1", "web2"):
        assert shell("lock", root, "-n", "2", "--id", identifier).returncode == 0
    return root


@pytest.fixture
def findings(shell, root):
    """What the doctor says of the test's own pool, as pairs of what and do."""

    def examine(*options):
        done = shell("--json", "doctor", root, *options)
        found = json.loads(done.stdout)
        assert done.returncode == (1 if found else 0), done.stderr
        return [(finding["what"], finding["do"]) for finding in found]

    return examine


def paste(shell, advice):
    """Run the command of an advice in bash, as it is."""
    line = advice[advice.index("zkcoord ") :]
    function = f'zkcoord() {{ {shlex.quote(str(shell.binary))} "$@"; }}; {line}'
    return subprocess.run(["bash", "-c", function], env=shell.environment, capture_output=True, check=True, timeout=30)


def test_a_pool_in_order_is_status_0(shell, pool_of_two):
    done = shell("doctor", pool_of_two)
    assert (done.returncode, done.stdout.decode()) == (0, f"{pool_of_two}: nothing odd\n")
    assert shell("--quiet", "doctor", pool_of_two).stdout == b""


def test_no_pool_no_limit_and_foreign_data_are_odd(shell, findings, zk, root):
    [(what, _)] = findings()
    assert what == "There is no such pool."
    zk.create(root)
    [(what, advice)] = findings()
    assert "no limit" in what
    paste(shell, advice.replace(" N", " 3"))
    assert zk.get(root)[0] == b"3"
    assert not findings()
    zk.set(root, b"\xff\x1b")
    [(what, advice)] = findings()
    assert "no number" in what
    paste(shell, advice.replace(" N", " 2"))
    assert zk.get(root)[0] == b"2"


def test_a_queue_node_of_nobody_is_deleted_by_the_command(shell, findings, zk, pool_of_two, root):
    zk.create(f"{root}-__lock__/{QUEUE_NODE}", b"web\x1b7")
    [(what, advice)] = findings()
    assert "belongs to no session" in what
    assert "\x1b" not in what
    paste(shell, advice)
    assert not findings()


def test_more_holders_than_the_limit_are_odd(shell, findings, pool_of_two, root):
    assert shell("set-max", root, "1").returncode == 0
    assert [what for what, _ in findings()] == ["2 slots are held, and it has 1."]


def test_a_child_that_is_no_lease_is_deleted_by_the_command(shell, findings, zk, root):
    zk.create(root, b"5")
    zk.create(f"{root}/it's a\u202echild")
    [(what, advice)] = findings()
    assert "takes a slot" in what
    assert "has no identifier" in what
    paste(shell, advice)
    assert zk.get_children(root) == []


def test_an_identifier_with_several_slots_is_freed_by_the_command(shell, findings, zk, root):
    zk.create(root, b"5")
    for letter in "ab":
        zk.create(f"{root}/{letter * 32}", HOSTILE.encode())
    [(what, advice)] = findings()
    assert what == "web\\u{1b}[2J' $(touch x)\\n holds 2 slots."
    assert "\x1b" not in advice
    paste(shell, advice)
    assert zk.get_children(root) == []


def test_an_identifier_that_is_not_utf_8_is_freed_by_its_lease(shell, findings, zk, root):
    zk.create(root, b"5")
    zk.create(f"{root}/{'a' * 32}", b"\xff\xfe")
    [(_, advice)] = findings("--older-than", "0")
    assert "znode rm" in advice
    paste(shell, advice)
    assert zk.get_children(root) == []


def test_what_is_older_than_the_option_says_is_odd(shell, findings, pool_of_two, root, wait_until):
    waiting = shell.start("lock", root, "-n", "2", "--id", "web3")
    holding = ("run", root, "-n", "3", "--id", "alive", "--", "sleep", "60")
    wait_until(lambda: len(findings("--older-than", "0")) == 3, "two hold and one waits")
    first, second, third = findings("--older-than", "0")
    assert first[0].startswith("web1 holds a slot for ")
    assert third[0].startswith("web3 waits for ")
    waiting.terminate()
    waiting.wait(10)
    assert shell("set-max", root, "3").returncode == 0
    process = shell.start(*holding)
    wait_until(lambda: b"alive" in shell("holders", root).stdout, "it runs")
    # A lease that ends with its session is no leftover.
    assert not any("alive" in what for what, _ in findings("--older-than", "0"))
    process.terminate()
    process.wait(10)
    paste(shell, second[1])
    assert shell("holders", root).stdout == b"web1\n"


def test_a_server_that_is_not_there_is_odd_and_named(shell, pool_of_two, hosts):
    done = shell("-H", f"{hosts},127.0.0.1:1", "doctor", pool_of_two)
    assert done.returncode == 1
    assert "The server 127.0.0.1:1 cannot be used: it refused the connection" in done.stdout.decode()
    none = shell("-H", "127.0.0.1:1,127.0.0.1:2", "doctor", pool_of_two)
    assert none.returncode == 3
    assert "The server 127.0.0.1:2 cannot be used" in none.stdout.decode()
    assert "no ZooKeeper server answered" in none.stderr.decode()


def test_an_open_pool_is_odd_for_those_who_log_in(shell, pool_of_two, tmp_path):
    password = tmp_path / "password"
    password.write_text("secret\n")
    login = ("-u", "owner", "--password-file", str(password))
    done = shell(*login, "--json", "doctor", pool_of_two)
    [finding] = json.loads(done.stdout)
    assert "world:anyone:cdrwa" in finding["what"]
    assert "secret" not in finding["do"]
    paste(shell, finding["do"])
    acl = shell(*login, "znode", "acl", pool_of_two).stdout.decode()
    assert acl == f"digest:{make_digest_acl('owner', 'secret', all=True).id.id}:cdrwa\n"
    assert shell(*login, "doctor", pool_of_two).returncode == 0
    assert shell("doctor", pool_of_two).returncode == 4
