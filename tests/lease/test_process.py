"""Renewals live and die with their process: busy, forked, ended, closed."""

import signal
import time

import zkcoord

from tests.support.calls import wait_until

from .conftest import QUICK

LOCK = """
    from zkcoord.lease import LeaseLocker
    locker = LeaseLocker(path, "a", hosts, **options)
    assert locker.lock()
    print("held", flush=True)
"""


def start(script, path, then, **options):
    # What is killed leaves a session that ends soon.
    process = script(LOCK + then, path=path, options={**QUICK, "session_timeout": 1, **options})
    assert process.line() == "held"
    return process


def test_it_is_renewed_while_python_is_busy(script, path, lockers):
    process = start(
        script,
        path,
        """
    import ctypes
    ctypes.PyDLL(None).usleep(6_000_000)  # it keeps the GIL
    print(locker.held, locker._lease.renewals > 10, flush=True)
    locker.unlock()
    """,
    )
    assert lockers("b").lock(timeout=5) is False
    assert process.line() == "True True"
    process.result()


def test_a_forked_child_holds_nothing_and_renews_nothing(script, path, record, zk):
    process = start(
        script,
        path,
        """
    def child():
        print(locker.held, locker.fencing_token, locker.unlock(), locker.expires_in, locker.record, flush=True)
        locker.check()
        print(locker.try_lock(), flush=True)
        other = LeaseLocker(path + "-2", "child", hosts, **options)
        print(other.lock(10), other.unlock(), flush=True)
        del globals()["locker"]
        os._exit(0)
    if os.fork() == 0:
        child()
    print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
    time.sleep(2.5)
    print(locker.held, flush=True)
    locker.unlock()
    """,
    )
    lines = [process.line() for _ in range(5)]
    assert lines == ["False None False None None", "False", "True True", "0", "True"]
    process.result()
    assert record()["holderIdentity"] == ""


def test_a_child_that_lives_on_keeps_no_lease_alive(script, path, lockers, zk):
    process = start(
        script,
        path,
        """
    if (child := os.fork()) == 0:
        signal.pause()
    print(child, flush=True)
    signal.pause()
    """,
    )
    child = int(process.line())
    process.signal(signal.SIGKILL)
    process.process.wait()
    began = time.monotonic()
    assert lockers("b").lock(30)
    assert time.monotonic() - began < QUICK["lease_duration"] + 1.5
    import os

    os.kill(child, signal.SIGKILL)


def test_at_the_end_of_the_process_it_is_left_to_run_out(script, path, record):
    process = start(script, path, "")
    began = time.monotonic()
    process.result()
    assert time.monotonic() - began < 5
    assert record()["holderIdentity"] == "a"
    assert process.stderr == "", "to end is no loss"


def test_at_the_end_of_the_process_it_is_given_back_if_told_to(script, path, record):
    process = start(script, path, "", release_on_cancel=True)
    process.result()
    assert record()["holderIdentity"] == ""


def test_a_forked_worker_gives_its_own_back_at_its_end(script, path, record):
    code = """
    import multiprocessing
    from zkcoord.lease import LeaseLocker
    def work():
        locker = LeaseLocker(path, "worker", hosts, **options)
        print(locker.lock(), flush=True)
    if __name__ == "__main__":
        worker = multiprocessing.get_context("fork").Process(target=work)
        worker.start()
        worker.join()
        print(worker.exitcode, flush=True)
    """
    process = script(code, path=path, options={**QUICK, "release_on_cancel": True})
    assert [process.line(), process.line()] == ["True", "0"]
    process.result()
    assert record()["holderIdentity"] == ""


def test_ctrl_c_ends_a_program_that_holds_a_lease(script, path, record):
    process = start(
        script,
        path,
        """
    try:
        with locker:
            print("in", flush=True)
            time.sleep(60)
    except KeyboardInterrupt:
        print("interrupted", locker.held, flush=True)
    """,
    )
    assert process.line() == "in"
    process.signal(signal.SIGINT)
    assert process.line() == "interrupted False"
    process.result()
    assert record()["holderIdentity"] == ""


def test_a_signal_ends_a_wait_and_leaves_nothing(script, path, lockers, queued):
    lockers("h").lock()
    process = script(
        """
    from zkcoord.lease import LeaseLocker
    try:
        LeaseLocker(path, "a", hosts, raise_on_signal=True).lock()
    except zkcoord.errors.Cancelled as error:
        print(error, flush=True)
    """,
        path=path,
    )
    wait_until(lambda: queued() == ["a"], "it waits")
    process.signal(signal.SIGTERM)
    assert "cancelled by SIGTERM" in process.line()
    process.result()
    assert queued() == []


def test_to_close_ends_the_renewals_and_tells(lockers, record):
    import threading

    told = threading.Event()
    locker = lockers("a", on_lost=told.set)
    assert locker.lock()
    zkcoord.close()
    assert not locker.held
    assert told.wait(5)
    assert record()["holderIdentity"] == "a", "it runs out"
    assert locker.unlock() is True, "or is given back"
    assert locker.lock() is True


def test_to_close_gives_it_back_if_told_to(lockers, record):
    locker = lockers("a", release_on_cancel=True)
    assert locker.lock()
    zkcoord.close()
    assert record()["holderIdentity"] == ""
    assert locker.unlock() is False


def test_a_thread_for_all_and_none_in_the_end(script, root):
    process = script(
        """
    from zkcoord.lease import LeaseLocker
    many = [LeaseLocker(f"{base}/{n}", "a", hosts, lease_duration=60) for n in range(40)]
    for each in many: assert each.lock()
    print(sorted({t.name for t in threading.enumerate()}), threading.active_count(), flush=True)
    for each in many: assert each.unlock()
    end = time.monotonic() + 15
    while threading.active_count() > 1 and time.monotonic() < end: time.sleep(0.1)
    print(threading.active_count(), flush=True)
    """,
        base=root.lower(),
    )
    assert process.line() == "['MainThread', 'zkcoord-lease'] 2"
    assert process.line() == "1"
    process.result()


def test_a_locker_that_nobody_has_any_more_is_renewed_on_and_a_lease_that_nobody_has_is_not(script, path, lockers):
    """The first is held by the process; the second by nobody who could give it back."""
    process = start(
        script,
        path,
        """
    import gc
    from zkcoord import _lease_news
    locker = None
    gc.collect()
    time.sleep(3)
    print("first", flush=True)
    sys.stdin
    _lease_news._own().by_hold.clear()
    gc.collect()
    print("second", flush=True)
    time.sleep(60)
    """,
    )
    assert process.line() == "first"
    assert lockers("b").try_lock() is False
    assert process.line() == "second"
    assert lockers("b").lock(QUICK["lease_duration"] + 5)
    process.signal(signal.SIGKILL)
