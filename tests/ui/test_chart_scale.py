"""Axes have round ticks that fit beside them, and hold all that is drawn."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdconsole.ui.widgets.chart_scale import (
    TICK_CELLS,
    time_step,
    time_text,
    value_scale,
    value_text,
)

VALUES = st.floats(-1e15, 1e15).map(lambda v: 0.0 if abs(v) < 1e-9 else v)


@given(
    VALUES, VALUES, st.sampled_from([(0.0, None), (None, None), (0.0, 100.0)]), st.integers(1, 60)
)
def test_an_axis_holds_its_data_and_its_labels_fit(a, b, limits, rows):
    low, high = min(a, b), max(a, b)
    scale = value_scale(low, high, limits, rows)
    slack = (scale.high - scale.low) * 1e-9
    assert scale.low <= low + slack
    assert scale.high >= high - slack
    ticks = list(scale.ticks())
    assert 1 <= len(ticks) <= max(3, rows // 2 + 1)
    for tick in ticks:
        assert len(scale.label(tick)) <= TICK_CELLS + (tick < 0)


def test_an_axis_without_data_is_one_all_the_same():
    scale = value_scale(math.nan, math.nan, (0.0, None), 10)
    assert scale.low == 0
    assert scale.high > 0


def test_the_axis_of_percentages_ends_at_100():
    scale = value_scale(31.0, 64.0, (0.0, 100.0), 20)
    assert (scale.low, scale.high) == (0, 100)
    assert [scale.label(t) for t in scale.ticks()] == ["0", "20", "40", "60", "80", "100"]


def test_what_exceeds_the_limits_is_inside_too():
    assert value_scale(0.0, 104.0, (0.0, 100.0), 20).high >= 104


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (38.0, "38"),
        (0.4123, "0.412"),
        (11.234, "11.2"),
        (412.3, "412"),
        (1234.5, "1,234"),
        (48_123.0, "48.1k"),
        (999_960.5, "1.00M"),
        (-2.5, "-2.50"),
    ],
)
def test_values_have_the_digits_that_count(value, text):
    assert value_text(value) == text


@pytest.mark.parametrize(
    ("t", "step", "text"),
    [
        (0, 1, "0:00"),
        (760, 30, "12:40"),
        (3760, 60, "1:02:40"),
        (760.5, 0.5, "12:40.5"),
        (760.25, 0.01, "12:40.25"),
        (59.999, 0.5, "1:00.0"),
        (-0.2, 1, "0:00"),
    ],
)
def test_session_time_as_text(t, step, text):
    assert time_text(t, step) == text


@given(st.floats(1e-3, 1e7), st.integers(1, 30))
def test_there_are_never_more_time_ticks_than_asked(span, most):
    assert span / time_step(span, most) <= most * (1 + 1e-9)
