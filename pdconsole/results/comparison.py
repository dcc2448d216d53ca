"""Result directories side by side: their points in a table, throughput and TPOT in a chart."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec

from pdconsole.results.chart import throughput_chart
from pdconsole.results.directory import RUN_FILE, read_run_file
from pdconsole.results.errors import ResultError
from pdconsole.results.reading import PointRow, read_directory, read_point
from pdconsole.results.table import points_table, wrapped


class Comparison(msgspec.Struct, frozen=True):
    """What was read. `skipped` names what could not be, and why: then the exit is not clean."""

    rows: tuple[PointRow, ...]
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()  # directories that are not finished

    def text(self, width: int, *, chart: bool = True) -> str:
        """For a terminal of this width: for each workload a table and, under it, a chart."""
        parts: list[str] = []
        for workload, group in groupby(self.rows, key=lambda row: row.workload):
            rows = list(group)
            parts.append(f"{workload}{_about(rows)}\n\n{points_table(rows, width)}")
            if chart and (drawn := throughput_chart(rows, width)):
                parts.append(drawn)
        notes = wrapped([f"note: {note}" for note in self.notes], width)
        parts += ["\n".join(notes)] if notes else []
        return "\n\n".join(parts) if parts else "no results to compare"

    def to_json(self) -> dict[str, Any]:
        """The rows and what was skipped, as plain values."""
        return {
            "points": [msgspec.to_builtins(row) for row in self.rows],
            "skipped": list(self.skipped),
            "notes": list(self.notes),
        }


def compare(paths: Iterable[Path]) -> Comparison:
    """Read result directories, single result files, or a directory of result directories."""
    rows: list[PointRow] = []
    skipped: list[str] = []
    notes: list[str] = []
    for path in _result_paths(paths):
        found, problems = _read(path)
        rows += found
        skipped += [str(problem) for problem in problems]
        if found and (note := _unfinished(path, len(found))):
            notes.append(note)
    rows.sort(key=lambda row: row.workload)  # stable: directories stay as they were given
    return Comparison(tuple(rows), tuple(skipped), tuple(notes))


def _result_paths(paths: Iterable[Path]) -> list[Path]:
    """The paths as given, but a directory that only holds others is all of those."""
    found: list[Path] = []
    for path in paths:
        inner = [] if _holds_results(path) else _inner_directories(path)
        found += inner or [path]
    return list(dict.fromkeys(found))


def _holds_results(path: Path) -> bool:
    return not path.is_dir() or (path / RUN_FILE).exists() or any(path.glob("*.json"))


def _inner_directories(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))


def _read(path: Path) -> tuple[list[PointRow], list[ResultError]]:
    if path.is_dir():
        return read_directory(path)
    try:
        return [read_point(path)], []
    except ResultError as e:
        return [], [e]


def _unfinished(path: Path, points: int) -> str:
    try:
        meta = read_run_file(path) if path.is_dir() else None
    except ResultError as e:
        return str(e)
    planned = len(meta.get("planned") or ()) if meta else 0
    if meta is None or points >= planned:
        return ""
    return f"{path.name} has {points} of {planned} points; its run is {meta.get('status')}"


def _about(rows: list[PointRow]) -> str:
    simulated = sum(row.simulated for row in rows)
    if not simulated:
        return ""
    all_of_them = simulated == len(rows)
    return ": all simulated" if all_of_them else f": {simulated} of {len(rows)} points simulated"
