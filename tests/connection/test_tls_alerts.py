"""What is told of a failed handshake comes from the handshake, and not from the alert that a version of Java sends."""

from __future__ import annotations

import contextlib
import functools
import re
import ssl
from collections.abc import Callable, Iterator

import pytest
import zkcoord
from cryptography.hazmat.primitives.asymmetric import ec
from zkcoord.errors import TlsFailed
from zkcoord.testing import Ensemble
from zkcoord.testing.certificates import Authority

from tests.support.alerts import AlertingServer
from tests.support.calls import PATIENCE

# Java 17 before 17.0.19 says CertificateRequired or BadCertificate, and later ones HandshakeFailure.
ALERTS = {
    40: "HandshakeFailure",
    42: "BadCertificate",
    45: "CertificateExpired",
    46: "CertificateUnknown",
    48: "UnknownCA",
    49: "AccessDenied",
    70: "ProtocolVersion",
    71: "InsufficientSecurity",
    80: "InternalError",
    116: "CertificateRequired",
    200: "AlertDescription(0xc8)",
}
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
# ZooKeeper 3.8 allows none of TLS 1.3 by itself.
CIPHERS = {"TLSv1.2": "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "TLSv1.3": "TLS_AES_256_GCM_SHA384"}

Serve = Callable[[ssl.TLSVersion, bool], dict[str, str]]


@pytest.fixture
def serve(authority: Authority) -> Iterator[Serve]:
    """A server for each alert; the name of its alert by its address."""
    tls = authority.server()
    servers: list[AlertingServer] = []

    def start(version: ssl.TLSVersion, asks: bool) -> dict[str, str]:
        servers.extend(AlertingServer(number, version, tls, asks=asks) for number in ALERTS)
        return dict(zip((server.address for server in servers), ALERTS.values(), strict=True))

    yield start
    for server in servers:
        server.stop()


def findings(hosts: object, **tls: object) -> dict[str, str]:
    """What is said of each server."""
    with pytest.raises(TlsFailed) as caught:
        zkcoord.lock_holders("/p", hosts, config_get=PATIENCE, **tls)
    found = re.findall(r"(127\.0\.0\.1:\d+(?:, 127\.0\.0\.1:\d+)*): ([^;]*)", str(caught.value))
    return {server: finding for servers, finding in found for server in servers.split(", ")}


@pytest.mark.parametrize("version", VERSIONS)
class TestAServerThatAskedForACertificate:
    def test_wants_one_where_there_is_none(self, serve, version, authority):
        servers = serve(version, True)
        wants = "wants a certificate of the client's, in certfile and keyfile"
        expected = {address: f"{wants} ({alert})" for address, alert in servers.items()}
        assert findings(list(servers), use_ssl=True, ca_certs=authority.path) == expected

    def test_refused_the_one_that_it_was_sent(self, serve, version, tls):
        servers = serve(version, True)
        refused = f"refused the certificate in {tls['certfile']}"
        assert findings(list(servers), **tls) == {address: f"{refused} ({it})" for address, it in servers.items()}


@pytest.mark.parametrize("with_certificate", [False, True])
def test_a_server_that_did_not_ask_says_nothing_of_certificates(serve, authority, tls, with_certificate):
    servers = serve(ssl.TLSVersion.TLSv1_3, False)
    given = tls if with_certificate else {"use_ssl": True, "ca_certs": authority.path}
    expected = {address: f"TLS cannot be agreed on: {alert}" for address, alert in servers.items()}
    assert findings(list(servers), **given) == expected


@pytest.fixture(scope="module")
def speaking(authority: Authority) -> Iterator[Callable[[str], Ensemble]]:
    """A server for each version of TLS, started when it is first asked for."""
    with contextlib.ExitStack() as stack:

        @functools.cache
        def start(protocol: str) -> Ensemble:
            config = {"ssl.protocol": protocol, "ssl.enabledProtocols": protocol, "ssl.ciphersuites": CIPHERS[protocol]}
            return stack.enter_context(Ensemble(1, tls=authority.server(client_auth=True), config=config))

        yield start


@pytest.mark.parametrize("protocol", CIPHERS)
class TestARealServer:
    """The Java that is installed, whichever it is."""

    @pytest.fixture
    def servers(self, speaking: Callable[[str], Ensemble], protocol: str) -> Ensemble:
        return speaking(protocol)

    def test_wants_a_certificate(self, servers, authority):
        (finding,) = findings(servers.secure_hosts, use_ssl=True, ca_certs=authority.path).values()
        assert finding.startswith("wants a certificate of the client's, in certfile and keyfile (")

    def test_refuses_one(self, servers, tls, authority, tmp_path):
        certfile, keyfile = Authority(tmp_path, "stranger").issue("client")
        (finding,) = findings(servers.secure_hosts, **{**tls, "certfile": certfile, "keyfile": keyfile}).values()
        assert finding.startswith(f"refused the certificate in {certfile} (")


def test_a_real_server_accepts_no_key_of_another_kind(authority, tls, monkeypatch):
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Djdk.tls.server.SignatureSchemes=ecdsa_secp256r1_sha256")
    certfile, keyfile = authority.issue("longer", curve=ec.SECP384R1())
    with Ensemble(1, tls=authority.server(client_auth=True)) as servers:
        assert zkcoord.lock_holders("/p", servers.secure_hosts, **tls) == []
        mine = {**tls, "certfile": certfile, "keyfile": keyfile}
        (finding,) = findings(servers.secure_hosts, **mine).values()
    assert finding.startswith(f"accepts no key of the kind that the certificate in {certfile} has (")
