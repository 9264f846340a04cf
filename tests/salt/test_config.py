"""What is configured, beside what Salt's own `config.get` and the stock module make of it."""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import textwrap

import pytest

from tests.support.salt import VERSIONS, bin_dir

NAMES = ("zookeeper", "prod", "1", "on", "null", "hosts", "0", "[a]", "{b: c}", "~", "1.5", "x: y")
SETTINGS = ("hosts", "zookeeper", "prod")  # names that are not YAML for anything but themselves
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


def value(ours, key: str, default: object) -> object:
    """What ours says of a whole key."""
    _, *profile, name = key.split(":")
    return ours.get(name, default, ":".join(profile))


def test_it_is_what_config_get_says_whatever_the_configuration(salt_config):
    from saltext.zkcoord.utils import config

    nothing, found = object(), 0
    for seed in range(300):
        draw = random.Random(seed)
        opts, grains, pillar, master = (source(draw) for _ in range(4))
        if draw.random() < 0.5:
            pillar["master"] = master
        config_get = salt_config(opts, grains, pillar)
        ours = config.of_minion(opts, grains, pillar)
        for key in keys():
            expected = config_get(key, nothing)
            assert value(ours, key, nothing) is expected, (seed, key)
            found += expected is not nothing
    assert found > 1_000, "not only of what is nowhere"


def test_the_section_has_what_config_get_says_whatever_the_configuration(salt_config):
    from saltext.zkcoord.utils import config

    nothing, found = object(), 0
    for seed in range(300):
        draw = random.Random(seed)
        opts, grains, pillar, master = (source(draw) for _ in range(4))
        pillar["master"] = master
        config_get = salt_config(opts, grains, pillar)
        ours = config.of_minion(opts, grains, pillar)
        for profile, name in itertools.product((None, *NAMES), SETTINGS):
            section = ours.section(profile)
            level = section if profile is None else section.get(profile, {})
            expected = config_get(f"zookeeper:{name}" if profile is None else f"zookeeper:{profile}:{name}", nothing)
            assert level.get(name, nothing) is expected, (seed, profile, name)
            found += expected is not nothing
    assert found > 300, "not only of what is nowhere"


def test_what_is_nowhere_is_not_asked_for():
    from saltext.zkcoord.utils import config

    opts = {"id": "a", "zookeeper": {"prod": {"hosts": "a:1"}, "hosts": "b:1"}}
    ours = config.of_minion(opts, {"os": "Debian"}, {})
    assert [
        value(ours, key, 7) for key in ("zookeeper:username", "zookeeper:prod:username", "zookeeper:blue:hosts")
    ] == [7] * 3


def test_a_secret_is_still_fetched_from_where_it_is_kept(monkeypatch):
    from salt.modules import config as salts
    from saltext.zkcoord.utils import config

    pillar = {"zookeeper": {"password": "sdb://vault/zk"}}
    monkeypatch.setattr(salts.sdb, "sdb_get", lambda uri, _: f"fetched {uri}")
    ours = config.of_minion({}, {}, pillar)
    assert value(ours, "zookeeper:password", None) == "fetched sdb://vault/zk"


def test_a_secret_is_fetched_for_the_profile_that_is_used_and_for_nothing_that_was_given(monkeypatch):
    import salt.utils.sdb
    from saltext.zkcoord.utils import config

    fetched = []
    monkeypatch.setattr(salt.utils.sdb, "sdb_get", lambda uri, _: fetched.append(uri) or "secret")
    profile = {"hosts": "sdb://a/hosts", "username": "u", "password": "sdb://a/prod"}
    opts = {"zookeeper": {"password": "sdb://a/plain", "prod": profile, "other": dict(profile)}}
    ours = config.of_minion(opts, {}, {})
    assert ours.section("prod")["prod"] == {"hosts": "secret", "username": "u", "password": "secret"}
    assert fetched == ["sdb://a/hosts", "sdb://a/prod"]
    fetched.clear()
    ours.section("prod", given=["password", "username"])
    assert fetched == ["sdb://a/hosts"]


def test_a_profile_that_no_source_configures_is_not_in_the_section():
    from saltext.zkcoord.utils import config

    ours = config.of_minion({"zookeeper": {"hosts": "a:1", "blue": "text"}}, {"zookeeper": {"empty": {}}}, {})
    assert ours.section("blue") == {"hosts": "a:1", "empty": {}}
    assert ours.section("empty") == {"hosts": "a:1", "blue": "text", "empty": {}}
    assert ours.section("hosts") == {"blue": "text", "empty": {}}


# Configurations, as the files have them: of the minion, its grains, its pillar, and its master by `pillar_opts`.
CONFIGURATIONS = {
    "nothing": "{}",
    "plain": "minion: {zookeeper: {hosts: 'a:1', username: u, password: p}}",
    "a list of hosts": "pillar: {zookeeper: {hosts: ['a:1', 'b:2'], prod: {hosts: ['c:3']}}}",
    "each key from another source": """
        minion: {zookeeper: {hosts: 'a:1', prod: {hosts: 'b:1'}}}
        grains: {zookeeper: {username: u, prod: {username: v}}}
        pillar: {zookeeper: {password: p, prod: {password: q}}}
        master: {zookeeper: {scheme: digest, default_acl: {username: u, password: p, read: true}, prod: {scheme: sasl}}}
        """,
    "the first wins": """
        minion: {zookeeper: {hosts: 'a:1', prod: {hosts: 'a:2', username: u}}}
        grains: {zookeeper: {hosts: 'b:1', prod: {hosts: 'b:2', username: v, password: w}}}
        pillar: {zookeeper: {hosts: 'c:1', password: x, prod: {password: y, scheme: sasl}}}
        """,
    "an ACL is one value": """
        minion: {zookeeper: {default_acl: {username: a}, prod: {default_acl: [{username: a}]}}}
        pillar: {zookeeper: {default_acl: {password: b, read: true}, prod: {default_acl: {password: b}}}}
        """,
    "a scalar hides nothing below it": """
        minion: {zookeeper: {prod: just text, hosts: 'a:1'}}
        grains: {zookeeper: 5}
        pillar: {zookeeper: {prod: {hosts: 'b:1', username: u, password: p}}}
        """,
    "a section that is text": "{minion: {zookeeper: text}, pillar: {zookeeper: {hosts: 'a:1', prod: {hosts: 'b:1'}}}}",
    "a section that is nothing": "{minion: {zookeeper: null}, pillar: {zookeeper: {hosts: 'a:1'}}}",
    "a section that is a list": """
        minion: {zookeeper: [{hosts: 'a:1'}, {hosts: 'b:1', scheme: s}, text, {prod: {hosts: 'c:1'}}, {7: {hosts: d}}]}
        pillar: {zookeeper: {password: p, prod: [{username: v}, {password: q}]}}
        """,
    "names that YAML reads as something else": """
        minion: {zookeeper: {7: {hosts: 'a:1'}, true: {hosts: 'b:1'}, 1.5: {hosts: 'c:1'}, null: {hosts: 'd:1'}}}
        grains: {zookeeper: {'7': {username: u}, 'on': {username: v}, '1.5': {username: w}}}
        """,
    "empty values": """
        minion: {zookeeper: {hosts: '', username: null, password: [], default_acl: {}, prod: {hosts: [], username: ''}}}
        pillar: {zookeeper: {hosts: 'a:1', username: u, password: p, prod: {hosts: 'b:1', username: v, password: q}}}
        """,
    "below another name": "pillar: {zookeeper: {dc: {prod: {hosts: 'a:1'}}}, prod: {hosts: 'b:1'}}",
    "a profile with the name of a setting": """
        minion: {zookeeper: {hosts: 'a:1'}}
        pillar: {zookeeper: {hosts: {hosts: 'b:1', username: u}}}
        """,
    "a secret elsewhere": "pillar: {zookeeper: {password: 'sdb://nowhere/a', username: u, prod: {hosts: 'sdb://x/y'}}}",
}
PROFILES = (None, "", "prod", "blue", "7", "on", "true", "1.5", "null", "hosts", "dc:prod", "0", "a b", "{a: b}", "[a]")
GIVEN = (
    {},
    {"hosts": "z:9"},
    {"hosts": ["z:9", "y:9"], "scheme": "digest", "username": "me", "password": "mine"},
    {"username": "me", "password": ""},
    {"default_acl": {"username": "me"}},
)

# What the stock module makes of `config.get`, and what it makes of our section.
COMPARE = """
import itertools, json, sys, warnings
warnings.simplefilter("ignore")
import kazoo.client, yaml
from salt.modules import config as of_minions, zk_concurrency as stock
from salt.runners import config as of_masters
from saltext.zkcoord.utils import config

class Client(dict):
    connected = True

kazoo.client.KazooClient = lambda **resolved: Client(resolved)
texts, profiles, calls = json.load(sys.stdin)
NAMES = ("hosts", "scheme", "username", "password", "default_acl", "session_timeout", "use_ssl", "events")

def resolved(config_get, profile, given):
    stock.__salt__ = {"config.get": config_get, "zookeeper.make_digest_acl": lambda **acl: acl}
    stock.__context__ = {}
    try:
        return stock._get_zk_conn(profile=profile, **given)
    except Exception as error:
        return repr(error)

def of_section(section, profile):
    level = section.get(profile, {}) if profile else section
    return lambda key, default="": level.get(key.rpartition(":")[2], default)

count = 0
for (what, text), whose in itertools.product(texts.items(), ("minion", "master")):
    loaded = yaml.safe_load(text)
    sources = {source: loaded.get(source, {}) for source in ("minion", "grains", "pillar")}
    if "master" in loaded:
        sources["pillar"]["master"] = loaded["master"]
    of_minions.__opts__, of_minions.__grains__, of_minions.__pillar__ = sources.values()
    of_masters.__opts__ = sources["minion"]
    ours = config.of_minion(*sources.values()) if whose == "minion" else config.Configuration(sources["minion"])
    config_get = of_minions.get if whose == "minion" else of_masters.get
    for profile, given in itertools.product(profiles, calls):
        found, expected = (
            resolved(it, profile, given) for it in (of_section(ours.section(profile), profile), config_get)
        )
        assert found == expected, (what, whose, profile, given, found, expected)
        for name in NAMES:
            key = f"zookeeper:{profile}:{name}" if profile else f"zookeeper:{name}"
            expected = config_get(key, None)
            found = ours.get(name, None, profile), of_section(ours.section(profile), profile)(key, None)
            assert found == (expected, expected), (what, whose, profile, name, found, expected)
            count += 1
    assert ours.section(7).get("7") == ours.section("7").get("7")
print(count)
"""


@pytest.mark.parametrize("version", VERSIONS)
def test_the_stock_module_would_connect_in_the_same_way_with_the_section(version):
    texts = {what: textwrap.dedent(text) for what, text in CONFIGURATIONS.items()}
    done = subprocess.run(
        [str(bin_dir(version) / "python"), "-W", "ignore", "-c", COMPARE],
        input=json.dumps([texts, PROFILES, GIVEN]),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == 2 * 8 * len(CONFIGURATIONS) * len(PROFILES) * len(GIVEN)
