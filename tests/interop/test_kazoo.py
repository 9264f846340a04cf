"""Kazoo's semaphore and parties and ours are the same to each other, byte for byte."""

import re

import pytest
import zkcoord
from kazoo.exceptions import LockTimeout
from kazoo.security import make_acl, make_digest_acl


def test_kazoo_lists_our_holders(kazoo, hosts, root):
    names = ["persistent", "ephemeral", "Zürich 東京"]
    for name in names:
        assert zkcoord.lock(root, hosts, name, 3, ephemeral_lease=name == "ephemeral")
    kazoo.sync(root)
    assert sorted(kazoo.Semaphore(root, max_leases=3).lease_holders()) == sorted(names)


def test_we_list_the_holders_of_kazoo(kazoo, hosts, root):
    names = ["one", "Zürich 東京", ""]
    for name in names:
        assert kazoo.Semaphore(root, name, max_leases=3).acquire(timeout=20)
    assert sorted(zkcoord.lock_holders(root, hosts)) == sorted(names)


def test_kazoo_waits_behind_us_and_has_the_slot_when_we_give_it_back(kazoo, start, hosts, root, pool, wait_until):
    assert zkcoord.lock(root, hosts, "ours", timeout=20)
    semaphore = kazoo.Semaphore(root, "theirs")
    with pytest.raises(LockTimeout):
        semaphore.acquire(timeout=0.2)
    waiting = start(semaphore.acquire, timeout=30)
    wait_until(pool.places, "kazoo waits")
    assert pool.holders() == ["ours"]
    assert not waiting.done()
    assert zkcoord.unlock(root, hosts, "ours")
    assert waiting.result(20) is True
    assert zkcoord.lock_holders(root, hosts) == ["theirs"]
    assert pool.places() == []


@pytest.mark.parametrize("ephemeral", [False, True])
def test_we_wait_behind_kazoo_and_have_the_slot_when_it_gives_it_back(
    kazoo, start, hosts, root, pool, wait_until, ephemeral
):
    semaphore = kazoo.Semaphore(root, "theirs")
    assert semaphore.acquire(timeout=20)
    assert zkcoord.lock(root, hosts, "ours", timeout=0, ephemeral_lease=ephemeral) is False
    assert zkcoord.lock(root, hosts, "ours", timeout=0.2, ephemeral_lease=ephemeral) is False
    waiting = start(zkcoord.lock, root, hosts, "ours", timeout=30, ephemeral_lease=ephemeral)
    wait_until(lambda: pool.waiters() == ["ours"], "we wait")
    assert not waiting.done()
    semaphore.release()
    assert waiting.result(20) is True
    kazoo.sync(root)
    assert kazoo.Semaphore(root).lease_holders() == ["ours"]
    assert pool.places() == []


@pytest.mark.parametrize("slots", [1, 2])
def test_who_comes_first_is_served_first_whoever_it_is(connect, start, hosts, root, pool, wait_until, slots):
    names = [f"{kind}-{number}" for number in range(3) for kind in ("kazoo", "ours")]
    served = []
    semaphores = {name: connect().Semaphore(root, name, slots) for name in names if name.startswith("kazoo")}

    def turn(name: str) -> None:
        if semaphore := semaphores.get(name):
            assert semaphore.acquire(timeout=30)
        else:
            assert zkcoord.lock(root, hosts, name, slots, 30)
        served.append(name)

    def give_back(name: str) -> None:
        if semaphore := semaphores.get(name):
            semaphore.release()
        else:
            assert zkcoord.unlock(root, hosts, name, slots)

    holders = [f"holder-{number}" for number in range(slots)]
    for name in holders:
        assert zkcoord.lock(root, hosts, name, slots, 20)
    turns = []
    for number, name in enumerate(names, 1):
        turns.append(start(turn, name))
        wait_until(lambda number=number: len(pool.places()) == number, f"{name} is in the queue")
    # Kazoo hands its identifier on as bytes, which come out as text.
    assert [re.sub(r"^b'(.*)'$", r"\1", waiter) for waiter in pool.waiters()] == names
    assert served == []
    for number in range(1, len(names) + 1):
        give_back([*holders, *names][number - 1])
        wait_until(lambda number=number: len(served) == number, f"{names[number - 1]} has its turn")
        assert len(pool.leases()) == slots
    for future in turns:
        future.result(20)
    assert served == names


def test_a_forced_slot_is_counted_by_kazoo(kazoo, start, hosts, root, pool, wait_until):
    assert zkcoord.lock(root, hosts, "one", timeout=20)
    assert zkcoord.lock(root, hosts, "two", force=True)
    waiting = start(kazoo.Semaphore(root, "theirs").acquire, timeout=30)
    wait_until(pool.places, "kazoo waits")
    assert zkcoord.unlock(root, hosts, "one")
    assert zkcoord.lock(root, hosts, "three", timeout=0) is False
    assert pool.holders() == ["two"]
    assert len(pool.places()) == 1
    assert zkcoord.unlock(root, hosts, "two")
    assert waiting.result(20)


def test_a_lease_of_kazoo_is_given_back_by_its_identifier(kazoo, hosts, root, pool):
    semaphore = kazoo.Semaphore(root, "theirs")
    assert semaphore.acquire(timeout=20)
    assert zkcoord.unlock(root, hosts, "somebody") is False
    assert zkcoord.unlock(root, hosts, "theirs") is True
    assert zkcoord.unlock(root, hosts, "theirs") is False
    assert pool.leases() == []
    assert zkcoord.lock(root, hosts, "ours", timeout=0)
    semaphore.release()  # is about its own znode, which is gone
    assert pool.holders() == ["ours"]


def test_a_waiter_of_kazoo_that_gives_up_makes_room_for_us(kazoo, start, hosts, root, pool, wait_until):
    assert zkcoord.lock(root, hosts, "holder", timeout=20)
    semaphore = kazoo.Semaphore(root, "theirs")
    giving_up = start(semaphore.acquire, timeout=2)
    wait_until(lambda: len(pool.places()) == 1, "kazoo waits")
    waiting = start(zkcoord.lock, root, hosts, "ours", timeout=30)
    wait_until(lambda: len(pool.places()) == 2, "we wait behind it")
    with pytest.raises(LockTimeout):
        giving_up.result(20)
    assert zkcoord.unlock(root, hosts, "holder")
    assert waiting.result(20)


def test_limits_that_differ_are_an_error_on_both_sides(kazoo, hosts, root):
    assert zkcoord.lock(root, hosts, "ours", 2)
    with pytest.raises(ValueError, match="Inconsistent max leases: 2, expected: 3"):
        kazoo.Semaphore(root, "theirs", max_leases=3).acquire(timeout=20)
    assert kazoo.Semaphore(f"{root}-theirs", "theirs", max_leases=3).acquire(timeout=20)
    with pytest.raises(zkcoord.errors.LimitMismatch, match=r"3.*2|2.*3") as caught:
        zkcoord.lock(f"{root}-theirs", hosts, "ours", 2)
    assert caught.value.path == f"{root}-theirs"
    assert f"{root}-theirs" in str(caught.value)
    assert kazoo.Semaphore(f"{root}-theirs", max_leases=3).lease_holders() == ["theirs"]


def test_data_that_is_no_number_is_left_alone_by_both(kazoo, hosts, root, zk):
    zk.create(root, b"a note")
    assert kazoo.Semaphore(root, "theirs", max_leases=2).acquire(timeout=20)
    assert zkcoord.lock(root, hosts, "ours", 2, 20)
    assert zkcoord.lock(root, hosts, "third", 2, 0) is False
    assert zk.get(root)[0] == b"a note"


def test_the_znodes_are_those_of_kazoo_byte_for_byte(kazoo, start, hosts, root, zk, wait_until):
    def tree(path: str) -> dict[str, tuple[bytes, bool]]:
        """Data, and whether it is ephemeral, of a pool, its queue and their children, by name."""
        found = {}
        for top in ("", "-__lock__"):
            zk.sync(path + top)
            for name in [top, *(f"{top}/{child}" for child in zk.get_children(path + top))]:
                data, stat = zk.get(path + name)
                kind = re.sub(r"/[0-9a-f]{32}", "/<32 hex>", re.sub(r"__\d{10}$", "__<10 digits>", name))
                assert kind not in found
                found[kind] = (data, stat.ephemeralOwner != 0)
        return found

    theirs, ours = f"{root}-theirs", f"{root}-ours"
    assert kazoo.Semaphore(theirs, "holder").acquire(timeout=20)
    assert zkcoord.lock(ours, hosts, "holder", ephemeral_lease=True, timeout=20)
    kazoo_waits = start(kazoo.Semaphore(theirs, "waiter").acquire, timeout=30)
    we_wait = start(zkcoord.lock, ours, hosts, "waiter", timeout=30)
    wait_until(lambda: zk.get_children(f"{theirs}-__lock__"), "kazoo waits")
    wait_until(lambda: zk.get_children(f"{ours}-__lock__"), "we wait")
    place = "-__lock__/<32 hex>__lock__<10 digits>"
    assert tree(ours) == {
        "": (b"1", False),
        "/<32 hex>": (b"holder", True),
        "-__lock__": (b"", False),
        place: (b"waiter", True),
    }
    # Kazoo's semaphore gives its identifier to the lock inside as bytes, which become the text of a literal.
    assert tree(theirs) == tree(ours) | {place: (b"b'waiter'", True)}

    assert zkcoord.unlock(theirs, hosts, "holder")
    assert zkcoord.unlock(ours, hosts, "holder")
    assert kazoo_waits.result(20)
    assert we_wait.result(20)
    assert tree(ours) == {"": (b"1", False), "/<32 hex>": (b"waiter", False), "-__lock__": (b"", False)}
    assert tree(theirs) == tree(ours) | {"/<32 hex>": (b"waiter", True)}


def test_ephemeral_znodes_belong_to_our_one_session(start, hosts, root, pool, zk, wait_until):
    assert zkcoord.lock(root, hosts, "ephemeral", 2, 20, ephemeral_lease=True)
    assert zkcoord.lock(root, hosts, "persistent", 2, 20)
    waiting = start(zkcoord.lock, root, hosts, "waiter", 2, 30)
    wait_until(pool.places, "it waits")
    owners = {}
    for parent, names in [(pool.path, pool.leases()), (pool.queue, pool.places())]:
        for name in names:
            data, stat = zk.get(f"{parent}/{name}")
            owners[data.decode()] = stat.ephemeralOwner
    assert owners["persistent"] == 0
    assert owners["ephemeral"] == owners["waiter"] != 0
    assert zkcoord.unlock(root, hosts, "persistent")
    assert waiting.result(20)


@pytest.mark.parametrize(
    ("keywords", "acl"),
    [
        (
            {"username": "web", "password": "geheim", "allperms": True},
            [make_digest_acl("web", "geheim", all=True)],
        ),
        (
            [
                {"username": "web", "password": "geheim", "allperms": True},
                {"username": "Zoë", "password": "a:b", "read": True, "create": True},
            ],
            [
                make_digest_acl("web", "geheim", all=True),
                make_digest_acl("Zoë", "a:b", read=True, create=True),
            ],
        ),
        (None, [make_acl("world", "anyone", all=True)]),
    ],
    ids=["one", "two", "none"],
)
def test_the_acls_are_those_of_kazoo(connect, start, hosts, root, wait_until, keywords, acl):
    user = {"username": "web", "password": "geheim"}
    with_acl = {"default_acl": acl} if keywords else {}
    kazoo = connect(auth_data=[("digest", "web:geheim")], **with_acl)
    assert kazoo.Semaphore(f"{root}/theirs/pool", "holder").acquire(timeout=20)
    ours = f"{root}-/ours/pool"
    at = {"zk_hosts": hosts, "default_acl": keywords, **user}
    assert zkcoord.lock(ours, identifier="holder", timeout=20, **at)
    waiting = start(zkcoord.lock, ours, identifier="waiter", timeout=30, **at)
    kazoo.sync(ours)  # its server may still show the queue node of the holder
    wait_until(lambda: kazoo.get_children(f"{ours}-__lock__"), "we wait")

    def acls(*paths: str) -> set[tuple]:
        return {tuple(sorted(kazoo.get_acls(path)[0])) for path in paths}

    [place] = kazoo.get_children(f"{ours}-__lock__")
    [lease] = kazoo.get_children(ours)
    everywhere = (f"{root}-", f"{root}-/ours", ours, f"{ours}-__lock__", f"{ours}-__lock__/{place}", f"{ours}/{lease}")
    assert acls(*everywhere) == {tuple(sorted(acl))}
    assert acls(root, f"{root}/theirs", f"{root}/theirs/pool") == acls(*everywhere)
    assert zkcoord.unlock(ours, identifier="holder", **at)
    assert waiting.result(20)


def test_the_contenders_that_kazoo_lists_are_ours_in_order(kazoo, start, hosts, root, pool, wait_until):
    assert zkcoord.lock(root, hosts, "holder", timeout=20)
    waiting = []
    for number, name in enumerate(["one", "two", "Zürich"], 1):
        waiting.append(start(zkcoord.lock, root, hosts, name, timeout=30))
        wait_until(lambda number=number: len(pool.places()) == number, f"{name} waits")
    kazoo.sync(root)
    assert kazoo.Lock(f"{root}-__lock__").contenders() == ["one", "two", "Zürich"]
    assert all(re.fullmatch(r"[0-9a-f]{32}__lock__\d{10}", place) for place in pool.places())
    for name in ["holder", "one", "two"]:
        assert zkcoord.unlock(root, hosts, name)
        assert waiting.pop(0).result(20)


@pytest.mark.parametrize("name", ["note", "x__rlock__0000000000", "x__lock__", "x__lock__1", "x__lock__0000000000x"])
def test_a_child_of_the_queue_that_is_no_contender_is_ignored_by_both(kazoo, hosts, root, zk, pool, name):
    zk.ensure_path(f"{pool.queue}/{name}")
    assert zkcoord.lock(root, hosts, "ours", 2, timeout=0)
    assert kazoo.Semaphore(root, "theirs", 2).acquire(timeout=20)
    zk.sync(root)
    assert zk.get_children(pool.queue) == [name]


def test_whatever_ends_like_a_place_of_kazoo_is_a_contender(start, hosts, root, zk, pool, wait_until):
    zk.ensure_path(pool.queue)
    other = zk.create(f"{pool.queue}/somebody-__lock__", b"other", ephemeral=True, sequence=True)
    assert zkcoord.lock(root, hosts, "ours", timeout=0) is False
    waiting = start(zkcoord.lock, root, hosts, "ours", timeout=30)
    wait_until(lambda: pool.waiters() == ["other", "ours"], "we wait behind it")
    zk.delete(other)
    assert waiting.result(20)


def test_members_of_both_of_kazoos_parties_are_seen_and_nothing_else(kazoo, hosts, root, zk):
    members = [kazoo.ShallowParty(root, "shallow-one"), kazoo.Party(root, "Zürich"), kazoo.ShallowParty(root, "")]
    for member in members:
        member.join()
    zk.create(f"{root}/a-note", b"nobody")
    assert sorted(zkcoord.party_members(root, hosts)) == ["", "Zürich", "shallow-one"]
    members[0].leave()
    assert sorted(zkcoord.party_members(root, hosts)) == ["", "Zürich"]


def test_we_wait_until_enough_of_kazoos_members_are_there(connect, start, hosts, root, ensemble, wait_until):
    watches = ensemble.mntr()["zk_watch_count"]
    gathering = start(zkcoord.party_members, root, hosts, 3, True, timeout=30)
    clients = [connect() for _ in range(3)]
    for number, client in enumerate(clients):
        wait_until(lambda: ensemble.mntr()["zk_watch_count"] > watches, "we watch")
        assert not gathering.done()
        kind = client.Party if number == 1 else client.ShallowParty
        kind(root, f"member-{number}").join()
    assert sorted(gathering.result(20)) == ["member-0", "member-1", "member-2"]
