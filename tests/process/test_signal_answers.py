"""What a call has come to when a signal ends it: the answer that had come, the doubt that is left, no slot."""

import signal
import textwrap

import pytest
import zkcoord
from zkcoord.testing import Op

# The servers are slow, or silent, by way of a proxy in the test's process; the call is in another.
SLOW = """
def hit(number, delay):
    threading.Timer(delay, os.kill, (os.getpid(), number)).start()

def caught(function, *arguments, **keywords):
    try:
        return "answered", function(*arguments, **keywords)
    except zkcoord.errors.Cancelled as error:
        return "cancelled", error.answer, type(error.__cause__).__name__
"""


@pytest.fixture
def slow(script):
    return lambda code, **names: script(SLOW + textwrap.dedent(code), **names)


def every(proxies, verb, *arguments):
    for proxy in proxies:
        getattr(proxy, verb)(*arguments)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_answer_that_came_with_the_signal_is_told(script, pool, name):
    """At random instants; what is told has the type of the answer."""
    process = script(
        """
        import random
        import zkcoord.znode

        at["raise_on_signal"] = True
        zkcoord.lock(root, identifier="a", **at)
        calls = {
            "lock": (lambda: zkcoord.lock(root, identifier="a", **at), True),
            "full": (lambda: zkcoord.lock(root, identifier="b", timeout=0, **at), False),
            "unlock": (lambda: zkcoord.unlock(root, identifier="nobody", **at), False),
            "lock_holders": (lambda: zkcoord.lock_holders(root, **at), ["a"]),
            "get": (lambda: zkcoord.znode.get(root, **at), b"1"),
            "exists": (lambda: zkcoord.znode.exists(root, **at), True),
            "set_max": (lambda: zkcoord.set_max(root, 1, **at)["new"], 1),
        }
        draw, number = random.Random(name), getattr(signal, name)
        signal.signal(number, lambda *_: None)
        for what, (call, right) in calls.items():
            answers = 0
            for turn in range(2000):
                signal.setitimer(signal.ITIMER_REAL, 0)
                came = threading.Event()
                delay = draw.random() * 0.003

                def interrupt():
                    came.wait()
                    end = time.perf_counter() + delay
                    while time.perf_counter() < end:
                        pass
                    os.kill(os.getpid(), number)

                thread = threading.Thread(target=interrupt)
                thread.start()
                try:
                    came.set()
                    call()
                except zkcoord.errors.Cancelled as error:
                    answer = error.answer
                    if answer is not None:
                        answers += 1
                        answer = answer["new"] if what == "set_max" else answer
                        if answer != right or type(answer) is not type(right):
                            say(what, "in turn", turn, "told", answer, "for", right)
                        if "when the answer had come already" not in str(error):
                            say(what, "in turn", turn, "said", error)
                thread.join()
                if answers == 3:
                    break
            if not answers:
                say(what, "never came with its answer")
        say("done")
        """,
        name=name,
    )
    assert process.result(150) == "done"


@pytest.mark.parametrize("function", ["lock", "hold"])
def test_a_slot_that_was_taken_with_the_signal_is_given_back_or_in_doubt(slow, pool, proxies, function):
    """The reply to the transaction is a while in coming; the signal is there first."""
    process = slow(
        """
        at["zk_hosts"] = through
        zkcoord.lock_holders(root, **at)
        say("connected")
        wait_for_word()
        hit(signal.SIGTERM, 0.3)
        say(*caught(getattr(zkcoord, function), root, identifier="a", raise_on_signal=True, **at))
        wait_for_word()
        """,
        through=proxies.hosts,
        function=function,
    )
    assert process.line() == "connected"
    every(proxies, "delay", 0.2)
    process.signal(signal.SIGUSR1)
    assert process.line().startswith("cancelled None")
    every(proxies, "delay", 0)
    assert pool.places() == []
    for _ in range(200):
        if not pool.leases():
            break
        signal.sigtimedwait([], 0.05)
    assert pool.leases() == [], "nobody holds it"
    process.signal(signal.SIGUSR1)
    process.result()


def test_a_doubt_is_the_cause(slow, pool, proxies, wait_until):
    """The transaction is done, its reply lost, nobody answers any more, and then there is a signal."""
    process = slow(
        """
        at["zk_hosts"] = through
        zkcoord.lock_holders(root, **at)
        say("connected")
        wait_for_word()
        say(*caught(zkcoord.hold, root, identifier="a", raise_on_signal=True, **at))
        wait_for_word()
        """,
        through=proxies.hosts,
    )
    assert process.line() == "connected"
    every(proxies, "drop_reply", Op.MULTI)
    every(proxies, "drop_reply", Op.CREATE_SESSION, 1000)
    process.signal(signal.SIGUSR1)
    wait_until(lambda: any(proxy.dropped[Op.MULTI] for proxy in proxies), "the reply is lost")
    process.signal(signal.SIGTERM)
    assert process.line() == "cancelled None ConnectionLost"
    assert pool.holders() == ["a"]
    every(proxies, "heal")
    wait_until(lambda: not pool.leases(), "it is given back")
    process.signal(signal.SIGUSR1)
    process.result()


@pytest.mark.parametrize("raises", [True, False])
def test_a_signal_while_the_holders_are_looked_up_is_not_lost(slow, pool, proxies, root, hosts, raises):
    """No slot in time; the error is to name who has them."""
    assert zkcoord.lock(root, hosts, "holder")
    process = slow(
        """
        at["zk_hosts"] = through
        zkcoord.lock_holders(root, **at)
        say("connected")
        wait_for_word()
        signal.signal(signal.SIGTERM, lambda *_: say("handler"))
        look = zkcoord._core.obstacles

        def slow(*arguments):
            hit(signal.SIGTERM, 0.1)
            return look(*arguments)

        zkcoord._core.obstacles = slow
        try:
            zkcoord.hold(root, identifier="a", timeout=0, raise_on_signal=raises, **at)
        except zkcoord.errors.Error as error:
            say(type(error).__name__, getattr(error, "answer", None), type(error.__cause__).__name__)
        """,
        through=proxies.hosts,
        raises=raises,
    )
    assert process.line() == "connected"
    every(proxies, "delay", 0.1)
    process.signal(signal.SIGUSR1)
    said = process.result().split("\n")
    every(proxies, "delay", 0)
    if raises:
        assert said == ["Cancelled None TimedOut"]
    else:
        assert "handler" in said


def test_a_signal_at_the_end_of_a_block_that_fails_runs_its_handler(slow, pool, proxies, wait_until):
    process = slow(
        """
        at["zk_hosts"] = through
        signal.signal(signal.SIGTERM, lambda *_: say("handler"))
        try:
            with zkcoord.hold(root, identifier="a", **at):
                say("in")
                wait_for_word()
                hit(signal.SIGTERM, 0.1)
                raise LookupError("nginx does not start")
        except LookupError as error:
            say(error)
        wait_for_word()
        """,
        through=proxies.hosts,
    )
    assert process.line() == "in"
    every(proxies, "delay", 0.2)
    process.signal(signal.SIGUSR1)
    assert [process.line(), process.line()] == ["handler", "nginx does not start"]
    every(proxies, "delay", 0)
    wait_until(lambda: not pool.leases(), "it is given back")
    process.signal(signal.SIGUSR1)
    process.result()


def test_a_signal_at_the_end_of_a_block_is_told(slow, pool, proxies, wait_until):
    process = slow(
        """
        def work():
            with zkcoord.hold(root, identifier="a", raise_on_signal=True, **at):
                say("in")
                wait_for_word()
                hit(signal.SIGTERM, 0.1)

        at["zk_hosts"] = through
        say(*caught(work))
        wait_for_word()
        """,
        through=proxies.hosts,
    )
    assert process.line() == "in"
    every(proxies, "delay", 0.2)
    process.signal(signal.SIGUSR1)
    assert process.line().startswith("cancelled")
    every(proxies, "delay", 0)
    wait_until(lambda: not pool.leases(), "it is given back")
    process.signal(signal.SIGUSR1)
    process.result()
