"""`ConfdServers`: genuine servers that start, fail on demand, and leave nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from zkcoord import confd, testing
from zkcoord.testing import ConfdError, ConfdServers, _confd

COMMAND = (sys.executable, "-m", "zkcoord.testing", "confd")


def alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def gone(pids: list[int], limit: float = 10.0) -> bool:
    end = time.monotonic() + limit
    while any(map(alive, pids)) and time.monotonic() < end:
        time.sleep(0.02)
    return not any(map(alive, pids))


def test_two_sets_of_servers_do_not_take_each_others_datagrams():
    with ConfdServers(2) as first, ConfdServers(2) as second:
        assert not set(first.peers) & set(second.peers)
        second.servers[0].configure(serial=7)
        for servers, serial in ((first, 42), (second, 7)):
            asking = {"peers": servers.peers[:1], "hmac_key": servers.hmac_key, "port": servers.port}
            assert confd.query("cluster_master", **asking).serial == serial


def test_servers_stop_with_all_that_they_wrote_and_can_be_started_again():
    servers = ConfdServers(1)
    for _ in range(2):
        with servers:
            (server,) = servers.servers
            directory, pid = servers.directory, server.pid
            assert alive(pid)
            assert "Loaded new config, serial 42" in server.log_tail(50)
            assert str(pid) in repr(server)
        assert not alive(pid)
        assert not directory.exists()
    servers.stop()
    with pytest.raises(ConfdError, match="not started"):
        _ = ConfdServers(1).root


def test_a_server_fails_on_demand_and_comes_back(servers, asking):
    server = servers.servers[0]
    only = {**asking, "peers": servers.peers[:1]}
    server.pause()
    assert server.paused
    assert confd.query("ping", timeout=0.2, **only).timed_out
    server.resume()
    assert confd.ping(**only) == 3000000
    server.stop()
    assert (server.running, server.pid) == (False, None)
    server.configure(serial=50)
    server.start()
    assert confd.query("cluster_master", **only).serial == 50
    server.break_configuration()
    assert confd.query("ping", **only).status == 1


def test_one_that_dies_by_itself_is_an_error_with_its_log(monkeypatch, tmp_path):
    broken = tmp_path / "ganeti-confd"
    broken.write_text("#!/bin/sh\necho no reason >&2\n")
    broken.chmod(0o755)
    monkeypatch.setenv("ZKCOORD_GANETI_CONFD", str(broken))
    servers = ConfdServers(1)
    with pytest.raises(ConfdError, match=r"server 1 ended by itself; its log:\nno reason"):
        servers.start()
    assert servers.directory is None


def test_servers_that_are_measured_log_no_requests(several):
    servers = several(2, debug=False)
    asking = {"peers": servers.peers, "hmac_key": servers.hmac_key, "port": servers.port}
    servers.servers[1].configure(serial=43, master=2)
    assert confd.cluster_master(**asking) == "node2.example.com"
    assert "rsalt" not in servers.logs()
    servers.servers[0].break_configuration()
    servers.servers[0].stop()
    servers.servers[0].start()
    assert confd.query("cluster_master", **asking).by_peer[servers.peers[0]].status == 1
    servers.reset()
    assert confd.query("cluster_master", **asking).serial == 42


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setenv("ZKCOORD_GANETI_CONFD", "/no/such/file")
    with pytest.raises(ConfdError, match="apt-get install --no-install-recommends ganeti-haskell"):
        ConfdServers(1).start()
    monkeypatch.delenv("ZKCOORD_GANETI_CONFD")
    assert os.access(_confd.server_binary(), os.X_OK)
    for wrong in ({"size": 0}, {"size": 2, "address": "::1"}):
        with pytest.raises(ValueError, match="at least one server"):
            ConfdServers(**wrong)
    assert {"ConfdError", "ConfdServer", "ConfdServers"} <= set(testing.__all__)


def test_in_the_foreground_the_first_line_tells_whom_to_ask_and_a_signal_ends_it():
    with subprocess.Popen([*COMMAND, "--size", "2"], stdout=subprocess.PIPE, text=True) as process:
        addresses, port, key = process.stdout.readline().split()
        asking = {"peers": addresses.split(","), "port": int(port), "hmac_key": Path(key).read_bytes()}
        assert confd.query("cluster_master", replies=-1, **asking).replied == 2
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert not Path(key).exists()


def test_as_json_it_makes_this_host_a_node_and_the_servers_die_with_their_parent(monkeypatch):
    with subprocess.Popen([*COMMAND, "--size", "1", "--json"], stdout=subprocess.PIPE, text=True) as process:
        facts = json.loads(process.stdout.readline())
        monkeypatch.setenv("GANETI_ROOTDIR", facts["ganeti_rootdir"])
        assert confd.cluster_master(port=facts["port"]) == "node1.example.com"
        process.kill()
    assert gone([server["pid"] for server in facts["servers"]])
