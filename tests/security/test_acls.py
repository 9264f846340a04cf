"""What is created carries the default ACL, in every form of it; who may not is told what was missing."""

from collections import OrderedDict
from types import MappingProxyType

import pytest
import zkcoord
from kazoo.client import KazooClient
from kazoo.security import CREATOR_ALL_ACL, OPEN_ACL_UNSAFE, make_digest_acl, make_digest_acl_credential
from zkcoord import errors, lock, lock_holders, party_members, set_max, status, unlock, znode
from zkcoord.testing import Ensemble

from tests.support.calls import Waiting, children, wait_until
from tests.support.versions import zookeeper_version

ANN = {"username": "ann", "password": "ann-pw"}
BOB = {"username": "bob", "password": "bob-pw"}
EVE = {"username": "eve", "password": "eve-pw"}
OURS = [{**ANN, "allperms": True}, {**BOB, "read": True}]
ENTRIES = {make_digest_acl("ann", "ann-pw", all=True), make_digest_acl("bob", "bob-pw", read=True)}


@pytest.fixture
def ann(hosts: str):
    """Kazoo as ann, who sees the digests of what is hers."""
    client = KazooClient(hosts, auth_data=[("digest", "ann:ann-pw")])
    client.start(timeout=30)
    yield client
    client.stop()
    client.close()


def tree(zk: KazooClient, path: str) -> list[str]:
    """A znode and all below it."""
    return [path, *(below for name in children(zk, path) for below in tree(zk, f"{path}/{name}"))]


CREATING = {
    "lock": lambda path, **it: lock(path, identifier="a", timeout=10, **it),
    "ephemeral": lambda path, **it: lock(path, identifier="a", timeout=10, ephemeral_lease=True, **it),
    "force": lambda path, **it: lock(path, identifier="a", force=True, **it),
    "set_max": lambda path, **it: set_max(path, 2, **it),
    "create": lambda path, **it: znode.create(path, makepath=True, **it),
    "sequence": lambda path, **it: znode.create(f"{path}/s-", makepath=True, sequence=True, **it),
}


@pytest.mark.parametrize("create", CREATING.values(), ids=CREATING)
def test_all_that_a_new_path_needs_carries_the_default_acl(hosts, root, ann, create):
    pool = f"{root}/deep/er/pool"
    create(pool, zk_hosts=hosts, **ANN, default_acl=OURS)
    made = tree(ann, root)
    assert pool in made
    for path in made:
        assert set(ann.get_acls(path)[0]) == ENTRIES, path


@pytest.mark.parametrize("create", CREATING.values(), ids=CREATING)
def test_without_one_everybody_may_do_everything_as_in_the_stock_module(hosts, root, zk, create):
    create(f"{root}/deep/pool", zk_hosts=hosts)
    made = tree(zk, root)
    assert f"{root}/deep/pool" in made
    for path in made:
        assert zk.get_acls(path)[0] == OPEN_ACL_UNSAFE, path


def test_a_chroot_that_is_made_carries_it_too(hosts, root, ann):
    lock("/pool", f"{hosts}{root}/app", identifier="a", **ANN, default_acl=OURS)
    for path in tree(ann, root):
        assert set(ann.get_acls(path)[0]) == ENTRIES, path


def test_a_place_in_the_queue_carries_it(hosts, root, ann, wait_until):
    lock(root, hosts, identifier="a", **ANN, default_acl=OURS)
    waiting = Waiting(lock, root, hosts, identifier="b", **ANN, default_acl=OURS)
    wait_until(lambda: children(ann, f"{root}-__lock__"), "b waits")
    (place,) = children(ann, f"{root}-__lock__")
    assert set(ann.get_acls(f"{root}-__lock__/{place}")[0]) == ENTRIES
    unlock(root, hosts, identifier="a", **ANN)
    assert waiting.result()
    assert len(children(ann, root)) == 1
    assert {frozenset(ann.get_acls(path)[0]) for path in tree(ann, root)} == {frozenset(ENTRIES)}


def test_a_lease_that_takes_the_place_of_another_carries_it(hosts, root, ann):
    lock(root, hosts, identifier="a", ephemeral_lease=True, **ANN, default_acl=OURS)
    lock(root, hosts, identifier="a", **ANN, default_acl=OURS)
    (lease,) = children(ann, root)
    stat = ann.exists(f"{root}/{lease}")
    assert stat.ephemeralOwner == 0
    assert set(ann.get_acls(f"{root}/{lease}")[0]) == ENTRIES


@pytest.mark.parametrize("read", [lock_holders, party_members, unlock])
def test_who_only_looks_creates_nothing(hosts, root, zk, read):
    read(f"{root}/pool", hosts, **ANN, default_acl=OURS)
    status(f"{root}/pool", zk_hosts=hosts, **ANN, default_acl=OURS)
    zk.sync("/")
    assert zk.exists(root) is None


def test_the_creator_can_be_named_without_the_password(hosts, root, ann):
    lock(f"{root}/pool", hosts, identifier="a", timeout=10, **ANN, default_acl="creator_all")
    everything = [make_digest_acl("ann", "ann-pw", all=True)]
    assert CREATOR_ALL_ACL[0].perms == everything[0].perms
    for path in tree(ann, root):
        assert ann.get_acls(path)[0] == everything, path


FORMS = [
    ({"scheme": "world", "perms": "r"}, (1, ("world", "anyone"))),
    ({"scheme": "ip", "id": "127.0.0.0/8", "perms": "rw"}, (3, ("ip", "127.0.0.0/8"))),
    ({"scheme": "auth", "perms": "cdrwa"}, tuple(make_digest_acl("ann", "ann-pw", all=True))),
    (OrderedDict(scheme="digest", id=make_digest_acl("bob", "bob-pw").id.id, perms="all"), (31, ("digest", "bob"))),
    (MappingProxyType({**BOB, "read": True}), (1, ("digest", "bob"))),
    ("creator_all", tuple(make_digest_acl("ann", "ann-pw", all=True))),
]


@pytest.mark.parametrize(("form", "entry"), FORMS, ids=lambda it: None)
def test_every_form_is_what_the_servers_have_in_the_end(hosts, root, form, entry):
    lock(root, hosts, identifier="a", timeout=10, **ANN, default_acl=[{**ANN, "allperms": True}, form])
    found = znode.get_acls(root, zk_hosts=hosts, **ANN)
    own = tuple(make_digest_acl("ann", "ann-pw", all=True))
    assert found[0] == own
    perms, (scheme, identity) = found[-1]
    assert (perms, scheme) == (entry[0], entry[1][0])
    assert identity.startswith(entry[1][1])
    assert len(found) == 2


@pytest.mark.parametrize("acl", ["creator_all", {"scheme": "auth", "perms": "r"}])
def test_a_creator_who_is_nobody_is_refused_before_anything_is_sent(hosts, root, zk, acl):
    with pytest.raises(errors.ArgumentError, match=r"^default_acl: .* need a creator with credentials"):
        lock(root, hosts, identifier="a", default_acl=acl)
    with pytest.raises(errors.ArgumentError, match=r"^acls: .* need a creator with credentials"):
        znode.create(root, acls=acl, zk_hosts=hosts)
    zk.sync("/")
    assert zk.exists(root) is None


# What the servers alone can tell: these are plugins.
@pytest.mark.parametrize(
    "acl",
    [
        {"scheme": "sasl", "id": "web1", "perms": "r"},
        {"scheme": "x509", "id": "CN=web1", "perms": "r"},
        {"scheme": "custom", "id": "x", "perms": "r"},
    ],
)
def test_what_the_servers_do_not_know_is_told_so(hosts, root, acl):
    with pytest.raises(
        errors.ServerError, match=rf"^could not create {root}(-__lock__)?: the servers do not take its ACL"
    ):
        lock(root, hosts, identifier="a", timeout=10, default_acl=acl)


def test_an_ipv6_network_is_known_to_new_servers_alone(hosts, root, zk):
    acl = [{"scheme": "world", "perms": "all"}, {"scheme": "ip", "id": "2001:db8::/32", "perms": "r"}]
    try:
        znode.create(root, acls=acl, zk_hosts=hosts)
        said = "taken"
    except errors.ServerError as error:
        said = str(error)
    if said == "taken":
        assert zookeeper_version() >= (3, 9)
        assert [entry.id.id for entry in zk.get_acls(root)[0]] == ["anyone", "2001:db8::/32"]
    else:
        assert said.startswith(f"could not create {root}: the servers do not take its ACL")


def test_an_x509_entry_is_taken_by_servers_with_the_plugin(root):
    plugin = "org.apache.zookeeper.server.auth.X509AuthenticationProvider"
    with Ensemble(1, config={"authProvider.1": plugin}) as servers:
        acl = [{"scheme": "world", "perms": "all"}, {"scheme": "x509", "id": "CN=web1,O=acme", "perms": "rw"}]
        made = znode.create(root, acls=acl, zk_hosts=servers.hosts)
        assert znode.get_acls(made, zk_hosts=servers.hosts) == [
            (31, ("world", "anyone")),
            (3, ("x509", "CN=web1,O=acme")),
        ]
        znode.delete(root, zk_hosts=servers.hosts)


SECRET = "hunter2-canary"


@pytest.mark.parametrize(
    "acl",
    [
        SECRET,
        [SECRET],
        {SECRET: True},
        {"scheme": SECRET, "id": "x", "perms": "rx"},
        {"scheme": "digest", "id": f"ann:{SECRET}", "perms": "r"},
        {"scheme": "ip", "id": SECRET, "perms": "r"},
        {"scheme": "world", "id": SECRET, "perms": "r"},
        {"scheme": "auth", "id": SECRET, "perms": "r"},
        {"scheme": "super", "id": SECRET, "perms": "r"},
        {"scheme": "ip", "id": "10.0.0.1", "perms": SECRET},
        {"scheme": "ip", "id": "10.0.0.1", "perms": "r", "password": SECRET},
        {"username": "ann", "password": SECRET, "read": "yes"},
        {"username": "ann", "password": SECRET, "perms": "r"},
    ],
)
def test_a_bad_entry_is_refused_and_not_echoed(hosts, acl):
    with pytest.raises(errors.ArgumentError, match=r"^default_acl: ") as caught:
        lock("/p", hosts, default_acl=acl)
    assert SECRET not in str(caught.value) + repr(caught.value)


CALLS = {
    "lock": (lambda it: lock(identifier="b", timeout=5, **it), "create", "{pool}-__lock__"),
    "force": (lambda it: lock(identifier="b", force=True, **it), "create", "{pool}-__lock__"),
    "unlock": (lambda it: unlock(identifier="a", **it), "read", "{pool}"),
    "lock_holders": (lambda it: lock_holders(**it), "read", "{pool}"),
    "party_members": (lambda it: party_members(**it), "read", "{pool}"),
    "status": (lambda it: status(**it), "read", "{pool}"),
    "set_max": (lambda it: set_max(max_concurrency=3, **it), "read", "{pool}"),
    "below": (lambda it: lock(identifier="b", **{**it, "path": f"{it['path']}/x"}), "create", "{pool}/x"),
    "force below": (lambda it: lock(force=True, **{**it, "path": f"{it['path']}/x"}), "create", "{pool}/x"),
    "set_max below": (
        lambda it: set_max(max_concurrency=2, **{**it, "path": f"{it['path']}/x"}),
        "create",
        "{pool}/x",
    ),
    "znode.create": (lambda it: znode.create(**{**it, "path": f"{it['path']}/x"}), "create", "{pool}/x"),
    "znode.get": (lambda it: znode.get(**it), "read", "{pool}"),
    "znode.children": (lambda it: znode.children(**it), "read", "{pool}"),
    "znode.get_acls": (lambda it: znode.get_acls(**it), "read", "{pool}"),
    "znode.set": (lambda it: znode.set(value="x", **it), "write", "{pool}"),
    "znode.set_acls": (lambda it: znode.set_acls(acls={**BOB, "read": True}, **it), "admin", "{pool}"),
    "znode.delete recursive": (lambda it: znode.delete(recursive=True, **it), "read", "{pool}"),
}


class TestRefusals:
    """Who may not is told the path, the permission and who he was."""

    @pytest.fixture
    def pool(self, hosts, root):
        """A pool of ann's, in which she holds a slot, and below which nobody else may do anything."""
        lock(root, hosts, identifier="a", timeout=10, **ANN, default_acl=[{**ANN, "allperms": True}])
        return root

    @pytest.mark.parametrize(("call", "permission", "path"), CALLS.values(), ids=CALLS)
    @pytest.mark.parametrize(("user", "name"), [({}, "anonymous"), (BOB, "digest:bob")], ids=["anonymous", "bob"])
    def test_every_function_says_so(self, hosts, pool, call, permission, path, user, name):
        verb = "change the ACL of" if permission == "admin" else permission
        named = path.format(pool=pool)
        told = rf"^not permitted to {verb} {named} as {name}: .* gives no {permission} permission; give other"
        with pytest.raises(errors.NoAuth, match=told) as caught:
            call({"path": pool, "zk_hosts": hosts, **user})
        assert caught.value.path.startswith(pool)

    def test_a_delete_needs_the_parents_permission(self, hosts, pool):
        (lease,) = znode.children(pool, zk_hosts=hosts, **ANN)
        with pytest.raises(errors.NoAuth, match=rf"delete {pool}/{lease} as anonymous: the ACL of its parent gives no"):
            znode.delete(f"{pool}/{lease}", zk_hosts=hosts)

    def test_a_limit_may_be_read_and_not_changed(self, hosts, pool):
        acl = [{**ANN, "allperms": True}, {**BOB, "read": True}]
        znode.set_acls(pool, acl, zk_hosts=hosts, **ANN)
        with pytest.raises(errors.NoAuth, match=rf"write {pool} as digest:bob: its ACL gives no write permission"):
            set_max(pool, 3, zk_hosts=hosts, **BOB)

    def test_a_pool_that_stores_no_number_yet_needs_write(self, hosts, root, ann):
        most = make_digest_acl("bob", "bob-pw", read=True, create=True, delete=True)
        ann.create(root, b"", acl=[*ENTRIES, most])
        ann.create(f"{root}-__lock__", b"", acl=[*ENTRIES, make_digest_acl("bob", "bob-pw", all=True)])
        with pytest.raises(errors.NoAuth, match=rf"write {root} as digest:bob: its ACL gives no write permission"):
            lock(root, hosts, identifier="b", timeout=5, **BOB)
        ann.set(root, b"1")
        assert lock(root, hosts, identifier="b", timeout=5, **BOB)

    def test_a_lease_that_may_not_be_made_is_named_with_its_own_path(self, hosts, root, ann):
        most = make_digest_acl("bob", "bob-pw", read=True, write=True, delete=True)
        ann.create(root, b"1", acl=[*ENTRIES, most])
        ann.create(f"{root}-__lock__", b"", acl=[*ENTRIES, make_digest_acl("bob", "bob-pw", all=True)])
        with pytest.raises(errors.NoAuth, match=rf"create {root}/[0-9a-f]+ as digest:bob: .* gives no create"):
            lock(root, hosts, identifier="b", timeout=5, **BOB)

    def test_a_lease_that_may_not_be_replaced_is_named(self, hosts, root, ann, script):
        everything = make_digest_acl("bob", "bob-pw", all=True)
        ann.create(root, b"2", acl=[*ENTRIES, everything])
        ann.create(f"{root}-__lock__", b"", acl=[*ENTRIES, everything])
        process = script(
            "zkcoord.hold(root, hosts, 'b', 2, ephemeral_lease=False, username='bob', password='bob-pw'); os._exit(0)"
        )
        assert process.wait(10) == 0
        (lease,) = ann.get_children(root)
        wait_until(lambda: ann.get_children(f"{root}-__lock__") == [], "its process is gone")
        ann.set_acls(root, [*ENTRIES, make_digest_acl("bob", "bob-pw", read=True, create=True)])
        with pytest.raises(errors.NoAuth, match=rf"delete {root}/{lease} as digest:bob: the ACL of its parent gives"):
            zkcoord.hold(root, hosts, "b", 2, ephemeral_lease=False, timeout=5, **BOB)

    def test_a_place_that_may_not_be_left_is_named(self, hosts, root, ann):
        most = make_digest_acl("bob", "bob-pw", read=True, create=True)
        ann.create(root, b"1", acl=[*ENTRIES, make_digest_acl("bob", "bob-pw", all=True)])
        ann.create(f"{root}-__lock__", b"", acl=[make_digest_acl("ann", "ann-pw", all=True), most])
        told = rf"delete {root}-__lock__/\w+ as digest:bob: the ACL of its parent"
        with pytest.raises(errors.NoAuth, match=told):
            lock(root, hosts, identifier="b", timeout=5, **BOB)
        ann.create(f"{root}/lease", b"a")
        with pytest.raises(errors.NoAuth, match=told):  # there is no slot, but that is not all there is to say
            lock(root, hosts, identifier="b", timeout=0, **BOB)


class TestAcl:
    """What is created carries the default ACL, and strangers are told so."""

    def test_pool_queue_lease_and_parents_carry_it(self, hosts, root, zk):
        pool = f"{root}/deep/pool"
        zk.create(root)
        assert lock(pool, hosts, identifier="a", **ANN, default_acl={**ANN, "allperms": True})
        zk.add_auth("digest", "ann:ann-pw")
        (lease,) = zk.get_children(pool)
        for path in (f"{root}/deep", pool, f"{pool}-__lock__", f"{pool}/{lease}"):
            (entry,) = zk.get_acls(path)[0]
            assert entry.id.id == make_digest_acl_credential("ann", "ann-pw"), path
            assert entry.perms == 31
        assert zk.get_acls(root)[0][0].id.scheme == "world", "what was there is left as it was"

    def test_a_list_gives_each_their_own(self, hosts, root, zk):
        both = [{**ANN, "allperms": True}, {**BOB, "read": True}]
        assert lock(root, hosts, identifier="a", **ANN, default_acl=both)
        assert lock_holders(root, hosts, **BOB) == ["a"]
        with pytest.raises(errors.NoAuth, match="digest:bob"):
            lock(root, hosts, identifier="b", **BOB)

    def test_a_stranger_is_told_which_path_and_who_it_was(self, hosts, root):
        lock(root, hosts, identifier="a", **ANN, default_acl={**ANN, "allperms": True})
        with pytest.raises(errors.NoAuth, match=rf"read {root} as anonymous") as caught:
            lock_holders(root, hosts)
        assert caught.value.path == root
        with pytest.raises(errors.NoAuth, match=rf"{root}-__lock__ as digest:eve"):
            lock(root, hosts, identifier="e", **EVE)
        with pytest.raises(errors.NoAuth, match=rf"read {root} as digest:eve"):
            unlock(root, hosts, identifier="a", **EVE)

    def test_sessions_are_not_shared_between_users(self, hosts, root, ensemble):
        lock(root, hosts, identifier="a", **ANN, default_acl={**ANN, "allperms": True})
        before = ensemble.sessions()
        with pytest.raises(errors.NoAuth):
            lock_holders(root, hosts, username="ann", password="wrong")
        assert len(ensemble.sessions() - before) == 1
        assert lock_holders(root, hosts, **ANN) == ["a"]
        assert len(ensemble.sessions() - before) == 1, "ann's own session is shared"

    def test_force_makes_its_path_with_it(self, hosts, root, zk):
        lock(root, hosts, identifier="a", force=True, **ANN, default_acl={**ANN, "allperms": True})
        assert zk.get_acls(root)[0][0].id.scheme == "digest"
