"""Holders while a minority of the servers is of no use: no ephemeral lease is lost while its holder lives.

One fault follows the other. At each time most servers serve and can be reached, so that whatever is lost could have
been kept. Kazoo's sessions are beside ours. A leader is killed, and not paused: a leader that wakes from a pause ends
sessions that it has not heard of meanwhile, before it has read what their servers have heard.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections import Counter
from dataclasses import dataclass, field

import zkcoord
from kazoo.client import KazooClient
from kazoo.exceptions import NoNodeError
from zkcoord.testing import Ensemble, Proxies, proxied

TIMEOUTS = (2, 4, 10, 30)
"""Seconds of the sessions, in turn."""
MOST_OF_KAZOO = 20
"""Each of its sessions has threads of its own."""
SHORTEST, LONGEST = 0.5, 12.0
FORMS = ("pause", "kill", "refuse", "stall", "filter", "hang_up", "trickle")
"""What becomes of a server (the first two), or of the connections to it."""


@dataclass
class Minority:
    """What a run has found."""

    seed: str
    servers: int
    sessions: int
    """How many sessions of ours."""
    kazoo_sessions: int = 0
    """How many of kazoo's: a third as many, and no more than `MOST_OF_KAZOO`."""
    faults: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    """Our leases that were lost, and by which fault."""
    kazoo_lost: int = 0
    failed: list[str] = field(default_factory=list)
    """Fresh calls that failed."""
    calls: int = 0
    """Fresh calls, each in a session of its own."""


class _Kazoo:
    """An ephemeral znode of kazoo's."""

    def __init__(self, hosts: str, path: str, timeout: float) -> None:
        self.path, self.client = path, KazooClient(hosts, timeout=timeout)
        self.client.start(30)
        self.client.create(path, ephemeral=True, makepath=True)

    def is_lost(self, observer: KazooClient) -> bool:
        """Whether the znode is gone; then there is a new one."""
        if observer.exists(self.path):
            return False
        with contextlib.suppress(Exception):  # it may still be without a connection
            self.client.create(self.path, ephemeral=True)
        return True


def minority(seed: str, seconds: float, servers: int = 3, sessions: int = 200) -> Minority:
    """Let a minority of the servers fail in one way after the other, for so many seconds."""
    rng = random.Random(f"{seed}/minority")
    found = Minority(seed, servers, sessions)
    with Ensemble(servers) as ensemble, proxied(ensemble) as proxies, contextlib.ExitStack() as stack:
        stack.callback(zkcoord.close)
        observer = KazooClient(ensemble.hosts, timeout=30)
        observer.start(30)
        stack.callback(observer.close)
        stack.callback(observer.stop)
        hosts = [ensemble.hosts, proxies.hosts]
        ours = [_hold(hosts[at % 2], at) for at in range(sessions)]
        found.kazoo_sessions = min(sessions // 3, MOST_OF_KAZOO)
        theirs = [
            _Kazoo(hosts[at % 2], f"/kazoo/{at}", TIMEOUTS[at % len(TIMEOUTS)]) for at in range(found.kazoo_sessions)
        ]
        for each in theirs:
            stack.callback(each.client.close)
            stack.callback(each.client.stop)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            form = rng.choice(FORMS)
            size = rng.randint(1, (servers - 1) // 2)
            _break(rng, form, size, ensemble, proxies, hosts, found)
            found.faults[form] += 1
            for at, held in enumerate(ours):
                if held.lost.is_set() or not _is_there(observer, held):
                    found.lost.append(f"{held.path} of {TIMEOUTS[at % len(TIMEOUTS)]} s, {form}")
                    held.release(timeout=30)
                    ours[at] = _hold(hosts[at % 2], at)
            found.kazoo_lost += sum(each.is_lost(observer) for each in theirs)
        for held in ours:
            held.release(timeout=30)
    return found


def _hold(hosts: str, at: int) -> zkcoord.Hold:
    connection = zkcoord.Connection(
        hosts, username=f"u{at}", password="p", session_timeout=TIMEOUTS[at % len(TIMEOUTS)]
    )
    return zkcoord.hold(f"/minority/{at}", connection=connection, identifier="me", timeout=60)


def _is_there(observer: KazooClient, held: zkcoord.Hold) -> bool:
    observer.sync(held.path)
    try:
        return held.lease in observer.get_children(held.path)
    except NoNodeError:
        return False


def _break(
    rng: random.Random,
    form: str,
    size: int,
    ensemble: Ensemble,
    proxies: Proxies,
    hosts: list[str],
    found: Minority,
) -> None:
    """Break so many servers, or the ways to them, for a while, with fresh calls meanwhile; then make them whole."""
    over = time.monotonic() + rng.uniform(SHORTEST, LONGEST)
    if form in ("pause", "kill"):
        may_lead = form == "kill"
        servers = [it for it in ensemble.servers if may_lead or it is not ensemble.leader()]
        chosen = rng.sample(servers, size)
        for server in chosen:
            getattr(server, form)()
    else:
        for proxy in (ways := rng.sample(proxies, size)):
            getattr(proxy, form)()
    while time.monotonic() < over:
        _call(rng, form, hosts, found)
        time.sleep(0.1)
    if form in ("pause", "kill"):
        for server in chosen:
            server.resume() if form == "pause" else server.start()
    else:
        for proxy in ways:
            proxy.heal()
    ensemble.wait_ready(60)


def _call(rng: random.Random, form: str, hosts: list[str], found: Minority) -> None:
    found.calls += 1
    session_timeout = rng.choice(TIMEOUTS)
    user = {"username": f"fresh{found.calls}", "password": "p"}
    connection = zkcoord.Connection(rng.choice(hosts), session_timeout=session_timeout, **user)
    try:
        zkcoord.lock_holders("/minority/0", connection=connection)
    except zkcoord.errors.Error as error:
        found.failed.append(f"session of {session_timeout} s, {form}: {error}")
    finally:
        connection.close()
