"""A signal ends a wait on the main thread, and nothing of the wait is left."""

import signal
import socket
import time
import uuid

import pytest
import zkcoord


def test_ctrl_c_ends_a_wait_and_the_session_goes_on(script, pool, sessions, held, wait_until, at_once):
    process = script("""
        say(attempt(zkcoord.lock, root, identifier="waiter", **at))
        wait_for_word()
        say(zkcoord.unlock(root, identifier="holder", **at))
        say(zkcoord.lock(root, identifier="waiter", **at))
        wait_for_word()
    """)
    wait_until(lambda: pool.waiters() == ["waiter"], "it waits")
    session = sessions()
    process.signal(signal.SIGINT)
    assert process.line(10) == "KeyboardInterrupt: "
    at_once(lambda: not pool.places(), "its place is gone")
    process.signal(signal.SIGUSR1)
    assert [process.line(), process.line()] == ["True", "True"]
    assert sessions() == session
    process.signal(signal.SIGUSR1)
    process.result()


def test_ctrl_c_ends_a_wait_for_a_party(script, zk, root, watches, wait_until):
    process = script("say(attempt(zkcoord.party_members, root, min_nodes=1, blocking=True, **at))")
    wait_until(watches, "it waits")
    process.signal(signal.SIGINT)
    assert process.line(10) == "KeyboardInterrupt: "
    process.result(10)
    assert zk.exists(root) is None


def test_ctrl_c_ends_an_attempt_to_connect(script, held):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = {"zookeeper:connect_timeout": 60}
        process = script(
            """
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            say(attempt(zkcoord.lock, root, silent, config_get=settings.get))
            """,
            silent=f"127.0.0.1:{silent.getsockname()[1]}",
            settings=settings,
        )
        silent.settimeout(20)
        connection, _ = silent.accept()
        with connection:
            process.signal(signal.SIGINT)
            assert process.line(10) == "KeyboardInterrupt: "
            process.result(10)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_handler_that_raises_decides_what_the_caller_sees(script, pool, held, wait_until, at_once, name):
    process = script(
        """
        def raise_it(number, frame):
            raise LookupError(signal.Signals(number).name)

        signal.signal(getattr(signal, name), raise_it)
        say(attempt(zkcoord.lock, root, identifier="waiter", **at))
        say(signal.getsignal(getattr(signal, name)) is raise_it)
        wait_for_word()
        """,
        name=name,
    )
    wait_until(pool.places, "it waits")
    process.signal(getattr(signal, name))
    assert process.line(10) == f"LookupError: {name}"
    assert process.line() == "True"
    at_once(lambda: not pool.places(), "its place is gone")
    process.signal(signal.SIGUSR1)
    process.result()
    assert pool.holders() == ["holder"]


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_handler_that_returns_is_called_once_after_the_wait_is_undone(script, pool, held, wait_until, at_once, name):
    process = script(
        """
        calls = []
        handler = lambda number, frame: calls.append(signal.Signals(number).name)
        signal.signal(getattr(signal, name), handler)
        others = {"SIGINT", "SIGTERM", "SIGHUP"} - {name}
        before = {other: signal.getsignal(getattr(signal, other)) for other in others}
        try:
            zkcoord.lock(root, identifier="waiter", **at)
        except zkcoord.errors.Cancelled as error:
            say(error.path == root, name in str(error), calls)
        say(signal.getsignal(getattr(signal, name)) is handler)
        say(all(signal.getsignal(getattr(signal, other)) == before[other] for other in others))
        os.kill(os.getpid(), getattr(signal, name))
        say(len(calls))
        wait_for_word()
        """,
        name=name,
    )
    wait_until(pool.places, "it waits")
    process.signal(getattr(signal, name))
    assert process.line(10) == f"True True ['{name}']"
    assert [process.line() for _ in range(3)] == ["True", "True", "2"]
    at_once(lambda: not pool.places(), "its place is gone")
    process.signal(signal.SIGUSR1)
    process.result()


def test_a_handler_that_ends_the_process_from_within_leaves_no_place(script, pool, held, wait_until):
    """As in the jobs of Salt."""
    process = script(
        """
        signal.signal(signal.SIGTERM, lambda number, frame: os._exit(7))
        zkcoord.lock(root, identifier="waiter", **at)
        """,
        session_timeout=3,
    )
    wait_until(pool.places, "it waits")
    process.signal(signal.SIGTERM)
    assert process.wait(10) == 7
    assert pool.places() == []


def test_a_handler_may_use_the_module_itself(script, pool, held, wait_until, at_once):
    process = script("""
        def give_back(number, frame):
            say(zkcoord.unlock(root + "-other", identifier="own", **at))
            raise SystemExit(7)

        zkcoord.lock(root + "-other", identifier="own", **at)
        signal.signal(signal.SIGTERM, give_back)
        signal.signal(signal.SIGALRM, lambda number, frame: say(*zkcoord.lock_holders(root, **at)))
        zkcoord.lock(root, identifier="waiter", **at)
    """)
    wait_until(pool.places, "it waits")
    place = pool.places()
    process.signal(signal.SIGALRM)
    assert process.line(10) == "holder"
    assert pool.places() == place
    process.signal(signal.SIGTERM)
    assert process.line(10) == "True"
    assert process.wait(10) == 7
    at_once(lambda: not pool.places(), "its place is gone")


def test_sigterm_by_default_ends_the_process_and_its_session_at_once(
    script, pool, root, hosts, sessions, held, wait_until, at_once
):
    process = script("""
        zkcoord.lock(root + "-other", identifier="own", ephemeral_lease=True, **at)
        zkcoord.lock(root, identifier="waiter", **at)
    """)
    wait_until(pool.places, "it waits")
    process.signal(signal.SIGTERM)
    assert process.wait(10) == -signal.SIGTERM
    assert process.stderr == ""
    at_once(lambda: not pool.places(), "its place is gone")
    at_once(lambda: not sessions(), "its session is gone")
    assert zkcoord.lock_holders(f"{root}-other", hosts) == []


def test_sigterm_by_default_leaves_nothing_of_another_thread_that_waits_either(
    script, pool, root, hosts, sessions, held, wait_until, at_once
):
    process = script("""
        zkcoord.lock(root + "-other", identifier="own", ephemeral_lease=True, **at)
        wait = lambda identifier: zkcoord.lock(root, identifier=identifier, **at)
        threading.Thread(target=wait, args=("thread",)).start()
        wait("main")
    """)
    wait_until(lambda: sorted(pool.waiters()) == ["main", "thread"], "both wait")
    process.signal(signal.SIGTERM)
    assert process.wait(10) == -signal.SIGTERM
    at_once(lambda: not pool.places(), "their places are gone")
    at_once(lambda: not sessions(), "their session is gone")
    assert zkcoord.lock_holders(f"{root}-other", hosts) == []


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_with_raise_on_signal_no_handler_runs_and_the_error_names_the_signal(
    script, pool, held, wait_until, at_once, name
):
    process = script(
        """
        handler = lambda number, frame: say("called")
        signal.signal(getattr(signal, name), handler)
        say(attempt(zkcoord.lock, root, identifier="waiter", raise_on_signal=True, **at))
        say(signal.getsignal(getattr(signal, name)) is handler)
        wait_for_word()
        """,
        name=name,
    )
    wait_until(pool.places, "it waits")
    process.signal(getattr(signal, name))
    error = process.line(10)
    assert error.startswith("Cancelled: ")
    assert name in error
    assert process.line() == "True"
    at_once(lambda: not pool.places(), "its place is gone")
    process.signal(signal.SIGUSR1)
    assert process.result() == ""


def test_sigterm_by_default_with_raise_on_signal_ends_nothing(script, pool, held, wait_until, at_once):
    process = script("""
        say(attempt(zkcoord.lock, root, identifier="waiter", raise_on_signal=True, **at))
        say(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, *zkcoord.lock_holders(root, **at))
    """)
    wait_until(pool.places, "it waits")
    process.signal(signal.SIGTERM)
    assert "SIGTERM" in process.line(10)
    assert process.line() == "True holder"
    process.result(10)
    at_once(lambda: not pool.places(), "its place is gone")


def test_a_handler_of_another_signal_that_raises_ends_the_wait(script, pool, held, wait_until, at_once):
    process = script("""
        def raise_it(number, frame):
            raise TimeoutError("enough")

        signal.signal(signal.SIGALRM, raise_it)
        before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
        say(attempt(zkcoord.lock, root, identifier="waiter", **at))
        say([signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before)
        wait_for_word()
    """)
    wait_until(pool.places, "it waits")
    process.signal(signal.SIGALRM)
    assert [process.line(10), process.line()] == ["TimeoutError: enough", "True"]
    at_once(lambda: not pool.places(), "its place is gone")
    process.signal(signal.SIGUSR1)
    process.result()


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGALRM"])
def test_a_signal_at_the_very_beginning_of_a_wait_leaves_no_place(script, pool, held, at_once, name):
    process = script(
        """
        def raise_it(number, frame):
            raise TimeoutError

        def interrupt(delay):
            calling.wait()
            time.sleep(delay)
            os.kill(os.getpid(), getattr(signal, name))

        zkcoord.lock_holders(root, **at)
        signal.signal(getattr(signal, name), raise_it)
        for milliseconds in range(5, 100, 5):
            calling = threading.Event()
            thread = threading.Thread(target=interrupt, args=(milliseconds / 1000,))
            thread.start()
            try:
                calling.set()
                zkcoord.lock(root, identifier="waiter", timeout=20, **at)
            except TimeoutError:
                thread.join()
            else:
                say("not interrupted after", milliseconds)
        say("done")
        wait_for_word()
        """,
        name=name,
    )
    assert process.line() == "done"
    at_once(lambda: not pool.places(), "its places are gone")
    process.signal(signal.SIGUSR1)
    process.result()


def test_an_early_signal_with_a_handler_that_returns_ends_the_wait_as_a_late_one_does(script, pool, held, at_once):
    process = script("""
        def interrupt(delay):
            calling.wait()
            time.sleep(delay)
            os.kill(os.getpid(), signal.SIGTERM)

        zkcoord.lock_holders(root, **at)
        signal.signal(signal.SIGTERM, lambda number, frame: None)
        for milliseconds in range(10, 100, 10):
            calling = threading.Event()
            thread = threading.Thread(target=interrupt, args=(milliseconds / 1000,))
            thread.start()
            calling.set()
            ended = attempt(zkcoord.lock, root, identifier="waiter", timeout=3, **at)
            thread.join()
            if "SIGTERM" not in str(ended):
                say("after", milliseconds, "ms:", ended)
        say("done")
        wait_for_word()
    """)
    assert process.line() == "done"
    at_once(lambda: not pool.places(), "its places are gone")
    process.signal(signal.SIGUSR1)
    process.result()


@pytest.mark.parametrize("name", ["SIGALRM", "SIGTERM"])
def test_a_signal_together_with_the_answer_costs_neither_the_slot_nor_the_handlers(script, pool, held, name):
    """Either the caller is told that it holds a slot, or it holds none; and the handlers are its own again."""
    process = script(
        """
        def raise_it(number, frame):
            raise TimeoutError

        def release():
            calling.wait()
            time.sleep(0.1)  # so that the wait is well under way
            os.kill(os.getpid(), getattr(signal, name))
            zkcoord.unlock(root, identifier="holder", **at)

        signal.signal(getattr(signal, name), raise_it)
        before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
        for turn in range(10):
            calling = threading.Event()
            releasing = threading.Thread(target=release)
            releasing.start()
            answer = None
            try:
                calling.set()
                answer = zkcoord.lock(root, identifier="waiter", timeout=20, **at)
                time.sleep(20)  # for the signal, if it is still to come
            except TimeoutError:
                releasing.join()
            if zkcoord.unlock(root, identifier="waiter", **at) is not (answer is True):
                say("answered", answer, "in turn", turn)
            if [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] != before:
                say("not handed back in turn", turn)
                break
            zkcoord.lock(root, identifier="holder", timeout=0, **at)
        """,
        name=name,
    )
    assert process.result(60) == ""
    assert pool.holders() == ["holder"]
    assert pool.places() == []


def test_what_is_ignored_stays_ignored(script, pool, held, wait_until):
    process = script("""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGALRM, lambda number, frame: say("alarm"))
        say(zkcoord.lock(root, identifier="waiter", **at))
        say(*(signal.getsignal(number) is signal.SIG_IGN for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)))
    """)
    wait_until(pool.places, "it waits")
    place = pool.places()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
        process.signal(number)
    assert process.line(10) == "alarm"
    assert pool.places() == place
    held()
    assert process.result() == "True\nTrue True True"


def test_ctrl_c_is_for_the_main_thread_and_no_other(script, pool, held, wait_until):
    process = script("""
        thread = threading.Thread(target=lambda: say(zkcoord.lock(root, identifier="thread", **at)))
        thread.start()
        wait_for_word()
        say(attempt(zkcoord.lock, root, identifier="main", **at))
        thread.join()
    """)
    wait_until(lambda: pool.waiters() == ["thread"], "the thread waits")
    process.signal(signal.SIGUSR1)
    wait_until(lambda: pool.waiters() == ["thread", "main"], "the main thread waits")
    process.signal(signal.SIGINT)
    assert process.line(10) == "KeyboardInterrupt: "
    wait_until(lambda: pool.waiters() == ["thread"], "only the thread waits")
    held()
    assert process.result() == "True"


def test_a_killed_waiter_goes_with_its_session_and_the_next_has_its_turn(script, pool, held, wait_until):
    wait = "say(zkcoord.lock(root, identifier=name, **at))"
    first = script(wait, session_timeout=1, name="first")
    wait_until(lambda: pool.waiters() == ["first"], "the first waits")
    second = script(wait, name="second")
    wait_until(lambda: pool.waiters() == ["first", "second"], "the second waits")
    first.signal(signal.SIGKILL)
    first.wait()
    held()
    assert second.result() == "True"
    assert pool.holders() == ["second"]


def test_a_waiter_stopped_beyond_its_session_queues_again_and_has_its_turn(script, pool, zk, held, wait_until):
    process = script("say(zkcoord.lock(root, identifier='waiter', **at))", session_timeout=1)
    wait_until(lambda: pool.waiters() == ["waiter"], "it waits")
    place = pool.places()
    process.signal(signal.SIGSTOP)
    wait_until(lambda: not pool.places(), "its session has expired")
    rival = zk.create(f"{pool.queue}/{uuid.uuid4().hex}__lock__", b"rival", ephemeral=True, sequence=True)
    process.signal(signal.SIGCONT)
    wait_until(lambda: pool.waiters() == ["rival", "waiter"], "it waits again, behind the rival")
    assert pool.places()[1] != place[0]
    held()
    zk.delete(rival)
    assert process.result() == "True"
    assert pool.holders() == ["waiter"]


def test_a_process_stopped_beyond_its_session_does_not_believe_that_it_holds_an_ephemeral_lease(
    script, pool, root, hosts, wait_until
):
    process = script(
        """
        say(zkcoord.lock(root, identifier="stopped", ephemeral_lease=True, **at))
        wait_for_word()
        say(zkcoord.lock(root, identifier="stopped", ephemeral_lease=True, timeout=0, **at))
        say(zkcoord.unlock(root, identifier="stopped", ephemeral_lease=True, **at))
        """,
        session_timeout=1,
    )
    assert process.line() == "True"
    process.signal(signal.SIGSTOP)
    assert zkcoord.lock(root, hosts, "next", timeout=20)
    process.signal(signal.SIGUSR1)
    process.signal(signal.SIGCONT)
    assert process.result() == "False\nFalse"
    assert pool.holders() == ["next"]


def test_the_slot_of_a_killed_holder_is_free_after_its_session(script, root, hosts, wait_until):
    process = script(
        "say(zkcoord.lock(root, identifier='killed', ephemeral_lease=True, **at)); wait_for_word()",
        session_timeout=1,
    )
    assert process.line() == "True"
    process.signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert zkcoord.lock(root, hosts, "next", timeout=20)


def test_the_persistent_lease_of_a_killed_holder_stays_until_somebody_gives_it_back(
    script, root, hosts, sessions, wait_until
):
    process = script("say(zkcoord.lock(root, identifier='killed', **at)); wait_for_word()", session_timeout=1)
    assert process.line() == "True"
    process.signal(signal.SIGKILL)
    process.wait()
    wait_until(lambda: not sessions(), "its session has expired")
    assert zkcoord.lock(root, hosts, "next", timeout=0) is False
    assert zkcoord.unlock(root, hosts, "killed")
    assert zkcoord.lock(root, hosts, "next", timeout=0)


@pytest.mark.parametrize("raises", [True, False])
def test_a_signal_at_the_end_of_a_block_does_what_the_hold_was_taken_with(
    script, proxies, hosts, root, wait_until, raises
):
    process = script(
        """
        signal.signal(signal.SIGTERM, lambda *_: say("handled"))

        def work():
            with zkcoord.hold(root, through, "a", raise_on_signal=raises):
                say("holds")
                wait_for_word()
                say("ends")

        say(attempt(work))
        wait_for_word()
        """,
        through=proxies.hosts,
        raises=raises,
    )
    assert process.line() == "holds"
    for proxy in proxies:
        proxy.stall()
    process.signal(signal.SIGUSR1)
    assert process.line() == "ends"
    time.sleep(0.3)  # it waits for the answer to its release, which nobody sees
    process.signal(signal.SIGTERM)
    if not raises:
        assert process.line() == "handled"
    assert process.line().startswith("Cancelled: cancelled by SIGTERM")
    for proxy in proxies:
        proxy.heal()
    wait_until(lambda: zkcoord.lock_holders(root, hosts) == [], "the lease is removed")
    process.signal(signal.SIGUSR1)
    process.result()
