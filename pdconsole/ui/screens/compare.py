"""The workspace's results: a table of all points, and the marked ones in a chart."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import msgspec
from textual import on, work
from textual.app import ComposeResult
from textual.containers import Container
from textual.widgets import Input, Static

from pdconsole.model.state import State
from pdconsole.results import PointRow, ResultError, compare
from pdconsole.results.comparison import Comparison
from pdconsole.ui.actions import Action
from pdconsole.ui.lines import counted, layout_name, printable
from pdconsole.ui.screens.console_screen import ConsoleScreen
from pdconsole.ui.session_source import SessionHistory
from pdconsole.ui.widgets.filter_box import FilterBox
from pdconsole.ui.widgets.frame_lines import FrameLine, Piece
from pdconsole.ui.widgets.row_table import Cell, Column, Row, RowTable, sorted_rows
from pdconsole.ui.widgets.scatter import Scatter, ScatterPoint, ScatterSeries

NAME = "compare"
RESULTS = "bm_results"

COLUMNS = (
    Column("layout", "layout", 17, flex=3),
    Column("workload", "workload", 12, flex=3, priority=2),
    Column("network", "network", 9, flex=1, priority=4),
    Column("placement", "place", 6, priority=3),
    Column("point", "point", 6, "right"),
    Column("requests", "req/s", 6, "right", priority=6),
    Column("output", "out tok/s", 9, "right", priority=5),
    Column("per-gpu", "tok/s/GPU", 9, "right"),
    Column("ttft-p50", "TTFT p50", 8, "right"),
    Column("ttft-p99", "p99 ms", 7, "right", priority=7),
    Column("tpot-p50", "TPOT p50", 8, "right"),
    Column("tpot-p99", "p99 ms", 7, "right", priority=7),
    Column("e2el-p50", "E2EL p50", 8, "right", priority=2),
    Column("flags", "flags", 5, flex=2, priority=8),
)


class Axis(msgspec.Struct, frozen=True):
    title: str
    value: Callable[[PointRow], float | None]


AXES = (
    Axis("median TPOT, ms", lambda row: row.tpot_p50_ms),
    Axis("median TTFT, ms", lambda row: row.ttft_p50_ms),
    Axis("median E2EL, ms", lambda row: row.e2el_p50_ms),
)


def _action(id: str, name: str, tooltip: str, *keys: str, hint: bool = True) -> Action:  # noqa: A002
    return Action(f"{NAME}.{id}", name, tooltip, keys, NAME, hint=hint)


class CompareScreen(ConsoleScreen):
    NAME = NAME
    TITLE = "Compare"
    HELP = (
        "Every point under bm_results/. Mark runs to see them in the chart; without marks, all "
        "that are listed are drawn. tok/s/GPU: prompt and output tokens a second, divided by the "
        "GPUs that were loaded. Up and to the left is better."
    )
    ACTIONS: ClassVar = (
        _action("mark", "mark run", "Its points in the chart, or no more", "space", "m"),
        _action("mark-point", "Mark point", "This point alone", "M", hint=False),
        _action("clear", "Clear marks", "Nothing is marked", "u", hint=False),
        _action("sort", "sort", "By the next column", "o"),
        _action("reverse", "Reverse", "Sort the other way round", "O", hint=False),
        _action("filter", "filter", "Only points with a word", "slash"),
        _action("axis", "axis", "The chart against TPOT, TTFT or E2EL", "x"),
        _action("chart", "chart", "Table, table and chart, or chart", "c"),
        _action("reload", "Read again", "From the files", "R", hint=False),
        _action("copy", "Copy table", "The marked or listed points as text", "y", hint=False),
    )

    def __init__(self) -> None:
        super().__init__()
        self._comparison = Comparison(())
        self._read_once = False
        self._marked: frozenset[str] = frozenset()
        self._word = ""
        self._order = ("", False)
        self._axis = 0

    def compose_body(self) -> ComposeResult:
        yield FrameLine(id="about-results")
        with Container(id="results-body", classes="body"):
            yield RowTable(COLUMNS, id="results", empty="reading…")
            yield Scatter(id="scatter")
        yield FilterBox("only points with …", returns_to="#results", id="filter")
        yield Static(id="about", classes="detail", markup=False)

    def on_mount(self) -> None:
        self.query_one(RowTable).focus()
        self.action_reload()

    def refresh_from(self, history: SessionHistory | None, t: float, state: State) -> None:
        return  # results are files: they are read when the screen opens, and on demand

    # --- reading ---

    def action_reload(self) -> None:
        self.read()

    @work(thread=True, exclusive=True, group="results")
    def read(self) -> None:
        directory = self.console.workspace / RESULTS
        try:
            found = compare([directory]) if directory.is_dir() else Comparison(())
        except (ResultError, OSError) as e:
            self.app.call_from_thread(self.console.say, str(e), "error")
            return
        self.app.call_from_thread(self._show, found)

    def _show(self, found: Comparison) -> None:
        self._comparison = found
        self._read_once = True
        known = {row.file for row in found.rows}
        self._marked &= known
        if found.skipped:
            more = f", and {len(found.skipped) - 1} more" if len(found.skipped) > 1 else ""
            self.console.say(f"skipped {found.skipped[0]}{more}", "warning")
        self._lay_out()

    # --- what it shows ---

    def _lay_out(self) -> None:
        if not self._read_once:
            return
        table = self.query_one(RowTable)
        listed = self._listed()
        rows = [_row(row) for row in listed]
        column, descending = self._order
        if column:
            index = [c.key for c in COLUMNS].index(column)
            rows = sorted_rows(rows, index, descending=descending)
        table.empty = (
            f"no point has `{self._word}` in it"
            if self._comparison.rows
            else f"no results in {RESULTS}/ yet; a run writes them"
        )
        table.mark(self._marked)
        table.show_rows(rows)
        table.show_order(column, descending)
        self._draw_chart(listed)
        self._say_about(listed)
        self._tell_about()

    def _listed(self) -> list[PointRow]:
        word = self._word.casefold()
        return [row for row in self._comparison.rows if word in _words(row)]

    def _drawn(self, listed: list[PointRow]) -> list[PointRow]:
        return [row for row in listed if row.file in self._marked] or listed

    def _draw_chart(self, listed: list[PointRow]) -> None:
        axis = AXES[self._axis]
        drawn = self._drawn(listed)
        series: dict[str, list[ScatterPoint]] = {}
        labels = _labels(drawn)
        for row in drawn:
            x, y = axis.value(row), row.tokens_per_s_per_gpu
            if x is not None and y is not None:
                series.setdefault(row.directory, []).append(ScatterPoint(row.file, x, y))
        scatter = self.query_one(Scatter)
        scatter.empty = "no point has both tok/s/GPU and this latency" if drawn else ""
        workloads = list(dict.fromkeys(row.workload for row in drawn))
        different = f"   {len(workloads)} workloads: not comparable" if len(workloads) > 1 else ""
        scatter.show(
            [ScatterSeries(labels[d], tuple(points)) for d, points in series.items()],
            heading=f"tok/s/GPU against {axis.title}{different}",
            x_title=axis.title,
            current=self.query_one(RowTable).current_key,
        )

    def _say_about(self, listed: list[PointRow]) -> None:
        rows = self._comparison.rows
        pieces = [
            Piece(f" {counted(len(listed), 'point')}", "text"),
            Piece(f" of {len(rows)}" if len(listed) != len(rows) else "", "muted"),
            Piece(f"  {counted(len({r.directory for r in listed}), 'run')}", "muted"),
        ]
        if self._marked:
            pieces.append(Piece(f"  {len(self._marked)} marked", "accent"))
        simulated = sum(row.simulated for row in listed)
        if simulated:
            which = "all" if simulated == len(listed) else str(simulated)
            pieces.append(Piece(f"  {which} simulated", "simulated", bold=True))
        for note in self._comparison.notes:
            pieces.append(Piece(f"  ! {note}", "warn"))
        self.query_one("#about-results", FrameLine).say(pieces)

    @property
    def current(self) -> PointRow | None:
        key = self.query_one(RowTable).current_key
        return next((row for row in self._comparison.rows if row.file == key), None)

    def _tell_about(self) -> None:
        row = self.current
        about = self.query_one("#about", Static)
        about.display = row is not None
        if row is not None:
            about.update(_about(row, self.console.workspace))

    @on(RowTable.Moved)
    def moved(self, _event: RowTable.Moved) -> None:
        self._tell_about()
        self._draw_chart(self._listed())

    @on(RowTable.Heading)
    def heading(self, event: RowTable.Heading) -> None:
        column, descending = self._order
        self._order = (event.column, column == event.column and not descending)
        self._lay_out()

    # --- actions ---

    @on(RowTable.Chosen)
    def chosen(self, _event: RowTable.Chosen) -> None:
        self.action_mark()

    def action_mark(self) -> None:
        row = self.current
        if row is None:
            return
        run = {r.file for r in self._comparison.rows if r.directory == row.directory}
        self._marked = self._marked - run if run <= self._marked else self._marked | run
        self._lay_out()

    def action_mark_point(self) -> None:
        if (row := self.current) is not None:
            self._marked ^= {row.file}
            self._lay_out()

    def action_clear(self) -> None:
        self._marked = frozenset()
        self._lay_out()

    def action_sort(self) -> None:
        names = ["", *(c.key for c in COLUMNS)]
        after = names[(names.index(self._order[0]) + 1) % len(names)]
        self._order = (after, False)
        self._lay_out()

    def action_reverse(self) -> None:
        self._order = (self._order[0] or COLUMNS[0].key, not self._order[1])
        self._lay_out()

    def action_filter(self) -> None:
        self.query_one(FilterBox).ask()

    @on(Input.Changed, "#filter")
    def filter_typed(self, event: Input.Changed) -> None:
        self._word = event.value
        self._lay_out()

    def action_axis(self) -> None:
        self._axis = (self._axis + 1) % len(AXES)
        self._draw_chart(self._listed())

    def action_chart(self) -> None:
        """Both where there is room, then the chart alone, then the table alone."""
        states = ((True, True), (False, True), (True, False))
        table, scatter = self.query_one(RowTable), self.query_one(Scatter)
        now = (bool(table.display), bool(scatter.display))
        table.display, scatter.display = states[(states.index(now) + 1) % len(states)]
        if table.display:
            table.focus()

    def action_copy(self) -> None:
        rows = self._drawn(self._listed())
        if rows:
            self.console.copy(Comparison(tuple(rows)).text(160, chart=False), "the table")


def _layout(row: PointRow) -> str:
    return row.layout if row.layout == "?" else layout_name(row.layout)


def _labels(rows: list[PointRow]) -> dict[str, str]:
    """Directory -> what a person calls it; those that are called alike have their names too."""
    found: dict[str, str] = {}
    for row in rows:
        parts = [_layout(row), row.network, row.placement, "simulated" if row.simulated else ""]
        found[row.directory] = "  ".join(p for p in parts if p)
    several = Counter(found.values())
    return {
        path: f"{label}  {Path(path).name}" if several[label] > 1 else label
        for path, label in found.items()
    }


def _words(row: PointRow) -> str:
    parts = (_layout(row), row.layout, row.network, row.placement, row.workload, row.point)
    return " ".join((*parts, row.model, *row.flags, Path(row.directory).name)).casefold()


def _row(row: PointRow) -> Row:
    def number(value: float | None, digits: int) -> Cell:
        if value is None or math.isnan(value):
            return Cell("-", "muted")
        return Cell(f"{value:,.{digits}f}", sort=value)

    marks = ["SIM"] if row.simulated else []
    if row.slot_kind != "gpu":
        marks.append(row.slot_kind)
    flags = ", ".join([*marks, *row.flags])
    return Row(
        row.file,
        (
            Cell(_layout(row)),
            Cell(row.workload, "muted"),
            Cell(row.network or "-", "muted"),
            Cell(row.placement or "-", "muted"),
            Cell(row.point, sort=row.value),
            number(row.request_throughput, 2),
            number(row.output_throughput, 0),
            number(row.tokens_per_s_per_gpu, 0),
            number(row.ttft_p50_ms, 0),
            number(row.ttft_p99_ms, 0),
            number(row.tpot_p50_ms, 2),
            number(row.tpot_p99_ms, 2),
            number(row.e2el_p50_ms, 0),
            Cell(flags, "warn" if row.flags else "simulated"),
        ),
    )


def _about(row: PointRow, workspace: Path) -> str:
    gpus = "GPUs unknown" if row.gpus is None else f"÷ {counted(row.gpus, 'GPU')}"
    facts = [
        f"{_layout(row)} {row.point}, {row.workload}",
        f"{counted(row.completed, 'request')} in {row.duration_s:.1f} s",
        gpus,
        row.gpu_model,
    ]
    lines = [" · ".join(f for f in facts if f)]
    lines += [f"flag {name}" + (f": {why}" if why else "") for name, why in row.flags.items()]
    lines.append(row.file.removeprefix(f"{workspace}/"))
    return "\n".join(printable(line) for line in lines)
