"""The short form of the coordinator's run under faults, and the checker, which finds what is broken on purpose."""

import json

import pytest

from faults import granted
from faults.coordinated import POLICIES, coordinated
from faults.granted import ANSWER, ONCE, ORDER, POLICY, SURVIVES, TURN, check, replay
from faults.txnlog import Change, Transaction

HOME = "/coordinator/faults"


@pytest.mark.timeout(300)
def test_promises_are_kept_under_faults():
    found = coordinated("3", seconds=12, units=6, pace=1.5)
    assert found.violations == []
    assert found.hangs == []
    assert set(found.deaths) <= {"-9"}, "but for those that were killed"
    assert found.by_lock.keys() == POLICIES.keys(), "each lock was granted"
    assert len(found.world.granted) > 100
    assert found.world.reasons, "some by hand"
    assert found.world.changes > 3, "the policy was changed"
    assert found.dropped
    assert found.faults


class Log:
    """Transactions of a lock, as they are written down."""

    def __init__(self):
        self.steps, self.zxid, self.time = [], 0x100, 0

    def step(self, *changes):
        self.zxid += 1
        self.steps.append(Transaction(self.zxid, 1, 1, changes, self.time))
        return self.zxid

    def file(self, unit, rack="r1", **asked):
        data = json.dumps({"labels": {"rack": rack}, **asked}).encode()
        return self.step(Change("create", f"{HOME}/requests/lock/{unit}", data))

    def grants(self, *deleted, **grants):
        document = json.dumps({unit: {"request": czxid} for unit, czxid in grants.items()}).encode()
        gone = [Change("delete", f"{HOME}/requests/lock/{unit}") for unit in deleted]
        return self.step(Change("set", f"{HOME}/grants/lock", document), *gone)

    def broken(self, policy="serial", *notes):
        world = replay(self.steps, {"lock": policy}, HOME)
        histories = [[{"unit": unit}, *lines] for unit, lines in notes]
        return {it.rule for it in check(world, histories, ["lock"]) if it.rule != TURN}, world


def test_what_is_right_is_right():
    log = Log()
    a, b = log.file("a"), log.file("b")
    first = log.grants(a=a)
    second = log.grants("a", b=b)
    log.grants("b")
    asked = ("a", [{"lock": "lock", "request": a, "token": first}, {"op": "release", "lock": "lock", "request": a}])
    gave = ("b", [{"lock": "lock", "request": b, "token": second}, {"op": "release", "lock": "lock", "request": b}])
    broken, world = log.broken("serial", asked, gave)
    assert broken == set()
    assert list(world.granted) == [a, b]


def test_what_is_broken_is_found():
    log = Log()
    a, b = log.file("a"), log.file("b")
    log.grants(a=a, b=b)
    assert POLICY in log.broken("serial")[0]
    assert log.broken({"max": 2})[0] == set()
    assert POLICY in log.broken({"per": {"rack": 1}})[0]

    log = Log()
    a, b = log.file("a"), log.file("b")
    log.grants(b=b)
    assert log.broken("serial")[0] == {ORDER}
    assert log.broken({"max": 1})[0] == {ORDER}

    log = Log()
    a = log.file("a")
    log.grants(a=a)
    log.grants()
    assert log.broken("serial")[0] == {ONCE}, "it is lost"
    log.grants(a=a)
    assert log.broken("serial")[0] == {ONCE}, "and doubled"

    log = Log()
    a = log.file("a")
    granted_at = log.grants(a=a)
    told = [{"lock": "lock", "request": a, "token": granted_at + 5}]
    assert log.broken("serial", ("a", told))[0] == {ANSWER}
    assert log.broken("serial", ("b", [{"lock": "lock", "request": a, "token": None}]))[0] == {ANSWER}
    assert log.broken("serial", ("a", [{"lock": "lock", "released": a, "requested": True}]))[0] == {ANSWER}
    log.grants("a")
    assert log.broken("serial", ("a", []))[0] == {SURVIVES}


def test_a_grant_of_a_request_that_was_made_anew_counts_for_nobody():
    log = Log()
    a = log.file("a")
    log.grants(a=a)
    log.step(Change("delete", f"{HOME}/requests/lock/a"))
    again = log.file("a")
    b = log.file("b")
    log.grants(a=a, b=b)
    assert log.broken("serial")[0] >= {ORDER}, "a asked before b, and its grant is of another request"
    assert again < b


def test_what_an_operator_grants_is_beside_the_policy_and_counts():
    log = Log()
    a, b, c = log.file("a"), log.file("b"), log.file("c")
    log.grants(a=a)
    document = {"a": {"request": a}, "c": {"request": c, "reason": "on fire"}}
    log.step(Change("set", f"{HOME}/grants/lock", json.dumps(document).encode()))
    gave, told = {"lock": "lock", "reason": "on fire"}, {"lock": "lock", "by_hand": "on fire"}
    assert log.broken("serial", ("x", [gave, told]))[0] == set()
    assert log.broken("serial", ("x", [gave, {"lock": "lock", "by_hand": "cold"}]))[0] == {ANSWER}
    assert log.broken("serial", ("x", [told]))[0] == {POLICY}, "nobody has given that reason"
    log.step(Change("set", f"{HOME}/grants/lock", json.dumps({**document, "b": {"request": b}}).encode()))
    assert log.broken("serial")[0] == {POLICY}


def test_only_what_has_expired_is_dropped():
    for seen, broken in ((500, {SURVIVES}), (0, set())):
        log = Log()
        a = log.file("a", expires=1.0)
        log.time = seen
        log.step(Change("set", f"{HOME}/requests/lock/a", b"{}"))
        log.grants(a=a)
        log.time = 1400
        log.grants("a")
        assert log.broken("serial", ("a", []))[0] == broken


def test_a_share_is_of_those_who_are_there():
    def joined(log, count):
        for number in range(count):
            log.step(Change("create", f"/web/{number:032x}-host"))

    policy = {"max": "34%", "party": "/web"}
    log = Log()
    a, b = log.file("a"), log.file("b")
    joined(log, 6)
    log.grants(a=a, b=b)
    assert log.broken(policy)[0] == set()

    log = Log()
    a, b = log.file("a"), log.file("b")
    joined(log, 5)
    log.grants(a=a, b=b)
    assert log.broken(policy)[0] == {POLICY}, "34 % of 5 is 1"

    log = Log()
    a = log.file("a")
    log.grants(a=a)
    assert log.broken(policy)[0] == {POLICY}, "of nobody, nobody"

    log = Log()
    joined(log, 6)
    a, b = log.file("a"), log.file("b")
    for gone in range(6):
        log.step(Change("delete", f"/web/{gone:032x}-host"))
    log.grants(a=a, b=b)
    assert log.broken(policy)[0] == set(), "they were there when it was decided, perhaps"

    log = Log()
    joined(log, 6)
    a, b = log.file("a"), log.file("b")
    for gone in range(6):
        log.step(Change("delete", f"/web/{gone:032x}-host"))
    log.grants(a=a)
    log.grants(a=a, b=b)
    assert log.broken(policy)[0] == {POLICY}, "nobody has been there since the grants were written"


@pytest.mark.parametrize(
    ("written", "granted_at", "broken"),
    [
        ("01:00:00", "01:30:00", {POLICY}),
        ("01:00:00", "02:00:00", set()),
        ("02:29:59", "02:40:00", set()),
        ("02:30:00", "02:40:00", {POLICY}),
        ("03:00:00", "23:59:59", {POLICY}),
        ("23:00:00", "23:15:00", {POLICY}),
    ],
)
def test_a_window_was_open_when_it_was_decided(written, granted_at, broken):
    def at(text):
        hours, minutes, seconds = map(int, text.split(":"))
        return (hours * 3600 + minutes * 60 + seconds) * 1000

    log = Log()
    log.time = at(written)
    a = log.file("a")
    log.grants()
    log.time = at(granted_at)
    log.grants(a=a)
    policy = {"window": {"from": "02:00", "to": "02:30", "zone": "UTC"}}
    assert log.broken(policy)[0] == broken
    past_midnight = {"window": [{"from": "23:30", "to": "03:30"}]}
    assert log.broken(past_midnight)[0] == ({POLICY} if granted_at == "23:15:00" else set())


def test_the_policy_that_counts_is_the_one_that_is_stored():
    log = Log()
    log.step(Change("create", f"{HOME}/requests/lock", b'{"max": 1}'))
    a, b, c = log.file("a"), log.file("b"), log.file("c")
    log.grants(a=a)
    log.step(Change("set", f"{HOME}/requests/lock", b'{"max": 2}'))
    log.grants(a=a, b=b)
    broken, world = log.broken(granted.STORED)
    assert (broken, world.changes) == (set(), 1)
    log.grants(a=a, b=b, c=c)
    assert log.broken(granted.STORED)[0] == {POLICY}


def test_who_ends_before_its_last_turns_is_found_out():
    world = replay([], {"lock": "serial", "other": "serial"}, HOME)
    turns = [{"unit": "a"}, {"last_turn": "lock"}]
    assert check(world, [turns], ["lock", "other"]) == []
    (found,) = check(world, [turns], ["lock", "other"], ["a"])
    assert (found.rule, found.what) == (TURN, "ended after 1 of 2 last turns")
    assert check(world, [[*turns, {"last_turn": "other"}]], ["lock", "other"], ["a"]) == []


def test_each_rule_has_its_words():
    assert set(granted.RULES) == {POLICY, ORDER, ONCE, ANSWER, SURVIVES, TURN}
