"""Fixtures for pytest: a real ZooKeeper ensemble for a run of tests, a chroot for each test, and faults on the way.

With ``zkcoord`` installed pytest loads this by itself:

====================  =======  ===============================================================================
fixture               one for  what it is
====================  =======  ===============================================================================
``zk_ensemble``       the run  a `zkcoord.testing.Ensemble` of three servers, or of ``--zk-servers N``:
                               ``zk_ensemble.servers[0].kill()``, ``.pause()``, ``zk_ensemble.leader()``
``zk_hosts``          a test   its connect string, with a chroot that nobody else uses. Before the test all
                               servers run again; after it what is left below the chroot is deleted
``zk_proxies``        a test   a `zkcoord.testing.Proxies`, one before each server:
                               ``zk_proxies.drop_reply(Op.CREATE2)``, ``.expire()``, ``zk_proxies[0].stall()``
``zk_proxied_hosts``  a test   as ``zk_hosts``, through the proxies
====================  =======  ===============================================================================

A machine without Java, or without the jars of ZooKeeper, is an error of the fixture, which says what to install.
"""

from __future__ import annotations

import contextlib
import re
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from zkcoord.testing import Ensemble, Proxies

_SERVERS = 3


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--zk-servers``."""
    group = parser.getgroup("zkcoord")
    group.addoption("--zk-servers", type=int, default=_SERVERS, metavar="N", help="servers of the ensemble zk_ensemble")


@pytest.fixture(scope="session")
def zk_ensemble(pytestconfig: pytest.Config) -> Iterator[Ensemble]:
    """A real ensemble, which ends with the run of the tests."""
    from zkcoord.testing import Ensemble  # noqa: PLC0415 - only where it is used

    with Ensemble(pytestconfig.getoption("--zk-servers")) as ensemble:
        yield ensemble


@pytest.fixture
def _zk_chroot(zk_ensemble: Ensemble, request: pytest.FixtureRequest) -> Iterator[str]:
    from zkcoord import errors, znode  # noqa: PLC0415

    _mend(zk_ensemble)
    name = re.sub(r"\W+", "-", request.node.name)[:60]
    path = f"/{name}-{uuid.uuid4().hex[:8]}"
    znode.create(path, zk_hosts=zk_ensemble.hosts)
    yield path
    _mend(zk_ensemble)
    with contextlib.suppress(errors.NoNode):
        znode.delete(path, recursive=True, zk_hosts=zk_ensemble.hosts)


@pytest.fixture
def zk_hosts(zk_ensemble: Ensemble, _zk_chroot: str) -> str:
    """The connect string of the ensemble, with a chroot of the test's own."""
    return zk_ensemble.hosts + _zk_chroot


@pytest.fixture
def zk_proxies(zk_ensemble: Ensemble) -> Iterator[Proxies]:
    """A proxy before each server, which loses, delays and holds back what clients and server say."""
    from zkcoord.testing import proxied  # noqa: PLC0415

    with proxied(zk_ensemble) as proxies:
        yield proxies


@pytest.fixture
def zk_proxied_hosts(zk_proxies: Proxies, _zk_chroot: str) -> str:
    """The connect string that leads through the proxies, with a chroot of the test's own."""
    return zk_proxies.hosts + _zk_chroot


def _mend(ensemble: Ensemble) -> None:
    """Let all servers run again that a test has killed or paused."""
    broken = [server for server in ensemble.servers if server.paused or not server.running]
    for server in broken:
        if server.paused:
            server.resume()
        if not server.running:
            server.restart()
    if broken:
        ensemble.wait_ready()
