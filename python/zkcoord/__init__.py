"""Coordination for fleets of hosts on ZooKeeper: slots, parties, and who holds what."""

from zkcoord import _exit, errors
from zkcoord._call import close
from zkcoord._core import Cancel, __version__
from zkcoord._hold import Hold
from zkcoord._party import Membership, party, party_join, party_leave, party_members
from zkcoord._pool import pools, remove_pool, set_max, status
from zkcoord.connection import Connection
from zkcoord.semaphore import evict, hold, lock, lock_holders, unlock

# Importing `_exit` registers a hook for forks. Without it a forked child would take over its parent's random numbers.
assert _exit

__all__ = [
    "Cancel",
    "Connection",
    "Hold",
    "Membership",
    "__version__",
    "close",
    "errors",
    "evict",
    "hold",
    "lock",
    "lock_holders",
    "party",
    "party_join",
    "party_leave",
    "party_members",
    "pools",
    "remove_pool",
    "set_max",
    "status",
    "unlock",
]
