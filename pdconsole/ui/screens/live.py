"""Live: charts over one time axis, the workers, the pairs, and where a TTFT went; the same while a
session is carried out and in replay."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, ClassVar

import msgspec
from textual import events
from textual.app import ComposeResult
from textual.containers import Container, Horizontal
from textual.timer import Timer
from textual.widgets import Static

from pdconsole.journal import JournalError
from pdconsole.model.state import State
from pdconsole.ui.actions import Action
from pdconsole.ui.live_charts import CHARTS, ChartPlan, plan_charts
from pdconsole.ui.live_layout import PARTS, Arrangement, arrange, page_of, pages
from pdconsole.ui.live_lines import LineReader, current_values, failure_marks, named
from pdconsole.ui.screens.detail_screen import DETAIL_ACTIONS, DetailScreen
from pdconsole.ui.screens.replay_screen import REPLAY_ACTIONS
from pdconsole.ui.time_view import PAN, ZOOM, TimeView
from pdconsole.ui.widgets.chart import Chart, ChartData
from pdconsole.ui.widgets.frame_lines import FrameLine, Piece, spread
from pdconsole.ui.widgets.pair_matrix import matrix, pairs_of
from pdconsole.ui.widgets.piece_lines import PieceLines
from pdconsole.ui.widgets.point_strip import headline, shown_point, strip
from pdconsole.ui.widgets.ttft_waterfall import waterfall
from pdconsole.ui.widgets.worker_table import STALE_S, WorkerTable, stale_s, worker_rows

if TYPE_CHECKING:
    from pdconsole.ui.session_source import SessionHistory

CURSOR_FOLLOWS_S = 0.1
AT_ONCE_S = 0.015
SAMPLED_EVERY_S = 0.9  # ticks and workers' samples come once a second
SAMPLE_GAP_S = 3.0  # lines are joined over less than this

_NAME = "live"
ACTIONS = (
    Action("live.choose", "charts", "Choose which charts are shown", ("c",), _NAME),
    Action("live.next-page", "more", "The next charts", ("pagedown",), _NAME),
    Action("live.previous-page", "Back", "The charts before", ("pageup",), _NAME, hint=False),
    Action("live.below", "below", "What is shown below the charts", ("w",), _NAME),
    Action("live.maximise", "maximise", "One chart alone, or all again", ("m",), _NAME),
    Action("live.zoom-in", "Zoom in", "Half as much time", ("plus", "equals_sign"), _NAME, False),
    Action("live.zoom-out", "Zoom out", "Twice as much time", ("minus",), _NAME, False),
    Action("live.unzoom", "Unzoom", "The last two minutes again", ("0",), _NAME, False),
    Action("live.pan-back", "Earlier", "A quarter earlier", ("shift+left", "H"), _NAME, False),
    Action("live.pan-on", "Later", "A quarter later", ("shift+right", "L"), _NAME, False),
)
_TITLES = {
    "workers": "workers",
    "pairs": "P → D, derived from request ids",
    "waterfall": "Where did this TTFT go?",
}


class LiveScreen(DetailScreen):
    NAME: ClassVar[str] = _NAME
    TITLE: ClassVar[str] = "Live"
    ACTIONS: ClassVar[tuple[Action, ...]] = (
        *(*REPLAY_ACTIONS[:3], *ACTIONS, *DETAIL_ACTIONS, *REPLAY_ACTIONS[3:]),
    )
    HELP: ClassVar[str] = (
        "Charts end at the moment shown and move on with it until they are panned. A click on a "
        "chart goes there, a drag zooms. Each chart says when its numbers are simulated, stale or "
        "of a warm-up. Where a TTFT went: a letter for each stage; ? is what nobody tells, and "
        "with letters after it what these took together. v goes from an event (N, P) to its log."
    )
    AUTO_FOCUS = ""
    DEFAULT_CSS = """
    LiveScreen #charts { layout: grid; height: 1fr; grid-gutter: 0 1; grid-rows: 1fr; }
    LiveScreen #under { height: 5; }
    LiveScreen #workers { width: 3fr; height: 1fr; }
    LiveScreen #pairs, LiveScreen #waterfall { width: 2fr; height: 1fr; padding: 0 1; }
    LiveScreen .-off { display: none; }
    LiveScreen #no-session { height: 1fr; padding: 1 2; color: $role-muted; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.view = TimeView()
        self.chosen: tuple[str, ...] = tuple(entry.id for entry in CHARTS)
        self.maximised: str | None = None
        self._page = 0
        self._beside = 0
        self._arrangement: Arrangement | None = None
        self.cursor_timer: Timer | None = None
        self._plans: dict[str, ChartPlan] = {}
        self._data: dict[str, ChartData] = {}
        self._planned_for: object = None
        self._drawn_for: object = None
        self._drawn_t = 0.0
        self._drawing: Iterator[None] = iter(())
        self._reader: LineReader | None = None

    def compose_body(self) -> ComposeResult:
        yield FrameLine(id="headline")
        yield FrameLine(id="strip")
        plans = plan_charts(State(), (), 0.0, 0.0)
        with Container(id="charts"):
            for entry in CHARTS:
                plan = plans[entry.id]
                yield Chart(plan.title, plan.unit, plan.styles, id=f"chart-{entry.id}")
        with Horizontal(id="under"):
            yield WorkerTable(id="workers")
            yield PieceLines(id="pairs")
            yield PieceLines(id="waterfall")
        yield from self.compose_replay()
        yield Static(
            "No session is open. Choose one in Sessions, or start one with "
            "`pdconsole run pd-ratio-sweep --quick`.",
            markup=False,
            id="no-session",
        )

    def on_mount(self) -> None:
        known = tuple(c.id for c in CHARTS if c.id in self.console.settings.charts)
        self.chosen = known or self.chosen

    # --- what is where ---

    def on_resize(self, event: events.Resize) -> None:
        super().on_resize(event)
        self._arrange()
        self.call_after_refresh(self.console.refresh_visible)

    def _arrange(self) -> None:
        """Give every part its place; what it shows is for later, once it has it."""
        width, height = self.size
        a = self._arrangement = arrange(width, height, beside=self._beside)
        self._page = min(self._page, pages(len(self.chosen), a.page) - 1)
        shown = self.shown_charts
        columns = 1 if self.maximised else a.columns
        grid = self.query_one("#charts", Container)
        grid.styles.grid_size_columns = columns
        # A chart on its own row keeps the height of the others.
        grid.styles.grid_size_rows = 1 if self.maximised else min(a.rows, -(-len(shown) // columns))
        for entry in CHARTS:
            chart = self.query_one(f"#chart-{entry.id}", Chart)
            chart.display = entry.id in shown
            chart.show_x = entry.id in shown[-columns:]
        self.query_one("#under", Horizontal).styles.height = a.under_rows
        for part in PARTS:
            widget = self.query_one(f"#{part}")
            widget.display = part in a.under
            widget.set_class(a.framed, "panel")
            widget.border_title = _TITLES[part] if a.framed else ""
        self.query_one("#replay").styles.height = a.replay_rows
        self._drawn_for = None

    def _rearrange(self) -> None:
        self._arrange()
        self.show_rearranged()

    @property
    def shown_charts(self) -> tuple[str, ...]:
        if self.maximised is not None:
            return (self.maximised,)
        a = self._arrangement
        return page_of(self.chosen, self._page, a.page) if a is not None else ()

    # --- what is shown ---

    def refresh_from(self, history: SessionHistory | None, t: float, state: State) -> None:
        for part in ("headline", "strip", "charts"):
            self.query_one(f"#{part}").set_class(history is None, "-off")
        self.query_one("#under").set_class(history is None or self.maximised is not None, "-off")
        self.query_one("#no-session").set_class(history is not None, "-off")
        self.refresh_replay(history)
        if history is None or self._arrangement is None:
            return
        width = self.size.width
        self.query_one("#headline", FrameLine).say(headline(state, width))
        self.query_one("#strip", FrameLine).say(self._strip(state, width))
        now = self._now(history, t)
        self._refresh_under(history, t, now, state)
        self._refresh_charts(history, t, now, state)
        self._share_cursor()

    def _strip(self, state: State, width: int) -> list[Piece]:
        a = self._arrangement
        count = pages(len(self.chosen), a.page) if a is not None else 1
        right = [Piece(f"{self._span_text()} ", "muted")]
        if count > 1 and self.maximised is None:
            right.insert(
                0, Piece(f"charts {self._page + 1}/{count}  ", "muted", "screen.next_page")
            )
        room = width - sum(len(p.text) for p in right) - 2
        return spread(strip(state, room), right, width)

    def _span_text(self) -> str:
        held = " held" if self.view.end is not None else ""
        t0, t1 = self.view.window(self.console.t)
        span = t1 - t0
        return f"{span / 60:.3g} min{held}" if span >= 60 else f"{span:.3g} s{held}"

    def _now(self, history: SessionHistory, t: float) -> float:
        """Now in session seconds. At a live edge that goes on while no events come."""
        clock = self.replay
        if clock is None or not (clock.following and clock.growing):
            return t
        return max(t, self.console.clock.wall() - history.start_wall)

    def _refresh_under(self, history: SessionHistory, t: float, now: float, state: State) -> None:
        a = self._arrangement
        if a is None or self.maximised is not None:
            return
        if "workers" in a.under:
            self.query_one(WorkerTable).show_rows(worker_rows(state, now))
        if "pairs" in a.under:
            box = self.query_one("#pairs", PieceLines)
            found = pairs_of(state, self.last_requests(history, t, state))
            box.say(matrix(found, *box.content_size))
        if "waterfall" in a.under:
            box = self.query_one("#waterfall", PieceLines)
            requests = self.last_requests(history, t, state)
            request, how = self.chosen_request(history, t, state)
            box.say(waterfall(state, request, how, requests, *box.content_size))

    def _refresh_charts(self, history: SessionHistory, t: float, now: float, state: State) -> None:
        t0, t1 = self.view.window(t)
        shown = self.shown_charts
        charts = [self.query_one(f"#chart-{name}", Chart) for name in shown]
        columns = max((chart.columns for chart in charts), default=1)
        # Nothing a column shows changes before half of its time has passed, nor before the next
        # samples come; a position that stands still is shown exactly.
        moving = self.replay is not None and not self.replay.paused
        rest = max((t1 - t0) / columns / 2, SAMPLED_EVERY_S) if moving else 0.0
        drawn_for = (
            id(history),
            self.view,
            shown,
            columns,
            state.current_point,
            self.console.ascii,
        )
        since = t - self._drawn_t
        badges = list(self._badges(state, now))
        if (drawn_for, badges) == self._drawn_for and (0 <= since < rest or since == 0):
            return
        self._drawn_for, self._drawn_t = (drawn_for, badges), t
        self._plan(history, state, t0, t1)
        drawing = self._drawing = self._draw(history, t, (t0, t1), columns, badges)
        # What a key asked for is shown whole, unless that takes long.
        until = 0.0 if self.console.at_leisure else perf_counter() + AT_ONCE_S
        while perf_counter() < until and next(drawing, self) is None:
            pass
        self._draw_on(drawing, history)

    def _draw_on(self, drawing: Iterator[None], history: SessionHistory) -> None:
        """A piece, then what keys are waiting, then the next; until newer ones are drawn."""
        if drawing is not self._drawing or history is not self.console.history:
            return
        try:
            goes_on = next(drawing, self) is None
        except (JournalError, OSError) as e:
            self.console.lose_session(e)
        else:
            if goes_on:
                self.console.soon(partial(self._draw_on, drawing, history))

    def _draw(
        self,
        history: SessionHistory,
        t: float,
        window: tuple[float, float],
        columns: int,
        badges: Sequence[tuple[str, bool]],
    ) -> Iterator[None]:
        """A chart with each step, or a piece of one that takes long."""
        t0, t1 = window
        marks, reader = named(history.marks(t0, min(t1, t))), self._reader_of(history)
        for name in self.shown_charts:
            chart = self.query_one(f"#chart-{name}", Chart)
            plan = self._plans[name]
            chart.ascii = self.console.ascii
            more = failure_marks(history, t0, min(t1, t), columns) if name == "nixl" else ()
            lines = yield from reader.lines(plan, t0, min(t1, t), chart.columns)
            data = self._data[name] = ChartData(
                t0=t0,
                t1=t1,
                lines=lines,
                marks=(*marks, *more),
                badge=" ".join(
                    dict.fromkeys(b for b, of_point in badges if plan.of_point or not of_point)
                ),
                cursor_t=self.cursor_t,
                current=current_values(lines, t) if t1 >= t else {},
                gap_s=max(SAMPLE_GAP_S, 2.5 * (t1 - t0) / columns),
            )
            chart.show(data)
            yield

    def _reader_of(self, history: SessionHistory) -> LineReader:
        if self._reader is None or self._reader.history is not history:
            self._reader = LineReader(history)
        return self._reader

    def _plan(self, history: SessionHistory, state: State, t0: float, t1: float) -> None:
        """Which lines the charts have: other ones once other replicas come into view."""
        recorded = history.keys()
        runs = tuple((r.id, r.started_t, r.ended_t) for r in state.runs)
        planned_for = (recorded, runs, t0, t1)
        if planned_for == self._planned_for:
            return
        self._planned_for = planned_for
        plans = plan_charts(state, recorded, t0, t1)
        for name, plan in plans.items():
            before = self._plans.get(name)
            if before is None or before.styles != plan.styles:
                self.query_one(f"#chart-{name}", Chart).set_series(plan.styles)
        self._plans = plans

    def _badges(self, state: State, now: float) -> Iterator[tuple[str, bool]]:
        """(badge, whether only charts of the point have it)."""
        last_tick = state.ticks[-1].t if state.ticks else None
        if state.current_point and last_tick is not None and now - last_tick > STALE_S:
            yield "stale", True
        if any(stale_s(view, state, now) is not None for view in state.processes.values()):
            yield "stale", False
        point = shown_point(state)
        if point is not None and point.id == state.current_point and point.status == "warmup":
            yield "warm-up", True
        if state.simulated:
            yield "simulated", False

    # --- time ---

    def _look_at(self, view: TimeView) -> None:
        if self.console.history is not None:
            self.view = view
            self.console.refresh_visible()

    def action_zoom_in(self) -> None:
        self._zoom(1 / ZOOM)

    def action_zoom_out(self) -> None:
        self._zoom(ZOOM)

    def _zoom(self, factor: float) -> None:
        history = self.console.history
        if history is not None:
            self._look_at(self.view.zoomed(self.console.t, factor, history.end_t))

    def action_unzoom(self) -> None:
        self._look_at(TimeView())

    def action_pan_back(self) -> None:
        self._look_at(self.view.panned(self.console.t, -PAN))

    def action_pan_on(self) -> None:
        self._look_at(self.view.panned(self.console.t, PAN))

    def on_chart_zoom(self, message: Chart.Zoom) -> None:
        self._look_at(self.view.showing(message.t0, message.t1, self.console.t))

    def on_chart_unzoom(self) -> None:
        self.action_unzoom()

    def on_chart_seek(self, message: Chart.Seek) -> None:
        self._seek(message.t)

    def on_chart_cursor(self, message: Chart.Cursor) -> None:
        """The other charts follow a moment later: a mouse passing over would redraw them all at
        each cell."""
        self.cursor_t = message.t
        if self.cursor_timer is None:
            self.cursor_timer = self.set_timer(CURSOR_FOLLOWS_S, self._share_cursor)

    def _share_cursor(self) -> None:
        if self.cursor_timer is None:
            return
        self.cursor_timer.stop()
        self.cursor_timer = None
        for name in self.shown_charts:
            data = self._data.get(name)
            if data is not None:
                self._data[name] = msgspec.structs.replace(data, cursor_t=self.cursor_t)
                self.query_one(f"#chart-{name}", Chart).show(self._data[name])

    # --- what is shown where ---

    def on_chart_maximise(self, message: Chart.Maximise) -> None:
        name = (message.chart.id or "").removeprefix("chart-")
        self._maximise(None if self.maximised else name)

    def action_maximise(self) -> None:
        shown = self.shown_charts
        self._maximise(None if self.maximised or not shown else shown[0])

    def _maximise(self, name: str | None) -> None:
        self.maximised = name
        self._rearrange()

    def action_next_page(self) -> None:
        self._turn(1)

    def action_previous_page(self) -> None:
        self._turn(-1)

    def _turn(self, by: int) -> None:
        """The next charts; while one is alone, the next one alone."""
        if self.maximised is not None:
            at = self.chosen.index(self.maximised) if self.maximised in self.chosen else 0
            self.maximised = self.chosen[(at + by) % len(self.chosen)]
        elif self._arrangement is not None:
            self._page = (self._page + by) % pages(len(self.chosen), self._arrangement.page)
        self._rearrange()

    def action_below(self) -> None:
        self._beside += 1
        self._rearrange()

    def action_choose(self) -> None:
        from pdconsole.ui.screens.chart_choice import ChartChoice

        def choose(chosen: tuple[str, ...] | None) -> None:
            if chosen is not None:
                self.chosen, self._page, self.maximised = chosen, 0, None
                self.console.remember(charts=() if len(chosen) == len(CHARTS) else chosen)
                self._rearrange()

        self.console.push_screen(ChartChoice(self.chosen), choose)

    def show_part(self, part: str) -> None:
        """Bring a part below the charts into sight, where they take turns."""
        for _ in PARTS:
            if self._arrangement is None or part in self._arrangement.under:
                break
            self._beside += 1
            self._arrangement = arrange(*self.size, beside=self._beside)
        self._rearrange()
