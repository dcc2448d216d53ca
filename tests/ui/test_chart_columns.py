"""Samples become columns: nothing is lost in them, and nothing is made up."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pdconsole.ui.widgets.chart_columns import Window, by_column, last_values
from pdconsole.ui.widgets.chart_data import Samples


def line(t, values) -> Samples:
    values = np.asarray(values, float)
    return Samples(np.asarray(t, float), values, values)


SAMPLES = st.lists(
    st.tuples(st.floats(0, 100), st.one_of(st.just(float("nan")), st.floats(-1e6, 1e6))),
    min_size=1,
    max_size=60,
).map(lambda rows: sorted(rows, key=lambda row: row[0]))


@given(SAMPLES, st.integers(1, 300), st.floats(-20, 110), st.floats(0.01, 200))
def test_the_extremes_of_a_window_are_the_extremes_of_its_columns(rows, count, t0, span):
    t, values = (np.array(x) for x in zip(*rows, strict=True))
    window = Window.ending(t0, t0 + span, count)
    columns = by_column(line(t, values), window, 0.0)
    column = np.floor(t / window.width_s) - window.first
    inside = (column >= 0) & (column < count) & ~np.isnan(values)
    assert columns.sampled.sum() == len(set(column[inside]))
    if inside.any():
        assert np.nanmin(columns.low[columns.sampled]) == values[inside].min()
        assert np.nanmax(columns.high[columns.sampled]) == values[inside].max()


def test_a_nan_tears_the_line():
    t = np.arange(20.0)
    values = np.where((t >= 8) & (t <= 11), np.nan, 5.0)
    columns = by_column(line(t, values), Window.ending(0, 20, 40), 0.0)
    drawn = np.flatnonzero(~np.isnan(columns.low)) + Window.ending(0, 20, 40).first
    assert set(range(16, 23)).isdisjoint(drawn)
    assert {14, 24} <= set(drawn)
    assert 13 in drawn  # between the samples of second 6 and 7


def test_with_a_gap_length_only_missing_samples_tear_the_line():
    t = np.arange(0, 30, 0.25)
    values = np.where((t % 1 == 0) & ~((t > 10) & (t < 20)), t, np.nan)
    window = Window.ending(0, 30, 120)
    columns = by_column(line(t, values), window, 2.5)
    there = ~np.isnan(columns.low)
    assert there[window.column(5.0) : window.column(9.9)].all()
    assert not there[window.column(10.5) : window.column(19.9)].any()


def test_a_sample_stays_with_its_neighbours_while_the_window_moves_on():
    rng = np.random.default_rng(3)
    t = np.arange(0, 200, 0.1)
    samples = line(t, rng.normal(0, 1, len(t)))
    first = Window.ending(50, 110, 137)
    before = by_column(samples, first, 0.0)
    for moved_s in (0.1, 0.5, 1.7, 20.0):
        window = Window.ending(50 + moved_s, 110 + moved_s, 137)
        after = by_column(samples, window, 0.0)
        shift = window.first - first.first
        np.testing.assert_array_equal(before.high[shift:], after.high[: 137 - shift])


def test_a_line_runs_off_both_edges_when_zoomed_between_two_samples():
    columns = by_column(line([0, 100], [0, 1000]), Window.ending(40, 60, 50), 0.0)
    assert not columns.sampled.any()
    assert not np.isnan(columns.low).any()
    assert 390 < columns.low[0] < columns.low[-1] < 610


def test_the_last_value_is_the_last_that_is_one():
    t = np.arange(1000.0)
    values = np.where(t < 300, t, np.nan)
    assert last_values(line(t, values), 900) == (299, 299, 299)
    assert last_values(line(t, values), 100.5) == (100, 100, 100)
    assert last_values(line(t, values * np.nan), 900) is None
