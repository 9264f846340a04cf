"""The interface of charmhelpers' coordinator: hooks, locks that stay for the retry, policies of one's own."""

import datetime
import functools
import logging
import signal
import sys
from typing import ClassVar

import pytest
from zkcoord import coordinator, errors


@pytest.fixture
def unit(hosts, root):
    """Make a unit: `unit("a")`, of any class. Each has a class of its own, as there is one object of a class."""

    def unit(name, base=coordinator.Serial, **keywords):
        own = type(base.__name__, (base,), {"__qualname__": base.__qualname__})
        return own(unit=name, root=root, zk_hosts=hosts, **keywords)

    return unit


def test_a_lock_is_given_back_at_the_end_of_a_hook_that_succeeded(unit, held_by):
    a, b = unit("a"), unit("b")
    with a.hook():
        assert a.acquire("restart") is True
        with b.hook():
            assert b.acquire("restart") is False
            assert b.requested("restart")
            assert not b.granted("restart")
        assert held_by(a) == (["a"], ["b"])
    assert held_by(a) == (["b"], [])
    with b.hook():
        assert b.granted("restart"), "granted since, and seen by the next hook"
    assert held_by(a) == ([], []), "used or not"


@pytest.fixture
def held_by():
    def held(one, lock="restart"):
        found = one.queue(lock)
        return [it["unit"] for it in found["holders"]], [it["unit"] for it in found["waiters"]]

    return held


def test_a_hook_that_fails_keeps_what_it_was_granted(unit, held_by, caplog):
    caplog.set_level(logging.INFO, "zkcoord.coordinator")
    a = unit("a")

    def run(error):
        with a.hook():
            assert a.acquire("restart")
            raise error

    with pytest.raises(ZeroDivisionError):
        run(ZeroDivisionError())
    assert held_by(a) == (["a"], [])
    assert "keeps restart for the retry" in caplog.text
    with pytest.raises(SystemExit):
        run(SystemExit(3))
    assert held_by(a) == (["a"], [])
    with pytest.raises(SystemExit):
        run(SystemExit(0))
    assert held_by(a) == ([], [])


def test_what_is_granted_while_a_hook_runs_is_the_next_hooks(unit, held_by):
    a, b = unit("a"), unit("b")
    with a.hook():
        a.acquire("restart")
    with b.hook():
        with a.hook():
            a.acquire("restart")
            b.acquire("restart")
        assert held_by(a) == (["b"], [])
        assert not b.granted("restart"), "this hook has not seen it"
    assert held_by(a) == (["b"], []), "and so does not give it back"


def test_a_lock_can_be_given_back_early(unit, held_by):
    a = unit("a")
    with a.hook():
        a.acquire("restart")
        assert a.release("restart") is True
        assert not a.granted("restart")
        assert held_by(a) == ([], [])
        assert a.release("restart") is False


def test_what_a_unit_is_told_of_its_request(unit):
    a = unit("a")
    with a.hook():
        assert a.request_timestamp("restart") is None
        assert not a.requested("restart")
        a.acquire("restart", reason="kernel", labels={"rack": "r1"}, expires=60)
        asked = a.request_timestamp("restart")
        assert asked.tzinfo is None
        now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
        assert abs((asked - now).total_seconds()) < 60
        text = asked.strftime("%Y-%m-%d %H:%M:%S.%fZ")
        assert a.requests == a.grants == {"a": {"restart": text}}
        holder = a.queue("restart")["holders"][0]
        assert (holder["reason"], holder["labels"], holder["expires"]) == ("kernel", {"rack": "r1"}, 60.0)


def test_it_may_be_used_before_it_is_initialized(unit):
    a = unit("a")
    assert a.granted("restart") is False
    assert a.requests == {}
    assert a.grants == {}


def test_a_lock_that_somebody_has_broken_does_not_hold_up_the_others(unit, zk, root, caplog):
    caplog.set_level(logging.INFO, "zkcoord.coordinator")
    zk.create(f"{root}/coordinator/requests/broken", b"no policy", makepath=True)
    a = unit("a")
    with a.hook():
        assert a.acquire("restart") is True
        with pytest.raises(errors.ServerError, match="no policy that is known here"):
            a.acquire("broken")
    assert "broken is left aside: could not decide over" in caplog.text


def test_released_is_called_where_a_grant_has_ended(unit):
    told = []

    class Telling(coordinator.Serial):
        def released(self, unit, lock, timestamp):
            told.append((unit, lock, timestamp))

    a = unit("a", Telling)
    with a.hook():
        a.acquire("restart")
        asked = a.request_timestamp("restart")
    assert told == [("a", "restart", asked)]


def test_require_runs_what_is_needed_and_granted(unit):
    a, b = unit("a"), unit("b")
    needed, ran = [True], []

    @a.require("restart", lambda *args, **kw: needed[0] and (args, kw) == ((1,), {"x": 2}), 1, x=2)
    def restart(how):
        """Restart it."""
        ran.append(how)

    assert restart.__doc__ == "Restart it."
    with b.hook():
        b.acquire("restart")
        with a.hook():
            answer = restart("now")
            assert answer is coordinator.NOT_RUN
            assert not answer
            assert a.requested("restart")
    with a.hook():
        assert restart("now") is None
        needed[0] = False
        assert restart("again") is coordinator.NOT_RUN, "granted, and no longer needed"
    assert ran == ["now"]
    with a.hook():
        assert restart("again") is coordinator.NOT_RUN
        assert not a.requested("restart"), "what is not needed is not asked for"


def test_a_subclass_decides_by_itself_for_all_units_alike(unit, held_by):
    seen = []

    def web_only(lock, unit, granted, queue):
        return unit.startswith("web")

    class Pairs(coordinator.BaseCoordinator):
        def default_grant(self, lock, unit, granted, queue):
            seen.append((lock, unit, granted, queue))
            return len(granted) < 2

        def grant_reboot(self, lock, unit, granted, queue):
            return False

        grant_policies: ClassVar = {"restart nginx": web_only}

    a, b, c = (unit(name, Pairs) for name in ("a", "b", "c"))
    assert [one.acquire("restart") for one in (a, b, c)] == [True, True, False]
    assert held_by(a) == (["a", "b"], ["c"])
    assert seen[-1] == ("restart", "c", {"a", "b"}, ["c"])
    assert a.release("restart")
    assert held_by(a) == (["b", "c"], [])
    assert a.acquire("reboot") is False
    assert a.grant("reboot", "a") is False
    assert a.acquire("restart nginx") is False
    assert unit("web1", Pairs).acquire("restart nginx") is True
    with pytest.raises(errors.PolicyMismatch, match=r"custom .*Pairs\.default_grant, but serial was asked for"):
        unit("d").acquire("restart")


def test_a_policy_of_ours_decides_for_a_class_that_does_not(unit, held_by):
    both = {"max": 2}
    a, b, c = (unit(name, coordinator.BaseCoordinator, policy=both) for name in ("a", "b", "c"))
    assert [one.acquire("restart") for one in (a, b, c)] == [True, True, False]
    assert a.grant("restart", "c") is False
    assert a.grant("restart", "b") is True
    assert a.grant("restart", "z") is False


def test_serials_rule_can_be_asked():
    decides = coordinator.Serial.default_grant
    assert decides(None, "restart", "a", set(), ["a", "b"]) is True
    assert decides(None, "restart", "b", set(), ["a", "b"]) is False
    assert decides(None, "restart", "a", {"c"}, ["a", "b"]) is False


def test_there_is_one_object_of_a_class(hosts, root):
    class Own(coordinator.Serial):
        pass

    first = Own(unit="a", root=root, zk_hosts=hosts)
    assert Own() is first
    assert Own(unit="a", root=root, zk_hosts=hosts) is first
    assert (first.relname, first.relid) == ("coordinator", f"{root}/coordinator")
    with pytest.raises(errors.ArgumentError, match="unit: there is one Own in a process"):
        Own(unit="b", root=root, zk_hosts=hosts)
    with pytest.raises(errors.ArgumentError, match="connection: "):
        type("Other", (coordinator.Serial,), {})(connection=first._home["connection"], zk_hosts=hosts)


PROGRAM = """
from zkcoord import coordinator
serial = coordinator.Serial(unit="a", root=root, zk_hosts=hosts, session_timeout=2)
serial.initialize()
serial.handle()
print(serial.acquire("restart"), flush=True)
"""


# Since then Python tells of each exception.
TELLS = pytest.mark.skipif(sys.version_info < (3, 12), reason="this Python does not tell what is raised")
CAUGHT = """
try:
    sys.exit(2)
except SystemExit:
    pass
"""


@pytest.mark.parametrize(
    ("end", "kept"),
    [
        ("", False),
        ("sys.exit(0)", False),
        ("sys.exit(3)", True),
        ("exit(3)", True),
        ("quit(1)", True),
        ("exit()", False),
        pytest.param("raise SystemExit(3)", True, marks=TELLS),
        pytest.param("raise SystemExit", False, marks=TELLS),
        pytest.param(CAUGHT, False, marks=TELLS),
        ("raise ValueError('failed')", True),
        ("os.kill(os.getpid(), 9)", True),
        ("os._exit(0)", True),
    ],
)
def test_the_end_of_a_process_is_the_end_of_its_hook(script, unit, held_by, end, kept):
    process = script(PROGRAM + end)
    assert process.line() == "True"
    process.wait()
    assert held_by(unit("b")) == ((["a"], []) if kept else ([], []))


def test_a_request_survives_its_process_and_is_granted_while_there_is_none(script, unit, held_by):
    a = unit("b")
    with a.hook():
        assert a.acquire("restart")
        b = script(PROGRAM + "os.kill(os.getpid(), 9)")
        assert b.line() == "False"
        b.wait()
    assert "a" in held_by(a)[0]
    again = script(PROGRAM)
    assert again.line() == "True"
    assert again.wait() == 0
    assert held_by(a) == ([], [])


HOOK = """
from zkcoord import coordinator
serial = coordinator.Serial(unit="a", root=root, zk_hosts=hosts, session_timeout=2)
with serial.hook():
    print(serial.acquire("restart"), flush=True)
    """


def test_a_child_that_is_forked_in_a_hook_finishes_nothing_of_its_parents(script, unit, held_by):
    process = script(HOOK + "child = os.fork() or sys.exit(0)\n    os.waitpid(child, 0)\n    os._exit(0)")
    assert process.line() == "True"
    process.wait()
    assert held_by(unit("b")) == (["a"], [])


def test_the_last_of_two_hooks_of_one_unit_gives_back(script, unit, held_by):
    first = script("import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, {10})" + HOOK + "signal.sigwait({10})")
    assert first.line() == "True"
    second = unit("a")
    with second.hook():
        assert second.granted("restart"), "the first acts under it"
    assert held_by(second) == (["a"], [])
    with second.hook():
        first.signal(signal.SIGUSR1)
        first.wait()
        assert held_by(second) == (["a"], []), "the second may act"
    assert held_by(second) == ([], [])


def test_an_override_that_fails_keeps_no_other_lock(unit, held_by):
    class Failing(coordinator.Serial):
        def released(self, unit, lock, timestamp):
            raise ZeroDivisionError(lock)

    a = unit("a", Failing)

    def run():
        with a.hook():
            assert a.acquire("restart")
            assert a.acquire("reboot")

    with pytest.raises(ZeroDivisionError):
        run()
    assert held_by(a, "restart") == held_by(a, "reboot") == ([], [])


FAILING = """
from zkcoord import coordinator
class Failing(coordinator.Serial):
    def released(self, unit, lock, timestamp):
        raise ZeroDivisionError(lock)
class Other(coordinator.Serial):
    pass
for unit, kind in (("a", Failing), ("b", Other)):
    one = kind(unit=unit, root=root, zk_hosts=hosts)
    one.initialize()
    print(one.acquire(f"{unit}'s lock"), flush=True)
"""


def test_an_override_that_fails_at_the_end_of_a_process_keeps_no_other_hook(script, unit, held_by):
    process = script(FAILING)
    assert [process.line(), process.line()] == ["True", "True"]
    assert process.wait() == 0
    assert held_by(unit("c"), "a's lock") == held_by(unit("c"), "b's lock") == ([], [])
    assert "ZeroDivisionError: a's lock" in process.stderr


def test_a_lock_may_be_a_number(unit):
    a = unit("a")
    with a.hook():
        assert a.acquire(7)
        assert a.granted("7")
        assert a.release(7)


def test_what_decides_has_a_name(unit):
    class Nameless(coordinator.BaseCoordinator):
        grant_policies: ClassVar = {
            "a": lambda lock, unit, granted, queue: True,
            "b": functools.partial(coordinator.Serial.default_grant, None),
        }

    for lock in "ab":
        with pytest.raises(errors.ArgumentError, match="is what decides, and all of these have that name"):
            unit("a", Nameless).acquire(lock)


def test_a_forked_child_finishes_nothing_of_its_parents(script, unit, held_by):
    process = script(PROGRAM + "child = os.fork()\nif not child: sys.exit(0)\nos.waitpid(child, 0)\nos._exit(0)")
    assert process.line() == "True"
    process.wait()
    assert held_by(unit("b")) == (["a"], [])
