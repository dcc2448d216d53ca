"""The frontier keeps what nothing dominates, drops what something does, and names what does."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from pdconsole.model.frontier import dominates, frontier

# Few distinct values, so that ties are common.
_points = st.lists(
    st.tuples(st.integers(0, 9).map(float), st.integers(0, 9).map(float)), max_size=40
)


@given(_points)
def test_no_kept_point_is_dominated_and_every_dropped_point_is(
    points: list[tuple[float, float]],
) -> None:
    found = frontier(points)
    assert sorted([*found.kept, *found.dominated_by]) == list(range(len(points)))
    for i in found.kept:
        assert not any(dominates(other, points[i]) for other in points)
    for i, better in found.dominated_by.items():
        assert dominates(points[better], points[i])
        assert better in found.kept


@given(_points, st.randoms())
def test_the_order_of_the_points_does_not_matter(points, random) -> None:
    shuffled = points.copy()
    random.shuffle(shuffled)
    assert {points[i] for i in frontier(points).kept} == {
        shuffled[i] for i in frontier(shuffled).kept
    }


def test_what_is_not_finite_is_left_out() -> None:
    found = frontier([(math.nan, 5.0), (1.0, 2.0), (3.0, math.inf)])
    assert found.kept == (1,)
    assert found.dominated_by == {}
