"""Our module and Salt's stock one beside it, both through Salt's real loader in one process."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import salt.config
import salt.loader
import salt.modules

from bench.measure import BenchError


class Modules(NamedTuple):
    """What `__salt__` is to a function of either."""

    ours: Any
    stock: Any
    stock_context: dict[str, Any]
    """The `__context__` of the stock module: its open connections, and the slots that it knows of."""


def load() -> Modules:
    """Load both, with one configuration."""
    with tempfile.TemporaryDirectory(prefix="zkcoord-bench-") as directory:
        config = {"root_dir": directory, "file_client": "local", "id": "bench", "master": "127.0.0.1"}
        (Path(directory) / "minion").write_text(json.dumps(config))
        opts = salt.config.minion_config(os.path.join(directory, "minion"))
        opts["grains"] = {"id": "bench"}
        ours = salt.loader.minion_mods(opts, context={})
        # The loader prefers ours to the core's, so the core's has to come from a loader for the core's only.
        context: dict[str, Any] = {}
        stock = salt.loader.LazyLoader(
            [os.path.dirname(salt.modules.__file__)],
            opts,
            tag="module",
            pack={"__context__": context, "__utils__": {}, "__opts__": opts},
            loaded_base_name="bench.stock",
        )
        stock.pack["__salt__"] = stock
        files = {}
        for name, functions in (("ours", ours), ("stock", stock)):
            files[name] = Path(functions["zk_concurrency.lock"].__globals__["__file__"])
            functions["config.get"]  # loaded now, not in the first measure
        if "saltext" not in files["ours"].parts or "saltext" in files["stock"].parts:
            raise BenchError("the loader gave the same zk_concurrency twice; is saltext.zkcoord installed?")
        return Modules(ours, stock, context)
