"""Single znodes whose request or reply is lost: nothing is done twice, and nothing of another is claimed."""

import pytest
from zkcoord import errors, znode
from zkcoord.testing import Op

from tests.support.calls import children


@pytest.fixture
def lossy(proxies):
    """Have the reply to one kind of request lost; the connect string to use."""

    def lose(opcode):
        for proxy in proxies:
            proxy.drop_reply(opcode)
        return proxies.hosts

    yield lose
    assert sum(len(proxy.dropped) for proxy in proxies)


def test_an_ephemeral_creation_whose_reply_is_lost_is_found(lossy, hosts, root):
    assert znode.create(root, "x", lossy(Op.CREATE2), ephemeral=True) == root
    assert znode.get(root, hosts) == b"x"


def test_a_persistent_creation_whose_reply_is_lost_may_be_anothers(lossy, hosts, root):
    with pytest.raises(errors.ConnectionLost, match=f"{root}: whether the znode was changed is not known"):
        znode.create(root, "x", lossy(Op.CREATE2))
    assert znode.get(root, hosts) == b"x"


@pytest.mark.parametrize("ephemeral", [True, False])
def test_a_creation_whose_request_is_lost_does_not_claim_what_another_has_made(proxies, hosts, root, zk, ephemeral):
    znode.exists(root, proxies.hosts)
    zk.create(root, b"x")
    for proxy in proxies:
        proxy.drop_request(Op.CREATE2)
    expected = errors.NodeExists if ephemeral else errors.ConnectionLost
    with pytest.raises(expected):
        znode.create(root, "x", proxies.hosts, ephemeral=ephemeral)
    assert any(proxy.dropped[Op.CREATE2] for proxy in proxies)


def test_a_write_whose_reply_is_lost_is_done_once(lossy, hosts, root, zk):
    zk.create(root)
    assert znode.set(root, "x", lossy(Op.SET_DATA))[4] == 1
    assert znode.get(root, hosts) == b"x"


def test_a_write_whose_request_is_lost_is_not_repeated_over_a_later_one(proxies, hosts, root, zk):
    zk.create(root)
    znode.exists(root, proxies.hosts)
    for proxy in proxies:
        proxy.drop_request(Op.SET_DATA)
    with pytest.raises(errors.ConnectionLost, match=root):
        znode.set(root, "x", proxies.hosts)
    assert znode.get(root, hosts) == b"", "nobody has written it a second time"


def test_a_deletion_whose_request_is_lost_is_not_repeated_over_a_znode_made_since(proxies, hosts, root, zk):
    zk.create(root)
    znode.exists(root, proxies.hosts)
    for proxy in proxies:
        proxy.drop_request(Op.DELETE)
    with pytest.raises(errors.ConnectionLost, match=root):
        znode.delete(root, proxies.hosts)
    assert znode.exists(root, hosts)


def test_a_sequential_creation_whose_reply_is_lost_is_not_repeated(lossy, root, zk):
    zk.create(root)
    with pytest.raises(errors.ConnectionLost, match="not known"):
        znode.create(f"{root}/s-", sequence=True, zk_hosts=lossy(Op.CREATE2))
    assert children(zk, root) == ["s-0000000000"]


def test_a_deletion_whose_reply_is_lost_is_done(lossy, root, zk):
    zk.create(root)
    znode.delete(root, zk_hosts=lossy(Op.DELETE))
    zk.sync("/")
    assert zk.exists(root) is None


def test_a_guarded_write_whose_reply_is_lost_is_not_repeated(lossy, hosts, root, zk):
    zk.create(root)
    with pytest.raises(errors.ConnectionLost, match=root):
        znode.set(root, "x", version=0, zk_hosts=lossy(Op.SET_DATA))
    assert znode.get(root, zk_hosts=hosts) == b"x"
