"""Children that are forked one after the other do not all do the same by chance."""

import signal
import socket
import threading
import time

import pytest

SERVERS = 8
CHILDREN = 6


@pytest.fixture
def doors():
    """Servers that close each connection at once: their addresses, and those that were tried, in this order."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(SERVERS)]
    tried = []

    def serve(listener):
        address = "{}:{}".format(*listener.getsockname())
        while True:
            try:
                connection = listener.accept()[0]
            except OSError:
                return
            tried.append(address)
            connection.close()

    for listener in listeners:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
    yield ["{}:{}".format(*listener.getsockname()) for listener in listeners], tried
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def test_children_of_a_parent_that_has_rolled_the_dice_try_the_servers_in_orders_of_their_own(script, doors):
    addresses, tried = doors
    parent = script(
        """
        def look():
            say(attempt(zkcoord.lock_holders, root, addresses, timeout=0.5, config={"connect_timeout": 0.5}))

        look()
        for _ in range(children):
            wait_for_word()
            if (child := os.fork()) == 0:
                look()
                os._exit(0)
            os.waitpid(child, 0)
        """,
        addresses=addresses,
        children=CHILDREN,
    )
    assert parent.line().startswith("Unreachable")
    orders = []
    for _ in range(CHILDREN):
        time.sleep(0.2)  # what the parent still has under way
        tried.clear()
        parent.signal(signal.SIGUSR1)
        assert parent.line().startswith("Unreachable")
        orders.append(tuple(dict.fromkeys(tried)))
    parent.result()
    assert all(sorted(order) == sorted(addresses) for order in orders), "every server was tried"
    assert len(set(orders)) >= CHILDREN - 1, orders
