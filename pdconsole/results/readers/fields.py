"""Values out of documents of others: numbers come as text, as NaN, as null, or not at all."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any


def number(value: Any) -> float | None:
    """A finite number, also when it is written as text."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def count(value: Any) -> int | None:
    found = number(value)
    return None if found is None else int(found)


def mapping(value: Any) -> Mapping[str, Any]:
    """The object under a key; empty where there is none."""
    return value if isinstance(value, dict) else {}


def wall(stamp: Any) -> float | None:
    """Unix time of a stamp such as 20251017-134001 or ISO 8601; without a zone it is UTC's."""
    if not isinstance(stamp, str) or not stamp:
        return None
    try:
        if len(stamp) == 15 and stamp[8] == "-":
            found = datetime.fromisoformat(stamp.replace("-", "T"))
        else:
            found = datetime.fromisoformat(stamp)
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
