"""One panel of a figure: a line a layout, the frontier, flags, intervals, regimes beneath."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

from pdconsole.model.regimes import Certainty
from pdconsole.results.chart import are_far_apart
from pdconsole.results.figure_labels import label_offsets
from pdconsole.results.figure_style import FAINT, FRONTIER, Look, looks_of
from pdconsole.results.panel import Panel, Placed
from pdconsole.results.regime_table import TITLES, shown_regimes

# In points.
_LABEL_SIZE = 6.5
_TITLE_SIZE = 10
_LEGEND_SIZE = 7.5
_Y_LABELS = 50
_REGIME_LOOK: dict[Certainty, dict[str, Any]] = {
    "clear": {"alpha": 0.95},
    "tie": {"alpha": 0.45, "hatch": "////"},
    "unknown": {"alpha": 0.45},
    "alone": {"alpha": 0.45, "hatch": "...."},
}
_REGIME_WORDS: dict[Certainty, str] = {
    "clear": "clear",
    "tie": "tie: intervals overlap",
    "unknown": "scatter unknown",
    "alone": "no other gets there",
}


def draw_panel(figure: Any, panel: Panel, title: str) -> Callable[[], None]:
    """Draw into a matplotlib (sub)figure; what is returned puts the labels, once all has its place.

    `figure` is a FigureBase.
    """
    has_strip = len(panel.labels) > 1 and bool(panel.regimes("latency"))
    ratios = [14, 1] if has_strip else [1]
    axes = figure.subplots(len(ratios), 1, sharex=True, squeeze=False, height_ratios=ratios)[:, 0]
    main = axes[0]
    latency, unit = panel.axes.latency, panel.axes.throughput.unit(panel.setting.slot)
    _points(main, panel)
    _slo(main, panel)
    if are_far_apart([point.latency for point in panel.points]):
        _logarithmic(main)
    main.set_ylim(bottom=0)
    main.yaxis.set_major_formatter("{x:,.0f}" if panel.axes.digits() == 0 else "{x:,.1f}")
    main.set_ylabel(unit)
    if has_strip:
        _strip(axes[1], panel)
    axes[-1].set_xlabel(f"{latency.title}, {latency.unit}")
    handles = list(_legend(panel, has_strip))
    figure.legend(handles=handles, loc="outside right upper", frameon=False)
    room = figure.bbox.width / figure.dpi * 72 - _legend_width(handles) - _Y_LABELS
    wrapped = textwrap.fill(title, max(20, int(room / (0.7 * _TITLE_SIZE))))
    main.set_title(wrapped, loc="left", fontweight="bold", fontsize=_TITLE_SIZE)

    def put_labels() -> None:
        _labels(main, panel)
        if has_strip:
            _winners(axes[1], panel)

    return put_labels


def _legend_width(handles: Sequence[Any]) -> float:
    """In points, about."""
    lines = [line for handle in handles for line in handle.get_label().splitlines()]
    return 0.6 * _LEGEND_SIZE * max(map(len, lines)) + 4 * _LEGEND_SIZE


def _logarithmic(ax: Any) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter("{x:,g}")
    ax.xaxis.set_minor_formatter(NullFormatter())


def _points(ax: Any, panel: Panel) -> None:
    best = panel.best
    ax.plot(
        [point.latency for point in best],
        [point.throughput for point in best],
        color=FRONTIER,
        linewidth=5,
        solid_capstyle="round",
        solid_joinstyle="round",
        zorder=1,
    )
    beaten = {each.label for each in panel.beaten}
    for label, look in looks_of(panel.labels).items():
        width = 0.7 if label in beaten else 1.3
        for _, group in groupby(panel.of(label), key=lambda p: (p.row.directory, p.row.kind)):
            run = sorted(group, key=lambda p: p.row.value or 0.0)
            ax.plot(
                [p.latency for p in run],
                [p.throughput for p in run],
                color=look.colour,
                linewidth=width,
                linestyle="-" if run[0].row.kind == "concurrency" else "--",
                zorder=2,
            )
            for point in run:
                _point(ax, panel, point, look)


def _point(ax: Any, panel: Panel, point: Placed, look: Look) -> None:
    """Intervals are drawn where they are known."""
    kept = panel.axes.slo is None or panel.axes.slo.met_by(point.row) is not False
    ax.errorbar(
        point.latency,
        point.throughput,
        xerr=_reach(point.latency, point.latency_interval),
        yerr=_reach(point.throughput, point.throughput_interval),
        fmt=look.marker,
        color=look.colour,
        markersize=5.5,
        markerfacecolor="white" if panel.doubts(point.row) else look.colour,
        markeredgewidth=1.1,
        elinewidth=0.9,
        capsize=1.8,
        alpha=1.0 if kept else FAINT,
        zorder=3,
    )


def _reach(value: float, interval: tuple[float, float] | None) -> list[list[float]] | None:
    if interval is None:
        return None
    return [[max(0.0, value - interval[0])], [max(0.0, interval[1] - value)]]


def _slo(ax: Any, panel: Panel) -> None:
    limit = panel.axes.slo.limit_on(panel.axes.latency) if panel.axes.slo else None
    if limit is None:
        return
    ax.axvline(limit, color="#333333", linewidth=1, linestyle=(0, (4, 2)), zorder=1.5)
    on_its_left = all(point.latency <= limit for point in panel.points)
    ax.annotate(
        f"SLO {limit:g} {panel.axes.latency.unit}",
        (limit, 1),
        xycoords=("data", "axes fraction"),
        xytext=(-3 if on_its_left else 3, -2),
        textcoords="offset points",
        ha="right" if on_its_left else "left",
        va="top",
        fontsize=7,
        color="#333333",
    )


def _strip(ax: Any, panel: Panel) -> None:
    """The winner within each latency, in its colour."""
    looks = looks_of(panel.labels)
    for regime in shown_regimes(panel, "latency"):
        if regime.winner:
            ax.axvspan(
                regime.low,
                regime.high,
                facecolor=looks[regime.winner].colour,
                edgecolor="white",
                linewidth=0,
                **_REGIME_LOOK[regime.certainty],
            )
    ax.set_yticks([])
    ax.grid(visible=False)
    for side in ("left", "bottom"):
        ax.spines[side].set_visible(False)
    ax.set_title(TITLES["latency"], loc="left", fontsize=7, pad=2)


def _winners(ax: Any, panel: Panel) -> None:
    """Their names on the strip, where there is room."""
    scale = 72 / ax.figure.dpi
    for regime in shown_regimes(panel, "latency"):
        left, right = (
            float(ax.transData.transform((x, 0))[0]) * scale for x in (regime.low, regime.high)
        )
        if right - left > 0.62 * _LABEL_SIZE * len(regime.winner):
            middle = ax.transData.inverted().transform(((left + right) / 2 / scale, 0))[0]
            colour = "white" if regime.certainty == "clear" else "black"
            ax.text(
                middle,
                0.5,
                regime.winner,
                transform=ax.get_xaxis_transform(),
                ha="center",
                va="center",
                fontsize=_LABEL_SIZE,
                color=colour,
            )


def _labels(ax: Any, panel: Panel) -> None:
    """Concurrency, or `r4` of a request rate; those on the frontier come first."""
    best = {id(point) for point in panel.best}
    points = sorted(panel.points, key=lambda point: id(point) not in best)
    texts = [
        f"{'' if p.row.kind == 'concurrency' else 'r'}{p.row.value:g}" if p.row.value else "?"
        for p in points
    ]
    scale = 72 / ax.figure.dpi
    places = ax.transData.transform([(p.latency, p.throughput) for p in points]) * scale
    looks = looks_of(panel.labels)
    offsets = label_offsets([(float(x), float(y)) for x, y in places], texts, _LABEL_SIZE)
    for point, text, offset in zip(points, texts, offsets, strict=True):
        if offset is not None:
            ax.annotate(
                text,
                (point.latency, point.throughput),
                xytext=offset,
                textcoords="offset points",
                ha="center",
                va="center",
                fontsize=_LABEL_SIZE,
                color=looks[point.label].colour,
                zorder=4,
            )


def _legend(panel: Panel, has_strip: bool) -> Iterator[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    slot = panel.setting.slot
    for label, look in looks_of(panel.labels).items():
        rows = [point.row for point in panel.of(label)]
        divisors = {panel.axes.throughput.shown_divisor(row, slot): None for row in rows}
        text = " ".join([label, *divisors]).strip()
        yield Line2D([], [], color=look.colour, marker=look.marker, markersize=5, label=text)
    yield Line2D([], [], color=FRONTIER, linewidth=5, label="frontier")
    black: dict[str, Any] = {"color": "#333333", "markersize": 5, "linestyle": ""}
    doubts = dict.fromkeys(name for point in panel.points for name in panel.doubts(point.row))
    if doubts:
        text = "flagged:\n  " + "\n  ".join(doubts)
        yield Line2D([], [], marker="o", markerfacecolor="white", label=text, **black)
    kinds = {point.row.kind for point in panel.points}
    words = {"concurrency": "numbers: concurrency", "request_rate": "r4: 4 requests/s, dashed"}
    for kind, word in words.items():
        if kind in kinds:
            yield Line2D([], [], linestyle="", label=word)
    if any(p.latency_interval or p.throughput_interval for p in panel.points):
        yield Line2D([], [], marker="+", label="bars: 95 % intervals", **black)
    if has_strip:
        found = {regime.certainty for regime in panel.regimes("latency")}
        for certainty, look_of_it in _REGIME_LOOK.items():
            if certainty in found:
                text = _REGIME_WORDS[certainty]
                yield Patch(facecolor="#888888", edgecolor="white", label=text, **look_of_it)
