"""Coordination for fleets of hosts on ZooKeeper: slots, parties, and who holds what."""

from zkcoord import _exit, errors
from zkcoord._call import close
from zkcoord._core import Cancel, __version__
from zkcoord._hold import Hold
from zkcoord.connection import Connection
from zkcoord.party import party_members
from zkcoord.semaphore import hold, lock, lock_holders, pools, remove_pool, set_max, status, unlock

# Importing `_exit` registers a hook for forks. Without it a forked child would take over its parent's random numbers.
assert _exit

__all__ = [
    "Cancel",
    "Connection",
    "Hold",
    "__version__",
    "close",
    "errors",
    "hold",
    "lock",
    "lock_holders",
    "party_members",
    "pools",
    "remove_pool",
    "set_max",
    "status",
    "unlock",
]
