"""Throughput against latency, drawn in characters; one letter a layout."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pdconsole.results.letters import letters_of
from pdconsole.results.panel import Panel, Placed

HEIGHT = 20
WIDEST = 160
_LOG_FROM = 12.0  # greatest to least latency
_BARS = ("─", "│")


def throughput_chart(panel: Panel, width: int) -> str:
    """A chart of the points of a panel; "" when there is nothing to draw.

    Intervals lie beneath all points, and those on the frontier above all others.
    """
    if not panel.points:
        return ""
    import plotext as plt

    plt.clear_figure()
    plt.theme("clear")
    plt.limit_size(False, False)  # the width is given; there may be no terminal to ask
    plt.plot_size(min(width, WIDEST), HEIGHT)
    letters = letters_of(panel.labels)
    best = {id(point) for point in panel.best}
    for point in panel.points:
        for (xs, ys), bar in zip(_bars(point), _BARS, strict=True):
            if xs:
                plt.plot(xs, ys, marker=bar)
    for point in sorted(panel.points, key=lambda point: id(point) in best):
        plt.scatter([point.latency], [point.throughput], marker=letters[point.label])
    latency, unit = panel.axes.latency, panel.axes.throughput.unit(panel.setting.slot)
    limit = panel.axes.slo.limit_on(latency) if panel.axes.slo else None
    latencies = [point.latency for point in panel.points]
    if limit is not None and min(latencies) < limit < max(latencies):
        plt.vline(limit)
    if are_far_apart(latencies):
        _logarithmic(plt, panel)
    better = "right" if latency.inverted else "left"
    plt.title(f"{unit} against {latency.title}: up and to the {better} is better")
    plt.xlabel(f"{latency.title}, {latency.unit}")
    plt.ylabel(unit)
    text: str = plt.uncolorize(plt.build())
    plt.clear_figure()
    lines = [line.rstrip() for line in text.rstrip().split("\n")]
    # Below the chart: plotext would put it over the best points.
    return "\n".join([*lines, *_legend(panel)])


def are_far_apart(latencies: Sequence[float]) -> bool:
    """Whether their axis should be logarithmic, in a figure too."""
    return max(latencies) > _LOG_FROM * min(latencies) > 0


def _logarithmic(plt: Any, panel: Panel) -> None:
    """From the least to the greatest value drawn, with ticks at 1, 2 and 5."""
    ends = [point.latency_interval or (point.latency, point.latency) for point in panel.points]
    low = min(low for low, _ in ends if low > 0)
    high = max(high for _, high in ends)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [step * 10.0**decade for decade in decades for step in (1, 2, 5)]
    shown = [tick for tick in ticks if low <= tick <= high]
    plt.xscale("log")
    plt.xticks(shown, [f"{tick:,g}" for tick in shown])


def _bars(point: Placed) -> tuple[tuple[list[float], list[float]], ...]:
    """Its intervals, across and upright, as (xs, ys); without values where nobody knows them."""
    across, upright = point.latency_interval, point.throughput_interval
    return (
        (list(across), [point.throughput] * 2) if across else ([], []),
        ([point.latency] * 2, list(upright)) if upright else ([], []),
    )


def _legend(panel: Panel) -> list[str]:
    lines = []
    if any(point.latency_interval or point.throughput_interval for point in panel.points):
        lines.append(f"{' '.join(_BARS)} 95 % intervals, where wider than a letter")
    for label, letter in letters_of(panel.labels).items():
        runs = len({point.row.directory for point in panel.of(label)})
        repeats = f", {runs} runs" if runs > 1 else ""
        simulated = " simulated" if panel.setting.simulated else ""
        lines.append(f"{letter} {label}{simulated}{repeats}")
    return lines
