"""Ensembles that can be changed, and are as they were after each test."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest
import zkcoord
from zkcoord import ensemble as administered
from zkcoord.ensemble import ZooKeeperManager
from zkcoord.testing import Ensemble, EnsembleError, Server
from zkcoord.testing.certificates import Authority

from tests.support.calls import wait_until

SUPER = {"username": "super", "password": "pw"}
DIGEST = {**SUPER, "scheme": "digest"}


@pytest.fixture(scope="session")
def changeable() -> Iterator[Ensemble]:
    """Three servers that can be changed by a super user, who logs in by the digest scheme or by SASL."""
    users = {"super": "pw", "bob": "builder"}
    with Ensemble(3, reconfig=True, super_user=("super", "pw"), sasl=users, config={"syncLimit": 4}) as ensemble:
        yield ensemble


@pytest.fixture(scope="session")
def reserved() -> Iterator[Ensemble]:
    """Three servers that answer `srvr` alone, on addresses of their own, with AdminServers at one port."""
    closed = {"4lw.commands.whitelist": "srvr", "syncLimit": 4}
    with Ensemble(3, reconfig=True, super_user=("super", "pw"), admin=True, own_hosts=True, config=closed) as ensemble:
        yield ensemble


@pytest.fixture(scope="session")
def encrypted(authority: Authority) -> Iterator[Ensemble]:
    """Three servers that speak TLS as well, each on an address of its own."""
    tls = authority.server("hosts", hosts=("127.0.0.2", "127.0.0.3", "127.0.0.4"))
    with Ensemble(3, tls=tls._replace(client_auth=False), own_hosts=True) as ensemble:
        yield ensemble


def restore(ensemble: Ensemble) -> None:
    """Have all of the first three up and be members, and nobody else."""
    for server in ensemble.servers[: ensemble.size]:
        server.resume()
        server.start()
    try:
        ensemble.wait_ready(10)
    except EnsembleError:  # what a failed test has left
        for server in ensemble.servers:
            server.kill()
            server.start()
        ensemble.wait_ready()
    members = [ensemble.member(server) for server in ensemble.servers[: ensemble.size]]
    admin_port = ensemble.servers[0].admin_port or 0
    connection = zkcoord.Connection(ensemble.hosts, **DIGEST, connect_timeout=30)

    def is_restored() -> bool:
        with contextlib.suppress(zkcoord.errors.Error):
            administered.set_config(members, connection=connection, admin_port=admin_port, timeout=20)
            return True
        return False

    if set(administered.config(connection=connection)[0]) != set(members):
        wait_until(is_restored, "the members are those of before", 30)
    for server in ensemble.servers[ensemble.size :]:
        ensemble.discard(server)
    ensemble.wait_ready()


@pytest.fixture
def lab(changeable: Ensemble) -> Iterator[Ensemble]:
    yield changeable
    restore(changeable)
    zkcoord.close()


@pytest.fixture
def shut(reserved: Ensemble) -> Iterator[Ensemble]:
    yield reserved
    restore(reserved)
    zkcoord.close()


@pytest.fixture
def manager(lab: Ensemble) -> Callable[..., ZooKeeperManager]:
    """Make a manager of the ensemble that can be changed."""

    def make(hosts: list[str] | None = None, **options: object) -> ZooKeeperManager:
        return ZooKeeperManager(hosts or lab.hosts.split(","), **{**SUPER, "admin_port": 0, **options})

    return make


@pytest.fixture
def super_user(lab: Ensemble) -> zkcoord.Connection:
    return zkcoord.Connection(lab.hosts, **DIGEST)


@pytest.fixture
def joining(lab: Ensemble) -> Server:
    """A server that follows, and is no member yet."""
    server = lab.add()
    lab.wait_ready()
    return server


def followers(ensemble: Ensemble) -> list[Server]:
    leader = ensemble.leader()
    return [server for server in ensemble.servers if server is not leader]
