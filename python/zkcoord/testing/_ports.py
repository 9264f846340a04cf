"""Ports that the kernel gives to nobody else, also while their server is down."""

from __future__ import annotations

import socket

from zkcoord.testing._java import EnsembleError

_ATTEMPTS = 50


def reserve(count: int, host: str) -> list[socket.socket]:
    """Find free ports and hold them with sockets that are bound but do not listen.

    Java, which like these sockets sets SO_REUSEADDR, can listen there all the same, but the kernel offers the
    ports to nobody who asks for any port, not even while their server is down.
    """
    return [_bound(host, 0) for _ in range(count)]


def own_addresses(count: int) -> list[str]:
    """The addresses of this many servers on loopback: 127.0.0.2 and those after it."""
    return [f"127.0.0.{number + 2}" for number in range(count)]


def reserve_shared(count: int, hosts: list[str]) -> list[list[socket.socket]]:
    """Find ports that are free on all of these addresses, and hold them: the sockets of each port, one an address.

    :raises EnsembleError: there are none
    """
    found: list[list[socket.socket]] = []
    for _ in range(_ATTEMPTS):
        if len(found) == count:
            break
        sockets = [_bound(hosts[0], 0)]
        try:
            for host in hosts[1:]:
                sockets.append(_bound(host, sockets[0].getsockname()[1]))
        except OSError:
            for each in sockets:
                each.close()
        else:
            found.append(sockets)
    if len(found) == count:
        return found
    for each in (each for sockets in found for each in sockets):
        each.close()
    raise EnsembleError(f"no {count} ports are free on all of {', '.join(hosts)}")


def _bound(host: str, port: int) -> socket.socket:
    reserved = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        reserved.bind((host, port))
    except OSError:
        reserved.close()
        raise
    return reserved
