"""Salt extension: ``zk_concurrency`` on the native core ``zkcoord``."""

# Salt imports this package at every start, to find its loader directories: keep it empty of imports.
__version__ = "0.1.0"
