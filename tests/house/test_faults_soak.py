"""The short form of a day's jobs, and that growth would be seen."""

import pytest

from faults import heap
from faults.soak import Soaked, soak


def test_nothing_grows_with_the_jobs():
    soaked = soak(120, samples=3)
    assert soaked.failed == 0
    assert soaked.growth == {}
    assert soaked.samples[-1]["sessions"] == 1, "that of the parent"
    assert soaked.samples[-1]["server heap (KiB)"] > 1000


@pytest.mark.parametrize(("what", "more"), [("znodes", 1), ("sessions", 1), ("parent memory (KiB)", 1025)])
def test_growth_is_found(what, more):
    first = {"znodes": 9, "sessions": 1, "parent memory (KiB)": 20_000}
    assert Soaked(10, 0, 1.0, [first, first]).growth == {}
    assert Soaked(10, 0, 1.0, [first, {**first, what: first[what] + more}]).growth == {what: more}


def test_what_a_server_keeps_alive_counts_and_garbage_does_not(ensemble):
    pid = ensemble.leader().pid
    assert 1 << 20 < heap.used_after_gc(pid) < 64 << 20
