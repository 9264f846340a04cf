"""A session lives on while nobody calls, and while those who wait are kept from it; for next to nothing."""

import signal
import uuid

import pytest

from tests.support.calls import together, wait_until

SHORT = 1.0
# Servers look for sessions that have ended every half a second or so.
LONG_ENOUGH = 3 * SHORT

KEPT = {
    "nobody calls": "time.sleep(long_enough)",
    "a call was cut short": "zkcoord.lock(root + '-taken', identifier='b', timeout=0.2, **at); time.sleep(long_enough)",
    "calls come now and then": "for _ in range(4): time.sleep(long_enough / 4); zkcoord.lock_holders(root, **at)",
    "Python keeps all threads out": "__import__('ctypes').PyDLL(None).usleep(int(long_enough * 1e6))",
    "a listener keeps the main thread": """zkcoord.lock(
        root + '-taken', identifier='b', timeout=1, on_position=lambda position: time.sleep(long_enough), **at)""",
    "a handler keeps the main thread": """
signal.signal(signal.SIGALRM, lambda number, frame: time.sleep(long_enough))
signal.setitimer(signal.ITIMER_REAL, 0.3)
zkcoord.lock(root + '-taken', identifier='b', timeout=1, **at)""",
    "the thread that waited is gone": """
waiter = threading.Thread(target=zkcoord.lock, args=(root + '-taken',), kwargs={**at, 'timeout': 0.3})
waiter.start(); waiter.join(); time.sleep(long_enough)""",
    "another waits": """
threading.Thread(target=zkcoord.lock, args=(root + '-taken',), kwargs={**at, 'timeout': long_enough}).start()
time.sleep(long_enough)""",
}


@pytest.fixture(scope="module")
def lives(ensemble, observer, start_script):
    """All of them at once: of each the lease before and after, and how the process ended."""

    def live(name):
        root = f"/lives-{name.replace(' ', '-')}-{uuid.uuid4().hex[:8]}"
        holder = start_script(
            """
            zkcoord.lock(root + '-taken', identifier='a', **at)
            zkcoord.lock(root, identifier='e', ephemeral_lease=True, **at)
            say("locked")
            wait_for_word()
            exec(kept)
            say("kept")
            wait_for_word()
            """,
            root=root,
            session_timeout=SHORT,
            kept=KEPT[name],
            long_enough=LONG_ENOUGH,
        )

        def leases():
            return [(it, observer.exists(f"{root}/{it}").ephemeralOwner) for it in observer.get_children(root)]

        try:
            assert holder.line() == "locked"
            before = leases()
            assert len(before) == 1
            holder.signal(signal.SIGUSR1)
            assert holder.line(60) == "kept"
            after = leases()
            holder.signal(signal.SIGUSR1)
            return before, after, holder.wait()
        finally:
            holder.end()

    wait_until(lambda: observer.connected, "kazoo is connected")
    return together(live, KEPT)


@pytest.mark.parametrize("kept", KEPT, ids=[name.replace(" ", "-") for name in KEPT])
def test_a_session_lives_on_while(lives, kept):
    before, after, code = lives[kept].result()
    assert after == before
    assert code == 0


def test_a_process_that_does_nothing_is_left_in_peace(script):
    code = """
        def wakeups():
            found = 0
            for thread in os.listdir('/proc/self/task'):
                for line in open(f'/proc/self/task/{thread}/status'):
                    if line.startswith('voluntary_ctxt_switches'):
                        found += int(line.split()[1])
            return found

        zkcoord.lock(root, identifier='a', **at)
        time.sleep(2)
        before = wakeups()
        time.sleep(4)
        say(wakeups() - before)
    """
    # A heartbeat or two, and this thread's own sleep. Looking in ten times a second would be forty.
    assert int(script(code).result()) < 20


@pytest.mark.parametrize("kibibytes", [128, 1024])
def test_a_thread_with_a_small_stack_can_call(script, kibibytes):
    code = """
        threading.stack_size(kibibytes * 1024)
        answers = []

        def work():
            answers.append(zkcoord.lock(root, identifier='a', **at))
            answers.append(zkcoord.status(root, **at)["free"])
            answers.append(zkcoord.unlock(root, identifier='a', **at))

        for _ in range(2):
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
            zkcoord.close()
        say(answers)
    """
    assert script(code, kibibytes=kibibytes).result() == str([True, 0, True] * 2)


def test_a_thread_with_a_small_stack_can_call_over_tls(script, secure, tls):
    code = """
        at = {"zk_hosts": secure, **tls}
        threading.stack_size(128 * 1024)
        answers = []
        thread = threading.Thread(target=lambda: answers.append(zkcoord.lock(root, identifier='a', **at)))
        thread.start()
        thread.join()
        say(answers)
    """
    assert script(code, secure=secure.secure_hosts, tls=tls).result() == "[True]"
