"""How far a point's numbers scatter, 95 %: over its requests, and over repeats of it.

Over requests, which are taken as independent, the bootstrap of the file is used where it has one,
else one is made from its requests. Over repeats it is Student's t: two or three values are too few
to draw from. What neither tells is None, never an interval of no width.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pdconsole.model.latency_axis import LatencyAxis
from pdconsole.model.statistics import mean, mean_interval
from pdconsole.results.point_row import PointRow
from pdconsole.results.requests import read_requests

Between = tuple[float, float]

RESAMPLES = 300
_PERCENTILES = {"p50": 50, "p90": 90, "p95": 95, "p99": 99}


def latency_interval(row: PointRow, axis: LatencyAxis) -> Between | None:
    """Of the latency, in the axis's unit. Raises ResultError if requests cannot be read."""
    if (told := axis.interval(row)) is not None:
        return told
    if row.requests_file is None:
        return None
    found = _bootstrap(row.requests_file, axis.terms, axis.statistic)
    return None if found is None else axis.turned_interval(found)


def throughput_share(row: PointRow) -> Between | None:
    """Of any throughput of the point, as shares of it: (0.98, 1.03).

    In a closed loop by Little's law, throughput × mean E2EL being the concurrency, which is set.
    In an open loop the throughput itself is set by who sends.
    """
    if row.kind != "concurrency":
        return (1.0, 1.0) if row.requests_file or "e2el_mean_ms" in row.ci else None
    found = row.ci.get("e2el_mean_ms")
    if found is None or not row.e2el_mean_ms or found[0] <= 0:
        return None
    return row.e2el_mean_ms / found[1], row.e2el_mean_ms / found[0]


def over_repeats(values: Sequence[float], own: Sequence[Between | None]) -> Between | None:
    """The interval of the mean of repeats: no narrower than those that they have on average."""
    told = [each for each in own if each is not None]
    by_requests = (mean([b[0] for b in told]), mean([b[1] for b in told])) if told else None
    if len(values) < 2:
        return by_requests if len(told) == len(values) else None
    of_mean = mean_interval(values)
    if of_mean is None:
        return by_requests
    low, high = max(of_mean.low, 0.0), of_mean.high
    if by_requests is None:
        return low, high
    return min(low, by_requests[0]), max(high, by_requests[1])


def _bootstrap(path: Path, terms: tuple[tuple[str, int], ...], statistic: str) -> Between | None:
    """(low, high) of the statistic of the summed latencies of the requests that count, in ms."""
    import numpy as np

    samples = _samples(path, terms)
    if len(samples) < 2:
        return None
    rng = np.random.default_rng(zlib.crc32(f"{path} {terms}".encode()))
    found = []
    for _ in range(RESAMPLES):
        drawn = rng.integers(0, len(samples), len(samples))
        values = samples[drawn] if terms[0][0] != "itl" else np.concatenate(samples[drawn])
        found.append(_statistic(values, statistic))
    low, high = np.percentile(found, (2.5, 97.5))
    return float(low), float(high)


def _samples(path: Path, terms: tuple[tuple[str, int], ...]) -> Any:
    """One value a request; for ITL an array of gaps a request, so that they stay together."""
    import numpy as np

    frame = read_requests(path).to_pandas()
    frame = frame[frame["in_window"]]
    if terms[0][0] == "itl":
        gaps = [np.asarray(each) for each in frame["gaps_ms"] if each is not None and len(each)]
        found = np.empty(len(gaps), dtype=object)
        found[:] = gaps
        return found
    columns = [factor * frame[f"{name}_ms"].to_numpy(dtype=float) for name, factor in terms]
    total = np.sum(columns, axis=0)
    return total[np.isfinite(total)]


def _statistic(values: Any, statistic: str) -> float:
    import numpy as np

    if statistic == "mean":
        return float(np.mean(values))
    return float(np.percentile(values, _PERCENTILES[statistic]))
