"""A run and its measurements, made up."""

from __future__ import annotations

import random

from pdconsole.model.events import PointResult
from pdconsole.model.grid import Grid, GridNode
from pdconsole.model.layout import parse_layout
from pdconsole.model.measurement import DriverFacts, PointMeasurement, RequestRow
from pdconsole.model.placement import place
from pdconsole.model.plan import RunPlan, result_dir_name
from pdconsole.model.quality import Flag
from pdconsole.model.workload import MeasurePolicy, Mode, Point, Workload
from pdconsole.results.facts import RunFacts

FACTS = RunFacts(
    session="20270115T080000Z_pd-ratio-sweep",
    experiment="pd-ratio-sweep",
    cluster="embedded",
    model="openai/gpt-oss-120b",
    simulated=True,
    policy=MeasurePolicy(),
    gpu_model="NVIDIA H100 80GB HBM3",
    versions={"node1": {"vllm": "0.33.0"}},
)


def a_plan(layout: str = "p1xtp2-d3xtp2", mode: Mode = "mixed", strategy: str = "pack") -> RunPlan:
    nodes = tuple(
        GridNode(name=name, slots=8, kind="gpu", gpu_model="H100", gpu_memory_mib=81559)
        for name in ("node1", "node2")
    )
    parsed = parse_layout(layout)
    placement = place(parsed, Grid(nodes=nodes, taken=frozenset()), strategy)  # type: ignore[arg-type]
    workload = Workload(name="w", input_len=5000, output_len=250, mode=mode)
    return RunPlan(
        id="2",
        placement=placement,
        network="cuda-ipc",
        workload=workload,
        points=(Point("concurrency", 4), Point("concurrency", 16), Point("request_rate", 2.5)),
        result_dir=result_dir_name("gptoss", workload, strategy, "cuda-ipc", parsed.slug),
    )


def a_request(rng: random.Random, index: int, *, phase: str = "window") -> RequestRow:
    sent = 100.0 + index * 0.25
    ttft, gaps = rng.uniform(200, 900), tuple(rng.uniform(8, 14) for _ in range(249))
    return RequestRow(
        index=index,
        phase=phase,
        in_window=phase == "window",
        scheduled_node_t=sent,
        sent_node_t=sent,
        first_token_node_t=sent + ttft / 1e3,
        last_token_node_t=sent + (ttft + sum(gaps)) / 1e3,
        ttft_ms=ttft,
        tpot_ms=sum(gaps) / 249,
        e2el_ms=ttft + sum(gaps),
        input_tokens=5000,
        output_tokens=250,
        request_id=f"cmpl-{index}",
        prefill="P1",
        decode=f"D{index % 3 + 1}",
        gaps_ms=gaps,
    )


def a_measurement(
    point: Point, *, attempt: int = 1, requests: int = 40, gpus: int = 8, seed: int = 1
) -> PointMeasurement:
    rng = random.Random(seed)
    warmup = [a_request(rng, i, phase="warmup") for i in range(8)]
    counted = [a_request(rng, 8 + i) for i in range(requests)]
    error = RequestRow(
        index=99,
        phase="window",
        in_window=False,
        scheduled_node_t=110,
        sent_node_t=110,
        error="503",
    )
    window_s = 20.0
    tokens_in, tokens_out = 5000 * requests, 250 * requests
    result = PointResult(
        run="2",
        point=point.id,
        attempt=attempt,
        window_s=window_s,
        completed=requests,
        errors=1,
        request_throughput=requests / window_s,
        input_throughput=tokens_in / window_s,
        output_throughput=tokens_out / window_s,
        total_token_throughput=(tokens_in + tokens_out) / window_s,
        tokens_per_s_per_gpu=(tokens_in + tokens_out) / window_s / gpus,
        ttft_ms={},
        tpot_ms={},
        itl_ms={},
        e2el_ms={},
        pairs={"P1>D1": 20, "P1>D2": 20},
    )
    return PointMeasurement(
        result=result,
        requests=(*warmup, *counted, error),
        t0_node_t=102.0,
        t1_node_t=122.0,
        seed="s/conc4/1",
        started_wall=1_800_000_000.0,
        flags=(Flag(name="errors", evidence="1 of 41 requests failed", weight="bad"),),
        driver=DriverFacts(node="node1", sent=49, max_in_flight=4),
        worker_deltas={
            "P1": {
                'vllm:prefix_cache_hits_total{model_name="m"}': 0.0,
                'vllm:prompt_tokens_total{model_name="m"}': 200000.0,
                'vllm:time_to_first_token_seconds_bucket{le="1"}': 7.0,
            }
        },
        max_output_tokens_per_s=620.0,
        max_concurrent_requests=5,
        drained=True,
        input_tokens=tokens_in,
        output_tokens=tokens_out,
        window_wall=1_800_000_004.0,
    )
