"""When requests are due: a fixed number in flight, or a Poisson schedule fixed in advance."""

from __future__ import annotations

from hashlib import sha256
from heapq import heappop, heappush
from math import log
from random import Random
from typing import Iterator, List, Optional, Protocol

ERROR_PAUSE_S = 0.1  # before a failed request's place is taken again: never hammer a dead server


class Pacing(Protocol):
    @property
    def due(self) -> Optional[float]:
        """When the next request should be sent; None: not before another one is over."""

    def take(self) -> float:
        """Take the next send out; when it was due."""

    def on_over(self, t: float, ok: bool) -> None:
        """A request was over at `t`."""


class ClosedLoop:
    """`concurrency` requests in flight: each that is over makes the next one due at once."""

    def __init__(self, start: float, concurrency: int) -> None:
        self._due: List[float] = [start] * concurrency

    @property
    def due(self) -> Optional[float]:
        return self._due[0] if self._due else None

    def take(self) -> float:
        return heappop(self._due)

    def on_over(self, t: float, ok: bool) -> None:
        heappush(self._due, t if ok else t + ERROR_PAUSE_S)


class OpenLoop:
    """A schedule that no answer changes. `offsets` are seconds after `start`, ascending."""

    def __init__(self, start: float, offsets: Iterator[float]) -> None:
        self._offsets = offsets
        self._start = start
        self.due: Optional[float] = None
        self._advance()

    def take(self) -> float:
        assert self.due is not None
        due = self.due
        self._advance()
        return due

    def on_over(self, t: float, ok: bool) -> None:
        """Says nothing to an open loop."""

    def _advance(self) -> None:
        offset = next(self._offsets, None)
        self.due = None if offset is None else self._start + offset


def poisson_offsets(rate: float, seed: str) -> Iterator[float]:
    """Arrivals of a Poisson process of `rate` a second, endless; the same for the same seed.

    Random.random() is the one method whose numbers Python promises to keep.
    """
    draw = Random(int.from_bytes(sha256(f"{seed}/arrivals".encode()).digest(), "big")).random
    t = 0.0
    while True:
        t -= log(1.0 - draw()) / rate
        yield t


def until_enough(
    offsets: Iterator[float], *, opens: float, requests: int, min_s: float, max_s: float
) -> float:
    """When an open loop's window closes: after `min_s` and `requests` due in it, or at `max_s`."""
    least, most = opens + min_s, opens + max_s
    counted = 0
    for offset in offsets:
        if offset > most:
            break
        counted += offset > opens
        if counted >= requests:
            return min(max(least, offset), most)
    return most
