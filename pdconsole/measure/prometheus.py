"""Prometheus text exposition: parse it, sum over label sets, take growth between two scrapes.

A sample's key is its name with labels exactly as exposed: `vllm:num_requests_running{engine="0"}`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_LABEL = re.compile(r'([A-Za-z_][A-Za-z0-9_]*)="((?:[^"\\]|\\.)*)"')
_GROWING = ("_total", "_sum", "_count", "_bucket")


def parse(text: str) -> dict[str, float]:
    """Samples by key. Comments and lines that are no samples are left out; timestamps ignored."""
    samples: dict[str, float] = {}
    for line in text.splitlines():
        if not line or line[0] == "#":
            continue
        # A label value may hold spaces and braces, so the key ends at the last closing brace.
        cut = line.rfind("}") + 1 or line.find(" ")
        rest = line[cut:].split()
        if cut <= 0 or not rest:
            continue
        try:
            samples[line[:cut].strip()] = float(rest[0])
        except ValueError:
            continue
    return samples


def name_of(key: str) -> str:
    return key.partition("{")[0]


def labels_of(key: str) -> dict[str, str]:
    return {k: _unescape(v) for k, v in _LABEL.findall(key.partition("{")[2])}


def _unescape(value: str) -> str:
    if "\\" not in value:
        return value
    return re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], value)


def values_of(samples: Mapping[str, float], name: str, **labels: str) -> list[float]:
    """Every sample of one name (one for each engine or rank) whose labels match."""
    return [
        value
        for key, value in samples.items()
        if key.startswith(name)
        and name_of(key) == name
        and (not labels or labels.items() <= labels_of(key).items())
    ]


def total(samples: Mapping[str, float], name: str, **labels: str) -> float | None:
    """Sum over all label sets that match; None where the name is not exposed."""
    values = values_of(samples, name, **labels)
    return sum(values) if values else None


def growth(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """How much every counter and histogram series grew from one scrape to the next.

    Gauges are left out. A series that is new counts from 0; one that shrank was reset by a
    restart and counts from 0 too.
    """
    grown: dict[str, float] = {}
    for key, value in after.items():
        if not name_of(key).endswith(_GROWING):
            continue
        start = before.get(key, 0.0)
        grown[key] = value - start if value >= start else value
    return grown


def buckets(samples: Iterable[Mapping[str, float]], name: str) -> list[tuple[float, float]]:
    """Cumulative buckets (upper bound, count) of one histogram, merged over a fleet.

    `name` is without `_bucket`. Bounds that only some servers expose are dropped, because their
    merged count would not be cumulative.
    """
    merged: dict[float, float] = {}
    seen: dict[float, int] = {}
    series = 0
    for one in samples:
        own: dict[float, float] = {}
        for key, value in one.items():
            if key.startswith(name) and name_of(key) == f"{name}_bucket":
                bound = float(labels_of(key)["le"])
                own[bound] = own.get(bound, 0.0) + value
        series += bool(own)
        for bound, value in own.items():
            merged[bound] = merged.get(bound, 0.0) + value
            seen[bound] = seen.get(bound, 0) + 1
    return sorted((bound, n) for bound, n in merged.items() if seen[bound] == series)


def quantile(cumulative: list[tuple[float, float]], q: float) -> float | None:
    """Quantile (0 to 1) of merged buckets, linear inside a bucket, as PromQL's histogram_quantile.

    Only as fine as the buckets: this is the server's view, not a measurement of latency. None
    without observations; the highest finite bound when it falls in the open bucket.
    """
    if not cumulative or cumulative[-1][1] <= 0:
        return None
    rank = q * cumulative[-1][1]
    low, below = 0.0, 0.0
    for bound, count in cumulative:
        if count >= rank:
            if bound == float("inf") or count == below:
                return low
            return low + (bound - low) * (rank - below) / (count - below)
        low, below = bound, count
    return low
