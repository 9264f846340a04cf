"""The beacon, the grain and the runner."""

from __future__ import annotations

import json

import pytest

from tests.support.salt import Answer

NODE1, NODE2 = "node1.example.com", "node2.example.com"
HERE = "node2.example.com"


@pytest.fixture
def opts(servers, tmp_path):
    """What a minion is configured with that is a node of the cluster."""
    section = {
        "peers": servers.peers,
        "port": servers.port,
        "hmac_key": servers.hmac_key.decode(),
        "coverage": -1,
        "node": HERE,
        "grains": True,
    }
    return {"ganeti_confd": section, "cachedir": str(tmp_path), "id": HERE}


class TestBeacon:
    @pytest.fixture
    def look(self, monkeypatch, opts):
        """One round of the beacon, which remembers the last."""
        from saltext.zkcoord.beacons import ganeti_confd

        for name, value in {"__opts__": opts, "__context__": {}}.items():
            monkeypatch.setattr(ganeti_confd, name, value, raising=False)
        config = [{"timeout": 2}]
        assert ganeti_confd.validate(config)[0]
        return lambda: ganeti_confd.beacon(config)

    def test_it_tells_of_another_master_and_of_another_role_once(self, look, servers):
        assert look() == look() == []
        for server in servers.servers:
            server.configure(serial=43, master=2)
        assert look() == [
            {"tag": "master", "old": NODE1, "new": NODE2},
            {"tag": "role", "old": "candidate", "new": "master", "node": HERE},
        ]
        assert look() == []

    def test_an_older_answer_is_no_news(self, look, servers):
        for server in servers.servers:
            server.configure(serial=43, master=2)
        assert look() == []
        for server in servers.servers:
            server.configure(serial=42, master=1)
        assert look() == []

    def test_too_few_replies_are_no_news(self, look, servers):
        assert look() == []
        servers.servers[0].configure(serial=43, master=2)
        for server in servers.servers[1:]:
            server.kill()
        assert look() == []

    def test_contradictions_are_no_news(self, look, servers, opts):
        assert look() == []
        opts["ganeti_confd"]["peers"] = servers.peers[:2]  # of two both are waited for
        assert look() == []
        servers.servers[0].configure(serial=42, master=2)
        assert look() == []

    def test_the_word_of_one_beside_those_who_cannot_read_theirs_is_no_news(self, look, servers):
        assert look() == []
        servers.servers[0].configure(serial=43, master=2)
        for server in servers.servers[1:]:
            server.break_configuration()
        assert look() == []

    def test_an_older_answer_that_stays_is_that_of_a_cluster_that_was_restored(self, look, servers):
        for server in servers.servers:
            server.configure(serial=43, master=2)
        assert look() == []
        for server in servers.servers:
            server.configure(serial=7, master=1)
        assert [look() for _ in range(9)] == [[]] * 9
        assert {(event["tag"], event["new"]) for event in look()} == {("master", NODE1), ("role", "candidate")}
        assert look() == []

    def test_another_cluster_is_no_news_of_this_one(self, look, servers, several, opts):
        assert look() == []
        other = several(1)
        other.servers[0].configure(serial=99, master=2)
        own = {**opts["ganeti_confd"]}
        opts["ganeti_confd"].update(peers=other.peers, port=other.port)
        assert look() == []
        opts["ganeti_confd"].update(own)
        assert look() == []

    def test_the_master_by_a_short_name_is_the_master(self, look, servers, opts):
        opts["ganeti_confd"]["node"] = "node2"
        assert look() == []
        for server in servers.servers:
            server.configure(serial=43, master=2)
        assert look()[1] == {"tag": "role", "old": "candidate", "new": "master", "node": "node2"}

    def test_a_configuration_that_is_none_is_refused(self):
        from saltext.zkcoord.beacons import ganeti_confd

        assert ganeti_confd.validate([])[0]
        assert not ganeti_confd.validate({"timeout": 2})[0]
        assert not ganeti_confd.validate([{"timeout": "soon"}])[0]
        assert not ganeti_confd.validate([{"node": 7}])[0]
        assert "profil: is not known" in ganeti_confd.validate([{"profil": "prod"}])[1]
        assert ganeti_confd.validate([{"interval": 60}, {"disable_during_state_run": True}, {"profile": "prod"}])[0]

    def test_salts_loader_has_it(self, opts, servers, tmp_path):
        import salt.config
        import salt.loader

        full = {
            **salt.config.minion_config(None),
            **opts,
            "grains": {},
            "pillar": {},
            "extension_modules": str(tmp_path),
        }
        context: dict[str, object] = {}
        beacons = salt.loader.beacons(full, salt.loader.minion_mods(full), context)
        assert beacons["ganeti_confd.beacon"]([{"timeout": 2}]) == []
        for server in servers.servers:
            server.configure(serial=43, master=3)
        ((master),) = beacons["ganeti_confd.beacon"]([{"timeout": 2}])
        assert master == {"tag": "master", "old": NODE1, "new": "node3.example.com"}


class TestGrain:
    @pytest.fixture
    def grain(self, monkeypatch, opts):
        from saltext.zkcoord.grains import ganeti_confd

        monkeypatch.setattr(ganeti_confd, "__opts__", opts, raising=False)
        return ganeti_confd.ganeti

    def test_it_is_off_by_default(self, grain, opts, servers):
        before = [server.log_tail(10_000) for server in servers.servers]
        del opts["ganeti_confd"]["grains"]
        assert grain() == {}
        opts.clear()
        assert grain() == {}
        assert [server.log_tail(10_000) for server in servers.servers] == before

    def test_it_has_role_master_and_cluster(self, grain):
        assert grain() == {"ganeti": {"role": "candidate", "master": NODE1, "cluster": "cluster.example.com"}}

    def test_the_master_by_a_short_name_is_the_master(self, grain, opts):
        opts["ganeti_confd"]["node"] = "node1"
        assert grain()["ganeti"]["role"] == "master"

    def test_a_time_that_is_none_is_told_and_the_default_is_taken(self, grain, opts, servers, caplog):
        opts["ganeti_confd"]["grains_ttl"] = "5m"
        first = grain()
        for server in servers.servers:
            server.configure(serial=43, master=2)
        assert grain() == first
        assert "grains_ttl, in the section ganeti_confd, must be a number of seconds" in caplog.text

    def test_an_answer_is_kept_for_its_time(self, grain, opts, servers):
        first = grain()
        for server in servers.servers:
            server.configure(serial=43, master=2)
        assert grain() == first
        opts["ganeti_confd"]["grains_ttl"] = 0
        assert grain()["ganeti"]["master"] == NODE2

    def test_that_there_was_none_is_kept_too(self, grain, opts, servers):
        opts["ganeti_confd"]["timeout"] = 0.2
        for server in servers.servers:
            server.kill()
        assert grain() == {}
        for server in servers.servers:
            server.start()
        assert grain() == {}
        opts["ganeti_confd"]["grains_ttl"] = 0
        assert grain()["ganeti"]["role"] == "candidate"

    def test_a_cache_that_is_damaged_is_asked_anew(self, grain, opts, tmp_path):
        for damage in ("", "[]", '{"at": "x", "found": {}}', '{"at": 1e300, "found": {"role": "master"}}'):
            (tmp_path / "ganeti_confd.grains").write_text(damage)
            assert grain()["ganeti"]["role"] == "candidate"
            assert json.loads((tmp_path / "ganeti_confd.grains").read_text())["found"]["master"] == NODE1

    def test_real_salt_has_it(self, minionless, opts):
        salt = minionless(ganeti_confd=opts["ganeti_confd"])
        answer = salt.salt_call("grains.get", "ganeti")
        assert answer.value == {"role": "candidate", "master": NODE1, "cluster": "cluster.example.com"}


class TestRunner:
    @pytest.fixture
    def runner(self, monkeypatch, opts):
        from saltext.zkcoord.runners import ganeti_confd

        for name, value in {"__opts__": opts, "__salt__": {}, "__context__": {}}.items():
            monkeypatch.setattr(ganeti_confd, name, value, raising=False)
        return ganeti_confd

    def test_it_tells_who_is_current_stale_broken_silent_or_contradicts(self, runner, several, opts):
        servers = several(6)
        opts["ganeti_confd"].update(peers=servers.peers, port=servers.port)
        servers.servers[1].configure(serial=41)
        servers.servers[2].break_configuration()
        servers.servers[3].kill()
        servers.servers[4].configure(serial=42, master=2)
        found = runner.peers(timeout=0.5)
        assert (found["serial"], found["master"], found["consistent"]) == (42, NODE1, False)
        states = [found["peers"][peer]["state"] for peer in servers.peers]
        assert states == ["current", "stale", "broken", "silent", "contradicts", "current"]
        assert found["peers"][servers.peers[1]]["serial"] == 41
        assert found["peers"][servers.peers[4]]["master"] == NODE2
        assert "Cannot load configuration" in found["peers"][servers.peers[2]]["error"]
        assert found["peers"][servers.peers[3]] == {"state": "silent"}

    def test_it_tells_why_one_is_silent_that_sent_something(self, runner, opts, peers):
        from tests.support.confd import reply, salt_of

        def act(peer, request, sender):
            peer.send(reply(1, salt_of(request), b"another key\n"), sender)

        other = peers.add(act).address
        opts["ganeti_confd"]["peers"] = [*opts["ganeti_confd"]["peers"], other]
        found = runner.peers(timeout=0.5)["peers"][other]
        assert found["state"] == "silent"
        assert found["error"].startswith("its signature is not that of our key")

    def test_its_other_functions_are_those_of_the_execution_module(self, runner):
        from saltext.zkcoord.modules import ganeti_confd as module

        assert runner.cluster_master() == NODE1
        assert runner.cluster_master("mnode_pip,name")[1] == NODE1
        assert runner.query("ping")["answer"] == 3000000
        names = [name for name in vars(module) if not name.startswith("_") and callable(getattr(module, name))]
        for name in set(names) - {"documented", "Asker"}:
            ours = getattr(runner, name)
            assert ours.__code__ is getattr(module, name).__code__
            assert "salt minion" not in ours.__doc__
            assert "SaltInvocationError" not in ours.__doc__

    def test_errors_are_those_that_salt_run_shows_in_one_line(self, runner, opts):
        from salt.exceptions import CommandExecutionError, NotImplemented

        for call, why in (
            (lambda: runner.node_role_by_name("nobody"), "no such entry"),
            (lambda: runner.cluster_master(["x"]), "fields: must be"),
            (lambda: runner.peers(profile="nobody"), "configures nothing"),
        ):
            with pytest.raises(CommandExecutionError, match=why) as caught:
                call()
            assert isinstance(caught.value, NotImplemented)

    def test_salt_run_shows_a_table(self, opts, servers, tmp_path):
        import subprocess

        from tests.support.salt import bin_dir

        servers.servers[2].configure(serial=41)
        (tmp_path / "master").write_text(
            json.dumps({"root_dir": str(tmp_path / "root"), "ganeti_confd": opts["ganeti_confd"]})
        )
        (tmp_path / "root/var/cache/salt/master/proc").mkdir(parents=True)  # the master makes it when it starts

        def run(*arguments):
            command = [str(bin_dir("3008") / "salt-run"), "-c", str(tmp_path), *arguments]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            return Answer(done.returncode, None, done.stdout, done.stderr)

        answer = run("ganeti_confd.peers")
        lines = answer.stdout.splitlines()
        assert answer.code == 0
        assert lines[0] == f"the master is {NODE1}, serial 42"
        stale = next(line for line in lines if servers.peers[2] in line)
        assert [cell.strip() for cell in stale.strip(" |").split("|")][:4] == [servers.peers[2], "stale", "41", NODE1]
        assert json.loads(run("ganeti_confd.peers", "--out=json").stdout)["serial"] == 42
        wrong = run("ganeti_confd.node_role_by_name", "nobody")
        assert wrong.code == 1
        assert "knows no such entry" in wrong.stdout + wrong.stderr
        assert "Traceback" not in wrong.stdout + wrong.stderr
