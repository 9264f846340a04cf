"""Which ZooKeeper the servers of these tests are, and what to make of tests that need a newer one."""

from __future__ import annotations

import functools
import re
import subprocess

import pytest
from zkcoord.testing._java import java_command

MARKER = "zookeeper(version): needs servers of this version of ZooKeeper, or newer ones"


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


def leave_out_what_needs_newer(config: pytest.Config, items: list[pytest.Item]) -> list[str]:
    """Take from `items` those whose version the servers do not have; what there is to say about it."""
    if not any(needed(item) for item in items):
        return []
    here = zookeeper_version()
    newer = [item for item in items if needed(item) > here]
    if not newer:
        return []
    config.hook.pytest_deselected(items=newer)
    items[:] = [item for item in items if needed(item) <= here]
    return [
        f"left out on ZooKeeper {_text(here)}: {item.nodeid} needs {_text(needed(item))} or newer" for item in newer
    ]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _text(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
