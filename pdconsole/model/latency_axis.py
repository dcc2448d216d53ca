"""The latency that a comparison is made over: a measured one, or one made of two. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Protocol

import msgspec

MEASURED = ("ttft", "tpot", "itl", "e2el")
STATISTICS = {"mean": "mean", "p50": "median", "p90": "p90", "p95": "p95", "p99": "p99"}
NOTATION = "tpot, ttft, itl, e2el, chunk:N (N tokens) or interactivity, with :p99 for a p99"

_WRITTEN = re.compile(
    r"(?P<name>[a-z0-9]+?)(?::(?P<tokens>\d{1,6}))?(?::(?P<statistic>[a-z0-9]+))?"
)


class AxisError(ValueError):
    """What is written is no axis; str() says what can be."""


class HasLatencies(Protocol):
    """A measured point: latencies in ms, and 95 % intervals under names as `ttft_p50_ms`."""

    @property
    def ci(self) -> Mapping[str, tuple[float, float]]: ...

    def latency(self, name: str, statistic: str = "p50") -> float | None: ...


class LatencyAxis(msgspec.Struct, frozen=True, kw_only=True):
    """A sum of measured latencies, each by a factor; or, inverted, tokens a second of one user.

    `chunk:16` is TTFT + 15 × TPOT: when the 16th token is there. Of a statistic it is the sum of
    the two statistics, since files rarely hold what is in between.
    """

    name: str = "tpot"
    statistic: str = "p50"
    terms: tuple[tuple[str, int], ...] = (("tpot", 1),)
    inverted: bool = False

    @property
    def unit(self) -> str:
        return "tok/s/user" if self.inverted else "ms"

    @property
    def title(self) -> str:
        """`median TPOT`, `p99 TTFT + 15 × TPOT`, `median interactivity`."""
        which = STATISTICS[self.statistic]
        if self.inverted:
            return f"{which} interactivity"
        return f"{which} " + " + ".join(
            name.upper() if factor == 1 else f"{factor} × {name.upper()}"
            for name, factor in self.terms
        )

    def value(self, point: HasLatencies) -> float | None:
        """In `unit`; None where the point does not tell."""
        total = 0.0
        for name, factor in self.terms:
            latency = point.latency(name, self.statistic)
            if latency is None:
                return None
            total += factor * latency
        return self.turned(total)

    def interval(self, point: HasLatencies) -> tuple[float, float] | None:
        """95 %, (low, high) in `unit`; for a sum the ends are added, which is rather too wide."""
        low = high = 0.0
        for name, factor in self.terms:
            found = point.ci.get(f"{name}_{self.statistic}_ms")
            if found is None:
                return None
            low, high = low + factor * found[0], high + factor * found[1]
        return self.turned_interval((low, high))

    def turned(self, value: float) -> float | None:
        """From ms to `unit`, and back: of ms less is better, whatever the unit."""
        if not self.inverted:
            return value
        return 1000 / value if value > 0 else None

    def turned_interval(self, interval: tuple[float, float]) -> tuple[float, float] | None:
        low, high = map(self.turned, interval)
        if low is None or high is None:
            return None
        return (high, low) if self.inverted else (low, high)


def parse_latency(text: str) -> LatencyAxis:
    """`tpot`, `chunk:16`, `ttft:p99`, `interactivity`. Raises AxisError."""
    match = _WRITTEN.fullmatch(text.strip().lower())
    if match is None:
        raise AxisError(f"{text!r} is no latency; write {NOTATION}.")
    name, tokens = match["name"], match["tokens"]
    statistic = {"median": "p50"}.get(match["statistic"] or "p50", match["statistic"] or "p50")
    if statistic not in STATISTICS:
        raise AxisError(f"{text!r}: no file holds {statistic}; write one of {_statistics()}.")
    if name == "chunk" and tokens is not None and int(tokens) >= 1:
        rest = int(tokens) - 1
        terms = (("ttft", 1), ("tpot", rest)) if rest else (("ttft", 1),)
        return LatencyAxis(name=f"chunk:{tokens}", statistic=statistic, terms=terms)
    if tokens is None and name == "interactivity":
        return LatencyAxis(name=name, statistic=statistic, inverted=True)
    if tokens is None and name in MEASURED:
        return LatencyAxis(name=name, statistic=statistic, terms=((name, 1),))
    raise AxisError(f"{text!r} is no latency; write {NOTATION}.")


def _statistics() -> str:
    return ", ".join(STATISTICS)
