"""Which requests count: warm-up, window, drain. Pure: told the time, it never asks for it.

All times are time.monotonic() seconds; a window is (t0, t1].
"""

from __future__ import annotations

from math import sqrt
from typing import List, Optional, Protocol

LEAST_BATCHES = 5  # fewer batch means say too little about their spread


class Window(Protocol):
    phase: str  # warmup, window, drain: of the point, now
    t0: Optional[float]
    t1: Optional[float]
    budget: Optional[int]  # requests to send in all; None: as many as the window lasts

    @property
    def deadline(self) -> Optional[float]:
        """When `on_time` has to be called."""

    def on_time(self, now: float) -> None:
        """Time has passed."""

    def on_over(self, t: float, scheduled: float, e2el_ms: Optional[float]) -> str:
        """A request was over at `t`, with its E2EL or None if it failed; the phase it counts in."""

    def awaits(self, scheduled: float) -> bool:
        """Whether the load is kept up, after the window, until this request is over."""


class ClosedWindow:
    """Opens at a completion and closes at one, after whole rounds of `concurrency`.

    Whole rounds, because requests that run in lockstep finish in bunches: cut elsewhere, the
    window would hold one bunch more or less than its length earns.
    """

    budget: Optional[int] = None

    def __init__(
        self,
        start: float,
        *,
        concurrency: int,
        warmup_requests: int,
        window_requests: int,
        min_s: float,
        max_s: float,
        interval: Optional[Interval] = None,
    ) -> None:
        self.phase = "warmup" if warmup_requests else "window"
        self.t0: Optional[float] = None if warmup_requests else start
        self.t1: Optional[float] = None
        self._concurrency = concurrency
        self._to_warm = warmup_requests
        self._wanted = window_requests
        self._min_s, self._max_s = min_s, max_s
        self._interval = interval
        self._finished = 0

    @property
    def deadline(self) -> Optional[float]:
        return None if self.t0 is None or self.t1 is not None else self.t0 + self._max_s

    def on_time(self, now: float) -> None:
        deadline = self.deadline
        if deadline is not None and now >= deadline:
            self.phase, self.t1 = "drain", deadline

    def on_over(self, t: float, scheduled: float, e2el_ms: Optional[float]) -> str:
        self.on_time(t)
        if self.t0 is None:
            self._to_warm -= e2el_ms is not None
            if self._to_warm <= 0:
                self.phase, self.t0 = "window", t
            return "warmup"
        if t <= self.t0:
            return "warmup"
        if self.t1 is None and e2el_ms is not None:
            self._count(t - self.t0, t, e2el_ms)
        # It may be told of only after the clock has closed the window.
        return "window" if self.t1 is None or t <= self.t1 else "drain"

    def _count(self, elapsed: float, t: float, e2el_ms: float) -> None:
        self._finished += 1
        if self._interval is None:
            enough = self._finished >= self._wanted
        else:
            self._interval.add(e2el_ms)
            enough = self._interval.narrow
        if enough and elapsed >= self._min_s and self._finished % self._concurrency == 0:
            self.phase, self.t1 = "drain", t

    def awaits(self, scheduled: float) -> bool:
        return False


class OpenWindow:
    """Opens and closes by the clock; the requests that are scheduled in it count.

    With an interval, it closes at the first answer that makes the interval narrow, after
    `min_s`, and at `closes` at the latest.
    """

    budget: Optional[int] = None

    def __init__(
        self, *, opens: float, closes: float, min_s: float, interval: Optional[Interval] = None
    ) -> None:
        self.phase = "warmup"
        self.t0: Optional[float] = opens
        self.t1: Optional[float] = None
        self._opens, self._closes, self._min_s = opens, closes, min_s
        self._interval = interval

    @property
    def deadline(self) -> Optional[float]:
        if self.phase == "warmup":
            return self._opens
        return self._closes if self.phase == "window" else None

    def on_time(self, now: float) -> None:
        if self.phase == "warmup" and now >= self._opens:
            self.phase = "window"
        if self.phase == "window" and now >= self._closes:
            self.phase, self.t1 = "drain", self._closes

    def on_over(self, t: float, scheduled: float, e2el_ms: Optional[float]) -> str:
        self.on_time(t)
        if scheduled <= self._opens:
            return "warmup"
        if self.t1 is not None and scheduled > self.t1:
            return "drain"
        if self._interval is not None and e2el_ms is not None and self.phase == "window":
            self._interval.add(e2el_ms)
            if self._interval.narrow and t >= self._opens + self._min_s:
                self.phase, self.t1 = "drain", t
        return "window"

    def awaits(self, scheduled: float) -> bool:
        """All that count: in a server that empties, the last of them would be too fast."""
        return self.t1 is not None and scheduled <= self.t1


class WholeWindow:
    """The field's older way: a number of requests, and the window is the run."""

    def __init__(self, start: float, *, requests: int, max_s: float) -> None:
        self.phase = "window"
        self.t0: Optional[float] = start
        self.t1: Optional[float] = None
        self.budget: Optional[int] = requests
        self._left = requests
        self._closes = start + max_s

    @property
    def deadline(self) -> Optional[float]:
        return self._closes if self.t1 is None else None

    def on_time(self, now: float) -> None:
        if self.t1 is None and now >= self._closes:
            self.phase, self.t1 = "drain", self._closes

    def on_over(self, t: float, scheduled: float, e2el_ms: Optional[float]) -> str:
        self.on_time(t)
        if self.t1 is not None:
            return "window" if t <= self.t1 else "drain"
        self._left -= 1
        if not self._left:
            self.phase, self.t1 = "drain", t
        return "window"

    def awaits(self, scheduled: float) -> bool:
        return False


class Interval:
    """The 95 % confidence interval of a mean, by batch means.

    Requests that run side by side are alike, so single values would make the interval look too
    narrow; means over batches of `batch` values in a row are nearly independent. Student's t.
    """

    def __init__(self, batch: int, relative: float) -> None:
        self._batch = batch
        self._relative = relative  # half the interval's width / the mean
        self._sum, self._held = 0.0, 0
        self._means: List[float] = []

    def add(self, value: float) -> None:
        self._sum += value
        self._held += 1
        if self._held == self._batch:
            self._means.append(self._sum / self._batch)
            self._sum, self._held = 0.0, 0

    @property
    def narrow(self) -> bool:
        count = len(self._means)
        if count < LEAST_BATCHES:
            return False
        mean = sum(self._means) / count
        variance = sum((value - mean) ** 2 for value in self._means) / (count - 1)
        return t_quantile(count - 1) * sqrt(variance / count) <= self._relative * mean


def t_quantile(freedom: int) -> float:
    """The 97.5 % quantile of Student's t, to 1 % from 4 degrees of freedom on.

    Cornish-Fisher expansion around the normal quantile (Abramowitz and Stegun 26.7.5).
    """
    z = 1.959964
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3
