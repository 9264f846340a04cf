"""Questions to ganeti-confd: ours, Ganeti's own Python client, and what the servers themselves take."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import resource
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

from zkcoord.testing import ConfdServers, Ensemble

from bench.measure import BenchError, Report, Table, Target

_ROOT = Path(__file__).parents[1]
_LIMIT = 120.0
_COLUMNS = ("who", "ms a query, median", "p99", "client CPU ms")
_WORKER = """
import json, resource, sys, time
who, key, peers, port, count, coverage = json.loads(sys.argv[1])
if who == "Ganeti's client":
    import warnings
    warnings.simplefilter("ignore")
    from ganeti.confd import client as confd
else:
    from zkcoord import confd
if who == "zkcoord.confd.query":
    def ask():
        assert not confd.query(3, None, peers=peers, hmac_key=key, port=port, coverage=coverage).timed_out
else:
    store = confd.StoreResultCallback()
    client = confd.ConfdClient(key, peers, confd.ConfdFilterCallback(store), port=port)
    def ask():
        request = confd.ConfdClientRequest(type=3)
        client.SendRequest(request, coverage=coverage, async_=False)
        assert not client.WaitForReply(request.rsalt)[0]
ask()
before, taken = resource.getrusage(resource.RUSAGE_SELF), []
for _ in range(count):
    began = time.perf_counter()
    ask()
    taken.append(time.perf_counter() - began)
after = resource.getrusage(resource.RUSAGE_SELF)
cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
taken.sort()
p99 = taken[min(count - 1, count * 99 // 100)]
print(json.dumps([1000 * taken[count // 2], 1000 * p99, 1000 * cpu / count]))
"""
_WHO = ("zkcoord.confd.query", "zkcoord's ConfdClient", "Ganeti's client")


def run(ensemble: Ensemble, quick: bool) -> Report:
    """Ask three servers, three of which one is dead, and seven of which one is dead; and from a fresh process."""
    count = 20 if quick else 1000
    report = Report([])
    path = _ganeti()
    with ConfdServers(7, debug=False) as servers:
        for name, title, size, dead in (
            ("confd-three", "Three servers", 3, 0),
            ("confd-three-one-dead", "Three servers, one of them dead", 3, 1),
            ("confd-seven", "Seven servers, all of them asked", 7, 0),
            ("confd-seven-one-dead", "Seven servers, all of them asked, one dead", 7, 1),
        ):
            servers.reset()
            for server in servers.servers[size - dead : size]:
                server.kill()
            table = Table(name, title, _COLUMNS)
            for who in _WHO:
                table.rows.append((who, *_asked(servers, size, who, count, path)))
            if not dead:
                table.rows.append(("the datagrams alone", *_floor(servers, size, count)))
            report.tables.append(table)
        servers.reset()
        fresh = Table("confd-fresh", "A fresh process: import, one query, exit", ("who", "ms, median"))
        for who in _WHO:
            times = sorted(_timed(servers, who, path) for _ in range(3 if quick else 15))
            fresh.rows.append((who, times[len(times) // 2]))
        report.tables.append(fresh)
    report.targets += _targets({table.name: {row[0]: row[1:] for row in table.rows} for table in report.tables})
    return report


def _targets(found: dict[str, dict[str, tuple[float, ...]]]) -> list[Target]:
    three = found["confd-three"]
    ours, (theirs, _, their_cpu) = three["zkcoord.confd.query"], three["Ganeti's client"]
    bare = three["the datagrams alone"][0]
    # What a client itself takes; one that takes less than can be measured beside its datagrams is at this bound.
    own = max(ours[0] - bare, bare / 1000)
    dead = found["confd-seven-one-dead"]["zkcoord.confd.query"][0] / found["confd-seven"]["zkcoord.confd.query"][0]
    client_cpu = three["zkcoord's ConfdClient"][2]
    bound = f"{theirs / bare:.2f} x would be no time beside the datagrams"
    return [
        Target(f"confd, a query of three: Ganeti's time / ours ({bound})", theirs / ours[0], at_least=5),
        Target("confd, the same without the datagrams: Ganeti's time / ours", (theirs - bare) / own, at_least=5),
        Target("confd, the same: Ganeti's processor time / ours", their_cpu / ours[2], at_least=5),
        Target("confd, the same by ConfdClient: Ganeti's processor time / ours", their_cpu / client_cpu, at_least=5),
        Target("confd, a query of three: ours / the datagrams alone", ours[0] / bare, at_most=1.25),
        Target("confd: one dead of seven, beside none", dead, at_most=1.25),
    ]


def _asked(servers: ConfdServers, size: int, who: str, count: int, path: str) -> list[float]:
    given = [who, servers.hmac_key.decode(), servers.peers[:size], servers.port, count, -1]
    found: list[float] = json.loads(_run(who, json.dumps(given), path))
    return found


def _timed(servers: ConfdServers, who: str, path: str) -> float:
    given = json.dumps([who, servers.hmac_key.decode(), servers.peers[:3], servers.port, 1, -1])
    began = time.perf_counter()
    _run(who, given, path)
    return 1000 * (time.perf_counter() - began)


def _run(who: str, given: str, path: str) -> str:
    python, environment = (sys.executable, {}) if who in _WHO[:2] else ("/usr/bin/python3", {"PYTHONPATH": path})
    command = [python, "-c", _WORKER, given]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=_LIMIT, check=False, env=os.environ | environment
    )
    if done.returncode:
        raise BenchError(f"{who}: a process ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    return done.stdout


def _floor(servers: ConfdServers, size: int, count: int) -> list[float]:
    """Send a request that is made already, and receive as many datagrams as a query needs, without a look into them."""
    needed = size // 2 + 1 if size > 4 else size - 1
    taken = []
    salts = [str(uuid.uuid4()) for _ in range(count)]
    requests = [(salt.encode(), _request(servers.hmac_key, salt)) for salt in salts]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        before = resource.getrusage(resource.RUSAGE_SELF)
        for salt, request in requests:
            began = time.perf_counter()
            for peer in servers.peers[:size]:
                client.sendto(request, (peer, servers.port))
            left = needed
            while left:
                left -= salt in client.recv(65535)
            taken.append(time.perf_counter() - began)
        after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    taken.sort()
    return [1000 * taken[count // 2], 1000 * taken[min(count - 1, count * 99 // 100)], 1000 * cpu / count]


def _request(key: bytes, salt: str) -> bytes:
    message = json.dumps({"protocol": 1, "type": 3, "query": None, "rsalt": salt})
    now = str(int(time.time()))
    signature = hmac.new(key, (now + message).encode(), hashlib.sha1).hexdigest()
    return b"plj0" + json.dumps({"msg": message, "salt": now, "hmac": signature}).encode()


def _ganeti() -> str:
    done = subprocess.run([_ROOT / "tools/ganeti-client"], capture_output=True, text=True, timeout=_LIMIT, check=False)
    if done.returncode:
        raise BenchError(done.stderr.strip()[-300:])
    return done.stdout.strip()
