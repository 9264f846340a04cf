"""What `zookeeper` does to znodes, as kazoo sees it, and what it says when it cannot."""

from __future__ import annotations

import inspect
import pickle
import traceback

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import NoAuthError
from kazoo.protocol.states import ZnodeStat
from kazoo.security import ACL, OPEN_ACL_UNSAFE, Id, make_digest_acl
from zkcoord import errors, znode

from tests.support.salt import closed_port

SECRET = "c0rrect-h0rse"
SALT = {"username": "salt", "password": SECRET}
OWNER = {**SALT, "allperms": True}
READER = {"username": "app", "password": "ü", "read": True}
OWNER_ACL = make_digest_acl("salt", SECRET, all=True)
READER_ACL = make_digest_acl("app", "ü", read=True)

# Every function that asks a server, with arguments of its own.
CALLS = {
    "create": {"value": "v"},
    "ensure_path": {},
    "exists": {},
    "get": {},
    "get_children": {},
    "set": {"value": "v"},
    "get_acls": {},
    "set_acls": {"acls": [OWNER]},
    "delete": {},
}
NATIVE = {"get_children": "children", "ensure_path": "exists"}
KEYS = (
    *("hosts", "scheme", "username", "password", "default_acl", "session_timeout", "connect_timeout"),
    *("use_ssl", "ca_certs"),
)

every_function = pytest.mark.parametrize("function", CALLS)


@pytest.fixture
def bare(monkeypatch, config):
    """Salt's module in this process, with a configuration in which there is nothing."""
    from saltext.zkcoord.modules import zookeeper

    for name, value in config.dunders().items():
        monkeypatch.setattr(zookeeper, name, value, raising=False)
    return zookeeper


@pytest.fixture
def zookeeper(bare, config, hosts):
    """Salt's module in this process, which finds the ensemble."""
    config["zookeeper:hosts"] = hosts
    return bare


@pytest.fixture
def owner(hosts):
    """Kazoo, as the user `salt`."""
    client = KazooClient(hosts, auth_data=[("digest", f"salt:{SECRET}")])
    client.start(timeout=30)
    yield client
    client.stop()
    client.close()


def now(client: KazooClient) -> KazooClient:
    """Let a client's server catch up with what another one has confirmed."""
    client.sync("/")
    return client


FAILURES = [name for name in errors.__all__ if not issubclass(getattr(errors, name), errors.ArgumentError)]


class TestCreating:
    def test_a_znode_has_the_value_in_utf_8_and_is_open_to_everybody(self, zookeeper, root, zk):
        assert zookeeper.create(root, "grün") == root
        data, stat = now(zk).get(root)
        assert (data, stat.ephemeralOwner) == ("grün".encode(), 0)
        assert now(zk).get_acls(root)[0] == OPEN_ACL_UNSAFE

    def test_without_a_value_it_is_empty(self, zookeeper, root, zk):
        zookeeper.create(root)
        assert now(zk).get(root)[0] == b""

    def test_bytes_are_a_value(self, zookeeper, root, zk):
        zookeeper.create(root, b"\xff\0")
        assert now(zk).get(root)[0] == b"\xff\0"

    def test_it_permits_what_is_asked_for(self, zookeeper, root, zk, owner):
        zookeeper.create(root, "v", [OWNER, READER])
        assert now(owner).get_acls(root)[0] == [OWNER_ACL, READER_ACL]
        with pytest.raises(NoAuthError):
            now(zk).get(root)

    @pytest.mark.parametrize("default", [OWNER, [OWNER]])
    def test_or_else_what_is_the_default(self, zookeeper, config, root, owner, default):
        config["zookeeper:default_acl"] = default
        zookeeper.create(root)
        zookeeper.create(f"{root}-explicit", acls=[READER, OWNER])
        assert now(owner).get_acls(root)[0] == [OWNER_ACL]
        assert now(owner).get_acls(f"{root}-explicit")[0] == [READER_ACL, OWNER_ACL]

    def test_an_ephemeral_one_is(self, zookeeper, root, zk):
        zookeeper.create(root, ephemeral=True)
        assert now(zk).exists(root).ephemeralOwner != 0

    def test_the_numbers_of_sequential_ones_rise_and_are_told(self, zookeeper, root, zk):
        zookeeper.create(root)
        made = [zookeeper.create(f"{root}/n-", sequence=True) for _ in range(3)]
        assert made == [f"{root}/n-{number:010}" for number in range(3)]
        assert sorted(f"{root}/{name}" for name in now(zk).get_children(root)) == made

    def test_parents_are_made_when_asked_for_and_permit_the_same(self, zookeeper, root, owner, execution_error):
        with pytest.raises(execution_error):
            zookeeper.create(f"{root}/a/b", acls=[OWNER], **SALT)
        assert now(owner).exists(root) is None
        assert zookeeper.create(f"{root}/a/b", acls=[OWNER], makepath=True, **SALT) == f"{root}/a/b"
        assert [now(owner).get_acls(path)[0] for path in (root, f"{root}/a", f"{root}/a/b")] == [[OWNER_ACL]] * 3

    def test_below_a_chroot_paths_are_those_below_it(self, zookeeper, root, hosts, zk):
        zk.create(root)
        assert zookeeper.create("/a/b", "v", makepath=True, hosts=hosts + root) == "/a/b"
        assert now(zk).get(f"{root}/a/b")[0] == b"v"
        assert zookeeper.get_children("/", hosts=hosts + root) == ["a"]


class TestEnsuringAPath:
    def test_what_is_missing_is_made_with_the_acl_and_what_is_there_is_left_alone(self, zookeeper, root, zk, owner):
        zk.create(root, b"v")
        for _ in range(2):
            assert zookeeper.ensure_path(f"{root}/a/b", [OWNER], **SALT) is True
        assert [now(owner).get_acls(f"{root}{below}")[0] for below in ("", "/a", "/a/b")] == [
            OPEN_ACL_UNSAFE,
            [OWNER_ACL],
            [OWNER_ACL],
        ]
        assert now(zk).get(root)[0] == b"v"

    def test_it_needs_no_permission_for_what_is_there(self, zookeeper, root, zk):
        zk.create(root, acl=[READER_ACL])
        assert zookeeper.ensure_path(root) is True
        assert zookeeper.ensure_path("/") is True

    def test_another_one_may_be_faster(self, zookeeper, root, zk, monkeypatch):
        zk.create(root)
        monkeypatch.setattr(znode, "exists", lambda *_, **__: False)
        assert zookeeper.ensure_path(root) is True

    def test_an_acl_that_is_wrong_is_refused_also_where_it_is_not_needed(self, zookeeper, root, zk, invocation_error):
        zk.create(root)
        with pytest.raises(invocation_error):
            zookeeper.ensure_path(root, [{**OWNER, "all": True}])


class TestReading:
    def test_a_znode_exists_or_does_not(self, zookeeper, root, zk):
        assert zookeeper.exists(root) is False
        zk.create(root)
        assert zookeeper.exists(root) is True

    @pytest.mark.parametrize(
        ("data", "text"), [(b"", ""), ("grün\n".encode(), "grün\n"), (b"a\xffb", "a\N{REPLACEMENT CHARACTER}b")]
    )
    def test_data_is_text_and_what_is_none_is_shown_all_the_same(self, zookeeper, root, zk, data, text):
        zk.create(root, data)
        assert zookeeper.get(root) == text

    def test_children_are_a_list_of_names(self, zookeeper, root, zk):
        zk.create(f"{root}/a/b", makepath=True)
        zk.create(f"{root}/ü")
        assert sorted(zookeeper.get_children(root)) == ["a", "ü"]
        assert zookeeper.get_children(f"{root}/ü") == []

    def test_an_acl_is_as_kazoo_shows_it(self, zookeeper, root, zk):
        zk.create(root, acl=[OWNER_ACL, READER_ACL, ACL(1, Id("world", "anyone"))])
        found = zookeeper.get_acls(root, **SALT)
        assert found == [OWNER_ACL, READER_ACL, ACL(1, Id("world", "anyone"))]
        assert (found[0]._fields, found[0].id._fields) == (ACL._fields, Id._fields)


class TestChanging:
    def test_a_value_is_set_and_the_stat_is_as_kazoo_shows_it(self, zookeeper, root, zk):
        zk.create(f"{root}/child", makepath=True)
        stat = zookeeper.set(root, "grün")
        assert now(zk).get(root) == ("grün".encode(), stat)
        assert stat._fields == ZnodeStat._fields
        assert (stat.version, stat.numChildren, stat.dataLength) == (1, 1, 5)

    def test_an_acl_is_set_and_the_stat_is_as_kazoo_shows_it(self, zookeeper, root, zk, owner):
        zk.create(root)
        stat = zookeeper.set_acls(root, [OWNER, READER])
        assert now(owner).get_acls(root) == ([OWNER_ACL, READER_ACL], stat)
        assert stat._fields == ZnodeStat._fields
        assert (stat.version, stat.aversion) == (0, 1)

    @pytest.mark.parametrize("version", [3, 0])
    def test_only_at_the_version_that_is_asked_for(self, zookeeper, root, zk, execution_error, version):
        zk.create(root, b"old")
        stat = zk.set(root, b"new")
        with pytest.raises(execution_error, match=f"^{root} is not at version {version}"):
            zookeeper.set(root, "other", version)
        with pytest.raises(execution_error, match=f"^{root} is not at version 3"):
            zookeeper.set_acls(root, [OWNER], 3)
        with pytest.raises(execution_error, match=f"^{root} is not at version {version}"):
            zookeeper.delete(root, version)
        assert now(zk).get(root) == (b"new", stat)
        assert zookeeper.set(root, "other", 1).version == 2
        assert zookeeper.set_acls(root, [OWNER], 0).aversion == 1
        assert zookeeper.delete(root, 2, **SALT) is True
        assert now(zk).exists(root) is None

    def test_a_znode_is_deleted_with_its_children_when_that_is_asked_for(self, zookeeper, root, zk, execution_error):
        zk.create(f"{root}/a/b", makepath=True)
        with pytest.raises(execution_error, match=f"^could not delete {root}:"):
            zookeeper.delete(root)
        assert now(zk).exists(f"{root}/a/b")
        assert zookeeper.delete(root, recursive=True) is True
        assert now(zk).exists(root) is None


class TestEntriesOfAnACL:
    @pytest.mark.parametrize(
        "permissions",
        [*({each: True} for each in ("read", "write", "create", "delete", "admin")), {"read": True, "delete": True}],
    )
    def test_are_as_kazoo_makes_them(self, bare, permissions):
        made = bare.make_digest_acl("ü", "a:b", **permissions)
        assert made == make_digest_acl("ü", "a:b", **permissions)
        assert (made._fields, made.id._fields) == (ACL._fields, Id._fields)

    def test_permit_everything_when_all_permissions_are_asked_for(self, bare):
        made = bare.make_digest_acl("a", "b", allperms=True)
        assert made == make_digest_acl("a", "b", all=True)
        assert made.perms == 31

    def test_take_the_permissions_by_position_in_the_order_of_the_bits(self, bare):
        given = [[position == index for position in range(5)] for index in range(5)]
        assert [bare.make_digest_acl("a", "b", *flags).perms for flags in given] == [1, 2, 4, 8, 16]

    def test_ask_no_server_and_no_configuration(self, bare, config):
        bare.make_digest_acl("a", "b", read=True)
        assert config.asked == []

    @pytest.mark.parametrize("wrong", [{}, {"read": "perhaps"}, {"username": "a:b", "read": True}])
    def test_are_refused_where_they_mean_nothing(self, bare, invocation_error, wrong):
        with pytest.raises(invocation_error) as caught:
            bare.make_digest_acl(**{**SALT, **wrong})
        assert SECRET not in str(caught.value)

    def test_have_no_keyword_all_as_the_stock_documentation_says(self, bare):
        with pytest.raises(TypeError, match="'all'"):
            bare.make_digest_acl("a", "b", all=True)


class TestErrors:
    MISSING = ("get", "get_children", "set", "get_acls", "set_acls", "delete")

    @pytest.mark.parametrize("function", MISSING)
    def test_a_missing_znode_is_named_in_one_line(self, zookeeper, root, function, execution_error):
        with pytest.raises(execution_error) as caught:
            getattr(zookeeper, function)(root, **CALLS[function])
        assert type(caught.value) is execution_error
        assert str(caught.value) == f"{root} does not exist"
        assert isinstance(caught.value.__cause__, errors.NoNode)

    def test_a_znode_that_exists_already_is_named_in_one_line(self, zookeeper, root, zk, execution_error):
        zk.create(root)
        with pytest.raises(execution_error) as caught:
            zookeeper.create(root)
        assert str(caught.value) == f"{root} exists already"

    @pytest.mark.parametrize("function", sorted(CALLS.keys() - {"exists", "ensure_path"}))
    def test_who_is_not_permitted_to_is_named_in_one_line(self, zookeeper, root, zk, function, execution_error):
        zk.create(f"{root}/child", makepath=True)
        zk.set_acls(root, [READER_ACL])
        path = {"create": f"{root}/new", "delete": f"{root}/child"}.get(function, root)
        with pytest.raises(execution_error, match=r"^not permitted to .* digest:salt\b") as caught:
            getattr(zookeeper, function)(path, **CALLS[function], **SALT)
        assert len(str(caught.value).splitlines()) == 1

    @every_function
    def test_servers_out_of_reach_are_named_before_long(self, bare, config, root, function, execution_error):
        config["zookeeper:connect_timeout"] = 0.1
        with closed_port() as address, pytest.raises(execution_error, match=address) as caught:
            getattr(bare, function)(root, hosts=address, **CALLS[function])
        assert isinstance(caught.value.__cause__, errors.Unreachable)

    @pytest.mark.parametrize(
        "wrong", [{"path": "/a/../b"}, {"hosts": "host:port"}, {"scheme": "basic"}, {"username": "salt"}]
    )
    @every_function
    def test_a_wrong_argument_is_a_wrong_invocation(self, bare, function, invocation_error, wrong):
        with pytest.raises(invocation_error) as caught:
            getattr(bare, function)(**{"path": "/a", **CALLS[function], **wrong})
        assert isinstance(caught.value.__cause__, errors.ArgumentError)

    @pytest.mark.parametrize(
        "wrong",
        [
            [{**OWNER, "all": True}],
            [{**SALT, "all": True}],
            [{**OWNER, "reed": True}],
            [SALT],
            [{"username": "salt", "allperms": True}],
            [{"password": SECRET, "allperms": True}],
            [{**OWNER, "password": [SECRET]}],
            [{**OWNER, "read": SECRET}],
            SECRET,
            [SECRET],
            5,
        ],
    )
    @pytest.mark.parametrize("function", ["create", "ensure_path", "set_acls", "exists"])
    def test_a_wrong_acl_is_a_wrong_invocation_that_tells_no_password(self, bare, function, invocation_error, wrong):
        name = "default_acl" if function == "exists" else "acls"
        with pytest.raises(invocation_error) as caught:
            getattr(bare, function)("/a", **{name: wrong})
        assert SECRET not in "".join(traceback.format_exception(caught.value))
        assert len(str(caught.value).splitlines()) == 1
        if isinstance(wrong, list) and "all" in wrong[0]:
            assert "unknown key; known are" in str(caught.value)
            assert "allperms" in str(caught.value)

    @pytest.mark.parametrize("value", [5, None, ["a"]])
    def test_a_value_that_is_no_text_is_a_wrong_invocation(self, bare, invocation_error, value):
        with pytest.raises(invocation_error, match=r"^value: "):
            bare.set("/a", value)

    @pytest.mark.parametrize("function", ["set", "set_acls", "delete"])
    def test_a_version_that_is_no_number_is_a_wrong_invocation(self, bare, invocation_error, function):
        with pytest.raises(invocation_error, match=r"^version: "):
            getattr(bare, function)("/a", version="new", **CALLS[function])

    @every_function
    @pytest.mark.parametrize("kind", FAILURES)
    def test_every_other_failure_is_an_error_in_one_line(self, bare, monkeypatch, function, kind, execution_error):
        failure = getattr(errors, kind)("it went\n  wrong\n", "/a")

        def fail(*_: object, **__: object) -> None:
            raise failure

        monkeypatch.setattr(znode, NATIVE.get(function, function), fail)
        with pytest.raises(execution_error) as caught:
            getattr(bare, function)("/a", **CALLS[function])
        assert type(caught.value) is execution_error
        assert str(caught.value) == "it went wrong"
        assert caught.value.__cause__ is failure


class TestConnection:
    @every_function
    def test_every_argument_is_handed_on_under_its_name_in_the_core(self, bare, config, monkeypatch, function):
        given = {name: f"the {name}" for name in inspect.signature(getattr(bare, function)).parameters}
        given.update({"acls": [OWNER]} if "acls" in given else {})
        native = {**NATIVE, "ensure_path": "create"}.get(function, function)
        signature = inspect.signature(getattr(znode, native))
        seen = {}

        def note(*arguments: object, **keywords: object) -> object:
            seen.update(signature.bind(*arguments, **keywords).arguments)
            return {"get": b"", "get_acls": []}.get(function, range(11))

        monkeypatch.setattr(znode, "exists", lambda *_, **__: False)
        monkeypatch.setattr(znode, native, note)
        config["zookeeper:the profile:hosts"] = "the configured"
        getattr(bare, function)(**given)
        connection = seen.pop("keywords")
        assert connection.pop("config") == {"the profile": {"hosts": "the configured"}}
        expected = {**given, "zk_hosts": given["hosts"], "raise_on_signal": True}
        expected.update({"makepath": True} if function == "ensure_path" else {})
        del expected["hosts"]
        assert {**seen, **connection} == expected

    @every_function
    def test_every_setting_is_looked_up_below_the_profile(self, bare, config, hosts, zk, root, function):
        zk.create(root)
        config.update({**{f"zookeeper:blue:{key}": None for key in KEYS}, "zookeeper:blue:hosts": hosts.split(",")})
        path = f"{root}/new" if function == "create" else root
        getattr(bare, function)(path, profile="blue", **CALLS[function])
        assert {*config.asked} == {f"zookeeper:blue:{key}" for key in KEYS}

    def test_each_call_is_made_as_its_own_user_and_to_its_own_ensemble(
        self, bare, config, hosts, root, zk, execution_error
    ):
        zk.create(root, b"v", acl=[OWNER_ACL])
        config["zookeeper:hosts"] = hosts
        config.update({f"zookeeper:salt:{key}": value for key, value in {**SALT, "hosts": hosts}.items()})
        with pytest.raises(execution_error, match="as anonymous"):
            bare.get(root)
        assert bare.get(root, profile="salt") == "v"
        with pytest.raises(execution_error, match="as anonymous"):
            bare.get(root)
        assert bare.exists("/", hosts=f"{hosts}{root}/elsewhere") is False


class TestModule:
    def test_the_file_and_the_module_have_the_name_of_the_stock_module(self, bare):
        assert bare.__virtual__() == "zookeeper" == bare.__name__.rpartition(".")[2]

    @pytest.mark.parametrize("function", [*CALLS, "make_digest_acl"])
    def test_a_function_tells_its_parameters_and_has_a_cli_example(self, bare, function):
        documentation = inspect.getdoc(getattr(bare, function)) or ""
        told = [name for line in documentation.splitlines() if line[:1].islower() for name in line.split(", ")]
        assert {*inspect.signature(getattr(bare, function)).parameters} <= {*told}
        _, example = documentation.split("CLI Example:\n\n.. code-block:: bash\n\n")
        assert example.startswith(f"    salt minion zookeeper.{function} ")

    @pytest.mark.parametrize("function", [*CALLS, "make_digest_acl"])
    def test_an_argument_specification_survives_pickling(self, bare, function):
        from salt.utils.args import argspec_report

        report = argspec_report({f"zookeeper.{function}": getattr(bare, function)}, f"zookeeper.{function}")
        parameters = inspect.signature(getattr(bare, function)).parameters
        assert report[f"zookeeper.{function}"]["args"] == [name for name in parameters if name != "security"]
        assert pickle.loads(pickle.dumps(report)) == report

    def test_salt_can_send_what_is_returned(self, bare):
        from salt import payload

        stat = bare.ZnodeStat(*range(11))
        entry = bare.make_digest_acl("a", "b", read=True)
        returned = payload.loads(payload.dumps({"stat": stat, "acl": [entry]}))
        assert returned == {"stat": [*range(11)], "acl": [[1, ["digest", entry.id.id]]]}
