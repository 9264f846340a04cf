"""The ensemble and the Salt that all tests share, and the proof that each of them leaves nothing behind.

Fixtures and tests import what is Salt's when they run: an import at the top of a test's file would put Salt's importer
back into `sys.meta_path`, with which pytest cannot collect.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import zkcoord
from kazoo.client import KazooClient
from salt._logging import shutdown_temp_handler
from zkcoord.testing import Ensemble, Proxies, proxied
from zkcoord.testing.certificates import Authority

from tests.support import calls
from tests.support.calls import wait_until
from tests.support.cluster import ExampleCluster
from tests.support.config import Config
from tests.support.observer import Observer
from tests.support.processes import MARK, Script, marked
from tests.support.salt import LONG, VERSIONS, Cluster, Minionless
from tests.support.versions import MARKER, leave_out_what_cannot_run
from tests.support.znodes import Pool

# Salt puts an importer in front that is too old for pytest to collect tests with.
sys.meta_path[:] = [finder for finder in sys.meta_path if hasattr(finder, "find_spec")]

# Salt keeps warnings for the end of the process, when pytest does not listen any more.
shutdown_temp_handler()

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

ROOT = Path(__file__).parents[1]
# These take longest, and begin first: no worker shall have one left when the others are done.
LONGEST = (
    "tests/coordinator/test_coordinated_restart.py",
    "tests/ensemble/test_example.py",
    "tests/house/test_docs.py",
    "tests/ensemble/test_changes.py",
    "tests/salt/test_rolling_restart.py",
    "tests/connection/test_choice.py",
    "tests/semaphore/test_hold_faults.py",
    "tests/salt/test_events.py",
    "tests/coordinator/test_salt_states.py",
    "tests/salt/test_minion.py",
    "tests/coordinator/test_coordinator.py",
    "tests/command/test_run.py",
    "tests/command/test_lease.py",
    "tests/house/test_faults_leases.py",
    "tests/confd/test_ganeti_nodes.py",
    "tests/salt/test_one_deployer.py",
    "tests/semaphore/test_salt_runner.py",
    "tests/process/test_closed_descriptors.py",
)

LEFT_OUT = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", MARKER)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    config.stash[LEFT_OUT] = leave_out_what_cannot_run(config, items)
    begin_with_the_longest(items)


def begin_with_the_longest(items: list[pytest.Item]) -> None:
    """Order the files; within a file the order stays."""

    def rank(item: pytest.Item) -> int:
        name = item.path.relative_to(ROOT).as_posix()
        return LONGEST.index(name) if name in LONGEST else len(LONGEST)

    items.sort(key=rank)


# Where several processes share the tests, each of them collects all, and the one that shows the summary collects none.
def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = session.config.stash.get(LEFT_OUT, [])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    node.config.stash[LEFT_OUT] = getattr(node, "workeroutput", {}).get("left_out", [])


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
        for proxy in proxies:
            proxy.heal()
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


@pytest.fixture(scope="session")
def skew(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that moves the wall clock of a process."""
    library = tmp_path_factory.mktemp("skew") / "skew.so"
    source = Path(__file__).parents[1] / "faults/skew.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library


@pytest.fixture
def wrong_clock(skew: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let the wall clock of processes that start from now on be wrong by so much; without hours and days, right."""

    def wrong_clock(hours: float = 0, days: float = 0) -> None:
        if not hours and not days:
            monkeypatch.delenv("LD_PRELOAD", raising=False)
            return
        moved = tmp_path / "moved"
        moved.write_bytes(int((hours + 24 * days) * 3600 * 10**9).to_bytes(8, "little", signed=True))
        monkeypatch.setenv("LD_PRELOAD", str(skew))
        monkeypatch.setenv("ZKCOORD_SKEW", str(moved))

    return wrong_clock


@pytest.fixture
def pool(zk: KazooClient, root: str) -> Pool:
    """The znodes of the test's own pool."""
    return Pool(zk, root)


@pytest.fixture
def config() -> Config:
    return Config()


@pytest.fixture
def context() -> dict[str, object]:
    return {}


@pytest.fixture
def shim(monkeypatch: pytest.MonkeyPatch, config: Config, context: dict[str, object]) -> ModuleType:
    """Salt's module in this process, with what the loader puts into it."""
    from saltext.zkcoord.modules import zk_concurrency

    for name, value in {**config.dunders(), "__context__": context}.items():
        monkeypatch.setattr(zk_concurrency, name, value, raising=False)
    return zk_concurrency


@pytest.fixture
def invocation_error() -> type[Exception]:
    """What Salt reports as a wrong call."""
    from salt.exceptions import SaltInvocationError

    return SaltInvocationError


@pytest.fixture
def execution_error() -> type[Exception]:
    """What Salt reports as one line."""
    from salt.exceptions import CommandExecutionError

    return CommandExecutionError


@pytest.fixture
def minionless(tmp_path: Path) -> Iterator[Callable[..., Minionless]]:
    """Make a `Minionless`; what it has started ends with the test."""
    made: list[Minionless] = []

    def make(version: str = "3008", **config: object) -> Minionless:
        made.append(Minionless(tmp_path / f"minionless-{len(made)}", version, **config))
        return made[-1]

    yield make
    for each in made:
        each.end()


@pytest.fixture
def salt(minionless: Callable[..., Minionless], hosts: str) -> Minionless:
    """The newest Salt without a master, configured with the ensemble, which is profile `blue` as well."""
    blue = {"hosts": hosts.split(","), "session_timeout": LONG}
    return minionless(zookeeper={"hosts": hosts, "session_timeout": LONG, "blue": blue})


@pytest.fixture
def children(zk: KazooClient) -> Callable[[str], list[str]]:
    """The children of a znode as the leader knows them; none if there is no such znode."""
    return partial(calls.children, zk)


@pytest.fixture
def waiters(children: Callable[[str], list[str]], root: str) -> Callable[[], list[str]]:
    """The places in the queue of the test's own pool."""
    return lambda: children(f"{root}-__lock__")


@pytest.fixture(scope="session", params=VERSIONS)
def all_of_the_fleet(
    request: pytest.FixtureRequest, ensemble: Ensemble, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ExampleCluster]:
    """A master that writes down its events; `m1` and `m2`; `t`, where jobs are threads; and the key of `gone`."""
    empty = tmp_path_factory.mktemp("fleet")
    for directory in ("pillar", "states", "master.d"):
        (empty / directory).mkdir()
    site = {"zookeeper": {"hosts": ensemble.hosts, "session_timeout": LONG, "quiet": {"events": False}}}
    threads = {**site, "multiprocessing": False}
    fleet = ExampleCluster(request.param, empty, {"m1": site, "m2": site, "t": threads}, site)
    try:
        fleet.start()
        keys = fleet.directory / "master/etc/salt/pki/master/minions"
        shutil.copy(keys / "m1", keys / "gone")
        fleet.record()
        heard = time.monotonic() + 60
        while not fleet.events("anything"):
            assert time.monotonic() < heard, "nobody writes down what goes over the bus"
            fleet.runner("event.send", "anything").answer()
        yield fleet
    finally:
        fleet.stop()


@pytest.fixture
def fleet(all_of_the_fleet: ExampleCluster) -> Iterator[ExampleCluster]:
    """The master and its minions; commands end with the test."""
    yield all_of_the_fleet
    all_of_the_fleet.end_commands()


@pytest.fixture
def states(monkeypatch, shim, config, hosts):
    """The state module in this process, on the execution module and the ensemble, for the minion `probe`."""
    from saltext.zkcoord.states import zk_concurrency

    config["zookeeper:hosts"] = hosts
    names = ("lock", "unlock", "lock_holders", "party_members", "status")
    functions = {f"zk_concurrency.{name}": getattr(shim, name) for name in names}
    dunders = {
        "__salt__": functions,
        "__opts__": {"test": False, "id": "probe"},
        "__grains__": {"id": "probe"},
        "__pillar__": config.dunders()["__pillar__"],
    }
    for name, value in {**dunders, "__context__": {}, "__low__": {}}.items():
        monkeypatch.setattr(zk_concurrency, name, value, raising=False)
    return zk_concurrency


@pytest.fixture
def outcome(root):
    """The result and the comment of a state, the rest of which is always the same."""

    def outcome(ret):
        assert (ret["name"], ret["changes"]) == (root, {})
        assert sorted(ret) == ["changes", "comment", "name", "result"]
        return ret["result"], ret["comment"]

    return outcome


@pytest.fixture(autouse=True)
def nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """No session, no ephemeral znode, no process outlives a test."""
    os.environ[MARK] = uuid.uuid4().hex
    if "ensemble" not in request.fixturenames:
        yield
        zkcoord.close()
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


@pytest.fixture(name="wait_until")
def wait_until_fixture() -> Callable[..., None]:
    return wait_until


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Show the logs of the servers, and of Salt's daemons, with a failure."""
    outcome = yield
    report = outcome.get_result()
    if not report.failed:
        return
    fixtures = getattr(item, "funcargs", {})
    if "ensemble" in fixtures:
        report.sections.append(("ZooKeeper", fixtures["ensemble"].logs(15)))
    cluster = fixtures.get("cluster", fixtures.get("fleet"))
    if isinstance(cluster, Cluster):
        report.sections.append(("Salt", cluster.logs()))
