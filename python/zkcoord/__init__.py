"""Coordination for fleets of hosts on ZooKeeper: slots, parties, and who holds what."""

from zkcoord import errors
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
