"""Very many wait in one process: what they watch is renewed after a lost connection, and there is a limit to that."""

import time

from zkcoord import lock, lock_holders, unlock
from zkcoord.testing import Op

from tests.support.calls import Waiting, children

WAITERS = 300
LONG = "x" * 400


def test_they_keep_their_places_through_a_lost_connection(proxies, ensemble, hosts, root, zk, wait_until):
    pool = f"{root}-{LONG}"
    queue = f"{pool}-__lock__"
    lock(pool, hosts, identifier="a")
    before = ensemble.sessions()
    waiters = [Waiting(lock, pool, proxies.hosts, identifier=f"w{number}") for number in range(WAITERS)]
    wait_until(lambda: len(children(zk, queue)) == WAITERS, "all wait", 60)
    sessions = len(ensemble.sessions() - before)
    assert 1 < sessions < 6, "one session cannot watch as much"
    places = set(children(zk, queue))
    wait_until(lambda: sum(proxy.counts[Op.GET_DATA] for proxy in proxies) >= WAITERS - 1, "all ask")
    time.sleep(1)  # and have their answers
    for proxy in proxies:
        proxy.cut()

    def renewed():
        return sum(proxy.counts[Op.SET_WATCHES] + proxy.counts[Op.SET_WATCHES2] for proxy in proxies)

    wait_until(lambda: renewed() >= sessions, "every session has renewed its watches", 30)
    assert lock_holders(pool, proxies.hosts) == ["a"]
    assert set(children(zk, queue)) == places
    unlock(pool, hosts, identifier="a")
    wait_until(lambda: any(waiter.done for waiter in waiters), "the first has its turn", 30)
    assert renewed() <= 3 * sessions, "and nobody has to do it again and again"
    assert set(children(zk, queue)) < places
