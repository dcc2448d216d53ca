"""Gathers, from one point's rows and the servers' growth, what the quality rules look at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from pdconsole.measure.deployment import Process
from pdconsole.measure.driver_log import Summary
from pdconsole.measure.driver_spec import Target, output_len
from pdconsole.measure.prometheus import buckets, quantile, total, values_of
from pdconsole.measure.sampling import (
    EXPIRED,
    FAILED_TRANSFERS,
    PREEMPTIONS,
    PREFIX_HITS,
    PREFIX_QUERIES,
    PROMPT_TOKENS,
    PROMPT_TOKENS_BY_SOURCE,
    READ_AFTER_EXPIRY,
    SIM_HANDSHAKES,
    SIM_LATE,
    SIM_LATE_P99,
    first_total,
)
from pdconsole.model.events import KvValidated, PointResult
from pdconsole.model.measurement import RequestRow
from pdconsole.model.quality import Evidence
from pdconsole.model.workload import PointKind, Workload

Samples = Mapping[str, float]


class ServerSide(msgspec.Struct, frozen=True, kw_only=True):
    """What the servers and their nodes said of the window; what could not be had is left out."""

    deltas: dict[str, dict[str, float]] = {}  # worker -> growth of counters and histograms
    after: dict[str, dict[str, float]] = {}  # worker -> samples at the window's end
    router_cpu_pct: float | None = None  # of all cores of its node
    still_busy: tuple[str, ...] | None = None  # after the point; None: not known


def gather(
    rows: Sequence[RequestRow],
    result: PointResult,
    summary: Summary,
    *,
    kind: PointKind,
    workload: Workload,
    target: Target,
    workers: Sequence[Process],
    wanted_requests: int | None,
    whole_run: bool,
    server: ServerSide,
    validation: KvValidated | None = None,
    complaint: str = "",
) -> Evidence:
    counted = [row for row in rows if row.in_window]
    names = {role: [w.name for w in workers if w.role == role] for role in ("prefill", "decode")}
    all_deltas = list(server.deltas.values())
    decode_deltas = [server.deltas[n] for n in names["decode"] if n in server.deltas]
    through_pd = target.warm_pairs  # only then do P and D work together
    if not through_pd:
        decode_deltas = []
    return Evidence(
        completed=result.completed,
        errors=result.errors,
        first_error=_first_error(rows, complaint),
        wanted_requests=wanted_requests,
        window_s=result.window_s,
        request_s=_seconds(result.e2el_ms.get("mean")),
        whole_run=whole_run,
        input_len=workload.input_len,
        output_len=output_len(workload),
        without_usage=sum(row.input_tokens == 0 for row in counted),
        wrong_input_lens=sum(row.input_tokens not in (0, workload.input_len) for row in counted),
        wrong_output_lens=sum(row.output_tokens != output_len(workload) for row in counted),
        ttft_p50_ms=result.ttft_ms.get("p50"),
        ttft_p99_ms=result.ttft_ms.get("p99"),
        kv_handed_over=through_pd,
        tpot_p50_ms=result.tpot_ms.get("p50"),
        itl_mean_ms=result.itl_ms.get("mean"),
        itl_p50_ms=result.itl_ms.get("p50"),
        itl_p99_ms=result.itl_ms.get("p99"),
        prompts_fixed=workload.prompts == "fixed",
        decode_only_by_prefix_cache=target.by_prefix_cache,
        decode_from_made_up_kv=target.made_up_kv,
        prefix_query_tokens=_sum(first_total(d, PREFIX_QUERIES) for d in all_deltas),
        prefix_hit_tokens=_sum(first_total(d, PREFIX_HITS) for d in all_deltas),
        preemptions=_sum(total(d, PREEMPTIONS) for d in all_deltas),
        decode_prompt_tokens=_sum(total(d, PROMPT_TOKENS) for d in decode_deltas),
        decode_local_compute_tokens=_sum(
            total(d, PROMPT_TOKENS_BY_SOURCE, source="local_compute") for d in decode_deltas
        ),
        failed_transfers=_sum(total(d, FAILED_TRANSFERS) for d in all_deltas),
        expired_requests=_sum(total(d, EXPIRED) for d in all_deltas),
        stale_reads=_sum(total(d, READ_AFTER_EXPIRY) for d in all_deltas),
        pairs=result.pairs,
        expected_pairs=tuple(f"{p}>{d}" for p in names["prefill"] for d in names["decode"])
        if through_pd
        else (),
        handshakes=_sum(total(d, SIM_HANDSHAKES) for d in decode_deltas),
        late_ms_p99=summary.late_ms_p99 if kind == "request_rate" else None,
        driver_cpu_pct=summary.cpu_pct,
        router_cpu_pct=server.router_cpu_pct,
        simulated_late_ms=_simulated_late_ms(server),
        drained=None if server.still_busy is None else not server.still_busy,
        drain_detail="; ".join(server.still_busy or ()),
        kv_verdict=validation.verdict if validation else None,
        kv_finding=validation.message if validation else "",
    )


def _seconds(ms: float | None) -> float | None:
    return None if ms is None else ms / 1e3


def _first_error(rows: Sequence[RequestRow], complaint: str) -> str:
    """What the client got, and what a replica logged of it."""
    said = next((row.error for row in rows if row.phase == "window" and row.error), "")
    return f"{said}; {complaint}" if said and complaint else said


def _simulated_late_ms(server: ServerSide) -> float | None:
    """The worst worker's p99 lateness in the window, else the one it exposes itself."""
    windows = [quantile(buckets([d], SIM_LATE), 0.99) for d in server.deltas.values()]
    late_s = [late for late in windows if late is not None]
    if not late_s:
        late_s = [s for a in server.after.values() for s in values_of(a, SIM_LATE_P99)]
    return max(late_s) * 1e3 if late_s else None


def _sum(values: Iterable[float | None]) -> float | None:
    """The sum of what is known; None when nothing is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None
