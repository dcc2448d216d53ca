"""Axes of a chart, the marks on them, and the cursor. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from rich.cells import cell_len

from pdconsole.ui.widgets.chart_cells import Cells, Ink
from pdconsole.ui.widgets.chart_data import ChartMark, MarkKind
from pdconsole.ui.widgets.chart_layout import Look, Plot
from pdconsole.ui.widgets.chart_scale import TICK_CELLS, Scale, time_step, time_text

TIME_CELLS = 14  # least distance of time ticks

_SIGNS: dict[MarkKind, tuple[str, str]] = {  # and in ASCII; the weightiest first
    "flag": ("⚑", "!"),
    "run": ("◆", "#"),
    "point": ("▲", "^"),
    "session": ("■", "="),
    "command": ("▸", ">"),
    "note": ("•", "*"),
}
_WEIGHT: dict[MarkKind, int] = {kind: i for i, kind in enumerate(_SIGNS)}
_GUIDED: tuple[MarkKind, ...] = ("run", "point")
_GUIDE_EVERY = 6  # more guides than one in so many cells would be a fence


def draw_y_axis(cells: Cells, look: Look, scale: Scale, plot: Plot) -> None:
    line, tick = ("|", "+") if look.ascii_only else ("│", "┤")
    bottom = plot.y + plot.height
    axis = plot.x - 1
    cells.fill(slice(plot.y, bottom), slice(axis, axis + 1), line, Ink.AXIS)
    dots = 1 if look.ascii_only else 4
    per_value = (plot.height * dots - 1) / (scale.high - scale.low)
    for value in scale.ticks():
        y = plot.y + round((scale.high - value) * per_value) // dots
        # The lowest stands at the corner: its line is the x axis.
        lowest = math.isclose(value, scale.low, abs_tol=scale.step * 1e-6)
        label = f"{scale.label(value):>{TICK_CELLS}}"
        cells.put(0, bottom if lowest else y, label, Ink.TICK)
        if lowest:
            continue
        cells.put(axis, y, tick, Ink.AXIS)
        if look.faint_lines:
            _behind(cells, plot, y, slice(plot.x, plot.right), "┈", Ink.GRID)


def draw_x_axis(
    cells: Cells, look: Look, marks: Sequence[ChartMark], plot: Plot, *, labels: bool
) -> None:
    line, tick, corner = ("-", "+", "+") if look.ascii_only else ("─", "┬", "┼")
    y = plot.y + plot.height
    cells.fill(slice(y, y + 1), slice(plot.x, plot.right), line, Ink.AXIS)
    cells.put(plot.x - 1, y, corner, Ink.AXIS)
    window = plot.window
    step = time_step(window.end - window.begin, max(1, plot.width // TIME_CELLS))
    free_from = 0
    for i in range(math.ceil(window.begin / step), math.floor(window.end / step) + 1):
        x = plot.cell_of(i * step)
        if i < 0 or not plot.holds(x):
            continue  # the session begins at 0
        cells.put(x, y, tick, Ink.AXIS)
        text = time_text(i * step, step)
        begin = min(x - len(text) // 2, cells.width - len(text))
        if labels and begin >= free_from:
            free_from = cells.put(begin, y + 1, text, Ink.TICK) + 1
    _marks(cells, look, marks, plot)


def _marks(cells: Cells, look: Look, marks: Sequence[ChartMark], plot: Plot) -> None:
    """A sign each on the axis, with its text where there is room up to the next."""
    seen = _places(marks, plot)
    places = sorted(seen)
    guided = [x for x in places if seen[x].kind in _GUIDED]
    y = plot.y + plot.height
    for x, following in zip(places, (*places[1:], plot.right + 1), strict=False):
        mark = seen[x]
        ink = Ink.FLAG if mark.kind == "flag" else Ink.MARK
        cells.put(x, y, _SIGNS[mark.kind][look.ascii_only], ink)
        room = following - x - 3  # a blank on either side
        if mark.text and cell_len(mark.text) <= room:
            end = cells.put(x + 1, y, f" {mark.text}", ink)
            if end < plot.right:
                cells.put(end, y, " ", ink)
    if look.faint_lines and len(guided) * _GUIDE_EVERY <= plot.width:
        for x in guided:
            for row in range(plot.y, plot.y + plot.height):
                _behind(cells, plot, row, slice(x, x + 1), "┊", Ink.GUIDE)


def _places(marks: Sequence[ChartMark], plot: Plot) -> dict[int, ChartMark]:
    """The marks by their cells, the weightiest of each. A point that a flag would hide goes to a
    free cell beside it: what ends one point comes with what begins the next."""
    seen: dict[int, ChartMark] = {}
    for mark in sorted(marks, key=lambda mark: _WEIGHT[mark.kind], reverse=True):
        x = plot.cell_of(mark.t)
        if not plot.holds(x):
            continue
        known = seen.get(x)
        seen[x] = mark
        if known is not None and known.kind in _GUIDED and mark.kind not in _GUIDED:
            free = (beside for beside in (x + 1, x - 1) if beside not in seen)
            beside = next((b for b in free if plot.holds(b)), None)
            if beside is not None:
                seen[beside] = known
    return seen


def draw_cursor(cells: Cells, look: Look, t: float, plot: Plot, *, labels: bool) -> None:
    """A line behind the data at `t`, and the time under it."""
    x = plot.cell_of(t)
    if not plot.holds(x):
        return
    for row in range(plot.y, plot.y + plot.height):
        _behind(cells, plot, row, slice(x, x + 1), "|" if look.ascii_only else "│", Ink.CURSOR)
    y = plot.y + plot.height
    if cells.inks[y, x] == Ink.AXIS:  # a mark is worth more
        cells.put(x, y, "+" if look.ascii_only else "┴", Ink.CURSOR)
    text = f"[{time_text(t, 0.1 if plot.window.width_s < 0.5 else 1.0)}]"
    begin = min(max(x - len(text) // 2, 0), cells.width - len(text))
    row = y + 1 if labels else y
    if labels:
        _clear_word(cells, row, begin, begin + len(text))
    cells.put(begin, row, text, Ink.CURSOR_TIME)


def _clear_word(cells: Cells, y: int, begin: int, end: int) -> None:
    """Blank the labels that would be cut in two, so that no half a number is left."""
    while begin > 0 and cells.codes[y, begin - 1] != ord(" "):
        begin -= 1
    while end < cells.width and cells.codes[y, end] != ord(" "):
        end += 1
    cells.codes[y, begin:end] = ord(" ")
    cells.inks[y, begin:end] = Ink.BLANK


def _behind(cells: Cells, plot: Plot, y: int, x: slice, character: str, ink: Ink) -> None:
    """Write where no line is drawn."""
    if not plot.y <= y < plot.y + plot.height:
        return
    free = np.flatnonzero(cells.inks[y, x] < Ink.SERIES) + x.start
    cells.codes[y, free] = ord(character)
    cells.inks[y, free] = ink
