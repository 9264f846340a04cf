"""Which servers are tried, and what is said when none of them answers."""

import socket
import time

import pytest
import zkcoord
from zkcoord import errors, lock, lock_holders, unlock

from tests.support.calls import together


@pytest.mark.parametrize("nowhere", ["127.0.0.1:1", "127.0.0.1:1,127.0.0.1:2", "no-such-host.invalid:2181"])
def test_an_ensemble_out_of_reach_is_an_error_within_the_timeout(nowhere):
    def search(function):
        started = time.monotonic()
        with pytest.raises(errors.Unreachable, match=nowhere.split(",", maxsplit=1)[0]):
            function("/p", nowhere, timeout=0.4)
        return time.monotonic() - started

    for searched in together(search, (lock, lock_holders, zkcoord.party_members, unlock)).values():
        assert searched.result() < 5


def test_a_port_where_nobody_speaks_is_out_of_reach():
    with socket.create_server(("127.0.0.1", 0)) as mute, pytest.raises(errors.Unreachable):
        lock("/p", f"127.0.0.1:{mute.getsockname()[1]}", timeout=0.5)


def test_one_server_of_three_is_enough_to_be_reached(hosts, root):
    assert lock(root, f"127.0.0.1:1,127.0.0.1:2,{hosts}", identifier="a", timeout=10)


def test_hosts_may_be_ipv6(root):
    with pytest.raises(errors.Unreachable, match=r"\[::1\]:1"):
        lock(root, "[::1]:1", timeout=0.3)
