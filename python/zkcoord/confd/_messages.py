"""The messages that go in and out of a `ConfdClient`, under the names that Ganeti's client has for them."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, ClassVar

from zkcoord import _core
from zkcoord.confd._constants import CONFD_PROTOCOL_VERSION, CONFD_REQS
from zkcoord.errors import ConfdClientError

if TYPE_CHECKING:
    from typing_extensions import Self


class _Message:
    """A message of named attributes, and no others. Those that are not given by keyword are None."""

    __slots__ = ()
    _names: ClassVar[tuple[str, ...]] = ()

    def __init__(self, **values: Any) -> None:
        for name in self._names:
            setattr(self, name, values.pop(name, None))
        if values:
            raise ConfdClientError(f"{ascii(min(values))[1:-1]}: {type(self).__name__} has no such attribute")

    @classmethod
    def FromDict(cls, values: dict[str, Any]) -> Self:
        """Return a message with the attributes of a dict, as `ToDict` returns them.

        Raises:
            ConfdClientError: ``values`` is no dict, or has names of no attributes.
        """
        if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
            raise ConfdClientError("values: must be a dict of attributes")
        return cls(**values)

    def Copy(self) -> Self:
        """Return another message with the same attributes."""
        return copy.copy(self)

    def ToDict(self) -> dict[str, Any]:
        """Return the attributes that are not None."""
        return {name: value for name in self._names if (value := getattr(self, name)) is not None}

    def __repr__(self) -> str:
        """Show the attributes."""
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.ToDict().items())})"


class ConfdRequest(_Message):
    """A request: ``protocol``, ``type``, ``query`` and ``rsalt``, by which replies to it are known."""

    __slots__ = _names = ("protocol", "type", "query", "rsalt")
    protocol: int | None
    type: Any
    query: Any
    rsalt: Any


class ConfdClientRequest(ConfdRequest):
    """A request that gets a new salt, and the number of the protocol, where these are not given."""

    __slots__ = ()

    def __init__(self, **values: Any) -> None:
        """Fill in the salt and the protocol where they are not given.

        Raises:
            ConfdClientError: There is no such type of request.
        """
        super().__init__(**values)
        self.rsalt = self.rsalt or _core.confd_salt()
        self.protocol = self.protocol or CONFD_PROTOCOL_VERSION
        if self.type not in CONFD_REQS:
            raise ConfdClientError("type: is not known; it is one of 0 to 11")


class ConfdReply(_Message):
    """A reply: ``protocol``, ``status``, ``answer`` and ``serial``."""

    __slots__ = _names = ("protocol", "status", "answer", "serial")
    protocol: int | None
    status: Any
    answer: Any
    serial: Any


class ConfdUpcallPayload(_Message):
    """What a callback is called with.

    ``type`` is `UPCALL_REPLY` or `UPCALL_EXPIRE`. ``salt``, ``orig_request``, ``extra_args`` and ``client`` say for
    which request. With a reply there are ``server_reply``, ``server_ip`` and ``server_port`` as well.
    """

    __slots__ = _names = (
        "salt",
        "type",
        "orig_request",
        "server_reply",
        "server_ip",
        "server_port",
        "extra_args",
        "client",
    )
    salt: Any
    type: Any
    orig_request: Any
    server_reply: Any
    server_ip: Any
    server_port: Any
    extra_args: Any
    client: Any
