"""Sparse logarithmic histograms of milliseconds, as the event schema has them.

Bucket i counts values x with 1.01**i <= x < 1.01**(i+1). Values below a microsecond (two tokens
that came in one read) are counted in the bucket of one microsecond.
"""

from __future__ import annotations

from collections import Counter
from math import floor, log
from typing import Iterable, List

GROWTH = 1.01
LEAST_MS = 0.001
_PER_LOG = 1.0 / log(GROWTH)
_SHIFT = 1024  # above -bucket(LEAST_MS), so that int() rounds down


def bucket(value_ms: float) -> int:
    return floor(log(max(value_ms, LEAST_MS)) * _PER_LOG)


class Histogram:
    def __init__(self) -> None:
        self._shifted: Counter[int] = Counter()

    def add_all(self, values_ms: Iterable[float]) -> None:
        self._shifted.update(
            [int(log(x if x > LEAST_MS else LEAST_MS) * _PER_LOG + _SHIFT) for x in values_ms]
        )

    def add(self, value_ms: float) -> None:
        self._shifted[bucket(value_ms) + _SHIFT] += 1

    def pairs(self) -> List[List[int]]:
        """[[bucket, count], ...] in ascending order."""
        return [[index - _SHIFT, count] for index, count in sorted(self._shifted.items())]

    def percentile(self, percent: float) -> float:
        """The geometric middle of the bucket that the nearest rank falls into; 0 if empty."""
        rank = percent / 100 * sum(self._shifted.values())
        for index, count in sorted(self._shifted.items()):
            rank -= count
            if rank <= 0:
                return float(GROWTH ** (index - _SHIFT + 0.5))
        return 0.0
