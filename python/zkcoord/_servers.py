"""What the classes of an ensemble and of one server share: the settings, and calls within one timeout."""

from __future__ import annotations

from zkcoord import _core, znode
from zkcoord._call import call
from zkcoord._words import Answer, acl_of, answer_of
from zkcoord.connection import Connection
from zkcoord.errors import ArgumentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType
    from typing import Any, TypeVar

    from typing_extensions import Self
    from zkcoord._types import Acl, AclEntry, File, Scalar

    _T = TypeVar("_T")


class Servers:
    """What both classes share: the settings, and calls within one timeout."""

    def __init__(
        self,
        hosts: list[str] | None,
        username: Scalar | None,
        password: Scalar | None,
        client_port: int,
        use_ssl: bool | None,
        keyfile_path: File | None,
        keyfile_password: Scalar | None,
        certfile_path: File | None,
        scheme: str | None,
        ca_certs: File | None,
        verify_certs: bool,
        mechanism: str | None,
        timeout: float,
        admin_port: int | None,
        profile: Scalar | None,
        config: Mapping[str, Any] | None,
        config_get: Callable[[str, Any], Any] | None,
    ) -> None:
        is_somebody = username is not None or mechanism is not None
        # A configuration can ask for TLS as well.
        may_speak_tls = bool(use_ssl) or profile is not None or config is not None or config_get is not None
        if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not timeout > 0:
            raise ArgumentError("timeout: must be a number of seconds, more than 0")
        given: dict[str, Any] = {
            "scheme": scheme if is_somebody else None,
            "mechanism": mechanism,
            "username": username,
            "password": password,
            # Without TLS a certificate and a key are left aside, as in Charmed ZooKeeper's library, and are no error.
            "use_ssl": use_ssl or None,
            "certfile": certfile_path or None if may_speak_tls else None,
            "keyfile": keyfile_path or None if may_speak_tls else None,
            "keyfile_password": keyfile_password or None if may_speak_tls else None,
            "ca_certs": ca_certs,
            "verify_certs": None if verify_certs else False,
            "profile": profile,
            "config": config,
            "config_get": config_get,
        }
        self.timeout = timeout
        self.admin_port = admin_port
        self._given = {name: value for name, value in given.items() if value is not None}
        if hosts is not None and not hosts:
            raise ArgumentError("hosts: names no server")
        servers = None if hosts is None else [server(host, client_port) for host in hosts]
        self._connection = self._connect(servers)
        self._settings = self._connection._settings

    def _connect(self, servers: list[str] | None) -> Connection:
        return Connection(servers, connect_timeout=self.timeout, **self._given)

    def _call(self, work: Callable[[Any], _T], timeout: float | None = None) -> _T:
        return call(work, self.timeout if timeout is None else timeout, None, False)

    def _ask(
        self, word: str, settings: _core.Settings, timeout: float | None = None, hurried: bool = False
    ) -> dict[str, Answer | Exception]:
        """Ask each server a word. `hurried`: once half of them have answered, wait only a little for the others."""
        found = self._call(lambda wait: _core.ensemble_ask(word, self.admin_port, hurried, settings, wait), timeout)
        return {each[0]: answer_of(each) for each in found}

    def _config(self) -> tuple[list[str], int]:
        return self._call(lambda wait: _core.ensemble_config(self._settings, wait))

    def _tree(self, path: str) -> set[str]:
        return set(self._call(lambda wait: _core.ensemble_tree(path, self._settings, wait)))

    def _create(self, path: str, acls: Acl | Iterable[AclEntry] | None) -> None:
        entries = acl_of(acls, self._settings.default_acl)
        znode.create(path, b"", acls=entries, makepath=True, connection=self._connection, timeout=self.timeout)

    def _set_acls(self, path: str, acls: Acl | Iterable[AclEntry] | None) -> None:
        entries = acl_of(acls, self._settings.default_acl)
        znode.set_acls(path, entries, connection=self._connection, timeout=self.timeout)

    def _delete(self, path: str) -> None:
        znode.delete(path, recursive=True, connection=self._connection, timeout=self.timeout)

    def close(self) -> None:
        """End the session, which all objects of this process with the same settings share. Later calls open another."""
        self._connection.close()

    def __enter__(self) -> Self:
        """Return the object itself."""
        return self

    def __exit__(
        self, object_type: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the session, unless other calls of this process use it, or rely on an ephemeral znode of it."""
        call(lambda _: self._settings.close_unused(), None, None, False)


def named(hosts: Iterable[str] | str | None) -> list[str] | None:
    """Return hosts one by one, from a list of them, or from a text with commas between them."""
    if hosts is None:
        return None
    pieces = [hosts] if isinstance(hosts, str) else listed("hosts", hosts)
    if not all(isinstance(piece, str) and piece for piece in pieces):
        raise ArgumentError("hosts: must be texts, each host or host:port")
    return [host.strip() for piece in pieces for host in piece.split(",")]


def listed(argument: str, values: Any) -> list[Any]:
    """Return what can be iterated over as a list. A text is refused: nobody means its letters."""
    if isinstance(values, (str, bytes)) or not hasattr(values, "__iter__"):
        raise ArgumentError(f"{argument}: must be a list")
    return list(values)


def server(host: str, port: int) -> str:
    """Return a host with its port. An IPv6 address without brackets has none of its own, whatever its last part is."""
    if not isinstance(host, str) or not host:
        raise ArgumentError("hosts: must be texts, each host or host:port")
    if host.count(":") > 1 and not host.startswith("["):
        return f"[{host}]:{port}"
    has_port = ":" in host.rpartition("]")[2]
    return host if has_port else f"{host}:{port}"
