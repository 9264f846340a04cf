"""examples/systemd: the units are what systemd takes, and what they execute does what they say."""

from __future__ import annotations

import configparser
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import zkcoord

EXAMPLE = Path(__file__).parents[2] / "examples/systemd"
UNIT = EXAMPLE / "rolling-restart.service"
DROP_IN = EXAMPLE / "one-at-a-time.conf"


def lines(file: Path, key: str) -> list[str]:
    """The values of a key of a unit's service."""
    prefix = f"{key}="
    return [line[len(prefix) :] for line in file.read_text().splitlines() if line.startswith(prefix)]


@pytest.fixture
def execute(binary, environment, root, tmp_path):
    """Execute a line of a unit, with the host's name, below the root of this test, and with a systemctl of our own."""
    systemctl = tmp_path / "systemctl"

    def run(line: str, script: str = "exit 0", host: str = "web1") -> subprocess.CompletedProcess[str]:
        systemctl.write_text(f"#!/bin/sh\n{script}\n")
        systemctl.chmod(0o755)
        words = shlex.split(line.removeprefix("-").replace("%H", host))
        known = {"/usr/bin/zkcoord": str(binary), "/usr/bin/systemctl": str(systemctl), "30m": "1"}
        words = [
            known.get(word, f"{root}{word}" if word.startswith(("/restart", "/start")) else word) for word in words
        ]
        return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, check=False)

    return run


class TestRollingRestart:
    def test_the_slot_is_held_while_systemctl_restarts(self, execute, hosts, root, binary):
        (line,) = lines(UNIT, "ExecStart")
        done = execute(
            line, f'[ "$*" = "restart nginx.service" ] && {binary} holders "$ZKCOORD_PATH" | grep -q : && exit 0'
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert zkcoord.lock_holders(f"{root}/restart/web", hosts) == []

    def test_a_restart_that_fails_fails_the_unit_and_frees_the_slot(self, execute, hosts, root):
        (line,) = lines(UNIT, "ExecStart")
        assert execute(line, "exit 5").returncode == 5
        assert zkcoord.lock_holders(f"{root}/restart/web", hosts) == []

    def test_nothing_is_restarted_while_another_has_its_turn(self, execute, hosts, root, tmp_path):
        assert zkcoord.lock(f"{root}/restart/web", hosts, identifier="web9")
        (line,) = lines(UNIT, "ExecStart")
        assert execute(line, f"touch {tmp_path}/restarted").returncode == 1
        assert not (tmp_path / "restarted").exists()


class TestOneAtATime:
    def test_a_start_holds_the_slot_from_before_to_after(self, execute, hosts, root):
        ((before,), (after,), (end,)) = (
            lines(DROP_IN, f"Exec{when}") for when in ("StartPre", "StartPost", "StopPost")
        )
        assert execute(before).returncode == 0
        assert zkcoord.lock_holders(f"{root}/start/app", hosts) == ["web1"]
        assert execute(before, host="web2").returncode == 1
        assert execute(before).returncode == 0, "a start after a crash in the middle goes on"
        assert execute(after).returncode == 0
        assert execute(before, host="web2").returncode == 0
        assert execute(end, host="web2").returncode == 0, "the start has failed"
        assert execute(end, host="web2").returncode == 1
        assert end.startswith("-"), "which is no failure of the unit"


def test_the_options_are_those_that_there_are(execute):
    for file, key in ((UNIT, "ExecStart"), (DROP_IN, "ExecStartPre"), (DROP_IN, "ExecStartPost")):
        for line in lines(file, key):
            assert "unexpected argument" not in execute(line).stderr


@pytest.mark.parametrize("file", [UNIT, DROP_IN])
def test_it_is_a_unit(file):
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(file)
    assert "Service" in unit


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze, which containers lack")
def test_systemd_takes_the_unit(tmp_path, binary):
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/usr/bin/zkcoord", str(binary)))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, timeout=60, check=False
    )
    complaints = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert complaints == []
