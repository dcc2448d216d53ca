"""Flags for points of others, by the rules that ours went through when they were measured."""

from __future__ import annotations

import math
from functools import lru_cache

import msgspec

from pdconsole.model.layout import LayoutError, parse_layout
from pdconsole.model.quality import Evidence, quality_flags
from pdconsole.results.point_row import PointRow


def flagged(row: PointRow) -> PointRow:
    """The row with what its own numbers raise; ours, and reports that have flags, as they are."""
    if row.source == "pdconsole" or (row.source == "llm-d" and row.flags):
        return row
    found = quality_flags(_evidence(row))
    flags = {flag.name: flag.evidence for flag in found}
    bad = tuple(flag.name for flag in found if flag.weight == "bad")
    return msgspec.structs.replace(row, flags=row.flags | flags, bad=bad) if flags else row


def _evidence(row: PointRow) -> Evidence:
    return Evidence(
        completed=row.completed,
        errors=row.failed,
        window_s=row.duration_s,
        request_s=_request_s(row),
        whole_run=True,
        ttft_p50_ms=row.ttft_p50_ms,
        ttft_p99_ms=row.ttft_p99_ms,
        kv_handed_over=_is_pd(row.layout),
        itl_p50_ms=row.itl_p50_ms,
        itl_p99_ms=row.itl_p99_ms,
    )


def _request_s(row: PointRow) -> float | None:
    """How long a request lives on average; its own E2EL, or what it is made of."""
    if row.e2el_mean_ms is not None:
        return row.e2el_mean_ms / 1000
    if row.ttft_mean_ms is None or not row.output_tokens or not row.completed:
        return None
    more = row.output_tokens / row.completed - 1
    if more > 0 and row.tpot_mean_ms is None:
        return None
    total = row.ttft_mean_ms + max(more, 0.0) * (row.tpot_mean_ms or 0.0)
    return total / 1000 if math.isfinite(total) else None


@lru_cache(maxsize=1024)
def _is_pd(slug: str) -> bool:
    try:
        return parse_layout(slug).is_pd
    except LayoutError:
        return False
