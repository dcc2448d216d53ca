"""Two tables of a plan: its layouts, and the points of the layout under the cursor."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from textual import on
from textual.app import ComposeResult
from textual.containers import Container
from textual.message import Message
from textual.widgets import Static

from pdconsole.model.eta import Outlook
from pdconsole.model.placement import Placement
from pdconsole.model.state import PointView, RunView, State
from pdconsole.ui.experiment_table import (
    POINT_COLUMNS,
    about_point,
    about_run,
    layout_columns,
    layout_rows,
    point_rows,
)
from pdconsole.ui.lines import layout_name, printable
from pdconsole.ui.widgets.row_table import RowTable

LEAST_LAYOUT_ROWS = 5


class Shown(msgspec.Struct, frozen=True):
    """A plan and how far it is at session second `t`, which is Unix time `now`."""

    state: State
    t: float
    now: float
    outlook: Outlook
    placements: Mapping[str, Placement]
    refused: Mapping[str, str] = {}  # by run: why it cannot be started


class PlanView(Container):
    DEFAULT_CSS = """
    PlanView { height: 1fr; }
    PlanView #tables { height: 1fr; layout: vertical; }
    PlanView #layouts { height: 1fr; min-height: 4; }
    PlanView #points { height: 1fr; min-height: 3; }
    """

    class PointChosen(Message):
        """Enter on a point."""

        def __init__(self, run: str, point: str) -> None:
            super().__init__()
            self.run = run
            self.point = point

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._shown: Shown | None = None
        self._columns_for: object = None
        self._fresh = True

    def compose(self) -> ComposeResult:
        with Container(id="tables"):
            yield RowTable((), id="layouts")
            yield RowTable(POINT_COLUMNS, id="points")
        yield Static(id="about-plan", classes="detail", markup=False)

    @property
    def layouts(self) -> RowTable:
        return self.query_one("#layouts", RowTable)

    @property
    def points(self) -> RowTable:
        return self.query_one("#points", RowTable)

    @property
    def run(self) -> RunView | None:
        """The layout under the cursor."""
        return self._shown.state.run(self.layouts.current_key) if self._shown else None

    @property
    def point(self) -> PointView | None:
        run = self.run
        key = self.points.current_key
        return next((p for p in run.points if p.id == key), None) if run else None

    def show(self, shown: Shown) -> None:
        """Repaints what has changed."""
        self._shown = shown
        state = shown.state
        table = self.layouts
        self._choose_columns(state)
        table.show_rows(
            layout_rows(
                state,
                shown.t,
                shown.outlook,
                shown.now,
                shown.placements,
                table.columns,
                shown.refused,
            )
        )
        table.mark(frozenset({state.current_run}) if state.current_run else frozenset())
        self._show_points()
        self._share_room(table)
        if self._fresh and table.rows:
            self._fresh = False
            self.go_to(state.current_run or table.rows[0].key, state.current_point)

    def _share_room(self, layouts: RowTable) -> None:
        """The points stand right below the layouts; where both do not fit, each has its share."""
        room = self.query_one("#tables").size.height
        wanted, points = len(layouts.rows) + 2, len(self.points.rows) + 1
        if wanted + points > room:
            wanted = max(min(wanted, room // 2), room - points)
        layouts.styles.height = max(wanted, LEAST_LAYOUT_ROWS)

    def forget(self) -> None:
        """Another plan comes: the cursor begins at what is under way, or at the top."""
        self._fresh = True

    def go_to(self, run: str, point: str = "") -> None:
        self.layouts.move_to(run)
        self._show_points()
        self.points.move_to(point)

    def _choose_columns(self, state: State) -> None:
        width = self.layouts.size.width
        columns_for = (width, tuple((r.id, r.plan.mode, len(r.points)) for r in state.runs))
        if columns_for == self._columns_for or not width:
            return
        self._columns_for = columns_for
        columns = layout_columns(state, width)
        if columns != self.layouts.columns:
            self.layouts.columns = columns
            self.layouts.rows = ()
            self.layouts.refresh()

    def _show_points(self) -> None:
        shown, run = self._shown, self.run
        about = self.query_one("#about-plan", Static)
        about.display = run is not None
        if shown is None or run is None:
            self.points.show_rows(())
            return
        self.points.show_rows(point_rows(run, shown.state, shown.t, shown.outlook, shown.now))
        self.points.mark(
            frozenset({shown.state.current_point} if run.id == shown.state.current_run else ())
        )
        self._tell_about(about, shown, run)

    def _tell_about(self, about: Static, shown: Shown, run: RunView) -> None:
        lines = about_run(run, shown.outlook.runs.get(run.id), shown.placements.get(run.id))
        point = self.point
        if point is not None and self.points.has_focus:
            found = about_point(point, shown.outlook.points.get((run.id, point.id)))
            lines = [f"{layout_name(run.plan.layout)}  {lines[0].split('  ', 1)[1]}", *found]
        if run.id in shown.refused:
            lines.insert(0, f"✗ cannot be started: {shown.refused[run.id]}")
        about.update("\n".join(printable(line) for line in lines))

    def on_resize(self) -> None:
        self.call_after_refresh(self._again)

    def _again(self) -> None:
        if self._shown is not None:
            self.show(self._shown)

    @on(RowTable.Moved)
    def moved(self, _event: RowTable.Moved) -> None:
        self._show_points()

    def on_descendant_focus(self) -> None:
        self._show_points()

    @on(RowTable.Chosen, "#layouts")
    def layout_chosen(self, event: RowTable.Chosen) -> None:
        event.stop()
        self.points.focus()

    @on(RowTable.Chosen, "#points")
    def point_chosen(self, event: RowTable.Chosen) -> None:
        event.stop()
        if (run := self.run) is not None:
            self.post_message(self.PointChosen(run.id, event.key))
