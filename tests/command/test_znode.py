"""`zkcoord znode` on real servers: what it prints, writes and refuses, and how it ends."""

import base64
import json
import re
import signal
import socket

import pytest
from kazoo.security import OPEN_ACL_UNSAFE, make_digest_acl

HOSTILE = "a\u202eb \u00e9"
BINARY = b"\x00\xff\x1b[2J\n"
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@pytest.fixture
def node(zk, root):
    zk.create(root, b"x")
    return root


@pytest.fixture
def locked(zk, root):
    """A znode that nobody but its user may read or change, or look at its children."""
    acl = [make_digest_acl("owner", "secret", all=True)]
    zk.create(root, b"x", acl=acl)
    yield root
    # Whoever may delete its parent's children may delete it.
    zk.delete(root)


def test_data_are_written_to_a_pipe_as_they_are(shell, zk, node):
    zk.set(node, BINARY)
    assert shell("znode", "get", node).stdout == BINARY


def test_data_are_written_to_a_file(shell, zk, node, tmp_path):
    zk.set(node, BINARY)
    file = tmp_path / "data"
    done = shell("znode", "get", node, "--output", str(file))
    assert (done.returncode, done.stdout, file.read_bytes()) == (0, b"", BINARY)
    refused = shell("znode", "get", node, "-o", str(tmp_path / "no/such/data"))
    assert refused.returncode == 2
    assert b"No such file" in refused.stderr


def test_a_full_file_system_is_an_error_and_no_short_file(shell, node):
    with open("/dev/full", "wb") as full:
        process = shell.start("znode", "get", node, stdout=full)
        assert process.wait(30) == 2
        assert b"No space left" in process.stderr.read()


def test_json_has_text_or_base64_and_the_stat(shell, zk, node):
    read = json.loads(shell("--json", "znode", "get", node).stdout)
    assert (read["path"], read["text"]) == (node, "x")
    assert STAMP.fullmatch(read["stat"]["created"])
    assert int(read["stat"]["czxid"], 16) == zk.exists(node).czxid
    zk.set(node, BINARY)
    read = json.loads(shell("--json", "znode", "get", node).stdout)
    assert base64.b64decode(read["base64"]) == BINARY
    assert "text" not in read


@pytest.mark.parametrize("how", ["argument", "dash", "file", "stdin by file"])
def test_data_come_from_an_argument_a_file_or_standard_input(shell, zk, node, tmp_path, how):
    file = tmp_path / "data"
    data = b"\xffend" if how == "argument" else BINARY
    file.write_bytes(data)
    arguments = {"argument": [data], "dash": ["-"], "file": ["--file", str(file)], "stdin by file": ["-f", "-"]}[how]
    done = shell("znode", "set", node, *arguments, data=BINARY)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert zk.get(node)[0] == data


def test_no_data_at_all_are_a_usage_error(shell, zk, node):
    assert shell("znode", "set", node).returncode == 2
    assert shell("znode", "set", node, "x", "--file", "y").returncode == 2
    assert shell("znode", "set", node, "--file", "/no/such/file").returncode == 2
    assert zk.exists(node).version == 0


def test_a_version_makes_it_compare_and_set(shell, zk, node):
    done = shell("znode", "set", node, "y", "--version", "0", "--json")
    assert json.loads(done.stdout)["version"] == 1
    stale = shell("znode", "set", node, "z", "--version", "0")
    assert stale.returncode == 1
    assert b"not at version 0" in stale.stderr
    assert zk.get(node)[0] == b"y"
    assert shell("znode", "rm", node, "--version", "0").returncode == 1
    assert shell("znode", "rm", node, "--version", "1").returncode == 0
    assert not zk.exists(node)


def test_a_signal_ends_the_wait_for_standard_input(shell, zk, node, wait_until):
    left, right = socket.socketpair()
    with left, right:
        process = shell.start("znode", "set", node, "-", stdin=right)
        wait_until(lambda: handles(process.pid, signal.SIGTERM), "it heeds signals")
        process.terminate()
        assert process.wait(10) == 128 + signal.SIGTERM
    assert zk.get(node)[0] == b"x"


def handles(pid, number):
    with open(f"/proc/{pid}/status") as status:
        caught = next(line for line in status if line.startswith("SigCgt:"))
    return int(caught.split()[1], 16) >> (number - 1) & 1


def test_created_znodes_are_printed_with_their_sequence(shell, zk, root):
    missing = shell("znode", "create", f"{root}/a/b", "x")
    assert missing.returncode == 1
    made = shell("znode", "create", "--parents", f"{root}/a/b", "x")
    assert (made.returncode, made.stdout) == (0, f"{root}/a/b\n".encode())
    assert shell("znode", "create", f"{root}/a/b").returncode == 1
    for number in range(2):
        made = shell("znode", "create", "-s", f"{root}/a/n-")
        assert made.stdout == f"{root}/a/n-{number + 1:010}\n".encode()
    assert zk.get(f"{root}/a/b")[0] == b"x"
    assert zk.get_acls(root)[0] == OPEN_ACL_UNSAFE


def test_an_ephemeral_znode_is_refused_with_what_to_do_instead(shell, zk, root):
    refused = shell("znode", "create", "-e", root)
    assert refused.returncode == 2
    assert b"zkcoord run" in refused.stderr
    assert not zk.exists(root)


def test_below_a_chroot_paths_are_those_of_the_caller(shell, zk, node, hosts):
    made = shell("-H", f"{hosts}{node}", "znode", "create", "/inner")
    assert made.stdout == b"/inner\n"
    assert zk.exists(f"{node}/inner")
    tree = shell("-H", f"{hosts}{node}", "znode", "tree", "--json")
    assert json.loads(tree.stdout) == [{"path": "/", "children": 1}, {"path": "/inner", "children": 0}]
    assert shell("-H", f"{hosts}{node}", "znode", "rm", "-r", "/").returncode == 2
    assert zk.exists(node)


def test_znodes_are_deleted_one_or_with_all_below(shell, zk, node):
    zk.create(f"{node}/a/b", makepath=True)
    refused = shell("znode", "rm", node)
    assert refused.returncode == 1
    assert shell("znode", "rm", "-r", node).returncode == 0
    assert not zk.exists(node)
    assert shell("znode", "rm", node).returncode == 1
    assert shell("znode", "rm", "-r", node).returncode == 0


@pytest.mark.parametrize("path", ["/", "/zookeeper", "/zookeeper/config", "relative/../up"])
def test_what_is_not_ours_is_not_deleted(shell, path):
    assert shell("znode", "rm", "-r", path).returncode == 2


def test_names_are_in_order_and_no_escape_sequence(shell, zk, node):
    for name in ("b", "a", HOSTILE):
        zk.create(f"{node}/{name}", b"12")
    shown = "a\\u{202e}b \u00e9"
    assert shell("znode", "ls", node).stdout.decode().splitlines() == ["a", shown, "b"]
    assert json.loads(shell("--json", "znode", "ls", node).stdout) == ["a", HOSTILE, "b"]
    rows = shell("znode", "ls", "-l", node).stdout.decode().splitlines()
    assert rows[0].split() == ["name", "until", "version", "bytes", "children", "created", "modified"]
    assert rows[1].split()[:5] == ["a", "persistent", "0", "2", "0"]
    tree = shell("znode", "tree", node).stdout.decode().splitlines()
    assert tree == [f"{node} (3)", "├── a", f"├── {shown}", "└── b", "3 znodes below"]


def test_a_tree_ends_at_its_depth_and_still_counts_what_is_below(shell, zk, node):
    zk.create(f"{node}/a/b/c", makepath=True)
    zk.create(f"{node}/a-", makepath=True)
    tree = shell("znode", "tree", "-L", "1", node).stdout.decode().splitlines()
    assert tree == [f"{node} (2)", "├── a (1)", "└── a-", "2 znodes below"]
    whole = json.loads(shell("--json", "znode", "tree", node).stdout)
    names = [branch["path"].removeprefix(node) for branch in whole]
    assert names == ["", "/a", "/a/b", "/a/b/c", "/a-"]


def test_a_znode_below_that_is_closed_does_not_hide_the_others(shell, zk, node):
    zk.create(f"{node}/closed", acl=[make_digest_acl("owner", "secret", all=True)])
    zk.create(f"{node}/open")
    done = shell("znode", "tree", node)
    assert done.returncode == 0
    assert done.stdout.decode().splitlines()[1:3] == ["├── closed (?)", "└── open"]
    assert shell("znode", "ls", "-l", node).returncode == 0


def test_a_stat_has_times_and_hexadecimal_zxids(shell, zk, node):
    stat = zk.exists(node)
    lines = shell("znode", "stat", node).stdout.decode().splitlines()
    found = {line[:18].strip(): line[18:] for line in lines}
    assert STAMP.fullmatch(found["created"])
    assert found["czxid"] == f"{stat.czxid:#x}"
    assert (found["kind"], found["session"], found["bytes"]) == ("persistent", "-", "1")
    zk.create(f"{node}/e", ephemeral=True)
    found = json.loads(shell("--json", "znode", "stat", f"{node}/e").stdout)
    assert (found["kind"], int(found["session"], 16) % 2**64) == ("ephemeral", zk.client_id[0] % 2**64)
    zk.delete(f"{node}/e")


def test_an_acl_is_printed_as_it_is_written(shell, node, tmp_path):
    assert shell("znode", "acl", node).stdout == b"world:anyone:cdrwa\n"
    password = tmp_path / "password"
    password.write_text("secret\n")
    entries = ("--set", "world:anyone:r", "--set", "digest:owner:cdrwa", "--acl-password-file", str(password))
    assert shell("znode", "acl", node, *entries).returncode == 0
    login = ("-u", "owner", "--password-file", str(password))
    # The servers show the hash to nobody else.
    printed = shell(*login, "znode", "acl", node).stdout.decode().split()
    wanted = sorted([f"digest:{make_digest_acl('owner', 'secret', all=True).id.id}:cdrwa", "world:anyone:r"])
    assert sorted(printed) == wanted
    # A hash that was made already is no password, and may be an argument.
    again = [word for line in printed for word in ("--set", line)]
    assert shell("znode", "acl", node, *again, *login, "--version", "7").returncode == 1
    assert shell("znode", "acl", node, *again, *login, "--version", "1").returncode == 0
    assert sorted(shell(*login, "znode", "acl", node).stdout.decode().split()) == wanted
    listed = json.loads(shell("--json", "znode", "acl", node).stdout)
    assert {"scheme": "world", "id": "anyone", "perms": "r"} in listed


@pytest.mark.parametrize("entry", ["world", "digest:owner:r", "digest:owner:secret:r", "world:anyone:rx", "auth::all"])
def test_an_entry_that_is_none_is_refused_without_an_echo(shell, zk, node, entry):
    refused = shell("znode", "acl", node, "--set", entry)
    assert refused.returncode == 2
    assert b"secret" not in refused.stderr
    assert zk.get_acls(node)[0] == OPEN_ACL_UNSAFE


@pytest.mark.parametrize("verb", ["ls", "tree", "get", "set", "rm", "acl", "stat"])
def test_a_missing_znode_is_status_1(shell, root, verb):
    more = ["x"] if verb == "set" else []
    done = shell("znode", verb, root, *more)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode() == f"zkcoord: {root} does not exist\n"


@pytest.mark.parametrize("verb", ["ls", "get", "set", "create", "watch"])
def test_what_the_acl_denies_is_status_4(shell, locked, verb):
    path = f"{locked}/child" if verb == "create" else locked
    more = ["x"] if verb == "set" else []
    done = shell("znode", verb, path, *more)
    assert done.returncode == 4, done.stderr
    assert b"not permitted" in done.stderr


@pytest.mark.parametrize("verb", ["ls", "tree", "get", "set", "create", "rm", "acl", "stat", "watch"])
def test_unreachable_servers_are_status_3(shell, verb):
    more = ["x"] if verb in {"set", "create"} else []
    done = shell("-H", "127.0.0.1:1", "znode", verb, "/a", *more)
    assert done.returncode == 3
    failed = shell("-H", "127.0.0.1:1", "--json", "znode", verb, "/a", *more)
    assert json.loads(failed.stderr)["status"] == 3


def test_a_closed_pipe_is_no_failure(shell, zk, node):
    for number in range(300):
        zk.create(f"{node}/{'x' * 200}{number}")
    for verb in ("ls", "tree"):
        process = shell.start("znode", verb, node)
        process.stdout.close()
        assert process.wait(30) == 0
        assert process.stderr.read() == b""


def test_a_watch_prints_each_change_of_data_children_and_being(shell, zk, root, lines, wait_until):
    process = shell.start("znode", "watch", root, "--verbose")
    assert process.stderr.readline().decode() == f"zkcoord: {root} is not there yet\n"
    seen = lines(process)

    def happens(action, line):
        count = len(seen())
        action()
        wait_until(lambda: len(seen()) > count, line)
        stamp, text = seen()[-1].split(" ", 1)
        assert STAMP.fullmatch(stamp)
        assert text == line

    happens(lambda: zk.create(root, b"ab"), "created    persistent, version 0, 2 bytes")
    happens(lambda: zk.set(root, BINARY), f"written    version 1, {len(BINARY)} bytes")
    happens(lambda: zk.create(f"{root}/{HOSTILE}"), "child      + a\\u{202e}b \u00e9")
    happens(lambda: zk.delete(f"{root}/{HOSTILE}"), "child      - a\\u{202e}b \u00e9")
    happens(lambda: zk.delete(root), "deleted")
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 128 + signal.SIGINT
    assert process.stderr.read() == b""


def test_a_watch_ends_with_the_first_change_or_says_no(shell, zk, node):
    process = shell.start("znode", "watch", "-1", "--json", "-v", node)
    process.stderr.readline()
    zk.set(node, b"y")
    assert process.wait(10) == 0
    line = json.loads(process.stdout.read())
    assert (line["change"], line["path"], line["stat"]["version"]) == ("written", node, 1)
    assert shell("znode", "watch", "-1", "-t", "0.2", node).returncode == 1
    assert shell("znode", "watch", "-t", "0.2", node).returncode == 0
