"""A chart as a rectangle of characters. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec
import numpy as np
from rich.cells import cell_len

from pdconsole.ui.plain_characters import plain_text
from pdconsole.ui.widgets import chart_legend as legend
from pdconsole.ui.widgets.chart_axes import draw_cursor, draw_x_axis, draw_y_axis
from pdconsole.ui.widgets.chart_canvas import NOBODY, braille, dots, plain
from pdconsole.ui.widgets.chart_cells import SELECTED, Cells, Ink
from pdconsole.ui.widgets.chart_columns import Columns, Window, by_column
from pdconsole.ui.widgets.chart_data import ChartData
from pdconsole.ui.widgets.chart_head import draw_head
from pdconsole.ui.widgets.chart_layout import (
    LEAST_HEIGHT,
    LEAST_WIDTH,
    LEFT,
    RIGHT,
    Look,
    Plot,
    columns_for,
)
from pdconsole.ui.widgets.chart_scale import Scale, value_scale

NOTHING = "no samples in this window"
_NO_DATA = ChartData(0.0, 1.0, {})


class Frame(msgspec.Struct, frozen=True, eq=False):
    cells: Cells
    plot: Plot | None  # None: too small for one


def draw(
    look: Look,
    data: ChartData | None,
    width: int,
    height: int,
    *,
    cursor_t: float | None = None,
    selected: tuple[float, float] | None = None,
) -> Frame:
    """The whole chart; `selected` are the session seconds of a zoom that is being dragged."""
    cells = Cells.blank(width, height)
    if width < 1 or height < 1:
        return Frame(cells, None)
    data = _NO_DATA if data is None else data
    window = Window.ending(data.t0, data.t1, columns_for(width, ascii_only=look.ascii_only))
    columns = {
        s.key: by_column(data.lines[s.key], window, data.gap_s)
        for s in look.series
        if s.key in data.lines
    }
    at = _columns_at(window, cursor_t, 1 if look.ascii_only else 2)
    top = draw_head(cells, look, data.badge, legend.values(data, look.series, columns, at))
    labels = look.show_x and height - top >= 4
    plot = Plot(LEFT, top, width - LEFT - RIGHT, height - top - (2 if labels else 1), window)
    fits = width >= LEAST_WIDTH and height >= LEAST_HEIGHT and plot.height >= 1
    if fits:
        empty = not _body(cells, look, columns, plot)
        draw_x_axis(cells, look, data.marks, plot, labels=labels)
        if empty:
            x = plot.x + max(0, (plot.width - len(NOTHING)) // 2)
            y = plot.y + (plot.height - 1) // 2
            cells.put(x, y, NOTHING, Ink.UNIT, limit=plot.right)
        if cursor_t is not None:
            draw_cursor(cells, look, cursor_t, plot, labels=labels)
        if selected is not None:
            _select(cells, plot, selected)
    if look.ascii_only:
        _make_plain(cells)
    return Frame(cells, plot if fits else None)


def _columns_at(window: Window, t: float | None, per_cell: int) -> tuple[int, int] | None:
    """The columns of the cell that holds `t`."""
    if t is None:
        return None
    begin = window.column(t) // per_cell * per_cell
    return begin, begin + per_cell


def _body(cells: Cells, look: Look, columns: Mapping[str, Columns], plot: Plot) -> bool:
    """Lines, tags and the values' axis; whether there was a line to draw."""
    scale = _scale(look, columns, plot.height)
    ends = _lines(cells, look, columns, scale, plot)
    _tags(cells, look, ends, plot)
    draw_y_axis(cells, look, scale, plot)
    return bool(ends)


def _scale(look: Look, columns: Mapping[str, Columns], rows: int) -> Scale:
    found = [c for c in columns.values() if not np.isnan(c.low).all()]
    low = min((float(np.nanmin(c.low)) for c in found), default=math.nan)
    high = max((float(np.nanmax(c.high)) for c in found), default=math.nan)
    return value_scale(low, high, look.y_range, rows)


def _lines(
    cells: Cells, look: Look, columns: Mapping[str, Columns], scale: Scale, plot: Plot
) -> dict[int, tuple[int, float]]:
    """Draw the lines; where each series that has one ends: its column and the rows above it."""
    rows = plot.height * (1 if look.ascii_only else 4)
    layers = []
    ends: dict[int, tuple[int, float]] = {}
    for i, s in enumerate(look.series):
        line = columns.get(s.key)
        if line is None:
            layers.append(np.zeros((rows, plot.window.count), bool))
            continue
        kind = "solid" if look.ascii_only else s.line
        layers.append(dots(line, scale, rows, kind, plot.window.first))
        there = np.flatnonzero(~np.isnan(line.low))
        if len(there):
            last = int(there[-1])
            level = float(line.low[last] + line.high[last]) / 2
            depth = (scale.high - level) / (scale.high - scale.low) * plot.height
            ends[i] = (plot.x + last // plot.per_cell, depth)
    if not layers:
        return ends
    codes, owners = (plain if look.ascii_only else braille)(layers)
    place = slice(plot.y, plot.y + plot.height), slice(plot.x, plot.right)
    cells.codes[place] = codes
    cells.inks[place] = np.where(owners == NOBODY, Ink.BLANK, owners + Ink.SERIES)
    return ends


def _tags(cells: Cells, look: Look, ends: Mapping[int, tuple[int, float]], plot: Plot) -> None:
    """Each series' tag right of where its line ends; else beside the plot, in a row of its own."""
    names = legend.tags(look.series)
    beside: list[tuple[float, int]] = []
    for i, (x, depth) in ends.items():
        size = cell_len(names[i])
        y = plot.y + min(plot.height - 1, int(depth))
        if x + size + 2 < plot.right and cells.is_blank(x + 1, y, size + 1):
            cells.put(x + 1, y, names[i], Ink.SERIES + i)
        else:
            beside.append((depth, i))
    beside.sort()
    row = plot.y + plot.height
    # From the lowest up, then down again where the top is overrun.
    places: list[int] = []
    for depth, _ in reversed(beside):
        row = min(plot.y + int(depth), row - 1)
        places.append(row)
    places.reverse()
    lowest = plot.y - 1
    for place, (_, i) in zip(places, beside, strict=True):
        lowest = max(place, lowest + 1)
        if lowest < plot.y + plot.height:
            cells.put(plot.right + 1, lowest, names[i], Ink.SERIES + i)


def _select(cells: Cells, plot: Plot, selected: tuple[float, float]) -> None:
    a, b = sorted(plot.cell_of(t) for t in selected)
    a, b = max(a, plot.x), min(b, plot.right - 1)
    cells.inks[plot.y : plot.y + plot.height, a : b + 1] |= SELECTED


def _make_plain(cells: Cells) -> None:
    for y, x in np.argwhere(cells.codes > 127).tolist():
        cells.codes[y, x] = ord(plain_text(chr(cells.codes[y, x]))[:1])
