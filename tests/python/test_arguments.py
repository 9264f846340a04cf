"""Wrong input is refused before anything is sent; nothing is echoed that could be a secret."""

import copy
import pickle

import pytest
import zkcoord
from kazoo.security import make_digest_acl_credential
from zkcoord import errors, lock, lock_holders, party_members, unlock

from tests.support.calls import settings

REFUSED = [
    ("path", ""),
    ("path", "/"),
    ("path", "/a/../b"),
    ("path", "/a\0b"),
    ("path", "/zookeeper"),
    ("path", "/zookeeper/quota"),
    ("path", None),
    ("path", 5),
    ("path", "/a\ud800"),
    ("max_concurrency", 0),
    ("max_concurrency", -1),
    ("max_concurrency", 1.5),
    ("max_concurrency", True),
    ("max_concurrency", "two"),
    ("max_concurrency", 2**40),
    ("timeout", -1),
    ("timeout", "-0.5"),
    ("timeout", float("nan")),
    ("timeout", float("inf")),
    ("timeout", "soon"),
    ("timeout", True),
    ("identifier", ["a"]),
    ("identifier", b"a"),
    ("ephemeral_lease", "perhaps"),
    ("ephemeral_lease", 2),
    ("force", []),
    ("zk_hosts", "a:b"),
    ("zk_hosts", "a:1:2"),
    ("zk_hosts", "::1:2181"),
    ("zk_hosts", ["a:1", 2]),
    ("zk_hosts", 2181),
    ("scheme", "kerberos"),
    ("scheme", 5),
    ("username", "without a password"),
    ("default_acl", "text"),
    ("default_acl", [["a"]]),
    ("default_acl", {"username": "u", "password": "p"}),
    ("default_acl", {"username": "u", "password": "p", "raed": True}),
    ("default_acl", {"username": "u", "read": True}),
    ("default_acl", {1: 2}),
]


@pytest.mark.parametrize(("argument", "value"), REFUSED)
def test_it_is_refused_and_nothing_is_written(hosts, root, zk, argument, value):
    arguments = {"path": root, "zk_hosts": hosts} | {argument: value}
    with pytest.raises(errors.ArgumentError, match=f"^{argument}: "):
        lock(**arguments)
    assert zk.exists(root) is None


@pytest.mark.parametrize("function", [lock, unlock, lock_holders, party_members])
def test_every_function_refuses_alike_and_needs_no_server_for_it(function):
    with pytest.raises(errors.ArgumentError, match=r"^path: .*absolute"):
        function("/a/../b", "127.0.0.1:1")


def test_numbers_are_taken_as_text_too(hosts, root):
    assert lock(root, hosts, identifier="a", max_concurrency="2", timeout="5", ephemeral_lease="False", force=0)
    assert lock(root, hosts, identifier="b", max_concurrency=2, timeout=5.0, ephemeral_lease="true")
    assert not lock(root, hosts, identifier="c", max_concurrency=2, timeout="0")


def test_a_very_long_timeout_is_as_good_as_none(hosts, root):
    assert lock(root, hosts, identifier="a", timeout=1e300)


SECRET = "hunter2-canary"


@pytest.mark.parametrize(
    "arguments",
    [
        {"password": SECRET},
        {"username": ["u"], "password": SECRET},
        {"username": "u", "password": [SECRET]},
        {"username": "u:v", "password": SECRET},
        {"default_acl": SECRET},
        {"default_acl": [SECRET]},
        {"default_acl": {"username": "u", "password": SECRET}},
        {"default_acl": {"username": "u", "password": [SECRET], "read": True}},
        {"default_acl": {"username": "u", "password": SECRET, "read": SECRET}},
        {"username": "u", "password": SECRET, "zk_hosts": "127.0.0.1:1", "timeout": 0.2},
    ],
)
def test_a_secret_is_in_no_error(arguments, capfd):
    with pytest.raises(errors.Error) as caught:
        lock(**({"path": "/p", "zk_hosts": "127.0.0.1:1"} | arguments))
    shown = "".join(map(str, [caught.value, repr(caught.value), caught.getrepr(), *capfd.readouterr()]))
    assert SECRET not in shown.replace(f"'{SECRET}'", "")


@pytest.mark.parametrize("name", sorted(set(errors.__all__) - {"Error"}))
def test_errors_are_under_one_base_and_survive_pickling(name):
    error = getattr(errors, name)("a message", "/a/path")
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, errors.Error)
    assert type(again) is type(error)
    assert (str(again), again.path, again.kind) == ("a message", "/a/path", error.kind)
    assert copy.copy(error).path == "/a/path"


def test_kinds_are_distinct():
    kinds = [getattr(errors, name).kind for name in errors.__all__]
    assert len(set(kinds)) == len(kinds)


class TestSettings:
    """Explicit argument, then profile key, then default."""

    def test_the_profile_is_asked_key_by_key_for_what_is_open(self, hosts, root):
        asked = []

        def config_get(key, default):
            asked.append(key)
            return {"zookeeper:blue:hosts": hosts}.get(key, default)

        assert lock(root, identifier="a", profile="blue", config_get=config_get)
        keys = {"hosts", "scheme", "username", "password", "default_acl", "session_timeout", "connect_timeout"}
        more = {"idle_timeout", "mechanism", "use_ssl", "ca_certs", "certfile", "keyfile", "keyfile_password"}
        assert sorted(asked) == sorted(f"zookeeper:blue:{key}" for key in keys | more | {"verify_certs"})

    def test_without_a_profile_the_keys_are_below_zookeeper(self, hosts, root):
        assert lock(root, identifier="a", config_get=settings(hosts=hosts))

    def test_an_argument_wins_and_is_not_asked_for(self, hosts, root):
        def config_get(key, default):
            assert not key.endswith(":hosts")
            return default

        assert lock(root, hosts, identifier="a", config_get=config_get)

    @pytest.mark.parametrize("nothing", [None, "", []])
    def test_an_empty_argument_leaves_it_to_the_profile(self, hosts, root, nothing):
        assert lock(root, nothing, identifier="a", config_get=settings(hosts=hosts.split(",")))

    def test_nothing_said_is_the_local_server(self):
        with pytest.raises(errors.Error, match=r"127\.0\.0\.1:2181"):
            lock_holders("/p", timeout=0.2)

    def test_what_config_get_raises_comes_through(self):
        def config_get(key, default):
            raise LookupError("no pillar")

        with pytest.raises(LookupError, match="no pillar"):
            lock("/p", config_get=config_get)

    def test_a_bad_setting_is_refused_by_its_name(self, root):
        with pytest.raises(errors.ArgumentError, match=r"^session_timeout: "):
            lock(root, config_get=settings(session_timeout="long"))

    def test_connect_timeout_bounds_the_search(self):
        with pytest.raises(errors.Unreachable, match=r"within 0\.\d s, tried 127\.0\.0\.1:1:"):
            lock("/p", "127.0.0.1:1", config_get=settings(connect_timeout=0.3))

    def test_a_missing_chroot_is_made(self, hosts, root, zk):
        assert lock("/pool", f"{hosts}{root}/app", identifier="a")
        assert lock_holders(f"{root}/app/pool", hosts) == ["a"]
        assert lock_holders("/pool", [*hosts.split(","), f"{root}/app"]) == ["a"]
        assert unlock("/pool", [f"{host}{root}/app" for host in hosts.split(",")], identifier="a")


def acl(user, **permissions):
    return {"username": user, "password": f"{user}-pw", **permissions}


def credentials(user):
    return {"username": user, "password": f"{user}-pw"}


class TestAcl:
    """What is created carries the default ACL, and strangers are told so."""

    def test_pool_queue_lease_and_parents_carry_it(self, hosts, root, zk):
        pool = f"{root}/deep/pool"
        zk.create(root)
        assert lock(pool, hosts, identifier="a", **credentials("ann"), default_acl=acl("ann", allperms=True))
        zk.add_auth("digest", "ann:ann-pw")
        (lease,) = zk.get_children(pool)
        for path in (f"{root}/deep", pool, f"{pool}-__lock__", f"{pool}/{lease}"):
            (entry,) = zk.get_acls(path)[0]
            assert entry.id.id == make_digest_acl_credential("ann", "ann-pw"), path
            assert entry.perms == 31
        assert zk.get_acls(root)[0][0].id.scheme == "world", "what was there is left as it was"

    def test_a_list_gives_each_their_own(self, hosts, root, zk):
        both = [acl("ann", allperms=True), acl("bob", read=True)]
        assert lock(root, hosts, identifier="a", **credentials("ann"), default_acl=both)
        assert lock_holders(root, hosts, **credentials("bob")) == ["a"]
        with pytest.raises(errors.NoAuth, match="digest:bob"):
            lock(root, hosts, identifier="b", **credentials("bob"))

    def test_a_stranger_is_told_which_path_and_who_it_was(self, hosts, root):
        lock(root, hosts, identifier="a", **credentials("ann"), default_acl=acl("ann", allperms=True))
        with pytest.raises(errors.NoAuth, match=rf"read {root} as anonymous") as caught:
            lock_holders(root, hosts)
        assert caught.value.path == root
        with pytest.raises(errors.NoAuth, match=rf"{root}-__lock__ as digest:eve"):
            lock(root, hosts, identifier="e", **credentials("eve"))
        with pytest.raises(errors.NoAuth, match=rf"read {root} as digest:eve"):
            unlock(root, hosts, identifier="a", **credentials("eve"))

    def test_sessions_are_not_shared_between_users(self, hosts, root, ensemble):
        lock(root, hosts, identifier="a", **credentials("ann"), default_acl=acl("ann", allperms=True))
        before = ensemble.sessions()
        with pytest.raises(errors.NoAuth):
            lock_holders(root, hosts, username="ann", password="wrong")
        assert len(ensemble.sessions() - before) == 1
        assert lock_holders(root, hosts, **credentials("ann")) == ["a"]
        assert len(ensemble.sessions() - before) == 1, "ann's own session is shared"

    def test_force_makes_its_path_with_it(self, hosts, root, zk):
        lock(root, hosts, identifier="a", force=True, **credentials("ann"), default_acl=acl("ann", allperms=True))
        assert zk.get_acls(root)[0][0].id.scheme == "digest"


def test_the_version_is_the_distributions():
    from importlib.metadata import version

    assert zkcoord.__version__ == version("zkcoord")


def test_an_identifier_too_long_for_a_request_is_refused(hosts, root, zk):
    with pytest.raises(errors.ArgumentError, match=r"^identifier: must not be longer"):
        lock(root, hosts, identifier="x" * 2**20)
    with pytest.raises(errors.ArgumentError, match=r"^path: must not be longer"):
        lock(root + "x" * 2**20, hosts)
    assert zk.exists(root) is None


@pytest.mark.zookeeper("3.7")
def test_a_refused_user_is_told_so_with_path_and_name():
    """Servers that insist on authentication."""
    from zkcoord.testing import Ensemble

    with Ensemble(1, config={"enforce.auth.enabled": "true", "enforce.auth.schemes": "digest"}) as strict:
        with pytest.raises(errors.AuthFailed, match=r"refused anonymous, on the way to /p: ") as caught:
            lock("/p", strict.hosts, identifier="a", timeout=10)
        assert caught.value.path == "/p"
        assert lock("/p", strict.hosts, identifier="a", **credentials("ann")) is True
        zkcoord.close()
