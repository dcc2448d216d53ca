"""How a chart is to look, and where in it the plot is. Values only."""

from __future__ import annotations

import msgspec

from pdconsole.ui.widgets.chart_columns import Window
from pdconsole.ui.widgets.chart_data import SeriesStyle
from pdconsole.ui.widgets.chart_legend import TAG_CELLS
from pdconsole.ui.widgets.chart_scale import TICK_CELLS

LEFT = TICK_CELLS + 1  # labels of the y axis, and the axis
RIGHT = TAG_CELLS + 1  # tags at the lines' ends
LEAST_WIDTH, LEAST_HEIGHT = LEFT + RIGHT + 10, 3  # below: the title row alone


class Look(msgspec.Struct, frozen=True):
    """How a chart is drawn, apart from its data."""

    title: str
    unit: str
    series: tuple[SeriesStyle, ...]
    y_range: tuple[float | None, float | None] = (0.0, None)
    show_x: bool = True
    ascii_only: bool = False
    faint_lines: bool = True  # a grid that only its colour tells from data


class Plot(msgspec.Struct, frozen=True):
    """The cells in which lines are drawn, and which session second each is."""

    x: int
    y: int
    width: int
    height: int
    window: Window

    @property
    def right(self) -> int:
        """The first column after it."""
        return self.x + self.width

    @property
    def per_cell(self) -> int:
        return self.window.count // self.width

    def time_at(self, x: int) -> float:
        """Session second in the middle of the widget's column `x`, kept inside."""
        cell = min(max(x - self.x, 0), self.width - 1)
        return self.window.middle(cell * self.per_cell + (self.per_cell - 1) / 2)

    def cell_of(self, t: float) -> int:
        """The widget's column of session second `t`; may lie outside."""
        return self.x + self.window.column(t) // self.per_cell

    def holds(self, x: int, y: int | None = None) -> bool:
        inside = self.x <= x < self.right
        return inside and (y is None or self.y <= y < self.y + self.height)


def columns_for(width: int, *, ascii_only: bool = False) -> int:
    """How many columns a chart `width` cells wide tells apart."""
    return max(1, width - LEFT - RIGHT) * (1 if ascii_only else 2)
