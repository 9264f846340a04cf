"""What a node of a Ganeti cluster has for its clients: the candidates' addresses, the key, the port."""

from __future__ import annotations

import os
import re

from zkcoord.confd._constants import DEFAULT_CONFD_PORT
from zkcoord.errors import ArgumentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_SERVICE = "ganeti-confd"
_SERVICES = "/etc/services"
# A key of Ganeti's, which somebody may give in place of the name of its file.
_KEY = re.compile(r"\s*[0-9a-fA-F]{40}\s*")
_MOST_KEPT = 16
_kept: dict[str, tuple[tuple[int, ...], bytes | int]] = {}


def candidates() -> list[str]:
    """Return the addresses of the master candidates.

    Raises:
        ArgumentError: This is no node of a cluster, or the file cannot be read.
    """
    return _read("peers", "ssconf_master_candidates_ips").decode("ascii", "replace").split()


def hmac_key(file: str | os.PathLike[str] | None = None) -> bytes:
    """Return the bytes of the cluster's key, its newline included, from the node's own file or from another.

    Raises:
        ArgumentError: The file cannot be read, or is empty.
    """
    return _read("hmac_key", "hmac.key", file)


def port() -> int:
    """Return the port of ganeti-confd in ``/etc/services``, or 1814."""
    try:
        version = _version(os.stat(_SERVICES))
    except OSError:
        return _port()
    port = _once(_SERVICES, version, _port)
    assert isinstance(port, int)
    return port


def _port() -> int:
    import socket  # noqa: PLC0415 - it takes a while to load, and whoever names a port does not need it

    try:
        return socket.getservbyname(_SERVICE, "udp")
    except OSError:
        return DEFAULT_CONFD_PORT


def directory() -> str:
    """Return where Ganeti keeps its data: below ``GANETI_ROOTDIR``, where that is set, as Ganeti itself has it."""
    return os.environ.get("GANETI_ROOTDIR", "") + "/var/lib/ganeti"


def _read(argument: str, name: str, file: str | os.PathLike[str] | None = None) -> bytes:
    try:
        path = os.fsdecode(file) if file is not None else f"{directory()}/{name}"
    except TypeError:
        raise ArgumentError(f"{argument}: the name of its file must be text") from None
    if _KEY.fullmatch(path):
        raise ArgumentError(f"{argument}: this is a key itself, and must be the name of a file")
    try:
        content = _once(path, _version(os.stat(path)), lambda: _content(path))
    except (OSError, ValueError) as err:
        reason = (err.strerror if isinstance(err, OSError) else None) or "no such path"
        raise ArgumentError(f"{argument}: {path!a} cannot be read: {reason}; {_advice(file)}") from None
    assert isinstance(content, bytes)
    if not content.strip():
        raise ArgumentError(f"{argument}: {path!a} is empty")
    return content


def _content(path: str) -> bytes:
    with open(path, "rb") as opened:
        return opened.read()


def _once(path: str, version: tuple[int, ...], read: Callable[[], bytes | int]) -> bytes | int:
    """Read a file, or return what was read before where it has not changed: to read costs more than a whole query."""
    known = _kept.get(path)
    if known is not None and known[0] == version:
        return known[1]
    found = read()
    if version[0]:  # a file without a size may have another content each time
        if len(_kept) >= _MOST_KEPT:
            _kept.clear()
        _kept[path] = version, found
    return found


def _version(stat: os.stat_result) -> tuple[int, ...]:
    return stat.st_size, stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns


def _advice(file: object) -> str:
    return "give another file" if file is not None else "on a host that is no node of a cluster it has to be given"
