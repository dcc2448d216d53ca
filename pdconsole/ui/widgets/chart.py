"""A chart of a few series over time: the widget around the frame that `chart_frame` draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import msgspec
from rich.segment import Segment
from textual import events
from textual.geometry import Region
from textual.message import Message
from textual.reactive import reactive
from textual.strip import Strip
from textual.widget import Widget

from pdconsole.ui.actions import Action
from pdconsole.ui.widgets.chart_data import ChartData, ChartMark, Samples, SeriesStyle
from pdconsole.ui.widgets.chart_frame import Frame, draw
from pdconsole.ui.widgets.chart_layout import Look, columns_for
from pdconsole.ui.widgets.chart_styles import ChartStyles, chart_styles
from pdconsole.ui.widgets.parts import bindings_of

__all__ = ["ACTIONS", "Chart", "ChartData", "ChartMark", "Samples", "SeriesStyle"]

KEY_ZOOM, WHEEL_ZOOM, PAN = 2.0, 1.25, 0.25
LEAST_SPAN_S = 0.05
DRAG_CELLS = 2  # a shorter drag is a click

ACTIONS = (
    Action("chart.cursor-back", "Cursor back", "Values a column earlier", ("left", "h"), "chart"),
    Action("chart.cursor-on", "Cursor on", "Values a column later", ("right", "l"), "chart"),
    Action("chart.cursor-off", "No cursor", "Take the cursor away", ("escape",), "chart", False),
    Action("chart.seek", "Go there", "Go to the time of the cursor", ("enter",), "chart"),
    Action("chart.zoom-in", "Zoom in", "Half as much time", ("plus", "equals_sign"), "chart"),
    Action("chart.zoom-out", "Zoom out", "Twice as much time", ("minus",), "chart"),
    Action("chart.unzoom", "Whole", "The default stretch of time", ("0",), "chart"),
    Action("chart.pan-back", "Earlier", "A quarter earlier", ("shift+left", "H"), "chart"),
    Action("chart.pan-on", "Later", "A quarter later", ("shift+right", "L"), "chart"),
    Action("chart.maximise", "Maximise", "This chart alone, or all again", ("m",), "chart"),
)


class ChartMessage(Message):
    def __init__(self, chart: Chart) -> None:
        super().__init__()
        self.chart = chart

    @property
    def control(self) -> Chart:
        return self.chart


class Chart(Widget, can_focus=True):
    """It shows what `show` gives it and asks for more by messages; it holds no time of its own.

    By mouse: a click goes there, a drag zooms, the wheel zooms, a click on the title maximises.
    """

    DEFAULT_CSS = "Chart { height: 1fr; width: 1fr; }"
    ALLOW_SELECT = False
    ACTIONS: ClassVar[tuple[Action, ...]] = ACTIONS
    BINDINGS: ClassVar = [*bindings_of(ACTIONS)]

    ascii: reactive[bool] = reactive(False)
    show_x: reactive[bool] = reactive(True)  # times under the axis

    class Seek(ChartMessage):
        """Go to session second `t`."""

        def __init__(self, chart: Chart, t: float) -> None:
            super().__init__(chart)
            self.t = t

    class Zoom(ChartMessage):
        """Show `t0` to `t1`: a zoom or a pan, not clipped to what the session has."""

        def __init__(self, chart: Chart, t0: float, t1: float) -> None:
            super().__init__(chart)
            self.t0 = t0
            self.t1 = t1

    class Unzoom(ChartMessage):
        """Show the default stretch of time again."""

    class Cursor(ChartMessage):
        """The cursor was moved to `t` here (None: taken away); other charts may follow."""

        def __init__(self, chart: Chart, t: float | None) -> None:
            super().__init__(chart)
            self.t = t

    class Maximise(ChartMessage):
        """Give this chart the whole screen, or put it back."""

    def __init__(
        self,
        title: str,
        unit: str,
        series: Sequence[SeriesStyle],
        *,
        y_range: tuple[float | None, float | None] = (0.0, None),
        show_x: bool = True,
        id: str | None = None,  # noqa: A002
        classes: str | None = None,
    ) -> None:
        """`y_range`: what the axis spans at least; None leaves an end to the data."""
        super().__init__(id=id, classes=classes)
        self.set_reactive(Chart.show_x, show_x)
        self._look = Look(title, unit, tuple(series), y_range)
        self._data: ChartData | None = None
        self._frame: Frame | None = None
        self._strips: dict[int, Strip] = {}
        self._styles: ChartStyles | None = None
        self._was_stale = False
        self._own_cursor_t: float | None = None
        self._drag: tuple[float, float] | None = None  # session seconds
        self._pressed_x: int | None = None

    @property
    def columns(self) -> int:
        """How many columns of a line can be told apart: what to ask a history for."""
        return columns_for(self.size.width, ascii_only=self.ascii)

    @property
    def cursor_t(self) -> float | None:
        if self._own_cursor_t is not None:
            return self._own_cursor_t
        return self._data.cursor_t if self._data is not None else None

    def show(self, data: ChartData) -> None:
        """Take in what to show; repaint what changed."""
        if self._data is not None and data.shows_the_same_as(self._data):
            return
        self._data = data
        self._redraw()

    def set_series(self, series: Sequence[SeriesStyle]) -> None:
        """Other series from now on."""
        if tuple(series) == self._look.series:
            return
        self._look = msgspec.structs.replace(self._look, series=tuple(series))
        self._styles = None
        self._forget()

    # --- drawing ---

    def render_line(self, y: int) -> Strip:
        frame = self._current_frame()
        strip = self._strips.get(y)
        if strip is None:
            styles = self._current_styles().of_ink
            strip = self._strips[y] = Strip(
                [Segment(text, styles[ink]) for text, ink in frame.cells.runs(y)],
                frame.cells.width,
            )
        return strip

    def _current_frame(self) -> Frame:
        frame = self._frame
        if frame is None or (frame.cells.width, frame.cells.height) != self.size:
            frame = self._frame = self._draw()
            self._strips.clear()
        return frame

    def _draw(self) -> Frame:
        look = msgspec.structs.replace(
            self._look,
            show_x=self.show_x,
            ascii_only=self.ascii,
            faint_lines=not (self.ascii or self.app.no_color),
        )
        width, height = self.size
        return draw(look, self._data, width, height, cursor_t=self.cursor_t, selected=self._drag)

    def _redraw(self) -> None:
        """Draw anew and repaint the rows that came out differently."""
        before = self._frame
        if before is None or (before.cells.width, before.cells.height) != self.size:
            self._forget()
            return
        if self._is_stale != self._was_stale:
            self._styles = None
            self._forget()
            return
        frame = self._frame = self._draw()
        changed = frame.cells.changed_rows(before.cells).nonzero()[0].tolist()
        for y in changed:
            self._strips.pop(y, None)
        if len(changed) == frame.cells.height:
            self.refresh()
        elif changed:
            self.refresh(*(Region(0, y, frame.cells.width, 1) for y in changed))

    def _forget(self) -> None:
        self._frame = None
        self._strips.clear()
        self.refresh()

    @property
    def _is_stale(self) -> bool:
        return self._data is not None and "stale" in self._data.badge

    def _current_styles(self) -> ChartStyles:
        if self._styles is None:
            self._was_stale = self._is_stale
            self._styles = chart_styles(
                self.app.theme_variables,
                self.background_colors[1],
                self._look.series,
                focused=self.has_focus,
                stale=self._was_stale,
                no_colour=self.app.no_color,
            )
        return self._styles

    def notify_style_update(self) -> None:
        """Focus, theme or style sheet changed."""
        super().notify_style_update()
        self._styles = None
        self._strips.clear()

    def watch_ascii(self) -> None:
        self._forget()

    def watch_show_x(self) -> None:
        self._forget()

    # --- cursor, zoom and pan, by keys ---

    def action_cursor_back(self) -> None:
        self._step_cursor(-1)

    def action_cursor_on(self) -> None:
        self._step_cursor(1)

    def action_cursor_off(self) -> None:
        self._drag = self._pressed_x = None
        self._move_cursor(None)

    def action_seek(self) -> None:
        if self.cursor_t is not None:
            self.post_message(self.Seek(self, self.cursor_t))

    def action_zoom_in(self) -> None:
        self._zoom(1 / KEY_ZOOM, self.cursor_t)

    def action_zoom_out(self) -> None:
        self._zoom(KEY_ZOOM, self.cursor_t)

    def action_unzoom(self) -> None:
        self.post_message(self.Unzoom(self))

    def action_pan_back(self) -> None:
        self._pan(-PAN)

    def action_pan_on(self) -> None:
        self._pan(PAN)

    def action_maximise(self) -> None:
        self.post_message(self.Maximise(self))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys that have nothing to do here are left to the screen."""
        if action == "cursor_off":
            return self._own_cursor_t is not None or self._drag is not None
        if action == "seek":
            return self.cursor_t is not None
        return True

    def _step_cursor(self, cells: int) -> None:
        plot = self._current_frame().plot
        if plot is None:
            return
        at = self.cursor_t
        # The first step comes in from the right end, where the newest is.
        x = plot.right if at is None else plot.cell_of(at)
        self._move_cursor(plot.time_at(x + cells if at is not None else plot.right - 1))

    def _move_cursor(self, t: float | None) -> None:
        if t == self._own_cursor_t and self._drag is None:
            return
        moved = t != self._own_cursor_t
        self._own_cursor_t = t
        self._redraw()
        if moved:
            self.post_message(self.Cursor(self, t))

    def _zoom(self, factor: float, around: float | None) -> None:
        """`around` keeps its place; None: the right end does."""
        if self._data is None:
            return
        t0, t1 = self._data.t0, self._data.t1
        at = t1 if around is None else min(max(around, t0), t1)
        span = max((t1 - t0) * factor, LEAST_SPAN_S)
        begin = at - span * ((at - t0) / (t1 - t0) if t1 > t0 else 1.0)
        self.post_message(self.Zoom(self, begin, begin + span))

    def _pan(self, share: float) -> None:
        if self._data is not None:
            by = (self._data.t1 - self._data.t0) * share
            self.post_message(self.Zoom(self, self._data.t0 + by, self._data.t1 + by))

    # --- and by mouse ---

    def on_mouse_move(self, event: events.MouseMove) -> None:
        plot = self._current_frame().plot
        if plot is None:
            return
        x, y = event.offset - self.content_offset
        if self._pressed_x is not None:
            a, b = sorted((self._pressed_x, x))
            self._drag = (plot.time_at(a), plot.time_at(b)) if b - a >= DRAG_CELLS else None
            self._move_cursor(plot.time_at(x))
            self._redraw()
        else:
            self._move_cursor(plot.time_at(x) if plot.holds(x, y) else None)

    def on_mouse_down(self, event: events.MouseDown) -> None:
        plot = self._current_frame().plot
        x, y = event.offset - self.content_offset
        if event.button == 1 and plot is not None and plot.holds(x, y):
            self._pressed_x = x
            self.capture_mouse()

    def on_mouse_up(self, event: events.MouseUp) -> None:
        pressed_x, self._pressed_x = self._pressed_x, None
        plot = self._current_frame().plot
        if pressed_x is None:
            return
        self.release_mouse()
        if plot is None:
            return
        x = event.offset.x - self.content_offset.x
        drag, self._drag = self._drag, None
        if drag is not None:
            t0, t1 = drag
            self.post_message(self.Zoom(self, t0, max(t1, t0 + LEAST_SPAN_S)))
            self._redraw()
        elif abs(x - pressed_x) < DRAG_CELLS:
            self.post_message(self.Seek(self, plot.time_at(x)))

    def on_click(self, event: events.Click) -> None:
        plot = self._current_frame().plot
        y = event.y - self.content_offset.y
        if event.button == 1 and plot is not None and y < plot.y:
            self.post_message(self.Maximise(self))

    def on_leave(self, event: events.Leave) -> None:
        if event.node is self and self._pressed_x is None:
            self._move_cursor(None)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self._wheel(event, 1 / WHEEL_ZOOM, -PAN)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self._wheel(event, WHEEL_ZOOM, PAN)

    def on_mouse_scroll_left(self, event: events.MouseScrollLeft) -> None:
        self._wheel(event, 1.0, -PAN)

    def on_mouse_scroll_right(self, event: events.MouseScrollRight) -> None:
        self._wheel(event, 1.0, PAN)

    def _wheel(self, event: events.MouseEvent, factor: float, pan: float) -> None:
        """Zoom around the pointer; sideways, or with shift, pan."""
        event.stop()
        event.prevent_default()
        plot = self._current_frame().plot
        if plot is None:
            return
        if event.shift or factor == 1.0:
            self._pan(pan / 2)
        else:
            self._zoom(factor, plot.time_at(event.x - self.content_offset.x))
