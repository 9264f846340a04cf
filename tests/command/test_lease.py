"""`zkcoord lease`: claims that end by the clock, and a command that has ended before that."""

import contextlib
import json
import re
import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
from zkcoord import lease
from zkcoord.errors import BadVersion
from zkcoord.lease import LeaseLocker

from tests.support.calls import wait_until

HOSTILE = "web\x1b[2J\u202e\n"
SHOWN = r"web\u{1b}[2J\u{202e}\n"
ENVIRONMENT = 'printf "%s\\n" "$ZKCOORD_PATH" "$ZKCOORD_IDENTIFIER" "$ZKCOORD_TOKEN"'
# A command that writes down what time it is, for as long as it lives, and that SIGTERM has reached it.
STUBBORN = """
import signal, sys, time
out = open(sys.argv[1], "w", buffering=1)
signal.signal(signal.SIGTERM, lambda *_: print("TERM", file=out))
while True:
    print(time.time(), file=out)
    time.sleep(0.02)
"""


@pytest.fixture
def path(root):
    return f"{root.lower()}/lease"


@pytest.fixture
def holder(hosts, path):
    """What the Python library sees."""
    return lambda: lease.status(path, hosts)["holder"]


@pytest.fixture
def running(shell, path, holder):
    """A `lease run` whose command runs."""

    def start(*command, options=("-d", "3"), owner="a"):
        process = shell.start("lease", "run", path, *options, "--owner", owner, "--", *command)
        wait_until(lambda: holder() is not None, "the lease is held")
        return process

    return start


def runs(pid):
    """Whether a process runs. One that has ended may still wait for its parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def replaced(lock):
    """Write another holder over the record, between two renewals."""
    lock.get()
    with contextlib.suppress(BadVersion):
        lock.update(lease.LockRecord(holder_identity=HOSTILE, lease_duration_seconds=60))
        return True


def answer(done):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


class TestRun:
    def test_the_command_has_the_lease_and_ends_with_its_own_status(self, shell, path, holder, hosts):
        command = ("sh", "-c", f"{ENVIRONMENT}; exit 7")
        done = shell("lease", "run", path, "--owner", "a", "--", *command)
        assert done.returncode == 7, done.stderr
        named, owner, token = done.stdout.decode().splitlines()
        assert (named, owner) == (path, "a")
        assert holder() is None
        assert lease.take(path, "b", hosts, timeout=0).token > int(token)

    def test_it_is_renewed_while_the_command_runs(self, shell, path):
        done = shell("lease", "run", path, "-d", "0.6", "--", "sleep", "2")
        assert (done.returncode, done.stderr) == (0, b"")

    def test_another_of_the_same_owner_waits_and_gives_up(self, shell, running, path):
        process = running("sleep", "60")
        done = shell("lease", "run", path, "-t", "1", "--owner", "a", "--", "true")
        assert done.returncode == 1
        assert done.stderr.decode() == f"zkcoord: the lease {path} was not free in time; nothing was run\n"
        assert shell("lease", "run", path, "-qt0", "--", "true").stderr == b""
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 128 + signal.SIGTERM

    def test_a_wait_says_who_is_in_front(self, shell, running, path):
        running("sleep", "60", owner=HOSTILE)
        done = shell("-v", "lease", "run", path, "-t", "1.5", "--", "true")
        assert f"zkcoord: waiting, 1st of 1, held by {SHOWN} for " in done.stderr.decode()

    def test_a_signal_ends_the_wait_and_leaves_no_queue_node(self, shell, running, path, children):
        running("sleep", "60")
        process = shell.start("lease", "run", path, "--", "true")
        wait_until(lambda: children(f"{path}-__wait__"), "it waits")
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 128 + signal.SIGINT
        assert children(f"{path}-__wait__") == []

    @pytest.mark.parametrize(("command", "status"), [("/nowhere/x", 127), ("/etc/passwd", 126)])
    def test_a_command_that_cannot_run_gives_the_lease_back(self, shell, path, holder, command, status):
        assert shell("lease", "run", path, "--", command).returncode == status
        assert holder() is None

    def test_a_lease_that_is_taken_away_ends_the_command(self, shell, running, path):
        process = running("sleep", "60")
        done = shell("lease", "unlock", path, "--force")
        assert (done.returncode, done.stdout) == (0, b"a\n")
        assert process.wait(10) == 6
        message = process.stderr.read().decode()
        assert message == f"zkcoord: the lease {path} is lost: somebody else has given it back; the command is ended\n"

    def test_or_it_runs_on_where_it_is_to(self, shell, running, path):
        process = running("sh", "-c", "sleep 2; exit 3", options=("--on-loss=ignore",))
        assert shell("lease", "unlock", path, "--force").returncode == 0
        assert process.wait(10) == 3
        assert process.stderr.read().decode().endswith("the command runs on without it\n")

    def test_a_successor_is_named(self, running, path, hosts):
        process = running("sleep", "60")
        lock = lease.LeaseLock(path, HOSTILE, hosts)
        wait_until(lambda: replaced(lock), "the record is another's")
        assert process.wait(10) == 6
        assert f"is lost: {SHOWN} holds it" in process.stderr.read().decode()

    def test_killed_it_takes_the_command_along_and_the_lease_runs_out(self, running, holder, tmp_path):
        process = running("sh", "-c", 'echo $$ > "$0"; exec sleep 60', str(tmp_path / "pid"))
        wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), "the command runs")
        pid = int((tmp_path / "pid").read_text())
        process.kill()
        process.wait(10)
        wait_until(lambda: not runs(pid), "the command has ended")
        assert holder()["owner"] == "a"
        wait_until(lambda: holder()["left"] < 0, "the lease is over")


class TestLostServers:
    """All servers stop: nobody acknowledges a renewal."""

    @pytest.fixture
    def silence(self, ensemble):
        yield lambda: [server.pause() for server in ensemble.servers]
        for server in ensemble.servers:
            server.resume()
        ensemble.wait_ready()

    def test_the_command_is_killed_before_the_lease_ends(self, running, silence, tmp_path, holder, ensemble):
        times = tmp_path / "times"
        command = (sys.executable, "-c", STUBBORN, str(times))
        process = running(*command, options=("-d", "3", "--kill-after", "0.5"))
        wait_until(lambda: times.exists() and times.read_text(), "the command runs")
        silence()
        assert process.wait(10) == 6
        message = process.stderr.read().decode()
        for server in ensemble.servers:
            server.resume()
        ensemble.wait_ready()
        # The servers' clock is this host's.
        end = datetime.fromisoformat(holder()["until"].replace("Z", "+00:00")).timestamp()
        lines = times.read_text().splitlines()
        term = lines.index("TERM")
        assert float(lines[term - 1]) < end - 0.5
        assert float(lines[-1]) < end
        assert "and no renewal was acknowledged for" in message
        assert message.endswith("; the command is ended\n")

    def test_what_it_has_started_is_killed_too(self, running, silence, tmp_path):
        daemon = tmp_path / "daemon"
        started = f"setsid sh -c 'trap \"\" TERM; echo $$ > {daemon}; exec sleep 60' & wait"
        process = running("sh", "-c", started, options=("-d", "2", "--kill-after", "0.3"))
        wait_until(lambda: daemon.exists() and daemon.read_text(), "the daemon runs")
        silence()
        assert process.wait(10) == 6
        assert not runs(int(daemon.read_text()))

    def test_quietly(self, shell, path, holder, silence):
        process = shell.start("-q", "lease", "run", path, "-d", "2", "--", "sleep", "60")
        wait_until(lambda: holder() is not None, "the lease is held")
        silence()
        assert process.wait(10) == 6
        assert process.stderr.read() == b""

    def test_stopped_beyond_the_end_it_is_lost(self, running, holder):
        process = running("sleep", "60", options=("-d", "1"))
        process.send_signal(signal.SIGSTOP)
        wait_until(lambda: holder()["left"] < -0.2, "the lease is over")
        process.send_signal(signal.SIGCONT)
        assert process.wait(10) == 6


class TestByName:
    def test_lock_status_and_unlock(self, shell, path, holder, hosts):
        taken = answer(shell("--json", "lease", "lock", path, "-d", "600", "--owner", "a"))
        assert (taken["owner"], taken["path"], taken["is_new"], taken["taken_from"]) == ("a", path, True, None)
        assert 590 < taken["left"] < 600
        assert holder()["fencing_token"] == taken["token"]
        again = answer(shell("--json", "lease", "lock", path, "-d", "300", "--owner", "a"))
        assert (again["token"], again["is_new"]) == (taken["token"], False)
        assert holder()["duration"] == 600, "to ask again makes it no shorter"
        done = shell("--json", "lease", "lock", path, "-t", "0", "--owner", "b")
        assert (done.returncode, done.stdout) == (1, b"null\n")
        assert lease.give_back(path, "a", hosts) == "a"
        assert shell("lease", "unlock", path, "--owner", "a").returncode == 1

    def test_unlock_goes_by_the_owner(self, shell, path, hosts, holder):
        lease.take(path, "a", hosts, lease_duration=600)
        assert shell("lease", "unlock", path, "--owner", "b").returncode == 1
        assert holder()["owner"] == "a"
        done = shell("--json", "lease", "unlock", path, "--owner", "a")
        assert (done.returncode, done.stdout) == (0, b'"a"\n')
        assert holder() is None
        assert shell("lease", "unlock", path, "--force", "--owner", "a").returncode == 2

    def test_the_text_has_token_and_end(self, shell, path, holder):
        text = shell("lease", "lock", path, "-d", "1h").stdout.decode()
        token = holder()["fencing_token"]
        assert text.startswith(f"token {token}, until 20")
        assert text.endswith("Z by this host's clock\n")
        assert shell("lease", "lock", path).stdout.decode().endswith(" by this host's clock, renewed\n")

    def test_status_is_that_of_the_library(self, shell, path, hosts):
        locker = LeaseLocker(path, HOSTILE, hosts, lease_duration=600)
        locker.lock()
        waiting = shell.start("lease", "lock", path, "--owner", f"b{HOSTILE}")
        wait_until(lambda: lease.status(path, hosts)["waiters"], "it waits")
        seen, known = answer(shell("--json", "lease", "status", path)), lease.status(path, hosts)
        for each in (seen, known):
            del each["holder"]["left"], each["waiters"][0]["age"]
        assert seen == known
        text = shell("lease", "status", path).stdout.decode()
        assert text.startswith(f"{path}: {SHOWN} holds it, 9m 5")
        assert f"b{SHOWN}" in text
        assert not set(text) & set("\x1b\u202e")
        locker.unlock()
        assert waiting.wait(10) == 0

    def test_a_free_lease_and_one_that_is_over(self, shell, path, holder):
        assert shell("lease", "status", path).stdout.decode() == f"{path}: nobody holds it, 0 waiting\n"
        assert shell("lease", "lock", path, "-d", "0.2").returncode == 0
        wait_until(lambda: holder()["left"] < 0, "the lease is over")
        assert re.search(r"holds it, over since \d+s, 0 waiting\n", shell("lease", "status", path).stdout.decode())

    def test_list(self, shell, path, root, hosts):
        below = root.lower()
        lease.take(path, HOSTILE, hosts, lease_duration=600)
        seen, known = answer(shell("--json", "lease", "list", below)), lease.below(below, hosts)
        for each in (*seen, *known):
            del each["holder"]["left"]
        assert seen == known
        assert SHOWN in shell("lease", "list", below).stdout.decode()
        assert shell("lease", "list", path).stdout == b"no leases\n"

    def test_what_is_no_lease_is_left_alone(self, shell, zk, root):
        zk.create(root.lower(), b"\xff", makepath=True)
        done = shell("lease", "lock", root.lower(), "-t", "1")
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1
        assert zk.get(root.lower())[0] == b"\xff"

    @pytest.mark.parametrize(
        "arguments",
        [
            ("lock", "/a/../b"),
            ("lock", "/a", "-d", "0"),
            ("lock", "/a", "--owner", ""),
            ("run", "/a"),
            ("run", "/a", "-d", "x", "--", "true"),
        ],
    )
    def test_usage(self, shell, arguments):
        assert shell("lease", *arguments).returncode == 2

    def test_unreachable(self, shell):
        options = ("--hosts", "127.0.0.1:1", "--connect-timeout", "0.2", "--json")
        done = shell(*options, "lease", "status", "/a")
        assert done.returncode == 3
        assert json.loads(done.stderr)["status"] == 3


def test_a_closed_pipe_is_no_failure(shell, path):
    process = shell.start("lease", "status", path)
    process.stdout.close()
    assert process.wait(10) == 0
    assert process.stderr.read() == b""


def test_one_at_a_time_beside_the_library(shell, path, hosts, tmp_path):
    """Each adds one to a file that nobody locks otherwise."""
    counter = tmp_path / "counter"
    counter.write_text("0")
    command = ("sh", "-c", 'n=$(cat "$0"); sleep 0.05; echo $((n + 1)) > "$0"', str(counter))
    started = [shell.start("lease", "run", path, "-d", "5", "--", *command) for _ in range(8)]
    for _ in range(4):
        with LeaseLocker(path, "python", hosts):
            number = int(counter.read_text())
            subprocess.run(["sleep", "0.05"], check=True)
            counter.write_text(str(number + 1))
    assert [process.wait(60) for process in started] == [0] * 8
    assert counter.read_text().strip() == "12"
