"""Kazoo, to look with: it never shows what was true a while ago."""

from __future__ import annotations

from kazoo.client import KazooClient


class Observer(KazooClient):
    """Kazoo whose server catches up with its leader before it answers.

    What zkcoord has done on one server, another server may not know yet.
    """

    def exists(self, path: str, *arguments: object, **options: object) -> object:
        self.sync(path)
        return super().exists(path, *arguments, **options)

    def get(self, path: str, *arguments: object, **options: object) -> object:
        self.sync(path)
        return super().get(path, *arguments, **options)

    def get_children(self, path: str, *arguments: object, **options: object) -> object:
        self.sync(path)
        return super().get_children(path, *arguments, **options)

    def get_acls(self, path: str) -> object:
        self.sync(path)
        return super().get_acls(path)
