"""A point's JSON: what `vllm bench serve` would have written, then what it does not know.

First come exactly the keys of `vllm bench serve --save-result` in its order and by its definitions
(per-request lists belong to `--save-detailed` and are in our Parquet file); then what its options
`--percentile-metrics ttft,tpot,itl,e2el --metric-percentiles 90,99` add; then the keys by which
public collections of PD results describe a deployment; then ours, under "pdconsole".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from pdconsole.model import statistics
from pdconsole.model.layout import Layout, ReplicaGroup
from pdconsole.model.measurement import PointMeasurement, RequestRow
from pdconsole.model.workload import Point
from pdconsole.results.facts import RunRecord

DOCUMENT_VERSION = 1
BOOTSTRAP_RESAMPLES = 400


def point_document(record: RunRecord, point: Point, measured: PointMeasurement) -> dict[str, Any]:
    """The document of one point; its keys are in the order described above."""
    counted = [row for row in measured.requests if row.in_window]
    samples = _samples(counted)
    return {
        **_bench_serve(record, point, measured, samples),
        **_more_percentiles(samples),
        **_deployment(record, point, measured),
        "pdconsole": _ours(record, point, measured, samples),
    }


def _samples(counted: Sequence[RequestRow]) -> dict[str, list[float]]:
    """The values (ms) behind each latency: one a request, but of ITL every gap."""
    return {
        "ttft": [row.ttft_ms for row in counted if row.ttft_ms is not None],
        "tpot": [
            row.tpot_ms for row in counted if row.tpot_ms is not None and row.output_tokens > 1
        ],
        "itl": [gap for row in counted for gap in row.gaps_ms],
        "e2el": [row.e2el_ms for row in counted if row.e2el_ms is not None],
    }


def _bench_serve(
    record: RunRecord,
    point: Point,
    measured: PointMeasurement,
    samples: Mapping[str, Sequence[float]],
) -> dict[str, Any]:
    result = measured.result
    closed = point.kind == "concurrency"
    document: dict[str, Any] = {
        "date": datetime.fromtimestamp(measured.started_wall).strftime("%Y%m%d-%H%M%S"),
        "endpoint_type": "openai",
        "backend": "openai",
        "label": record.plan.label,
        "model_id": record.facts.model,
        "tokenizer_id": record.facts.model,
        "num_prompts": result.completed + result.errors,
        "request_rate": "inf" if closed else point.value,
        "burstiness": 1.0,
        "max_concurrency": int(point.value) if closed else None,
        "duration": result.window_s,
        "completed": result.completed,
        "failed": result.errors,
        "total_input_tokens": measured.input_tokens,
        "total_output_tokens": measured.output_tokens,
        "request_throughput": result.request_throughput,
        "request_goodput": None,
        "output_throughput": result.output_throughput,
        "total_token_throughput": result.total_token_throughput,
        "max_output_tokens_per_s": measured.max_output_tokens_per_s,
        "max_concurrent_requests": measured.max_concurrent_requests,
        "rtfx": 0.0,
    }
    for name in ("ttft", "tpot", "itl"):
        document |= _latency(name, samples[name])
    return document


def _latency(name: str, values: Sequence[float]) -> dict[str, float]:
    """Mean, median, standard deviation and p99 in ms; zeros for no values, as the original."""
    values = values or [0.0]
    median, p99 = statistics.percentiles(values, (50, 99))
    return {
        f"mean_{name}_ms": statistics.mean(values),
        f"median_{name}_ms": median,
        f"std_{name}_ms": statistics.deviation(values),
        f"p99_{name}_ms": p99,
    }


def _more_percentiles(samples: Mapping[str, Sequence[float]]) -> dict[str, float]:
    more = _latency("e2el", samples["e2el"])
    for name, values in samples.items():
        more[f"p90_{name}_ms"] = statistics.percentile(values or [0.0], 90)
    return more


def _deployment(record: RunRecord, point: Point, measured: PointMeasurement) -> dict[str, Any]:
    """As public collections name it. A collocated layout counts as prefill workers without decode
    ones, which is how they write several aggregated workers."""
    placement, workload, result = record.plan.placement, record.plan.workload, measured.result
    layout = placement.layout
    front = layout.of("prefill") or layout.of("collocated")
    back = layout.of("decode")
    gpus = record.loaded_gpus
    alone = layout.is_pd and workload.mode != "mixed"
    front_gpus = record.gpus_of_role("prefill") or record.gpus_of_role("collocated")
    back_gpus = record.gpus_of_role("decode")
    return {
        "hw": _hardware(record),
        "framework": "vllm",
        "model": record.facts.model,
        "isl": workload.input_len,
        "osl": workload.output_len,
        "conc": int(point.value) if point.kind == "concurrency" else None,
        "disagg": layout.is_pd,
        "is_multinode": len(placement.nodes) > 1,
        "prefill_tp": _largest_tp(front),
        "prefill_ep": _largest_ep(front),
        "prefill_dp_attention": False,
        "prefill_num_workers": sum(group.count for group in front),
        "decode_tp": _largest_tp(back),
        "decode_ep": _largest_ep(back),
        "decode_dp_attention": False,
        "decode_num_workers": sum(group.count for group in back),
        "num_prefill_gpu": front_gpus,
        "num_decode_gpu": back_gpus,
        "tput_per_gpu": result.total_token_throughput / gpus,
        # Where one role alone was loaded, the others' GPUs had no part in either.
        "output_tput_per_gpu": result.output_throughput
        / (gpus if alone else back_gpus or front_gpus),
        "input_tput_per_gpu": result.input_throughput / (gpus if alone else front_gpus),
    }


def _hardware(record: RunRecord) -> str:
    """Public readers know no `simulated`: the name of the hardware has to tell."""
    model = record.facts.gpu_model
    return f"{model} (simulated)".strip() if record.facts.simulated else model


def _largest_tp(groups: Sequence[ReplicaGroup]) -> int:
    return max((group.tp for group in groups), default=0)


def _largest_ep(groups: Sequence[ReplicaGroup]) -> int:
    """Experts are split over the TP group or, written as 1, not at all."""
    return max((group.tp if group.ep else 1 for group in groups), default=0)


def _ours(
    record: RunRecord,
    point: Point,
    measured: PointMeasurement,
    samples: Mapping[str, Sequence[float]],
) -> dict[str, Any]:
    plan, facts, result = record.plan, record.facts, measured.result
    block = statistics.round_of(
        point.kind, point.value, statistics.mean(samples["e2el"] or [0.0]) / 1000
    )
    return {
        "version": DOCUMENT_VERSION,
        "simulated": facts.simulated,
        "session": facts.session,
        "experiment": facts.experiment,
        "run": plan.id,
        "point": point.id,
        "attempt": result.attempt,
        "flags": [msgspec.to_builtins(flag) for flag in measured.flags],
        **_where(record, plan.placement.layout),
        "workload": msgspec.to_builtins(plan.workload),
        "window": {
            "kind": facts.policy.window,
            "t0_node_t": measured.t0_node_t,
            "t1_node_t": measured.t1_node_t,
            "seconds": result.window_s,
            "started_wall": measured.started_wall,
            "t0_wall": measured.window_wall,
        },
        "intervals": _intervals(samples, measured.seed, block),
        "interval_block": block,
        "seed": measured.seed,
        "pairs": result.pairs,
        "drained": measured.drained,
        "decode_only_by_prefix_cache": measured.decode_only_by_prefix_cache,
        "target": list(measured.target),
        "driver": msgspec.to_builtins(measured.driver),
        "policy": msgspec.to_builtins(facts.policy),
        "versions": {"pdconsole": facts.pdconsole, "nodes": facts.versions},
        "server": _server(measured.worker_deltas),
    }


def _where(record: RunRecord, layout: Layout) -> dict[str, Any]:
    placement = record.plan.placement
    return {
        "layout": layout.slug,
        "gpus": record.gpus,
        "loaded_gpus": record.loaded_gpus,  # the denominator of numbers per GPU
        "slot_kind": record.facts.slot_kind,
        # Where slots are CPU, the public names that say gpu count slots.
        "per": "slot (cpu)" if record.facts.slot_kind == "cpu" else "GPU",
        # As the model profile names it: the node it lies on may expand ~ or know the hub's name.
        "model": {"source": record.facts.model, "model_id": "source as written in the profile"},
        "placement": {"strategy": placement.strategy, "replicas": str(placement)},
        "network": record.plan.network,
        "cluster": record.facts.cluster,
        "groups": [msgspec.to_builtins(group) for group in layout.groups],
    }


def _intervals(
    samples: Mapping[str, Sequence[float]], seed: str, block: int
) -> dict[str, dict[str, tuple[float, float]]]:
    """95 % intervals, ms, of means (Student's t) and medians (bootstrap).

    Requests that are in flight together share their fate; so both are of blocks of as many.
    """
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for name in ("ttft", "tpot", "e2el"):
        values = samples[name]
        of_mean = statistics.mean_interval(values, block=block)
        of_median = statistics.bootstrap_interval(
            values,
            lambda sample: statistics.percentile(sample, 50),
            seed=f"{seed} {name}",
            resamples=BOOTSTRAP_RESAMPLES,
            block=block,
        )
        if of_mean is not None and of_median is not None:
            found[f"{name}_ms"] = {
                "mean": (of_mean.low, of_mean.high),
                "median": (of_median.low, of_median.high),
            }
    return found


def _server(deltas: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """What each worker counted in the window; histogram buckets and zeros are left out."""
    return {
        worker: {name: value for name, value in counts.items() if value and "_bucket" not in name}
        for worker, counts in deltas.items()
    }
