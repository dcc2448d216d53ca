"""From a point's requests to its numbers, defined as `vllm bench serve` defines them.

Percentiles are of the exact per-request values, with linear interpolation. Only rows with
`in_window` count; rates are theirs over the window's length. In an open loop, though, they are
those that were scheduled in the window, which says what was asked for: there, rates are of the
requests that finished in it, which says what was served.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate

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
    served: Iterable[RequestRow] | None = None,
    flags: Iterable[str] = (),
) -> PointResult:
    """The result of one point; `gpus` are those it loaded, each counted once.

    `served` are the requests that make the rates; by default those that count.

    TTFT is from the send to the first token, E2EL to the last one; TPOT is (E2EL - TTFT) over the
    tokens after the first, of requests with more than one; ITL are the gaps between tokens.
    """
    counted = [row for row in rows if row.in_window]
    served = counted if served is None else list(served)
    input_tokens = sum(row.input_tokens for row in served)
    output_tokens = sum(row.output_tokens for row in served)
    per_s = 1 / window_s if window_s > 0 else 0.0
    return PointResult(
        run=run,
        point=point,
        attempt=attempt,
        window_s=window_s,
        completed=len(counted),
        errors=errors,
        request_throughput=len(served) * per_s,
        input_throughput=input_tokens * per_s,
        output_throughput=output_tokens * per_s,
        total_token_throughput=(input_tokens + output_tokens) * per_s,
        tokens_per_s_per_gpu=(input_tokens + output_tokens) * per_s / gpus,
        gpus=gpus,
        ttft_ms=summary([row.ttft_ms for row in counted if row.ttft_ms is not None]),
        tpot_ms=summary(
            [r.tpot_ms for r in counted if r.tpot_ms is not None and r.output_tokens > 1]
        ),
        itl_ms=summary([gap for row in counted for gap in row.gaps_ms]),
        e2el_ms=summary([row.e2el_ms for row in counted if row.e2el_ms is not None]),
        flags=tuple(flags),
        pairs=pair_counts(counted),
    )


def finished_within(rows: Iterable[RequestRow], t0: float, t1: float) -> list[RequestRow]:
    """The requests, counted or not, that had their last token in (t0, t1]."""
    return [
        row
        for row in rows
        if not row.error and row.last_token_node_t is not None and t0 < row.last_token_node_t <= t1
    ]


def pair_counts(rows: Iterable[RequestRow]) -> dict[str, int]:
    """Requests by "P1>D2", for those whose id names both; in the order of the names."""
    pairs = Counter(f"{r.prefill}>{r.decode}" for r in rows if r.prefill and r.decode)
    return dict(sorted(pairs.items()))


def peaks(rows: Sequence[RequestRow], t0: float, t1: float) -> tuple[float, int]:
    """Of the window: token events in its busiest second, and the most requests in flight at once.

    Seconds count from t0. Every request without error takes part, counted or not, because those
    at the edges load the servers too.
    """
    tokens: Counter[int] = Counter()
    steps: list[tuple[float, int]] = []
    for row in rows:
        if row.error or row.e2el_ms is None or row.ttft_ms is None:
            continue
        start, end = row.sent_node_t, row.sent_node_t + row.e2el_ms / 1e3
        if end <= t0 or start > t1:
            continue
        steps += [(start, 1), (end, -1)]
        at = start + row.ttft_ms / 1e3
        for gap in (0.0, *row.gaps_ms):
            at += gap / 1e3
            if t0 <= at <= t1:
                tokens[int(at - t0)] += 1
    # An end sorts before a start at the same time: the one makes room for the other.
    in_flight = accumulate(step for _, step in sorted(steps))
    return float(max(tokens.values(), default=0)), max(in_flight, default=0)
