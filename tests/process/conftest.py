"""Processes whose sessions last long, so that "at once" cannot be mistaken for a session's timeout."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator

import pytest
import zkcoord
from zkcoord.testing import Ensemble

from tests.support.processes import Script

# A session without its process lasts at least two thirds of its timeout: then a ping is due.
SESSION_TIMEOUT = 18
AT_ONCE = 8.0

# `at` says where, and for how long a session lasts. `say` writes a line in one piece. SIGUSR1 is the test's word,
# which can be given before it is waited for. Nobody else ends a forked child that hangs, so an alarm does.
PRELUDE = """
at = {"zk_hosts": hosts, "config_get": {"zookeeper:session_timeout": session_timeout}.get}
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
os.register_at_fork(after_in_child=lambda: signal.alarm(30))

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

def wait_for_word():
    signal.sigwait([signal.SIGUSR1])

def attempt(function, *arguments, **keywords):
    try:
        return function(*arguments, **keywords)
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
"""


@pytest.fixture(scope="session")
def start_script(ensemble: Ensemble) -> Callable[..., Script]:
    """Start code in a process of its own, with the words of `PRELUDE` known. Whoever starts it ends it."""

    def start(code: str, *, root: str, session_timeout: float = SESSION_TIMEOUT, **names: object) -> Script:
        known = {"hosts": ensemble.hosts, "root": root, "session_timeout": session_timeout, **names}
        return Script(PRELUDE + textwrap.dedent(code), known)

    return start


@pytest.fixture
def script(start_script: Callable[..., Script], root: str) -> Iterator[Callable[..., Script]]:
    """The same at the test's own pool, and ended with the test."""
    started: list[Script] = []

    def start(code: str, **names: object) -> Script:
        started.append(start_script(code, root=root, **names))
        return started[-1]

    yield start
    for process in started:
        process.end()


@pytest.fixture
def sessions(ensemble: Ensemble) -> Callable[[], set[str]]:
    """The sessions that were opened since the test began."""
    before = ensemble.sessions()
    return lambda: ensemble.sessions() - before


@pytest.fixture
def watches(ensemble: Ensemble) -> Callable[[], int]:
    """How many watches were set since the test began."""
    before = ensemble.mntr()["zk_watch_count"]
    return lambda: int(ensemble.mntr()["zk_watch_count"] - before)


@pytest.fixture
def held(root: str, hosts: str) -> Callable[[], bool]:
    """A slot that somebody holds, the only one; call it to have it given back."""
    assert zkcoord.lock(root, hosts, "holder")
    zkcoord.close()
    return lambda: zkcoord.unlock(root, hosts, "holder")


@pytest.fixture
def at_once(wait_until: Callable[..., None]) -> Callable[[Callable[[], object], str], None]:
    """Wait until something is so that must not take a session's timeout."""
    return lambda condition, what: wait_until(condition, what, limit=AT_ONCE)
