"""What a lock costs, beside kazoo, Salt's stock module and etcd: `make bench`, or `python -m bench --help`.

One file is one kind of work. Nothing here is asserted: a run prints what it measured, and which targets hold.
"""
