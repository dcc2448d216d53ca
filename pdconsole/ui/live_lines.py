"""A history's series as the lines of a chart: fetched, scaled, and many as one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from pdconsole.journal.marks import Mark
from pdconsole.model.layout import LayoutError
from pdconsole.ui.lines import layout_name, point_name
from pdconsole.ui.live_charts import ChartPlan, Source
from pdconsole.ui.widgets.chart_data import Line, Samples

if TYPE_CHECKING:
    from pdconsole.ui.session_source import SessionHistory

CURRENT_S = 5.0  # a line that ended longer ago has no value now

FAILURES = "nixl/*/*/live_failures"


def chart_lines(
    history: SessionHistory, plan: ChartPlan, t0: float, t1: float, columns: int
) -> dict[str, Line]:
    """What is recorded from `t0` to `t1` for every line of the plan, in the chart's unit."""
    if t1 <= t0:
        return {}
    return {key: _line(history, source, t0, t1, columns) for key, source in plan.sources.items()}


def _line(history: SessionHistory, source: Source, t0: float, t1: float, columns: int) -> Line:
    view: Line = history.series(source.keys, t0, t1, columns)
    if source.factor == 1.0:
        return view
    return Samples(view.t, view.low * source.factor, view.high * source.factor)


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
