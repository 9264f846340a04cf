"""`zkcoord lock`, `unlock`, `holders`, `status`, `set-max`, `party`: answers, and exit statuses."""

from __future__ import annotations

import re
import signal
import socket

import pytest
import zkcoord
from kazoo.client import KazooClient
from kazoo.security import make_digest_acl


class TestLock:
    def test_a_slot_stays_until_it_is_unlocked(self, zkcoord_command, root, hosts):
        assert zkcoord_command("lock", root).status == 0
        (holder,) = zkcoord.status(root, hosts)["holders"]
        assert (holder["identifier"], holder["ephemeral"]) == (socket.gethostname(), False)
        assert zkcoord_command("lock", root, "-t", "0").status == 0, "who holds it is answered at once"
        assert zkcoord_command("lock", root, "-t", "0", "--id", "b").status == 1
        assert zkcoord_command("unlock", root, "--id", "b").status == 1
        assert zkcoord_command("unlock", root).status == 0
        assert zkcoord_command("unlock", root).status == 1

    def test_it_is_the_slot_of_the_library_and_of_kazoo(self, zkcoord_command, root, hosts, zk):
        assert zkcoord_command("lock", root, "--id", "a", "-n", "2").status == 0
        assert zk.Semaphore(root, "k", 2).acquire(blocking=False)
        assert zkcoord_command("lock", root, "--id", "b", "-n", "2", "-t", "0").status == 1
        assert zkcoord_command("holders", root).lines == ["a", "k"]
        assert zkcoord.unlock(root, hosts, identifier="a")

    def test_force_takes_a_slot_at_once(self, zkcoord_command, root, held):
        assert zkcoord_command("lock", root, "--id", "a", "--force").status == 0
        assert zkcoord_command("holders", root).lines == ["a", "holder"]
        assert zkcoord_command("unlock", root, "--id", "a").status == 0

    def test_a_signal_ends_the_wait(self, start, root, held, pool, wait_until):
        running = start("lock", root, "--id", "a")
        wait_until(pool.waiters, "it waits")
        running.signal(signal.SIGTERM)
        assert running.end(10).status == 128 + signal.SIGTERM
        assert pool.waiters() == []

    def test_json_answers_with_what_is_so(self, zkcoord_command, root):
        assert zkcoord_command("lock", root, "--id", "a", "--json").value is True
        assert zkcoord_command("lock", root, "--id", "b", "-t", "0", "--json").value is False
        assert zkcoord_command("unlock", root, "--id", "a", "--json").value is True


class TestReason:
    def test_it_is_kept_beside_the_lease_and_shown(self, zkcoord_command, root, hosts, zk):
        why = ("--reason", "kernel\x1b[2J", "--job", "7")
        assert zkcoord_command("lock", root, "--id", "a", "-n", "2", *why).status == 0
        assert zkcoord_command("lock", root, "--id", "b", "-n", "2").status == 0
        lines = zkcoord_command("status", root).lines
        assert lines[1].split() == ["who", "what", "since", "for", "fencing", "token", "why"]
        assert re.search(rf"kernel\\u\{{1b\}}\[2J \(pid \d+ on {re.escape(socket.gethostname())}, job 7\)$", lines[2])
        first, second = zkcoord_command("status", root, "--json").value["holders"]
        assert (first["reason"], first["job"], second["reason"]) == ("kernel\x1b[2J", "7", None)
        assert first.keys() == zkcoord.status(root, hosts)["holders"][0].keys()
        assert zkcoord_command("unlock", root, "--id", "a").status == 0
        assert zk.get_children(f"{root}-__reason__") == []

    def test_what_cannot_be_one_is_refused(self, zkcoord_command, root, zk):
        assert zkcoord_command("lock", root, "--reason", "").status == 2
        assert zkcoord_command("lock", root, "--reason", "x" * 1025).status == 2
        assert zkcoord_command("lock", root, "--job", "7").status == 2
        assert zk.exists(root) is None


class TestStatus:
    def test_it_shows_who_holds_and_who_waits(self, zkcoord_command, start, root, held, pool, wait_until, hosts):
        running = start("lock", root, "--id", "a")
        wait_until(pool.waiters, "it waits")
        lines = zkcoord_command("status", root).lines
        assert lines[0] == f"{root}: 1 of 1 slots held, 1 waiting"
        assert lines[1].split() == ["who", "what", "since", "for", "fencing", "token"]
        assert lines[2].startswith("holder  holds, until it is unlocked  20")
        assert lines[3].startswith("a       waits, 1st ")
        assert zkcoord_command("status", root, "--json").value.keys() == zkcoord.status(root, hosts).keys()
        running.signal(signal.SIGINT)
        running.end(10)

    def test_no_escape_sequence_reaches_the_terminal(self, zkcoord_command, root, hosts):
        evil = "a\x1b[2J\nb\u202e"
        assert zkcoord.lock(root, hosts, identifier=evil)
        for command in ("status", "holders"):
            out = zkcoord_command(command, root).out
            assert "a\\u{1b}[2J\\nb\\u{202e}" in out
            assert "\x1b" not in out
        assert zkcoord_command("holders", root, "--json").value == [evil]
        assert zkcoord.unlock(root, hosts, identifier=evil)

    def test_a_pipe_that_is_closed_is_no_failure(self, start, root, held):
        running = start("status", root)
        running.process.stdout.close()
        running.process.stdout = None
        ended = running.end()
        assert (ended.status, ended.err) == (0, "")


def test_the_limit_is_changed(zkcoord_command, root, held):
    assert zkcoord_command("set-max", root, 3).lines == [f"{root}: 1 -> 3"]
    assert zkcoord_command("lock", root, "--id", "a", "-n", "3").status == 0
    assert zkcoord_command("set-max", root, 1).lines == [
        f"{root}: 3 -> 1; 1 more hold a slot than that, until they give it back"
    ]
    assert zkcoord_command("set-max", root, 2, "--json").value["old"] == 1
    assert zkcoord_command("set-max", root, 0).status == 2
    assert zkcoord_command("unlock", root, "--id", "a").status == 0


class TestParty:
    def test_the_members_are_printed(self, zkcoord_command, zk, root):
        assert zkcoord_command("party", root).lines == []
        member = zk.Party(root, "web1")
        member.join()
        assert zkcoord_command("party", root).lines == ["web1"]
        assert zkcoord_command("party", root, "--min", 2, "-t", "0.2").status == 1
        member.leave()

    def test_it_waits_until_there_are_enough(self, start, zk, root, wait_until, ensemble):
        running = start("party", root, "--min", 1)
        with pytest.raises(Exception, match="timed out"):
            running.end(0.5)
        member = zk.Party(root, "web1")
        member.join()
        ended = running.end()
        assert (ended.status, ended.out) == (0, "web1\n")
        member.leave()


class TestWhatCannotBe:
    def test_nobody_answers(self, zkcoord_command, root):
        for command in (("holders",), ("lock",), ("unlock",), ("status",), ("run",)):
            more = ("--", "true") if command == ("run",) else ()
            ended = zkcoord_command("--hosts", "127.0.0.1:1", *command, root, *more)
            assert (ended.status, ended.err.count("\n")) == (3, 1)
            assert "127.0.0.1:1: refused the connection" in ended.err
        object_ = zkcoord_command("--hosts", "127.0.0.1:1", "--json", "holders", root).err
        assert '"error":"Unreachable"' in object_
        assert '"status":3' in object_

    def test_who_is_not_permitted_is_denied(self, zkcoord_command, root, zk, hosts):
        zk.create(root, b"1", acl=[make_digest_acl("somebody", "else", all=True)])
        try:
            for command in ("holders", "lock", "status"):
                ended = zkcoord_command(command, root)
                assert (ended.status, ended.err.count("\n")) == (4, 1)
                assert "not permitted to " in ended.err
        finally:
            other = KazooClient(hosts, auth_data=[("digest", "somebody:else")])
            other.start()
            other.delete(root, recursive=True)
            other.stop()
            other.close()

    @pytest.mark.parametrize(
        "arguments", [("holders",), ("lock", "/a", "-n", "0"), ("lock", "/a", "-t", "soon"), ("x",)]
    )
    def test_arguments_that_are_wrong(self, zkcoord_command, arguments):
        ended = zkcoord_command(*arguments)
        assert (ended.status, ended.out) == (2, "")
        assert ended.err

    @pytest.mark.parametrize("path", ["/", "/a/../b", "/zookeeper/config", "/a\x01"])
    def test_paths_that_are_none(self, zkcoord_command, path):
        ended = zkcoord_command("holders", path)
        assert (ended.status, ended.err.count("\n")) == (2, 1)
        assert ended.err.startswith("zkcoord: path: ")
