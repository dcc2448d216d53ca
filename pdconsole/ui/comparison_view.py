"""What the Compare screen shows of a comparison: made away from the keys, read as text. Pure but
for reading request files where intervals need them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import msgspec

from pdconsole.results.audit import AuditReport, audit_rows
from pdconsole.results.comparison import Comparison, nothing_drawn
from pdconsole.results.frontier_text import frontier_lines, slo_lines
from pdconsole.results.letters import letters_of
from pdconsole.results.panel import Panel, Placed, Setting, label_of
from pdconsole.results.point_row import PointRow
from pdconsole.results.regime_table import TITLES, certainty_lines, regime_lines
from pdconsole.results.strip_chart import strip_legend, strip_lines
from pdconsole.results.table import wrapped
from pdconsole.ui.result_rows import Standing, key_of
from pdconsole.ui.widgets.frame_lines import Piece
from pdconsole.ui.widgets.scatter import (
    BARS,
    ScatterChart,
    ScatterPoint,
    ScatterSeries,
    series_role,
)

Line = list[Piece]


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """The drawn points compared, everything slow done."""

    comparison: Comparison = Comparison(())
    standings: dict[str, Standing] = {}  # by key
    charts: tuple[ScatterChart, ...] = ()  # one a panel
    audit: AuditReport = AuditReport((), (), 0, ())

    def chart(self, panel: Panel | None) -> ScatterChart:
        pairs = zip(self.comparison.panels, self.charts, strict=True)
        return next((chart for each, chart in pairs if each is panel), ScatterChart())

    def panel(self, setting: Setting | None) -> Panel | None:
        """That of the setting, else the first."""
        panels = self.comparison.panels
        first = panels[0] if panels else None
        return next((panel for panel in panels if panel.setting == setting), first)


def compared(comparison: Comparison, audited: Sequence[PointRow]) -> Compared:
    """Raises ResultError where the requests of a point cannot be read."""
    standings: dict[str, Standing] = {}
    for panel in comparison.panels:
        for axis in TITLES:
            panel.regimes(axis)
        _ = panel.beaten, panel.within_slo
        for row in panel.rows:
            standings[key_of(row)] = Standing(
                is_best=(row.file, row.point) in panel.best_keys,
                doubts=tuple(panel.doubts(row)),
            )
    return Compared(
        comparison=comparison,
        standings=standings,
        charts=tuple(map(scatter_of, comparison.panels)),
        audit=audit_rows(audited),
    )


# --- the chart ---


def scatter_of(panel: Panel) -> ScatterChart:
    """A line a run, one letter a layout; what spoils points is in the last line of the legend."""
    axes = panel.axes
    unit, letters = axes.throughput.unit(panel.setting.slot), letters_of(panel.labels)
    best = {id(point) for point in panel.best}
    runs: dict[tuple[str, str, str], list[Placed]] = {}
    for point in panel.points:
        runs.setdefault((point.label, point.row.directory, point.row.kind), []).append(point)
    numbers = {label: number for number, label in enumerate(letters)}
    series = []
    for (label, _, _), points in sorted(runs.items(), key=lambda run: numbers[run[0][0]]):
        run = sorted(points, key=lambda p: p.row.value or 0.0)
        drawn = tuple(
            ScatterPoint(
                key=key_of(p.row),
                x=p.latency,
                y=p.throughput,
                hollow=bool(panel.doubts(p.row)),
                best=id(p) in best,
                faint=axes.slo is not None and axes.slo.met_by(p.row) is False,
                across=p.latency_interval,
                upright=p.throughput_interval,
            )
            for p in run
        )
        divisors = {axes.throughput.shown_divisor(p.row, panel.setting.slot): None for p in run}
        name = " ".join([label, *divisors]).strip()
        series.append(ScatterSeries(letters[label], name, numbers[label], drawn))
    limit = axes.slo.limit_on(axes.latency) if axes.slo else None
    return ScatterChart(
        series=tuple(series),
        frontier=tuple((point.latency, point.throughput) for point in panel.best),
        limit=limit,
        y_title=unit,
        x_title=f"{axes.latency.title}, {axes.latency.unit}",
        notes=tuple(_legend(panel)),
        empty=nothing_drawn(panel, "a whole deployment") if not panel.points else "",
    )


def _legend(panel: Panel) -> list[str]:
    better = "right" if panel.axes.latency.inverted else "left"
    notes = [f"* frontier: no point is better in both; up and to the {better} is better"]
    doubts = dict.fromkeys(name for point in panel.points for name in panel.doubts(point.row))
    if any(p.latency_interval or p.throughput_interval for p in panel.points):
        notes.append(f"{' '.join(BARS)} 95 % intervals, where wider than a letter")
    if doubts:
        notes.append(f"○ doubted: {', '.join(doubts)}")
    if panel.shared_flags:
        notes.append(f"all points: {', '.join(panel.shared_flags)}")
    return notes


# --- in words ---


def strip(panel: Panel, width: int) -> list[Line]:
    """The strip over latency with its scale; empty where there is none."""
    return [_coloured(panel, line) for line in strip_lines(panel, "latency", width)]


def regime_view(panel: Panel, width: int) -> list[Line]:
    """Strips, tables, what the words mean, the frontier and the promise."""
    lines: list[Line] = []
    if len(panel.labels) < 2:
        lines += _plain([" One layout: a second one is needed to say which wins where."])
    for axis, title in TITLES.items():
        if table := regime_lines(panel, axis, width - 2):
            lines += [*([[]] if lines else []), [Piece(f" {title}", "accent")]]
            drawn = strip_lines(panel, axis, width - 2)
            lines += [_coloured(panel, line) for line in drawn]
            lines += [[Piece(f" {table[0]}", "muted")], *_plain([f" {row}" for row in table[1:]])]
    if certainty := certainty_lines(panel):
        words = wrapped([strip_legend(panel), *certainty], width - 2)
        lines += [[], *([Piece(f" {line}", "muted")] for line in words)]
    for part in (slo_lines(panel), frontier_lines(panel)):
        if part:
            lines += [[], *_plain([f" {line}" for line in wrapped(part, width - 2)])]
    return lines


def promise(panel: Panel) -> Line:
    """In one line: the best point of each layout within the promise."""
    slo, letters = panel.axes.slo, letters_of(panel.labels)
    if slo is None:
        return []
    if not panel.within_slo:
        return [Piece(f" no point has {slo}", "warn")]
    found: Line = [Piece(f" within {slo}: ", "muted")]
    for number, point in enumerate(panel.within_slo):
        divisor = panel.axes.throughput.shown_divisor(point.row, panel.setting.slot)
        value = f"{point.throughput:,.{panel.axes.digits()}f}"
        found += [
            Piece(f"{letters[point.label]} {point.label} {point.row.point} ", "text"),
            Piece(f"{value}", "accent", bold=not number),
            Piece(f" {divisor} at {point.latency:,.1f}   ", "muted"),
        ]
    return found


def audit_view(report: AuditReport, width: int) -> list[Line]:
    roles = {"BAD ": "fail", "WARN": "warn", "info": "accent"}
    found: list[Line] = []
    for line in report.text(max(width - 2, 40)).splitlines():
        role = roles.get(line[:4], "text")
        found.append([Piece(f" {line}", role, bold=role != "text")])
    return found


def _coloured(panel: Panel, line: str) -> Line:
    """Letters of layouts in their colours, if the line is nothing else."""
    roles = {x: series_role(i) for i, x in enumerate(letters_of(panel.labels).values())}
    if not set(line.replace(" ", "")) <= set(roles):
        return [Piece(line, "muted" if line.strip()[:1].isdigit() else "text")]
    return [
        Piece("".join(run), roles.get(letter, "text"), bold=True) for letter, run in groupby(line)
    ]


def _plain(lines: Sequence[str]) -> list[Line]:
    return [[Piece(line)] for line in lines]


# --- side by side ---


def side_by_side(panel: Panel, width: int) -> list[Line]:
    """Load by load: a column a run, and how far it is from the first one."""
    runs = _runs(panel)
    lines: list[Line] = []
    room = max(1, (width - _LOAD - 1) // _COLUMN - 1)
    blocks = [runs[i : i + room] for i in range(1, len(runs), room)] or [[]]
    for block in blocks:
        lines += [*([[]] if lines else []), *_block(panel, [runs[0], *block])]
    if len(runs) > 1:
        lines += [[], [Piece(" %: against the first column, at the same load", "muted")]]
    return lines


_LOAD = 9
_COLUMN = 32


def _runs(panel: Panel) -> list[tuple[str, dict[str, PointRow]]]:
    """(directory, load -> point) in the order given; repeats in one directory are columns of their
    own."""
    found: dict[tuple[str, int], dict[str, PointRow]] = {}
    for row in panel.rows:
        found.setdefault((row.directory, row.repeat), {}).setdefault(row.point, row)
    return [(directory, points) for (directory, _), points in found.items()]


def _block(panel: Panel, runs: Sequence[tuple[str, dict[str, PointRow]]]) -> list[Line]:
    axes, slot = panel.axes, panel.setting.slot
    letters = letters_of(panel.labels)
    first = [next(iter(points.values())) for _, points in runs]
    names = [f"{letters.get(label_of(r), '?')} {label_of(r)}" for r in first]
    under = [f"{axes.throughput.shown_divisor(r, slot)} {r.gpu_model}".strip() for r in first]
    lines: list[Line] = [
        [Piece(" " * _LOAD), *(Piece(_cell(name), "accent", bold=True) for name in names)],
        [Piece(" " * _LOAD), *(Piece(_cell(text), "muted") for text in under)],
        [
            Piece(" " + "load".ljust(_LOAD - 1), "muted"),
            *(Piece(_pair(axes.throughput.unit(slot), axes.latency.title), "muted") for _ in runs),
        ],
    ]
    loads = {row.point: (row.kind, row.value or 0.0) for _, ps in runs for row in ps.values()}
    for load in sorted(loads, key=lambda each: loads[each]):
        line = [Piece(" " + load.ljust(_LOAD - 1), "muted")]
        base = runs[0][1].get(load)
        for number, (_, points) in enumerate(runs):
            row = points.get(load)
            text = _values(panel, row, base if number else None)
            line.append(Piece(text, "warn" if row is not None and panel.doubts(row) else "text"))
        lines.append(line)
    return lines


def _values(panel: Panel, row: PointRow | None, base: PointRow | None) -> str:
    if row is None:
        return _cell("-")
    axes = panel.axes
    doubt = "○" if panel.doubts(row) else ""
    throughput = axes.throughput.value(base) if base is not None else None
    latency = axes.latency.value(base) if base is not None else None
    one = _against(axes.throughput.value(row), throughput, axes.digits())
    two = _against(axes.latency.value(row), latency, 1)
    return _pair(doubt + one, two)


def _against(value: float | None, base: float | None, digits: int) -> str:
    if value is None:
        return "?"
    text = f"{value:,.{digits}f}"
    return f"{text} {round(100 * (value / base - 1)):+d}%" if base else text


def _pair(one: str, two: str) -> str:
    return _cell(f"{one:<15} {two}")


def _cell(text: str) -> str:
    return text[: _COLUMN - 2].ljust(_COLUMN)
