"""How far a point's numbers scatter, 95 %: over its requests, and over repeats of it.

Over requests the bootstrap of the file is used where it has one, else one is made from its
requests. Requests that are in flight together share batches and queues: so blocks of as many are
drawn, in the order they finished. What differs from one start of the servers to the next no request
tells. Over repeats it is Student's t: two or three values are too few to draw from. What neither
tells is None, never an interval of no width.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pdconsole.model.latency_axis import LatencyAxis
from pdconsole.model.statistics import few_blocks, mean, mean_interval, round_of
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
    block = round_of(row.kind, row.value, row.e2el_mean_ms and row.e2el_mean_ms / 1000)
    found = _bootstrap(row.requests_file, axis.terms, axis.statistic, block)
    return None if found is None else axis.turned_interval(found)


def throughput_share(row: PointRow) -> Between | None:
    """Of any throughput of the point, as shares of it: (0.98, 1.03).

    In a closed loop by Little's law, throughput × mean E2EL being the concurrency, which is set.
    In an open loop the throughput itself is set by who sends; where the servers fall behind that,
    nobody knows.
    """
    if row.kind != "concurrency":
        known = row.requests_file is not None or "e2el_mean_ms" in row.ci
        return (1.0, 1.0) if known and not _falls_behind(row) else None
    found = row.ci.get("e2el_mean_ms")
    if found is None or not row.e2el_mean_ms or found[0] <= 0:
        return None
    return row.e2el_mean_ms / found[1], row.e2el_mean_ms / found[0]


def _falls_behind(row: PointRow) -> bool:
    """Whether fewer requests were served than arrivals by chance can explain."""
    served = row.request_throughput * row.duration_s
    return row.value is None or served + 2 * math.sqrt(served) < row.value * row.duration_s


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


def _bootstrap(
    path: Path, terms: tuple[tuple[str, int], ...], statistic: str, block: int
) -> Between | None:
    """(low, high) in ms of the sum of the statistics of latencies, of the requests that count.

    Never narrower than if requests were independent, as `statistics.bootstrap_interval`.
    """
    import numpy as np

    samples = _samples(path, terms)
    n = len(samples)
    if n < 2 or n // block < 2:
        return None
    rng = np.random.default_rng(
        zlib.crc32(f"{path.parent.parent.name}/{path.name} {terms}".encode())
    )
    middle = _statistic(samples, terms, statistic)
    low = high = middle
    for length in sorted({1, block}):
        found = []
        for _ in range(RESAMPLES):
            starts = rng.integers(0, n, math.ceil(n / length))
            drawn = (starts[:, None] + np.arange(length)).ravel()[:n] % n
            found.append(_statistic(samples[drawn], terms, statistic))
        ends = np.percentile(found, (2.5, 97.5))
        wider = few_blocks(n // length) if length > 1 else 1.0
        low = min(low, middle - wider * (middle - float(ends[0])))
        high = max(high, middle + wider * (float(ends[1]) - middle))
    return low, high


def _samples(path: Path, terms: tuple[tuple[str, int], ...]) -> Any:
    """A row a request in the order they finished: its latencies, or for ITL its array of gaps, so
    that these stay together."""
    import numpy as np

    frame = read_requests(path).to_pandas()
    frame = frame[frame["in_window"]].sort_values("last_token_node_t", kind="stable")
    if terms[0][0] == "itl":
        gaps = [np.asarray(each) for each in frame["gaps_ms"] if each is not None and len(each)]
        found = np.empty(len(gaps), dtype=object)
        found[:] = gaps
        return found
    frame["tpot_ms"] = frame["tpot_ms"].where(frame["output_tokens"] > 1)  # else there is none
    columns = [frame[f"{name}_ms"].to_numpy(dtype=float) for name, _ in terms]
    rows = np.column_stack(columns)
    return rows[np.isfinite(rows).all(axis=1)]


def _statistic(samples: Any, terms: tuple[tuple[str, int], ...], statistic: str) -> float:
    """As the axis has it: of a sum of latencies the sum of their statistics."""
    import numpy as np

    if terms[0][0] == "itl":
        columns = [np.concatenate(samples)]
    else:
        columns = [samples[:, i] for i in range(len(terms))]
    found = (
        np.mean(column) if statistic == "mean" else np.percentile(column, _PERCENTILES[statistic])
        for column in columns
    )
    return float(sum(factor * value for (_, factor), value in zip(terms, found, strict=True)))
