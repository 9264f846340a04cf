"""Salt's commands one after the other, each in a fork of one process that has imported Salt.

To import Salt takes a command longer than all else that it does. The extension is imported anew, in the fork.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
LIMIT = 300


class Ended(NamedTuple):
    """The exit code of a command, and what it has written to either stream."""

    code: int
    output: str


def run_all(commands: Sequence[Sequence[str]]) -> list[Ended]:
    """Run commands, each a program of Salt's (``salt-call``, ``salt-run``) and its arguments."""
    done = subprocess.run(
        [sys.executable, "-m", __name__],
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return [Ended(*ended) for ended in json.loads(done.stdout)]


def _run(program: str, arguments: Sequence[str]) -> Ended:
    from salt import scripts

    with tempfile.TemporaryFile() as output:
        if (child := os.fork()) == 0:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
            sys.argv = [program, *arguments]
            # To the end of the interpreter, as the program itself: what is to be done there, is done.
            sys.exit(getattr(scripts, program.replace("-", "_"))())
        _, status = os.waitpid(child, 0)
        output.seek(0)
        return Ended(os.waitstatus_to_exitcode(status), output.read().decode(errors="replace"))


def _main() -> None:
    for module in ("cli.call", "cli.caller", "cli.run", "minion", "output", "runner", "state"):
        importlib.import_module(f"salt.{module}")
    ended = [_run(program, arguments) for program, *arguments in json.load(sys.stdin)]
    json.dump(ended, sys.stdout)


if __name__ == "__main__":
    _main()
