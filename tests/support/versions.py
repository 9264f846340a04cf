"""Which ZooKeeper and which Python is here, and what to make of tests that need another one."""

from __future__ import annotations

import functools
import re
import subprocess
import sys

import pytest
from zkcoord.testing._java import java_command

from tests.support.salt import VERSIONS

MARKER = "zookeeper(version): needs servers of this version of ZooKeeper, or newer ones"

OLDEST_SALT = VERSIONS[-1]
OLDEST_SALT_RUNS = sys.version_info < (3, 13)
"""Its daemons end while they start on newer ones: they use what those have no more."""


@functools.cache
def zookeeper_version() -> tuple[int, ...]:
    """The version of the jars that the servers run from, as they tell it themselves."""
    command = (*java_command(with_tls=False, fast_start=True), "org.apache.zookeeper.version.VersionInfoMain")
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    found = re.search(r"version (\d+(?:\.\d+)+)", told)
    assert found, f"no version in {told!r}"
    return _numbers(found[1])


def needed(item: pytest.Item) -> tuple[int, ...]:
    """The oldest version that a test says it can be run on."""
    return max((_numbers(marker.args[0]) for marker in item.iter_markers("zookeeper")), default=())


def leave_out_what_cannot_run(config: pytest.Config, items: list[pytest.Item]) -> list[str]:
    """Take from `items` those whose ZooKeeper or Python is not here; what there is to say about it."""
    reasons = {item: reason for item in items if (reason := _why_it_cannot_run(item))}
    if reasons:
        config.hook.pytest_deselected(items=list(reasons))
        items[:] = [item for item in items if item not in reasons]
    return [f"left out: {item.nodeid}, {reason}" for item, reason in reasons.items()]


def _why_it_cannot_run(item: pytest.Item) -> str | None:
    if needed(item) and needed(item) > zookeeper_version():
        return f"which needs ZooKeeper {_text(needed(item))} or newer, and this is {_text(zookeeper_version())}"
    callspec = getattr(item, "callspec", None)
    if not OLDEST_SALT_RUNS and callspec and OLDEST_SALT in callspec.params.values():
        return f"since Salt {OLDEST_SALT} does not run on Python {_text(sys.version_info[:2])}"
    return None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _text(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
