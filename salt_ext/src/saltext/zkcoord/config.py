"""Salt's ``config.get``, for many keys that are mostly not there."""

from collections.abc import Callable

_NOTHING = object()


def by_section(config_get: Callable[..., object]) -> Callable[[str, object], object]:
    """
    Ask `config_get` for ``section:key`` only where there is a section.

    A key that is nowhere is looked for everywhere: in the options, the grains, the pillar and the master's options,
    which takes longer than all else that a call does on this side. Where nothing is configured, that is done once.
    """

    found: dict[str, bool] = {}

    def get(key: str, default: object) -> object:
        section, _, _ = key.rpartition(":")
        if section not in found:
            found[section] = config_get(section, _NOTHING) is not _NOTHING
        return config_get(key, default) if found[section] else default

    return get
