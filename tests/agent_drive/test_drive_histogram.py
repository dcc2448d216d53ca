"""The driver's histograms are those of the event schema."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdconsole.agent.drive.histogram import GROWTH, Histogram
from pdconsole.model.events import HISTOGRAM_GROWTH


def test_the_growth_is_the_schema_s() -> None:
    assert GROWTH == HISTOGRAM_GROWTH


@given(st.floats(0.0011, 1e7))
def test_a_value_lies_in_its_bucket(value: float) -> None:
    histogram = Histogram()
    histogram.add(value)
    ((index, count),) = histogram.pairs()
    assert count == 1
    assert GROWTH**index <= value * (1 + 1e-12)
    assert value <= GROWTH ** (index + 1) * (1 + 1e-12)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50))
def test_adding_many_is_adding_each(values: list[float]) -> None:
    one, many = Histogram(), Histogram()
    for value in values:
        one.add(value)
    many.add_all(values)
    assert one.pairs() == many.pairs()
    assert sum(count for _, count in one.pairs()) == len(values)
    assert [index for index, _ in one.pairs()] == sorted(index for index, _ in one.pairs())


def test_percentiles() -> None:
    histogram = Histogram()
    histogram.add_all(float(value) for value in range(1, 1001))
    assert histogram.percentile(50) == pytest.approx(500, rel=0.01)
    assert histogram.percentile(99) == pytest.approx(990, rel=0.01)
    assert Histogram().percentile(99) == 0
    assert math.isclose(sum(count for _, count in histogram.pairs()), 1000)
