"""What a coordinator's policies allow, written down anew: nothing of zkcoord's own decisions is used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_DAY = 24 * 3600 * 1000


def party_of(policy: Any) -> str:
    """Return the path of the party of whose members a policy takes a share, or ``""``."""
    return str(policy["party"]) if "party" in policy else ""


def admits(policy: Any, held: Sequence[Mapping[str, str]], more: Mapping[str, str], members: int) -> bool:
    """Tell whether one more may be granted beside others, all by their labels, where the party has so many members."""
    if policy == "serial":
        return not held
    most = policy.get("max")
    if isinstance(most, str):
        most = max(members * int(most.rstrip("%")) // 100, min(members, 1))
    if most is not None and len(held) >= most:
        return False
    for label, number in policy.get("per", {}).items():
        if sum(labels.get(label) == more.get(label) for labels in held) >= number:
            return False
    return True


def is_open(policy: Any, since: int | None, now: int) -> bool:
    """Tell whether a window was open at any moment between two times in milliseconds. All windows are of UTC here."""
    if policy == "serial" or "window" not in policy:
        return True
    windows = policy["window"] if isinstance(policy["window"], list) else [policy["window"]]
    return any(_meets(window, now if since is None else since, now) for window in windows)


def _meets(window: Mapping[str, str], since: int, now: int) -> bool:
    opens, closes = (_milliseconds(window[name]) for name in ("from", "to"))
    length = (closes - opens) % _DAY or _DAY
    # It was open at `since`, or has opened by `now`.
    after = (since - opens) % _DAY
    return after < length or after + (now - since) >= _DAY


def _milliseconds(text: str) -> int:
    hours, minutes, *seconds = (int(part) for part in text.split(":"))
    return (hours * 3600 + minutes * 60 + sum(seconds)) * 1000
