"""TLS and SASL from Salt: by the configuration, and by keywords in the shell and in states."""

from __future__ import annotations

import pytest
from zkcoord.testing import Ensemble

from tests.support.salt import LONG, VERSIONS, Minionless

LOCK = "zk_concurrency.lock"
HOLDERS = "zk_concurrency.lock_holders"
OPTIONS = ("--retcode-passthrough", "-l", "critical")


def as_arguments(tls: dict[str, object]) -> list[dict[str, object]]:
    return [{name: value} for name, value in tls.items()]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_profile_has_all_that_tls_needs(minionless, version, secure, tls, root):
    salt: Minionless = minionless(version, zookeeper={"prod": {"hosts": secure.secure_hosts, **tls}})
    assert salt.salt_call(LOCK, root, identifier="a", profile="prod").outcome == (0, True)
    assert salt.salt_call(HOLDERS, root, profile="prod").outcome == (0, ["a"])
    assert salt.salt_call("zookeeper.exists", root, profile="prod").outcome == (0, True)


@pytest.mark.parametrize("version", VERSIONS)
def test_keywords_have_it_too(minionless, version, secure, tls, root):
    salt: Minionless = minionless(version)
    given = {**tls, "timeout": 20}
    assert salt.salt_call(LOCK, root, secure.secure_hosts, identifier="a", **given).outcome == (0, True)
    assert salt.salt_call("zookeeper.exists", root, hosts=secure.secure_hosts, **tls).outcome == (0, True)
    run = salt.salt_call("zk_concurrency.run", f"{root}-run", "test.echo", "hi", zk_hosts=secure.secure_hosts, **given)
    assert run.outcome == (0, "hi")
    wrong = salt.salt_call(HOLDERS, root, secure.secure_hosts, use_tls=True)
    assert wrong.code != 0
    assert "use_tls is not known here" in wrong.stdout + wrong.stderr


@pytest.mark.parametrize("version", VERSIONS)
def test_states_and_what_they_call_have_it_too(minionless, version, secure, tls, root):
    salt: Minionless = minionless(version)
    security = as_arguments(tls)
    locked = [{"name": root}, {"zk_hosts": secure.secure_hosts}, {"timeout": 20}]
    called = [{"path": root}, {"zk_hosts": secure.secure_hosts}]
    salt.state(
        "it",
        {
            "take": {"zk_concurrency.lock": [*locked, *security]},
            "look": {"module.run": [{HOLDERS: [*called, *security]}]},
            "hold": {"zk_concurrency.held": [{"name": f"{root}-held"}, *locked[1:], *security]},
            "make": {
                "zookeeper.present": [{"name": f"{root}-z"}, {"value": "v"}, {"hosts": secure.secure_hosts}, *security]
            },
            "typo": {"zk_concurrency.unlock": [{"name": root}, *locked[1:2], {"ca_cert": "/nowhere"}]},
            "give": {"zk_concurrency.unlock": [{"name": root}, *locked[1:2], *security]},
        },
    )
    answer = salt.salt_call("state.apply", "it", options=OPTIONS)
    found = {state["__id__"]: state for state in answer.value.values()}
    failed = {name: state["comment"] for name, state in found.items() if not state["result"]}
    assert failed == {"typo": "keyword: ca_cert is not known here"}
    assert found["look"]["changes"] == {HOLDERS: ["probe"]}


def test_a_certificate_that_cannot_be_accepted_is_one_line(minionless, secure, tls, root):
    salt: Minionless = minionless(
        zookeeper={"hosts": secure.secure_hosts, "use_ssl": True, "ca_certs": tls["ca_certs"]}
    )
    answer = salt.salt_call(LOCK, root)
    assert answer.code != 0
    assert "no server can be used: " in answer.stderr
    assert "Traceback" not in answer.stderr


@pytest.mark.zookeeper("3.7")
def test_a_user_logs_in_by_sasl(minionless, root):
    config = {"enforce.auth.enabled": True, "enforce.auth.schemes": "sasl"}
    with Ensemble(1, sasl={"salt": "secret"}, config=config) as ensemble:
        user = {"scheme": "sasl", "username": "salt", "password": "secret"}
        salt: Minionless = minionless(zookeeper={"hosts": ensemble.hosts, "session_timeout": LONG, **user})
        assert salt.salt_call(LOCK, root, identifier="a", mechanism="DIGEST-MD5").outcome == (0, True)
        refused = salt.salt_call(LOCK, root, password="wrong")
        assert refused.code != 0
        assert "refused sasl:salt" in refused.stderr
