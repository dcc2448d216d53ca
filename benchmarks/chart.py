"""What a refresh of the live chart costs, inside Textual, beside what it is made of and its peers.

    python benchmarks/chart.py [POINTS]        default 10,000 points for each of 3 series

CPU time (user + system) of the process for one refresh: `show` with a window that has moved on,
Textual's painting of it, and the bytes that would go to the terminal. The chart is 120 × 24 cells,
alone on its screen; the window moves on by two columns each time, so the whole plot changes.
textual-plotext is timed too where it is installed. The aim: 8 ms at 10,000 points.
"""

from __future__ import annotations

import asyncio
import gc
import math
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
from textual.app import App, ComposeResult
from textual.drivers.headless_driver import HeadlessDriver
from textual.widget import Widget

from pdconsole.ui.theme import PALETTES, textual_theme
from pdconsole.ui.widgets.chart import Chart, ChartData, Samples, SeriesStyle
from pdconsole.ui.widgets.chart_columns import Window, by_column
from pdconsole.ui.widgets.chart_frame import draw
from pdconsole.ui.widgets.chart_layout import Look, columns_for

WIDTH, HEIGHT = 120, 24
SPAN_S, STEP_S = 300.0, 3.0
WARM_UP, REFRESHES, PEER_REFRESHES = 10, 60, 10
AIM_MS = 8.0
SERIES = (
    SeriesStyle("p50", "p50", "series-1"),
    SeriesStyle("p90", "p90", "series-2", "dashed"),
    SeriesStyle("p99", "p99", "series-3", "dotted"),
)


class Feed:
    """Three noisy series that go on for longer than the benchmark; a window of `points` each."""

    def __init__(self, points: int) -> None:
        rng = np.random.default_rng(1)
        self.dt = SPAN_S / points
        count = points + round((WARM_UP + REFRESHES) * STEP_S / self.dt) + 1
        self.points = points
        self.t = np.arange(count) * self.dt
        wave = 1 + 0.3 * np.sin(self.t / 20)
        self.values = [
            level * wave + rng.normal(0, level * noise, count)
            for level, noise in ((300, 0.02), (520, 0.03), (900, 0.06))
        ]

    def window(self, i: int) -> ChartData:
        begin = round(i * STEP_S / self.dt)
        part = slice(begin, begin + self.points)
        t = self.t[part]
        lines = {
            s.key: Samples(t, v[part], v[part]) for s, v in zip(SERIES, self.values, strict=True)
        }
        return ChartData(float(t[0]), float(t[-1]), lines, badge="simulated")


class Counting(HeadlessDriver):
    """Takes what Textual writes, as a terminal would."""

    written = 0

    @property
    def is_headless(self) -> bool:
        return False  # or Textual would not make the bytes

    def write(self, data: str) -> None:
        Counting.written += len(data.encode())

    def flush(self) -> None:
        pass


class OneWidget(App[None]):
    """Shows one widget and counts what each refresh of it takes."""

    def __init__(self, widget: Widget, update: Callable[[int], None], refreshes: int) -> None:
        super().__init__(driver_class=Counting)
        self.widget = widget
        self.update = update
        self.refreshes = refreshes
        self.spent: list[float] = []
        self.bytes: list[int] = []
        self.register_theme(textual_theme(PALETTES[0]))
        self.theme = PALETTES[0].name

    def compose(self) -> ComposeResult:
        yield self.widget

    def on_ready(self) -> None:
        self.run_worker(self.measure())

    async def measure(self) -> None:
        painted = asyncio.Event()
        for i in range(-WARM_UP, self.refreshes):
            painted.clear()
            written, started = Counting.written, time.process_time()
            self.update(i + WARM_UP)
            self.widget.call_after_refresh(painted.set)
            await painted.wait()
            spent = (time.process_time() - started) * 1e3
            if i >= 0:
                self.spent.append(spent)
                self.bytes.append(Counting.written - written)
        self.exit()


def in_textual(widget: Widget, update: Callable[[int], None], refreshes: int) -> OneWidget:
    app = OneWidget(widget, update, refreshes)
    gc.collect()
    asyncio.run(app.run_async(size=(WIDTH, HEIGHT), mouse=False))
    if app.return_code:
        raise SystemExit(f"the benchmark's app failed with {app.return_code}")
    return app


def outside_textual(work: Callable[[int], object]) -> list[float]:
    spent = []
    for i in range(WARM_UP + REFRESHES):
        started = time.process_time()
        work(i)
        spent.append((time.process_time() - started) * 1e3)
    return spent[WARM_UP:]


def plotext_widget(feed: Feed) -> tuple[Widget, Callable[[int], None]] | None:
    """textual-plotext drawing the same lines, where it is installed."""
    try:
        from textual_plotext import PlotextPlot
    except ImportError:
        return None
    widget = PlotextPlot()

    def update(i: int) -> None:
        plt = widget.plt
        plt.clear_data()
        for style in SERIES:
            line = feed.window(i).lines[style.key]
            plt.plot(line.t.tolist(), line.high.tolist(), marker="braille", label=style.label)
        widget.refresh()

    return widget, update


def report(name: str, spent: list[float], note: str = "") -> float:
    middle = statistics.median(spent)
    worst = sorted(spent)[math.ceil(len(spent) * 0.95) - 1]
    print(f"{name:<44} {middle:>7.2f} {worst:>7.2f}  {note}")
    return middle


def main() -> int:
    points = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    feed = Feed(points)
    look = Look("TTFT", "ms", SERIES)
    count = columns_for(WIDTH)

    def reduce_all(i: int) -> None:
        data = feed.window(i)
        window = Window.ending(data.t0, data.t1, count)
        for line in data.lines.values():
            by_column(line, window, 0.0)

    print(f"3 series of {points:,} points, {WIDTH} × {HEIGHT} cells; CPU ms a refresh")
    print(f"{'':<44} {'median':>7} {'p95':>7}")
    report("min and max by column, numpy alone", outside_textual(reduce_all))
    report(
        "the whole frame of characters, no Textual",
        outside_textual(lambda i: draw(look, feed.window(i), WIDTH, HEIGHT)),
    )
    chart = Chart("TTFT", "ms", SERIES)
    ours = in_textual(chart, lambda i: chart.show(feed.window(i)), REFRESHES)
    size = statistics.median(ours.bytes)
    middle = report("inside Textual, to the terminal's bytes", ours.spent, f"{size:,.0f} bytes")
    quiet = Chart("TTFT", "ms", SERIES)
    idle = in_textual(quiet, lambda i: quiet.show(feed.window(0)), REFRESHES)
    report("  when nothing has changed", idle.spent, f"{statistics.median(idle.bytes):,.0f} bytes")
    peer = plotext_widget(feed)
    if peer is None:
        print("textual-plotext: not installed here")
    else:
        report("textual-plotext, the same lines", in_textual(*peer, PEER_REFRESHES).spent)
    if points > 10_000:
        return 0  # the aim says nothing of these
    good = middle <= AIM_MS
    print(f"aim {AIM_MS:.0f} ms inside Textual at 10,000 points: {'met' if good else 'MISSED'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
