"""A child made by fork works like any process, and its parent does not notice."""

import os
import signal
import subprocess
import sys

import pytest


def test_a_forked_child_leaves_the_session_of_its_parent_alone(script, pool, sessions, wait_until):
    parent = script("""
        zkcoord.lock(root, identifier="parent", max_concurrency=2, ephemeral_lease=True, **at)
        if (child := os.fork()) == 0:
            try:
                at["config_get"] = {"zookeeper:session_timeout": 1}.get
                say(zkcoord.lock(root, identifier="child", max_concurrency=2, timeout=20, **at))
                say(*sorted(zkcoord.lock_holders(root, **at)))
                say(zkcoord.unlock(root, identifier="child", **at))
                say(zkcoord.unlock(root, identifier="child", **at))
                wait_for_word()
            finally:
                os._exit(7)
        say(child)
        say(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        say(*zkcoord.lock_holders(root, **at))
        wait_for_word()
    """)
    lines = [parent.line() for _ in range(5)]
    child = next(line for line in lines if line.isdigit())
    assert [line for line in lines if line != child] == ["True", "child parent", "True", "False"]
    assert pool.holders() == ["parent"]
    assert len(sessions()) == 2

    os.kill(int(child), signal.SIGUSR1)
    assert parent.line() == "7"
    assert parent.line() == "parent"
    wait_until(lambda: len(sessions()) == 1, "the child's session has expired")
    assert pool.holders() == ["parent"]
    parent.signal(signal.SIGUSR1)
    parent.result()


def test_a_child_forked_while_a_thread_waits_works_and_the_thread_keeps_its_place(
    script, pool, sessions, held, wait_until
):
    parent = script("""
        thread = threading.Thread(target=lambda: say(zkcoord.lock(root, identifier="thread", **at)))
        thread.start()
        wait_for_word()
        if (child := os.fork()) == 0:
            try:
                at["config_get"] = {"zookeeper:session_timeout": 1}.get
                say(zkcoord.lock(root, identifier="child", timeout=0, **at))
                say(zkcoord.lock(root + "-other", identifier="child", timeout=20, **at))
            finally:
                os._exit(0)
        say(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        thread.join()
    """)
    wait_until(pool.waiters, "the thread waits")
    places, owners = pool.places(), sessions()
    parent.signal(signal.SIGUSR1)
    assert [parent.line() for _ in range(3)] == ["False", "True", "0"]
    wait_until(lambda: sessions() == owners, "the child's session has expired, and only that")
    assert pool.places() == places
    held()
    assert parent.result() == "True"
    assert pool.holders() == ["thread"]


def test_every_generation_has_a_session_of_its_own(script, pool, sessions, at_once):
    parent = script("""
        def live(name, *younger):
            say(zkcoord.lock(root, identifier=name, max_concurrency=3, ephemeral_lease=True, timeout=20, **at))
            if younger and (child := os.fork()) == 0:
                try:
                    live(*younger)
                finally:
                    os._exit(0)
            say(name, os.getpid())
            wait_for_word()
            if younger:
                os.waitpid(child, 0)
            say(*sorted(zkcoord.lock_holders(root, **at)))
            zkcoord.close()

        live("parent", "child", "grandchild")
    """)
    lines = [parent.line() for _ in range(6)]
    assert lines.count("True") == 3
    pids = dict(line.split() for line in lines if line != "True")
    assert pool.holders() == ["child", "grandchild", "parent"]
    assert len(sessions()) == 3
    for name, left in [("grandchild", ["child", "parent"]), ("child", ["parent"]), ("parent", [])]:
        os.kill(int(pids[name]), signal.SIGUSR1)
        assert parent.line() == " ".join(sorted([name, *left]))
        at_once(lambda left=left: pool.holders() == left, f"only {left} hold a slot")
        at_once(lambda left=left: len(sessions()) == len(left), f"only {left} have a session")
    parent.result()


def test_a_forked_child_that_ends_as_an_interpreter_does_takes_only_its_own_lease_along(
    script, pool, sessions, at_once
):
    parent = script("""
        zkcoord.lock(root, identifier="parent", max_concurrency=2, ephemeral_lease=True, **at)
        if (child := os.fork()) == 0:
            zkcoord.lock(root, identifier="child", max_concurrency=2, ephemeral_lease=True, **at)
            sys.exit(7)
        say(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        wait_for_word()
    """)
    assert parent.line() == "7"
    at_once(lambda: pool.holders() == ["parent"], "the child's lease is gone")
    at_once(lambda: len(sessions()) == 1, "the child's session is gone")
    parent.signal(signal.SIGUSR1)
    parent.result()
    at_once(lambda: not pool.holders(), "the parent's lease is gone")


def test_a_child_that_never_uses_it_ends_without_a_trace(script, pool, sessions):
    parent = script("""
        zkcoord.lock(root, identifier="parent", ephemeral_lease=True, **at)
        if (child := os.fork()) == 0:
            zkcoord.close()
            sys.exit()
        say(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), *zkcoord.lock_holders(root, **at))
        wait_for_word()
    """)
    assert parent.line() == "0 parent"
    assert pool.holders() == ["parent"]
    assert len(sessions()) == 1
    parent.signal(signal.SIGUSR1)
    parent.result()


def test_siblings_that_wait_side_by_side_have_different_places(script, pool, sessions, held, wait_until):
    parent = script("""
        zkcoord.lock_holders(root, **at)
        children = []
        for name in ["one", "two", "three"]:
            if (child := os.fork()) == 0:
                try:
                    say(zkcoord.lock(root, identifier=name, timeout=60, **at))
                    say(zkcoord.unlock(root, identifier=name, **at))
                    zkcoord.close()
                finally:
                    os._exit(0)
            children.append(child)
        for child in children:
            os.waitpid(child, 0)
    """)
    wait_until(lambda: sorted(pool.waiters()) == ["one", "three", "two"], "all three wait")
    assert len({place[:32] for place in pool.places()}) == 3
    assert len(sessions()) == 4
    held()
    assert parent.result() == "\n".join(["True"] * 6)


def test_a_child_forked_by_a_thread_while_the_main_thread_waits_has_the_handlers_of_before(
    script, pool, held, wait_until
):
    """What SIGINT and SIGTERM do during a wait is the business of the process that waits."""
    parent = script("""
        def fork_and_terminate(number):
            if (child := os.fork()) == 0:
                try:
                    say("here")
                    while True:
                        time.sleep(0.01)
                finally:
                    os._exit(1)
            wait_for_word()
            os.kill(child, number)
            say(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

        def work():
            wait_for_word()
            fork_and_terminate(signal.SIGTERM)
            fork_and_terminate(signal.SIGINT)

        signal.signal(signal.SIGINT, lambda number, frame: os._exit(7))
        thread = threading.Thread(target=work)
        thread.start()
        say(zkcoord.lock(root, identifier="waiter", **at))
        thread.join()
    """)
    wait_until(pool.places, "the main thread waits")
    places = pool.places()
    parent.signal(signal.SIGUSR1)
    for code in (-signal.SIGTERM, 7):
        assert parent.line() == "here"
        parent.signal(signal.SIGUSR1)
        assert parent.line() == str(int(code))
    assert pool.places() == places
    held()
    assert parent.result() == "True"


def test_a_fork_at_any_moment_leaves_nothing_locked(script):
    parent = script("""
        ends = threading.Event()

        def work(name):
            while not ends.is_set():
                zkcoord.lock(root + name, identifier=name, **at)
                zkcoord.unlock(root + name, identifier=name, **at)

        threads = [threading.Thread(target=work, args=(name,)) for name in ("-1", "-2")]
        for thread in threads:
            thread.start()
        codes = set()
        for number in range(20):
            if (child := os.fork()) == 0:
                code = 1
                try:
                    held = zkcoord.lock(root, identifier=number, timeout=10, **at)
                    code = 0 if held and zkcoord.unlock(root, identifier=number, **at) else 2
                    zkcoord.close()
                finally:
                    os._exit(code)
            codes.add(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        ends.set()
        for thread in threads:
            thread.join()
        say(codes)
    """)
    assert parent.result(60) == "{0}"


@pytest.mark.parametrize("loaded", ["", "multiprocessing", "multiprocessing.util"])
def test_no_use_imports_anything_because_a_fork_in_between_would_leave_that_import_locked(hosts, root, held, loaded):
    code = f"""
import {loaded or "zkcoord"}, sys, zkcoord
before = set(sys.modules)
print(zkcoord.lock({root!r}, {hosts!r}, "waiter", timeout=0.3), set(sys.modules) - before)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert run.stdout == "False set()\n"


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_the_ephemeral_lease_of_a_worker_ends_with_the_worker(script, pool, sessions, at_once, method):
    parent = script(
        """
        import multiprocessing

        zkcoord.lock(root, identifier="parent", max_concurrency=2, ephemeral_lease=True, **at)
        work = '''
        import signal, zkcoord
        held = zkcoord.lock(root, hosts, "worker", 2, 20, True, config_get=config.get)
        print("held" if held else "full", flush=True)
        signal.sigwait([signal.SIGUSR1])
        '''
        names = {"root": root, "hosts": hosts, "config": {"zookeeper:session_timeout": session_timeout}}
        code = "\\n".join(line.strip() for line in work.splitlines())
        worker = multiprocessing.get_context(method).Process(target=exec, args=(code, names))
        worker.start()
        wait_for_word()
        os.kill(worker.pid, signal.SIGUSR1)
        worker.join()
        say(worker.exitcode, *zkcoord.lock_holders(root, **at))
        wait_for_word()
        """,
        method=method,
    )
    assert parent.line() == "held"
    assert pool.holders() == ["parent", "worker"]
    assert len(sessions()) == 2
    parent.signal(signal.SIGUSR1)
    assert parent.line(10) == "0 parent"
    at_once(lambda: len(sessions()) == 1, "the worker's session is gone")
    assert pool.holders() == ["parent"]
    parent.signal(signal.SIGUSR1)
    parent.result()


def test_the_workers_of_a_pool_take_turns_and_end_with_it(script, pool, sessions, at_once):
    parent = script("""
        import multiprocessing

        def turn(number):
            barrier.wait(20)  # with as many tasks at a time as workers, every worker has its share
            held = zkcoord.lock(root, identifier=number, ephemeral_lease=True, timeout=60, **at)
            alone = zkcoord.lock_holders(root, **at) == [str(number)]
            return held, alone, zkcoord.unlock(root, identifier=number, ephemeral_lease=True, **at), os.getpid()

        zkcoord.lock(root, identifier="parent", **at)
        zkcoord.unlock(root, identifier="parent", **at)
        context = multiprocessing.get_context("fork")
        barrier = context.Barrier(3)
        with context.Pool(3) as pool:
            turns = pool.map(turn, range(12), chunksize=1)
            say({turn[:3] for turn in turns}, len({pid for *_, pid in turns}))
            wait_for_word()
            pool.close()
            pool.join()
        say("joined")
        wait_for_word()
    """)
    assert parent.line() == "{(True, True, True)} 3"
    assert len(sessions()) == 4
    parent.signal(signal.SIGUSR1)
    assert parent.line() == "joined"
    at_once(lambda: len(sessions()) == 1, "the workers' sessions are gone")
    assert pool.holders() == pool.waiters() == []
    parent.signal(signal.SIGUSR1)
    parent.result()


@pytest.mark.parametrize("child", ["pass", "raise RuntimeError('child')", "sys.exit(7)"])
@pytest.mark.parametrize("place", ["handler", "listener"])
def test_a_child_of_a_handler_or_a_listener_has_no_part_in_the_call(
    script, pool, held, sessions, wait_until, at_once, place, child
):
    process = script(
        """
        forked = None

        def fork(*_):
            global forked
            if forked is None:
                forked = os.fork()
                if not forked:
                    exec(child)

        if place == "handler":
            signal.signal(signal.SIGUSR2, fork)
        listener = {"on_position": fork} if place == "listener" else {}
        answer = attempt(zkcoord.lock, root, identifier="waiter", **listener, **at)
        if forked:
            say("parent", answer, os.waitpid(forked, 0)[1])
            wait_for_word()
        else:
            say("child", answer)
            say(zkcoord.lock_holders(root, **at), signal.getsignal(signal.SIGINT) is signal.default_int_handler)
        """,
        place=place,
        child=child,
    )
    wait_until(lambda: pool.waiters() == ["waiter"], "it waits")
    before = pool.places()
    if place == "handler":
        process.signal(signal.SIGUSR2)
    told = {"pass": "Cancelled: cancelled by a fork: ", "raise": "RuntimeError: child", "sys.exit(7)": "SystemExit: 7"}
    assert process.line().startswith(f"child {told[child.split(' ')[0]]}")
    assert process.line() == "['holder'] True"
    at_once(lambda: len(sessions()) == 1, "the child's own session is gone")
    assert pool.places() == before
    held()
    assert process.line() == "parent True 0"
    assert pool.holders() == ["waiter"]
    process.signal(signal.SIGUSR1)
    process.result()
