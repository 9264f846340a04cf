"""A configuration of Salt's that remembers what was looked up in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping


class Config(dict[str, object]):
    """A configuration by whole keys, with a memory of which of its values were read."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def dunders(self) -> dict[str, object]:
        """What the loader puts into a module that has this configuration in its pillar."""
        found_in = {"__opts__": {"id": "probe", "file_client": "local"}, "__grains__": {}, "__pillar__": Section(self)}
        return {"__salt__": {}, **found_in}


class Section(Mapping[str, object]):
    """A configuration as it is now, as a tree: what begins with a prefix."""

    def __init__(self, config: Config, prefix: str = "") -> None:
        self._config = config
        self._prefix = prefix

    def __getitem__(self, name: str) -> object:
        key = f"{self._prefix}{name}"
        if key in self._config:
            self._config.asked.append(key)
            return self._config[key]
        if any(known.startswith(f"{key}:") for known in self._config):
            return Section(self._config, f"{key}:")
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        begun = (key.removeprefix(self._prefix) for key in self._config if key.startswith(self._prefix))
        return iter({key.partition(":")[0] for key in begun})

    def __len__(self) -> int:
        return sum(1 for _ in self)
