"""What a type checker refuses, each line for the reason beside it. It is read by `tests/house/test_types.py`."""

import threading

import zkcoord
from zkcoord import lease, znode

zkcoord.lock("/p", timeout="soon")  # arg-type
zkcoord.lock("/p", identifer="me")  # call-arg
zkcoord.lock(b"/p")  # arg-type
zkcoord.lock("/p", cancel=threading.Event())  # arg-type
zkcoord.lock("/p", connection="a:1")  # arg-type
zkcoord.hold("/p", raise_on_signal="yes")  # arg-type
zkcoord.hold("/p", session_timeout="long")  # arg-type
zkcoord.unlock("/p", force=True)  # call-arg
zkcoord.set_max("/p", "many")  # arg-type
zkcoord.lock("/p", max_concurrency="all")  # arg-type
zkcoord.evict("/p", "me")  # call-arg
zkcoord.status("/p")["holder"]  # typeddict-item
zkcoord.status("/p")["holders"][0]["token"]  # typeddict-item
zkcoord.party_members("/p", blocking="yes")  # arg-type
zkcoord.Connection("a:1", idle_timeout="never")  # arg-type
zkcoord.Connection("a:1").session_timeout = 5  # misc
zkcoord.hold("/p").token = 5  # misc
znode.get("/z") + "text"  # operator
znode.set("/z", 5)  # arg-type
lease.LeaseLocker("/l", lease_duration="long")  # arg-type
lease.LeaseLocker("/l").held = True  # misc
lease.take("/l")  # call-arg
lease.LockRecord().holder_identity = "me"  # misc
