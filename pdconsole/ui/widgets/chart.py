"""A chart of a few series over time, drawn line by line."""

from __future__ import annotations

from collections.abc import Sequence

from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from pdconsole.ui.widgets.chart_data import ChartData, ChartMark, Samples, SeriesStyle

__all__ = ["Chart", "ChartData", "ChartMark", "Samples", "SeriesStyle"]


class Chart(Widget, can_focus=True):
    """Series over a shared time axis; it shows what `show` gives it and asks by messages."""

    ascii: reactive[bool] = reactive(False)
    show_x: reactive[bool] = reactive(True)  # times under the axis

    class Seek(Message):
        """Go to session second `t`."""

        def __init__(self, chart: Chart, t: float) -> None:
            super().__init__()
            self.chart = chart
            self.t = t

    class Zoom(Message):
        """Show `t0` to `t1` (a zoom or a pan)."""

        def __init__(self, chart: Chart, t0: float, t1: float) -> None:
            super().__init__()
            self.chart = chart
            self.t0 = t0
            self.t1 = t1

    class Unzoom(Message):
        """Show the default window again."""

        def __init__(self, chart: Chart) -> None:
            super().__init__()
            self.chart = chart

    class Cursor(Message):
        """The cursor was moved to `t` here (None: taken away); other charts may follow."""

        def __init__(self, chart: Chart, t: float | None) -> None:
            super().__init__()
            self.chart = chart
            self.t = t

    class Maximise(Message):
        """Give this chart the whole screen, or put it back."""

        def __init__(self, chart: Chart) -> None:
            super().__init__()
            self.chart = chart

    def __init__(
        self,
        title: str,
        unit: str,
        series: Sequence[SeriesStyle],
        *,
        y_range: tuple[float | None, float | None] = (0.0, None),
        show_x: bool = True,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        """`y_range` are limits that the axis has at least; None leaves one to the data."""
        super().__init__(id=id, classes=classes)
        self.title = title
        self.unit = unit
        self.series = tuple(series)
        self.y_range = y_range
        self.set_reactive(Chart.show_x, show_x)
        self._data: ChartData | None = None

    @property
    def columns(self) -> int:
        """How many columns of a line can be told apart: what to ask a history for."""
        return max(2, 2 * (self.size.width - 10))

    def show(self, data: ChartData) -> None:
        """Take in what to show; repaint what changed."""
        self._data = data
