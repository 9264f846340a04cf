"""Kazoo, and Salt's stock module on it, beside ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from kazoo.client import KazooClient


@pytest.fixture
def connect(hosts: str) -> Iterator[Callable[..., KazooClient]]:
    """Open a session with kazoo. Closed with the test."""
    clients: list[KazooClient] = []

    def start(**settings: object) -> KazooClient:
        clients.append(KazooClient(hosts, **settings))
        clients[-1].start(30)
        return clients[-1]

    yield start
    for client in clients:
        client.stop()
        client.close()


@pytest.fixture
def kazoo(connect: Callable[..., KazooClient]) -> KazooClient:
    return connect()


@pytest.fixture
def start() -> Iterator[Callable[..., Future]]:
    """Run a function in a thread of its own."""
    with ThreadPoolExecutor(16) as threads:
        yield threads.submit
