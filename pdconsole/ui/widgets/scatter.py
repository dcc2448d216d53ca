"""Points of several series in a plane: a letter and a colour each, joined in their order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import msgspec
from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from pdconsole.ui.lines import printable
from pdconsole.ui.theme import colour
from pdconsole.ui.widgets.chart_scale import TICK_CELLS, Scale, value_scale

LEFT = TICK_CELLS + 1  # labels of the y axis, and the axis
SERIES_COLOURS = 6
LEAST_ROWS = 4  # of the plane, before the legend is shortened
NEAR = 6  # cells that a click may be beside a point
BARS = ("─", "│")
BEYOND = 0.25  # of what the points span: so far the axes follow their intervals


class ScatterPoint(msgspec.Struct, frozen=True):
    """`hollow` are those that are doubted, `faint` those that keep no promise; `across` and
    `upright` are between what x and y lie, None where nobody knows it."""

    key: str
    x: float
    y: float
    hollow: bool = False
    best: bool = False
    faint: bool = False
    across: tuple[float, float] | None = None
    upright: tuple[float, float] | None = None


class ScatterSeries(msgspec.Struct, frozen=True):
    """Points that are joined. Series of one letter have one colour, and one line in the legend."""

    letter: str
    label: str
    number: int
    points: tuple[ScatterPoint, ...]


class ScatterChart(msgspec.Struct, frozen=True, kw_only=True):
    """`limit` is a value of x that must not be passed; `notes` stand below the legend."""

    series: tuple[ScatterSeries, ...] = ()
    frontier: tuple[tuple[float, float], ...] = ()
    limit: float | None = None
    y_title: str = ""
    x_title: str = ""
    notes: tuple[str, ...] = ()
    empty: str = ""


def series_role(number: int) -> str:
    return f"series-{number % SERIES_COLOURS + 1}"


class Scatter(Widget):
    """A plane, and a legend as long as it needs, at most half of the height.

    A click picks the nearest point. A point on the frontier has `*` behind its letter, a doubted
    one `○` before it; its intervals are bars of its colour, beneath all else.
    """

    DEFAULT_CSS = "Scatter { background: $surface; }"
    ALLOW_SELECT = False

    class Picked(Message):
        """A point was clicked."""

        def __init__(self, scatter: Scatter, key: str) -> None:
            super().__init__()
            self.scatter = scatter
            self.key = key

        @property
        def control(self) -> Scatter:
            return self.scatter

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.chart = ScatterChart()
        self._current = ""
        self._drawn: tuple[tuple[object, ...], list[Strip]] | None = None
        self._styles: dict[tuple[str, bool, bool], Style] = {}  # of the theme that is drawn in
        self._places: dict[tuple[int, int], str] = {}  # cells of the widget -> key

    def show(self, chart: ScatterChart, *, current: str = "") -> None:
        """`current` is the key of the point under the cursor; it is drawn reversed."""
        if (chart, current) != (self.chart, self._current):
            self.chart, self._current = chart, current
            self.refresh()

    def render_line(self, y: int) -> Strip:
        key = (self.chart, self._current, *self.size, self.app.theme)
        if self._drawn is None or self._drawn[0] != key:
            self._drawn = (key, self._draw())
        lines = self._drawn[1]
        return lines[y] if y < len(lines) else Strip.blank(self.size.width, self._style("text"))

    # --- drawing ---

    def _style(self, role: str, *, bold: bool = False, reverse: bool = False) -> Style:
        key = (role, bold, reverse)
        if key not in self._styles:
            self._styles[key] = Style(
                color=colour(self.app, role),
                bgcolor=self.app.theme_variables["surface"],
                bold=bold or None,
                reverse=reverse or None,
            )
        return self._styles[key]

    def _draw(self) -> list[Strip]:
        width, height = self.size.width, self.size.height
        chart = self.chart
        self._places, self._styles = {}, {}
        legend = self._legend(width)[: max(0, min(height // 2 - 1, height - 2 - LEAST_ROWS))]
        rows = height - len(legend) - 2
        points = [p for s in chart.series for p in s.points]
        if not points or rows < 3 or width < LEFT + 20:
            return [self._text("", "text", width), self._text(f"  {chart.empty}", "muted", width)]
        across = width - LEFT - 2
        xs = value_scale(*_span([(p.x, p.across) for p in points]), (None, None), across // 4)
        ys = value_scale(*_span([(p.y, p.upright) for p in points]), (None, None), rows)
        plane = _Plane(across, rows, xs, ys, (" ", self._style("text")))
        self._put_bars(plane)
        self._put_limit(plane)
        self._put_lines(plane)
        self._put_points(plane)
        lines = []
        labels = dict(self._y_labels(ys, rows))
        for y, cells in enumerate(plane.cells):
            label = labels.get(y, "").rjust(TICK_CELLS)
            segments = [Segment(label, self._style("muted")), Segment("│", self._style("muted"))]
            segments += [Segment(text, style) for text, style in cells]
            lines.append(Strip(segments).simplify().adjust_cell_length(width, self._style("text")))
        lines += [self._x_axis(xs, across, width), self._x_labels(xs, across, width)]
        return lines + legend

    def _text(self, text: str, role: str, width: int) -> Strip:
        style = self._style(role)
        return Strip([Segment(set_cell_size(text, width), style)], width)

    def _put_bars(self, plane: _Plane) -> None:
        """That of the point under the cursor lies above the others."""
        points = [(p, s.number) for s in self.chart.series for p in s.points]
        for point, number in sorted(points, key=lambda pair: pair[0].key == self._current):
            style = self._style("muted" if point.faint else series_role(number))
            x, y = plane.place(point.x, point.y)
            if point.across is not None:
                left, right = (plane.place(end, point.y)[0] for end in point.across)
                for at in range(max(0, left), min(plane.across - 1, right) + 1):
                    plane.cells[y][at] = (BARS[0], style)
            if point.upright is not None:
                bottom, top = (plane.place(point.x, end)[1] for end in point.upright)
                for at in range(max(0, top), min(plane.rows - 1, bottom) + 1):
                    plane.cells[at][x] = (BARS[1], style)

    def _put_limit(self, plane: _Plane) -> None:
        limit = self.chart.limit
        if limit is None or not plane.xs.low <= limit <= plane.xs.high:
            return
        x, _ = plane.place(limit, plane.ys.low)
        for y in range(plane.rows):
            plane.cells[y][x] = ("┊", self._style("warn"))

    def _put_lines(self, plane: _Plane) -> None:
        """The frontier lies above the lines of the series."""
        for a, b in pairwise(self.chart.frontier):
            for x, y in _between(plane.place(*a), plane.place(*b)):
                plane.cells[y][x] = ("▪", self._style("muted"))
        # Where many runs are drawn, lines and cells of them are often the same.
        for number, a, b in dict.fromkeys(
            (series.number, a, b)
            for series in self.chart.series
            for a, b in pairwise([plane.place(p.x, p.y) for p in series.points])
        ):
            dot = ("·", self._style(series_role(number)))
            for x, y in _between(a, b):
                if plane.cells[y][x][0] in " ┊":
                    plane.cells[y][x] = dot

    def _put_points(self, plane: _Plane) -> None:
        """Those on the frontier come last: they lie above all others. Signs go where no letter
        is."""
        points = [(p, s) for s in self.chart.series for p in s.points]
        points.sort(key=lambda pair: (pair[0].key == self._current, pair[0].best))
        for point, series in points:
            x, y = plane.place(point.x, point.y)
            role = "muted" if point.faint else series_role(series.number)
            here = point.key == self._current
            style = self._style(role, bold=not point.faint, reverse=here)
            plane.cells[y][x] = (series.letter, style)
            self._places[x + LEFT, y] = point.key
        taken = {(x - LEFT, y) for x, y in self._places}
        for point, series in points:
            x, y = plane.place(point.x, point.y)
            style = self._style("muted" if point.faint else series_role(series.number))
            signs = (("○", x - 1, point.hollow), ("*", x + 1, point.best))
            for sign, at, wanted in signs:
                if wanted and 0 <= at < plane.across and (at, y) not in taken:
                    plane.cells[y][at] = (sign, style)

    def on_click(self, event: events.Click) -> None:
        def far(place: tuple[int, int]) -> int:
            # A cell is twice as high as it is wide.
            return abs(place[0] - event.x) + 2 * abs(place[1] - event.y)

        nearest = min(self._places, key=far, default=None)
        if nearest is not None and far(nearest) <= NEAR:
            self.post_message(self.Picked(self, self._places[nearest]))

    def _y_labels(self, scale: Scale, rows: int) -> Iterator[tuple[int, str]]:
        for tick in scale.ticks():
            yield (
                round((scale.high - tick) / (scale.high - scale.low) * (rows - 1)),
                scale.label(tick),
            )

    def _x_places(self, scale: Scale, across: int) -> Iterator[tuple[int, str]]:
        for tick in scale.ticks():
            place = round((tick - scale.low) / (scale.high - scale.low) * (across - 1))
            yield place, scale.label(tick)

    def _x_axis(self, scale: Scale, across: int, width: int) -> Strip:
        ticks = {place for place, _ in self._x_places(scale, across)}
        drawn = "".join("┴" if x in ticks else "─" for x in range(across))
        return self._text(" " * TICK_CELLS + "└" + drawn, "muted", width)

    def _x_labels(self, scale: Scale, across: int, width: int) -> Strip:
        line = ""
        title = f"{self.chart.y_title} ↑ against {self.chart.x_title} →"
        room = LEFT + across - cell_len(title) - 1
        for place, label in self._x_places(scale, across):
            start = LEFT + place - len(label) // 2
            if start > cell_len(line) and start + len(label) < room:
                line = line.ljust(start) + label
        return self._text(line.ljust(room) + " " + title, "muted", width)

    def _legend(self, width: int) -> list[Strip]:
        """Layouts side by side where they fit, then the notes."""
        chart = self.chart
        entries = list({(s.letter, s.number, s.label): None for s in chart.series})
        room = max((cell_len(printable(label)) for *_, label in entries), default=0) + 5
        columns = max(1, width // room)
        lines = []
        for i in range(0, len(entries), columns):
            segments: list[Segment] = []
            for letter, number, label in entries[i : i + columns]:
                style = self._style(series_role(number), bold=True)
                text = set_cell_size(printable(label), room - 3)
                segments += [Segment(f" {letter} ", style), Segment(text, self._style("text"))]
            lines.append(Strip(segments).adjust_cell_length(width, self._style("text")))
        return lines + [self._text(f" {printable(note)}", "muted", width) for note in chart.notes]


def _span(values: Sequence[tuple[float, tuple[float, float] | None]]) -> tuple[float, float]:
    """All values, and of their intervals what is not far from them: a few repeats have very wide
    ones, and the points would be one."""
    low, high = min(value for value, _ in values), max(value for value, _ in values)
    intervals = [between for _, between in values if between is not None]
    beyond = (high - low) * BEYOND
    return (
        max(min([low, *(least for least, _ in intervals)]), low - beyond),
        min(max([high, *(most for _, most in intervals)]), high + beyond),
    )


class _Plane:
    """The cells between the axes."""

    def __init__(
        self, across: int, rows: int, xs: Scale, ys: Scale, empty: tuple[str, Style]
    ) -> None:
        self.across, self.rows, self.xs, self.ys = across, rows, xs, ys
        self.cells = [[empty] * across for _ in range(rows)]

    def place(self, x: float, y: float) -> tuple[int, int]:
        across, down = self.xs.high - self.xs.low, self.ys.high - self.ys.low
        return (
            round((x - self.xs.low) / across * (self.across - 1)),
            round((self.ys.high - y) / down * (self.rows - 1)),
        )


def _between(a: tuple[int, int], b: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Cells of the straight line from a to b, without its ends."""
    steps = max(abs(b[0] - a[0]), abs(b[1] - a[1]))
    for i in range(1, steps):
        yield (
            round(a[0] + (b[0] - a[0]) * i / steps),
            round(a[1] + (b[1] - a[1]) * i / steps),
        )
