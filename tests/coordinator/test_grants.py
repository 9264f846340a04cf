"""Asking now and being granted later: on real servers, by the functions underneath."""

import datetime
import json
import threading

import pytest
from zkcoord import Cancel, errors, grants, znode

from tests.support.calls import Waiting, together


def test_the_first_is_granted_and_the_others_queue_in_their_order(at, held, zk):
    first = at.acquire("restart", "web2", reason="kernel")
    assert first["granted"]
    assert first["is_new"]
    assert first["position"] is None
    second, third = at.acquire("restart", "web10"), at.acquire("restart", "web1")
    assert (second["granted"], second["position"], second["waiting"]) == (False, 1, 1)
    assert (third["position"], third["waiting"]) == (2, 2)
    assert [unit for unit, _ in third["holders"]] == ["web2"]
    assert held() == (["web2"], ["web10", "web1"])
    again = at.acquire("restart", "web10")
    assert (again["is_new"], again["request"], again["position"]) == (False, second["request"], 1)
    assert zk.exists(f"{at.path}/requests/restart/web10").czxid == second["request"]
    assert zk.exists(f"{at.path}/requests/restart/web10").ephemeralOwner == 0


def test_a_release_grants_to_the_next_in_the_same_transaction(at, held, zk):
    tokens = [at.acquire("restart", "a")["token"]]
    at.acquire("restart", "b")
    before = zk.exists(f"{at.path}/requests/restart/b")
    given = at.release("restart", "a")
    assert (given["requested"], given["granted"], given["effects"]["granted"]) == (True, True, ["b"])
    after = zk.exists(f"{at.path}/requests/restart/b")
    assert after.mzxid == zk.exists(f"{at.path}/grants/restart").mzxid, "who is granted is told so by the transaction"
    assert after.czxid == before.czxid
    assert after.version == before.version + 1
    assert held() == (["b"], [])
    tokens.append(at.queue("restart")["holders"][0]["token"])
    assert tokens[1] == after.mzxid > tokens[0], "the token is the zxid of the grant"
    assert at.release("restart", "a")["requested"] is False
    assert held() == (["b"], []), "and it takes nothing from the next"


def test_what_is_on_disk_is_what_the_manual_says(at, zk):
    own = at.acquire("restart", "app/0", reason="kernel", labels={"rack": 7}, expires=60, policy={"per": "rack"})
    at.acquire("restart", "b", labels={"rack": "r2"}, policy={"per": {"rack": 1}})
    assert json.loads(zk.get(f"{at.path}/requests/restart")[0]) == {"per": {"rack": 1}}
    said = json.loads(zk.get(f"{at.path}/requests/restart/app%2F0")[0])
    datetime.datetime.fromisoformat(said.pop("asked"))
    assert said == {"reason": "kernel", "labels": {"rack": "7"}, "expires": 60.0}
    document = json.loads(zk.get(f"{at.path}/grants/restart")[0])
    stat = zk.exists(f"{at.path}/grants/restart")
    assert document["b"] == {"request": zk.exists(f"{at.path}/requests/restart/b").czxid, "by": "b"}
    first = document["app/0"]
    assert first["request"] == own["request"]
    assert first["token"] == own["token"] < stat.mzxid
    assert abs(first["granted"] - stat.mtime) < 60_000


def test_locks_keys_and_roots_are_apart(at, hosts, root):
    assert at.acquire("restart", "a")["granted"]
    assert at.acquire("reboot", "b")["granted"]
    assert grants.acquire("restart", "c", "other", zk_hosts=hosts, root=root)["granted"]
    assert grants.acquire("restart", "d", "k", zk_hosts=hosts, root=f"{root}/deeper")["granted"]
    assert at.locks() == ["reboot", "restart"]
    assert grants.locks("nobody", hosts, root=root) == []
    assert at.queue("nothing")["policy"] is None


def test_any_name_will_do_but_none(at, held):
    for lock in ("restart nginx", "../..", "a/b%2F", "é\u200b\U0001f600", 7):
        assert at.acquire(lock, "app/10")["granted"]
        assert at.release(lock, "app/10")["granted"]
        assert str(lock) in at.locks()
    for lock, unit in (("", "a"), ("x" * 300, "a"), ("a", "x" * 300), (["a"], "b")):
        with pytest.raises(errors.ArgumentError):
            at.acquire(lock, unit)


def test_two_at_a_time_and_one_a_rack(at, held):
    policy = {"max": 2, "per": {"rack": 1}}
    racks = {"a": "r1", "b": "r1", "c": "r2", "d": "r3", "e": "r3"}
    for unit, rack in racks.items():
        at.acquire("restart", unit, policy=policy, labels={"rack": rack})
    assert held() == (["a", "c"], ["b", "d", "e"])
    at.release("restart", "c")
    assert held() == (["a", "d"], ["b", "e"]), "b could not be granted even without d"
    at.release("restart", "a")
    assert held() == (["d", "b"], ["e"])
    with pytest.raises(errors.ArgumentError, match='so that the request needs "rack"'):
        at.acquire("restart", "f", policy=policy)


def test_a_percentage_of_a_party(at, held, zk, root):
    policy = {"max": "50%", "party": f"{root}/party"}
    assert at.acquire("restart", "a", policy=policy)["granted"] is False, "of nobody it is nobody"
    assert "has no members" in at.queue("restart")["waiters"][0]["hopeless"]
    for number in range(5):
        zk.create(f"{root}/party/{number:032x}__party__", b"member", makepath=True)
    zk.create(f"{root}/party/notes", b"")
    at.acquire("restart", "b", policy=policy)
    at.acquire("restart", "c", policy=policy)
    assert held() == (["a", "b"], ["c"]), "half of five is two"
    assert at.queue("restart")["max"] == 2


def test_a_window_is_judged_by_the_servers_clock(at, held):
    now = datetime.datetime.now(datetime.timezone.utc)

    def policy(begins, ends):
        times = {
            name: (now + datetime.timedelta(hours=hours)).strftime("%H:%M")
            for name, hours in (("from", begins), ("to", ends))
        }
        return {"window": {**times, "zone": "UTC"}}

    assert at.acquire("open", "a", policy=policy(-1, 2))["granted"]
    assert at.acquire("shut", "a", policy=policy(2, 3))["granted"] is False
    found = at.queue("shut")
    assert 0 < (datetime.datetime.fromisoformat(found["opens"]) - now).total_seconds() <= 2 * 3600
    assert at.set_policy("shut", policy(-1, 2)) == found["rule"]
    assert held("shut") == ([], ["a"]), "nobody has decided yet"
    assert at.handle("shut")["granted"] == ["a"]


def test_another_policy_is_an_error_that_names_both(at, held):
    at.acquire("restart", "a", policy={"max": 2})
    with pytest.raises(errors.PolicyMismatch, match="has the policy max 2, but serial was asked for") as caught:
        at.acquire("restart", "b")
    assert caught.value.path == f"{at.path}/requests/restart"
    assert held() == (["a"], [])
    assert at.set_policy("restart", "serial") == "max 2"
    assert at.acquire("restart", "b")["position"] == 1
    assert at.set_policy("nothing", "serial") is None
    with pytest.raises(errors.ArgumentError, match="policy: "):
        at.acquire("restart", "c", policy={"maximum": 3})


def test_an_operator_grants_whatever_the_policy_says_and_it_counts(at, held):
    for unit in "abc":
        at.acquire("restart", unit)
    assert at.grant("restart", "c", reason="it is on fire", by="ann") is True
    assert at.grant("restart", "c") is False
    assert held() == (["a", "c"], ["b"])
    by_hand = at.queue("restart")["holders"][1]
    assert (by_hand["by"], by_hand["granted_because"]) == ("ann", "it is on fire")
    at.release("restart", "a")
    assert held() == (["c"], ["b"])
    with pytest.raises(errors.ArgumentError, match='"z" has no request'):
        at.grant("restart", "z")


def test_who_is_not_seen_is_dropped_by_handle_and_that_is_told(at, held, wait_until):
    at.acquire("restart", "dead", expires=1)
    at.acquire("restart", "alive", expires=30)
    at.acquire("restart", "patient")
    assert at.handle("restart")["dropped"] == []
    assert at.handle("restart", drop_expired=False)["dropped"] == []
    found = []

    def is_dropped():
        found.append(at.handle("restart"))
        return found[-1]["dropped"]

    wait_until(is_dropped, "a second has passed on the servers")
    (dropped,) = found[-1]["dropped"]
    assert (dropped["unit"], dropped["granted"], dropped["expires"]) == ("dead", True, 1.0)
    assert found[-1]["granted"] == ["alive"]
    assert held() == (["alive"], ["patient"])


def test_who_handles_is_there_and_drops_others_alone(at, held, zk, wait_until):
    at.acquire("restart", "alive", expires=1)
    at.acquire("restart", "dead", expires=1)
    found = []

    def is_dropped():
        found.extend(it["unit"] for it in at.handle("restart", seen="alive")["dropped"])
        return found

    before = zk.exists(f"{at.path}/requests/restart/alive").czxid
    wait_until(is_dropped, "a second has passed on the servers")
    assert found == ["dead"]
    assert held() == (["alive"], [])
    assert zk.exists(f"{at.path}/requests/restart/alive").czxid == before


def test_to_ask_again_is_to_be_seen(at, zk):
    at.acquire("restart", "a", expires=60)
    before = zk.exists(f"{at.path}/requests/restart/a")
    at.acquire("restart", "a", expires=60)
    after = zk.exists(f"{at.path}/requests/restart/a")
    assert after.mzxid > before.mzxid
    assert after.czxid == before.czxid
    at.acquire("restart", "b")
    before = zk.exists(f"{at.path}/requests/restart/b").mzxid
    at.acquire("restart", "b")
    assert zk.exists(f"{at.path}/requests/restart/b").mzxid == before, "who does not expire need not be seen"


def test_a_release_by_its_czxid_leaves_a_later_request_alone(at, held):
    old = at.acquire("restart", "a")["request"]
    at.release("restart", "a")
    new = at.acquire("restart", "a")["request"]
    assert new > old
    assert at.release("restart", "a", request=old)["requested"] is False
    assert held() == (["a"], [])
    assert at.release("restart", "a", request=new)["granted"] is True


def test_a_request_that_somebody_deletes_by_hand_is_over(at, held, zk):
    at.acquire("restart", "a")
    at.acquire("restart", "b")
    zk.delete(f"{at.path}/requests/restart/a")
    assert held() == ([], ["b"]), "the grant counts no more"
    effects = at.handle("restart")
    assert (effects["granted"], [unit for unit, _ in effects["released"]]) == (["b"], ["a"])
    assert "a" not in json.loads(zk.get(f"{at.path}/grants/restart")[0])


def test_znodes_of_others_are_left_alone_and_are_errors_where_they_matter(at, held, zk):
    at.acquire("restart", "a")
    zk.create(f"{at.path}/requests/restart/by-hand", b"\xff\x00")
    assert held() == (["a"], ["by-hand"]), "whoever made it has asked"
    at.release("restart", "a")
    assert held() == (["by-hand"], [])
    zk.set(f"{at.path}/grants/restart", b"not JSON")
    for function in (at.acquire, at.release):
        with pytest.raises(errors.ServerError, match=r"grants/restart: its data is not the JSON"):
            function("restart", "b")
    zk.set(f"{at.path}/grants/restart", b"")
    zk.set(f"{at.path}/requests/restart", b'{"max": 0}')
    with pytest.raises(errors.ServerError, match="no policy that is known here"):
        at.acquire("restart", "b")
    assert zk.get(f"{at.path}/requests/restart")[0] == b'{"max": 0}'


def test_grants_that_somebody_has_removed_begin_anew(at, held, zk):
    at.acquire("restart", "a")
    old = at.queue("restart")["holders"][0]["token"]
    zk.delete(f"{at.path}/grants/restart")
    assert held() == ([], ["a"])
    assert at.acquire("restart", "a")["token"] > old


def test_requests_that_somebody_has_removed_begin_anew_with_their_lock(at, held, zk):
    for unit in "ab":
        at.acquire("restart", unit, policy={"max": 2})
    old = at.queue("restart")["holders"][1]["token"]
    zk.delete(f"{at.path}/requests/restart", recursive=True)
    assert at.locks() == []
    new = at.acquire("restart", "b")
    assert (new["granted"], new["is_new"]) == (True, True), "by the policy that it asks for"
    assert new["token"] > old
    assert held() == (["b"], [])


def test_a_window_that_opens_for_very_many_grants_to_all_of_them(at, zk):
    shut = {"window": {"from": "00:00", "to": "00:00", "days": ["mon"]}}
    shut["window"]["days"] = [
        (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=3)).strftime("%a")
    ]
    labels = {f"{number:0255}": "x" * 255 for number in range(16)}
    at.acquire("restart", "first", policy=shut, labels=labels)
    data = zk.get(f"{at.path}/requests/restart/first")[0]
    adding = [zk.create_async(f"{at.path}/requests/restart/u{number:03}", data) for number in range(299)]
    for done in adding:
        done.get(30)
    assert at.handle("restart")["granted"] == []
    at.set_policy("restart", {"max": 1000})
    granted = at.handle("restart", timeout=60)["granted"]
    assert granted == ["first", *(f"u{number:03}" for number in range(299))], "all, and in their order"
    assert at.release("restart", "first")["granted"]


def test_a_request_that_no_transaction_carries_holds_up_nobody(at, held, zk):
    at.acquire("restart", "a")
    zk.create(f"{at.path}/requests/restart/by-hand", b"x" * 70_000)
    at.acquire("restart", "b")
    assert "are never granted" in at.queue("restart")["waiters"][0]["hopeless"]
    at.release("restart", "a")
    assert held() == (["b"], ["by-hand"])


def test_what_an_operator_says_has_a_bound(at):
    at.acquire("restart", "a", policy={"max": 1})
    at.acquire("restart", "b", policy={"max": 1})
    with pytest.raises(errors.ArgumentError, match="reason: must not be longer than 1024 bytes"):
        at.grant("restart", "b", reason="x" * 1025)
    for function in (at.grant, at.release):
        with pytest.raises(errors.ArgumentError, match="by: must not be longer than 512 bytes"):
            function("restart", "b", by="x" * 513)


def test_the_servers_time_is_asked_of_a_znode_of_our_own(at, zk):
    zk.create(at.path, b"somebody's", makepath=True)
    at.acquire("restart", "a", expires=60)
    at.handle("restart")
    assert zk.get(at.path)[0] == b"somebody's"
    assert zk.exists(f"{at.path}/clock").version >= 0


def test_what_asking_would_come_to_is_foretold(at, held):
    pair, labels = {"max": 2, "per": {"rack": 1}}, {"rack": "r1"}
    assert at.foretell("restart", "a", policy=pair, labels=labels)["granted"] is True
    assert at.locks() == [], "nothing was changed"
    at.acquire("restart", "a", policy=pair, labels=labels)
    same = at.foretell("restart", "b", policy=pair, labels=labels)
    assert (same["granted"], same["position"], same["is_new"]) == (False, 1, True)
    assert at.foretell("restart", "b", policy=pair, labels={"rack": "r2"})["granted"] is True
    with pytest.raises(errors.PolicyMismatch, match="has the policy max 2 and per rack 1, but serial"):
        at.foretell("restart", "b")
    known = at.foretell("restart", "a", policy=pair, labels=labels)
    assert (known["granted"], known["is_new"], known["granted_since"] is not None) == (True, False, True)
    assert held() == (["a"], [])


def test_another_policy_keeps_nobody_from_its_own_grant(at, held):
    at.acquire("restart", "a")
    at.acquire("restart", "b")
    at.set_policy("restart", {"max": 1, "per": "rack"})
    with pytest.raises(errors.PolicyMismatch, match=r"; the request of b, made at .*, stays in the queue"):
        at.acquire("restart", "b")
    granted = at.acquire("restart", "a")
    assert (granted["granted"], granted["other_policy"]) == (True, "max 1 and per rack 1")
    assert at.release("restart", "a")["granted"]


def test_a_policy_that_cannot_be_read_keeps_nobody_from_giving_back(at, zk):
    for unit in "ab":
        at.acquire("restart", unit)
    zk.set(f"{at.path}/requests/restart", b'{"max": 1, "of a later version": true}')
    given = at.release("restart", "a")
    assert (given["granted"], given["effects"]["granted"]) == (True, []), "nobody can tell who is next"
    assert at.release("restart", "a")["requested"] is False
    for function in (at.handle, at.queue):
        with pytest.raises(errors.ServerError, match="no policy that is known here"):
            function("restart")
    at.set_policy("restart", "serial")
    assert at.handle("restart")["granted"] == ["b"]


def test_many_who_ask_and_release_at_once_are_granted_one_by_one(at, held):
    guard, inside, most, order = threading.Lock(), [], [], []

    def turn(number):
        unit = f"u{number}"
        at.acquire("restart", unit)
        known = at.granted(unit, timeout=60)["granted"]
        assert [it["lock"] for it in known] == ["restart"]
        with guard:
            inside.append(unit)
            most.append(len(inside))
            order.append((known[0]["request"], known[0]["token"]))
        at.queue("restart")  # as long as it takes for another to come in, if it could
        with guard:
            most.append(len(inside))
            inside.remove(unit)
        assert at.release("restart", unit)["granted"]

    done = together(turn, range(12))
    assert [future.result() for future in done.values()] == [None] * 12
    assert set(most) == {1}
    assert order == sorted(order), "in the order of the requests"
    assert len({token for _, token in order}) == 12
    assert held() == ([], [])


def test_a_unit_waits_for_its_own_grants_alone(at, zk):
    waiting = Waiting(at.granted, "b", timeout=60)  # of a coordinator that does not exist yet
    at.acquire("restart", "a")
    at.acquire("restart", "b")
    assert at.granted("b", timeout=0) == {"granted": [], "waiting": ["restart"]}
    at.acquire("restart", "c")
    assert not waiting.done
    at.release("restart", "a")
    told = waiting.result()
    (own,) = told["granted"]
    assert (own["lock"], own["by"], told["waiting"]) == ("restart", "a", [])
    assert own["request"] == zk.exists(f"{at.path}/requests/restart/b").czxid
    assert at.granted("b", [own["request"]], timeout=0.5)["granted"] == [own], "known, and told when the time is up"


def test_a_wait_for_grants_can_be_cancelled(at):
    cancel = Cancel()
    waiting = Waiting(at.granted, "b", cancel=cancel)
    cancel.cancel()
    with pytest.raises(errors.Cancelled, match="nothing was changed"):
        waiting.result()


def test_an_acl_keeps_others_out(at, hosts, root):
    own = {"username": "ann", "password": "pw", "default_acl": {"username": "ann", "password": "pw", "allperms": True}}
    assert grants.acquire("restart", "a", "own", zk_hosts=hosts, root=root, **own)["granted"]
    for function in (grants.acquire, grants.release):
        with pytest.raises(errors.NoAuth, match="as anonymous"):
            function("restart", "b", "own", zk_hosts=hosts, root=root)
    assert znode.get_acls(f"{root}/own/requests/restart/a", hosts, **{k: own[k] for k in ("username", "password")})


def test_who_may_read_may_look_and_no_more(hosts, root):
    acl = [{"username": "ann", "password": "pw", "allperms": True}, {"username": "bob", "password": "pw", "read": True}]
    ann, bob = ({"username": name, "password": "pw", "zk_hosts": hosts, "root": root} for name in ("ann", "bob"))
    grants.acquire("restart", "a", "own", default_acl=acl, **ann)
    assert [it["unit"] for it in grants.queue("restart", "own", **bob)["holders"]] == ["a"]
    assert grants.locks("own", **bob) == ["restart"]
    assert grants.granted("a", key="own", timeout=0, **bob)["granted"][0]["lock"] == "restart"
    for function, unit in ((grants.acquire, "b"), (grants.release, "a")):
        with pytest.raises(errors.NoAuth, match="as digest:bob"):
            function("restart", unit, "own", **bob)


def test_requests_are_below_a_chroot(hosts, root, zk):
    zk.create(f"{root}/sub", b"", makepath=True)
    assert grants.acquire("restart", "a", zk_hosts=f"{hosts}{root}/sub", root="/c")["granted"]
    assert (
        grants.queue("restart", zk_hosts=f"{hosts}{root}/sub", root="/c")["path"] == "/c/coordinator/requests/restart"
    )
    assert zk.exists(f"{root}/sub/c/coordinator/requests/restart/a")
