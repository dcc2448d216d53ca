"""Counters, gauges and histograms in Prometheus's text exposition, as cheap as a hot path needs."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence


class Histogram:
    """Counts by upper bound. `observe` takes well under a microsecond."""

    __slots__ = ("_bounds", "_counts", "count", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self.count = 0
        self.total = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        self._counts[bisect_left(self._bounds, value)] += times
        self.count += times
        self.total += value * times

    def samples(self, name: str, labels: Mapping[str, str]) -> Iterable[str]:
        below = 0
        for bound, count in zip(self._bounds, self._counts, strict=False):
            below += count
            yield sample(f"{name}_bucket", {**labels, "le": str(float(bound))}, below)
        yield sample(f"{name}_bucket", {**labels, "le": "+Inf"}, self.count)
        yield sample(f"{name}_count", labels, self.count)
        yield sample(f"{name}_sum", labels, self.total)


def family(name: str, kind: str, help_text: str, samples: Iterable[str]) -> Iterable[str]:
    """The lines of one metric: what it is, then its samples."""
    yield f"# HELP {name} {help_text}"
    yield f"# TYPE {name} {kind}"
    yield from samples


def sample(name: str, labels: Mapping[str, str], value: float) -> str:
    inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
    return f"{name}{{{inside}}} {float(value)}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
