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
    if not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def count(value: Any) -> int | None:
    found = number(value)
    return None if found is None else int(found)


def needed(document: Mapping[str, Any], key: str) -> float:
    """A number that nothing can replace. Raises KeyError or ValueError."""
    if key not in document:
        raise KeyError(key)
    found = number(document[key])
    if found is None:
        raise ValueError(f"its {key} is {_short(document[key])}")
    return found


def _short(value: Any) -> str:
    text = repr(value) if not isinstance(value, int) else str(value)[:40]
    return text if len(text) <= 40 else text[:39] + "…"


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
