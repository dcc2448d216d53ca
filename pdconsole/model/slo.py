"""What a service promises: bounds on latencies, all of which a point keeps or does not. Pure."""

from __future__ import annotations

import re

import msgspec

from pdconsole.model.latency_axis import AxisError, HasLatencies, LatencyAxis, parse_latency

NOTATION = "ttft<=500ms,tpot<=15ms (ms or s; ttft:p99<=2s for a p99; interactivity>=50)"

_BOUND = re.compile(
    r"(?P<axis>[^<>=]+?)\s*(?P<sign><=|>=|<|>|≤|≥)\s*(?P<number>[\d.]+)\s*(?P<unit>\D*)"
)
_MS = {"": 1.0, "ms": 1.0, "s": 1000.0}
_PER_S = {"": 1.0, "tok/s": 1.0, "tok/s/user": 1.0}


class Bound(msgspec.Struct, frozen=True):
    """A latency that must not be above `limit`, or interactivity that must not be below it."""

    axis: LatencyAxis
    limit: float  # in the axis's unit

    def met_by(self, point: HasLatencies) -> bool | None:
        """None where the point does not tell."""
        value = self.axis.value(point)
        if value is None:
            return None
        return value >= self.limit if self.axis.inverted else value <= self.limit

    def __str__(self) -> str:
        sign = "≥" if self.axis.inverted else "≤"
        return f"{self.axis.title} {sign} {self.limit:g} {self.axis.unit}"


class Slo(msgspec.Struct, frozen=True):
    bounds: tuple[Bound, ...]

    def met_by(self, point: HasLatencies) -> bool | None:
        """Whether all bounds are kept; None where none is broken and not all can be told."""
        verdicts = [bound.met_by(point) for bound in self.bounds]
        if False in verdicts:
            return False
        return None if None in verdicts else True

    def limit_on(self, axis: LatencyAxis) -> float | None:
        """The bound on just this axis, for a line in a chart."""
        return next((bound.limit for bound in self.bounds if bound.axis == axis), None)

    def __str__(self) -> str:
        return " and ".join(map(str, self.bounds))


def parse_slo(text: str) -> Slo:
    """`ttft<=500ms,tpot<=15ms`. Raises AxisError with a sentence that says what can be written."""
    return Slo(tuple(_bound(part) for part in text.split(",")))


def _bound(text: str) -> Bound:
    match = _BOUND.fullmatch(text.strip())
    if match is None:
        raise AxisError(f"{text.strip()!r} is no bound; write {NOTATION}.")
    axis = parse_latency(match["axis"])
    units = _PER_S if axis.inverted else _MS
    unit = match["unit"].strip().lower()
    if unit not in units:
        raise AxisError(f"{text.strip()!r}: {axis.name} is in {axis.unit}, not in {unit}.")
    if (match["sign"] in (">=", ">", "≥")) != axis.inverted:
        wanted = ">=" if axis.inverted else "<="
        raise AxisError(f"{text.strip()!r}: of {axis.name} a promise is written with {wanted}.")
    try:
        return Bound(axis, float(match["number"]) * units[unit])
    except ValueError:
        raise AxisError(f"{text.strip()!r}: {match['number']} is no number.") from None
