"""A master and minions that run an example: its pillar, its states and its configuration as they are."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tests.support.processes import MARK
from tests.support.salt import Answer, Cluster, Command, _arguments

READY = "Minion is ready to receive requests"
# What a minion of Salt 3008 says now and then whose first request for a file meets the master's new session key.
SALTS_OWN = "AuthenticationError: message authentication failed"


class Answers(NamedTuple):
    """What the minions said: the exit code of the command, and the value of each."""

    code: int
    values: dict[str, object]
    stdout: str
    stderr: str


class ExampleCluster(Cluster):
    """A `Cluster` for a directory with `pillar`, `states` and `master.d`.

    `minion` and `master` are configuration beyond the example's; both may have what it leaves to the site.
    """

    def __init__(
        self,
        version: str,
        example: Path,
        minions: Mapping[str, Mapping[str, object]],
        master: Mapping[str, object],
    ) -> None:
        self._example = example
        self._recorder: subprocess.Popen[bytes] | None = None
        super().__init__(version, minions)
        included = self.directory / "master" / "master.d"
        shutil.copytree(example / "master.d", included)
        # Salt merges these files key by key, in the order of their names.
        (included / "zz-site.conf").write_text(json.dumps(dict(master)))

    def _configure(self, name: str, kind: str, config: Mapping[str, object]) -> None:
        if kind == "master":
            states = [str(self._example / "states"), str(self.directory / "sls")]
            roots = {
                "file_roots": {"base": states},
                "pillar_roots": {"base": [str(self._example / "pillar")]},
                "id": "master_master",  # as if its host were called master
            }
            config = {**config, **roots}
        super()._configure(name, kind, config)

    def _spawn(self, name: str, program: str) -> None:
        """Start a daemon on a host of its own, as far as the host's name goes."""
        script = self.directory / name / program
        # Whoever is not root may do so in a user namespace.
        user = "" if os.geteuid() == 0 else "--map-current-user --keep-caps"
        inner = f'hostname {name} && exec {self._bin_dir / program} "$@"'
        script.write_text(f"#!/bin/sh\nexec unshare {user} --uts sh -c '{inner}' sh \"$@\"\n")
        script.chmod(0o755)
        super()._spawn(name, str(script))

    def on_all(self, target: str, fun: str, *args: object, options: tuple[str, ...] = (), **kw: object) -> Command:
        """Start a `salt` command for many minions; `answers` has what they say."""
        return self._command("salt", *options, target, fun, *args, **kw)

    def apply(self, target: str, *args: object, limit: float = 90.0, **kw: object) -> Answers:
        """Apply states, and wait for the answers. Where Salt could not fetch a file, they are applied once more."""
        found = answers(self.on_all(target, "state.apply", *args, **kw).answer(limit=limit))
        if SALTS_OWN in found.stdout:
            found = answers(self.on_all(target, "state.apply", *args, **kw).answer(limit=limit))
        return found

    def runner(self, fun: str, *args: object, out: str = "json", **kw: object) -> Command:
        """Start a `salt-run` command."""
        return self._command("salt-run", fun, *args, out=out, **kw)

    def _command(self, program: str, *args: object, out: str = "json", **kw: object) -> Command:
        fixed = ("--config-dir", str(self.directory / "master"), f"--out={out}")
        command = Command([str(self._bin_dir / program), *fixed, *_arguments(args, kw)])
        self._commands.append(command)
        return command

    def kill(self, name: str) -> None:
        """Kill a minion with all that it runs, at once: as good as its host's death."""
        os.killpg(self._daemons[name].pid, signal.SIGKILL)
        self._daemons.pop(name).wait(10)

    def revive(self, name: str, limit: float = 60.0) -> None:
        """Start a minion that was killed, and wait until it listens."""
        for left in [*(self.directory / name).glob("var/run/*.pid"), self.directory / name / "log"]:
            left.unlink(missing_ok=True)  # else "An instance is already running", and "ready" at once
        self._spawn(name, "salt-minion")
        end = time.monotonic() + limit
        while READY not in self._log(name):
            assert time.monotonic() < end, f"{name} not ready within {limit} s; the logs:\n{self.logs()}"
            time.sleep(0.1)

    def record(self, limit: float = 60.0) -> None:
        """Have `salt-run state.event` write down what goes over the master's bus, until the cluster stops."""
        env = {key: value for key, value in os.environ.items() if key != MARK}  # it outlives the test
        command = [self._bin_dir / "salt-run", "--config-dir", self.directory / "master", "state.event"]
        with (self.directory / "events").open("wb") as out:
            self._recorder = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                env={**env, "PYTHONWARNINGS": "ignore"},
            )
        end = time.monotonic() + limit
        while not self.events():  # it does not say when it listens, so there is something to hear
            assert time.monotonic() < end, f"no event recorded within {limit} s"
            self.salt(self.minions[0], "test.ping").answer()

    def events(self, prefix: str = "") -> list[dict[str, object]]:
        """The events so far whose tags begin with `prefix`: each a tag, data and a stamp."""
        lines = (self.directory / "events").read_text().splitlines(keepends=True)
        pairs = (line.rstrip("\n").split("\t", 1) for line in lines if line.endswith("\n"))
        found = ((tag, json.loads(data)) for tag, data in pairs if tag.startswith(prefix))
        return [{"tag": tag, "data": data, "_stamp": data.get("_stamp")} for tag, data in found]

    def stop(self) -> None:
        if self._recorder:
            self._recorder.kill()
            self._recorder.wait(10)
        # A daemon that was killed by a test is gone already.
        with contextlib.suppress(ProcessLookupError):
            super().stop()


def answers(answer: Answer) -> Answers:
    """What each minion said; Salt writes one document of JSON after the other."""
    values: dict[str, object] = {}
    decoder, rest = json.JSONDecoder(), answer.stdout.strip()
    while rest:
        value, end = decoder.raw_decode(rest)
        values.update(value)
        rest = rest[end:].strip()
    return Answers(answer.code, values, answer.stdout, answer.stderr)


def results(value: object) -> dict[str, bool | None]:
    """The results of a state run, by the states' identifiers."""
    assert isinstance(value, dict), value
    return {state["__id__"]: state["result"] for state in value.values()}
