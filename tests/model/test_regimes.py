"""Who wins where: winners by hand, borders, certainty, and what holds for any curves."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdconsole.model.regimes import Curve, CurvePoint, Regime, regimes


def _curve(label: str, *points: tuple[float, float], spread: float | None = None) -> Curve:
    def point(latency: float, throughput: float) -> CurvePoint:
        if spread is None:
            return CurvePoint(latency=latency, throughput=throughput)
        return CurvePoint(
            latency=latency,
            throughput=throughput,
            latency_interval=(latency, latency),
            throughput_interval=(throughput * (1 - spread), throughput * (1 + spread)),
        )

    return Curve(label, tuple(point(*p) for p in points))


# Quick at low load and soon full, against slow and roomy: they cross at 20 ms.
_QUICK = ((5.0, 100.0), (10.0, 200.0), (40.0, 260.0))
_ROOMY = ((10.0, 120.0), (20.0, 220.0), (40.0, 420.0))


def _names(found: tuple[Regime, ...]) -> list[tuple[str, str]]:
    return [(r.winner, r.certainty) for r in found]


def test_the_winner_changes_where_the_curves_cross() -> None:
    found = regimes([_curve("quick", *_QUICK, spread=0.0), _curve("roomy", *_ROOMY, spread=0.0)])
    assert _names(found) == [("quick", "alone"), ("quick", "clear"), ("roomy", "clear")]
    assert found[0].low == 5.0
    assert found[-1].high == 40.0
    assert found[2].low == pytest.approx(20.0, rel=0.01)
    assert [r.high for r in found[:-1]] == [r.low for r in found[1:]]


def test_intervals_that_overlap_are_a_tie() -> None:
    found = regimes([_curve("quick", *_QUICK, spread=0.05), _curve("roomy", *_ROOMY, spread=0.05)])
    assert ("quick", "tie") in _names(found)
    assert ("roomy", "tie") in _names(found)
    assert found[-1].certainty == "clear"
    assert found[-1].margin == pytest.approx(0.3, abs=0.3)


def test_without_intervals_nobody_is_sure() -> None:
    found = regimes([_curve("quick", *_QUICK), _curve("roomy", *_ROOMY, spread=0.0)])
    assert {r.certainty for r in found} == {"alone", "unknown"}


def test_who_is_compared_decides_what_is_known() -> None:
    third = _curve("third", (5.0, 10.0), (40.0, 20.0))  # far below, and nobody knows its scatter
    known = [_curve("quick", *_QUICK, spread=0.0), _curve("roomy", *_ROOMY, spread=0.0)]
    found = regimes([*known, third])
    assert {(r.winner, r.certainty) for r in found if r.low >= 10} == {
        ("quick", "clear"),
        ("roomy", "clear"),
    }
    assert ("quick", "unknown") in _names(found)  # below 10 ms the third is the runner-up


def test_a_third_that_reaches_the_winner_makes_a_tie() -> None:
    wide = CurvePoint(
        latency=5.0,
        throughput=150.0,
        latency_interval=(5.0, 5.0),
        throughput_interval=(50.0, 250.0),
    )
    curves = [
        _curve("best", (5.0, 200.0), spread=0.0),
        _curve("next", (5.0, 180.0), spread=0.0),
        Curve("wide", (wide,)),
    ]
    (found,) = regimes(curves)
    assert (found.winner, found.runner_up, found.certainty) == ("best", "next", "tie")


def test_nobody_is_alone_where_the_interval_of_another_begins() -> None:
    late = CurvePoint(
        latency=10.0,
        throughput=150.0,
        latency_interval=(6.0, 14.0),
        throughput_interval=(140.0, 160.0),
    )
    found = regimes(
        [_curve("early", (5.0, 100.0), (20.0, 110.0), spread=0.0), Curve("late", (late,))]
    )
    assert _names(found)[0] == ("early", "alone")
    tie = found[1]
    assert (tie.winner, tie.runner_up, tie.certainty, tie.margin) == ("early", "late", "tie", None)
    assert tie.low == pytest.approx(6.0, rel=0.01)


def test_over_throughput_the_least_latency_wins() -> None:
    found = regimes(
        [_curve("quick", *_QUICK, spread=0.0), _curve("roomy", *_ROOMY, spread=0.0)], "throughput"
    )
    assert found[0].winner == "quick"
    assert found[-1].winner == "roomy"
    assert found[-1].certainty == "alone"  # the quick one never gets there
    assert found[-1].low == pytest.approx(260.0, rel=0.01)
    assert (found[0].low, found[-1].high) == (100.0, 420.0)


def test_no_curve_no_regime() -> None:
    assert regimes([]) == ()
    assert regimes([_curve("empty"), _curve("nothing", (0.0, 0.0))]) == ()


_points = st.lists(st.tuples(st.floats(1, 1000), st.floats(1, 1000)), min_size=1, max_size=6)


@given(st.lists(_points, min_size=1, max_size=4), st.sampled_from(["latency", "throughput"]))
def test_ranges_are_adjacent_and_the_best_measured_point_is_not_beaten(curves, axis) -> None:
    named = [_curve(str(i), *points, spread=0.0) for i, points in enumerate(curves)]
    found = regimes(named, axis)
    assert all(a.high == b.low for a, b in pairwise(found))
    assert all(r.margin is None or r.margin >= 0 for r in found)
    if axis == "latency":
        most = max(t for points in curves for _, t in points)
        holders = {str(i) for i, points in enumerate(curves) if any(t == most for _, t in points)}
        assert found[-1].winner in holders
