"""Samples of a line become the least and the greatest value of each column. Pure."""

from __future__ import annotations

import math
from typing import TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from pdconsole.ui.widgets.chart_data import Floats, Line

Ints: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]


class Window(msgspec.Struct, frozen=True):
    """`count` columns of `width_s` seconds; the first begins at `first * width_s`.

    Columns lie at whole multiples of their width, so a sample stays in its column while a window of
    the same length moves on, and lines do not tremble.
    """

    first: int
    count: int
    width_s: float

    @classmethod
    def ending(cls, t0: float, t1: float, count: int) -> Window:
        width_s = max(t1 - t0, 1e-6) / count
        return cls(math.floor(t1 / width_s) - count + 1, count, width_s)

    @property
    def begin(self) -> float:
        return self.first * self.width_s

    @property
    def end(self) -> float:
        return (self.first + self.count) * self.width_s

    def column(self, t: float) -> int:
        """The column of `t`; may lie outside."""
        return math.floor(t / self.width_s) - self.first

    def middle(self, column: float) -> float:
        return (self.first + column + 0.5) * self.width_s


class Columns(msgspec.Struct, frozen=True, eq=False):
    """A line by columns: `low` and `high` of each, nan where there is no line."""

    low: Floats
    high: Floats
    sampled: Bools  # holds samples; others lie between samples that are joined
    joined: Bools  # goes on from the column before

    def near(self, begin: int, end: int) -> tuple[float, float] | None:
        """Least and greatest sample of the columns `begin` up to `end`, or, where a line merely
        runs through them, of the nearest column that holds samples."""
        sampled = np.flatnonzero(self.sampled)
        if np.isnan(self.low[max(begin, 0) : max(end, 0)]).all() or not len(sampled):
            return None
        within = sampled[(sampled >= begin) & (sampled < end)]
        if not len(within):
            within = sampled[[np.abs(sampled - begin).argmin()]]
        return float(self.low[within].min()), float(self.high[within].max())


def by_column(line: Line, window: Window, gap_s: float) -> Columns:
    """`line` reduced to `window`. See `ChartData.gap_s` for which samples are joined."""
    count = window.count
    columns = Columns(
        np.full(count, np.nan), np.full(count, np.nan), np.zeros(count, bool), np.zeros(count, bool)
    )
    # One sample outside on either side, for the line to run off the edge.
    begin, end = np.searchsorted(line.t, (window.begin - gap_s, window.end + gap_s))
    part = slice(max(0, int(begin) - 1), int(end) + 1)
    low, high = line.low[part], line.high[part]
    finite = np.flatnonzero(np.isfinite(low) & np.isfinite(high))
    if not len(finite):
        return columns
    t, low, high = line.t[part][finite], low[finite], high[finite]
    column = np.floor(t / window.width_s).astype(np.int64) - window.first

    starts = np.flatnonzero(np.diff(column, prepend=column[0] - 1))
    lasts = np.append(starts[1:], len(column)) - 1
    at = column[starts]
    inside = (at >= 0) & (at < count)
    columns.low[at[inside]] = np.minimum.reduceat(low, starts)[inside]
    columns.high[at[inside]] = np.maximum.reduceat(high, starts)[inside]
    columns.sampled[at[inside]] = True

    before, after = lasts[:-1], starts[1:]  # neighbouring samples in different columns
    parted = t[after] - t[before] > gap_s if gap_s > 0 else finite[after] - finite[before] > 1
    columns.joined[at[1:][inside[1:] & ~parted]] = True
    middle = (low + high) / 2
    bridges = np.flatnonzero(~parted & (np.diff(at) > 1))
    _bridge(columns, at[bridges], at[bridges + 1], middle[before[bridges]], middle[after[bridges]])
    return columns


def _bridge(columns: Columns, a: Ints, b: Ints, from_value: Floats, to_value: Floats) -> None:
    """Straight lines through the columns between `a` and `b`."""
    first = np.maximum(a + 1, 0)
    counts = np.maximum(np.minimum(b, len(columns.low)) - first, 0)
    which = np.repeat(np.arange(len(a)), counts)
    column = np.arange(len(which)) - (np.cumsum(counts) - counts)[which] + first[which]
    share = (column - a[which]) / (b - a)[which]
    value = from_value[which] + (to_value - from_value)[which] * share
    columns.low[column] = value
    columns.high[column] = value
    columns.joined[column] = True


def last_values(line: Line, until_t: float) -> tuple[float, float, float] | None:
    """Time, low and high of the last sample up to `until_t` that is one."""
    end = int(np.searchsorted(line.t, until_t, side="right"))
    # Backwards in growing bites: the last sample is almost always among the first few looked at.
    size = 64
    while end > 0:
        part = slice(max(0, end - size), end)
        finite = np.flatnonzero(np.isfinite(line.low[part]) & np.isfinite(line.high[part]))
        if len(finite):
            i = part.start + int(finite[-1])
            return float(line.t[i]), float(line.low[i]), float(line.high[i])
        end, size = part.start, size * 8
    return None
