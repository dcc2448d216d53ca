"""The Pareto frontier of throughput (more is better) against latency (less is better). Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec


class Frontier(msgspec.Struct, frozen=True):
    """Indices into the points that it was made from.

    `kept` are those that no other point dominates, by rising latency; equal points are all kept.
    `dominated_by` names for each of the others one that dominates it: the kept point of most
    throughput whose latency is not above its own. Points that are not finite are in neither.
    """

    kept: tuple[int, ...]
    dominated_by: dict[int, int]


def dominates(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether `one`, as (latency, throughput), is better than `other` in one and in none worse."""
    return one != other and one[0] <= other[0] and one[1] >= other[1]


def frontier(points: Sequence[tuple[float, float]]) -> Frontier:
    """The frontier of (latency, throughput) pairs, in O(n log n)."""
    finite = [i for i, point in enumerate(points) if all(map(math.isfinite, point))]
    order = sorted(finite, key=lambda i: (points[i][0], -points[i][1]))
    kept: list[int] = []
    dominated_by: dict[int, int] = {}
    for i in order:
        best = kept[-1] if kept else None
        if best is None or points[i][1] > points[best][1] or points[i] == points[best]:
            kept.append(i)
        else:
            dominated_by[i] = best
    return Frontier(tuple(kept), dominated_by)
