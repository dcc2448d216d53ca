"""From a point's requests to its numbers, defined as `vllm bench serve` defines them.

Percentiles are of the exact per-request values, with linear interpolation. Only rows with
`in_window` count; rates are theirs over the window's length.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from pdconsole.model.events import PointResult
from pdconsole.model.measurement import RequestRow
from pdconsole.model.statistics import summary


def point_result(
    rows: Iterable[RequestRow],
    *,
    run: str,
    point: str,
    attempt: int,
    window_s: float,
    errors: int,
    gpus: int,
    flags: Iterable[str] = (),
) -> PointResult:
    """The result of one point; `gpus` are those of the replicas it loaded.

    TTFT is from the send to the first token, E2EL to the last one; TPOT is (E2EL - TTFT) over the
    tokens after the first, of requests with more than one; ITL are the gaps between tokens.
    """
    counted = [row for row in rows if row.in_window]
    input_tokens = sum(row.input_tokens for row in counted)
    output_tokens = sum(row.output_tokens for row in counted)
    per_s = 1 / window_s if window_s > 0 else 0.0
    return PointResult(
        run=run,
        point=point,
        attempt=attempt,
        window_s=window_s,
        completed=len(counted),
        errors=errors,
        request_throughput=len(counted) * per_s,
        input_throughput=input_tokens * per_s,
        output_throughput=output_tokens * per_s,
        total_token_throughput=(input_tokens + output_tokens) * per_s,
        tokens_per_s_per_gpu=(input_tokens + output_tokens) * per_s / gpus,
        ttft_ms=summary([row.ttft_ms for row in counted if row.ttft_ms is not None]),
        tpot_ms=summary(
            [r.tpot_ms for r in counted if r.tpot_ms is not None and r.output_tokens > 1]
        ),
        itl_ms=summary([gap for row in counted for gap in row.gaps_ms]),
        e2el_ms=summary([row.e2el_ms for row in counted if row.e2el_ms is not None]),
        flags=tuple(flags),
        pairs=pair_counts(counted),
    )


def pair_counts(rows: Iterable[RequestRow]) -> dict[str, int]:
    """Requests by "P1>D2", for those whose id names both; in the order of the names."""
    pairs = Counter(f"{r.prefill}>{r.decode}" for r in rows if r.prefill and r.decode)
    return dict(sorted(pairs.items()))


def peaks(rows: Sequence[RequestRow], t0: float, t1: float) -> tuple[float, int]:
    """The busiest second of the window: (token events in it, requests that overlap it).

    Seconds count from t0. Every request without error takes part, counted or not, because those
    at the edges load the servers too. A request overlaps a second that it touches at all, so the
    second number exceeds the concurrency where one request follows another.
    """
    tokens: Counter[int] = Counter()
    overlaps: Counter[int] = Counter()
    last = max(0, int(t1 - t0))
    for row in rows:
        if row.error or row.e2el_ms is None:
            continue
        start, end = row.sent_node_t - t0, row.sent_node_t + row.e2el_ms / 1e3 - t0
        if end < 0 or start > t1 - t0:
            continue
        for second in range(max(0, int(start)), min(last, int(end)) + 1):
            overlaps[second] += 1
        if row.ttft_ms is None:
            continue
        at = start + row.ttft_ms / 1e3
        for gap in (0.0, *row.gaps_ms):
            at += gap / 1e3
            if 0 <= at <= t1 - t0:
                tokens[int(at)] += 1
    return float(max(tokens.values(), default=0)), max(overlaps.values(), default=0)
