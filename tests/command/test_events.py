"""`zkcoord events`: a line for each change of a pool, and how it ends."""

import json
import signal
import subprocess
import time

import pytest
import zkcoord
from kazoo.recipe.lock import Semaphore
from kazoo.security import make_digest_acl

from tests.support.calls import Waiting

HOSTILE = "web\x1b[2J\n\u202e"


@pytest.fixture
def following(shell, root, lines):
    """Follow the test's own pool: the process, and what it has printed without the times."""

    def start(*options, hosts=None):
        where = ("-H", hosts) if hosts else ()
        process = shell.start(*where, "events", root, "--verbose", *options)
        process.stderr.readline()
        return process, lines(process)

    return start


def texts(lines):
    return [" ".join(line.split()[1:]) for line in lines]


def kinds(seen):
    return [json.loads(line)["event"] for line in seen()]


def test_each_change_has_its_line(shell, following, root, wait_until):
    process, seen = following("--moves")

    def next_is(count, *starts):
        wait_until(lambda: len(seen()) >= count, starts)
        new = texts(seen())[count - len(starts) :]
        assert all(text.startswith(start) for text, start in zip(new, starts, strict=True)), (new, starts)

    assert shell("lock", root, "--id", "web1").returncode == 0
    next_is(3, "created the pool", "limit none -> 1", "taken web1 token ")
    waiting = shell.start("lock", root, "--id", "web2")
    next_is(4, "queued web2 1st")
    leaving = shell.start("lock", root, "--id", "web3")
    next_is(5, "queued web3 2nd")
    assert shell("unlock", root, "--id", "web1").returncode == 0
    assert waiting.wait(10) == 0
    wait_until(lambda: len(seen()) >= 8, "web2 has the slot")
    assert sorted(text.split()[0] for text in texts(seen())[5:]) == ["moved", "released", "taken"]
    leaving.terminate()
    assert leaving.wait(10) == 128 + signal.SIGTERM
    next_is(9, "left web3 waits no more")
    assert shell("set-max", root, "4").returncode == 0
    next_is(10, "limit 1 -> 4")
    assert shell("unlock", root, "--id", "web2").returncode == 0
    next_is(11, "released web2 token ")
    assert shell("znode", "rm", root).returncode == 0
    next_is(12, "deleted the pool")
    process.terminate()
    assert process.wait(10) == 128 + signal.SIGTERM
    assert process.stderr.read() == b""


def test_who_takes_a_slot_while_the_pool_is_read_has_not_left_the_queue(following, hosts, root, wait_until):
    process, seen = following()

    def contend(who):
        for _ in range(5):
            assert zkcoord.lock(root, hosts, who, timeout=60)
            time.sleep(0.2)  # what comes and goes between two readings is not seen
            assert zkcoord.unlock(root, hosts, who)

    for one in [Waiting(contend, f"web{number}") for number in range(4)]:
        one.result()
    assert zkcoord.set_max(root, 7, hosts)
    wait_until(lambda: any("limit 1 -> 7" in text for text in texts(seen())), "all of it is seen")
    assert [text for text in texts(seen()) if text.startswith("left")] == []
    process.terminate()
    assert process.wait(10) == 128 + signal.SIGTERM


def test_json_is_one_object_a_line_with_the_fencing_token(shell, following, root, zk, wait_until):
    process, seen = following("--json")
    running = shell.start("run", root, "--id", "r", "--", "cat", stdin=subprocess.PIPE)
    wait_until(lambda: len(seen()) >= 3, "the slot is taken")
    running.stdin.close()
    running.stdin = None
    wait_until(lambda: len(seen()) >= 4, "the slot is given back")
    made, limit, taken, released = (json.loads(line) for line in seen())
    assert (made["event"], made["path"], limit["new"]) == ("pool_created", root, 1)
    assert (taken["event"], taken["identifier"], taken["ephemeral"]) == ("taken", "r", True)
    assert released["fencing_token"] == taken["fencing_token"] > 0
    process.send_signal(signal.SIGHUP)
    assert process.wait(10) == 128 + signal.SIGHUP


def test_no_identifier_is_a_command_to_the_terminal(shell, following, root, zk, wait_until):
    _, seen = following()
    assert shell("lock", root, "--id", HOSTILE).returncode == 0
    zk.create(f"{root}/child", b"\xff\xfe")
    wait_until(lambda: len(seen()) >= 4, "both are taken")
    whole = "\n".join(seen())
    assert "taken      web\\u{1b}[2J\\n\\u{202e}  token" in whole
    assert "\x1b" not in whole
    assert "taken      \ufffd\ufffd  token" in whole


def test_kazoos_contenders_are_seen_as_ours(following, root, zk, wait_until):
    _, seen = following("--json")
    first, second = Semaphore(zk, root, "k1"), Semaphore(zk, root, "k2")
    assert first.acquire(timeout=10)
    wait_until(lambda: kinds(seen).count("taken") >= 1, "k1 has the slot")
    waiting = Waiting(second.acquire, timeout=20)
    wait_until(lambda: kinds(seen).count("queued") >= 1, "k2 waits")
    first.release()
    assert waiting.result()
    wait_until(lambda: kinds(seen).count("taken") >= 2, "k2 has the slot")
    second.release()
    wait_until(lambda: kinds(seen).count("released") >= 2, "both are given back")
    taken = [json.loads(line)["identifier"] for line in seen() if json.loads(line)["event"] == "taken"]
    assert taken == ["k1", "k2"]
    assert "left_queue" not in kinds(seen)


def test_a_reader_that_goes_ends_it_although_nothing_happens(shell, root):
    process = shell.start("events", root, "--verbose")
    process.stderr.readline()
    process.stdout.close()
    assert process.wait(10) == 0
    assert process.stderr.read() == b""


def test_it_ends_when_the_time_is_up(shell, root):
    assert shell("events", root, "-t", "0.3").returncode == 0


def test_an_outage_is_waited_for_and_what_it_hid_is_printed(following, proxies, zk, root, shell, wait_until):
    process, seen = following("--json", hosts=proxies.hosts)
    for proxy in proxies:
        proxy.refuse()
        proxy.cut()
    assert shell("lock", root, "--id", "web1").returncode == 0
    assert b"no server answers" in process.stderr.readline()
    assert not seen()
    for proxy in proxies:
        proxy.accept()
    wait_until(lambda: "taken" in kinds(seen), "the change is seen", 30)
    process.terminate()
    assert process.wait(10) == 128 + signal.SIGTERM


def test_denied_and_unreachable_have_their_statuses(shell, zk, root):
    zk.create(root, acl=[make_digest_acl("owner", "secret", all=True)])
    denied = shell("events", root)
    assert denied.returncode == 4
    assert shell("-H", "127.0.0.1:1", "events", root).returncode == 3
    assert shell("events", "/").returncode == 2
