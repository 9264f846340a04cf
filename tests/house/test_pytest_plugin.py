"""The fixtures for users' own tests, in a pytest of its own, as a user starts it."""

import subprocess
import sys
import textwrap
from importlib.metadata import entry_points

import pytest

TESTS = """
    import time

    import pytest
    import zkcoord
    from zkcoord import Connection, errors, znode
    from zkcoord.testing import Op

    seen = set()


    @pytest.mark.parametrize("turn", [1, 2])
    def test_each_has_a_chroot_of_its_own(zk_hosts, turn):
        assert znode.children("/", zk_hosts) == []
        assert zkcoord.lock("/pool", zk_hosts)
        assert zk_hosts not in seen
        seen.add(zk_hosts)


    def test_a_killed_and_a_paused_server(zk_ensemble, zk_hosts):
        zk_ensemble.servers[0].kill()
        assert zkcoord.lock("/pool", zk_hosts, timeout=20)
        assert not zk_ensemble.servers[0].running
        zk_ensemble.servers[1].pause()


    def test_they_run_again(zk_ensemble, zk_hosts):
        assert all(server.running and not server.paused for server in zk_ensemble.servers)
        assert zkcoord.lock("/pool", zk_hosts, timeout=20)


    def test_a_lost_reply(zk_proxies, zk_proxied_hosts, zk_hosts):
        zk_proxies.drop_reply(Op.CREATE2)
        with pytest.raises(errors.ConnectionLost):
            znode.create("/a", zk_hosts=zk_proxied_hosts)
        assert znode.exists("/a", zk_hosts)


    def test_an_expired_session(zk_proxies, zk_proxied_hosts, zk_hosts):
        hold = zkcoord.hold("/pool", connection=Connection(zk_proxied_hosts, session_timeout=30))
        lost = hold.lost
        began = time.monotonic()
        assert zk_proxies.expire() == 1
        assert zkcoord.lock_holders("/pool", zk_hosts) == []
        assert lost.wait(20)
        with pytest.raises(errors.SlotLost):
            hold.check()
"""


def run(directory, *options):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *options]
    if not entry_points(group="pytest11", name="zkcoord"):
        raise AssertionError("the plugin is not installed: make setup")
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=150, check=False)


@pytest.mark.timeout(160)
def test_the_fixtures_do_what_they_say(tmp_path):
    (tmp_path / "test_users.py").write_text(textwrap.dedent(TESTS))
    done = run(tmp_path)
    assert "6 passed" in done.stdout, done.stdout + done.stderr


def test_the_number_of_servers_is_an_option_and_the_fixtures_are_listed(tmp_path):
    (tmp_path / "test_users.py").write_text(
        "def test(zk_ensemble, zk_hosts):\n    assert len(zk_ensemble.servers) == 1\n"
    )
    assert "1 passed" in run(tmp_path, "--zk-servers=1").stdout
    listed = run(tmp_path, "--fixtures").stdout
    assert all(name in listed for name in ("zk_ensemble", "zk_hosts", "zk_proxies", "zk_proxied_hosts"))


def test_without_java_the_error_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "test_users.py").write_text("def test(zk_hosts):\n    pass\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    done = run(tmp_path)
    assert "1 error" in done.stdout
    assert "default-jre-headless" in done.stdout


def test_who_does_not_use_it_pays_nothing_for_it(tmp_path):
    """The plugin is loaded with every pytest. It brings no ensemble, no asyncio and no logging with it."""
    loaded = "import sys; import zkcoord.pytest_plugin; print(sorted({'asyncio', 'zkcoord.testing'} & {*sys.modules}))"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == "[]"
