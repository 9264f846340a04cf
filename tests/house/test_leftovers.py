"""The check at the end of every test can fail."""

import os

import pytest
import zkcoord

from tests.conftest import check_nothing_left
from tests.support.processes import MARK


def test_a_session_and_its_lease_that_stay_are_found(ensemble, observer, hosts, root):
    assert zkcoord.lock(root, hosts, ephemeral_lease=True)
    with pytest.raises(AssertionError, match=r"sessions.*ephemerals"):
        check_nothing_left(ensemble, observer, os.environ[MARK], limit=0.2)


def test_a_process_that_stays_is_found(ensemble, observer, script):
    script("print('here'); time.sleep(60)").line()
    with pytest.raises(AssertionError, match="processes"):
        check_nothing_left(ensemble, observer, os.environ[MARK], limit=0.2)
