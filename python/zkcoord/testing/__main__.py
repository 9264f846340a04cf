"""Servers in the foreground, for anything that is not Python and for playing with."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from zkcoord.testing import ConfdError, ConfdServers, Ensemble, EnsembleError


def _exit(number: int, frame: FrameType | None) -> NoReturn:
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)  # one signal is enough, and a second must not cut the clean-up short
    raise SystemExit(0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run servers in the foreground: ``python -m zkcoord.testing [confd] [--size N] [--json]``.

    The first line of standard output is the connect string of a ZooKeeper ensemble, or with ``--json`` an object with
    ``hosts``, ``servers`` (each an ``address`` and a ``pid``) and ``directory``. For ganeti-confd it is the addresses,
    the port and the file with the key; with ``--json`` an object with ``peers``, ``port``, ``hmac_key_file``,
    ``ganeti_rootdir``, ``servers`` and ``directory``. It is written once the servers serve. Runs until SIGINT, SIGTERM
    or the death of the parent process.

    :returns: the exit status: 0 after running, 1 if the servers could not be started
    """
    parent = os.getppid()
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, _exit)
    parser = argparse.ArgumentParser("python -m zkcoord.testing", description="Run ZooKeeper, or Ganeti's confd.")
    parser.add_argument("what", nargs="?", choices=("zookeeper", "confd"), default="zookeeper", help="what to run")
    parser.add_argument("--size", type=int, default=3, help="how many servers (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print an object instead of one line of text")
    options = parser.parse_args(arguments)
    if options.size < 1:
        parser.error("--size must be at least 1")
    servers = ConfdServers(options.size) if options.what == "confd" else Ensemble(options.size)
    try:
        with servers:
            text, facts = _facts(servers)
            each_server = [{"address": server.address, "pid": server.pid} for server in servers.servers]
            facts = {**facts, "servers": each_server, "directory": str(servers.directory)}
            print(json.dumps(facts) if options.json else text, flush=True)
            while os.getppid() == parent:
                time.sleep(0.2)
    except (ConfdError, EnsembleError) as error:
        print(f"zkcoord.testing: {error}", file=sys.stderr)
        return 1
    return 0


def _facts(servers: ConfdServers | Ensemble) -> tuple[str, dict[str, object]]:
    """What a client needs to know of the servers, in one line and by names."""
    if isinstance(servers, Ensemble):
        return servers.hosts, {"hosts": servers.hosts}
    key, root = str(servers.hmac_key_file), str(servers.root)
    text = f"{','.join(servers.peers)} {servers.port} {key}"
    return text, {"peers": servers.peers, "port": servers.port, "hmac_key_file": key, "ganeti_rootdir": root}


if __name__ == "__main__":
    sys.exit(main())
