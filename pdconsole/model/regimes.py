"""Which layout wins where: over latency targets, and over the throughput that is asked for. Pure.

A layout's curve is its own frontier of measured loads. Between two neighbours a load that was not
measured is taken to lie on the straight line; outside of what was measured nothing is said.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import Literal

import msgspec

from pdconsole.model.frontier import frontier

Axis = Literal["latency", "throughput"]
# clear: the intervals do not overlap. tie: they do. unknown: of the winner or the runner-up nobody
# knows how far its numbers scatter. alone: no other gets there, its interval included.
Certainty = Literal["clear", "tie", "unknown", "alone"]

STEPS = 400  # positions looked at, evenly on a logarithmic scale; borders are as exact as that


class CurvePoint(msgspec.Struct, frozen=True, kw_only=True):
    """One load of a layout. Intervals are (low, high), None where nobody knows them."""

    latency: float
    throughput: float
    latency_interval: tuple[float, float] | None = None
    throughput_interval: tuple[float, float] | None = None

    @property
    def is_certain(self) -> bool:
        return self.latency_interval is not None and self.throughput_interval is not None

    def worst(self) -> tuple[float, float]:
        """(latency, throughput) at the unlucky ends of the intervals."""
        latency = self.latency_interval or (self.latency, self.latency)
        throughput = self.throughput_interval or (self.throughput, self.throughput)
        return latency[1], throughput[0]

    def best(self) -> tuple[float, float]:
        """(latency, throughput) at the lucky ends of the intervals."""
        latency = self.latency_interval or (self.latency, self.latency)
        throughput = self.throughput_interval or (self.throughput, self.throughput)
        return latency[0], throughput[1]


class Curve(msgspec.Struct, frozen=True):
    label: str
    points: tuple[CurvePoint, ...]


class Regime(msgspec.Struct, frozen=True, kw_only=True):
    """From `low` to `high` of the axis `winner` is best; "" where no layout gets there.

    `margin` is how much better than the runner-up it is in the middle, as a share: of throughput
    over latency targets, of latency over throughputs. None where there is no other, and where the
    other gets there only within its interval.
    """

    low: float
    high: float
    winner: str
    certainty: Certainty
    runner_up: str = ""
    margin: float | None = None


class _Steps(msgspec.Struct, frozen=True):
    """A frontier as a function: the best `ys` that is to be had at `x` or less."""

    xs: tuple[float, ...]
    ys: tuple[float, ...]

    def at(self, x: float) -> float | None:
        i = bisect_right(self.xs, x)
        if i == 0:
            return None
        if i == len(self.xs):
            return self.ys[-1]
        share = (x - self.xs[i - 1]) / (self.xs[i] - self.xs[i - 1])
        return self.ys[i - 1] + share * (self.ys[i] - self.ys[i - 1])


class _Contender(msgspec.Struct, frozen=True):
    label: str
    middle: _Steps
    worst: _Steps
    best: _Steps
    certain: bool


def regimes(curves: Sequence[Curve], axis: Axis = "latency") -> tuple[Regime, ...]:
    """Adjacent ranges of the axis, from its least measured value to its greatest.

    Over `latency` the winner gives the most throughput within the target; over `throughput` it
    gives the least latency at that throughput. Empty where no curve has a usable point.
    """
    contenders = [c for curve in curves if (c := _contender(curve, axis)) is not None]
    if not contenders:
        return ()
    sign = 1.0 if axis == "latency" else -1.0
    values = [abs(x) for c in contenders for x in c.middle.xs]
    positions = _positions(min(values), max(values))
    verdicts = [_verdict(contenders, sign * position) for position in positions]
    return tuple(_merged(positions, verdicts))


def _contender(curve: Curve, axis: Axis) -> _Contender | None:
    usable = [p for p in curve.points if p.latency > 0 and p.throughput > 0]
    middle = _steps([(p.latency, p.throughput) for p in usable], axis)
    if middle is None:
        return None
    return _Contender(
        curve.label,
        middle,
        _steps([p.worst() for p in usable], axis) or middle,
        _steps([p.best() for p in usable], axis) or middle,
        all(p.is_certain for p in usable),
    )


def _steps(points: Sequence[tuple[float, float]], axis: Axis) -> _Steps | None:
    kept = sorted({points[i] for i in frontier(points).kept})
    if not kept:
        return None
    latencies, throughputs = zip(*kept, strict=True)
    if axis == "latency":
        return _Steps(latencies, throughputs)
    # More throughput is less of its negative, and less latency more of its negative.
    return _Steps(tuple(-t for t in reversed(throughputs)), tuple(-x for x in reversed(latencies)))


def _positions(least: float, most: float) -> list[float]:
    if least == most:
        return [least, most]
    growth = math.log(most / least) / STEPS
    return [*(least * math.exp(growth * i) for i in range(STEPS)), most]


def _verdict(contenders: Sequence[_Contender], x: float) -> Regime:
    """The winner at one position; `low` and `high` are to be filled in."""
    found = [(y, c) for c in contenders if (y := c.middle.at(x)) is not None]
    if not found:
        return Regime(low=0.0, high=0.0, winner="", certainty="unknown")
    found.sort(key=lambda pair: -pair[0])
    y, winner = found[0]
    rivals = _reach(winner, contenders, x)
    if len(found) == 1:
        return _unchallenged(winner, rivals, x)
    other_y, other = found[1]
    return Regime(
        low=0.0,
        high=0.0,
        winner=winner.label,
        certainty=_certainty(winner, other, rivals, x),
        runner_up=other.label,
        margin=(y - other_y) / abs(other_y) if other_y else None,
    )


def _reach(winner: _Contender, contenders: Sequence[_Contender], x: float) -> dict[str, float]:
    """What the others have at the lucky ends of their intervals; not those that have none."""
    others = (c for c in contenders if c is not winner and c.certain)
    return {c.label: y for c in others if (y := c.best.at(x)) is not None}


def _unchallenged(winner: _Contender, rivals: dict[str, float], x: float) -> Regime:
    """No other gets there by what was measured; one that may within its interval makes a tie."""
    label = max(rivals, key=lambda each: rivals[each], default="")
    if label and _overlaps(winner, rivals[label], x):
        return Regime(low=0.0, high=0.0, winner=winner.label, certainty="tie", runner_up=label)
    return Regime(low=0.0, high=0.0, winner=winner.label, certainty="alone")


def _certainty(
    winner: _Contender, other: _Contender, rivals: dict[str, float], x: float
) -> Certainty:
    """Of the winner before the runner-up; a third of which the scatter is known can make a tie."""
    if not (winner.certain and other.certain):
        return "unknown"
    return "tie" if any(_overlaps(winner, y, x) for y in rivals.values()) else "clear"


def _overlaps(winner: _Contender, y: float, x: float) -> bool:
    least = winner.worst.at(x)
    return least is None or least <= y


def _merged(positions: Sequence[float], verdicts: Sequence[Regime]) -> list[Regime]:
    """Neighbouring positions with the same winner and certainty as one range."""
    ranges: list[Regime] = []
    start = 0
    for i in range(1, len(positions) + 1):
        if i < len(positions) and _same(verdicts[i], verdicts[start]):
            continue
        middle = verdicts[(start + i - 1) // 2]
        high = positions[min(i, len(positions) - 1)]
        ranges.append(msgspec.structs.replace(middle, low=positions[start], high=high))
        start = i
    return ranges


def _same(one: Regime, other: Regime) -> bool:
    return (one.winner, one.certainty) == (other.winner, other.certainty)
