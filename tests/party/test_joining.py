"""`party`, `party_join` and `party_leave`: kazoo lists who has joined, and nobody stays who has left."""

import asyncio
import os

import pytest
from kazoo.recipe.party import Party, ShallowParty
from kazoo.security import make_digest_acl
from zkcoord import Connection, Membership, aio, errors, party, party_join, party_leave, party_members
from zkcoord.testing import Op

from tests.support.calls import Waiting, children, together, wait_until

FORMS = pytest.mark.parametrize(("shallow", "kind"), [(False, Party), (True, ShallowParty)], ids=["party", "shallow"])


class TestMembership:
    @FORMS
    def test_kazoo_lists_it_while_the_block_runs(self, hosts, root, zk, shallow, kind):
        with party(root, hosts, "web1", shallow=shallow) as membership:
            assert isinstance(membership, Membership)
            zk.sync("/")
            assert list(kind(zk, root)) == ["web1"] == party_members(root, hosts)
            (name,) = children(zk, root)
            assert (membership.path, membership.identifier, membership.name) == (root, "web1", name)
            assert hex(zk.exists(f"{root}/{name}").ephemeralOwner) == membership.session
            assert repr(membership) == f"<Membership of 'web1' in {root}>"
        assert party_members(root, hosts) == []
        assert repr(membership) == f"<Membership of 'web1' in {root}, left>"
        assert membership.leave() is False

    def test_it_ends_when_the_block_raises(self, hosts, root):
        with pytest.raises(LookupError), party(root, hosts, "a"):
            raise LookupError
        assert party_members(root, hosts) == []

    def test_each_has_a_member_of_its_own(self, hosts, root):
        with party(root, hosts, "a"):
            with party(root, hosts, "a"):
                assert party_members(root, hosts) == ["a", "a"]
            assert party_members(root, hosts) == ["a"]

    def test_it_ends_with_its_process(self, hosts, root, script):
        process = script("print(zkcoord.party(root, hosts, 'a'), zkcoord.party_members(root, hosts))")
        assert process.result() == f"<Membership of 'a' in {root}> ['a']"
        assert party_members(root, hosts) == []

    def test_a_loss_is_told_and_leaving_is_none(self, hosts, root, zk):
        told = []
        with party(root, hosts, "a", on_lost=lambda: told.append("a")) as membership:
            zk.delete(f"{root}/{membership.name}")
            wait_until(lambda: told == ["a"], "the loss is told")
            assert membership.lost.is_set()
        left = party(root, hosts, "b", on_lost=lambda: told.append("b"))
        assert left.leave() is True
        assert not left.lost.wait(0.3)
        assert told == ["a"]

    def test_it_is_lost_with_its_session(self, proxies, hosts, root):
        with party(root, connection=Connection(proxies.hosts, session_timeout=1), identifier="a") as membership:
            lost = membership.lost
            for proxy in proxies:
                proxy.stall()
            assert lost.wait(20)
            wait_until(lambda: party_members(root, hosts) == [], "the servers have removed the member")
            for proxy in proxies:
                proxy.resume()

    def test_a_forked_child_does_not_end_it(self, hosts, root, script):
        process = script("""
            with zkcoord.party(root, hosts, "a") as membership:
                if os.fork() == 0:
                    try:
                        membership.leave()
                    except zkcoord.errors.ArgumentError as error:
                        os.write(1, f"{error}\\n".encode())
                    os._exit(0)
                os.wait()
                print(zkcoord.party_members(root, hosts))
        """)
        refused = "membership: belongs to the process that this one was forked off"
        assert process.result().split("\n") == [refused, "['a']"]


class TestJoin:
    @FORMS
    @pytest.mark.parametrize("ephemeral", [True, False])
    def test_it_is_listed_once_and_leaves_once(self, hosts, root, zk, ephemeral, shallow, kind):
        for _ in range(2):
            assert party_join(root, hosts, "a", ephemeral=ephemeral, shallow=shallow) is True
        zk.sync("/")
        assert list(kind(zk, root)) == ["a"]
        (name,) = children(zk, root)
        assert bool(zk.exists(f"{root}/{name}").ephemeralOwner) is ephemeral
        assert party_leave(root, hosts, "a") is True
        assert party_leave(root, hosts, "a") is False
        assert children(zk, root) == []

    def test_one_for_good_comes_beside_one_for_the_time_being(self, hosts, root, zk, script):
        assert script("print(zkcoord.party_join(root, hosts, 'a', ephemeral=False))").result() == "True"
        assert party_members(root, hosts) == ["a"], "its process is gone"
        assert party_join(root, hosts, "a")
        assert party_members(root, hosts) == ["a", "a"]
        assert party_leave(root, hosts, "a") is True
        assert party_members(root, hosts) == []

    def test_a_piece_of_work_does_not_take_along_who_has_joined(self, hosts, root):
        with party(root, hosts, "a"):
            assert party_join(root, hosts, "a")
        assert party_members(root, hosts) == ["a"]
        assert party_join(root, hosts, "a")
        assert party_members(root, hosts) == ["a"]

    def test_the_identifier_is_the_hosts_name_by_default(self, hosts, root):
        party_join(root, hosts)
        assert party_members(root, hosts) == [os.uname().nodename]
        assert party_leave(root, hosts) is True

    def test_kazoos_members_leave_as_well_and_others_stay(self, hosts, root, zk):
        for kind in (Party, ShallowParty):
            kind(zk, root, "a").join()
            kind(zk, root, "b").join()
        assert party_leave(root, hosts, "a") is True
        assert party_members(root, hosts) == ["b", "b"]

    def test_a_deep_party_is_made_with_its_parents_by_many_at_once(self, hosts, root):
        path = f"{root}/deep/er"
        joined = together(lambda number: party_join(path, hosts, number), list(range(8)))
        assert all(it.result() for it in joined.values())
        assert sorted(party_members(path, hosts)) == [str(number) for number in range(8)]

    def test_whoever_waits_for_enough_sees_it(self, hosts, root):
        waiting = Waiting(party_members, root, hosts, min_nodes=2, blocking=True, timeout=30)
        with party(root, hosts, "a"), party(root, hosts, "b", shallow=True):
            assert sorted(waiting.result()) == ["a", "b"]

    def test_the_acl_is_the_callers(self, hosts, root, zk):
        ann = {"username": "ann", "password": "ann-pw"}
        party_join(root, hosts, "a", **ann, default_acl={**ann, "allperms": True})
        zk.add_auth("digest", "ann:ann-pw")
        (name,) = zk.get_children(root)
        expected = [make_digest_acl("ann", "ann-pw", all=True)]
        assert zk.get_acls(root)[0] == zk.get_acls(f"{root}/{name}")[0] == expected
        with pytest.raises(errors.NoAuth, match=f"not permitted to read {root} as anonymous"):
            party_leave(root, hosts, "a")
        assert party_leave(root, hosts, "a", **ann) is True


@pytest.mark.parametrize(
    ("function", "wrong", "argument"),
    [
        (party, {"identifier": "a/b", "shallow": True}, "identifier"),
        (party_join, {"identifier": "a\nb", "shallow": True}, "identifier"),
        (party_join, {"identifier": ["a"]}, "identifier"),
        (party_join, {"ephemeral": "perhaps"}, "ephemeral"),
        (party_leave, {"path": "/"}, "path"),
        (party, {"timeout": -1}, "timeout"),
    ],
)
def test_wrong_arguments_are_refused_and_nothing_is_made(hosts, root, zk, function, wrong, argument):
    with pytest.raises(errors.ArgumentError, match=f"^{argument}: "):
        function(**{"path": root, "zk_hosts": hosts, **wrong})
    assert zk.exists(root) is None


def test_an_identifier_with_a_slash_goes_into_the_data(hosts, root):
    with party(root, hosts, "a/b\n"):
        assert party_members(root, hosts) == ["a/b\n"]


class TestFaults:
    @pytest.mark.parametrize("lose", ["drop_reply", "drop_request"])
    @pytest.mark.parametrize("ephemeral", [True, False])
    @pytest.mark.parametrize("fresh", [True, False], ids=["fresh", "used"])
    def test_a_lost_reply_makes_one_member(self, proxies, hosts, root, zk, lose, ephemeral, fresh):
        if not fresh:
            zk.ensure_path(root)
        for proxy in proxies:
            getattr(proxy, lose)(Op.CREATE2)
        assert party_join(root, proxies.hosts, "a", ephemeral=ephemeral, timeout=30) is True
        assert sum(proxy.dropped[Op.CREATE2] for proxy in proxies) >= 1
        assert party_members(root, hosts) == ["a"]

    @pytest.mark.parametrize("lose", ["drop_reply", "drop_request"])
    def test_a_lost_reply_leaves_once(self, proxies, hosts, root, lose):
        party_join(root, hosts, "a", ephemeral=False)
        for proxy in proxies:
            getattr(proxy, lose)(Op.DELETE)
        assert party_leave(root, proxies.hosts, "a", timeout=30) is True
        assert party_members(root, hosts) == []

    @pytest.mark.parametrize("ephemeral", [True, False])
    def test_a_member_that_comes_late_is_removed(self, proxies, hosts, root, zk, ephemeral):
        """The requests reach the server when the caller has given up."""
        proxy = proxies[0]
        zk.ensure_path(root)
        assert party_members(root, proxy.address) == []
        proxy.hold_request(Op.CREATE2, count=1000)
        with pytest.raises(errors.ConnectionLost, match="is removed as soon as a server answers"):
            party_join(root, proxy.address, "a", ephemeral=ephemeral, timeout=1)
        proxy.heal()
        assert party_members(root, proxy.address) == []
        assert proxy.send_held() > 0
        wait_until(lambda: zk.exists(root).cversion >= 2, "the member came, and went", 30)
        assert party_members(root, hosts) == []


class TestAsync:
    def test_a_block_and_its_loss(self, hosts, root, zk):
        async def run():
            async with aio.party(root, hosts, "a") as membership:
                lost = membership.lost
                assert await aio.party_members(root, hosts) == ["a"]
                zk.delete(f"{root}/{membership.name}")
                await asyncio.wait_for(lost.wait(), 20)
            membership = await aio.party(root, hosts, "b")
            assert await membership.leave() is True
            assert await aio.party_join(root, hosts, "c") is True
            assert await aio.party_leave(root, hosts, "c") is True

        asyncio.run(run())
        assert party_members(root, hosts) == []

    def test_a_cancelled_task_leaves(self, hosts, root):
        async def run():
            async with aio.party(root, hosts, "a"):
                await asyncio.sleep(60)

        async def cancel():
            task = asyncio.create_task(run())
            while not await aio.party_members(root, hosts):
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(cancel())
        assert party_members(root, hosts) == []


class TestSalt:
    @pytest.fixture(autouse=True)
    def configured(self, config, hosts):
        config["zookeeper:hosts"] = hosts

    def test_a_member_stays_until_it_leaves(self, shim, root, hosts, context):
        assert shim.party_join(root, identifier="a") is True
        assert shim.party_join(root, identifier="b", ephemeral=True, shallow=True) is True
        assert sorted(shim.party_members(root)) == ["a", "b"]
        assert shim.party_leave(root, identifier="a") is True
        assert context == {}
        assert shim.party_leave(root, identifier="a") is False
        assert context["retcode"] == 1

    def test_wrong_arguments_are_salts(self, shim, root, invocation_error):
        with pytest.raises(invocation_error, match=r"^identifier: "):
            shim.party_join(root, identifier="a/b", shallow=True)
