"""What a pool holds, as kazoo sees it."""

from __future__ import annotations

import re

from kazoo.client import KazooClient
from kazoo.exceptions import NoNodeError


class Pool:
    """The znodes of a pool. Every look is fresh: it shows what was true when it began."""

    def __init__(self, zk: KazooClient, path: str) -> None:
        self.zk = zk
        self.path = path
        self.queue = f"{path}-__lock__"

    def leases(self) -> list[str]:
        """The names of the leases, in no order."""
        return self._children(self.path)

    def holders(self) -> list[str]:
        """The identifiers of the leases, sorted."""
        return sorted(self._identifiers(self.path, self.leases()))

    def places(self) -> list[str]:
        """The names of the contenders in the queue, in their order."""
        found = {name: re.search(r"__lock__(-?\d{10})$", name) for name in self._children(self.queue)}
        return sorted((name for name, match in found.items() if match), key=lambda name: int(found[name][1]))

    def waiters(self) -> list[str]:
        """The identifiers of the contenders in the queue, in their order."""
        return self._identifiers(self.queue, self.places())

    def _children(self, path: str) -> list[str]:
        self.zk.sync(path)
        try:
            return self.zk.get_children(path)
        except NoNodeError:
            return []

    def _identifiers(self, parent: str, names: list[str]) -> list[str]:
        identifiers = []
        for name in names:
            try:
                identifiers.append(self.zk.get(f"{parent}/{name}")[0].decode())
            except NoNodeError:
                continue
        return identifiers
