"""Single znodes."""

import pytest
from kazoo.security import OPEN_ACL_UNSAFE, make_digest_acl
from zkcoord import errors, znode

from tests.support.calls import children


def test_it_is_created_read_written_and_deleted(hosts, root, zk):
    assert znode.exists(root, zk_hosts=hosts) is False
    assert znode.create(root, "né", zk_hosts=hosts) == root
    assert znode.exists(root, zk_hosts=hosts) is True
    assert znode.get(root, zk_hosts=hosts) == "né".encode()
    stat = znode.set(root, b"\xff\0", zk_hosts=hosts)
    assert znode.get(root, zk_hosts=hosts) == b"\xff\0"
    assert stat == tuple(zk.get(root)[1]), "the fields of kazoo's stat, in its order"
    znode.delete(root, zk_hosts=hosts)
    zk.sync("/")
    assert zk.exists(root) is None


def test_parents_are_made_if_asked_for(hosts, root):
    with pytest.raises(errors.NoNode):
        znode.create(f"{root}/a/b", zk_hosts=hosts)
    assert znode.create(f"{root}/a/b", makepath=True, zk_hosts=hosts) == f"{root}/a/b"
    assert znode.children(root, zk_hosts=hosts) == ["a"]


def test_what_is_there_is_not_created_again(hosts, root):
    znode.create(root, zk_hosts=hosts)
    with pytest.raises(errors.NodeExists, match=root):
        znode.create(root, zk_hosts=hosts)


def test_a_sequence_is_part_of_the_name(hosts, root, zk):
    znode.create(root, zk_hosts=hosts)
    made = [znode.create(f"{root}/s-", sequence=True, zk_hosts=hosts) for _ in range(2)]
    assert made == [f"{root}/s-0000000000", f"{root}/s-0000000001"]
    assert sorted(children(zk, root)) == ["s-0000000000", "s-0000000001"]


def test_an_ephemeral_one_belongs_to_the_session(hosts, root, zk):
    znode.create(root, ephemeral=True, zk_hosts=hosts)
    zk.sync("/")
    assert zk.exists(root).ephemeralOwner


def test_a_version_guards_a_write_and_a_delete(hosts, root):
    znode.create(root, zk_hosts=hosts)
    assert znode.set(root, "1", hosts, 0)[4] == 1
    with pytest.raises(errors.BadVersion, match=f"{root} is not at version 0"):
        znode.set(root, "2", version=0, zk_hosts=hosts)
    with pytest.raises(errors.BadVersion):
        znode.delete(root, hosts, 0)
    znode.delete(root, hosts, 1)


@pytest.mark.parametrize("wrong", ["one", 1.5, True, -2, 2**40])
def test_a_wrong_version_is_refused(wrong):
    with pytest.raises(errors.ArgumentError, match=r"^version: "):
        znode.set("/p", "", version=wrong, zk_hosts="127.0.0.1:1")


@pytest.mark.parametrize(
    "read",
    [
        znode.get,
        znode.children,
        znode.get_acls,
        znode.delete,
        lambda path, **it: znode.set(path, "", **it),
        lambda path, **it: znode.set_acls(path, {"username": "u", "password": "p", "read": True}, **it),
    ],
)
def test_what_is_not_there_is_said_so_by_its_path(hosts, root, read):
    with pytest.raises(errors.NoNode, match=f"{root} does not exist") as caught:
        read(root, zk_hosts=hosts)
    assert caught.value.path == root


def test_a_tree_goes_only_if_asked_for(hosts, root, zk):
    for name in ("a/b", "a/c", "d"):
        znode.create(f"{root}/{name}", makepath=True, zk_hosts=hosts)
    with pytest.raises(errors.ServerError, match="children"):
        znode.delete(root, zk_hosts=hosts)
    znode.delete(root, recursive=True, zk_hosts=hosts)
    zk.sync("/")
    assert zk.exists(root) is None


def test_a_tree_that_is_not_there_may_be_deleted_and_one_of_another_version_stays_whole(hosts, root, zk):
    znode.delete(root, recursive=True, zk_hosts=hosts)
    znode.create(f"{root}/a", makepath=True, zk_hosts=hosts)
    with pytest.raises(errors.BadVersion):
        znode.delete(root, version=7, recursive=True, zk_hosts=hosts)
    assert children(zk, root) == ["a"]


def test_a_sequence_alone_can_be_the_name(hosts, root):
    znode.create(root, zk_hosts=hosts)
    assert znode.create(f"{root}/", sequence=True, zk_hosts=hosts) == f"{root}/0000000000"


def test_a_parent_that_may_not_be_made_is_the_reason(hosts, root):
    znode.create(root, acls={"username": "u", "password": "p", "allperms": True}, zk_hosts=hosts)
    with pytest.raises(errors.NoAuth):
        znode.create(f"{root}/a/b", makepath=True, zk_hosts=hosts)


def test_below_a_chroot_paths_are_its_own(hosts, root):
    znode.create(f"{root}/a", makepath=True, zk_hosts=hosts)
    below = f"{hosts}{root}"
    assert znode.create("/a/b", zk_hosts=below) == "/a/b"
    assert znode.children("/", zk_hosts=below) == ["a"]
    assert "zookeeper" in znode.children("/", zk_hosts=hosts)


def test_acls_are_kazoos(hosts, root, zk):
    znode.create(root, zk_hosts=hosts)
    assert znode.get_acls(root, zk_hosts=hosts) == [tuple(OPEN_ACL_UNSAFE[0])]
    wanted = {"username": "u", "password": "p", "read": True, "admin": True}
    entry = tuple(make_digest_acl("u", "p", read=True, admin=True))
    assert znode.digest_acl(wanted) == entry
    own = {"username": "u", "password": "p"}
    assert znode.set_acls(root, [wanted], zk_hosts=hosts)[6] == 1
    assert znode.get_acls(root, zk_hosts=hosts, **own) == [entry]
    made = znode.create(f"{root}-b", acls=wanted, zk_hosts=hosts)
    assert znode.get_acls(made, zk_hosts=hosts, **own) == [entry]
    made = znode.create(f"{root}-c", default_acl=wanted, zk_hosts=hosts)
    assert znode.get_acls(made, zk_hosts=hosts, **own) == [entry]
    with pytest.raises(errors.NoAuth, match=f"write {root}-c as anonymous"):
        znode.set(f"{root}-c", "", zk_hosts=hosts)


def test_children_and_zookeepers_own_can_be_read(hosts):
    assert b"server.1" in znode.get("/zookeeper/config", zk_hosts=hosts)
