"""A history's series as the lines of a chart: fetched, scaled, and many as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from pdconsole.ui.live_charts import ChartPlan, Source
from pdconsole.ui.widgets.chart_data import Line, MarkKind, Samples

if TYPE_CHECKING:
    from pdconsole.ui.session_source import SessionHistory

FAILURES = "nixl/*/*/live_failures"


class FailureMark(msgspec.Struct, frozen=True):
    """KV transfers began to fail at `t`."""

    t: float
    text: str
    kind: MarkKind = "flag"


def chart_lines(
    history: SessionHistory, plan: ChartPlan, t0: float, t1: float, columns: int
) -> dict[str, Line]:
    """What is recorded from `t0` to `t1` for every line of the plan, in the chart's unit."""
    if t1 <= t0:
        return {}
    return {key: _line(history, source, t0, t1, columns) for key, source in plan.sources.items()}


def _line(history: SessionHistory, source: Source, t0: float, t1: float, columns: int) -> Line:
    views: list[Line] = [history.series(key, t0, t1, columns) for key in source.keys]
    if len(views) == 1 and source.factor == 1.0:
        return views[0]
    # All were asked for alike, so their columns are the same.
    low, high = views[0].low, views[0].high
    for view in views[1:]:
        low, high = np.fmin(low, view.low), np.fmax(high, view.high)
    return Samples(views[0].t, low * source.factor, high * source.factor)


def failure_marks(
    history: SessionHistory, t0: float, t1: float, columns: int
) -> Sequence[FailureMark]:
    """Where transfers of KV began to fail, expire, or be read too late."""
    if t1 <= t0:
        return ()
    view = history.series(FAILURES, t0, t1, columns)
    failing = np.nan_to_num(view.high) > 0
    begins = np.flatnonzero(failing & ~np.concatenate(([False], failing[:-1])))
    return [FailureMark(float(view.t[i]), "KV transfer failed") for i in begins]
