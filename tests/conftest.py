"""The ensemble that all tests share, and the proof that each of them leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
import uuid
from collections.abc import Callable, Iterator

import pytest
import salt
import zkcoord
from kazoo.client import KazooClient
from zkcoord.testing import Ensemble

from tests.support.certificates import Authority
from tests.support.observer import Observer
from tests.support.processes import MARK, Script, marked
from tests.support.proxy import Proxies, proxied
from tests.support.versions import MARKER, leave_out_what_cannot_run

# Salt puts an importer in front that is too old for pytest to collect tests with.
assert salt
sys.meta_path[:] = [finder for finder in sys.meta_path if hasattr(finder, "find_spec")]

# They need a build with Kerberos, and are run from below this file, without the tools it needs: `make gssapi`.
collect_ignore = ["gssapi"]

# A script that starts the tests in its background ignores SIGINT, and nohup SIGHUP. What the tests start would inherit
# that.
DEFAULTS = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
    signal.SIGHUP: signal.SIG_DFL,
}
for number, handler in DEFAULTS.items():
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)

# Killed processes leave sessions that end with their timeout: kazoo's is 10 s.
LEFTOVERS_LIMIT = 20.0

LEFT_OUT = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", MARKER)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    config.stash[LEFT_OUT] = leave_out_what_cannot_run(config, items)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash.get(LEFT_OUT, []):
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def ensemble() -> Iterator[Ensemble]:
    """Three real servers. A missing server is a failure, never a skip."""
    with Ensemble(3) as ensemble:
        yield ensemble


@pytest.fixture(scope="session")
def observer(ensemble: Ensemble) -> Iterator[KazooClient]:
    """Kazoo, to see and to make znodes with."""
    client = Observer(ensemble.hosts, timeout=10)
    client.start(timeout=30)
    yield client
    client.stop()
    client.close()


@pytest.fixture
def zk(observer: KazooClient) -> KazooClient:
    """Kazoo, connected."""
    wait_until(lambda: observer.connected, "kazoo is connected")
    return observer


@pytest.fixture
def hosts(ensemble: Ensemble) -> str:
    return ensemble.hosts


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who vouches for servers and clients in these tests."""
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def secure(authority: Authority) -> Iterator[Ensemble]:
    """Three real servers whose secure ports are for clients with a certificate."""
    with Ensemble(3, tls=authority.server(client_auth=True)) as ensemble:
        yield ensemble


@pytest.fixture(scope="session")
def tls(authority: Authority) -> dict[str, object]:
    """The arguments of a client that the secure servers accept."""
    certfile, keyfile = authority.issue("client")
    return {"use_ssl": True, "ca_certs": str(authority.path), "certfile": str(certfile), "keyfile": str(keyfile)}


@pytest.fixture
def proxies(ensemble: Ensemble) -> Iterator[Proxies]:
    """A proxy in front of each server. Sessions through them are closed while they still carry."""
    with proxied(ensemble) as proxies:
        yield proxies
        zkcoord.close()


@pytest.fixture
def root(request: pytest.FixtureRequest) -> str:
    """A path of the test's own."""
    name = re.sub(r"\W+", "-", request.node.name)[:60]
    return f"/{name}-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def script(hosts: str, root: str) -> Iterator[Callable[..., Script]]:
    """Run Python code in a process of its own: `script(code, **names)`. Ended with the test."""
    started: list[Script] = []

    def start(code: str, **names: object) -> Script:
        started.append(Script(code, {"hosts": hosts, "root": root, **names}))
        return started[-1]

    yield start
    for process in started:
        process.end()


@pytest.fixture(autouse=True)
def nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """No session, no ephemeral znode, no process outlives a test."""
    os.environ[MARK] = uuid.uuid4().hex
    if "ensemble" not in request.fixturenames:
        yield
        return
    ensemble: Ensemble = request.getfixturevalue("ensemble")
    observer: KazooClient = request.getfixturevalue("observer")
    ensemble.wait_ready()
    yield
    zkcoord.close()
    check_nothing_left(ensemble, observer, os.environ[MARK])


def check_nothing_left(ensemble: Ensemble, observer: KazooClient, mark: str, limit: float = LEFTOVERS_LIMIT) -> None:
    ensemble.wait_ready()

    def left() -> dict[str, object]:
        own = {f"{observer.client_id[0] & (2**64 - 1):#x}"}
        sessions = ensemble.sessions() - own
        ephemerals = {path for owner, paths in ensemble.ephemerals().items() if owner not in own for path in paths}
        servers = {server.pid for server in ensemble.servers}
        processes = {pid: command for pid, command in marked(mark).items() if pid not in servers}
        found = {"sessions": sessions, "ephemerals": ephemerals, "processes": processes}
        return {what: things for what, things in found.items() if things}

    end = time.monotonic() + limit
    while (leftovers := left()) and time.monotonic() < end:
        time.sleep(0.05)
    assert not leftovers, f"left behind: {leftovers}"


def wait_until(condition: Callable[[], object], what: str, limit: float = 15.0) -> None:
    """Wait for something that can be seen, and fail with its name."""
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, f"not within {limit} s: {what}"
        time.sleep(0.01)


@pytest.fixture(name="wait_until")
def wait_until_fixture() -> Callable[..., None]:
    return wait_until


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Show the servers' logs with a failure."""
    outcome = yield
    report = outcome.get_result()
    if report.failed and "ensemble" in getattr(item, "funcargs", {}):
        report.sections.append(("ZooKeeper", item.funcargs["ensemble"].logs(15)))
