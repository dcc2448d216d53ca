"""A worker's /metrics, as vLLM (and the simulated worker) name them, as sample events.

vLLM counts by engine, and NIXL by rank: every number here is the sum over those that the worker
exposes, so that a replica has one value.
"""

from __future__ import annotations

from collections.abc import Mapping

from pdconsole.measure.prometheus import name_of, total, values_of
from pdconsole.model.events import NixlSampled, WorkerSampled

RUNNING = "vllm:num_requests_running"
WAITING = "vllm:num_requests_waiting"
# Some versions expose an older spelling beside the newer one: the first that is there counts.
KV_USAGE = ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc")
PREFIX_QUERIES = ("vllm:prefix_cache_queries_total", "vllm:gpu_prefix_cache_queries_total")
PREFIX_HITS = ("vllm:prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits_total")
PREEMPTIONS = "vllm:num_preemptions_total"
PROMPT_TOKENS = "vllm:prompt_tokens_total"
PROMPT_TOKENS_BY_SOURCE = "vllm:prompt_tokens_by_source_total"
GENERATION_TOKENS = "vllm:generation_tokens_total"
# Observed together, once for each request that ends (vllm/v1/metrics/stats.py).
QUEUE_COUNT = "vllm:request_queue_time_seconds_count"
QUEUE_SUM = "vllm:request_queue_time_seconds_sum"
PREFILL_SUM = "vllm:request_prefill_time_seconds_sum"
NIXL = "vllm:nixl_"
FAILED_TRANSFERS = f"{NIXL}num_failed_transfers_total"
EXPIRED = f"{NIXL}num_kv_expired_reqs_total"
READ_AFTER_EXPIRY = f"{NIXL}num_notifications_after_expiry_total"
# 0: what a replica of Ray Serve tells came through Ray's exporter, which remakes the sums of its
# histograms from the middles of their buckets; they are left out. 1: from the replica itself.
RAY_EXACT = "pdconsole_ray_metrics_exact"
SIM_HANDSHAKES = "pdconsole_sim_handshakes_total"
SIM_LATE = "pdconsole_sim_late_seconds"
SIM_LATE_P99 = "pdconsole_sim_late_p99_seconds"


def sample_events(
    run: str, process: str, role: str, node_t: float, values: Mapping[str, float]
) -> list[WorkerSampled | NixlSampled]:
    """What one scrape of one worker says. `values` are full sample names with labels.

    A prefill replica reads no KV itself; it gets a NIXL event only once KV expired on it unread.
    """
    if is_inexact(values):
        values = {key: v for key, v in values.items() if not name_of(key).endswith("_sum")}
    events: list[WorkerSampled | NixlSampled] = [_worker(run, process, node_t, values)]
    nixl = _nixl(run, process, node_t, values)
    if nixl is not None and (role != "prefill" or nixl.expired or nixl.bytes):
        events.append(nixl)
    return events


def is_inexact(values: Mapping[str, float]) -> bool:
    """Whether the sums of these histograms, where there are any, are estimates."""
    return total(values, RAY_EXACT) == 0


def _worker(run: str, process: str, node_t: float, values: Mapping[str, float]) -> WorkerSampled:
    late_s = values_of(values, SIM_LATE_P99)
    return WorkerSampled(
        run=run,
        process=process,
        node_t=node_t,
        running=total(values, RUNNING),
        waiting=total(values, WAITING),
        kv_usage=kv_usage(values),
        preemptions=total(values, PREEMPTIONS),
        prompt_tokens=total(values, PROMPT_TOKENS),
        generation_tokens=total(values, GENERATION_TOKENS),
        prefix_cache_queries=first_total(values, PREFIX_QUERIES),
        prefix_cache_hits=first_total(values, PREFIX_HITS),
        local_compute_tokens=total(values, PROMPT_TOKENS_BY_SOURCE, source="local_compute"),
        finished=total(values, QUEUE_COUNT),
        queue_s=total(values, QUEUE_SUM),
        prefill_s=total(values, PREFILL_SUM),
        late_ms=max(late_s) * 1e3 if late_s else None,
    )


def _nixl(run: str, process: str, node_t: float, values: Mapping[str, float]) -> NixlSampled | None:
    transfers = total(values, f"{NIXL}bytes_transferred_count")
    moved = total(values, f"{NIXL}bytes_transferred_sum")
    if moved is None and transfers is None:
        return None
    return NixlSampled(
        run=run,
        process=process,
        node_t=node_t,
        source="ray" if moved is None else "metrics",
        bytes=moved,
        transfers=transfers or 0.0,
        xfer_s=None if moved is None else total(values, f"{NIXL}xfer_time_seconds_sum") or 0.0,
        post_s=total(values, f"{NIXL}post_time_seconds_sum"),
        descriptors=total(values, f"{NIXL}num_descriptors_sum"),
        failed_transfers=total(values, FAILED_TRANSFERS),
        failed_notifications=total(values, f"{NIXL}num_failed_notifications_total"),
        expired=total(values, EXPIRED),
        notifications_after_expiry=total(values, READ_AFTER_EXPIRY),
    )


def kv_usage(values: Mapping[str, float]) -> float | None:
    """Used share of the KV cache, 0 to 1; the mean over engines, whose pools are equal."""
    for name in KV_USAGE:
        shares = values_of(values, name)
        if shares:
            return sum(shares) / len(shares)
    return None


def first_total(values: Mapping[str, float], names: tuple[str, ...]) -> float | None:
    """The sum of the first of these names that is exposed."""
    for name in names:
        found = total(values, name)
        if found is not None:
            return found
    return None
