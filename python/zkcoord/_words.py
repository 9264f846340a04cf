"""The answer of a server to a four-letter word, and the ACLs that people have from kazoo."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from zkcoord._types import Acl, AclEntry

_LETTERS = ((1, "r"), (2, "w"), (4, "c"), (8, "d"), (16, "a"))


class Answer(dict[str, str]):
    """The answer of a server to a four-letter word, by the names that the server uses. All values are text."""

    def __init__(self, fields: dict[str, str], source: str) -> None:
        """Keep the fields, and who has answered."""
        super().__init__(fields)
        self.source = source
        """Who has answered: ``4lw``, the server itself; or ``admin``, its AdminServer."""

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle the answer with its source."""
        return (Answer, (dict(self), self.source))


def answer_of(found: tuple[Any, ...]) -> Answer | Exception:
    """The answer that the core has brought, or the error in its place."""
    _, source, fields = found
    return fields if source is None else Answer(fields, source)


def is_broadcasting(srvr: Answer | Exception) -> bool:
    """Tell whether a server is in sync, by its answer to ``srvr``: it gives one only while it serves."""
    return isinstance(srvr, Answer) and srvr.get("Mode") in {"leader", "follower", "observer"}


def acl_of(acls: Acl | Iterable[AclEntry] | None, default: Iterable[AclEntry]) -> list[Any]:
    """An ACL as the core takes it. Entries may be those of kazoo: ``(permissions, (scheme, id))``.

    None stands for what a created znode permits: the connection's default, or everything to everybody.
    """
    if acls is None:
        acls = list(default) or [(31, ("world", "anyone"))]
    entries: list[Any] = [acls] if isinstance(acls, (str, dict)) else list(acls)
    return [_entry(entry) for entry in entries]


def _entry(entry: Any) -> object:
    if not isinstance(entry, tuple):
        return entry
    permissions, (scheme, name) = entry
    letters = "".join(letter for bit, letter in _LETTERS if permissions & bit)
    return {"scheme": scheme, "id": name, "perms": letters}
