"""What is configured, beside what Salt's own `config.get` says."""

import itertools
import random

import pytest

NAMES = ("zookeeper", "prod", "1", "on", "null", "hosts", "0", "[a]", "{b: c}", "~", "1.5", "x: y")
READ = (1, True, None, 0, 1.5)
SOURCES = ("__opts__", "__grains__", "__pillar__")


@pytest.fixture
def salt_config(monkeypatch):
    """Salt's own module, with what `load` is given."""
    from salt.modules import config

    def load(*sources):
        for name, source in zip(SOURCES, sources, strict=True):
            monkeypatch.setattr(config, name, source, raising=False)
        return config.get

    return load


def tree(draw: random.Random, depth: int) -> object:
    """A configuration: dicts and lists in each other, with odd keys."""
    kinds = ("dict", "dict", "list", "leaf") if depth else ("leaf",)
    match draw.choice(kinds):
        case "dict":
            keys = draw.sample([*NAMES, *READ], draw.randrange(5))
            return {key: tree(draw, depth - 1) for key in keys}
        case "list":
            return [tree(draw, depth - 1) for _ in range(draw.randrange(3))]
    return draw.choice([None, "", "text", 0, False, 7])


def source(draw: random.Random) -> dict[str, object]:
    """One of those that have it: a dict, with what we look for more often than not."""
    rest = {key: tree(draw, 2) for key in draw.sample(NAMES, 2)}
    return {**rest, "zookeeper": tree(draw, 3)} if draw.random() < 0.7 else rest


def keys() -> list[str]:
    """All that can be asked for."""
    below = [f"zookeeper:{name}" for name in NAMES]
    return [*below, *(f"zookeeper:{first}:{second}" for first, second in itertools.product(NAMES, NAMES))]


def test_it_is_what_config_get_says_whatever_the_configuration(salt_config):
    from saltext.zkcoord import config

    nothing, found = object(), 0
    for seed in range(300):
        draw = random.Random(seed)
        opts, grains, pillar, master = (source(draw) for _ in range(4))
        if draw.random() < 0.5:
            pillar["master"] = master
        config_get = salt_config(opts, grains, pillar)
        ours = config.of_minion({"config.get": config_get}, opts, grains, pillar)
        for key in keys():
            expected = config_get(key, nothing)
            assert ours(key, nothing) is expected, (seed, key)
            found += expected is not nothing
    assert found > 1_000, "not only of what is nowhere"


def test_what_is_nowhere_is_not_asked_for(salt_config):
    from saltext.zkcoord import config

    def config_get(key, default):
        raise AssertionError(key)

    opts = {"id": "a", "zookeeper": {"prod": {"hosts": "a:1"}, "hosts": "b:1"}}
    ours = config.of_minion({"config.get": config_get}, opts, {"os": "Debian"}, {})
    assert [ours(key, 7) for key in ("zookeeper:username", "zookeeper:prod:username", "zookeeper:blue:hosts")] == [
        7
    ] * 3


def test_a_secret_is_still_fetched_from_where_it_is_kept(salt_config, monkeypatch):
    from salt.modules import config as salts
    from saltext.zkcoord import config

    pillar = {"zookeeper": {"password": "sdb://vault/zk"}}
    config_get = salt_config({}, {}, pillar)
    monkeypatch.setattr(salts.sdb, "sdb_get", lambda uri, _: f"fetched {uri}")
    ours = config.of_minion({"config.get": config_get}, {}, {}, pillar)
    assert ours("zookeeper:password", None) == "fetched sdb://vault/zk"
