"""The server has acted and its reply is lost, or it has not: no grant is lost, and none is doubled."""

import pytest
from zkcoord.testing import Op

from tests.support.calls import Waiting


@pytest.fixture(params=["reply", "request"])
def lose(request, proxies):
    """Lose the next reply to a kind of request, or the request itself; with the proof that it was lost."""
    wanted = set()

    def lose(opcode):
        wanted.add(opcode)
        for proxy in proxies:
            (proxy.drop_reply if request.param == "reply" else proxy.drop_request)(opcode)

    yield lose
    assert wanted
    assert {opcode for proxy in proxies for opcode in proxy.dropped} == wanted


@pytest.fixture
def far(at, proxies):
    """The same coordinator, through the proxies."""
    return {"zk_hosts": proxies.hosts, "timeout": 30}


OPCODES = [Op.MULTI, Op.MULTI_READ, Op.SYNC]


@pytest.mark.parametrize("opcode", [*OPCODES, Op.CREATE2], ids=lambda op: op.name)
def test_the_first_request_is_filed_and_granted_once(at, far, held, zk, lose, opcode):
    lose(opcode)
    answer = at.acquire("restart", "a", **far)
    assert (answer["granted"], answer["is_new"], answer["position"]) == (True, True, None)
    assert answer["effects"]["granted"] == ["a"]
    assert held() == (["a"], [])
    assert zk.get_children(f"{at.path}/requests/restart") == ["a"]


@pytest.mark.parametrize("opcode", OPCODES, ids=lambda op: op.name)
def test_a_later_request_is_filed_once(at, far, held, lose, opcode):
    at.acquire("restart", "a")
    at.release("restart", "a")
    lose(opcode)
    answer = at.acquire("restart", "b", **far)
    assert (answer["granted"], answer["is_new"]) == (True, True)
    assert held() == (["b"], [])
    assert answer["effects"]["granted"] == ["b"]
    again = at.acquire("restart", "b", **far)
    assert (again["is_new"], again["effects"]["granted"]) == (False, [])


def test_a_release_is_done_once_and_the_next_is_granted_once(at, far, held, lose):
    for unit in "abc":
        at.acquire("restart", unit)
    lose(Op.MULTI)
    given = at.release("restart", "a", **far)
    assert (given["requested"], given["granted"]) == (True, True)
    assert given["effects"]["granted"] == ["b"]
    assert held() == (["b"], ["c"])


def test_an_operators_grant_is_made_once(at, far, held, lose):
    for unit in "ab":
        at.acquire("restart", unit)
    lose(Op.MULTI)
    assert at.grant("restart", "b", **far) is True
    assert held() == (["a", "b"], [])


def test_a_decision_of_a_program_is_made_once(at, far, held, lose):
    at.acquire("restart", "a", policy={"custom": "mine"})
    version = at.queue("restart")["version"]
    lose(Op.MULTI)
    effects = at.grant_if("restart", "mine", version, ["a"], **far)
    assert effects is None or effects["granted"] == ["a"]
    assert held() == (["a"], [])
    assert at.grant_if("restart", "mine", version, ["a"]) is None, "it is another version by now"


def test_a_policy_is_changed_once(at, far, lose):
    at.acquire("restart", "a")
    lose(Op.SET_DATA)
    assert at.set_policy("restart", {"max": 3}, **far) in ("serial", "max 3")
    assert at.queue("restart")["rule"] == "max 3"


@pytest.fixture
def interrupted(far, proxies, wait_until):
    """Call a function through the proxies, lose its transaction, and let others go on before it is back."""

    def interrupted(lost, then, function, *args, **kwargs):
        for proxy in proxies:
            (proxy.drop_reply if lost == "reply" else proxy.drop_request)(Op.MULTI)
        calling = Waiting(function, *args, **kwargs, **far)
        wait_until(lambda: any(proxy.dropped[Op.MULTI] for proxy in proxies), "it is lost", 30)
        for proxy in proxies:
            proxy.refuse()
        then()
        for proxy in proxies:
            proxy.heal()
        return calling.result()

    return interrupted


def test_a_drop_is_told_also_where_others_have_written_since(at, held, interrupted, wait_until, zk):
    at.acquire("restart", "dead", expires=1)
    at.acquire("restart", "next")
    at.acquire("restart", "last")
    seen = zk.exists(f"{at.path}/requests/restart/dead").mtime

    def has_expired():
        zk.set(at.path, b"")
        return zk.exists(at.path).mtime > seen + 1000

    wait_until(has_expired, "a second has passed on the servers")
    effects = interrupted("reply", lambda: at.release("restart", "next"), at.handle, "restart")
    assert [it["unit"] for it in effects["dropped"]] == ["dead"]
    assert held() == (["last"], [])


def test_an_operators_grant_is_known_also_where_others_have_written_since(at, held, interrupted):
    for unit in "abc":
        at.acquire("restart", unit)
    granted = interrupted("reply", lambda: at.release("restart", "a"), at.grant, "restart", "c", by="ann")
    assert granted is True
    assert held() == (["c"], ["b"])


def test_a_release_tells_of_the_grant_that_has_come_between(at, held, interrupted):
    for unit in "ab":
        at.acquire("restart", unit)
    given = interrupted("request", lambda: at.release("restart", "a"), at.release, "restart", "b")
    assert (given["requested"], given["granted"], given["granted_since"] is not None) == (True, True, True)
    assert held() == ([], [])
