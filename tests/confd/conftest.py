"""Genuine ganeti-confd servers. A missing one is a failure, never a skip."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from zkcoord.testing import ConfdServers

from tests.support import confd as support
from tests.support.processes import MARK


@pytest.fixture(scope="session")
def started() -> Iterator[ConfdServers]:
    """Three of them, for all tests."""
    mark = os.environ.pop(MARK, None)  # they outlive the test that starts them
    with ConfdServers(3) as servers:
        if mark is not None:
            os.environ[MARK] = mark
        yield servers


@pytest.fixture
def servers(started: ConfdServers) -> Iterator[ConfdServers]:
    """Three servers that run, and have one configuration, whatever the test before has done."""
    yield started
    started.reset()


@pytest.fixture
def asking(servers: ConfdServers) -> dict[str, Any]:
    """Whom to ask."""
    return {"peers": servers.peers, "hmac_key": servers.hmac_key, "port": servers.port}


@pytest.fixture
def peers(servers: ConfdServers) -> Iterator[support.Peers]:
    """Peers that are none of Ganeti's, on the servers' port."""
    with support.peers(servers) as made:
        yield made


@pytest.fixture
def several() -> Iterator[Callable[[int], ConfdServers]]:
    """Start another number of servers, for one test."""
    made: list[ConfdServers] = []

    def start(size: int, **options: Any) -> ConfdServers:
        made.append(ConfdServers(size, **options))
        made[-1].start()
        return made[-1]

    yield start
    for servers in made:
        servers.stop()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Show the servers' logs with a failure."""
    outcome = yield
    report = outcome.get_result()
    if report.failed and "servers" in getattr(item, "funcargs", {}):
        report.sections.append(("ganeti-confd", item.funcargs["servers"].logs(10)))
