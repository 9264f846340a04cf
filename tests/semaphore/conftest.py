"""What the tests of Salt's execution module share."""

from __future__ import annotations

import pytest


@pytest.fixture
def called():
    """What the functions that `run` can call were called with."""
    return []


@pytest.fixture
def run(shim, config, hosts, root, called, pool):
    """`run` at the test's own pool, with functions that tell what they saw."""
    config["zookeeper:hosts"] = hosts

    def note(*args, **kwargs):
        called.append((args, kwargs, pool.holders()))
        return "what it returns"

    def strict(name, times=1):
        return [name] * times

    def fail():
        called.append(pool.holders())
        raise ValueError("broken")

    def lose():
        assert shim.unlock(root, identifier="a")
        return "a secret"

    def lose_and_fail():
        lose()
        raise ValueError("broken")

    for function in (note, strict, fail, lose, lose_and_fail):
        shim.__salt__[f"test.{function.__name__}"] = function

    def run(fun, *args, **kwargs):
        return shim.run(root, fun, *args, **{"identifier": "a", "timeout": 5, **kwargs})

    return run
