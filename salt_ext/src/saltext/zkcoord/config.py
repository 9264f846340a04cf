"""Salt's ``config.get``, for many keys that are mostly nowhere."""

from collections.abc import Callable, Iterable, Mapping
from functools import cache, reduce

from salt.utils.args import yamlify_arg


def of_minion(
    salt: Mapping[str, Callable[..., object]],
    opts: Mapping[str, object],
    grains: Mapping[str, object],
    pillar: Mapping[str, object],
) -> Callable[[str, object], object]:
    """``config.get`` of a minion, with what it looks into."""
    return among(salt, opts, grains, pillar, pillar.get("master", {}))


def among(salt: Mapping[str, Callable[..., object]], *sources: object) -> Callable[[str, object], object]:
    """
    Ask ``config.get`` only for what one of the `sources` has, which must be all that it looks into.

    It takes each part of a key that it does not find for YAML, in each source, as it may be a number. For keys
    that are nowhere this takes longer than all else that a call does on this side; and so does Salt's loader, to
    find the function.
    """
    sections: dict[str, list[object]] = {}

    def get(key: str, default: object) -> object:
        section, _, name = key.rpartition(":")
        if section not in sections:
            sections[section] = reduce(_within, section.split(":"), list(sources))
        return salt["config.get"](key, default) if _within(sections[section], name) else default

    return get


def _within(nodes: Iterable[object], part: str) -> list[object]:
    """Go one part of a key down. What is no mapping is left to ``config.get``, and so stays."""
    found: list[object] = []
    for node in nodes:
        if isinstance(node, Mapping):
            found += [node[spelling] for spelling in _spellings(part) if spelling in node]
        else:
            found.append(node)
    return found


@cache
def _spellings(part: str) -> tuple[object, ...]:
    """As what ``config.get`` finds a part of a key."""
    read = yamlify_arg(part)
    return (part,) if read == part or isinstance(read, dict | list) else (part, read)
