"""The chart as a widget: what keys and mouse ask for, and that only what changed is painted."""

from __future__ import annotations

import numpy as np
import pytest
from textual import events
from textual.app import App, ComposeResult

from pdconsole.ui.theme import PALETTES, textual_theme
from pdconsole.ui.widgets.chart import Chart, ChartData, Samples, SeriesStyle

SERIES = (
    SeriesStyle("p50", "p50", "series-1"),
    SeriesStyle("p99", "p99", "series-2", "dashed"),
)


def data(t0: float = 0.0, t1: float = 300.0, **more) -> ChartData:
    t = np.arange(0, 600.0)
    lines = {key: Samples(t, v, v) for key, v in (("p50", t * 0 + 300), ("p99", t * 0 + 900))}
    return ChartData(t0, t1, lines, **more)


class Counted(Chart):
    painted: set[int]

    def render_line(self, y):
        self.painted.add(y)
        return super().render_line(y)


class OneChart(App[None]):
    CSS = "Chart { margin: 1 2; border: round $primary; }"

    def __init__(self) -> None:
        super().__init__()
        self.chart = Counted("TTFT", "ms", SERIES, id="ttft")
        self.chart.painted = set()
        self.heard: list[tuple] = []
        for palette in PALETTES:
            self.register_theme(textual_theme(palette))

    def compose(self) -> ComposeResult:
        yield self.chart

    def on_mount(self) -> None:
        self.chart.focus()

    def on_chart_seek(self, message: Chart.Seek) -> None:
        self.heard.append(("seek", message.t))

    def on_chart_zoom(self, message: Chart.Zoom) -> None:
        self.heard.append(("zoom", message.t0, message.t1))

    def on_chart_unzoom(self, message: Chart.Unzoom) -> None:
        self.heard.append(("unzoom",))

    def on_chart_cursor(self, message: Chart.Cursor) -> None:
        self.heard.append(("cursor", message.t))

    def on_chart_maximise(self, message: Chart.Maximise) -> None:
        assert message.control is self.chart
        self.heard.append(("maximise",))

    def text(self) -> str:
        return "\n".join(self.chart.render_line(y).text for y in range(self.chart.size.height))

    def offset_of(self, t: float, row: int = 3) -> tuple[int, int]:
        """Where session second `t` is, from the chart's outer corner."""
        plot = self.chart._current_frame().plot
        assert plot is not None
        corner = self.chart.content_offset
        return corner.x + plot.cell_of(t), corner.y + plot.y + row


@pytest.fixture
async def pilot():
    app = OneChart()
    async with app.run_test(size=(120, 30)) as pilot:
        app.chart.show(data())
        await pilot.pause()
        app.heard.clear()
        yield pilot


CELL_S = 300 / 104  # of a plot 104 cells wide


async def test_keys_ask_for_zoom_pan_seek_and_more(pilot):
    app = pilot.app
    await pilot.press("plus", "minus", "shift+left", "L", "0", "m")
    assert app.heard == [
        ("zoom", 150, 300),
        ("zoom", -300, 300),
        ("zoom", -75, 225),
        ("zoom", 75, 375),
        ("unzoom",),
        ("maximise",),
    ]


async def test_the_cursor_comes_in_from_the_newest_and_goes_by_cells(pilot):
    app = pilot.app
    await pilot.press("left")
    assert app.chart.cursor_t == pytest.approx(300, abs=CELL_S)
    await pilot.press("h", "h", "right")
    assert app.chart.cursor_t == pytest.approx(300 - CELL_S, abs=CELL_S)
    assert "[4:5" in app.text()
    t = app.chart.cursor_t
    await pilot.press("enter", "equals_sign", "escape")
    seek, zoom, gone = app.heard[-3:]
    assert seek == ("seek", t)
    assert zoom[2] - zoom[1] == pytest.approx(150)
    assert (t - zoom[1]) / 150 == pytest.approx(t / 300)
    assert gone == ("cursor", None)
    assert app.chart.cursor_t is None


async def test_a_cursor_of_the_screen_is_shown_too(pilot):
    pilot.app.chart.show(data(cursor_t=150.0))
    assert "[2:30]" in pilot.app.text()


async def test_a_click_seeks_and_a_click_on_the_title_maximises(pilot):
    app = pilot.app
    await pilot.click("#ttft", offset=app.offset_of(120.0))
    await pilot.click("#ttft", offset=(4, 1))
    heard = [h for h in app.heard if h[0] != "cursor"]
    assert heard[0] == ("seek", pytest.approx(120, abs=CELL_S))
    assert heard[1:] == [("maximise",)]


async def test_a_drag_zooms_and_escape_leaves_it(pilot):
    app = pilot.app
    await pilot.mouse_down("#ttft", offset=app.offset_of(210.0))
    await pilot.hover("#ttft", offset=app.offset_of(150.0))
    await pilot.hover("#ttft", offset=app.offset_of(90.0))
    await pilot.mouse_up("#ttft", offset=app.offset_of(90.0))
    zooms = [h for h in app.heard if h[0] in ("zoom", "seek")]
    assert zooms == [("zoom", pytest.approx(90, abs=CELL_S), pytest.approx(210, abs=CELL_S))]

    app.heard.clear()
    await pilot.mouse_down("#ttft", offset=app.offset_of(210.0))
    await pilot.hover("#ttft", offset=app.offset_of(90.0))
    await pilot.press("escape")
    await pilot.mouse_up("#ttft", offset=app.offset_of(90.0))
    assert [h for h in app.heard if h[0] in ("zoom", "seek")] == []


async def test_the_wheel_zooms_around_the_pointer(pilot):
    app = pilot.app
    x, y = app.offset_of(100.0)
    wheel = events.MouseScrollUp(app.chart, x, y, 0, 0, 0, False, False, False)
    app.chart.post_message(wheel)
    await pilot.pause()
    _, t0, t1 = next(h for h in app.heard if h[0] == "zoom")
    assert t1 - t0 == pytest.approx(240)
    assert (100 - t0) / 240 == pytest.approx(1 / 3, abs=0.02)


async def test_the_mouse_over_it_shows_values_and_leaving_takes_them_away(pilot):
    app = pilot.app
    await pilot.hover("#ttft", offset=app.offset_of(100.0))
    assert app.chart.cursor_t == pytest.approx(100, abs=CELL_S)
    assert "[1:4" in app.text()
    await pilot.hover(offset=(0, 0))
    assert app.chart.cursor_t is None


async def test_only_rows_that_changed_are_painted(pilot):
    app = pilot.app
    app.chart.painted.clear()
    app.chart.show(data())
    await pilot.pause()
    assert app.chart.painted == set()
    app.chart.show(data(badge="simulated"))
    await pilot.pause()
    assert app.chart.painted == {0}


async def test_new_styles_and_sizes_repaint_all(pilot):
    app = pilot.app
    before = app.chart.render_line(5)
    app.theme = PALETTES[1].name
    await pilot.pause()
    assert app.chart.render_line(5) != before
    app.chart.ascii = True
    await pilot.pause()
    assert app.text().isascii()
    await pilot.resize_terminal(80, 24)
    await pilot.pause()
    assert {len(row) for row in app.text().split("\n")} == {app.chart.size.width}


async def test_without_colours_no_faint_lines_are_drawn(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    app = OneChart()
    async with app.run_test(size=(80, 24)) as pilot:
        app.chart.show(data(badge="stale"))
        await pilot.pause()
        assert "┈" not in app.text()
        assert "[stale]" in app.text()
