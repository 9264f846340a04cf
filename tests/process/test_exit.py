"""The end of a process is the end of its sessions, at once, and no wait delays it."""

import json
import os
import signal
import subprocess
import sys

import pytest
import zkcoord


@pytest.mark.parametrize("daemon", [True, False], ids=["daemon", "other"])
def test_an_interpreter_ends_at_once_although_a_thread_waits(script, pool, sessions, held, wait_until, at_once, daemon):
    process = script(
        """
        def work():
            say(attempt(zkcoord.lock, root, identifier="waiter", **at))

        threading.Thread(target=work, daemon=daemon).start()
        wait_for_word()
        """,
        daemon=daemon,
    )
    wait_until(pool.places, "the thread waits")
    process.signal(signal.SIGUSR1)
    assert process.wait(8) == 0
    if not daemon:  # Python may stop a daemon thread before it can write what its call has raised.
        assert "Cancelled" in process.line()
    assert process.stderr == ""
    at_once(lambda: not pool.places(), "its place is gone")
    at_once(lambda: not sessions(), "its session is gone")


def test_an_interpreter_ends_at_once_although_threads_wait_for_a_party_and_for_a_server(
    script, root, sessions, watches, wait_until, at_once
):
    process = script(
        """
        def work(*arguments):
            say(attempt(zkcoord.party_members, *arguments, min_nodes=1, blocking=True, config_get=settings.get))

        import socket
        with socket.create_server(("127.0.0.1", 0)) as silent:
            nobody = f"127.0.0.1:{silent.getsockname()[1]}"
            for server in (hosts, nobody):
                threading.Thread(target=work, args=(root, server)).start()
            silent.accept()
            say("accepted")
            wait_for_word()
        """,
        settings={"zookeeper:connect_timeout": 60, "zookeeper:session_timeout": 18},
    )
    wait_until(watches, "one waits")
    assert process.line() == "accepted"
    process.signal(signal.SIGUSR1)
    assert process.wait(8) == 0
    assert "Cancelled" in process.line()
    assert "Cancelled" in process.line()
    at_once(lambda: not sessions(), "the session is gone")


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        ("pass", 0),
        ("sys.exit(7)", 7),
        ("raise LookupError", 1),
        ("raise KeyboardInterrupt", -signal.SIGINT),
        ("os.kill(os.getpid(), signal.SIGINT); time.sleep(20)", -signal.SIGINT),
        ("threading.Thread(target=sys.exit).start()", 0),
    ],
)
def test_at_an_orderly_end_ephemeral_leases_go_at_once_and_persistent_ones_stay(
    script, pool, root, hosts, sessions, at_once, ending, code
):
    process = script(f"""
        for identifier, ephemeral in [("ephemeral", True), ("persistent", False)]:
            say(zkcoord.lock(root, identifier=identifier, max_concurrency=2, ephemeral_lease=ephemeral, **at))
        wait_for_word()
        {ending}
    """)
    assert [process.line(), process.line()] == ["True", "True"]
    assert pool.holders() == ["ephemeral", "persistent"]
    process.signal(signal.SIGUSR1)
    assert process.wait(8) == code
    at_once(lambda: not sessions(), "its session is gone")
    assert pool.holders() == ["persistent"]
    assert zkcoord.unlock(root, hosts, "persistent")


def test_a_thread_that_works_under_an_ephemeral_lease_keeps_it_until_it_is_done(
    script, pool, sessions, wait_until, at_once
):
    process = script("""
        def work():
            say(zkcoord.lock(root, identifier="worker", ephemeral_lease=True, **at))
            working.set()
            while threading.main_thread().is_alive():
                time.sleep(0.01)
            say(*zkcoord.lock_holders(root, **at))
            wait_for_word()
            say(*zkcoord.lock_holders(root, **at))

        working = threading.Event()
        threading.Thread(target=work).start()
        working.wait()
    """)
    assert [process.line(), process.line()] == ["True", "worker"]
    assert pool.holders() == ["worker"]
    process.signal(signal.SIGUSR1)
    assert process.result(8) == "worker"
    at_once(lambda: not sessions(), "its session is gone")
    assert pool.holders() == []


def test_a_thread_that_works_under_the_lease_of_the_main_thread_does_not_lose_it(script, pool, sessions, at_once):
    process = script("""
        def work():
            while threading.main_thread().is_alive():
                time.sleep(0.01)
            say("alone")
            wait_for_word()
            say("done")

        say(zkcoord.lock(root, identifier="main", ephemeral_lease=True, **at))
        threading.Thread(target=work).start()
    """)
    assert [process.line(), process.line()] == ["True", "alone"]
    assert pool.holders() == ["main"]
    process.signal(signal.SIGUSR1)
    assert process.result(8) == "done"
    at_once(lambda: not sessions(), "its session is gone")
    assert pool.holders() == []


def test_a_thread_may_still_take_and_give_back_after_the_main_thread_ended(script, pool, sessions, at_once):
    process = script("""
        def work():
            while threading.main_thread().is_alive():
                time.sleep(0.01)
            say(zkcoord.lock(root, identifier="late", timeout=20, **at))
            say(zkcoord.unlock(root, identifier="late", **at))
            say(zkcoord.lock(root, identifier="late", timeout=20, ephemeral_lease=True, **at))

        threading.Thread(target=work).start()
    """)
    assert process.result(8) == "True\nTrue\nTrue"
    at_once(lambda: not sessions(), "its session is gone")
    assert pool.holders() == []


def test_a_forked_worker_ends_its_session_without_an_exit_handler(script, pool, sessions, at_once):
    """As in the jobs of Salt: `multiprocessing.util.Finalize`, then `os._exit`. Python 3.13 runs handlers before."""
    process = script("""
        import atexit, multiprocessing

        def work():
            zkcoord.lock(root, identifier="worker", ephemeral_lease=True, **at)
            atexit.register(say, "an exit handler ran")
            say("held")
            wait_for_word()

        worker = multiprocessing.get_context("fork").Process(target=work)
        worker.start()
        say(worker.pid)
        worker.join()
        say(worker.exitcode)
        wait_for_word()
    """)
    worker = next(line for line in (process.line(), process.line()) if line != "held")
    assert pool.holders() == ["worker"]
    os.kill(int(worker), signal.SIGUSR1)
    if sys.version_info >= (3, 13):
        assert process.line(8) == "an exit handler ran"
    assert process.line(8) == "0"
    at_once(lambda: not sessions(), "its session is gone")
    assert pool.holders() == []
    process.signal(signal.SIGUSR1)
    assert process.result() == ""


def test_a_worker_whose_thread_waits_ends_at_once(script, pool, sessions, held, wait_until, at_once):
    process = script("""
        import multiprocessing

        def work():
            waiting = lambda: say(attempt(zkcoord.lock, root, identifier="waiter", **at))
            threading.Thread(target=waiting).start()
            wait_for_word()

        worker = multiprocessing.get_context("fork").Process(target=work)
        worker.start()
        wait_for_word()
        os.kill(worker.pid, signal.SIGUSR1)
        worker.join()
        say(worker.exitcode)
        wait_for_word()
    """)
    wait_until(pool.places, "the worker's thread waits")
    process.signal(signal.SIGUSR1)
    assert "Cancelled" in process.line(8)
    assert process.line(8) == "0"
    at_once(lambda: not pool.places(), "its place is gone")
    at_once(lambda: not sessions(), "its session is gone")
    process.signal(signal.SIGUSR1)
    process.result()


def test_a_worker_whose_thread_works_under_an_ephemeral_lease_keeps_it_until_that_is_done(
    script, pool, sessions, at_once
):
    process = script("""
        import multiprocessing

        def work():
            say(zkcoord.lock(root, identifier="worker", ephemeral_lease=True, **at))
            working.set()
            while threading.main_thread().is_alive():
                time.sleep(0.01)
            wait_for_word()
            say(*zkcoord.lock_holders(root, **at))

        def start():
            threading.Thread(target=work).start()
            working.wait()

        working = threading.Event()
        worker = multiprocessing.get_context("fork").Process(target=start)
        worker.start()
        wait_for_word()
        os.kill(worker.pid, signal.SIGUSR1)
        worker.join()
        say(worker.exitcode)
        wait_for_word()
    """)
    assert process.line() == "True"
    process.signal(signal.SIGUSR1)
    assert [process.line(8), process.line(8)] == ["worker", "0"]
    at_once(lambda: not sessions(), "its session is gone")
    assert pool.holders() == []
    process.signal(signal.SIGUSR1)
    process.result()


# Salt's processes are multiprocessing's, with this method. When one is terminated, its handler of SIGTERM calls
# what was registered, and then `os._exit`.
JOB = """
import multiprocessing.util

finishing = []
multiprocessing.current_process().register_finalize_method = finishing.append
"""


def test_what_is_registered_with_a_job_closes_at_once_whoever_works(script, pool, sessions, at_once):
    process = script(f"""{JOB}
working = threading.Thread(target=wait_for_word)
working.start()
zkcoord.lock(root, identifier="job", ephemeral_lease=True, **at)
for finish in finishing:
    finish()
say("finished")
working.join()
os._exit(0)
""")
    assert process.line() == "finished"
    at_once(lambda: not sessions(), "its session is gone")
    assert pool.holders() == []
    process.signal(signal.SIGUSR1)
    process.result()


def test_a_job_that_is_terminated_while_it_waits_ends_at_once_with_its_session(
    script, pool, sessions, held, wait_until, at_once
):
    process = script(f"""{JOB}
def terminate(number, frame):
    for finish in finishing:
        finish()
    os._exit(7)

signal.signal(signal.SIGTERM, terminate)
zkcoord.lock(root + "-other", identifier="job", ephemeral_lease=True, **at)
zkcoord.lock(root, identifier="job", **at)
""")
    wait_until(pool.places, "it waits")
    process.signal(signal.SIGTERM)
    assert process.wait(3) == 7  # Salt kills what is not gone after 2 s
    at_once(lambda: not pool.places(), "its place is gone")
    at_once(lambda: not sessions(), "its session is gone")


def test_close_ends_ephemeral_leases_and_later_calls_work_again(hosts, root, pool, sessions):
    assert zkcoord.lock(root, hosts, "ephemeral", 2, ephemeral_lease=True)
    assert zkcoord.lock(root, hosts, "persistent", 2)
    first = sessions()
    assert len(first) == 1
    zkcoord.close()
    assert not sessions()
    assert pool.holders() == ["persistent"]
    zkcoord.close()
    assert zkcoord.lock(root, hosts, "ephemeral", 2, timeout=0, ephemeral_lease=True)
    assert pool.holders() == ["ephemeral", "persistent"]
    assert len(sessions()) == 1
    assert not sessions() & first


@pytest.mark.parametrize("use", ["", "zkcoord.close()"])
def test_importing_starts_no_thread_opens_nothing_and_writes_nothing(tmp_path, use):
    code = f"""
import json, os, signal, sys

def facts():
    files = {{number: os.readlink("/proc/self/fd/" + number) for number in os.listdir("/proc/self/fd")[:-1]}}
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    return files, os.listdir("/proc/self/task"), str(handlers), dict(os.environ)

before, loaded = facts(), set(sys.modules)
import zkcoord
{use}
print(json.dumps([before == facts(), len(os.listdir("/proc/self/task")), sorted(set(sys.modules) - loaded)]))
"""
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=True
    )
    assert run.stderr == ""
    unchanged, threads, loaded = json.loads(run.stdout)
    assert unchanged
    assert threads == 1
    assert not {"asyncio", "kazoo", "multiprocessing", "salt", "socket", "ssl", "subprocess"} & set(loaded)
    assert list(tmp_path.iterdir()) == []
