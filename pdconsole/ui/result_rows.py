"""Measured points as rows of a table, under the axes that are looked at. Pure."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec

from pdconsole.model.layout import LayoutError
from pdconsole.results.axes import Axes
from pdconsole.results.point_row import PointRow
from pdconsole.results.table import unit_of
from pdconsole.ui.lines import counted, layout_name, printable
from pdconsole.ui.widgets.row_table import Cell, Column, Row

_ALWAYS = frozenset({"median TTFT", "median TPOT"})  # latencies with a column at any width


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What the comparison says of a point."""

    is_best: bool = False  # on the frontier
    doubts: tuple[str, ...] = ()


class ResultEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A point, what it is found by, and the cells that are the same on all axes."""

    key: str
    row: PointRow
    directory: str
    layout: str
    words: str
    cells: dict[str, Cell]

    def has(self, word: str) -> bool:
        return word in self.words


def entry_of(row: PointRow) -> ResultEntry:
    layout = _layout(row)
    parts = (layout, row.layout, row.network, row.placement, row.workload, row.point)
    return ResultEntry(
        key=key_of(row),
        row=row,
        directory=row.directory,
        layout=layout,
        words=" ".join((*parts, row.model, *row.flags, Path(row.directory).name)).casefold(),
        cells=_cells(row, layout),
    )


def key_of(row: PointRow) -> str:
    """Of one point: a file can hold several, and one load more than once."""
    return f"{row.file}|{row.point}|{row.repeat}|{row.duration_s!r}"


def columns_of(axes: Axes, slot: str = "GPU") -> tuple[Column, ...]:
    """The usual columns, and one for the latency that is looked at where they lack it."""
    latency = axes.latency
    name = latency.unit if latency.inverted else latency.name.upper().replace("CHUNK", "chunk")
    title = f"{name} {latency.statistic}"
    own = Column("latency", title, max(8, len(title)), "right")
    return (
        Column("layout", "layout", 17, flex=3),
        Column("workload", "workload", 12, flex=3, priority=2),
        Column("network", "network", 9, flex=1, priority=4),
        Column("placement", "place", 6, priority=3),
        Column("point", "point", 6, "right"),
        Column("best", "best", 4),
        Column("requests", "req/s", 6, "right", priority=6),
        Column("output", "out tok/s", 9, "right", priority=5),
        Column("throughput", axes.throughput.unit(slot), 12, "right"),
        Column("ttft-p50", "TTFT p50", 8, "right"),
        Column("ttft-p99", "p99 ms", 7, "right", priority=7),
        Column("tpot-p50", "TPOT p50", 8, "right"),
        Column("tpot-p99", "p99 ms", 7, "right", priority=7),
        Column("e2el-p50", "E2EL p50", 8, "right", priority=2),
        *(() if latency.title in _ALWAYS else (own,)),
        Column("flags", "flags", 5, flex=2, priority=8),
    )


def table_row(
    entry: ResultEntry, axes: Axes, columns: tuple[Column, ...], standing: Standing
) -> Row:
    cells = entry.cells | {
        "best": _best(entry.row, axes, standing),
        "throughput": _throughput(entry.row, axes),
        "latency": _number(axes.latency.value(entry.row), 1),
    }
    return Row(entry.key, tuple([cells[column.key] for column in columns]))


def _cells(row: PointRow, layout: str) -> dict[str, Cell]:
    marks = ["SIM"] if row.simulated else []
    if row.slot_kind != "gpu":
        marks.append(row.slot_kind)
    flags = ", ".join([*marks, *row.flags])
    return {
        "layout": Cell(layout),
        "workload": Cell(row.workload, "muted"),
        "network": Cell(row.network or "-", "muted"),
        "placement": Cell(row.placement or "-", "muted"),
        "point": Cell(row.point, sort=row.value),
        "requests": _number(row.request_throughput, 2),
        "output": _number(row.output_throughput, 0),
        "ttft-p50": _number(row.ttft_p50_ms, 0),
        "ttft-p99": _number(row.ttft_p99_ms, 0),
        "tpot-p50": _number(row.tpot_p50_ms, 2),
        "tpot-p99": _number(row.tpot_p99_ms, 2),
        "e2el-p50": _number(row.e2el_p50_ms, 0),
        "flags": Cell(flags, "warn" if row.flags else "simulated"),
    }


def _best(row: PointRow, axes: Axes, standing: Standing) -> Cell:
    """`*` on the frontier, `○` doubted, and whether the promise is kept."""
    text = "*" * standing.is_best + "○" * bool(standing.doubts)
    role, kept = "accent", None
    if axes.slo is not None:
        kept = axes.slo.met_by(row)
        text += {True: "✓", False: "✗", None: "?"}[kept]
        role = {True: "ok", False: "muted", None: "unknown"}[kept]
    # Those that keep the promise first, the frontier first among them.
    order = 4 * (kept is not True) + 2 * (not standing.is_best) + bool(standing.doubts)
    return Cell(text, role, sort=float(order))


def _throughput(row: PointRow, axes: Axes) -> Cell:
    """With its denominator: numbers a GPU of other layouts are divided by other counts."""
    value = axes.throughput.value(row)
    if value is None:
        return Cell("?", "muted")
    text = f"{value:,.{axes.digits()}f}"
    if axes.throughput.per != "deployment":
        text += f" ÷{axes.throughput.divisor(row)}"
    return Cell(text, sort=value)


def _number(value: float | None, digits: int) -> Cell:
    if value is None or math.isnan(value):
        return Cell("-", "muted")
    return Cell(f"{value:,.{digits}f}", sort=value)


def _layout(row: PointRow) -> str:
    if row.layout == "?":
        return Path(row.directory).name
    try:
        return layout_name(row.layout)
    except LayoutError:
        return row.layout


def about_point(entry: ResultEntry, axes: Axes, workspace: Path, most: int = 3) -> str:
    """The lines below the table, at most `most` besides the first and the file."""
    row = entry.row
    slot = unit_of([row])
    divisor = f"÷ {counted(row.gpus, slot)}" if row.gpus is not None else f"{slot}s unknown"
    facts = [
        f"{entry.layout} {row.point}, {row.workload}",
        f"{counted(row.completed, 'request')} in {row.duration_s:.1f} s",
        divisor,
        row.gpu_model,
        _interval(row, axes),
    ]
    lines = [" · ".join(f for f in facts if f)]
    flags = [f"flag {name}" + (f": {why}" if why else "") for name, why in row.flags.items()]
    lines += flags[:most] + [f"and {len(flags) - most} more flags"] * (len(flags) > most)
    source = "" if row.source == "pdconsole" else f" · {row.source}"
    lines.append(row.file.removeprefix(f"{workspace}/") + source)
    return "\n".join(printable(line) for line in lines)


def _interval(row: PointRow, axes: Axes) -> str:
    found = axes.latency.interval(row)
    if found is None:
        return ""
    return f"{axes.latency.title} {found[0]:,.1f} to {found[1]:,.1f} {axes.latency.unit} (95 %)"
