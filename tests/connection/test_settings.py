"""What a call needs to know of a connection: the explicit argument, then the profile's key, then the default."""

import pytest
from zkcoord import errors, lock, lock_holders, unlock

from tests.support.calls import settings


class TestSettings:
    """Explicit argument, then profile key, then default."""

    def test_the_profile_is_asked_key_by_key_for_what_is_open(self, hosts, root):
        asked = []

        def config_get(key, default):
            asked.append(key)
            return {"zookeeper:blue:hosts": hosts}.get(key, default)

        assert lock(root, identifier="a", profile="blue", config_get=config_get)
        keys = {"hosts", "scheme", "username", "password", "default_acl", "session_timeout", "connect_timeout"}
        more = {
            "idle_timeout",
            "max_buffer",
            "mechanism",
            "use_ssl",
            "ca_certs",
            "certfile",
            "keyfile",
            "keyfile_password",
        }
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
