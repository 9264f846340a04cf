"""Programs on gevent, with everything patched: one greenlet's wait stops no other, and leaves nothing behind."""

import os
import signal
import sys
import textwrap

import pytest

from tests.support.calls import children, queue

PRELUDE = """
from gevent import monkey; monkey.patch_all()
import gevent, os, signal, sys, threading, time
import zkcoord
from zkcoord import errors, znode
"""


@pytest.fixture
def program(script, hosts, root):
    """A program in a child process: patched before all else, as gevent asks for."""

    def program(code, **names):
        names = {"hosts": hosts, "root": root, **names}
        source = PRELUDE + "\n".join(f"{name} = {value!r}" for name, value in names.items()) + textwrap.dedent(code)
        # The support's own process imports zkcoord first; a program on gevent begins with its patches.
        return script(f"os.execv({sys.executable!r}, [{sys.executable!r}, '-u', '-c', {source!r}])")

    return program


def test_the_greenlet_that_holds_has_its_turn_while_another_waits(program):
    process = program("""
    def hold():
        assert zkcoord.lock(root, hosts, identifier="a", timeout=5)
        gevent.sleep(0.5)
        print("unlock", zkcoord.unlock(root, hosts, identifier="a"))

    def wait():
        gevent.sleep(0.2)
        print("lock", zkcoord.lock(root, hosts, identifier="b", timeout=10))

    gevent.joinall([gevent.spawn(hold), gevent.spawn(wait)], raise_error=True)
    print(zkcoord.lock_holders(root, hosts))
    """)
    # Which of the two comes first is the hub's affair: the slot is free before `unlock` has answered.
    *answers, holders = process.result().split("\n")
    assert (sorted(answers), holders) == (["lock True", "unlock True"], "['b']")
    assert process.stderr == ""


def test_more_greenlets_wait_than_the_hubs_pool_has_threads(program):
    process = program("""
    assert zkcoord.lock(root, hosts, identifier="h")
    names = [f"w{number}" for number in range(25)]

    def work(name):
        with zkcoord.hold(root, hosts, identifier=name, timeout=60):
            pass
        return name

    waiters = [gevent.spawn(work, name) for name in names]
    while len(zkcoord.status(root, hosts)["waiters"]) < len(names):
        gevent.sleep(0.05)
    assert zkcoord.unlock(root, hosts, identifier="h")
    gevent.joinall(waiters, raise_error=True)
    print(sorted(waiter.value for waiter in waiters) == sorted(names), len(threading._active) < 5)
    """)
    assert process.result(90) == "True True"


@pytest.mark.parametrize("where", ["main", "greenlet"])
def test_ctrl_c_ends_a_wait(program, root, zk, wait_until, where):
    zk.create(f"{root}/somebody", makepath=True)
    process = program(
        """
        print("begun", flush=True)
        try:
            if where == "main":
                zkcoord.lock(root, hosts, identifier="w")
            else:
                gevent.spawn(zkcoord.lock, root, hosts, identifier="w").join()
        except KeyboardInterrupt:
            print("interrupted", [it["identifier"] for it in zkcoord.status(root, hosts)["waiters"]], flush=True)
            raise SystemExit(3)
        """,
        where=where,
    )
    assert process.line() == "begun"
    wait_until(lambda: queue(zk, root) == ["w"], "it waits")
    process.signal(signal.SIGINT)
    left = [] if where == "main" else ["w"]
    assert process.line(5) == f"interrupted {left}"
    assert process.wait(10) == 3
    assert children(zk, f"{root}-__lock__") == []


@pytest.mark.parametrize("end", ["kill", "timeout", "cancel"])
def test_the_end_of_a_greenlet_is_that_of_its_wait(program, root, zk, end):
    zk.create(f"{root}/somebody", makepath=True)
    process = program(
        """
        shared = zkcoord.Cancel()
        other = gevent.spawn(zkcoord.lock, root, hosts, identifier="other", cancel=shared)
        def wait():
            if end == "timeout":
                with gevent.Timeout(0.5, False):
                    zkcoord.lock(root, hosts, identifier="w")
            else:
                zkcoord.lock(root, hosts, identifier="w", cancel=shared)
        waiter = gevent.spawn(wait)
        def waiters():
            return sorted(it["identifier"] for it in zkcoord.status(root, hosts)["waiters"])
        while waiters() != ["other", "w"]:
            gevent.sleep(0.02)
        if end == "kill":
            waiter.kill()
        elif end == "cancel":
            shared.cancel()
        try:
            waiter.get()
        except errors.Cancelled as err:
            print("cancelled", end=" ")
        print(waiters(), shared.cancelled)
        shared.cancel()
        other.join()
        print(type(other.exception).__name__, waiters())
        """,
        end=end,
    )
    expected = {"kill": "['other'] False", "timeout": "['other'] False", "cancel": "cancelled [] True"}
    first, second = process.result().split("\n")
    assert first == expected[end]
    assert second == "Cancelled []"


def test_a_slot_that_comes_for_a_greenlet_that_is_gone_is_given_back(program, root, zk):
    process = program("""
    for number in range(30):
        waiter = gevent.spawn(zkcoord.lock, root, hosts, identifier=f"w{number}", timeout=5)
        gevent.sleep(number / 3000)
        waiter.kill()
        came_first = waiter.value is True
        assert zkcoord.lock_holders(root, hosts) == [f"w{number}"] * came_first, number
        assert zkcoord.unlock(root, hosts, identifier=f"w{number}") is came_first
    print("none")
    """)
    assert process.result(60) == "none"
    assert children(zk, root) == []


@pytest.mark.parametrize("how", ["locker", "name"])
def test_a_timed_lease_that_comes_for_a_greenlet_that_is_gone_is_given_back(program, how):
    process = program(
        """
        from zkcoord import lease
        path = root.lower() + "/lease"
        for number in range(30):
            owner = f"w{number}"
            locker = lease.LeaseLocker(path, owner, hosts, lease_duration=600)
            take = locker.lock if how == "locker" else lambda: lease.take(path, owner, hosts, lease_duration=600)
            waiter = gevent.spawn(take)
            gevent.sleep(number / 3000)
            waiter.kill()
            came_first = bool(waiter.value) and not isinstance(waiter.value, gevent.GreenletExit)
            holder = lease.status(path, hosts)["holder"]
            assert (holder is not None) is came_first, (number, holder)
            assert (lease.give_back(path, owner, hosts) == owner) is came_first, number
        print("none")
        """,
        how=how,
    )
    assert process.result(60) == "none"


def test_two_greenlets_lock_one_object_without_patches(script):
    process = script(
        """
        import gevent
        from zkcoord.lease import LeaseLocker
        gevent.get_hub()
        locker = LeaseLocker(root.lower() + "/lease", "a", hosts, lease_duration=600)
        waiting = [gevent.spawn(locker.lock, 20) for _ in range(3)]
        gevent.joinall(waiting)
        print([it.value for it in waiting], locker.unlock(), flush=True)
        """
    )
    assert process.result(60) == "[True, True, True] True"


def test_callbacks_run_among_the_greenlets(program, root):
    process = program("""
    main = threading.get_ident()
    seen = []
    zkcoord.lock(root, hosts, identifier="h")

    def tell(position):
        gevent.sleep(0)  # only a greenlet can
        seen.append((position, zkcoord.lock_holders(root, hosts)))

    waiter = gevent.spawn(zkcoord.lock, root, hosts, identifier="w", on_position=tell, timeout=20)
    while not seen:
        gevent.sleep(0.05)
    zkcoord.unlock(root, hosts, identifier="h")
    print(waiter.get(), seen)

    def refuse(position):
        raise ValueError("enough")

    refused = gevent.spawn(zkcoord.lock, root, hosts, identifier="x", on_position=refuse)
    refused.join()
    print(repr(refused.exception), zkcoord.status(root, hosts)["waiters"])
    zkcoord.unlock(root, hosts, identifier="w")

    lost = gevent.event.Event()
    hold = zkcoord.hold(root, hosts, identifier="y", on_lost=lost.set)
    znode.delete(f"{root}/{hold.lease}", hosts)
    print(lost.wait(10), hold.lost.is_set())
    try:
        hold.check()
    except errors.SlotLost:
        print("lost")
    """)
    lines = process.result().split("\n")
    assert lines == ["True [(1, ['h'])]", "ValueError('enough') []", "True True", "lost"]


def test_party_members_are_waited_for_while_others_run(program, root, zk):
    process = program("""
    from kazoo.client import KazooClient
    from kazoo.handlers.gevent import SequentialGeventHandler

    waiting = gevent.spawn(zkcoord.party_members, root, hosts, min_nodes=1, blocking=True, timeout=20)
    gevent.sleep(0.3)
    kazoo = KazooClient(hosts, handler=SequentialGeventHandler())
    kazoo.start()
    kazoo.Party(root, "me").join()
    print(waiting.get())
    kazoo.stop()
    """)
    assert process.result() == "['me']"


def test_a_child_that_gevent_forks_calls_and_leaves_its_parents_calls_alone(program, root, zk):
    zk.create(root, b"1")
    process = program("""
    zkcoord.lock(root, hosts, identifier="h", ephemeral_lease=True)
    waiter = gevent.spawn(zkcoord.lock, root, hosts, identifier="w", timeout=30)
    gevent.sleep(0.5)
    child = gevent.os.fork()
    if not child:
        print("child", zkcoord.lock_holders(root, hosts), waiter.ready(), flush=True)
        sys.exit(0)
    gevent.os.waitpid(child, 0)
    print("parent", [it["identifier"] for it in zkcoord.status(root, hosts)["waiters"]], flush=True)
    zkcoord.unlock(root, hosts, identifier="h", ephemeral_lease=True)
    print(waiter.get())
    """)
    assert process.result().split("\n") == ["child ['h'] False", "parent ['w']", "True"]
    assert process.stderr == ""


@pytest.mark.parametrize("end", ["pass", "sys.exit(0)", "threading.Thread(target=wait).start()"])
def test_the_end_of_the_program_ends_waits_and_sessions(program, root, zk, ensemble, wait_until, end):
    zk.create(f"{root}/somebody", makepath=True)
    process = program(f"""
    def wait():
        try:
            zkcoord.lock(root, hosts, identifier="w")
        except errors.Cancelled:
            pass
    waiter = gevent.spawn(wait)
    while not zkcoord.status(root, hosts)["waiters"]:
        gevent.sleep(0.02)
    {end}
    """)
    assert process.wait(15) == 0
    assert "Traceback" not in process.stderr
    wait_until(lambda: children(zk, f"{root}-__lock__") == [], "nothing is left", 2)


def test_without_patches_a_thread_that_runs_a_hub_waits_with_its_greenlet(program, root, zk):
    source = """
    import gevent, zkcoord
    zkcoord.lock(root, hosts, identifier="h")
    gevent.sleep(0)  # there is a hub now
    waiter = gevent.spawn(zkcoord.lock, root, hosts, identifier="w", timeout=10)
    gevent.sleep(0.3)
    zkcoord.unlock(root, hosts, identifier="h")
    print(waiter.get(), zkcoord.lock_holders(root, hosts))
    """
    process = program(source.replace("import gevent, zkcoord", "assert gevent"))
    assert process.result() == "True ['w']"


def test_errors_are_those_of_the_call(program):
    process = program("""
    for wrong in ({"path": 7}, {"path": root, "cancel": 7}, {"path": root, "on_position": 7}):
        try:
            zkcoord.lock(zk_hosts=hosts, **wrong)
        except errors.ArgumentError as err:
            print(err)
    """)
    assert len(process.result().split("\n")) == 3


def test_it_is_no_dependency():
    from importlib.metadata import requires

    assert not [each for each in requires("zkcoord") or [] if "gevent" in each]
    assert os.environ.get("GEVENT") is None
