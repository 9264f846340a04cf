"""`zkcoord evict`, `party-join`, `party-leave`, `--max stored`, and what `-vv` tells."""

from __future__ import annotations

import re
import socket

import pytest
import zkcoord


class TestEvict:
    def test_the_slot_is_gone_and_json_says_which_leases(self, zkcoord_command, root, hosts):
        held = zkcoord.hold(root, hosts, "a\x07")
        done = zkcoord_command("evict", root, "a\x07", "--reason", "enough", "--json")
        assert (done.status, done.value) == (0, {"path": root, "identifier": "a\x07", "leases": [held.lease]})
        assert zkcoord_command("holders", root).lines == []
        again = zkcoord_command("evict", root, "a\x07", "--reason", "enough")
        assert (again.status, again.lines) == (1, [f"a\\u{{7}} holds no slot of {root}"])

    def test_who_does_it_is_the_user_unless_somebody_is_named(self, zkcoord_command, root, hosts):
        for options, by in (((), "ann"), (("--by", "on call", "--job", "T-1"), "on call")):
            held = zkcoord.hold(root, hosts, "a")
            done = zkcoord_command("evict", root, "a", "--reason", "r", *options, env={"SUDO_USER": "ann"})
            assert done.lines == [f"a has no slot of {root} any more: {held.lease} deleted"]
            with pytest.raises(zkcoord.errors.SlotLost, match=rf"{by} \(on {re.escape(socket.gethostname())}, pid \d+"):
                held.check()

    def test_a_command_that_holds_the_slot_ends_and_its_run_says_who_it_was(
        self, zkcoord_command, start, root, hosts, wait_until
    ):
        running = start("run", root, "--id", "a", "--kill-after", "2", "--", "sleep", "60")
        wait_until(lambda: zkcoord.lock_holders(root, hosts) == ["a"], "it runs")
        assert zkcoord_command("evict", root, "a", "--reason", "deploy is off", "--by", "ann").status == 0
        ended = running.end(20)
        assert ended.status == 6
        assert re.search(
            rf"^zkcoord: the slot of {root} was lost: ann \(.*\) has taken it away: deploy is off$",
            ended.err,
            re.MULTILINE,
        )

    def test_an_empty_identifier_is_nobodys(self, zkcoord_command, root, zk):
        zk.create(f"{root}/foreign", makepath=True)
        for command in (("evict", root, "", "--reason", "r"), ("party-leave", root, "--id", "")):
            refused = zkcoord_command(*command)
            assert (refused.status, "identifier: must not be empty" in refused.err) == (2, True)
        assert zk.get_children(root) == ["foreign"]

    def test_a_reason_is_needed(self, zkcoord_command, root):
        assert zkcoord_command("evict", root, "a").status == 2
        assert zkcoord_command("evict", root, "a", "--reason", " ").status == 2


class TestParty:
    def test_a_member_stays_until_it_leaves(self, zkcoord_command, root, hosts):
        assert zkcoord_command("party-join", root, "--id", "a").status == 0
        assert zkcoord_command("party-join", root, "--id", "a").status == 0
        assert zkcoord_command("party-join", root, "--id", "b", "--shallow", "--json").value is True
        assert zkcoord_command("party", root).lines == ["a", "b"]
        assert sorted(zkcoord.party_members(root, hosts)) == ["a", "b"]
        assert zkcoord_command("party-leave", root, "--id", "a").status == 0
        assert zkcoord_command("party-leave", root, "--id", "a").status == 1
        assert zkcoord_command("party-leave", root, "--id", "b", "--json").value is True
        assert zkcoord_command("party", root).lines == []

    def test_the_identifier_is_the_hosts_name(self, zkcoord_command, root):
        assert zkcoord_command("party-join", root).status == 0
        assert zkcoord_command("party", root).lines == [socket.gethostname()]


class TestStored:
    def test_the_number_of_the_pool_is_obeyed(self, zkcoord_command, root, hosts):
        refused = zkcoord_command("lock", root, "--id", "a", "-n", "stored")
        assert (refused.status, "stores no number" in refused.err) == (2, True)
        assert zkcoord_command("set-max", root, "2").status == 0
        for who in ("a", "b"):
            assert zkcoord_command("lock", root, "--id", who, "--max", "stored").status == 0
        assert zkcoord_command("lock", root, "--id", "c", "-n", "stored", "-t", "0").status == 1
        assert zkcoord_command("run", root, "--id", "a", "-n", "stored", "--", "true").status == 0

    def test_another_word_is_refused(self, zkcoord_command, root):
        refused = zkcoord_command("lock", root, "-n", "all")
        assert (refused.status, 'or "stored"' in refused.err) == (2, True)


def test_twice_verbose_tells_of_the_session_and_its_server(zkcoord_command, root):
    once, twice = (zkcoord_command("holders", root, option).err for option in ("-v", "-vv"))
    assert once == ""
    first, second = twice.splitlines()
    time = r"\d{4}-\d\d-\d\dT[\d:.]+Z"
    assert re.fullmatch(
        rf"zkcoord: {time} session 0x[0-9a-f]+ of anonymous is open; the servers keep it for 4 s .*", first
    )
    assert re.fullmatch(rf"zkcoord: {time} connected to 127\.0\.0\.1:\d+", second)
