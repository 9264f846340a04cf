"""What the tests with Salt share.

Salt is imported by fixtures and tests only: it puts an importer into `sys.meta_path` with which pytest cannot
collect.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import NoNodeError
from zkcoord.testing import Ensemble

from tests.support.cluster import ExampleCluster
from tests.support.salt import LONG, VERSIONS, Cluster, Minionless


class Config(dict[str, object]):
    """A configuration by whole keys, with a memory of which of its values were read."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def dunders(self) -> dict[str, object]:
        """What the loader puts into a module that has this configuration in its pillar."""
        found_in = {"__opts__": {"id": "probe", "file_client": "local"}, "__grains__": {}, "__pillar__": Section(self)}
        return {"__salt__": {}, **found_in}


class Section(Mapping[str, object]):
    """A configuration as it is now, as a tree: what begins with a prefix."""

    def __init__(self, config: Config, prefix: str = "") -> None:
        self._config = config
        self._prefix = prefix

    def __getitem__(self, name: str) -> object:
        key = f"{self._prefix}{name}"
        if key in self._config:
            self._config.asked.append(key)
            return self._config[key]
        if any(known.startswith(f"{key}:") for known in self._config):
            return Section(self._config, f"{key}:")
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        begun = (key.removeprefix(self._prefix) for key in self._config if key.startswith(self._prefix))
        return iter({key.partition(":")[0] for key in begun})

    def __len__(self) -> int:
        return sum(1 for _ in self)


@pytest.fixture
def config() -> Config:
    return Config()


@pytest.fixture
def context() -> dict[str, object]:
    return {}


@pytest.fixture
def shim(monkeypatch: pytest.MonkeyPatch, config: Config, context: dict[str, object]) -> ModuleType:
    """Salt's module in this process, with what the loader puts into it."""
    from salt._logging import shutdown_temp_handler
    from saltext.zkcoord.modules import zk_concurrency

    shutdown_temp_handler()  # keeps warnings for the end of the process, when pytest does not listen any more
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

    def children(path: str) -> list[str]:
        zk.sync(path)
        try:
            return zk.get_children(path)
        except NoNodeError:
            return []

    return children


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


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Show the daemons' logs with a failure."""
    outcome = yield
    report = outcome.get_result()
    fixtures = getattr(item, "funcargs", {})
    cluster = fixtures.get("cluster", fixtures.get("fleet"))
    if report.failed and isinstance(cluster, Cluster):
        report.sections.append(("Salt", cluster.logs()))
