"""What Salt's module adds to the native one: the configuration, the errors, the exit code."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
import traceback
from types import ModuleType

import pytest
import zkcoord
from salt.exceptions import CommandExecutionError, SaltInvocationError
from saltext.zkcoord.modules import zk_concurrency
from zkcoord import errors

from tests.support.salt import closed_port

KEYS = ["hosts", "scheme", "username", "password", "default_acl", "session_timeout", "connect_timeout"]
SECRET = "c0rrect-h0rse"
CALLS = {
    "lock": zk_concurrency.lock,
    "unlock": zk_concurrency.unlock,
    "lock_holders": zk_concurrency.lock_holders,
    "party_members": zk_concurrency.party_members,
}
EVERY_FUNCTION = pytest.mark.parametrize("function", CALLS)
FAILURES = [getattr(errors, name) for name in errors.__all__ if name != "ArgumentError"]


class Config(dict[str, object]):
    """Salt's `config.get`: whole keys, with a memory of what was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def look_up(self, key: str, default: object = "") -> object:
        self.asked.append(key)
        return self.get(key, default)


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> Config:
    config = Config()
    monkeypatch.setattr(zk_concurrency, "__salt__", {"config.get": config.look_up}, raising=False)
    return config


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    context: dict[str, object] = {}
    monkeypatch.setattr(zk_concurrency, "__context__", context, raising=False)
    return context


@pytest.fixture
def shim(config: Config, context: dict[str, object]) -> ModuleType:
    """Salt's module, with what the loader puts into it."""
    return zk_concurrency


class TestConfiguration:
    def test_without_a_profile_every_setting_is_looked_up_below_zookeeper(self, shim, config, hosts, root):
        config["zookeeper:hosts"] = hosts
        assert shim.lock_holders(root) == []
        assert sorted(config.asked) == sorted(f"zookeeper:{key}" for key in KEYS)

    @EVERY_FUNCTION
    def test_with_a_profile_every_setting_is_looked_up_below_that(self, shim, config, hosts, root, function):
        config["zookeeper:blue:hosts"] = hosts.split(",")
        CALLS[function](root, profile="blue")
        assert sorted(config.asked) == sorted(f"zookeeper:blue:{key}" for key in KEYS)

    def test_a_profile_does_not_inherit(self, shim, config, root):
        with closed_port() as address:
            config["zookeeper:hosts"] = address
            config["zookeeper:blue:connect_timeout"] = 0.05
            try:
                shim.lock_holders(root, profile="blue")  # answers only where a ZooKeeper happens to run
            except CommandExecutionError as error:
                assert "127.0.0.1:2181" in str(error)
                assert address not in str(error)

    @EVERY_FUNCTION
    def test_an_argument_wins_over_the_profile_and_is_not_looked_up(
        self, shim, config, hosts, root, function
    ):
        with closed_port() as address:
            config["zookeeper:blue:hosts"] = address
            CALLS[function](root, hosts, profile="blue")
        assert "zookeeper:blue:hosts" not in config.asked

    def test_the_connect_timeout_of_the_profile_ends_the_search_for_servers(self, shim, config, root):
        with closed_port() as address:
            config.update({"zookeeper:blue:hosts": address, "zookeeper:blue:connect_timeout": 0.2})
            with pytest.raises(CommandExecutionError, match=rf"within 0\.[2-9] s, tried {address}"):
                shim.lock(root, profile="blue")

    def test_the_credentials_and_the_acl_of_the_profile_are_used(self, shim, config, hosts, root, zk):
        acl = {"username": "salt", "password": SECRET, "allperms": True}
        config.update({"zookeeper:hosts": hosts, "zookeeper:username": "salt", "zookeeper:password": SECRET})
        config["zookeeper:default_acl"] = acl
        assert shim.lock(root, identifier="a")
        (entry,), _ = zk.get_acls(root)
        assert (entry.id.scheme, entry.id.id.partition(":")[0], entry.perms) == ("digest", "salt", 31)
        assert shim.lock_holders(root) == ["a"]

    @EVERY_FUNCTION
    def test_every_argument_is_handed_on_under_its_own_name(self, shim, config, monkeypatch, function):
        given = {name: f"the {name}" for name in inspect.signature(CALLS[function]).parameters}
        seen: list[dict[str, object]] = []

        def core(path: str, **arguments: object) -> bool:
            seen.append({"path": path, **arguments})
            return True

        monkeypatch.setattr(zkcoord, function, core)
        CALLS[function](**given)
        assert seen == [{**given, "config_get": config.look_up, "raise_on_signal": True}]

    @EVERY_FUNCTION
    def test_an_argument_that_is_not_given_has_the_native_default(self, shim, monkeypatch, function):
        native = inspect.signature(getattr(zkcoord, function)).parameters
        expected = {name: native[name].default for name in inspect.signature(CALLS[function]).parameters}
        seen: list[dict[str, object]] = []

        def core(path: str, **arguments: object) -> bool:
            seen.append({name: value for name, value in arguments.items() if name in expected})
            return True

        monkeypatch.setattr(zkcoord, function, core)
        CALLS[function]("/path")
        del expected["path"]
        assert seen == [expected]


class TestErrors:
    @EVERY_FUNCTION
    def test_a_wrong_argument_is_an_invocation_error(self, shim, function):
        with pytest.raises(SaltInvocationError, match=r"^path: ") as caught:
            CALLS[function]("/a/../b")
        assert isinstance(caught.value.__cause__, errors.ArgumentError)

    def test_another_limit_is_an_execution_error_that_names_both_and_the_pool(self, shim, hosts, root):
        shim.lock(root, hosts, identifier="a", max_concurrency=3)
        with pytest.raises(CommandExecutionError, match=rf"{root}.* 3.* 2 ") as caught:
            shim.lock(root, hosts, identifier="a", max_concurrency=2)
        assert isinstance(caught.value.__cause__, errors.LimitMismatch)

    @EVERY_FUNCTION
    def test_an_ensemble_out_of_reach_is_an_execution_error_that_names_the_hosts(self, shim, root, function):
        with closed_port() as address, pytest.raises(CommandExecutionError, match=address) as caught:
            CALLS[function](root, address, timeout=0.1)
        assert isinstance(caught.value.__cause__, errors.Unreachable)

    @EVERY_FUNCTION
    @pytest.mark.parametrize("failure", FAILURES)
    def test_every_other_failure_is_an_execution_error_in_one_line(
        self, shim, monkeypatch, function, failure
    ):
        def fail(*_: object, **__: object) -> None:
            raise failure("it went\n  wrong\n", "/the/path")

        monkeypatch.setattr(zkcoord, function, fail)
        with pytest.raises(CommandExecutionError) as caught:
            CALLS[function]("/the/path")
        assert str(caught.value) == "it went wrong"
        assert type(caught.value) is CommandExecutionError
        assert type(caught.value.__cause__) is failure

    @pytest.mark.parametrize(
        "arguments",
        [
            {"username": "salt"},  # the ACL lets in another user only
            {"username": "not:allowed"},
            {"username": ""},
            {"username": "salt", "default_acl": {"username": "salt", "password": SECRET}},
            {"username": "salt", "default_acl": {"username": "salt", "password": SECRET, "reed": True}},
            {"username": "salt", "default_acl": {"username": "salt", "password": [SECRET], "read": True}},
            {"username": "salt", "default_acl": SECRET},
            {"username": "salt", "scheme": "basic"},
            {"username": "salt", "password": [SECRET]},
        ],
    )
    def test_no_error_tells_a_password(self, shim, hosts, root, arguments):
        owner = {"username": "owner", "password": "of the pool", "allperms": True}
        shim.lock(root, hosts, identifier="a", default_acl=owner)
        with pytest.raises((CommandExecutionError, SaltInvocationError)) as caught:
            shim.lock(root, hosts, **{"identifier": "b", "timeout": 5, "password": SECRET, **arguments})
        assert SECRET not in "".join(traceback.format_exception(caught.value))
        assert len(str(caught.value).splitlines()) == 1


class TestExitCode:
    def test_it_is_1_when_the_time_ran_out(self, shim, context, hosts, root):
        assert shim.lock(root, hosts, identifier="a") is True
        assert context == {}
        assert shim.lock(root, hosts, identifier="b", timeout=0) is False
        assert context == {"retcode": 1}

    def test_it_is_1_when_there_was_nothing_to_unlock(self, shim, context, hosts, root):
        shim.lock(root, hosts, identifier="a")
        assert shim.unlock(root, hosts, identifier="a") is True
        assert context == {}
        assert shim.unlock(root, hosts, identifier="a") is False
        assert context == {"retcode": 1}

    def test_it_is_not_touched_by_empty_lists(self, shim, context, hosts, root):
        assert shim.lock_holders(root, hosts) == []
        assert shim.party_members(root, hosts, min_nodes=1, blocking=True, timeout=0) == []
        assert context == {}

    def test_it_is_not_touched_in_a_state_run(self, shim, context, hosts, root):
        context["fileclient"] = "what a state run has"
        assert shim.unlock(root, hosts) is False
        assert "retcode" not in context


class TestImport:
    def test_without_the_native_core_the_module_says_what_is_missing(self):
        code = """
            sys.modules["zkcoord._core"] = None
            from saltext.zkcoord.modules import zk_concurrency
            print(json.dumps(zk_concurrency.__virtual__()))
        """
        available, reason = json.loads(run(code))
        assert available is False
        assert reason.startswith("zkcoord, its native core, cannot be imported (")
        assert "zkcoord._core" in reason

    def test_it_starts_no_thread_says_nothing_and_touches_no_signal_handler(self):
        code = """
            def state():
                signals = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
                return os.listdir("/proc/self/task"), signals, len(os.listdir("/proc/self/fd"))

            import salt.exceptions
            before = state()
            from saltext.zkcoord.modules import zk_concurrency
            assert zk_concurrency.__virtual__() == "zk_concurrency"
            assert state() == before, (before, state())
        """
        assert run(code) == ""


def run(code: str) -> str:
    """What Python code in a process of its own prints; on stderr it must print nothing."""
    code = "import json, os, signal, sys\n" + inspect.cleandoc("\n" + code)
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout
