"""Why a slot is held, and by which process, in words."""

from collections.abc import Mapping
from typing import Any


def why(holder: Mapping[str, Any]) -> str:
    """Return what a holder has said of itself: ``kernel update (pid 812 on web1, job 2026...)``; empty for nothing."""
    # A minion with an older version of this extension tells none of these.
    reason, pid, host, job = (holder.get(name) for name in ("reason", "pid", "host", "job"))
    process = [f"pid {pid}"] if pid is not None else []
    process += [f"on {host}"] if host else []
    by = ", ".join([*([" ".join(process)] if process else []), *([f"job {job}"] if job else [])])
    return f"{reason} ({by})" if reason and by else reason or by
