"""Times as people write them in a state tree: seconds, or text with units."""

import math
import re
from contextlib import suppress

from salt.exceptions import SaltInvocationError

_UNITS = {"ms": 0.001, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_PART = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|sec|s|min|m|h|d)", re.IGNORECASE)


def seconds(name: str, value: object) -> float:
    """
    Return the seconds of a number, of its text, or of ``1h 30m``, ``90s``, ``500ms``.

    Raises ``SaltInvocationError`` where it is none of these.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        with suppress(OverflowError):  # a whole number of hundreds of digits
            if math.isfinite(value):
                return float(value)
    text = value.strip() if isinstance(value, str) else ""
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    if text and not _PART.sub("", text).strip():
        return sum(float(number) * _UNITS[unit.lower()] for number, unit in _PART.findall(text))
    raise SaltInvocationError(f"{name}: must be seconds, or text such as 90s, 5m, 1h 30m")
