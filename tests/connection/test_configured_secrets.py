"""What is secret in a configuration goes to the servers of that configuration, whatever hosts a caller names."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zkcoord
from zkcoord import Connection, errors, znode

PASSWORD = "canary-3f9a51"
USER = {"username": "fleet", "password": PASSWORD}
ACL = [{**USER, "allperms": True}]
REFUSED = r"^zk_hosts: \S+ is not among the hosts of .*, the only ones to be sent its "

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "lock": zkcoord.lock,
    "unlock": zkcoord.unlock,
    "hold": zkcoord.hold,
    "lock_holders": zkcoord.lock_holders,
    "party_members": zkcoord.party_members,
    "status": zkcoord.status,
    "set_max": lambda path, **on: zkcoord.set_max(path, 2, **on),
    "exists": znode.exists,
    "get": znode.get,
    "children": znode.children,
    "get_acls": znode.get_acls,
    "create": znode.create,
    "set": lambda path, **on: znode.set(path, "x", **on),
    "set_acls": lambda path, **on: znode.set_acls(path, ACL, **on),
    "delete": znode.delete,
}


class Listener:
    """Somebody whom a caller names: takes connections, and says nothing. It keeps what it is told."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._connections: list[socket.socket] = []
        self._told = bytearray()
        self._heard = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._socket.getsockname()[1]}"

    @property
    def was_called(self) -> bool:
        return bool(self._connections)

    def was_told(self, limit: float = 10.0) -> bytes:
        """What it was told, with the password in it if that comes in time."""
        self._heard.wait(limit)
        return bytes(self._told)

    def _accept(self) -> None:
        while True:
            try:
                connection = self._socket.accept()[0]
            except OSError:
                return
            self._connections.append(connection)
            threading.Thread(target=self._listen, args=(connection,), daemon=True).start()

    def _listen(self, connection: socket.socket) -> None:
        try:
            while data := connection.recv(65536):
                self._told += data
                if PASSWORD.encode() in self._told:
                    self._heard.set()
        except OSError:
            return

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for connection in self._connections:
            connection.close()


@pytest.fixture
def stranger() -> Iterator[Listener]:
    """A server that is not the configuration's."""
    listener = Listener()
    try:
        yield listener
    finally:
        zkcoord.close()
        listener.close()


@pytest.fixture
def config(hosts: str) -> dict[str, Any]:
    """A section with two profiles that have secrets, and one that has none."""
    prod = {"hosts": hosts.split(","), **USER, "default_acl": ACL}
    return {
        "hosts": hosts,
        **USER,
        "prod": prod,
        "acl": {"hosts": hosts, "default_acl": ACL},
        "plain": {"hosts": hosts, "connect_timeout": 0.3},
    }


def refuse(stranger: Listener, call: Callable[..., Any], *args: Any, match: str = REFUSED, **kwargs: Any) -> None:
    with pytest.raises(errors.ArgumentError, match=match) as caught:
        call(*args, **kwargs)
    text = str(caught.value)
    assert "\n" not in text
    assert PASSWORD not in text
    assert not stranger.was_called


class TestFromPython:
    @pytest.mark.parametrize("function", FUNCTIONS)
    @pytest.mark.parametrize("profile", [None, "prod", "acl"])
    def test_no_function_sends_it_to_hosts_that_a_caller_names(self, stranger, config, root, function, profile):
        given = {"zk_hosts": stranger.host, "config": config, "profile": profile}
        refuse(stranger, FUNCTIONS[function], root, **given)

    def test_the_stranger_would_hear_it(self, stranger, config, root):
        """What every other test here is worth."""
        given = {"zk_hosts": stranger.host, "config": {**config, "send_credentials_to_any_host": True}}
        with pytest.raises(errors.Unreachable):
            zkcoord.lock_holders(root, profile="prod", timeout=1, **given)
        assert f"fleet:{PASSWORD}".encode() in stranger.was_told()

    @pytest.mark.parametrize("form", ["text", "list", "beside", "last", "chroot", "list-chroot", "tcp"])
    def test_in_whatever_form_the_hosts_are_named(self, stranger, config, hosts, root, form):
        other = stranger.host
        forms = {
            "text": other,
            "list": [other],
            "beside": f"{other},{hosts}",
            "last": [*hosts.split(","), other],
            "chroot": f"{other}/salt",
            "list-chroot": [hosts, other, "/salt"],
            "tcp": f"tcp://{other}",
        }
        refuse(stranger, Connection, forms[form], config=config)
        refuse(stranger, zkcoord.status, root, forms[form], profile="prod", config=config)

    def test_the_hosts_of_another_profile_are_others(self, stranger, config, root):
        config["other"] = {"hosts": stranger.host, "username": "o", "password": "p"}
        refuse(stranger, zkcoord.lock_holders, root, stranger.host, profile="prod", config=config)
        refuse(stranger, zkcoord.lock_holders, root, stranger.host, config=config)

    def test_a_profile_without_hosts_has_those_of_its_section(self, stranger, config, hosts, root):
        config["user"] = USER
        refuse(stranger, zkcoord.lock_holders, root, stranger.host, profile="user", config=config)
        assert zkcoord.lock_holders(root, hosts, profile="user", config=config) == []

    @pytest.mark.parametrize("profile", ["default_acl", "prod:default_acl", "prod:password", "hosts"])
    def test_a_setting_is_no_profile(self, stranger, config, root, profile):
        config["default_acl"] = dict(USER)
        config["prod"]["default_acl"] = dict(USER)
        match = r"^profile: .* is no profile, because \w+ is the name of a setting$"
        refuse(stranger, zkcoord.lock_holders, root, stranger.host, profile=profile, config=config, match=match)

    def test_a_part_of_a_profile_has_the_hosts_of_the_whole(self, stranger, config, root):
        del config["hosts"]
        config["dc"] = {"hosts": "zk1:2181", "db": USER}
        refuse(stranger, zkcoord.lock_holders, root, stranger.host, profile="dc:db", config=config)

    @pytest.mark.parametrize("profile", [None, "prod"])
    def test_nor_by_way_of_a_callable(self, stranger, config, root, profile):
        def config_get(key, default=None):
            found = {"zookeeper": config}
            for part in key.split(":"):
                found = found.get(part, {}) if isinstance(found, dict) else {}
            return default if found == {} else found

        refuse(stranger, zkcoord.lock_holders, root, stranger.host, profile=profile, config_get=config_get)
        config["send_credentials_to_any_host"] = True
        with pytest.raises(errors.Unreachable):
            zkcoord.lock_holders(root, stranger.host, profile=profile, config_get=config_get, timeout=1)
        assert PASSWORD.encode() in stranger.was_told()

    def test_an_argument_does_not_turn_it_off(self, stranger, config, root):
        match = r"^keyword: send_credentials_to_any_host is not known here$"
        given = {"config": config, "send_credentials_to_any_host": True}
        refuse(stranger, zkcoord.lock_holders, root, stranger.host, match=match, **given)

    @pytest.mark.parametrize("weaker", [{"use_ssl": False}, {"ca_certs": "/evil.pem"}, {"verify_certs": False}])
    def test_an_argument_does_not_weaken_tls(self, stranger, root, weaker):
        config = {"hosts": stranger.host, "use_ssl": True, "ca_certs": "/ca.pem", **USER}
        match = rf"^{next(iter(weaker))}: config makes sure of its servers in a stricter way"
        for hosts in (None, stranger.host):
            refuse(stranger, zkcoord.lock_holders, root, hosts, config=config, match=match, **weaker)

    def test_to_a_server_that_tls_makes_sure_of_it_goes(self, secure, tls, root):
        first, *others = secure.secure_hosts.split(",")
        config = {"hosts": others, **tls, **USER}
        assert zkcoord.lock_holders(root, first, config=config) == []
        lax = {**config, "verify_certs": False}
        with pytest.raises(errors.ArgumentError, match=REFUSED):
            zkcoord.lock_holders(root, first, config=lax)
        zkcoord.close()

    def test_a_server_that_tls_does_not_make_sure_of_does_not_hear_it(self, stranger, tls, root):
        config = {"hosts": "127.0.0.1:1", **tls, **USER}
        with pytest.raises(errors.Unreachable):
            zkcoord.lock_holders(root, stranger.host, config=config, timeout=1)
        assert stranger.was_called
        assert PASSWORD.encode() not in stranger.was_told(0.1)


class TestWhatFleetsDo:
    """The calls that the stock module takes, and that leak nothing, are as they were."""

    def test_hosts_are_given_and_nothing_is_configured(self, hosts, root):
        assert zkcoord.lock(root, hosts, identifier="a", config={})
        assert zkcoord.lock_holders(root, hosts) == ["a"]

    def test_only_a_profile_is_named(self, config, root):
        assert zkcoord.lock(root, profile="prod", config=config, identifier="a")
        assert zkcoord.lock_holders(root, config=config) == ["a"]

    def test_the_hosts_that_are_given_are_the_configured_ones_or_some_of_them(self, config, hosts, root):
        first, second, third = hosts.split(",")
        assert zkcoord.lock(root, hosts, profile="prod", config=config, identifier="a")
        for some in (
            first,
            [third, first],
            f"{second}/salt",
            [first, "/salt"],
            f"tcp://{first}",
            f" {third} , {second}",
        ):
            assert Connection(some, profile="prod", config=config).user == "digest:fleet"
        assert zkcoord.lock_holders(root, [third, first], profile="prod", config=config) == ["a"]

    def test_other_hosts_are_given_with_credentials(self, config, hosts, root):
        elsewhere = {**config, "hosts": "127.0.0.1:1"}
        mine = {"username": "me", "password": "mine"}
        assert zkcoord.lock(root, hosts, config=elsewhere, identifier="a", **mine)
        elsewhere["prod"]["hosts"] = "127.0.0.1:1"
        assert zkcoord.lock_holders(
            root, hosts, profile="prod", config=elsewhere, default_acl="creator_all", **mine
        ) == ["a"]

    def test_other_hosts_are_given_and_nothing_secret_is_configured(self, config, hosts, root):
        config["plain"]["hosts"] = "127.0.0.1:1"
        assert zkcoord.lock(root, hosts, profile="plain", config=config, identifier="a")

    def test_hosts_are_given_and_only_credentials_are_configured(self, hosts, root):
        assert zkcoord.lock(root, hosts, config=USER, identifier="a")
        assert Connection(hosts, profile="fleet", config={"fleet": USER}).user == "digest:fleet"


# Every function of Salt's modules, as its loader has them, with the hosts of somebody else.
SALT = """
import logging
import salt.config, salt.loader
logging.disable(logging.CRITICAL)
opts = salt.config.minion_config(None)
opts.update(root_dir=directory, cachedir=directory + "/cache", pki_dir=directory + "/pki", file_client="local", id="m1")
opts.update(extension_modules=directory + "/ext", grains={"id": "m1"}, **configured)
utils = salt.loader.utils(opts)
modules = salt.loader.minion_mods(opts, utils=utils, context={})
modules.pack["__pillar__"] = opts["pillar"] = pillar
states = salt.loader.states(opts, modules, utils, {})
master = {**salt.config.master_config(None), **opts, "__role": "master"}
runner = salt.loader.runner(master, utils=utils, context={})
told = {}
for loaded, name, args, hosts_are in calls:
    function = {"modules": modules, "states": states, "runner": runner}[loaded][name]
    for profile in (None, "prod"):
        try:
            told[f"{loaded} {name} {profile}"] = str(function(*args, **{hosts_are: hosts}, profile=profile))
        except Exception as error:
            told[f"{loaded} {name} {profile}"] = f"{type(error).__name__}: {error}"
print(json.dumps(told))
"""


def salt_calls(path: str) -> list[tuple[str, str, list[Any], str]]:
    slots, znodes = "zk_concurrency", "zookeeper"
    return [
        *(
            ("modules", f"{slots}.{name}", [path, *more], "zk_hosts")
            for name, more in {
                "lock_holders": (),
                "party_members": (),
                "status": (),
                "lock": (),
                "unlock": (),
                "set_max": (2,),
                "run": ("test.ping",),
            }.items()
        ),
        *(
            ("modules", f"{znodes}.{name}", [path, *more], "hosts")
            for name, more in {
                "exists": (),
                "get": (),
                "get_children": (),
                "get_acls": (),
                "ensure_path": (),
                "create": (),
                "set": ("x",),
                "set_acls": (ACL,),
                "delete": (),
            }.items()
        ),
        *(("states", f"{slots}.{name}", [path], "zk_hosts") for name in ("lock", "unlock")),
        *(
            ("states", f"{znodes}.{name}", [path, *more], "hosts")
            for name, more in {"present": ("x",), "absent": ()}.items()
        ),
        *(("runner", f"{slots}.{name}", [path], "zk_hosts") for name in ("lock_holders", "status", "lock", "doctor")),
    ]


class TestFromSalt:
    @pytest.mark.parametrize("source", ["opts", "pillar"])
    def test_no_function_sends_it_to_hosts_that_a_caller_names(
        self, script, stranger, config, root, tmp_path: Path, source
    ):
        # A runner has no pillar.
        calls = [call for call in salt_calls(root) if source == "opts" or call[0] != "runner"]
        configured = {"zookeeper": config} if source == "opts" else {}
        pillar = {"zookeeper": config} if source == "pillar" else {}
        names = {"configured": configured, "pillar": pillar, "calls": calls}
        process = script(SALT, directory=str(tmp_path), **{**names, "hosts": stranger.host})
        answers = json.loads(process.result(120))
        assert len(answers) == 2 * len(calls)
        for call, text in answers.items():
            assert "is not among the hosts of " in text, (call, text)
            assert "set send_credentials_to_any_host there" in text, (call, text)
            assert PASSWORD not in text
        assert not stranger.was_called
