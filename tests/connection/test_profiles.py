"""A profile that is not there, hosts that are empty and keys that are misspelt are errors, which say what to do."""

from __future__ import annotations

import re
from typing import Any

import pytest
import zkcoord
from zkcoord import Connection, errors

from tests.support.calls import settings
from tests.support.salt import closed_port

CONFIG: dict[str, Any] = {
    "hosts": "zk1:2181",
    "prod": {"hosts": "zk2:2181", "username": "u", "password": "p"},
    7: {"hosts": "zk7:2181"},
    "quiet": {"events": False},
    "empty": {},
    "none": {"hosts": None},
    "foreign": {"tick_time": 2000, "data_dir": "/var/lib/zookeeper"},
    "text": "text",
    "dc": {"east": {"hosts": "zk3:2181"}},
}
PROFILES = "'7', 'dc:east', 'prod', 'quiet'"


def refusal(*args: Any, **kwargs: Any) -> str:
    with pytest.raises(errors.ArgumentError) as caught:
        Connection(*args, **kwargs)
    text = str(caught.value)
    assert "\n" not in text
    return text


class TestAProfileThatConfiguresNothing:
    @pytest.mark.parametrize("name", ["prdo", "empty", "none", "foreign", "text", "dc", "dc:west", "prod:x", 8, "a b"])
    def test_is_an_error_that_names_it_and_those_that_exist(self, name):
        expected = f"profile: '{name}' configures nothing in config; profiles there: {PROFILES}"
        assert refusal(profile=name, config=CONFIG) == expected

    def test_is_one_whatever_else_is_given(self):
        given = {"username": "u", "password": "p", "session_timeout": 5}
        assert refusal("zk9", profile="prdo", config=CONFIG, **given).startswith("profile: 'prdo' configures nothing")

    def test_is_one_where_there_are_no_profiles(self):
        expected = "profile: 'prod' configures nothing in config; there are no profiles"
        assert refusal(profile="prod", config={"hosts": "zk1", "default_acl": {"username": "u"}}) == expected
        assert refusal(profile="prod", config={}) == expected

    def test_is_one_by_way_of_a_callable(self):
        known = {"zookeeper": CONFIG, "zookeeper:prod:hosts": "zk2"}

        def config_get(key, default=None):
            return known.get(key, default)

        expected = f"profile: 'prdo' configures nothing in the section zookeeper; profiles there: {PROFILES}"
        assert refusal(profile="prdo", config_get=config_get) == expected
        expected = "profile: 'prdo' configures nothing in the section zookeeper; there are no profiles"
        assert refusal(profile="prdo", config_get=settings(hosts="zk1")) == expected
        assert Connection("zk9", profile="prod", config_get=config_get).hosts == "zk9:2181"

    def test_is_one_where_there_is_no_configuration(self):
        assert refusal(profile="prod") == "profile: 'prod' is given without a config to look it up in"
        assert Connection(profile="").hosts == "127.0.0.1:2181"

    def test_is_named_in_one_short_line(self):
        many = {f"profile-{number:04}": {"hosts": "zk1"} for number in range(1000)}
        text = refusal(profile="x\n" * 1000, config=many)
        assert len(text) < 1000
        assert text.endswith("'profile-0019', ...")

    @pytest.mark.parametrize(("name", "hosts"), [("prod", "zk2"), (7, "zk7"), ("7", "zk7"), ("dc:east", "zk3")])
    def test_is_not_one_that_configures_something(self, name, hosts):
        assert Connection(profile=name, config=CONFIG).hosts == f"{hosts}:2181"

    def test_is_not_one_that_says_something_of_events(self):
        assert Connection("zk1", profile="quiet", config=CONFIG).hosts == "zk1:2181"


class TestHostsThatAreConfiguredAndEmpty:
    @pytest.mark.parametrize("nothing", [[], "", ()])
    def test_are_an_error(self, nothing):
        assert refusal(config={"hosts": nothing}) == "hosts: is there in config, and names no server"
        config = {"hosts": "zk1", "prod": {"hosts": nothing, "username": "u", "password": "p"}}
        assert refusal(profile="prod", config=config) == "hosts: is there in profile 'prod', and names no server"
        asked = settings(hosts=nothing)
        assert refusal(config_get=asked) == "hosts: is there in the section zookeeper, and names no server"

    def test_are_none_where_others_are_given_and_nothing_is_secret(self):
        assert Connection("zk9", config={"hosts": [], "session_timeout": 5}).hosts == "zk9:2181"


class TestAMisspeltKey:
    @pytest.mark.parametrize(
        ("misspelt", "meant"),
        [
            ("hsots", "hosts"),
            ("host", "hosts"),
            ("Hosts", "hosts"),
            ("user_name", "username"),
            ("pasword", "password"),
            ("default_acls", "default_acl"),
            ("use_tls", "use_ssl"),
            ("zk_hosts", "hosts"),
            ("ca_cert", "ca_certs"),
            ("sesion_timeout", "session_timeout"),
            ("connection_timeout", "connect_timeout"),
            ("event", "events"),
            ("send_credential_to_any_host", "send_credentials_to_any_host"),
        ],
    )
    def test_is_an_error_with_the_nearest(self, misspelt, meant):
        for value in ("x", ["x"], {"x": "y"}):
            config = {"hosts": "zk1", misspelt: value, "prod": {"hosts": "zk2", misspelt: value}}
            assert refusal(config=config) == f"{misspelt}: is not known in config; did you mean {meant}?"
            expected = f"{misspelt}: is not known in profile 'prod'; did you mean {meant}?"
            assert refusal(profile="prod", config=config) == expected
            del config[misspelt]
            assert Connection(config=config).hosts == "zk1:2181", "the profile is not asked"

    def test_is_told_before_that_a_profile_configures_nothing(self):
        assert refusal(profile="prod", config={"prod": {"hsots": "zk1"}}).endswith("did you mean hosts?")

    @pytest.mark.parametrize("value", [{"username": "u", "password": "p", "read": True}, [{"username": "u"}]])
    def test_of_an_acl_is_none_though_there_is_a_username_in_it(self, value):
        assert refusal(config={"default_acls": value}).endswith("did you mean default_acl?")

    @pytest.mark.parametrize("name", ["host", "default_acls", "usernames", "event"])
    def test_may_be_the_name_of_a_profile(self, name):
        config = {"hosts": "zk1", name: {"hosts": "zk2"}}
        assert Connection(config=config).hosts == "zk1:2181"
        assert Connection(config=config, profile=name).hosts == "zk2:2181"

    def test_is_none_of_what_others_have_in_the_section(self):
        foreign = {"version": "3.8.4", "config": {"port": 2181}, "clusters": {"a": ["zk1"]}, "java_home": "/usr"}
        foreign |= {"tick_time": 2000, "max_session_timeout": 40000, "client_port": 2181, "servers": ["zk1"], 5: 6}
        foreign |= {"hosts_function": "network.get_hostname", "hosts_target": "G@roles:zk", "nodes": [], "timeout": 5}
        config = {**foreign, "hosts": "zk1", "prod": {**foreign, "hosts": "zk2"}}
        assert Connection(config=config).hosts == "zk1:2181"
        assert Connection(config=config, profile="prod").hosts == "zk2:2181"


class TestAnErrorSays:
    @pytest.mark.parametrize(
        "bad",
        [{"hosts": "a:x"}, {"session_timeout": "long"}, {"session_timeout": 0}, {"username": "u"}, {"scheme": "x"}],
    )
    def test_which_profile_has_the_setting(self, bad):
        config = {"hosts": "zk1", **bad, "prod": {"hosts": "zk1", **bad}}
        assert refusal(profile="prod", config=config).endswith(" (in profile 'prod')")
        assert refusal(config=config).endswith(" (in config)")
        assert "(in " not in refusal(**{name.replace("hosts", "zk_hosts"): value for name, value in bad.items()})

    @pytest.mark.parametrize(
        ("given", "origin"),
        [
            ({"profile": "prod"}, "the hosts of profile 'prod'"),
            ({}, "the hosts of config"),
            ({"zk_hosts": "NOBODY"}, "the hosts that were given"),
            ({"zk_hosts": "NOBODY", "profile": "prod"}, "the hosts that were given, with profile 'prod'"),
        ],
    )
    def test_where_the_hosts_come_from_when_nobody_answers(self, given, origin):
        with closed_port() as nobody:
            given = {name: nobody if value == "NOBODY" else value for name, value in given.items()}
            config = {"hosts": nobody, "connect_timeout": 0.3, "prod": {"hosts": nobody, "connect_timeout": 0.3}}
            with pytest.raises(errors.Unreachable, match=rf"tried {nobody}: {re.escape(origin)}; ") as caught:
                zkcoord.lock_holders("/p", config=config, **given)
        assert "\n" not in str(caught.value)

    def test_that_it_was_the_default(self):
        for given, origin in (
            ({}, "the default"),
            ({"config": {"username": "u", "password": "p"}}, "the default, as config names no hosts"),
            (
                {"config": {"prod": {"use_ssl": False}}, "profile": "prod"},
                "the default, as profile 'prod' names no hosts",
            ),
        ):
            with pytest.raises(errors.Unreachable, match=rf"tried 127\.0\.0\.1:2181: {origin}; "):
                zkcoord.lock_holders("/p", connect_timeout=0.001, **given)

    def test_nothing_of_it_makes_two_connections_differ(self):
        one = Connection("zk1:2181")
        assert {one, Connection(config=CONFIG), Connection(config={"a": {"hosts": "zk1"}}, profile="a")} == {one}


SALT = """
import logging
import salt.config, salt.loader
logging.disable(logging.CRITICAL)
opts = salt.config.minion_config(None)
opts.update(root_dir=directory, cachedir=directory + "/cache", pki_dir=directory + "/pki", file_client="local", id="m1")
opts.update(extension_modules=directory + "/ext", zookeeper=configured)
opts["grains"] = {"zookeeper": {"of-grains": {"hosts": "g"}}}
modules = salt.loader.minion_mods(opts, utils=salt.loader.utils(opts), context={})
master = {**salt.config.master_config(None), **opts, "__role": "master"}
runner = salt.loader.runner(master, utils=salt.loader.utils(master), context={})

def told(function, **given):
    try:
        return str(function(root, **given))
    except Exception as error:
        return f"{type(error).__name__}: {error}"

print(told(modules["zk_concurrency.lock"], profile="prdo"))
print(told(modules["zookeeper.exists"], profile="prdo"))
print(told(runner["zk_concurrency.status"], profile="prdo"))
print(told(modules["zk_concurrency.lock"], profile="typo"))
print(told(modules["zk_concurrency.lock"], profile="bare"))
print(told(modules["zk_concurrency.lock"]))
"""


def test_salt_says_which_configuration_has_no_such_profile(script, root, tmp_path):
    with closed_port() as nobody:
        configured = {"hosts": nobody, "connect_timeout": 0.3, "prod": {"hosts": "a"}, "typo": {"hsots": "a"}}
        process = script(SALT, directory=str(tmp_path), configured={**configured, "bare": {"hosts": []}})
        lock, exists, status, typo, bare, section = process.result(60).splitlines()
    where = "the minion's configuration, grains and pillar"
    nothing = "profile: 'prdo' configures nothing in the section zookeeper of"
    minions = f"SaltInvocationError: {nothing} {where}; profiles there: 'bare', 'of-grains', 'prod'"
    assert (lock, exists) == (minions, minions)
    assert status.startswith(f"RunnerError: {nothing} the master's configuration; profiles there: 'bare', 'prod'")
    assert typo == "SaltInvocationError: hsots: is not known in profile 'typo'; did you mean hosts?"
    assert bare == "SaltInvocationError: hosts: is there in profile 'bare', and names no server"
    assert f"tried {nobody}: the hosts of the section zookeeper; " in section
