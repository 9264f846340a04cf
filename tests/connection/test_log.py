"""What the core logs, through Python's logging: connections, sessions, waits, losses; no secret, and no noise."""

import logging
import re
import time

import pytest
import zkcoord
import zkcoord.znode
from zkcoord import Connection

from tests.support.calls import Waiting, wait_until

CORE = "zkcoord.core"


@pytest.fixture
def lines(caplog):
    """The lines so far, without the times and names of this run."""
    caplog.set_level(logging.INFO, CORE)

    def lines(connection=None):
        if connection is not None:
            zkcoord.znode.exists("/x", connection=connection)
        return [record.getMessage() for record in caplog.records if record.name == CORE]

    return lines


def test_a_session_and_its_server_are_told(hosts, root, lines):
    connection = Connection(hosts, session_timeout=7, username="ann", password="ann-pw")
    zkcoord.lock_holders(root, connection=connection)
    opened, connected = lines()[:2]
    assert re.fullmatch(r"connected to 127\.0\.0\.1:\d+", connected)
    assert connected.split()[-1] in hosts
    assert re.fullmatch(r"session 0x[0-9a-f]+ of digest:ann is open; the servers keep it for 7 s of silence", opened), (
        opened
    )
    before = len(lines())
    for _ in range(3):
        zkcoord.lock(root, connection=connection)
        zkcoord.unlock(root, connection=connection)
    assert len(lines()) == before, "a call that goes well is no news"
    assert "ann-pw" not in "".join(lines())


def test_a_connection_that_is_lost_and_found_is_told(proxies, root, lines):
    connection = Connection(proxies.hosts, session_timeout=7.5)
    before = len(lines(connection))
    for proxy in proxies:
        proxy.cut()
    wait_until(lambda: len(lines(connection)) >= before + 2, "it is told")
    lost, found = lines()[before : before + 2]
    assert re.fullmatch(r"the connection to 127\.0\.0\.1:\d+ is lost; another server is looked for", lost)
    assert re.fullmatch(r"connected to 127\.0\.0\.1:\d+", found)


def test_a_session_that_expires_is_a_warning(proxies, hosts, root, lines, caplog):
    connection = Connection(proxies.hosts, session_timeout=1)
    hold = zkcoord.hold(root, connection=connection, identifier="a", on_lost=lambda: None)
    for proxy in proxies:
        proxy.stall()
    assert hold.lost.wait(20)
    wait_until(lambda: zkcoord.lock_holders(root, hosts) == [], "the servers have ended the session")
    for proxy in proxies:
        proxy.resume()
    wait_until(lambda: any(" is over, and with it" in line for line in lines(connection)), "it is told", 30)
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    lease = f"{root}/{hold.lease} is lost: its session is over, or somebody has deleted it"
    assert lease in warnings
    assert any(re.match(r"session 0x[0-9a-f]+ at [\d.:,]+ is over, and with it", line) for line in warnings)


def test_a_wait_is_told_when_it_begins_and_ends(hosts, root, lines):
    zkcoord.lock(root, hosts, identifier="a")
    assert zkcoord.lock(root, hosts, identifier="b", timeout=0.2) is False
    assert zkcoord.lock(root, hosts, identifier="b", timeout=0) is False, "who does not wait has nothing to tell"
    waiter = Waiting(zkcoord.lock, root, hosts, identifier="c", timeout=30)
    wait_until(lambda: zkcoord.status(root, hosts)["waiters"], "it waits")
    zkcoord.unlock(root, hosts, identifier="a")
    assert waiter.result() is True
    told = [re.sub(r"[\d.]+ s", "N s", line) for line in lines() if root in line]
    began = f"waits for a slot of {root}"
    assert told == [began, f"waits no more for a slot of {root}, after N s", began, f"has a slot of {root} after N s"]


def test_a_line_that_nobody_fetched_for_a_while_says_so(proxies, root, lines):
    connection = Connection(proxies.hosts, session_timeout=8)
    lines(connection)
    for proxy in proxies:
        proxy.cut()
    time.sleep(3)
    told = [line for line in lines(connection) if "is lost" in line]
    assert re.fullmatch(r".* another server is looked for \([123] s ago\)", told[0])


def test_without_a_handler_nothing_is_printed_and_logging_is_not_even_imported(script):
    process = script("""
        import sys

        zkcoord.lock(root, hosts, identifier="a")
        zkcoord.lock(root, hosts, identifier="b", timeout=0.1)
        print("logging" in sys.modules)
        import logging
        zkcoord.close()
        zkcoord.lock(root, hosts, identifier="b", timeout=0.1)
        logging.basicConfig(level="INFO", stream=sys.stdout, format="%(name)s %(levelname)s")
        zkcoord.lock(root, hosts, identifier="b", timeout=0.1)
    """)
    answer = process.result().split("\n")
    assert answer == ["False", "zkcoord.core INFO", "zkcoord.core INFO"]


def test_a_forked_child_logs_what_it_does_itself(hosts, root, script):
    process = script("""
        import logging, sys

        logging.basicConfig(level="INFO", stream=sys.stdout, format="%(process)d %(message)s")
        zkcoord.lock_holders(root, hosts)
        sys.stdout.flush()
        if os.fork() == 0:
            zkcoord.lock_holders(root, hosts)
            sys.stdout.flush()
            os._exit(0)
        os.wait()
        zkcoord.lock_holders(root, hosts)
    """)
    answer = [line.split(" ", 1) for line in process.result().split("\n")]
    by_process = {pid: [text.split()[0] for number, text in answer if number == pid] for pid, _ in answer}
    assert [*by_process.values()] == [["session", "connected"]] * 2


def test_a_handler_of_a_signal_that_comes_while_the_log_is_written_is_not_lost(hosts, root, script):
    process = script("""
        import logging, signal, sys

        class Interrupting(logging.Handler):
            def emit(self, record):
                signal.raise_signal(signal.SIGINT)

        logging.getLogger("zkcoord.core").addHandler(Interrupting())
        logging.getLogger("zkcoord.core").setLevel("INFO")
        try:
            zkcoord.hold(root, hosts, "a")
        except KeyboardInterrupt:
            print("interrupted", flush=True)
        print(zkcoord.lock_holders(root, hosts), flush=True)
    """)
    assert process.line(10) == "interrupted"
    assert process.line(10) == "[]"
    process.result()
