"""What every key of the console is held against."""

from __future__ import annotations

import math
from collections.abc import Sequence

LIMIT_MS = 50.0


def at(values: Sequence[float], share: float) -> float:
    return sorted(values)[math.ceil(len(values) * share) - 1]
