"""Holds and the processes that take them: killed, forked, nested one in the other."""

import os
import signal

import pytest
import zkcoord

KEPT = {"ephemeral_lease": False}


def marks(pool):
    """The znodes that tell which processes of kept leases live."""
    return [name for name in pool._children(pool.queue) if name not in pool.places()]


def test_a_killed_process_leaves_a_kept_lease_and_no_sign_of_life(script, pool, root, hosts, sessions, wait_until):
    process = script(
        "held = zkcoord.hold(root, identifier='a', ephemeral_lease=False, **at); say(held.lease); wait_for_word()",
        session_timeout=1,
    )
    left = process.line()
    assert pool.leases() == marks(pool) == [left]
    process.signal(signal.SIGKILL)
    process.wait()
    wait_until(lambda: not sessions(), "its session has expired")
    assert pool.leases() == [left]
    assert marks(pool) == []
    with pytest.raises(zkcoord.errors.TimedOut, match="held by 'a'"):
        zkcoord.hold(root, hosts, identifier="b", timeout=0)


@pytest.mark.parametrize("limit", [1, 2])
def test_the_next_of_its_kind_takes_its_place_and_frees_the_slot(
    script, pool, root, hosts, sessions, wait_until, limit
):
    process = script(
        """
        for _ in range(2):
            say(zkcoord.hold(root, identifier='a', max_concurrency=limit, ephemeral_lease=False, **at).lease)
        wait_for_word()
        """,
        session_timeout=1,
        limit=limit,
    )
    left = [process.line(), process.line()]
    process.signal(signal.SIGKILL)
    process.wait()
    wait_until(lambda: not sessions(), "its session has expired")
    assert sorted(pool.leases()) == sorted(left)
    with zkcoord.hold(root, hosts, identifier="a", max_concurrency=limit, timeout=5, **KEPT) as held:
        assert pool.leases() == [held.lease]
        assert held.lease not in left
    assert pool.leases() == []
    assert zkcoord.lock(root, hosts, "b", limit, timeout=0)


def test_an_ephemeral_hold_leaves_what_a_killed_process_has_kept(script, pool, root, hosts, sessions, wait_until):
    process = script(
        "say(zkcoord.hold(root, identifier='a', ephemeral_lease=False, **at).lease); wait_for_word()",
        session_timeout=1,
    )
    left = process.line()
    process.signal(signal.SIGKILL)
    process.wait()
    wait_until(lambda: not sessions(), "its session has expired")
    with zkcoord.hold(root, hosts, identifier="a", timeout=5):
        assert len(pool.leases()) == 2
    assert pool.leases() == [left]
    assert zkcoord.unlock(root, hosts, "a") is True
    assert pool.leases() == []


def test_the_hold_of_a_process_that_lives_is_not_replaced(script, pool, root, hosts):
    process = script("""
        with zkcoord.hold(root, identifier="a", ephemeral_lease=False, **at) as held:
            say(held.lease)
            wait_for_word()
            held.check()
        say("given back")
        wait_for_word()
    """)
    first = process.line()
    with zkcoord.hold(root, hosts, identifier="a", timeout=5, **KEPT) as second:
        assert sorted(pool.leases()) == sorted([first, second.lease])
    assert pool.leases() == [first]
    process.signal(signal.SIGUSR1)
    assert process.line() == "given back"
    assert pool.leases() == marks(pool) == []
    process.signal(signal.SIGUSR1)
    process.result()


def test_a_process_that_does_nothing_else_for_long_still_lives(script, pool, root, hosts, sessions):
    """A session that nobody uses ends after a while, but not one that shows who lives."""
    process = script("""
        held = zkcoord.hold(root, identifier="a", ephemeral_lease=False, idle_timeout=0.3, **at)
        say(held.lease)
        time.sleep(2)
        say("idle")
        wait_for_word()
        held.check()
        say(held.release())
        time.sleep(2)
        say("idle again")
        wait_for_word()
    """)
    first = process.line()
    assert process.line() == "idle"
    with zkcoord.hold(root, hosts, identifier="a", timeout=5, **KEPT):
        assert first in pool.leases()
    zkcoord.close()
    process.signal(signal.SIGUSR1)
    assert process.line() == "True"
    assert process.line() == "idle again"
    assert not sessions(), "nobody needs it any more"
    process.signal(signal.SIGUSR1)
    process.result()


@pytest.mark.parametrize("kept", [False, True], ids=["ephemeral", "kept"])
@pytest.mark.parametrize("first_out", ["outer", "inner"])
def test_of_two_processes_neither_frees_the_slot_under_the_other(
    script, pool, root, hosts, wait_until, first_out, kept
):
    hold = "held = zkcoord.hold(root, identifier='a', timeout=10, ephemeral_lease=not kept, **at); say('in');"
    both = [script(hold + "wait_for_word(); say(held.release()); wait_for_word()", kept=kept) for _ in range(2)]
    assert [process.line() for process in both] == ["in", "in"]
    waiter = script("say(zkcoord.lock(root, identifier='w', **at))")
    wait_until(lambda: pool.waiters() == ["w"], "w waits")
    for number in (0, 1) if first_out == "outer" else (1, 0):
        assert pool.waiters() == ["w"]
        assert set(pool.holders()) == {"a"}
        both[number].signal(signal.SIGUSR1)
        assert both[number].line() == "True"
    assert waiter.result() == "True"
    assert pool.holders() == ["w"]
    for process in both:
        process.signal(signal.SIGUSR1)
        process.result()


@pytest.mark.parametrize("outer_first", [True, False])
def test_the_inner_hold_may_be_in_a_forked_child(script, pool, root, wait_until, outer_first):
    parent = script("""
        outer = zkcoord.hold(root, identifier="a", **at)
        if (child := os.fork()) == 0:
            try:
                with zkcoord.hold(root, identifier="a", timeout=10, **at):
                    say("in", os.getpid())
                    wait_for_word()
                zkcoord.close()
                say("out")
                os._exit(0)
            finally:
                os._exit(1)
        wait_for_word()
        say(outer.release())
        say(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        wait_for_word()
    """)
    child = int(parent.line().split()[1])
    waiter = script("say(zkcoord.lock(root, identifier='w', **at))")
    wait_until(lambda: pool.waiters() == ["w"], "w waits")
    assert pool.holders() == ["a", "a"]
    for turn, is_outer in enumerate((outer_first, not outer_first)):
        os.kill(parent.pid if is_outer else child, signal.SIGUSR1)
        assert parent.line() == ("True" if is_outer else "out")
        if turn == 0:
            assert (pool.holders(), pool.waiters()) == (["a"], ["w"])
    assert waiter.result() == "True"
    assert parent.line() == "0"
    parent.signal(signal.SIGUSR1)
    parent.result()


def test_the_end_of_the_block_in_a_forked_child_leaves_its_parents_hold(script, pool, sessions):
    parent = script("""
        with zkcoord.hold(root, identifier="a", **at) as held:
            lost = held.lost
            child = os.fork()
            if child:
                say(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), lost.is_set())
                held.check()
                wait_for_word()
            else:
                say(attempt(held.release))
        if not child:
            sys.exit(7)
        say("parent")
        wait_for_word()
    """)
    assert parent.line().startswith("ArgumentError: hold: belongs to the process that this one was forked off")
    assert parent.line() == "7 False"
    assert pool.holders() == ["a"]
    assert len(sessions()) == 1
    parent.signal(signal.SIGUSR1)
    assert parent.line() == "parent"
    assert pool.holders() == []
    parent.signal(signal.SIGUSR1)
    parent.result()


def test_a_failing_block_in_a_forked_child_leaves_it_too(script, pool):
    parent = script("""
        def work():
            with zkcoord.hold(root, identifier="a", **at):
                child = os.fork()
                if child:
                    say(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
                    wait_for_word()
                else:
                    raise SystemExit(7)

        work()
    """)
    assert parent.line() == "7"
    assert pool.holders() == ["a"]
    parent.signal(signal.SIGUSR1)
    parent.result()
    assert pool.holders() == []


@pytest.mark.parametrize("how", ["pass", "sys.exit(3)", "os.kill(os.getpid(), signal.SIGTERM)"])
def test_a_hold_ends_with_its_process_at_once(script, pool, at_once, sessions, how):
    process = script(
        """
        held = zkcoord.hold(root, identifier="a", **at)
        say("in")
        wait_for_word()
        if how.startswith("os.kill"):
            signal.signal(signal.SIGTERM, lambda *_: sys.exit())
        exec(how)
        """,
        how=how,
    )
    assert process.line() == "in"
    process.signal(signal.SIGUSR1)
    process.wait()
    at_once(lambda: not pool.leases(), "its lease is gone")
    at_once(lambda: not sessions(), "its session is gone")


def test_what_waits_for_a_loss_keeps_no_process_from_its_end(script, pool, at_once):
    process = script("""
        held = zkcoord.hold(root, identifier="a", on_lost=lambda: say("lost"), **at)
        zkcoord.lock(root + "-2", identifier="a", ephemeral_lease=True, on_lost=lambda: say("lost"), **at)
        held.lost
    """)
    assert process.result(10) == "", "the end of a process is no loss to it"
    at_once(lambda: not pool.leases(), "its lease is gone")
