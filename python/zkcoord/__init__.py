"""Coordination for fleets of hosts on ZooKeeper: slots, parties, and who holds what."""

from zkcoord import _exit, errors
from zkcoord._core import (
    __version__,
    close,
    lock,
    lock_holders,
    party_members,
    set_max,
    status,
    unlock,
)

assert _exit  # it must be there before anybody forks

__all__ = [
    "__version__",
    "close",
    "errors",
    "lock",
    "lock_holders",
    "party_members",
    "set_max",
    "status",
    "unlock",
]
