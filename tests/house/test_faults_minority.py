"""A short form of `faults.minority`, which `make faults` runs for minutes."""

import pytest

from faults.minority import minority


@pytest.mark.timeout(240)
def test_no_lease_is_lost_and_no_call_fails_while_a_minority_is_of_no_use():
    found = minority("7", seconds=20, sessions=18)
    assert found.faults.total() >= 1
    assert found.calls >= 1
    assert found.lost == []
    assert found.failed == []
