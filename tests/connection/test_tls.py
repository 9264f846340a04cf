"""TLS, against real secure ports: what is accepted, and that everything else has an error of its own."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zkcoord
from cryptography.hazmat.primitives import serialization
from kazoo.client import KazooClient
from zkcoord import znode
from zkcoord.errors import ArgumentError, NodeExists, TlsFailed, Unreachable
from zkcoord.testing import Ensemble
from zkcoord.testing.certificates import Authority

from tests.support.calls import PATIENCE, settings
from tests.support.processes import Script
from tests.support.salt import closed_port

PASSWORD = "c0rrect-h0rse"

# How to make a certificate that no client should accept, and what a client says of it.
BAD = {
    "expired": ({"days": (-3, -1)}, r"the certificate expired at 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ"),
    "early": ({"days": (1, 3)}, r"the certificate is not valid before 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ"),
    "self-signed": ({"self_signed": True}, r"the certificate is self-signed, and nobody in \S+ vouches for it"),
    "of-another": (
        {"hosts": ["zk1.example", "10.9.8.7"]},
        r"the certificate is for zk1.example, 10.9.8.7, not for 127",
    ),
}


@pytest.fixture(scope="module")
def bad(authority: Authority) -> Iterator[dict[str, Ensemble]]:
    """Servers with certificates that no client should accept."""
    servers = {name: Ensemble(1, tls=authority.server(name, **how)) for name, (how, _) in BAD.items()}
    try:
        for server in servers.values():
            server.start()
        yield servers
    finally:
        for server in servers.values():
            server.stop()


@pytest.fixture(scope="module")
def encrypted(authority: Authority, tls: dict[str, object]) -> dict[str, object]:
    certfile, keyfile = authority.issue("encrypted", password=PASSWORD)
    return {**tls, "certfile": certfile, "keyfile": keyfile}


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that nobody trusts."""
    return Authority(tmp_path_factory.mktemp("stranger"), "stranger")


def message(call: Any, *args: object, **kwargs: object) -> str:
    with pytest.raises(TlsFailed) as caught:
        call(*args, config_get=PATIENCE, **kwargs)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith("no server can be used: ")
    assert (caught.value.kind, caught.value.path) == ("tls", None)
    return text


class TestASecureEnsemble:
    def test_does_all_that_a_plain_one_does(self, secure, tls, root):
        at = {"zk_hosts": secure.secure_hosts, **tls}
        assert zkcoord.lock(root, identifier="a", **at)
        assert zkcoord.lock_holders(root, **at) == ["a"]
        assert zkcoord.status(root, **at)["holders"][0]["identifier"] == "a"
        assert zkcoord.set_max(root, 2, **at)["new"] == 2
        assert zkcoord.unlock(root, identifier="a", **at)
        assert zkcoord.party_members(root, **at) == []
        znode.create(f"{root}-z", b"data", **at)
        with pytest.raises(NodeExists):
            znode.create(f"{root}-z", **at)
        assert znode.get(f"{root}-z", **at) == b"data"

    def test_is_found_by_a_profile(self, secure, tls, root):
        said = {**tls, "hosts": secure.secure_hosts, "use_ssl": "yes", "ca_certs": Path(tls["ca_certs"])}
        assert zkcoord.lock(root, identifier="a", config_get=settings(**said))
        prod = {f"zookeeper:prod:{key}": value for key, value in said.items()}
        assert zkcoord.lock_holders(root, profile="prod", config_get=prod.get) == ["a"]

    def test_is_found_by_its_scheme(self, secure, tls, root):
        hosts = [f"tcp+tls://{server}" for server in secure.secure_hosts.split(",")]
        assert zkcoord.lock(root, hosts, identifier="a", **{**tls, "use_ssl": None})

    def test_shares_its_znodes_with_kazoo(self, secure, tls, root):
        ca = {"ca": tls["ca_certs"], "certfile": tls["certfile"], "keyfile": tls["keyfile"]}
        client = KazooClient(secure.secure_hosts, use_ssl=True, **ca)
        client.start()
        try:
            assert zkcoord.lock(root, secure.secure_hosts, identifier="a", **tls)
            assert client.Semaphore(root, "b").lease_holders() == ["a"]
        finally:
            client.stop()
            client.close()

    def test_keeps_its_sessions_while_its_servers_restart(self, secure, tls, root):
        at = {"zk_hosts": secure.secure_hosts, **tls}
        assert zkcoord.lock(root, identifier="a", ephemeral_lease=True, **at)
        before = zkcoord.status(root, **at)["holders"]
        for server in secure.servers:
            server.restart()
        secure.wait_ready()
        after = zkcoord.status(root, config_get=PATIENCE, **at)["holders"]
        assert [it["session"] for it in after] == [it["session"] for it in before]

    def test_serves_a_forked_child_and_its_parent(self, secure, tls, root):
        code = """
            assert zkcoord.lock(root, identifier="parent", max_concurrency=2, ephemeral_lease=True, **at)
            if (child := os.fork()) == 0:
                zkcoord.lock(root, identifier="child", max_concurrency=2, **at)
                os._exit(len(zkcoord.lock_holders(root, **at)))
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
            print(*sorted(zkcoord.lock_holders(root, **at)))
        """
        process = Script(code, {"root": root, "at": {"zk_hosts": secure.secure_hosts, **tls}})
        try:
            assert process.result() == "2\nchild parent"
        finally:
            process.end()

    def test_gives_every_certificate_a_session_of_its_own(self, secure, tls, root, authority):
        certfile, keyfile = authority.issue("somebody-else")
        before = secure.sessions()
        for _ in range(2):
            zkcoord.lock_holders(root, secure.secure_hosts, **tls)
            zkcoord.lock_holders(root, secure.secure_hosts, **{**tls, "certfile": certfile, "keyfile": keyfile})
        assert len(secure.sessions() - before) == 2


class TestAKey:
    def refusal(self, secure: Ensemble, **arguments: object) -> str:
        with pytest.raises(ArgumentError) as caught:
            zkcoord.lock_holders("/p", secure.secure_hosts, **arguments)
        text = str(caught.value)
        assert "\n" not in text
        assert "PRIVATE" not in text
        assert PASSWORD not in text
        return text

    def test_that_is_encrypted_works_with_its_password(self, secure, encrypted, root):
        assert zkcoord.lock(root, secure.secure_hosts, identifier="a", keyfile_password=PASSWORD, **encrypted)

    def test_that_is_encrypted_does_not_work_with_another_or_none(self, secure, encrypted):
        path = encrypted["keyfile"]
        text = self.refusal(secure, keyfile_password=f"not {PASSWORD}", **encrypted)
        assert text == f"keyfile_password: does not decrypt {path}"
        assert self.refusal(secure, **encrypted) == f"keyfile: {path} is encrypted: give its keyfile_password"

    def test_that_is_encrypted_in_the_old_way_is_to_be_converted(self, secure, tls, tmp_path):
        key = serialization.load_pem_private_key(Path(tls["keyfile"]).read_bytes(), None)
        path = tmp_path / "old.key"
        encryption = serialization.BestAvailableEncryption(PASSWORD.encode())
        old = serialization.PrivateFormat.TraditionalOpenSSL
        path.write_bytes(key.private_bytes(serialization.Encoding.PEM, old, encryption))
        text = self.refusal(secure, **{**tls, "keyfile": path, "keyfile_password": PASSWORD})
        assert text.endswith("openssl pkcs8 -topk8")

    def test_may_be_in_the_file_of_the_certificate(self, secure, tls, root, tmp_path):
        both = tmp_path / "both.pem"
        both.write_text(Path(tls["certfile"]).read_text() + Path(tls["keyfile"]).read_text())
        assert zkcoord.lock(root, secure.secure_hosts, identifier="a", **{**tls, "certfile": both, "keyfile": None})

    def test_must_belong_to_the_certificate(self, secure, tls, authority):
        _, other = authority.issue("another")
        text = self.refusal(secure, **{**tls, "keyfile": other})
        assert text == f"keyfile: the key in {other} does not belong to the certificate in {tls['certfile']}"


@pytest.mark.parametrize("argument", ["ca_certs", "certfile", "keyfile"])
class TestAFile:
    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (None, "cannot read {path}: No such file or directory (os error 2)"),
            (b"", "{path} holds no "),
            (b"c0rrect-h0rse", "{path} holds no "),
            (b"\x30\x82\xff\xfe", "{path} is no PEM file"),
            (b"-----BEGIN CERTIFICATE-----\nc0rrect-h0rse!\n-----END CERTIFICATE-----\n", "{path} "),
            (b"-----BEGIN PRIVATE KEY-----\nc0rrect-h0rse\n", "{path} "),
        ],
        ids=["missing", "empty", "text", "binary", "damaged", "cut"],
    )
    def test_that_is_of_no_use_is_named_and_not_shown(self, secure, tls, tmp_path, argument, content, reason):
        path = tmp_path / "file.pem"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ArgumentError) as caught:
            zkcoord.lock_holders("/p", secure.secure_hosts, **{**tls, argument: path})
        text = str(caught.value)
        assert text.startswith(f"{argument}: {reason.format(path=path)}")
        assert "c0rrect" not in text
        assert "\n" not in text

    def test_is_not_looked_at_without_tls(self, hosts, root, tls, argument):
        nowhere = {**tls, argument: "/nowhere", "use_ssl": False}
        assert zkcoord.lock_holders(root, hosts, **nowhere) == []


class TestACertificateThatCannotBeAccepted:
    @pytest.mark.parametrize("name", BAD)
    def test_is_an_error_at_once_and_says_why(self, bad, authority, name):
        hosts = bad[name].secure_hosts
        text = message(zkcoord.lock_holders, "/p", hosts, use_ssl=True, ca_certs=authority.path)
        reason = re.search(BAD[name][1], text)
        assert reason, text
        assert hosts in text

    def test_may_vouch_for_itself(self, bad, root, authority):
        own = authority.path.with_name("self-signed.crt")
        assert zkcoord.lock(root, bad["self-signed"].secure_hosts, identifier="a", use_ssl=True, ca_certs=own)

    def test_of_an_unknown_authority_is_one(self, secure, tls, stranger):
        text = message(zkcoord.lock_holders, "/p", secure.secure_hosts, **{**tls, "ca_certs": stranger.path})
        assert text.endswith(f"the certificate was issued by none of the authorities in {stranger.path}")
        assert text.count("certificate") == 1, "what is the same for all servers is said once"

    def test_that_was_revoked_is_one_and_others_are_not(self, secure, tls, authority, root):
        path = authority.revoke(authority.path.with_name("server.crt"))
        text = message(zkcoord.lock_holders, "/p", secure.secure_hosts, **{**tls, "ca_certs": path})
        assert text.endswith("the certificate was revoked")
        path = authority.revoke(authority.path.with_name("client.crt"))
        assert zkcoord.lock(root, secure.secure_hosts, identifier="a", **{**tls, "ca_certs": path})

    def test_of_the_client_is_one(self, secure, tls, stranger):
        certfile, keyfile = stranger.issue("client")
        mine = {**tls, "certfile": certfile, "keyfile": keyfile}
        assert f"refused the certificate in {certfile} (" in message(
            zkcoord.lock_holders, "/p", secure.secure_hosts, **mine
        )

    def test_of_the_client_is_one_where_there_is_none(self, secure, authority):
        only = {"use_ssl": True, "ca_certs": authority.path}
        text = message(zkcoord.lock_holders, "/p", secure.secure_hosts, **only)
        assert "wants a certificate of the client's, in certfile and keyfile (" in text

    def test_does_not_keep_others_from_being_used(self, bad, secure, tls, root):
        hosts = f"{bad['expired'].secure_hosts},{secure.secure_hosts}"
        for number in range(3):
            assert zkcoord.lock(root, hosts, identifier=str(number), max_concurrency=3, **tls)
            zkcoord.close()

    def test_is_waited_with_for_servers_that_may_come_and_is_named_in_the_end(self, bad, authority):
        given = {"use_ssl": True, "ca_certs": authority.path, "config_get": settings(connect_timeout=3)}
        with closed_port() as nobody, pytest.raises(Unreachable, match="the certificate expired at "):
            zkcoord.lock_holders("/p", f"{bad['expired'].secure_hosts},{nobody}", **given)

    def test_ends_a_wait_without_end(self, bad, authority):
        waiting = {"use_ssl": True, "ca_certs": authority.path}
        assert "expired" in message(zkcoord.lock, "/p", bad["expired"].secure_hosts, **waiting)


class TestWhereOneSpeaksTlsAndTheOtherDoesNot:
    def test_plain_text_to_a_secure_port(self, secure):
        text = message(zkcoord.lock_holders, "/p", secure.secure_hosts)
        assert text.endswith(": speaks nothing but TLS; set use_ssl, or name another port")

    @pytest.mark.parametrize("kind", ["secure", "ensemble"])  # netty, and Java's own
    def test_tls_to_a_plain_port(self, request, kind, tls):
        hosts = request.getfixturevalue(kind).hosts
        text = message(zkcoord.lock_holders, "/p", hosts, **tls)
        assert text.endswith(": speaks plain text, not TLS; leave use_ssl out, or name the secure port")

    def test_nothing_at_all(self, tls):
        given = {**tls, "config_get": settings(connect_timeout=2)}
        with closed_port() as hosts, pytest.raises(Unreachable, match="check the addresses"):
            zkcoord.lock_holders("/p", hosts, **given)


class TestWithoutVerification:
    def test_another_host_is_accepted_and_warned_of_each_time(self, bad, authority, caplog, root):
        given = {"use_ssl": True, "ca_certs": authority.path, "verify_certs": False}
        for _ in range(2):
            assert zkcoord.lock(root, bad["of-another"].secure_hosts, identifier="a", **given)
        warnings = [record for record in caplog.records if record.name == "zkcoord"]
        assert [record.levelno for record in warnings] == [logging.WARNING] * 2
        assert bad["of-another"].secure_hosts in warnings[0].getMessage()

    def test_an_unknown_authority_is_not(self, bad, stranger, caplog):
        given = {"use_ssl": True, "ca_certs": stranger.path, "verify_certs": False}
        text = message(zkcoord.lock_holders, "/p", bad["of-another"].secure_hosts, **given)
        assert "none of the authorities" in text

    def test_what_is_verified_is_not_warned_of(self, secure, tls, caplog):
        zkcoord.lock_holders("/p", secure.secure_hosts, **tls)
        zkcoord.lock_holders("/p", secure.secure_hosts, **tls, verify_certs=True)
        assert not [record for record in caplog.records if record.name == "zkcoord"]
