"""`zkcoord run`: a command that holds a slot, every way in which it ends, and every way in which the slot does."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import zkcoord
from zkcoord.testing import Proxy

# Writes a line, so that a test knows that it runs, and then waits for what comes.
WAITS = "echo running; exec sleep 60"
# Ends only by SIGKILL.
STUBBORN = "trap '' TERM; echo running; while :; do sleep 0.1; done"


@pytest.fixture
def run(start, root):
    """Start a shell's command with the slot at the root of this test."""
    return lambda script, *options, **more: start("run", *options, root, "--", "sh", "-c", script, **more)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


class TestTheCommand:
    def test_it_holds_the_slot_while_it_runs_and_then_the_slot_is_free(self, run, root, pool, hosts, children):
        running = run('echo "$ZKCOORD_PATH $ZKCOORD_IDENTIFIER $ZKCOORD_TOKEN"; read line', stdin=subprocess.PIPE)
        path, identifier, token = running.line().split()
        (holder,) = zkcoord.status(root, hosts)["holders"]
        assert (path, identifier, int(token)) == (root, holder["identifier"], holder["fencing_token"])
        assert identifier == f"{socket.gethostname()}:{running.pid}"
        assert holder["ephemeral"]
        running.process.stdin.close()
        running.process.stdin = None
        assert running.end().status == 1  # of `read` at the end of its input
        assert children(root) == children(f"{root}-__lock__") == []

    def test_it_says_why_while_it_runs(self, run, root, hosts, children):
        running = run("echo running; read line", "--reason", "kernel update", stdin=subprocess.PIPE)
        assert running.line() == "running"
        (holder,) = zkcoord.status(root, hosts)["holders"]
        assert (holder["reason"], holder["host"], holder["pid"]) == ("kernel update", socket.gethostname(), running.pid)
        running.process.stdin.close()
        running.process.stdin = None
        running.end()
        assert children(f"{root}-__reason__") == []

    @pytest.mark.parametrize(
        ("script", "status"),
        [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -TERM $$", 143), ("kill -KILL $$", 137)],
    )
    def test_its_status_is_the_status(self, run, script, status):
        assert run(script).end().status == status

    def test_what_cannot_be_executed_has_the_status_of_a_shell(self, zkcoord_command, root, tmp_path, children):
        (tmp_path / "data").write_text("no program")
        for program, status in (("/no/such/program", 127), (tmp_path / "data", 126)):
            ended = zkcoord_command("run", root, "--", program)
            assert (ended.status, ended.err.count("\n")) == (status, 1)
            assert "cannot run" in ended.err
        assert children(root) == []

    def test_its_streams_are_ours(self, run):
        running = run("cat; echo wrong >&2", stdin=subprocess.PIPE)
        out, err = running.process.communicate("given", timeout=60)
        assert (out, err) == ("given", "wrong\n")

    def test_it_may_close_its_streams(self, run):
        assert run("exec <&- >&- 2>&-; exit 3").end().status == 3

    def test_what_it_leaves_running_lives_on_and_holds_nothing(self, run, children, root, wait_until):
        running = run("sleep 60 >/dev/null 2>&1 & echo $!")
        pid = int(running.line())
        try:
            assert running.end().status == 0
            assert children(root) == []
            assert alive(pid)
        finally:
            os.kill(pid, signal.SIGKILL)

    def test_sigpipe_is_the_default_for_it(self, run):
        # Rust ignores the signal, and a command that inherited that would go on writing.
        running = run("while :; do echo line; done")
        running.line()
        running.process.stdout.close()
        running.process.stdout = None
        assert running.end().status == 128 + signal.SIGPIPE


class TestWaiting:
    def test_nothing_is_run_when_the_time_is_up(self, run, held, tmp_path, root):
        for timeout in ("0", "0.5"):
            ended = run(f"touch {tmp_path}/done", "-t", timeout).end()
            assert (ended.status, ended.err) == (1, f"zkcoord: no slot of {root} was free in time; nothing was run\n")
        assert run("true", "-t", "0", "-q").end().err == ""
        assert not (tmp_path / "done").exists()

    def test_it_tells_why_the_slot_is_held(self, run, root, hosts):
        zkcoord.lock(root, hosts, identifier="holder", reason="kernel\x1b[2J")
        running = run("true", "-v")
        assert re.search(r", held by holder for \d+s \(kernel\\u\{1b\}\[2J\)$", running.error_line().rstrip())
        zkcoord.unlock(root, hosts, identifier="holder")
        assert running.end().status == 0

    def test_verbose_tells_who_is_in_front(self, run, held, root, hosts):
        running = run("true", "-v")
        line = running.error_line()
        assert line.startswith("zkcoord: waiting, 1st of 1, held by holder for ")
        assert zkcoord.unlock(root, hosts, identifier="holder")
        assert running.end().status == 0

    @pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
    def test_a_signal_ends_the_wait_and_leaves_nothing(self, run, held, name, pool, children, root, wait_until):
        running = run("true")
        wait_until(pool.waiters, "it waits")
        number = getattr(signal, name)
        running.signal(number)
        ended = running.end(10)
        assert (ended.status, ended.err.count("\n")) == (128 + number, 1)
        assert f"cancelled by {name} over {root}" in ended.err
        assert children(f"{root}-__lock__") == []

    def test_a_signal_that_is_ignored_by_whoever_started_it_stays_ignored(
        self, start, held, root, pool, hosts, wait_until
    ):
        running = start("run", root, "--", "true", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
        wait_until(pool.waiters, "it waits")
        running.signal(signal.SIGHUP)
        assert zkcoord.unlock(root, hosts, identifier="holder")
        assert running.end().status == 0

    def test_two_on_one_host_do_not_share_a_slot(self, run, root, pool, wait_until):
        first = run("echo running; read line", stdin=subprocess.PIPE)
        first.line()
        second = run("echo running")
        wait_until(pool.waiters, "the second one waits")
        first.process.communicate("", timeout=60)
        assert second.end().out == "running\n"

    def test_who_names_the_same_identifier_shares_the_slot(self, run):
        first = run("echo running; read line", "--id", "us", stdin=subprocess.PIPE)
        first.line()
        assert run("true", "--id", "us", "-t", "0").end().status == 0
        first.process.communicate("", timeout=60)

    def test_another_limit_than_the_stored_one_is_refused(self, run):
        first = run(WAITS, "-n", "2")
        first.line()
        ended = run("true", "-n", "3").end()
        assert (ended.status, "max_concurrency 2" in ended.err) == (2, True)
        first.signal(signal.SIGTERM)
        assert first.end().status == 143


class TestSignals:
    @pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
    def test_a_signal_reaches_the_command(self, run, name):
        number = getattr(signal, name)
        running = run(f"trap 'echo got; exit 9' {name[3:]}; echo running; while :; do sleep 0.05; done")
        running.line()
        running.signal(number)
        assert (running.line(), running.end().status) == ("got", 9)

    def test_a_command_that_ignores_it_runs_on(self, run, wait_until):
        running = run("trap '' TERM; echo running; read line; exit 4", stdin=subprocess.PIPE)
        running.line()
        running.signal(signal.SIGTERM)
        time.sleep(0.2)
        assert running.process.poll() is None
        running.process.communicate("\n", timeout=60)
        assert running.process.returncode == 4

    def test_ctrl_c_at_a_terminal_reaches_the_command_once(self, binary, environment, root):
        """The terminal sends it to both, and it is not passed on to the command a second time."""
        script = "import signal, sys, time\ngot = []\nsignal.signal(signal.SIGINT, lambda *_: got.append(1))\n"
        script += "print('running', flush=True)\ntime.sleep(1.5)\nprint(f'got {len(got)}', flush=True)"
        primary, secondary = os.openpty()
        command = [binary, "run", root, "--", sys.executable, "-c", script]
        options = {"stdin": secondary, "stdout": secondary, "stderr": secondary, "env": environment}
        become = (
            "import os, sys, fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
        )
        with subprocess.Popen([sys.executable, "-c", become, *command], start_new_session=True, **options) as process:
            os.close(secondary)
            seen = b""
            while b"running" not in seen:
                seen += os.read(primary, 1000)
            os.write(primary, b"\x03")
            while b"got " not in seen:
                seen += os.read(primary, 1000)
            assert b"got 1" in seen
            assert process.wait(60) == 0
        os.close(primary)

    def test_the_command_dies_with_us(self, run, wait_until, children, root, ensemble):
        running = run("echo $$; exec sleep 60", "--session-timeout", "2")
        pid = int(running.line())
        running.signal(signal.SIGKILL)
        running.end()
        wait_until(lambda: not alive(pid), "the kernel has ended the command")
        wait_until(lambda: children(root) == [], "the servers have removed the lease", 20)

    def test_it_may_be_asked_to_outlive_us(self, run, children, root, wait_until):
        running = run("echo $$; exec sleep 60 >/dev/null 2>&1", "--outlive", "--session-timeout", "2")
        pid = int(running.line())
        running.signal(signal.SIGKILL)
        running.end()
        try:
            wait_until(lambda: children(root) == [], "the servers have removed the lease", 20)
            assert alive(pid)
        finally:
            os.kill(pid, signal.SIGKILL)


class TestTheSlotIsLost:
    SHORT = ("--session-timeout", "4")

    def test_the_command_is_ended_when_somebody_takes_the_slot_away(self, run, zk, root, children):
        running = run(WAITS)
        running.line()
        (lease,) = children(root)
        zk.delete(f"{root}/{lease}")
        ended = running.end(20)
        assert (ended.status, ended.err) == (
            6,
            f"zkcoord: the slot of {root} is lost, or may be soon; the command is ended\n",
        )

    def test_all_that_the_command_has_started_is_ended_also_what_ignores_sigterm(
        self, run, zk, root, children, tmp_path
    ):
        inner = f"trap '' TERM; echo $$ > {tmp_path}/inner; while :; do sleep 0.1; done"
        away = f"trap '' TERM; echo $$ > {tmp_path}/away; exec sleep 61"
        script = f"""
            setsid sh -c "{away.replace("$", chr(92) + "$")}" &
            sh -c "{inner.replace("$", chr(92) + "$")}" &
            while [ ! -s {tmp_path}/inner ] || [ ! -s {tmp_path}/away ]; do sleep 0.05; done
            echo running; wait; {STUBBORN}
        """
        running = run(script, "--kill-after", "0.5")
        assert running.line() == "running"
        pids = [int((tmp_path / name).read_text()) for name in ("inner", "away")]
        (lease,) = children(root)
        zk.delete(f"{root}/{lease}")
        assert running.end(20).status == 6
        assert [alive(pid) for pid in pids] == [False, False]

    def test_it_is_ended_before_the_servers_can_give_the_slot_to_another(self, start, root, ensemble, hosts, tmp_path):
        """The connection is silent; another waits at the servers. The command writes as long as it lives."""
        with Proxy(ensemble.servers[0].port) as proxy:
            signs = tmp_path / "signs"
            script = f"trap '' TERM; echo running; while :; do date +%s.%N >> {signs}; sleep 0.02; done"
            options = ("--session-timeout", "4", "--kill-after", "1", "--hosts", proxy.address)
            running = start("run", *options, root, "--", "sh", "-c", script)
            assert running.line() == "running"
            taken = []

            def take() -> None:
                assert zkcoord.lock(root, hosts, identifier="next", timeout=60)
                taken.append(time.time())

            waiter = threading.Thread(target=take)
            waiter.start()
            proxy.stall()
            ended = running.end(30)
            waiter.join(60)
            assert ended.status == 6
            last = float(signs.read_text().split()[-1])
            assert last < taken[0], "the command has acted while another held the slot"

    def test_it_runs_on_where_that_is_asked_for(self, run, zk, root, children):
        running = run("echo running; read line; exit 5", "--on-loss=ignore", stdin=subprocess.PIPE)
        running.line()
        (lease,) = children(root)
        zk.delete(f"{root}/{lease}")
        assert (
            running.error_line()
            == f"zkcoord: the slot of {root} is lost, or may be soon; the command runs on without it"
        )
        running.process.communicate("\n", timeout=60)
        assert running.process.returncode == 5

    def test_a_stop_beyond_the_end_of_the_session(self, run, root, children, wait_until):
        running = run(WAITS, "--session-timeout", "2")
        running.line()
        running.signal(signal.SIGSTOP)
        wait_until(lambda: children(root) == [], "the servers have removed the lease", 20)
        running.signal(signal.SIGCONT)
        assert running.end(20).status == 6

    def test_a_killed_server_costs_nothing(self, run, ensemble, root):
        running = run("echo running; read line; exit 0", *self.SHORT, stdin=subprocess.PIPE)
        running.line()
        follower = next(server for server in ensemble.servers if server is not ensemble.leader())
        follower.kill()
        try:
            time.sleep(4.5)  # longer than the session timeout
            assert running.process.poll() is None
            running.process.communicate("\n", timeout=60)
            assert running.process.returncode == 0
        finally:
            follower.start()
            ensemble.wait_ready()


class TestPersistent:
    def test_the_slot_stays_when_all_dies_and_the_next_run_takes_it_over(self, run, root, pool, wait_until, children):
        running = run(WAITS, "--persistent", "--session-timeout", "2")
        running.line()
        running.signal(signal.SIGKILL)
        running.end()
        assert pool.holders() == [socket.gethostname()]
        assert run("true", "--id", "other", "-t", "0").end().status == 1
        # Until then its process counts as alive, and another of the same identifier has a lease beside it.
        wait_until(lambda: children(f"{root}-__lock__") == [], "the servers have ended its session", 20)
        assert run("true", "--persistent", "-t", "30").end().status == 0
        assert pool.holders() == []


def test_two_hundred_through_one_slot_beside_python_and_kazoo(start, root, hosts, zk, tmp_path):
    """No two of them are inside at one time: the one that is there would not find the file gone."""
    inside = tmp_path / "inside"
    enter = f"set -C; echo $$ > {inside} || exit 77; rm {inside}"
    commands = [start("run", root, "--", "sh", "-c", enter, stdout=subprocess.DEVNULL) for _ in range(160)]
    wrong: list[object] = []

    def within(who: str) -> None:
        try:
            with inside.open("x"):
                time.sleep(0.005)
            inside.unlink()
        except OSError as error:
            wrong.append((who, error))

    def ours(number: int) -> None:
        with zkcoord.hold(root, hosts, identifier=f"python-{number}"):
            within("python")

    def kazoo() -> None:
        with zk.Semaphore(root, "kazoo"):
            within("kazoo")

    threads = [threading.Thread(target=ours, args=(number,)) for number in range(20)]
    threads += [threading.Thread(target=kazoo) for _ in range(20)]
    for thread in threads:
        thread.start()
    ended = [command.end(120) for command in commands]
    for thread in threads:
        thread.join(120)
    assert not wrong
    assert {(end.status, end.err) for end in ended} == {(0, "")}
