"""Sparse logarithmic histograms of milliseconds, as the event schema has them.

Bucket i counts values x with 1.01**i <= x < 1.01**(i+1). Values below a microsecond (two tokens
that came in one read) are counted in the bucket of one microsecond.
"""

from __future__ import annotations

from collections import Counter
from math import log
from typing import Iterable, List

GROWTH = 1.01
LEAST_MS = 0.001
COUNTED_AT_ONCE = 512  # takes about 0.1 ms
_PER_LOG = 1.0 / log(GROWTH)
_SHIFT = 1024  # makes all buckets positive, so that int() rounds down


class Histogram:
    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()  # by shifted bucket
        self._waiting: List[float] = []  # values that are not counted yet

    def add_all(self, values_ms: Iterable[float]) -> None:
        self._waiting.extend(values_ms)
        if len(self._waiting) >= COUNTED_AT_ONCE:
            self._count()

    def add(self, value_ms: float) -> None:
        self.add_all((value_ms,))

    def pairs(self) -> List[List[int]]:
        """[[bucket, count], ...] in ascending order."""
        self._count()
        return [[index - _SHIFT, count] for index, count in sorted(self._counts.items())]

    def percentile(self, percent: float) -> float:
        """The geometric middle of the bucket that the nearest rank falls into; 0 if empty."""
        pairs = self.pairs()
        rank = percent / 100 * sum(count for _, count in pairs)
        for index, count in pairs:
            rank -= count
            if rank <= 0:
                return float(GROWTH ** (index + 0.5))
        return 0.0

    def _count(self) -> None:
        self._counts.update(
            [int(log(x if x > LEAST_MS else LEAST_MS) * _PER_LOG + _SHIFT) for x in self._waiting]
        )
        self._waiting.clear()
