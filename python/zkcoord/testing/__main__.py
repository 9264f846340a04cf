"""An ensemble in the foreground, for anything that is not Python and for playing with."""

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

from zkcoord.testing import Ensemble, EnsembleError


def _exit(number: int, frame: FrameType | None) -> NoReturn:
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)  # one is enough; a second must not cut the clean-up short
    raise SystemExit(0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run an ensemble in the foreground: ``python -m zkcoord.testing [--size N] [--json]``.

    The first line of standard output is the connect string, or with ``--json`` an object with ``hosts``,
    ``servers`` (each an ``address`` and a ``pid``) and ``directory``. It is written once the ensemble serves.
    Runs until SIGINT, SIGTERM or the death of the parent process.

    :returns: the exit status: 0 after running, 1 if the ensemble could not be started
    """
    parent = os.getppid()
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, _exit)
    parser = argparse.ArgumentParser("python -m zkcoord.testing", description="Run a ZooKeeper ensemble.")
    parser.add_argument("--size", type=int, default=3, help="how many servers (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print an object instead of the connect string")
    options = parser.parse_args(arguments)
    if options.size < 1:
        parser.error("--size must be at least 1")
    try:
        with Ensemble(options.size) as ensemble:
            servers = [{"address": server.address, "pid": server.pid} for server in ensemble.servers]
            facts = {"hosts": ensemble.hosts, "servers": servers, "directory": str(ensemble.directory)}
            print(json.dumps(facts) if options.json else ensemble.hosts, flush=True)
            while os.getppid() == parent:
                time.sleep(0.2)
    except EnsembleError as error:
        print(f"zkcoord.testing: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
