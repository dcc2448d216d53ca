"""What a chart looks like, as characters."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdconsole.ui.widgets.chart_cells import SELECTED, Ink
from pdconsole.ui.widgets.chart_data import ChartData, Samples, SeriesStyle
from pdconsole.ui.widgets.chart_frame import NOTHING, draw
from pdconsole.ui.widgets.chart_layout import LEAST_WIDTH, Look
from pdconsole.ui.widgets.chart_legend import tags

PERCENTILES = (
    SeriesStyle("p50", "p50", "series-1"),
    SeriesStyle("p90", "p90", "series-2", "dashed"),
    SeriesStyle("p99", "p99", "series-3", "dotted"),
)
TTFT = Look("TTFT", "ms", PERCENTILES)


class Mark(msgspec.Struct, frozen=True):
    t: float
    kind: str
    text: str


def samples(values, t=None) -> Samples:
    values = np.asarray(values, float)
    t = np.arange(len(values), dtype=float) if t is None else t
    return Samples(t, values, values)


def three_lines(**more) -> ChartData:
    t = np.arange(0, 300.0)
    lines = {
        s.key: samples(np.full(300, level), t)
        for s, level in zip(PERCENTILES, (300, 600, 900), strict=True)
    }
    return ChartData(0.0, 300.0, lines, **more)


@given(
    st.integers(LEAST_WIDTH, 240),
    st.integers(4, 60),
    st.integers(0, 9_999),
    st.sampled_from(["solid", "dashed", "dotted"]),
    st.booleans(),
)
def test_a_spike_of_one_sample_is_seen_at_any_size(width, height, at, line, ascii_only):
    values = np.full(10_000, 100.0)
    values[at] = 1000.0
    look = Look("A", "", (SeriesStyle("a", "a", line=line),), ascii_only=ascii_only)
    data = ChartData(0.0, 10_000.0, {"a": samples(values)})
    frame = draw(look, data, width, height)
    plot = frame.plot
    assert plot is not None
    # The axis ends at 1000: the spike reaches its first row, in its own column of cells.
    x = plot.cell_of(float(at))
    if plot.holds(x):  # else the window's first column, cut off in part
        assert frame.cells.inks[plot.y, x] == Ink.SERIES


@given(st.integers(1, 200), st.integers(1, 60), st.booleans(), st.sampled_from([None, 150.0]))
def test_a_chart_of_any_size_is_exactly_that_size(width, height, ascii_only, cursor_t):
    look = msgspec.structs.replace(TTFT, ascii_only=ascii_only)
    data = three_lines(badge="simulated stale", marks=(Mark(100, "point", "c=16"),))
    frame = draw(look, data, width, height, cursor_t=cursor_t, selected=(10.0, 90.0))
    rows = frame.cells.text().split("\n")
    assert [len(row) for row in rows] == [width] * height
    assert frame.cells.text().isascii() or not ascii_only


def test_the_least_tile_shows_axis_ticks_mark_tags_values_and_badge():
    marks = (Mark(60, "point", "c=16"), Mark(200, "flag", "late"))
    look = msgspec.structs.replace(TTFT, show_x=False, faint_lines=False)
    frame = draw(look, three_lines(badge="simulated", marks=marks), 38, 6)
    assert frame.cells.text() == "\n".join(
        (
            "TTFT ms p50 300  p90 600  p99 900  sim",
            "     │⠈⠈⠈⠈⠈⠈⠈⠈⠈⠈⠈⠈⠈⠈⠈⠈⠈⠈⠈⠈⠈⠈⠈⠈⠈⠈⠈  p99",
            "  500┤⠒⠂⠐⠒⠂⠐⠒⠂⠐⠒⠂⠐⠒⠂⠐⠒⠂⠐⠒⠂⠐⠒⠂⠐⠒⠂⠐⠂ p90",
            "     │⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠄ p50",
            "     │                                ",
            "    0┼─────▲ c=16 ──────⚑ late ──┬    ",
        )
    )


@pytest.mark.parametrize("badge", ["simulated", "stale", "warm-up"])
@pytest.mark.parametrize("size", [(38, 6), (66, 18), (200, 60)])
def test_the_badge_is_on_the_chart_at_any_size(badge, size):
    text = draw(TTFT, three_lines(badge=badge), *size).cells.text()
    assert badge[:3] in text.split("\n")[0]
    assert badge in text.split("\n")[0] or size[0] < 60


def test_lines_differ_without_any_colour():
    drawn = []
    for line in ("solid", "dashed", "dotted"):
        look = Look("A", "", (SeriesStyle("a", "a", line=line),), faint_lines=False)
        drawn.append(draw(look, ChartData(0, 200, {"a": samples(np.ones(200))}), 80, 12))
    assert len({frame.cells.text().replace("⠒", "") for frame in drawn}) == 3
    ascii_look = msgspec.structs.replace(TTFT, ascii_only=True, faint_lines=False)
    text = draw(ascii_look, three_lines(), 80, 12).cells.text()
    assert all(marker * 20 in text for marker in "*o+")
    assert "* p50 300" in text


def test_a_gap_stays_a_gap():
    values = np.full(200, 5.0)
    values[80:120] = np.nan
    look = Look("A", "", (SeriesStyle("a", "a"),), faint_lines=False)
    frame = draw(look, ChartData(0, 200, {"a": samples(values)}), 110, 12)
    plot = frame.plot
    assert plot is not None
    inside = slice(plot.cell_of(82), plot.cell_of(118))
    assert (frame.cells.inks[plot.y : plot.y + plot.height, inside] < Ink.SERIES).all()


def test_the_cursor_shows_the_range_of_its_cell():
    values = np.full(1000, 10.0)
    values[500] = 70.0
    look = Look("A", "ms", (SeriesStyle("a", "a"),))
    data = ChartData(0, 1000, {"a": samples(values)})
    assert "a 10–70 " in draw(look, data, 80, 12, cursor_t=500.0).cells.text()
    assert "a 10 " in draw(look, data, 80, 12, cursor_t=300.0).cells.text()
    assert "[8:20]" in draw(look, data, 80, 12, cursor_t=500.0).cells.text()


def test_where_there_is_nothing_no_number_is_shown():
    values = np.full(200, 5.0)
    values[100:] = np.nan
    look = Look("A", "", (SeriesStyle("a", "a"), SeriesStyle("b", "b")))
    data = ChartData(0, 200, {"a": samples(values)})
    head = draw(look, data, 80, 12, cursor_t=150.0).cells.text().split("\n")[0]
    assert "a –" in head
    assert "b –" in head
    assert NOTHING in draw(look, ChartData(0, 200, {}), 80, 12).cells.text()
    assert NOTHING in draw(look, None, 80, 12).cells.text()


def test_an_old_value_is_not_shown_as_the_present_one():
    values = np.full(100, 5.0)
    data = ChartData(0, 200, {"a": samples(values)}, gap_s=2.5)
    look = Look("A", "", (SeriesStyle("a", "a"),))
    assert "a –" in draw(look, data, 80, 12).cells.text().split("\n")[0]


def test_a_flag_is_seen_where_a_note_falls_in_the_same_cell():
    marks = (Mark(100, "flag", "late"), Mark(100.1, "note", "hello"))
    axis = draw(TTFT, three_lines(marks=marks), 80, 12).cells.text().split("\n")[-2]
    assert "⚑ late" in axis
    assert "hello" not in axis


def test_text_is_data():
    look = Look("\x1b[31mred", "[b]", (SeriesStyle("a", "\x07bell"),))
    data = ChartData(0, 10, {}, marks=(Mark(2, "note", "\x1b]0;x\x07 宽"),))
    text = draw(look, data, 120, 12).cells.text()
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "[b]" in text
    assert "宽" in text


def test_tags_at_the_ends_are_in_the_order_of_the_lines():
    lines = {key: samples(np.full(100, v)) for key, v in (("p50", 501), ("p90", 502), ("p99", 503))}
    frame = draw(TTFT, ChartData(0, 100, lines), 60, 20)
    ends = [row[-3:] for row in frame.cells.text().split("\n") if row[-3:].strip(" 0123456789[]")]
    assert ends == ["p99", "p90", "p50"]


def test_tags_tell_all_series_apart():
    def made(*labels):
        return tags([SeriesStyle(label, label) for label in labels])

    assert made("p50", "p90", "p99") == ("p50", "p90", "p99")
    assert made("input", "output", "total") == ("i", "o", "t")
    assert made("D1 wire", "D1 each", "D2 wire") == ("A", "B", "C")
    assert tags([SeriesStyle("a", "D1 wire", tag="w1"), SeriesStyle("b", "x")]) == ("w1", "x")


def test_a_drag_marks_the_cells_it_would_zoom_to():
    frame = draw(TTFT, three_lines(), 80, 12, selected=(100.0, 200.0))
    plot = frame.plot
    assert plot is not None
    marked = np.flatnonzero(frame.cells.inks[plot.y] & SELECTED)
    assert marked[0] == plot.cell_of(100.0)
    assert marked[-1] == plot.cell_of(200.0)


def test_a_flag_does_not_hide_the_point_that_begins_with_it() -> None:
    marks = (Mark(50.0, "flag", "conc4: few"), Mark(50.01, "point", "conc8"))
    text = draw(TTFT, ChartData(0.0, 100.0, {}, marks=marks), 80, 12).cells.text()
    assert "⚑▲" in text or "▲⚑" in text


def test_guides_do_not_cut_the_words_of_an_empty_chart() -> None:
    marks = tuple(Mark(t, "point", "c") for t in (45.0, 50.0, 55.0))
    assert NOTHING in draw(TTFT, ChartData(0.0, 100.0, {}, marks=marks), 80, 12).cells.text()
