"""What a node of a Ganeti cluster has for its clients: the candidates' addresses, the key, the port."""

from __future__ import annotations

import os

from zkcoord.confd._constants import DEFAULT_CONFD_PORT
from zkcoord.errors import ArgumentError

_SERVICE = "ganeti-confd"


def candidates() -> list[str]:
    """Return the addresses of the master candidates.

    Raises:
        ArgumentError: This is no node of a cluster, or the file cannot be read.
    """
    return _read("peers", "ssconf_master_candidates_ips").decode("ascii", "replace").split()


def hmac_key(file: str | os.PathLike[str] | None = None) -> bytes:
    """Return the bytes of the key, its newline included: of the node's own, or of another file.

    Raises:
        ArgumentError: The file cannot be read, or is empty.
    """
    return _read("hmac_key", "hmac.key", file)


def port() -> int:
    """Return the port of ganeti-confd in ``/etc/services``, or 1814."""
    import socket  # noqa: PLC0415 - it takes a while to load, and whoever names a port does not need it

    try:
        return socket.getservbyname(_SERVICE, "udp")
    except OSError:
        return DEFAULT_CONFD_PORT


def directory() -> str:
    """Return where Ganeti keeps its data: below ``GANETI_ROOTDIR``, where that is set, as Ganeti itself has it."""
    return os.environ.get("GANETI_ROOTDIR", "") + "/var/lib/ganeti"


def _read(argument: str, name: str, file: str | os.PathLike[str] | None = None) -> bytes:
    path = os.fspath(file) if file is not None else f"{directory()}/{name}"
    try:
        with open(path, "rb") as opened:
            content = opened.read()
    except (OSError, ValueError) as err:
        reason = (err.strerror if isinstance(err, OSError) else None) or "no such path"
        raise ArgumentError(f"{argument}: {path!a} cannot be read: {reason}; {_advice(file)}") from None
    if not content.strip():
        raise ArgumentError(f"{argument}: {path!a} is empty")
    return content


def _advice(file: object) -> str:
    return "give another file" if file is not None else "on a host that is no node of a cluster it has to be given"
