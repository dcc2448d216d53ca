"""Result directories side by side: points, frontier, regimes, as text, data or a figure."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from pdconsole.results.audited import with_bad_findings
from pdconsole.results.axes import Axes
from pdconsole.results.chart import throughput_chart
from pdconsole.results.comparison_data import axes_data, panel_data, points_csv
from pdconsole.results.directory import RUN_FILE, read_run_file
from pdconsole.results.errors import ResultError
from pdconsole.results.frontier_text import frontier_lines, slo_lines
from pdconsole.results.panel import Panel, Setting, panels
from pdconsole.results.point_flags import flagged
from pdconsole.results.reading import PointRow, different, not_yet_read, read_points
from pdconsole.results.regime_table import TITLES, certainty_lines, regime_lines
from pdconsole.results.strip_chart import strip_legend, strip_lines
from pdconsole.results.table import points_table, wrapped


class Comparison(msgspec.Struct, frozen=True, dict=True):
    """What was read. `skipped` names what could not be, and why: then the exit is not clean."""

    rows: tuple[PointRow, ...]
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()  # directories that are not finished
    axes: Axes = Axes()
    audit: str = ""  # what else there is to know of these files

    @cached_property
    def panels(self) -> tuple[Panel, ...]:
        """The points that may be compared with each other, by setting."""
        return panels(self.rows, self.axes)

    def heading(self, panel: Panel) -> str:
        """The workload, and what else tells a panel from the others."""
        return heading(panel.setting, [each.setting for each in self.panels])

    def text(self, width: int, *, chart: bool = True) -> str:
        """For a terminal of this width: of each panel a table, and unless `chart` is False a chart,
        the frontier and the regimes."""
        parts: list[str] = []
        for panel in self.panels:
            table = points_table(panel.rows, width, self.axes, panel.best_keys)
            parts.append(f"{self.heading(panel)}\n\n{table}")
            parts += _drawn(panel, width) if chart else []
        notes = wrapped([f"note: {note}" for note in (*self.notes, self.audit) if note], width)
        parts += ["\n".join(notes)] if notes else []
        return "\n\n".join(parts) if parts else "no results to compare"

    def to_json(self) -> dict[str, Any]:
        """Points, what they say about each other, and what was skipped, as plain values."""
        return {
            "points": [msgspec.to_builtins(row) for row in self.rows],
            "axes": axes_data(self.axes),
            "panels": [panel_data(panel) for panel in self.panels],
            "skipped": list(self.skipped),
            "notes": list(self.notes),
            "audit": self.audit,
        }

    def to_csv(self) -> str:
        return points_csv(self.panels)


def heading(setting: Setting, others: Iterable[Setting]) -> str:
    """`itl5000 otl250 mixed on H200: all simulated`, with no more than sets it apart."""
    known = list(others)
    text = setting.workload
    if setting.loaded:
        text += f", GPUs of {setting.loaded} alone"
    if len({each.model for each in known}) > 1:
        text += f", {setting.model or 'unknown model'}"
    if len({each.gpu_model for each in known}) > 1:
        gpu = (
            setting.gpu_model.removesuffix(" (simulated)")
            if setting.simulated
            else setting.gpu_model
        )
        text += f" on {gpu}" if gpu else ", GPU not named"
    return text + (": all simulated" if setting.simulated else "")


def _drawn(panel: Panel, width: int) -> list[str]:
    """Chart, frontier, regimes; only those that there are."""
    chart = throughput_chart(panel, width)
    if not chart:
        return [nothing_drawn(panel, "--per deployment")]
    found = [chart, "\n".join(wrapped(frontier_lines(panel), width))]
    found.append("\n".join(wrapped(slo_lines(panel), width)))
    for axis, title in TITLES.items():
        if rows := regime_lines(panel, axis, width):
            strip = strip_lines(panel, axis, width)
            found.append("\n".join([title, *strip, *([""] if strip else []), *rows]))
    if certainty := certainty_lines(panel):
        found.append("\n".join(wrapped([strip_legend(panel), *certainty], width)))
    return [part for part in found if part]


def nothing_drawn(panel: Panel, undivided: str) -> str:
    """Why there is no chart; `undivided` is what to choose for throughput that is not divided."""
    axes = panel.axes
    unit = axes.throughput.unit(panel.setting.slot)
    if all(axes.throughput.value(row) is None for row in panel.rows):
        return f"no point tells {unit}; {undivided} needs no count to divide by"
    return f"no point has both {axes.latency.title} and {unit}"


def compare(paths: Iterable[Path], axes: Axes | None = None) -> Comparison:
    """Read result directories, single result files, or a directory of result directories."""
    rows: list[PointRow] = []
    skipped: list[str] = []
    notes: list[str] = []
    read: set[str] = set()  # each file counts once, also where paths overlap
    for path in _result_paths(paths):
        found, problems = read_points(path)
        rows += map(flagged, not_yet_read(found, read))
        skipped += [str(problem) for problem in problems]
        if found and (note := _unfinished(path, len(found))):
            notes.append(note)
    rows, audit = with_bad_findings(rows)
    rows.sort(key=lambda row: row.workload)  # stable: directories stay as they were given
    return Comparison(tuple(rows), tuple(skipped), tuple(notes), axes or Axes(), audit)


def _result_paths(paths: Iterable[Path]) -> list[Path]:
    """The paths as given, but a directory that only holds others is all of those."""
    found: list[Path] = []
    for path in paths:
        inner = [] if _holds_results(path) else _inner_directories(path)
        found += inner or [path]
    return different(found)


def _holds_results(path: Path) -> bool:
    return not path.is_dir() or (path / RUN_FILE).exists() or any(path.glob("*.json"))


def _inner_directories(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))


def _unfinished(path: Path, points: int) -> str:
    try:
        meta = read_run_file(path) if path.is_dir() else None
    except ResultError as e:
        return str(e)
    planned = len(meta.get("planned") or ()) if meta else 0
    if meta is None or points >= planned:
        return ""
    return f"{path.name} has {points} of {planned} points; its run is {meta.get('status')}"
