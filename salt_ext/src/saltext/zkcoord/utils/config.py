"""A section of Salt's configuration, ``zookeeper`` or ``ganeti_confd``, read as data."""

from collections.abc import Collection, Iterator, Mapping
from functools import cache, reduce

import salt.utils.sdb
from salt.utils.args import yamlify_arg
from salt.utils.data import traverse_dict_and_list

_NOWHERE = object()


class Section(dict[str, object]):
    """The section as one mapping, and where it was read, for errors."""

    where: str


class Configuration:
    """
    What ``config.get`` says of ``zookeeper:NAME`` and ``zookeeper:PROFILE:NAME``, or of those below another `root`.

    ``config.get`` goes through its sources once for each key, and the first source that has the whole key wins. For a
    key that no source has, it parses each part of the key as YAML in every source, since a key may be a number there.
    Most settings are in no source, and to parse so took longer than the rest of a call on this side. So this class
    reads the sources itself, with the same result.
    """

    def __init__(self, opts: Mapping[str, object], *others: object, root: str = "zookeeper") -> None:
        """Take the sources, in the order in which ``config.get`` asks them."""
        self._opts = opts
        self._root = root
        self._sources = (opts, *others)
        self._where = "the minion's configuration, grains and pillar" if others else "the master's configuration"
        self._levels: dict[str, list[object]] = {}

    def section(self, profile: object = None, given: Collection[str] = ()) -> Section:
        """
        Return the section as one mapping: ``{"hosts": ..., "username": ..., "prod": {"hosts": ...}}``.

        With a `profile`, the mapping has that profile under its name as text, put together from all sources. It has
        no such key where no source configures the profile. An ``sdb://`` value is fetched where the call reads it:
        in the profile if there is one, and not for those names that the call was `given`.
        """
        if profile in (None, ""):
            section = Section(self._resolved(self._level(profile), given))
        else:
            section = Section(_merged(self._level(None)))
            section.pop(str(profile), None)
            if level := [node for node in self._level(profile) if isinstance(node, Mapping | list)]:
                section[str(profile)] = self._resolved(level, given)
        section.where = self._where
        return section

    def get(self, name: str, default: object = None, profile: object = None) -> object:
        """Return one setting."""
        value = _first(self._level(profile), name)
        return default if value is _NOWHERE else self._fetched(value)

    def _level(self, profile: object) -> list[object]:
        """What each source that has it says of the section, or of a profile."""
        path = "" if profile is None else str(profile)
        if path not in self._levels:
            parts = [self._root, *path.split(":")] if path else [self._root]
            self._levels[path] = reduce(_below, parts, list(self._sources))
        return self._levels[path]

    def _resolved(self, level: list[object], given: Collection[str]) -> dict[str, object]:
        merged = _merged(level)
        return {name: value if name in given else self._fetched(value) for name, value in merged.items()}

    def _fetched(self, value: object) -> object:
        is_elsewhere = isinstance(value, str) and value.startswith("sdb://")
        return salt.utils.sdb.sdb_get(value, self._opts) if is_elsewhere else value


def of_beacon(config: object) -> dict[str, object] | None:
    """Return the settings of a beacon, which Salt has as a list of mappings; None where they are something else."""
    if not isinstance(config, list) or not all(isinstance(part, dict) for part in config):
        return None
    return {name: value for part in config for name, value in part.items()}


def of_minion(
    opts: Mapping[str, object], grains: object, pillar: Mapping[str, object], root: str = "zookeeper"
) -> Configuration:
    """Return what a minion is configured with: by its options, grains, pillar, and by its master's options."""
    return Configuration(opts, grains, pillar, pillar.get("master", {}), root=root)


def _merged(level: list[object]) -> dict[str, object]:
    """Put together what several sources say: the first that has a name wins."""
    return {name: _first(level, name) for name in {name: None for node in level for name in _names(node)}}


def _names(node: object) -> Iterator[str]:
    """The names that ``config.get`` finds in a node. In a list it looks into the dicts."""
    for each in node if isinstance(node, list) else [node]:
        if isinstance(each, Mapping):
            yield from (name for name in each if isinstance(name, str))


def _below(nodes: list[object], part: str) -> list[object]:
    """Go one part of a key down, in all nodes that have it."""
    return [found for node in nodes if (found := _step(node, part)) is not _NOWHERE]


def _first(nodes: list[object], part: str) -> object:
    for node in nodes:
        if (found := _step(node, part)) is not _NOWHERE:
            return found
    return _NOWHERE


def _step(node: object, part: str) -> object:
    """Go one part of a key down in one node, as ``config.get`` does."""
    if not isinstance(node, Mapping):
        return traverse_dict_and_list(node, [part], _NOWHERE)
    for spelling in _spellings(part):
        try:
            return node[spelling]
        except KeyError:
            continue
    return _NOWHERE


@cache
def _spellings(part: str) -> tuple[object, ...]:
    """The keys as which ``config.get`` finds a part of a key: the text, and what YAML reads in it."""
    read = yamlify_arg(part)
    return (part,) if read == part or isinstance(read, dict | list) else (part, read)
