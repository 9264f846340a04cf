"""A realm, servers in it, and being one of its users. Nothing of tests/conftest.py, which needs Salt and kazoo."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zkcoord
from zkcoord.testing import Ensemble, Kerberos

from tests.gssapi.realm import REALM, Realm
from tests.support.processes import Script

TICKET = {"scheme": "sasl", "mechanism": "GSSAPI"}
STRICT = {"enforce.auth.enabled": True, "enforce.auth.schemes": "sasl"}


@pytest.fixture(scope="session")
def realm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Realm]:
    """A real KDC. A missing one is a failure, never a skip."""
    with Realm(tmp_path_factory.mktemp("realm")) as realm:
        yield realm


@pytest.fixture(scope="session")
def kerberos(realm: Realm) -> Kerberos:
    """Who the servers are."""
    return Kerberos(f"zookeeper/127.0.0.1@{REALM}", realm.keytab("zookeeper/127.0.0.1"), realm.config)


@pytest.fixture(scope="session")
def ensemble(kerberos: Kerberos) -> Iterator[Ensemble]:
    """Three servers that serve nobody without a ticket."""
    with Ensemble(3, sasl=kerberos, config=STRICT) as ensemble:
        yield ensemble


@pytest.fixture
def hosts(ensemble: Ensemble) -> str:
    ensemble.wait_ready()
    return ensemble.hosts


@pytest.fixture(scope="session")
def keytab(realm: Realm) -> Path:
    """The key of the user `minion`."""
    return realm.keytab("minion")


@pytest.fixture(autouse=True)
def nobody(realm: Realm, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test begins in the realm, without a ticket, and leaves no session."""
    for name, value in realm.environment.items():
        monkeypatch.setenv(name, value)
    yield
    zkcoord.close()


@pytest.fixture
def ticket(realm: Realm, keytab: Path, nobody: None, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Get a ticket, of `minion` if nobody else is named, with options of kinit's, and be who it names."""

    def get(*options: str, principal: str = "minion", key: Path = keytab) -> Path:
        path = realm.ticket(principal, key, *options)
        monkeypatch.setenv("KRB5CCNAME", f"FILE:{path}")
        return path

    return get


@pytest.fixture
def root(request: pytest.FixtureRequest) -> str:
    """A path of the test's own."""
    name = re.sub(r"\W+", "-", request.node.name)[:60]
    return f"/{name}-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def script(hosts: str, root: str) -> Iterator[Callable[[str], Script]]:
    """Run Python code in a process of its own."""
    started: list[Script] = []

    def start(code: str) -> Script:
        started.append(Script(code, {"at": {"zk_hosts": hosts, **TICKET}, "root": root}))
        return started[-1]

    yield start
    for process in started:
        process.end()
