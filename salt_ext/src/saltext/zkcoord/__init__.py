"""A Salt extension on the core ``zkcoord``: slots, timed leases, locks, znodes, ensembles, and Ganeti's confd."""

# Salt imports this package at every start, to find the directories of its modules. So it imports nothing itself: an
# import here would make every start of Salt slower.
__version__ = "0.1.0"
