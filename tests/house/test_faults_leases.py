"""The checker of timed leases finds what is planted, and the run finds nothing in what is honest."""

import json

import pytest

from faults import leases
from faults.lease_checker import Statement, check, late, replay
from faults.txnlog import Change, Transaction

PATH = "/leases/0"
EPOCH = 1000.0


class Log:
    """A log of one lease, in seconds after the epoch."""

    def __init__(self):
        self.steps = []

    def write(self, at, owner, hold="", transitions=0, token=None, duration=1):
        ours = {"hold": hold, "transition": transitions, **({"token": token} if token else {})}
        record = {"holderIdentity": owner, "leaseDurationSeconds": duration, "leaseTransitions": transitions}
        data = json.dumps({**record, **({"zkcoord": ours} if owner else {})}).encode()
        what = "set" if self.steps else "create"
        zxid = len(self.steps) + 1
        self.steps.append(Transaction(zxid, 1, 1, (Change(what, PATH, data),), round((EPOCH + at) * 1000)))
        return zxid

    def rules(self, *statements):
        history = replay(self.steps, {PATH})
        return [it.rule for it in check(history, [Statement(PATH, *it) for it in statements], EPOCH)]


@pytest.fixture
def log():
    log = Log()
    assert log.write(1, "a", "h1") == 1
    assert log.write(1.5, "a", "h1", token=1) == 2
    return log


def test_what_is_kept_is_found_kept(log):
    log.write(2.6, "b", "h2", 1, duration=60)
    log.write(3.0, "", transitions=1)
    log.write(3.01, "c", "h3", 2)
    assert log.rules((1, 1.0, 1.01), (1, 2.45, 2.46), (3, 2.61, 2.62), (5, 3.02, 3.03)) == []
    history = replay(log.steps, {PATH})
    assert (len(history.tenures), len(history.takeovers), history.renewals, history.releases) == (3, 1, 1, 1)
    assert late(history, 0.2) == []
    assert [it.rule for it in late(history, 0.05)] == ["too late"]


def test_a_takeover_before_the_end_is_found(log):
    log.write(2.4, "b", "h2", 1)
    assert log.rules() == ["too early"]


def test_one_who_holds_on_after_the_next_has_taken_it_is_found(log):
    log.write(2.6, "b", "h2", 1)
    assert log.rules((1, 2.7, 2.8)) == ["two hold it"]
    log.write(3.7, "c", "h3", 2)
    assert log.rules((1, 3.8, 3.9)) == ["two hold it", "two hold it"], "also by the one after the next"


def test_a_wrong_token_is_found(log):
    assert log.rules((7, 2.0, 2.0)) == ["token"]
    log.write(1.7, "a", "h1", token=9)
    assert log.rules() == ["token"]


def test_who_takes_again_what_was_over_before_it_knew_is_a_new_holder(log):
    assert log.write(1.6, "a", "h1", 1) == 3
    log.write(1.7, "a", "h1", 1, token=3)
    assert log.rules((3, 1.65, 1.75)) == []
    history = replay(log.steps, {PATH})
    assert (len(history.tenures), len(history.takeovers), history.renewals) == (2, 0, 2)
    assert log.rules((1, 1.8, 1.9)) == ["two hold it"], "by its first token it holds nothing any more"


def test_a_wrong_number_of_changes_is_found(log):
    log.write(2.6, "b", "h2", 0)
    log.write(2.7, "b", "h2", 5)
    assert log.rules() == ["transitions", "transitions"]


@pytest.mark.parametrize(
    ("kind", "rules"), [("honest", set()), ("liar", {"two hold it"}), ("thief", {"too early", "two hold it"})]
)
def test_a_short_run(kind, rules):
    plan = leases.Plan("house", 8, processes=3, threads=4, leases=4, pace=0 if kind != "honest" else 0.5, kind=kind)
    outcome = leases.run(plan)
    assert {it.rule for it in outcome.violations} >= rules
    assert bool(outcome.violations) == bool(rules)
    assert not outcome.hangs
    assert len(outcome.history.takeovers) > 10
    assert outcome.history.renewals > 20
    assert outcome.statements > 100
    assert f"{len(outcome.violations)} violations" in leases.text_of(outcome)
