"""A history's series as the lines of a chart: fetched, scaled, and many as one."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from math import floor, isclose
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from pdconsole.journal.marks import Mark
from pdconsole.model.layout import LayoutError
from pdconsole.ui.lines import layout_name, point_name
from pdconsole.ui.live_charts import ChartPlan
from pdconsole.ui.widgets.chart_data import Floats, Line, Samples

if TYPE_CHECKING:
    from pdconsole.ui.session_source import SessionHistory

CURRENT_S = 5.0  # a line that ended longer ago has no value now
AT_A_TIME = 64  # series read at a stretch: some ms
LATE_S = 10.0  # samples come no later than this, or are seen when the whole line is read again
WHOLE_EVERY_S = 30.0

FAILURES = "nixl/*/*/live_failures"


class _Known(msgspec.Struct, frozen=True, eq=False):
    """A line of many series as it was read last, by columns from number `first` on."""

    keys: tuple[str, ...]
    width_s: float
    first: int
    low: Floats
    high: Floats
    seq: int  # of the last event that was taken in then
    until_t: float
    whole_t: float  # when all of it was read

    @property
    def end(self) -> int:
        return self.first + len(self.low)


class LineReader:
    """Reads what charts show of one history.

    A line may be that of a thousand nodes. Reading it stops for a moment after every few series,
    and where such a line moves on only the columns are read that may have changed.
    """

    def __init__(self, history: SessionHistory) -> None:
        self.history = history
        self._known: dict[tuple[str, str], _Known] = {}

    def lines(
        self, plan: ChartPlan, t0: float, t1: float, columns: int
    ) -> Generator[None, None, dict[str, Line]]:
        """What is recorded from `t0` to `t1` for every line of the plan, in the chart's unit."""
        found: dict[str, Line] = {}
        if t1 <= t0:
            return found
        for key, source in plan.sources.items():
            if len(source.keys) > AT_A_TIME:
                line = yield from self._many((plan.id, key), source.keys, t0, t1, columns)
            else:
                line = self.history.series(source.keys, t0, t1, columns)
            found[key] = _scaled(line, source.factor)
        return found

    def _many(
        self, name: tuple[str, str], keys: tuple[str, ...], t0: float, t1: float, columns: int
    ) -> Generator[None, None, Line]:
        width_s = max(t1 - t0, 1e-6) / columns
        first = floor(t0 / width_s)
        end = floor(t1 / width_s) + 1
        seq = self.history.latest().seq
        known, begin = self._known.get(name), first
        if (
            known is not None
            and known.keys == keys
            and isclose(known.width_s, width_s)
            and known.first <= first < known.end
            and abs(t1 - known.whole_t) < WHOLE_EVERY_S
        ):
            same = seq == known.seq and end <= known.end
            begin = end if same else floor((min(known.until_t, t1) - LATE_S) / width_s)
            begin = min(max(begin, first), known.end)
        else:
            known = None
        low: Floats = np.full(end - first, np.nan)
        high: Floats = np.full(end - first, np.nan)
        if known is not None:
            kept = slice(first - known.first, begin - known.first)
            low[: begin - first], high[: begin - first] = known.low[kept], known.high[kept]
        if begin < end:
            begin = max(min(begin, end - 2), first)
            low[begin - first :] = high[begin - first :] = np.nan
            stretch = t0, t1, columns
            if begin > first:  # the middle of the first column to that of the last: as wide
                stretch = (begin + 0.5) * width_s, (end - 0.5) * width_s, end - 1 - begin
            for i in range(0, len(keys), AT_A_TIME):
                part = self.history.series(keys[i : i + AT_A_TIME], *stretch)
                low[begin - first :] = np.fmin(low[begin - first :], part.low)
                high[begin - first :] = np.fmax(high[begin - first :], part.high)
                yield
            whole_t = t1 if known is None else known.whole_t
            self._known[name] = _Known(keys, width_s, first, low, high, seq, t1, whole_t)
        centres: Floats = np.arange(first + 0.5, end, dtype=np.float64) * width_s
        return Samples(centres, low, high)


def _scaled(line: Line, factor: float) -> Line:
    if factor == 1.0:
        return line
    return Samples(line.t, line.low * factor, line.high * factor)


def current_values(lines: Mapping[str, Line], t: float) -> dict[str, float]:
    """The last value of each line up to now, `t`."""
    found: dict[str, float] = {}
    for key, line in lines.items():
        known = np.flatnonzero(np.isfinite(line.high) & (line.t >= t - CURRENT_S))
        if len(known):
            found[key] = float(line.high[known[-1]])
    return found


def named(marks: Iterable[Mark]) -> list[Mark]:
    """Marks in the words of the screens: `c=8` instead of `conc8`, a layout by its name."""
    return [_named(mark) for mark in marks]


def _named(mark: Mark) -> Mark:
    first, separator, rest = mark.text.partition(" ")
    word = first.rstrip(",")
    if mark.kind == "point" and word.startswith(("conc", "rr")):
        name = point_name(word)
    elif mark.kind == "run":
        try:
            name = layout_name(word)
        except LayoutError:
            return mark
    else:
        return mark
    return msgspec.structs.replace(mark, text=f"{name}{first[len(word) :]}{separator}{rest}")


def failure_marks(history: SessionHistory, t0: float, t1: float, columns: int) -> Sequence[Mark]:
    """Where transfers of KV began to fail, expire, or be read too late."""
    if t1 <= t0:
        return ()
    view = history.series(FAILURES, t0, t1, columns)
    failing = np.nan_to_num(view.high) > 0
    begins = np.flatnonzero(failing & ~np.concatenate(([False], failing[:-1])))
    return [Mark(float(view.t[i]), "flag", "KV transfer failed") for i in begins]
