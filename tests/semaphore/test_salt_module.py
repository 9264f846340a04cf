"""What Salt's module adds to the native one: the configuration, the errors, the exit code, the reasons."""

from __future__ import annotations

import inspect
import json
import logging
import re
import subprocess
import sys
import traceback

import pytest
import zkcoord
from zkcoord import errors

from tests.support.calls import Waiting
from tests.support.salt import closed_port

FUNCTIONS = ("lock", "unlock", "lock_holders", "party_members")
KEYS = (
    *("hosts", "scheme", "username", "password", "default_acl", "session_timeout", "connect_timeout"),
    *("use_ssl", "ca_certs"),
)
TLS_KEYS = ("certfile", "keyfile", "keyfile_password", "verify_certs")
SECRET = "c0rrect-h0rse"

every_function = pytest.mark.parametrize("function", FUNCTIONS)


FAILURES = [name for name in errors.__all__ if not issubclass(getattr(errors, name), errors.ArgumentError)]


class TestConfiguration:
    def test_without_a_profile_every_setting_is_looked_up_below_zookeeper(self, shim, config, hosts, root):
        config.update({**{f"zookeeper:{key}": None for key in KEYS}, "zookeeper:hosts": hosts})
        assert shim.lock_holders(root) == []
        assert {*config.asked} == {f"zookeeper:{key}" for key in KEYS}

    @every_function
    def test_with_a_profile_every_setting_is_looked_up_below_that(self, shim, config, hosts, root, function):
        config.update({**{f"zookeeper:blue:{key}": None for key in KEYS}, "zookeeper:blue:hosts": hosts.split(",")})
        getattr(shim, function)(root, profile="blue")
        assert {*config.asked} == {f"zookeeper:blue:{key}" for key in KEYS}

    def test_what_only_matters_with_tls_or_sasl_is_looked_up_with_them(self, shim, config, root, invocation_error):
        keys = (*KEYS, *TLS_KEYS, "mechanism")
        config.update({f"zookeeper:{key}": None for key in keys})
        config.update({"zookeeper:ca_certs": "/nowhere/ca.pem", "zookeeper:use_ssl": True, "zookeeper:scheme": "sasl"})
        with pytest.raises(invocation_error, match=r"^username: "):
            shim.lock_holders(root)
        assert {*config.asked} == {f"zookeeper:{key}" for key in keys}

    @every_function
    def test_only_what_is_configured_is_looked_up(self, shim, config, hosts, root, function):
        getattr(shim, function)(root, hosts)
        assert config.asked == []
        config["zookeeper:connect_timeout"] = 10
        getattr(shim, function)(root, hosts)
        assert {*config.asked} == {"zookeeper:connect_timeout"}

    @every_function
    def test_an_argument_wins_over_the_profile(self, shim, config, hosts, root, function):
        with closed_port() as address:
            config["zookeeper:blue:hosts"] = address
            getattr(shim, function)(root, hosts, profile="blue")

    def test_nothing_said_is_the_default_server(self, shim, config, root, execution_error):
        config["zookeeper:connect_timeout"] = 0.001  # where one runs, it does not answer that fast
        with pytest.raises(execution_error, match=r"tried 127\.0\.0\.1:2181:"):
            shim.lock_holders(root)

    def test_the_connect_timeout_of_the_profile_ends_the_search_for_servers(self, shim, config, root, execution_error):
        with closed_port() as address:
            config.update({"zookeeper:blue:hosts": address, "zookeeper:blue:connect_timeout": 0.2})
            with pytest.raises(execution_error, match=rf"within \d\.\d s, tried {address}"):
                shim.lock(root, profile="blue")

    def test_the_credentials_and_the_acl_of_the_profile_are_used(self, shim, config, hosts, root, execution_error):
        acl = {"username": "salt", "password": SECRET, "allperms": True}
        config.update({"zookeeper:hosts": hosts, "zookeeper:username": "salt", "zookeeper:password": SECRET})
        config["zookeeper:default_acl"] = acl
        assert shim.lock(root, identifier="a")
        assert shim.lock_holders(root) == ["a"]
        del config["zookeeper:username"], config["zookeeper:password"]
        with pytest.raises(execution_error, match="as anonymous"):
            shim.lock_holders(root)

    @every_function
    def test_every_argument_is_handed_on_under_its_own_name(self, shim, config, monkeypatch, function):
        given = {name: f"the {name}" for name in inspect.signature(getattr(shim, function)).parameters}
        seen = []
        monkeypatch.setattr(zkcoord, function, lambda path, **kw: seen.append({"path": path, **kw}) or True)
        config["zookeeper:the profile:hosts"] = "the configured"
        getattr(shim, function)(**given)
        if function == "lock":
            given["job"] = None  # is kept beside the reason
        else:
            given.pop("reason", None)  # is for the log and the event bus
        assert seen[0].pop("config") == {"the profile": {"hosts": "the configured"}}
        assert seen == [{**given, "raise_on_signal": True}]

    @every_function
    def test_an_argument_that_is_not_given_is_the_native_default(self, shim, monkeypatch, function):
        native = inspect.signature(getattr(zkcoord, function)).parameters
        seen = {}
        monkeypatch.setattr(zkcoord, function, lambda path, **kw: seen.update(kw) or True)
        getattr(shim, function)("/path")
        own = inspect.signature(getattr(shim, function)).parameters.keys() - {"path", "reason", "security"}
        assert {name: seen[name] for name in own} == {name: native[name].default for name in own}


class TestErrors:
    @every_function
    def test_a_wrong_argument_is_a_wrong_invocation(self, shim, function, invocation_error):
        with pytest.raises(invocation_error, match=r"^path: ") as caught:
            getattr(shim, function)("/a/../b")
        assert isinstance(caught.value.__cause__, errors.ArgumentError)

    def test_another_limit_is_an_error_that_names_both_and_the_pool(self, shim, hosts, root, execution_error):
        shim.lock(root, hosts, identifier="a", max_concurrency=3)
        with pytest.raises(execution_error, match=rf"{root}.* 3.* 2 ") as caught:
            shim.lock(root, hosts, identifier="b", max_concurrency=2)
        assert isinstance(caught.value.__cause__, errors.LimitMismatch)

    @every_function
    def test_an_ensemble_out_of_reach_is_an_error_that_names_the_hosts(self, shim, root, function, execution_error):
        with closed_port() as address, pytest.raises(execution_error, match=address) as caught:
            getattr(shim, function)(root, address, timeout=0.1)
        assert isinstance(caught.value.__cause__, errors.Unreachable)

    @every_function
    @pytest.mark.parametrize("kind", FAILURES)
    def test_every_other_failure_is_an_error_in_one_line(self, shim, monkeypatch, function, kind, execution_error):
        failure = getattr(errors, kind)("it went\n  wrong\n", "/the/path")

        def fail(*_: object, **__: object) -> None:
            raise failure

        monkeypatch.setattr(zkcoord, function, fail)
        with pytest.raises(execution_error) as caught:
            getattr(shim, function)("/the/path")
        assert type(caught.value) is execution_error
        assert str(caught.value) == "it went wrong"
        assert caught.value.__cause__ is failure

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
    def test_no_error_tells_a_password(self, shim, hosts, root, arguments, execution_error, invocation_error):
        owner = {"username": "owner", "password": "of the pool"}
        shim.lock(root, hosts, identifier="a", **owner, default_acl={**owner, "allperms": True})
        with pytest.raises((execution_error, invocation_error)) as caught:
            shim.lock(root, hosts, **{"identifier": "b", "timeout": 5, "password": SECRET, **arguments})
        assert SECRET not in "".join(traceback.format_exception(caught.value))
        assert len(str(caught.value).splitlines()) == 1

    @pytest.mark.parametrize("call", [("status",), ("set_max", 2), ("run", "test.note")])
    def test_servers_out_of_reach_are_one_line_that_names_them(self, shim, run, root, call, execution_error):
        function, *arguments = call
        with closed_port() as address, pytest.raises(execution_error, match=f"tried {address}") as caught:
            getattr(shim, function)(root, *arguments, zk_hosts=address, timeout=0.2)
        assert "\n" not in str(caught.value)


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

    def test_it_is_not_touched_by_errors(self, shim, context, hosts, root, execution_error):
        shim.lock(root, hosts, identifier="a", max_concurrency=3)
        with pytest.raises(execution_error):
            shim.lock(root, hosts, identifier="b", max_concurrency=2)
        assert context == {}


class TestStatus:
    def test_it_tells_who_holds_and_who_waits_in_order(self, shim, hosts, root, pool, wait_until):
        shim.lock(root, hosts, identifier="a", max_concurrency=2)
        shim.lock(root, hosts, identifier="b", max_concurrency=2, ephemeral_lease=True)
        waiting = []
        for number, name in enumerate("cd", 1):
            waiting.append(Waiting(shim.lock, root, hosts, identifier=name, max_concurrency=2, timeout=30))
            wait_until(lambda number=number: len(pool.waiters()) == number, "it waits")
        status = shim.status(root, hosts)
        for name, call in zip("ab", waiting, strict=True):
            shim.unlock(root, hosts, identifier=name)
            assert call.result()
        assert {key: status[key] for key in ("path", "max_concurrency", "free")} == {
            "path": root,
            "max_concurrency": 2,
            "free": 0,
        }
        first, second = status["holders"]
        assert [(it["identifier"], it["ephemeral"]) for it in (first, second)] == [("a", False), ("b", True)]
        assert first["fencing_token"] < second["fencing_token"]
        assert first["session"] is None
        assert second["session"].startswith("0x")
        assert [(it["identifier"], it["position"]) for it in status["waiters"]] == [("c", 1), ("d", 2)]
        for each in (*status["holders"], *status["waiters"]):
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", each["since"])
            assert 0 <= each["age"] < 60
        assert json.loads(json.dumps(status)) == status

    def test_a_pool_that_does_not_exist_has_nobody_and_is_not_created(self, shim, hosts, root, zk):
        nothing = {"path": root, "max_concurrency": None, "free": None, "holders": [], "waiters": []}
        assert shim.status(root, hosts) == nothing
        assert zk.exists(root) is None


class TestSetMax:
    def test_waiters_see_that_the_pool_has_grown(self, shim, hosts, root, pool, wait_until):
        shim.lock(root, hosts, identifier="a")
        waiting = Waiting(shim.lock, root, hosts, identifier="b", timeout=30)
        wait_until(pool.waiters, "b waits")
        assert shim.set_max(root, 2, hosts) == {"path": root, "old": 1, "new": 2, "holders": 1, "overshoot": 0}
        assert waiting.result(5)

    def test_nobody_is_evicted_when_it_shrinks_and_the_overshoot_is_told(self, shim, hosts, root, pool, zk):
        for name in "abc":
            shim.lock(root, hosts, identifier=name, max_concurrency=3)
        assert shim.set_max(root, 1, hosts) == {"path": root, "old": 3, "new": 1, "holders": 3, "overshoot": 2}
        assert (pool.holders(), zk.get(root)[0]) == (["a", "b", "c"], b"1")

    @pytest.mark.parametrize("number", [0, "many"])
    def test_a_number_that_makes_no_sense_is_refused(self, shim, hosts, root, number, invocation_error):
        with pytest.raises(invocation_error, match=r"^max_concurrency: "):
            shim.set_max(root, number, hosts)


class TestReasons:
    @pytest.fixture
    def said(self, caplog, hosts, config):
        """What was logged since, at which level."""
        caplog.set_level(logging.INFO, "saltext.zkcoord")
        config["zookeeper:hosts"] = hosts

        def said():
            ours = [record for record in caplog.records if record.name.startswith("saltext.")]
            found = [(record.levelname, record.getMessage()) for record in ours]
            caplog.clear()
            return found

        return said

    def test_a_slot_taken_by_force_is_a_warning_with_and_without_a_reason(self, shim, root, said):
        shim.lock(root, identifier="a", force=True, reason="broken\ncertificate")
        assert said() == [("WARNING", f"Slot taken by force: {root}, a, because: broken certificate")]
        shim.lock(root, identifier="b", force="yes")
        assert said() == [("WARNING", f"Slot taken by force: {root}, b")]

    def test_a_slot_taken_or_given_back_for_a_reason_is_logged_and_one_without_is_not(self, shim, root, said):
        shim.lock(root, identifier="a")
        assert said() == []
        shim.lock(root, identifier="a", reason="maintenance")
        assert said() == [("INFO", f"Slot taken: {root}, a, because: maintenance")]
        shim.unlock(root, identifier="a", reason="done")
        assert said() == [("INFO", f"Slot given back: {root}, a, because: done")]
        shim.unlock(root, identifier="a", reason="done")
        assert said() == [("INFO", f"No slot to give back: {root}, a, because: done")]

    def test_a_slot_that_was_not_had_is_not_logged_as_taken(self, shim, root, said):
        shim.lock(root, identifier="a")
        assert not shim.lock(root, identifier="b", timeout=0, reason="maintenance")
        assert said() == []


class TestImport:
    def test_without_the_native_core_the_module_says_what_is_missing(self):
        code = """
            sys.modules["zkcoord._core"] = None
            from saltext.zkcoord.modules import zk_concurrency
            print(json.dumps(zk_concurrency.__virtual__()))
        """
        available, reason = json.loads(printed(code))
        assert available is False
        assert reason.startswith("zkcoord, its native core, cannot be imported (")
        assert "zkcoord._core" in reason

    def test_it_starts_no_thread_opens_nothing_and_takes_no_signal(self):
        code = """
            def state():
                signals = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
                return os.listdir("/proc/self/task"), len(os.listdir("/proc/self/fd")), signals

            import salt.exceptions
            before = state()
            from saltext.zkcoord.modules import zk_concurrency
            assert zk_concurrency.__virtual__() == "zk_concurrency"
            assert state() == before, (before, state())
        """
        assert printed(code) == ""


def printed(code: str) -> str:
    """What Python code in a process of its own prints; on stderr it must print nothing."""
    source = "import json, os, signal, sys\n" + inspect.cleandoc("\n" + code)
    command = [sys.executable, "-W", "ignore", "-c", source]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout
