"""SASL and enforced authentication, against real servers: who is let in, and that nobody is by mistake."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import zkcoord
from zkcoord import znode
from zkcoord.errors import ArgumentError, AuthFailed, NoAuth
from zkcoord.testing import Ensemble

from tests.support.calls import PATIENCE
from tests.support.versions import zookeeper_version

PASSWORD = 'c0rrect "h0rse\\'
USERS = {"salt": PASSWORD, "other": "another"}
SASL = {"scheme": "sasl", "username": "salt", "password": PASSWORD}
DIGEST = {**SASL, "scheme": "digest"}


@pytest.fixture(scope="module")
def strict() -> Iterator[Ensemble]:
    """Three servers that serve nobody who has not authenticated by SASL."""
    config = {
        "enforce.auth.enabled": True,
        "enforce.auth.schemes": "sasl",
        "requireClientAuthScheme": "sasl",
    }
    with Ensemble(3, sasl=USERS, config=config) as ensemble:
        yield ensemble


@pytest.fixture(scope="module")
def lenient() -> Iterator[Ensemble]:
    """A server that serves also those who fail."""
    with Ensemble(1, sasl=USERS, config={"allowSaslFailedClients": True}) as ensemble:
        yield ensemble


@pytest.fixture(scope="module")
def enforced() -> Iterator[Ensemble]:
    """A server that serves nobody who gives no name."""
    with Ensemble(1, config={"enforce.auth.enabled": True, "enforce.auth.schemes": "digest"}) as ensemble:
        yield ensemble


def refusal(hosts: str, **who: object) -> str:
    """What is said to one who would wait for an hour."""
    with pytest.raises(AuthFailed) as caught:
        zkcoord.lock("/p", hosts, identifier="a", config_get=PATIENCE, **who)
    text = str(caught.value)
    assert caught.value.kind == "auth_failed"
    assert "\n" not in text
    assert "c0rrect" not in text
    return text


@pytest.mark.zookeeper("3.7")
class TestServersThatInsist:
    def test_serve_one_who_can(self, strict, root):
        at = {"zk_hosts": strict.hosts, **SASL}
        assert zkcoord.lock(root, identifier="a", **at)
        assert zkcoord.lock_holders(root, mechanism="DIGEST-MD5", **at) == ["a"]
        assert zkcoord.status(root, **at)["holders"][0]["identifier"] == "a"
        assert zkcoord.unlock(root, identifier="a", **at)

    def test_serve_one_who_is_named_by_a_profile(self, strict, root):
        prod = {"hosts": strict.hosts, "mechanism": "DIGEST-MD5", **SASL}
        known = {f"zookeeper:prod:{key}": value for key, value in prod.items()}
        assert zkcoord.lock(root, identifier="a", profile="prod", config_get=known.get)

    @pytest.mark.parametrize(
        ("who", "name"),
        [
            ({**SASL, "password": "wrong"}, "sasl:salt"),
            ({**SASL, "username": "nobody", "password": "wrong"}, "sasl:nobody"),
            ({**SASL, "username": "other"}, "sasl:other"),
            (DIGEST, "digest:salt"),
            ({}, "anonymous"),
        ],
        ids=["password", "user", "other", "digest", "anonymous"],
    )
    def test_serve_nobody_else(self, strict, who, name):
        expected = f"{strict.hosts} refused {name}, on the way to /p: check username, password and scheme"
        assert refusal(strict.hosts, **who) == expected

    def test_know_a_session_again_after_a_restart(self, strict, root):
        at = {"zk_hosts": strict.hosts, **SASL}
        assert zkcoord.lock(root, identifier="a", ephemeral_lease=True, **at)
        before = zkcoord.status(root, **at)["holders"]
        for server in strict.servers:
            server.restart()
        strict.wait_ready()
        after = zkcoord.status(root, config_get=PATIENCE, **at)["holders"]
        assert [it["session"] for it in after] == [it["session"] for it in before]

    def test_keep_users_apart(self, strict, root):
        before = strict.sessions()
        for _ in range(2):
            zkcoord.lock_holders(root, strict.hosts, **SASL)
            zkcoord.lock_holders(root, strict.hosts, scheme="sasl", username="other", password="another")
        assert len(strict.sessions() - before) == 2


class TestServersThatDoNot:
    def test_serve_nobody_who_asked_for_sasl_where_they_do_not_do_it(self, hosts):
        reason = "it knows no such user: SASL is off there, or lets in those who fail"
        if zookeeper_version() < (3, 7):
            reason = "SASL needs ZooKeeper 3.7 or newer, which can tell who is logged in"
        assert refusal(hosts, **SASL) == f"{hosts} refused sasl:salt, on the way to /p: {reason}"

    @pytest.mark.zookeeper("3.7")
    def test_serve_nobody_who_asked_for_sasl_and_failed(self, lenient):
        assert "lets in those who fail" in refusal(lenient.hosts, **{**SASL, "password": "wrong"})

    @pytest.mark.zookeeper("3.7")
    def test_serve_those_who_can_and_those_who_did_not_ask(self, lenient, root):
        before = lenient.sessions()
        assert zkcoord.lock(root, lenient.hosts, identifier="a", **SASL)
        assert zkcoord.lock_holders(root, lenient.hosts) == ["a"]
        assert len(lenient.sessions() - before) == 2, "who gave no credentials has a session of his own"


@pytest.mark.zookeeper("3.7")
def test_a_session_that_comes_to_a_server_without_sasl_is_not_used(root):
    with Ensemble(1, sasl=USERS) as ensemble:
        at = {"zk_hosts": ensemble.hosts, "config_get": PATIENCE, **SASL}
        assert zkcoord.lock(root, identifier="a", ephemeral_lease=True, **at)
        (server,) = ensemble.servers
        with_sasl = server._java
        server.stop()
        server._java = tuple(flag for flag in with_sasl if "login.config" not in flag)
        server.start()
        ensemble.wait_ready()
        assert "SASL is off there" in refusal(ensemble.hosts, **SASL)
        server.stop()
        server._java = with_sasl
        server.start()
        ensemble.wait_ready()
        assert zkcoord.lock_holders(root, **at) == ["a"], "it was the same session all the time"


class TestArguments:
    @pytest.mark.parametrize(
        ("who", "argument"),
        [
            ({"scheme": "sasl"}, "username"),
            ({"scheme": "sasl", "username": "salt"}, "username"),
            ({**SASL, "mechanism": "PLAIN"}, "mechanism"),
            ({"scheme": "sasl", "mechanism": "GSSAPI"}, "mechanism"),
            ({**DIGEST, "mechanism": "DIGEST-MD5"}, "mechanism"),
            ({"scheme": "SASL"}, "scheme"),
        ],
    )
    def test_that_do_not_say_who_are_refused_before_anything_is_sent(self, who, argument):
        with pytest.raises(ArgumentError, match=f"^{argument}: "):
            zkcoord.lock("/p", "127.0.0.1:1", config_get=PATIENCE, **who)


@pytest.mark.zookeeper("3.7")
def test_sasl_goes_through_tls(authority, tls, root):
    config = {"enforce.auth.enabled": True, "enforce.auth.schemes": "sasl"}
    with Ensemble(1, tls=authority.server("both", client_auth=True), sasl=USERS, config=config) as ensemble:
        assert zkcoord.lock(root, ensemble.secure_hosts, identifier="a", **SASL, **tls)
        assert "refused sasl:salt" in refusal(ensemble.secure_hosts, **{**SASL, "password": "wrong"}, **tls)
        assert "refused anonymous" in refusal(ensemble.secure_hosts, **tls)


def test_a_certificate_does_not_pass_for_a_user(secure, tls):
    assert "refused sasl:salt" in refusal(secure.secure_hosts, **SASL, **tls)


class TestDigest:
    @pytest.mark.zookeeper("3.7")
    def test_is_enough_where_it_is_enforced(self, enforced, root):
        assert zkcoord.lock(root, enforced.hosts, identifier="a", **DIGEST)
        assert "refused anonymous" in refusal(enforced.hosts)
        assert "refused sasl:salt" in refusal(enforced.hosts, **SASL)

    def test_a_session_is_never_reused_for_somebody_else(self, hosts, root):
        owner = {"username": "salt", "password": PASSWORD}
        mine = {"default_acl": {**owner, "allperms": True}, **owner}
        others = ({}, {**owner, "password": "wrong"}, {**owner, "username": "other"})
        for other in others:
            assert zkcoord.lock_holders(root, hosts, **other) == []
        znode.create(root, b"mine", zk_hosts=hosts, **mine)
        for other in others:
            with pytest.raises(NoAuth):
                znode.get(root, zk_hosts=hosts, **other)
        assert znode.get(root, zk_hosts=hosts, **owner) == b"mine"
        for other in others:
            with pytest.raises(NoAuth):
                znode.get(root, zk_hosts=hosts, **other)


@pytest.mark.zookeeper("3.7")
def test_a_refused_user_is_told_so_with_path_and_name(enforced):
    with pytest.raises(AuthFailed, match=r"refused anonymous, on the way to /p: ") as caught:
        zkcoord.lock("/p", enforced.hosts, identifier="a", timeout=10)
    assert caught.value.path == "/p"
    assert zkcoord.lock("/p", enforced.hosts, identifier="a", username="ann", password="ann-pw") is True
