"""Processes that import nothing but the package: what it needs of Python's machinery it must not find there."""

import json
import signal
import subprocess
import sys

import pytest

HEAVY = {
    "asyncio",
    "concurrent.futures",
    "enum",
    "functools",
    "logging",
    "multiprocessing",
    "signal",
    "threading",
    "typing",
}
IMPORTED = "import sys; before = set(sys.modules); import zkcoord; print(*sorted(set(sys.modules) - before))"
# A session without its process lasts for two thirds of this.
PRELUDE = "import zkcoord, os, sys; at = {'config_get': {'zookeeper:session_timeout': 18}.get}\n"


@pytest.fixture
def run(hosts, root):
    """Start code with the names `hosts` and `root`, and nothing imported that the package does not import."""
    started = []

    def start(code):
        names = f"hosts, root = {hosts!r}, {root!r}\n"
        command = [
            sys.executable,
            "-I",
            "-S",
            "-u",
            *("-W", "ignore::DeprecationWarning"),  # of Python 3.12 and later: of each fork in a process with threads
            "-c",
            f"import sys; sys.path = {sys.path!r}\n{names}{PRELUDE}{code}",
        ]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_the_package_brings_nothing_heavy_with_it():
    command = [sys.executable, "-I", "-c", IMPORTED]
    imported = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert "zkcoord._core" in imported
    assert not HEAVY & set(imported)


def test_a_session_ends_with_its_process(run, pool, sessions, at_once):
    process = run("zkcoord.lock(root, hosts, 'a', ephemeral_lease=True, **at); print('threading' in sys.modules)")
    assert process.communicate(timeout=30) == ("False\n", "")
    at_once(lambda: not pool.leases() and not sessions(), "its session is gone")


def test_a_signal_ends_a_wait(run, held, pool, sessions, wait_until, at_once):
    process = run("zkcoord.lock(root, hosts, 'b', **at)")
    wait_until(pool.places, "it waits")
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30)[1].endswith("KeyboardInterrupt\n")
    at_once(lambda: not pool.places() and not sessions(), "its place and its session are gone")


def test_a_forked_child_has_a_session_of_its_own(run, pool, at_once):
    process = run(
        "zkcoord.lock(root, hosts, 'a', 2, ephemeral_lease=True, **at)\n"
        "if child := os.fork():\n"
        "    print(os.waitpid(child, 0)[1], *sorted(zkcoord.lock_holders(root, hosts, **at)))\n"
        "else:\n"
        "    zkcoord.lock(root, hosts, 'b', 2, **at)\n"
    )
    assert process.communicate(timeout=30) == ("0 a b\n", "")
    at_once(lambda: len(pool.leases()) == 1, "the ephemeral one is gone")


def test_a_thread_that_begins_after_the_first_call_keeps_the_session(run, pool, at_once):
    process = run(
        "zkcoord.lock(root, hosts, 'a', ephemeral_lease=True, **at)\n"
        "import threading, json\n"
        "def work():\n"
        "    threading.main_thread().join()\n"
        "    print(json.dumps([zkcoord.lock_holders(root, hosts, **at), zkcoord.unlock(root, hosts, 'a')]))\n"
        "threading.Thread(target=work).start()\n"
    )
    out, err = process.communicate(timeout=30)
    assert (json.loads(out), err) == ([["a"], True], "")
    at_once(lambda: not pool.leases(), "given back")
