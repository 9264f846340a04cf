"""The package is typed: mypy is content with what is right, and not with what is wrong."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

TYPED = Path(__file__).parent / "typed"


def mypy(name, tmp_path):
    """What mypy says about a file, as a user runs it: without the project's settings, on the installed package."""
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={tmp_path}", TYPED / name]
    run = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False, cwd=tmp_path)
    assert run.returncode in (0, 1), run.stderr
    return run.stdout


@pytest.mark.timeout(200)
def test_what_is_right_passes(tmp_path):
    assert mypy("right.py", tmp_path).startswith("Success")


@pytest.mark.timeout(200)
def test_what_is_wrong_is_refused_line_by_line(tmp_path):
    lines = (TYPED / "wrong.py").read_text().splitlines()
    expected = {number: line.split("  # ")[1] for number, line in enumerate(lines, 1) if "  # " in line}
    found = re.findall(r"^[^:]*wrong\.py:(\d+): error: .*\[([a-z-]+)\]$", mypy("wrong.py", tmp_path), re.MULTILINE)
    assert {int(number): code for number, code in found} == expected
