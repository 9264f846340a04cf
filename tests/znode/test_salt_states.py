"""The `zookeeper` states: what becomes of znodes, and what is said of it. See also test_salt_stock.py."""

from __future__ import annotations

import inspect
import json
import textwrap

import pytest
from kazoo.client import KazooClient
from kazoo.security import OPEN_ACL_UNSAFE, make_digest_acl

from tests.support.salt import LONG, VERSIONS, closed_port

SECRET = "c0rrect-h0rse"
SALT = {"username": "salt", "password": SECRET}
OWNER = {**SALT, "allperms": True}
READER = {"username": "app", "password": f"{SECRET}-2", "read": True}
OWNER_ACL = make_digest_acl("salt", SECRET, all=True)
READER_ACL = make_digest_acl("app", f"{SECRET}-2", read=True)
# In `changes` there are no digests.
OWNER_SHOWN = (31, ("digest", "salt:x"))
READER_SHOWN = (1, ("digest", "app:x"))
MODULE = (
    *("create", "ensure_path", "exists", "get", "get_children", "set", "get_acls", "set_acls", "delete"),
    "make_digest_acl",
)

CALLS = {"present": {"value": "one", "acls": [OWNER]}, "absent": {}, "acls": {"acls": [OWNER]}}
BEGIN = {"present": "setup", "absent": "delete", "acls": "set acls on"}


@pytest.fixture
def functions(monkeypatch, config, hosts):
    """The execution module, as `__salt__` has it."""
    from saltext.zkcoord.modules import zookeeper

    config.update({"zookeeper:hosts": hosts, "zookeeper:username": "salt", "zookeeper:password": SECRET})
    for name, value in config.dunders().items():
        monkeypatch.setattr(zookeeper, name, value, raising=False)
    return {f"zookeeper.{name}": getattr(zookeeper, name) for name in MODULE}


@pytest.fixture
def opts():
    return {"test": False}


@pytest.fixture
def states(monkeypatch, functions, opts):
    """Salt's state module in this process; it connects as `salt`."""
    from saltext.zkcoord.states import zookeeper

    monkeypatch.setattr(zookeeper, "__salt__", functions, raising=False)
    monkeypatch.setattr(zookeeper, "__opts__", opts, raising=False)
    return zookeeper


@pytest.fixture
def owner(hosts):
    """Kazoo, as the user `salt`. Not the one that all tests share: what a session once may do it may for good."""
    client = KazooClient(hosts, auth_data=[("digest", f"salt:{SECRET}")])
    client.start(timeout=30)
    yield client
    client.stop()
    client.close()


@pytest.fixture
def look(owner):
    """The data and the ACL of a znode, None if there is no such znode."""

    def look(path):
        owner.sync("/")
        return owner.exists(path) and (owner.get(path)[0], owner.get_acls(path)[0])

    return look


def said(ret: dict[str, object]) -> tuple[object, object, object]:
    """What a state returns beside its name. Never more than a line, never a password."""
    assert {*ret} == {"name", "result", "comment", "changes"}
    assert "\n" not in ret["comment"]
    assert SECRET not in json.dumps(ret)
    return ret["result"], ret["comment"], ret["changes"]


class TestPresent:
    def test_creates_a_znode_and_then_is_content(self, states, root, look):
        new = {"value": "one", "acls": [OWNER_SHOWN, READER_SHOWN]}
        ret = states.present(root, "one", [OWNER, READER])
        assert said(ret) == (True, f"Znode {root} successfully created", {"old": {}, "new": new})
        assert look(root) == (b"one", [OWNER_ACL, READER_ACL])
        content = f"Znode {root} is already set to the correct value with the correct acls"
        assert said(states.present(root, "one", [READER, OWNER])) == (True, content, {})

    def test_updates_the_value_and_the_acl_and_keeps_both_old_ones_in_the_changes(self, states, root, look):
        states.present(root, "one", OWNER)
        changes = {
            "old": {"value": "one", "acls": [OWNER_SHOWN]},
            "new": {"value": "two", "acls": [OWNER_SHOWN, READER_SHOWN]},
        }
        ret = states.present(root, "two", [OWNER, READER])
        assert said(ret) == (True, f"Znode {root} successfully updated", changes)
        assert look(root) == (b"two", [OWNER_ACL, READER_ACL])

    @pytest.mark.parametrize("acls", [None, []])
    def test_leaves_an_acl_alone_of_which_nothing_is_said(self, states, opts, root, zk, look, acls):
        zk.create(root, b"one", acl=[OWNER_ACL, READER_ACL])
        content = f"Znode {root} is already set to the correct value with the correct acls"
        for opts["test"] in (True, False):
            assert said(states.present(root, "one", acls)) == (True, content, {})
        ret = states.present(root, "two", acls)
        assert said(ret)[2] == {"old": {"value": "one"}, "new": {"value": "two"}}
        assert look(root) == (b"two", [OWNER_ACL, READER_ACL])

    @pytest.mark.parametrize("acls", [None, []])
    def test_creates_with_the_default_acl_where_no_other_is_given(self, states, root, look, acls):
        ret = states.present(root, "", acls, default_acl=OWNER)
        assert said(ret)[2]["new"] == {"value": "", "acls": [OWNER_SHOWN]}
        assert look(root) == (b"", [OWNER_ACL])

    def test_changes_nothing_in_a_test(self, states, opts, root, zk, look):
        opts["test"] = True
        new = {"value": "one", "acls": [OWNER_SHOWN]}
        ret = states.present(root, "one", [OWNER])
        assert said(ret) == (None, f"{root} is will be created", {"old": {}, "new": new})
        assert look(root) is None
        zk.create(root, b"zero")
        changes = {"old": {"value": "zero", "acls": OPEN_ACL_UNSAFE}, "new": new}
        ret = states.present(root, "one", [OWNER])
        assert said(ret) == (None, f"Znode {root} is will be updated", changes)
        assert look(root) == (b"zero", OPEN_ACL_UNSAFE)

    def test_creates_parents_only_when_asked_to(self, states, root, look):
        result, comment, changes = said(states.present(f"{root}/a/b", "one"))
        assert (result, changes) == (False, {})
        assert comment.startswith(f"Failed to setup znode {root}/a/b: {root}")
        assert said(states.present(f"{root}/a/b", "one", makepath=True))[0] is True
        assert look(f"{root}/a") == (b"", OPEN_ACL_UNSAFE)

    def test_creates_an_ephemeral_znode(self, states, root, zk):
        assert said(states.present(root, "one", ephemeral=True))[0] is True
        zk.sync(root)
        assert zk.exists(root).ephemeralOwner != 0

    def test_names_the_sequential_znode_that_it_made(self, states, root, zk, look):
        zk.create(root)
        for number in range(2):
            path = f"{root}/n-{number:010}"
            new = {"value": "one", "acls": OPEN_ACL_UNSAFE}
            ret = states.present(f"{root}/n-", "one", sequence=True)
            assert said(ret) == (True, f"Znode {path} successfully created", {"old": {}, "new": new})
            assert look(path) == (b"one", OPEN_ACL_UNSAFE)

    def test_takes_what_another_one_has_created_in_the_same_moment(self, states, functions, root, zk, look):
        zk.create(root, b"zero")
        functions["zookeeper.exists"] = lambda *_, **__: False
        changes = {"old": {"value": "zero"}, "new": {"value": "one"}}
        assert said(states.present(root, "one")) == (True, f"Znode {root} successfully updated", changes)
        assert look(root)[0] == b"one"

    def test_says_so_when_another_one_overwrites_what_was_written(self, states, functions, root, zk):
        read = functions["zookeeper.get"]
        functions["zookeeper.get"] = lambda path, **kw: (zk.set(path, b"theirs"), read(path, **kw))[1]
        comment = f"Failed to setup znode {root}: somebody else changed it meanwhile"
        changes = {"old": {}, "new": {"value": "theirs", "acls": OPEN_ACL_UNSAFE}}
        assert said(states.present(root, "ours")) == (False, comment, changes)

    def test_says_so_also_where_that_is_an_update(self, states, functions, root, zk):
        zk.create(root, b"zero")
        write = functions["zookeeper.set"]
        functions["zookeeper.set"] = lambda path, *args, **kw: (write(path, *args, **kw), zk.set(path, b"theirs"))
        comment = f"Failed to setup znode {root}: somebody else changed it meanwhile"
        changes = {"old": {"value": "zero"}, "new": {"value": "theirs"}}
        assert said(states.present(root, "ours")) == (False, comment, changes)

    def test_does_not_touch_a_value_of_another_version(self, states, root, zk, look):
        zk.create(root, b"zero")
        zk.set(root, b"one")
        result, comment, changes = said(states.present(root, "two", version=0))
        assert (result, changes) == (False, {})
        assert comment.startswith(f"Failed to setup znode {root}: {root} is not at version 0")
        assert look(root)[0] == b"one"
        assert said(states.present(root, "two", version=1))[0] is True

    def test_tells_the_part_that_was_done_before_a_failure(self, states, root, zk, look):
        zk.create(root, b"zero")
        zk.set(root, b"one")
        result, comment, changes = said(states.present(root, "two", [OWNER], version=1))
        assert (result, changes) == (False, {"old": {"value": "one"}, "new": {"value": "two"}})
        assert comment.startswith(f"Failed to setup znode {root}: {root} is not at version 1")
        assert look(root) == (b"two", OPEN_ACL_UNSAFE)

    def test_tells_what_was_created_also_where_its_acl_shuts_the_door(self, states, root, zk):
        result, comment, changes = said(states.present(root, "one", [READER]))
        assert (result, changes) == (False, {"old": {}, "new": {"value": "one", "acls": [READER_SHOWN]}})
        assert comment.startswith(f"Failed to setup znode {root}: not permitted to read {root} as digest:salt")
        assert root[1:] in zk.get_children("/")

    def test_tells_what_was_changed_also_where_its_acl_shuts_the_door(self, states, root, zk):
        zk.create(root, b"zero")
        result, comment, changes = said(states.present(root, "zero", [READER]))
        assert (result, changes) == (False, {"old": {"acls": OPEN_ACL_UNSAFE}, "new": {"acls": [READER_SHOWN]}})
        assert comment.startswith(f"Failed to setup znode {root}: not permitted to read {root} as digest:salt")

    def test_is_content_with_digests_that_the_servers_hide(self, states, root):
        limited = {**SALT, "read": True, "write": True}
        assert said(states.present(root, "one", [limited, READER]))[0] is True
        assert said(states.present(root, "one", [limited, READER]))[2] == {}
        result, comment, _ = said(states.present(root, "one", [limited, {**READER, "write": True}]))
        assert result is False
        assert comment.startswith(f"Failed to setup znode {root}: not permitted to change the ACL of {root}")

    @pytest.mark.parametrize("value", [5, None, True, b"bytes"])
    def test_takes_text_only_also_in_a_test(self, states, opts, root, look, value):
        for opts["test"] in (True, False):
            ret = states.present(root, value)
            assert said(ret) == (False, f"Failed to setup znode {root}: value: must be text; quote a number", {})
        assert look(root) is None


class TestAbsent:
    def test_deletes_a_znode_and_then_is_content(self, states, root, zk, look):
        zk.create(root, b"one", acl=[OWNER_ACL])
        changes = {"old": {"value": "one", "acls": [OWNER_SHOWN]}}
        assert said(states.absent(root)) == (True, f"Znode {root} has been removed", changes)
        assert look(root) is None
        assert said(states.absent(root)) == (True, f"Znode {root} does not exist", {})

    def test_deletes_what_is_below_only_when_asked_to(self, states, root, zk, look):
        zk.create(f"{root}/a/b", makepath=True)
        result, comment, changes = said(states.absent(root))
        assert (result, changes) == (False, {})
        assert comment.startswith(f"Failed to delete znode {root}: could not delete {root}")
        old = {"value": "", "acls": OPEN_ACL_UNSAFE, "children": ["a"]}
        ret = states.absent(root, recursive=True)
        assert said(ret) == (True, f"Znode {root} has been removed", {"old": old})
        assert look(root) is None

    def test_changes_nothing_in_a_test(self, states, opts, root, zk, look):
        opts["test"] = True
        assert said(states.absent(root)) == (True, f"Znode {root} does not exist", {})
        zk.create(f"{root}/a", makepath=True)
        old = {"value": "", "acls": OPEN_ACL_UNSAFE, "children": ["a"]}
        ret = states.absent(root, recursive=True)
        assert said(ret) == (None, f"Znode {root} will be removed", {"old": old})
        assert look(f"{root}/a")

    def test_does_not_touch_a_value_of_another_version(self, states, root, zk, look):
        zk.create(root, b"zero")
        result, comment, _ = said(states.absent(root, version=3))
        assert result is False
        assert comment.startswith(f"Failed to delete znode {root}: {root} is not at version 3")
        assert look(root)

    def test_is_content_when_another_one_deletes_it_in_the_same_moment(self, states, functions, root):
        functions["zookeeper.exists"] = lambda *_, **__: True
        assert said(states.absent(root)) == (True, f"Znode {root} does not exist", {})

    def test_says_so_when_another_one_creates_it_again(self, states, functions, root, zk):
        delete = functions["zookeeper.delete"]
        functions["zookeeper.delete"] = lambda path, *args, **kw: (delete(path, *args, **kw), zk.create(path))
        zk.create(root, b"one")
        comment = f"Failed to delete znode {root}: somebody else created it again"
        changes = {"old": {"value": "one", "acls": OPEN_ACL_UNSAFE}}
        assert said(states.absent(root)) == (False, comment, changes)


class TestAcls:
    def test_sets_the_acl_and_then_is_content(self, states, root, zk, look):
        zk.create(root, b"one")
        changes = {"old": OPEN_ACL_UNSAFE, "new": [OWNER_SHOWN, READER_SHOWN]}
        assert said(states.acls(root, [OWNER, READER])) == (True, f"Znode {root} acls updated", changes)
        assert look(root) == (b"one", [OWNER_ACL, READER_ACL])
        assert said(states.acls(root, [READER, OWNER])) == (True, f"Znode {root} acls already set", {})

    def test_changes_nothing_in_a_test(self, states, opts, root, zk, look):
        opts["test"] = True
        zk.create(root)
        changes = {"old": OPEN_ACL_UNSAFE, "new": [OWNER_SHOWN]}
        assert said(states.acls(root, OWNER)) == (None, f"Znode {root} acls will be updated", changes)
        assert look(root) == (b"", OPEN_ACL_UNSAFE)

    def test_needs_a_znode(self, states, opts, root):
        for opts["test"] in (True, False):
            comment = f"Failed to set acls on znode {root}: Znode does not exist"
            assert said(states.acls(root, [OWNER])) == (False, comment, {})

    def test_does_not_touch_an_acl_of_another_version(self, states, root, zk, look):
        zk.create(root)
        result, comment, changes = said(states.acls(root, [OWNER], version=1))
        assert (result, changes) == (False, {})
        assert comment.startswith(f"Failed to set acls on znode {root}: {root} is not at version 1")
        assert look(root) == (b"", OPEN_ACL_UNSAFE)

    def test_says_so_when_another_one_overwrites_it(self, states, functions, root, owner):
        write = functions["zookeeper.set_acls"]
        theirs = make_digest_acl("salt", SECRET, read=True, admin=True)
        functions["zookeeper.set_acls"] = lambda *args, **kw: (write(*args, **kw), owner.set_acls(root, [theirs]))
        owner.create(root)
        comment = f"Znode {root} acls failed to update: somebody else changed it meanwhile"
        changes = {"old": OPEN_ACL_UNSAFE, "new": [(17, ("digest", "salt:x"))]}
        assert said(states.acls(root, [OWNER])) == (False, comment, changes)

    def test_tells_what_was_changed_also_where_it_shuts_the_door(self, states, root, zk):
        zk.create(root)
        result, comment, changes = said(states.acls(root, [READER]))
        assert (result, changes) == (False, {"old": OPEN_ACL_UNSAFE, "new": [READER_SHOWN]})
        assert comment.startswith(f"Failed to set acls on znode {root}: not permitted to read {root} as digest:salt")

    @pytest.mark.parametrize("acls", [None, []])
    def test_refuses_an_acl_that_permits_nothing_to_nobody(self, states, root, zk, acls):
        zk.create(root)
        result, comment, changes = said(states.acls(root, acls))
        assert (result, changes) == (False, {})
        assert comment.startswith(f"Failed to set acls on znode {root}: acls: is empty")


class TestErrors:
    @pytest.mark.parametrize("function", CALLS)
    def test_servers_out_of_reach_are_named(self, states, config, root, function):
        config["zookeeper:connect_timeout"] = 0.1
        config["zookeeper:send_credentials_to_any_host"] = True
        with closed_port() as address:
            result, comment, changes = said(getattr(states, function)(root, hosts=address, **CALLS[function]))
        assert (result, changes) == (False, {})
        assert comment.startswith(f"Failed to {BEGIN[function]} znode {root}: no ZooKeeper server answered")
        assert address in comment

    @pytest.mark.parametrize("function", CALLS)
    def test_an_unreadable_znode_is_named(self, states, root, zk, function):
        zk.create(root, acl=[READER_ACL])
        result, comment, changes = said(getattr(states, function)(root, **CALLS[function]))
        assert (result, changes) == (False, {})
        assert f"znode {root}: not permitted to read {root} as digest:salt" in comment

    @pytest.mark.parametrize(
        "wrong",
        [
            [{**OWNER, "all": True}],
            [{"username": "salt", "allperms": True}],
            [SALT],
            [{**OWNER, "read": SECRET}],
            SECRET,
            [SECRET],
            5,
        ],
    )
    @pytest.mark.parametrize("function", ["present", "acls"])
    def test_a_wrong_acl_is_refused_also_in_a_test(self, states, opts, root, look, function, wrong):
        for opts["test"] in (True, False):
            ret = getattr(states, function)(root, **{**CALLS[function], "acls": wrong})
            result, comment, changes = said(ret)
            assert (result, changes) == (False, {})
            assert comment.startswith(f"Failed to {BEGIN[function]} znode {root}: ")
            if isinstance(wrong, list) and "all" in wrong[0]:
                assert "'all'" in comment
                assert "allperms" in comment
            if wrong == [SALT]:
                assert comment.endswith("to true"), "the core's own words, and no more"
        assert look(root) is None


class TestModule:
    def test_it_serves_where_the_execution_module_does(self, states, monkeypatch):
        assert states.__virtual__() == "zookeeper" == states.__name__.rpartition(".")[2]
        monkeypatch.setattr(states, "__salt__", {})
        assert states.__virtual__() == (False, "the zookeeper execution module is not available")

    @pytest.mark.parametrize("function", ["present", "absent", "acls"])
    def test_a_state_tells_its_parameters(self, states, function):
        documentation = inspect.getdoc(getattr(states, function)) or ""
        told = [name for line in documentation.splitlines() if line[:1].islower() for name in line.split(", ")]
        assert {*inspect.signature(getattr(states, function)).parameters} <= {*told}


class TestRuns:
    """Real runs, on Salt 3008, which has neither module nor states, and on Salt 3006, which has both."""

    @pytest.fixture
    def make(self, minionless, hosts):
        return lambda version: minionless(version, zookeeper={"hosts": hosts, "session_timeout": LONG, **SALT})

    @pytest.fixture(params=VERSIONS)
    def salt(self, request, make):
        return make(request.param)

    @pytest.fixture
    def single(self, make):
        salt = make(VERSIONS[0])

        def single(fun, name, **kw):
            answer = salt.salt_call("state.single", f"zookeeper.{fun}", name, **kw)
            (state,) = answer.value.values()
            assert SECRET not in answer.stdout
            return answer.code, state["result"], state["comment"], state["changes"]

        return single

    def test_a_znode_is_announced_created_and_then_right(self, single, root, look):
        present = {"value": "one", "acls": [OWNER, READER], "makepath": True}
        path = f"{root}/a"
        changes = {"old": {}, "new": {"value": "one", "acls": [[31, ["digest", "salt:x"]], [1, ["digest", "app:x"]]]}}
        assert single("present", path, **present, test=True) == (0, None, f"{path} is will be created", changes)
        assert look(root) is None
        assert single("present", path, **present) == (0, True, f"Znode {path} successfully created", changes)
        assert look(path) == (b"one", [OWNER_ACL, READER_ACL])
        content = f"Znode {path} is already set to the correct value with the correct acls"
        assert single("present", path, value="one", test=True) == (0, True, content, {})

    def test_a_failure_is_one_line_and_a_failed_state(self, single, root):
        comment = f"Failed to set acls on znode {root}: Znode does not exist"
        assert single("acls", root, acls=[OWNER]) == (1, False, comment, {})

    def test_a_stat_is_a_list_and_an_error_one_line(self, salt, root, zk):
        zk.create(root, b"one")
        stat = salt.start("zookeeper.set", root, "two")
        error = salt.start("zookeeper.get", f"{root}/none")
        # The stock function shows a traceback.
        assert error.answer().complaint == f"Error running 'zookeeper.get': {root}/none does not exist"
        outcome = stat.answer().outcome
        zk.sync(root)
        assert outcome == (0, [*zk.exists(root)])

    def test_the_states_in_the_documentation_run(self, salt, states, root, look):
        text = ""
        for state in (states.present, states.acls, states.absent):
            _, _, block = inspect.getdoc(state).partition(".. code-block:: yaml\n\n")
            text += textwrap.dedent(block) + "\n"
        salt.state("documented", text.replace("/app/", f"{root}/").replace("secret", SECRET))
        answer = salt.salt_call("state.apply", "documented")
        comments = [state["comment"] for state in sorted(answer.value.values(), key=lambda it: it["__run_num__"])]
        path = f"{root}/config"
        assert comments == [
            f"Znode {path} successfully created",
            f"Znode {path} acls already set",
            f"Znode {path} has been removed",
        ]
        assert answer.code == 0
        assert look(path) is None
