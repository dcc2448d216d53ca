"""A comparison for programs: plain values for JSON, and a table of points for CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from pdconsole.results.axes import Axes
from pdconsole.results.panel import Panel, Placed
from pdconsole.results.point_row import PointRow
from pdconsole.results.regime_table import TITLES, shown_regimes

_NOT_IN_CSV = frozenset({"ci", "flags", "bad"})


def axes_data(axes: Axes) -> dict[str, Any]:
    return {
        "latency": axes.latency.name,
        "latency_statistic": axes.latency.statistic,
        "latency_unit": axes.latency.unit,
        "throughput": axes.throughput.what,
        "per": axes.throughput.per,
        "slo": str(axes.slo) if axes.slo else None,
    }


def panel_data(panel: Panel) -> dict[str, Any]:
    return {
        "setting": msgspec.to_builtins(panel.setting),
        "frontier": [_placed(panel, point) for point in panel.best],
        "dominated": [
            {
                "label": beaten.label,
                "by": list(beaten.winners),
                "points": [
                    {**_placed(panel, point), "better": _placed(panel, better)}
                    for point, better in beaten.by
                ],
            }
            for beaten in panel.beaten
        ],
        "regimes": {
            axis: [msgspec.to_builtins(regime) for regime in shown_regimes(panel, axis)]
            for axis in TITLES
        },
        "within_slo": [_placed(panel, point) for point in panel.within_slo],
    }


def _placed(panel: Panel, point: Placed) -> dict[str, Any]:
    return {
        "label": point.label,
        "file": point.row.file,
        "point": point.row.point,
        "latency": point.latency,
        "latency_interval": point.latency_interval,
        "throughput": point.throughput,
        "throughput_interval": point.throughput_interval,
        "divisor": panel.axes.throughput.divisor(point.row),
    }


def points_csv(panels: Sequence[Panel]) -> str:
    """One line a point: all that is known of it, then its place on the axes."""
    fields = [name for name in PointRow.__struct_fields__ if name not in _NOT_IN_CSV]
    more = ["latency", "throughput", "divisor", "on_frontier", "within_slo", "flags"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*fields, *more])
    for panel in panels:
        for row in panel.rows:
            writer.writerow([*(_cell(getattr(row, name)) for name in fields), *_more(panel, row)])
    return text.getvalue()


def _more(panel: Panel, row: PointRow) -> Iterator[Any]:
    axes = panel.axes
    yield _cell(axes.latency.value(row))
    yield _cell(axes.throughput.value(row))
    yield _cell(axes.throughput.divisor(row))
    yield _cell((row.file, row.point) in panel.best_keys)
    yield _cell(axes.slo.met_by(row) if axes.slo else None)
    yield " ".join(row.flags)


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else value
