"""What goes in and out of a `ConfdClient`, under the names that Ganeti's client has for it."""

from __future__ import annotations

from typing import Any, ClassVar

from zkcoord import _core
from zkcoord.confd._constants import CONFD_PROTOCOL_VERSION, CONFD_REQS
from zkcoord.errors import ConfdClientError


class _Message:
    """Attributes by keyword. Those that are not given are None."""

    _names: ClassVar[tuple[str, ...]] = ()

    def __init__(self, **values: Any) -> None:
        if unknown := sorted(values.keys() - set(self._names)):
            raise ConfdClientError(f"{ascii(unknown[0])[1:-1]}: {type(self).__name__} has no such attribute")
        for name in self._names:
            setattr(self, name, values.get(name))

    def ToDict(self) -> dict[str, Any]:
        """Return the attributes that are not None."""
        return {name: value for name in self._names if (value := getattr(self, name)) is not None}

    def __repr__(self) -> str:
        """Show the attributes."""
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.ToDict().items())})"


class ConfdRequest(_Message):
    """A request: ``protocol``, ``type``, ``query`` and ``rsalt``, by which replies to it are known."""

    _names = ("protocol", "type", "query", "rsalt")
    protocol: int | None
    type: Any
    query: Any
    rsalt: Any


class ConfdClientRequest(ConfdRequest):
    """A request with a salt and a protocol of its own, where none are given."""

    def __init__(self, **values: Any) -> None:
        """Fill in what is not given.

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

    _names = ("protocol", "status", "answer", "serial")
    protocol: int | None
    status: Any
    answer: Any
    serial: Any


class ConfdUpcallPayload(_Message):
    """What a callback is called with.

    ``type`` is `UPCALL_REPLY` or `UPCALL_EXPIRE`; ``salt``, ``orig_request``, ``extra_args`` and ``client`` tell of
    which request. With a reply there are ``server_reply``, ``server_ip`` and ``server_port`` as well.
    """

    _names = ("salt", "type", "orig_request", "server_reply", "server_ip", "server_port", "extra_args", "client")
    salt: Any
    type: Any
    orig_request: Any
    server_reply: Any
    server_ip: Any
    server_port: Any
    extra_args: Any
    client: Any
