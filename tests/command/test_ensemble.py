"""`zkcoord ensemble`: the servers themselves, and a change that they survive."""

import json

import pytest
import zkcoord
from zkcoord import ensemble as administered
from zkcoord.testing import Ensemble

from tests.support.calls import wait_until

NO_ADMIN = ("--admin-port", "0")
SUPER = ("--username", "super")
PASSWORD = {"ZKCOORD_PASSWORD": "pw"}


@pytest.fixture(scope="module")
def changeable():
    """Three servers that can be changed by a super user."""
    with Ensemble(3, reconfig=True, super_user=("super", "pw"), config={"syncLimit": 4}) as ensemble:
        yield ensemble


@pytest.fixture
def hosts(changeable):
    return changeable.hosts


@pytest.fixture
def lab(changeable):
    """The three of them, up and all members, and nobody else; so they are again after the test."""
    yield changeable
    for server in changeable.servers[:3]:
        server.resume()
        server.start()
    changeable.wait_ready()
    members = [changeable.member(server) for server in changeable.servers[:3]]
    keywords = {"scheme": "digest", "username": "super", "password": "pw", "admin_port": 0, "timeout": 30}
    if set(administered.config(changeable.hosts)[0]) != set(members):
        administered.set_config(members, changeable.hosts, **keywords)
    for server in changeable.servers[3:]:
        changeable.discard(server)
    zkcoord.close()


@pytest.fixture
def servers(shell, lab):
    """Run a subcommand on the servers that can be changed."""

    def run(name, *arguments, options=(), **environment):
        return shell("--hosts", lab.hosts, *options, "ensemble", name, *NO_ADMIN, *arguments, **environment)

    return run


def of(done):
    return json.loads(done.stdout)


def lines_of(*servers, lab):
    return {lab.member(server) for server in servers}


class TestStatus:
    def test_it_is_that_of_the_library(self, servers, lab):
        done = servers("status", options=("--json",))
        assert done.returncode == 0, done.stderr
        seen, known = of(done), administered.status(lab.hosts, admin_port=0)
        volatile = ("connections", "latency", "since", "zxid", "behind")
        for row in (*seen["servers"], *known["servers"]):
            for name in volatile:
                del row[name]
        assert seen == known

    def test_the_text(self, servers, lab):
        text = servers("status").stdout.decode()
        leader = lab.leader()
        assert text.startswith(f"3 of 3 servers in sync: a quorum, server.{leader.number} leads, configuration ")
        rows = [line.split() for line in text.splitlines()[2:]]
        assert [row[:2] for row in rows] == [[str(server.number), server.address] for server in lab.servers[:3]]

    def test_a_dead_server_has_a_row_that_says_why(self, servers, lab):
        dead = next(server for server in lab.servers[:3] if server is not lab.leader())
        dead.kill()
        done = servers("status")
        assert done.returncode == 0
        text = done.stdout.decode()
        assert "2 of 3 servers in sync: a quorum" in text
        assert f"\nserver.{dead.number}: refused the connection" in text
        assert "\none more failure ends the quorum: none of " in text

    def test_without_a_quorum_it_is_1_and_without_a_server_3(self, servers, lab):
        first, second, third = lab.servers[:3]
        first.kill()
        second.kill()
        wait_until(lambda: third.mode() is None, "the third serves no more")
        done = servers("status")
        assert done.returncode == 3
        assert "NO QUORUM, nobody leads" in done.stdout.decode()

    def test_unusable_arguments(self, shell):
        assert shell("ensemble", "status", "--admin-port", "x").returncode == 2
        assert shell("ensemble").returncode == 2


def test_the_restart_order_has_the_leader_last(servers, lab):
    leader = lab.leader()
    found = of(servers("restart-order", options=("--json",)))
    assert [row["id"] for row in found][-1] == leader.number
    assert [row["mode"] for row in found] == ["follower", "follower", "leader"]
    assert servers("restart-order").stdout.decode().splitlines()[-1].split()[3] == "leader"


class TestMembers:
    def test_they_are_those_of_the_library(self, servers, lab):
        lines, version = administered.config(lab.hosts)
        assert of(servers("members", options=("--json",))) == {"members": lines, "version": version}
        assert servers("members").stdout.decode().splitlines() == lines

    def test_one_is_added_and_removed(self, servers, lab):
        joining = lab.add()
        lab.wait_ready()
        line = lab.member(joining)
        decided = servers("add", line, "--only-decide", options=SUPER, **PASSWORD)
        assert decided.returncode == 0, decided.stderr
        assert line in decided.stdout.decode().splitlines()
        assert line not in administered.config(lab.hosts)[0]
        done = servers("add", line, "-t", "20", options=("--json", *SUPER), **PASSWORD)
        assert done.returncode == 0, done.stderr
        assert of(done)["changed"] is True
        assert set(administered.config(lab.hosts)[0]) == lines_of(*lab.servers[:4], lab=lab)
        again = servers("add", line, options=("--json", *SUPER), **PASSWORD)
        assert of(again)["changed"] is False
        done = servers("remove", f"server.{joining.number}", "-t", "20", options=SUPER, **PASSWORD)
        assert done.returncode == 0, done.stderr
        assert set(done.stdout.decode().splitlines()) == lines_of(*lab.servers[:3], lab=lab)
        assert done.stderr.decode().startswith("zkcoord: these are the members now")
        assert servers("remove", str(joining.number), options=("-q", *SUPER), **PASSWORD).stderr == b""

    def test_a_refusal_is_one_line_and_1(self, servers, lab):
        member = "server.4=127.0.0.1:1:2:participant;127.0.0.1:3"
        done = servers("add", member, options=SUPER, **PASSWORD)
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
        assert done.stderr.startswith(b"zkcoord: server.4 cannot join yet: it refused the connection")
        dead = next(server for server in lab.servers[:3] if server is not lab.leader())
        alive = next(server for server in lab.servers[:3] if server not in (dead, lab.leader()))
        dead.kill()
        done = servers("remove", str(alive.number), options=("--json", *SUPER), **PASSWORD)
        assert done.returncode == 1
        assert f"server.{dead.number} refused the connection" in json.loads(done.stderr)["message"]

    def test_who_may_not_change_it_is_4(self, servers):
        done = servers("remove", "1")
        assert done.returncode == 4
        assert b"not permitted to change the ensemble as anonymous" in done.stderr

    @pytest.mark.parametrize(
        "arguments", [("add", "server.4"), ("add", "\x1b"), ("remove", "x"), ("remove", "server.x")]
    )
    def test_what_is_no_member_is_2(self, shell, arguments):
        done = shell("ensemble", *arguments)
        assert done.returncode == 2
        assert b"\x1b" not in done.stderr


class TestDoctor:
    def test_nothing_odd(self, servers, lab):
        done = servers("doctor")
        assert (done.returncode, done.stdout.decode()) == (0, f"{lab.hosts}: nothing odd\n")
        assert servers("doctor", options=("-q",)).stdout == b""
        assert of(servers("doctor", options=("--json",))) == {"path": lab.hosts, "findings": []}

    def test_what_is_odd_comes_with_what_to_do(self, servers, lab):
        dead = next(server for server in lab.servers[:3] if server is not lab.leader())
        dead.kill()
        done = servers("doctor", options=("--json",))
        assert done.returncode == 1
        quorum, silent = of(done)["findings"]
        assert quorum["what"].startswith("One more failure ends the quorum")
        assert silent["what"].startswith(f"server.{dead.number} ({dead.address}) refused the connection")
        assert silent["do"].endswith(f"or: zkcoord ensemble remove {dead.number}")
        text = servers("doctor").stdout.decode()
        assert text.startswith(f"{lab.hosts}: 2 findings\n   1. One more failure")

    def test_its_findings_are_those_of_the_salt_runner(self, servers, lab):
        from saltext.zkcoord.utils.ensemble_doctor import examine

        dead = next(server for server in lab.servers[:3] if server is not lab.leader())
        dead.kill()
        lab.add()
        known = [finding["what"] for finding in examine(administered.status(lab.hosts, admin_port=0))]
        assert [finding["what"] for finding in of(servers("doctor", options=("--json",)))["findings"]] == known
