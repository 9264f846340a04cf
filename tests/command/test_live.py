"""`zkcoord status --watch` on a pseudo terminal."""

import re
import signal
import time

import pytest
from kazoo.security import make_digest_acl

from tests.support.terminal import Terminal

ENTER, LEAVE, SHOW = b"\x1b[?1049h", b"\x1b[?1049l", b"\x1b[?25h"


@pytest.fixture
def terminal():
    with Terminal() as terminal:
        yield terminal


@pytest.fixture
def view(shell, terminal, root, wait_until):
    """Show the test's own pool on the terminal."""

    def start(*options):
        process = shell.start(
            *options,
            "status",
            "--watch",
            root,
            stdin=terminal.slave,
            stdout=terminal.slave,
            start_new_session=True,
        )
        wait_until(lambda: f"{root}:" in terminal.screen(), "it is drawn")
        return process

    return start


@pytest.fixture
def restored(terminal, wait_until):
    """Wait until the alternate screen is left for good: what was written last may still be on its way."""
    before = terminal.modes()

    def restored():
        def is_restored():
            written = terminal.written
            return written.rfind(LEAVE) > written.rfind(ENTER) >= 0 and SHOW in written

        wait_until(is_restored, "the alternate screen is left")
        return terminal.modes() == before

    return restored


def test_it_redraws_on_change_and_counts_ages_up(view, terminal, shell, root, wait_until):
    process = view()
    assert "nobody has asked for a slot" in terminal.screen()
    assert shell("lock", root, "-n", "2", "--id", "web\x1b[2J").returncode == 0
    wait_until(lambda: "1 of 2 slots held" in terminal.screen(), "the holder is shown")
    assert "1 free" in terminal.screen()
    assert "web\\u{1b}[2J" in terminal.screen()
    assert shell("lock", root, "-n", "2", "--id", "web2").returncode == 0
    waiting = shell.start("lock", root, "-n", "2", "--id", "web3")
    wait_until(lambda: re.search("web3 +waits, 1st", terminal.screen()), "the waiter is shown")
    assert "0 free" in terminal.screen()
    ages = re.compile(r"\b(\d)s\b")
    shown = ages.findall(terminal.screen())
    wait_until(lambda: ages.findall(terminal.screen()) > shown, "ages are counted up")
    waiting.terminate()
    waiting.wait(10)
    wait_until(lambda: "waits" not in terminal.screen(), "the waiter is gone")
    terminal.type("q")
    assert process.wait(10) == 0


@pytest.mark.parametrize(("keys", "status"), [("q", 0), ("\x03", 130)])
def test_a_key_ends_it_and_the_terminal_is_as_before(view, terminal, keys, status, restored):
    before, process = terminal.modes(), view()
    assert terminal.modes() != before
    terminal.type(keys)
    assert process.wait(10) == status
    assert restored()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_and_the_terminal_is_as_before(view, terminal, number, restored):
    process = view()
    process.send_signal(number)
    assert process.wait(10) == 128 + number
    assert restored()


def test_a_quit_signal_leaves_the_terminal_as_before(view, terminal, restored):
    process = view()
    process.send_signal(signal.SIGQUIT)
    assert process.wait(10) == -signal.SIGQUIT
    assert restored()


def test_an_error_ends_it_on_the_terminal_as_it_was(view, terminal, zk, root, restored):
    zk.create(root, b"1")
    process = view()
    zk.set_acls(root, [make_digest_acl("owner", "secret", all=True)])
    zk.create(f"{root}-__lock__")  # it reads again
    assert process.wait(10) == 4
    assert restored()
    assert b"not permitted to read" in process.stderr.read()


def test_it_stops_for_the_shell_and_comes_back(view, terminal, wait_until, restored):
    process = view()
    process.send_signal(signal.SIGTSTP)
    wait_until(lambda: state(process.pid) == "T", "it is stopped")
    assert restored()
    frames = terminal.frames()
    process.send_signal(signal.SIGCONT)
    wait_until(lambda: terminal.frames() > frames, "it is drawn again")
    terminal.type("q")
    assert process.wait(10) == 0
    assert restored()


def state(pid):
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0]


def test_a_burst_of_changes_is_drawn_ten_times_a_second_at_most(view, terminal, zk, root, wait_until):
    zk.create(root, b"1000")
    process = view()
    before, started = terminal.frames(), time.monotonic()
    for number in range(300):
        zk.create(f"{root}/{number:032x}", b"x")
    wait_until(lambda: "300 of 1000" in terminal.screen(), "all are shown")
    elapsed = time.monotonic() - started
    assert terminal.frames() - before <= 10 * elapsed + 2
    assert "lines more" in terminal.screen()
    terminal.type("q")
    assert process.wait(10) == 0


def test_an_outage_is_shown_and_the_view_goes_on(view, terminal, proxies, shell, root, wait_until):
    process = view("-H", proxies.hosts)
    for proxy in proxies:
        proxy.refuse()
        proxy.cut()
    wait_until(lambda: "NO SERVER ANSWERS" in terminal.screen(), "the outage is shown")
    assert shell("lock", root, "--id", "web1").returncode == 0
    assert "web1" not in terminal.screen()
    for proxy in proxies:
        proxy.accept()
    wait_until(lambda: "web1" in terminal.screen(), "the change is shown", 30)
    wait_until(lambda: "NO SERVER ANSWERS" not in terminal.screen(), "the outage is over")
    terminal.type("q")
    assert process.wait(10) == 0


def test_a_smaller_window_is_drawn_anew(view, terminal, zk, root, wait_until):
    zk.create(root, b"9")
    for number in range(9):
        zk.create(f"{root}/{number:032x}", b"x")
    process = view()
    assert "lines more" not in terminal.screen()
    terminal.resize(5, 60)
    process.send_signal(signal.SIGWINCH)
    wait_until(lambda: "lines more" in terminal.screen(), "it fits")
    terminal.type("q")
    assert process.wait(10) == 0


def test_without_a_terminal_or_with_json_it_is_a_usage_error(shell, root):
    refused = shell("status", "--watch", root)
    assert (refused.returncode, refused.stdout) == (2, b"")
    assert b"zkcoord events" in refused.stderr
    assert shell("--json", "status", "--watch", root).returncode == 2


def test_unreachable_and_denied_do_not_touch_the_terminal(shell, terminal, zk, root):
    zk.create(root, acl=[make_digest_acl("owner", "secret", all=True)])
    options = {"stdin": terminal.slave, "stdout": terminal.slave}
    assert shell.start("status", "--watch", root, **options).wait(30) == 4
    assert shell.start("-H", "127.0.0.1:1", "status", "-w", root, **options).wait(30) == 3
    assert ENTER not in terminal.written
