"""Points of several series in a plane: a letter and a colour each, joined in their order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from string import ascii_uppercase

import msgspec
from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget

from pdconsole.ui.lines import printable
from pdconsole.ui.theme import colour
from pdconsole.ui.widgets.chart_scale import TICK_CELLS, Scale, value_scale

LEFT = TICK_CELLS + 1  # labels of the y axis, and the axis
SERIES_COLOURS = 6


class ScatterPoint(msgspec.Struct, frozen=True):
    key: str
    x: float
    y: float


class ScatterSeries(msgspec.Struct, frozen=True):
    label: str
    points: tuple[ScatterPoint, ...]


def letter(number: int) -> str:
    return ascii_uppercase[number % len(ascii_uppercase)]


class Scatter(Widget):
    """Heading, plane, and a legend as long as it needs, at most half of the height."""

    DEFAULT_CSS = "Scatter { background: $surface; }"
    ALLOW_SELECT = False

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.heading = ""
        self.x_title = ""
        self.empty = ""
        self._series: tuple[ScatterSeries, ...] = ()
        self._current = ""
        self._drawn: tuple[tuple[object, ...], list[Strip]] | None = None

    def show(
        self, series: Sequence[ScatterSeries], *, heading: str, x_title: str, current: str = ""
    ) -> None:
        """`current` is the key of the point under the cursor; it is drawn reversed."""
        fresh = (tuple(series), heading, x_title, current)
        if fresh != (self._series, self.heading, self.x_title, self._current):
            self._series, self.heading, self.x_title, self._current = fresh
            self.refresh()

    def render_line(self, y: int) -> Strip:
        key = (
            *(self._series, self.heading, self.x_title, self._current, self.empty),
            *(self.size, self.app.theme),
        )
        if self._drawn is None or self._drawn[0] != key:
            self._drawn = (key, self._draw())
        lines = self._drawn[1]
        return lines[y] if y < len(lines) else Strip.blank(self.size.width, self._style("text"))

    # --- drawing ---

    def _style(self, role: str, *, bold: bool = False, reverse: bool = False) -> Style:
        return Style(
            color=colour(self.app, role),
            bgcolor=self.app.theme_variables["surface"],
            bold=bold or None,
            reverse=reverse or None,
        )

    def _role(self, number: int) -> str:
        return f"series-{number % SERIES_COLOURS + 1}"

    def _draw(self) -> list[Strip]:
        width, height = self.size.width, self.size.height
        legend = self._legend(width)[: max(0, height // 2 - 1)]
        rows = height - len(legend) - 3
        points = [p for s in self._series for p in s.points]
        heading = self._text(f" {self.heading}", "accent", width)
        if not points or rows < 3 or width < LEFT + 20:
            return [
                heading,
                self._text("", "text", width),
                self._text(f"  {self.empty}", "muted", width),
            ]
        across = width - LEFT - 2
        xs = value_scale(
            min(p.x for p in points), max(p.x for p in points), (None, None), across // 4
        )
        ys = value_scale(min(p.y for p in points), max(p.y for p in points), (None, None), rows)
        plane = [[(" ", self._style("text"))] * across for _ in range(rows)]
        self._put_series(plane, xs, ys)
        lines = [heading]
        labels = dict(self._y_labels(ys, rows))
        for y, cells in enumerate(plane):
            label = labels.get(y, "").rjust(TICK_CELLS)
            segments = [Segment(label, self._style("muted")), Segment("│", self._style("muted"))]
            segments += [Segment(text, style) for text, style in cells]
            lines.append(Strip(segments).simplify().adjust_cell_length(width, self._style("text")))
        lines += [self._x_axis(xs, across, width), self._x_labels(xs, across, width)]
        return lines + legend

    def _text(self, text: str, role: str, width: int) -> Strip:
        style = self._style(role)
        return Strip([Segment(set_cell_size(text, width), style)], width)

    def _put_series(self, plane: list[list[tuple[str, Style]]], xs: Scale, ys: Scale) -> None:
        rows, across = len(plane), len(plane[0])

        def place(point: ScatterPoint) -> tuple[int, int]:
            x = round((point.x - xs.low) / (xs.high - xs.low) * (across - 1))
            y = round((ys.high - point.y) / (ys.high - ys.low) * (rows - 1))
            return x, y

        for number, series in enumerate(self._series):
            places = [place(p) for p in series.points]
            style = self._style(self._role(number))
            for a, b in pairwise(places):
                for x, y in _between(a, b):
                    if plane[y][x][0] == " ":
                        plane[y][x] = ("·", style)
        for number, series in enumerate(self._series):
            for point in series.points:
                x, y = place(point)
                here = point.key == self._current
                style = self._style(self._role(number), bold=True, reverse=here)
                plane[y][x] = (letter(number), style)

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
        title = f"{self.x_title} →"
        room = LEFT + across - cell_len(title) - 1
        for place, label in self._x_places(scale, across):
            start = LEFT + place - len(label) // 2
            if start > cell_len(line) and start + len(label) < room:
                line = line.ljust(start) + label
        return self._text(line.ljust(room) + " " + title, "muted", width)

    def _legend(self, width: int) -> list[Strip]:
        lines = []
        for number, series in enumerate(self._series):
            style = self._style(self._role(number), bold=True)
            text = f"{printable(series.label)}"
            segments = [Segment(f" {letter(number)} ", style), Segment(text, self._style("text"))]
            lines.append(Strip(segments).adjust_cell_length(width, self._style("text")))
        return lines


def _between(a: tuple[int, int], b: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Cells of the straight line from a to b, without its ends."""
    steps = max(abs(b[0] - a[0]), abs(b[1] - a[1]))
    for i in range(1, steps):
        yield (
            round(a[0] + (b[0] - a[0]) * i / steps),
            round(a[1] + (b[1] - a[1]) * i / steps),
        )
