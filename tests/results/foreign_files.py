"""Small files as other load generators write them, in the shape of real ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def write(path: Path, document: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def aiperf(phase: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """schema 1.4 of aiperf 0.13: 12 requests of 60 and 20 tokens in 4 s."""

    def metric(unit: str, avg: float) -> dict[str, Any]:
        spread = {f"p{q}": avg * (1 + q / 100) for q in (1, 50, 90, 95, 99)}
        return {"unit": unit, "avg": avg, **spread, "std": avg / 10, "count": 12}

    return {
        "schema_version": "1.4",
        "request_throughput": {"unit": "requests/sec", "avg": 3.0},
        "request_latency": metric("ms", 120.0),
        "request_count": {"unit": "requests", "avg": 12.0},
        "time_to_first_token": metric("ms", 40.0),
        "inter_token_latency": metric("ms", 4.0),
        "inter_chunk_latency": metric("us", 5000.0),
        "output_token_throughput": {"unit": "tokens/sec", "avg": 60.0},
        "output_sequence_length": metric("tokens", 20.0),
        "input_sequence_length": metric("tokens", 60.0),
        "benchmark_duration": {"unit": "sec", "avg": 4.0},
        "total_isl": {"unit": "tokens", "avg": 720.0},
        "total_osl": {"unit": "tokens", "avg": 240.0},
        "input_config": {
            "models": {"items": [{"name": "org/m"}]},
            "datasets": [{"prompts": {"isl": {"mean": 60.0}, "osl": {"mean": 20.0}}}],
            "phases": [
                {"kind": "warmup", "type": "concurrency", "concurrency": 1},
                {"kind": "profiling", "exclude_from_results": False, **phase},
            ],
        },
        "was_cancelled": False,
        "is_complete": True,
        "start_time": "2026-11-24T12:50:16.500000",
        **changes,
    }


def guidellm(*strategies: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Report version 2 of guidellm 0.8: 8 requests of 81 and 20 tokens in 2 s each."""

    def by_status(mean: float, interval: tuple[float, float] | None = None) -> dict[str, Any]:
        summary = {
            "mean": mean,
            "std_dev": mean / 10,
            "max": mean * 2,
            "total_sum": mean * 8,
            "percentiles": {"p50": mean, "p90": mean * 1.2, "p95": mean * 1.3, "p99": mean * 1.5},
            "mean_ci": interval and {"lower": interval[0], "upper": interval[1]},
            "percentile_cis": interval and {"p50": None},
        }
        return {"successful": summary, "errored": None, "total": summary}

    def benchmark(index: int, strategy: dict[str, Any]) -> dict[str, Any]:
        return {
            "type_": "generative_benchmark",
            "config": {"run_index": index, "strategy": strategy, "confidence": 0.95},
            "metrics": {
                "request_totals": {"successful": 8, "errored": 1, "incomplete": 2, "total": 11},
                "requests_per_second": by_status(4.0),
                "request_concurrency": by_status(1.5),
                "request_latency": by_status(0.14, (0.13, 0.15)),
                "prompt_token_count": by_status(81.0),
                "output_token_count": by_status(20.0),
                "time_to_first_token_ms": by_status(40.0, (30.0, 50.0)),
                "time_per_output_token_ms": by_status(7.0),
                "inter_token_latency_ms": by_status(5.0),
                "output_tokens_per_second": by_status(80.0),
                "tokens_per_second": by_status(404.0),
            },
            "warnings": [],
            "start_time": 1795524715.5 + 10 * index,
            "duration": 2.0,
            **changes,
        }

    return {
        "metadata": {"version": 2},
        "config": {"spec": {"backend": {"kind": "openai_http", "model": "org/m"}}},
        "benchmarks": [benchmark(i, each) for i, each in enumerate(strategies)],
    }


def genai_bench(concurrency: int, unit: str) -> dict[str, Any]:
    """genai-bench 0.0.5: 10 requests of 60 and 20 tokens, and one that failed, in 2.5 s."""

    def stat(mean: float) -> dict[str, float]:
        return {
            "mean": mean,
            "stddev": mean / 10,
            "sum": mean * 10,
            "p50": mean,
            "p90": mean * 1.2,
            "p95": mean * 1.3,
            "p99": mean * 1.5,
        }

    scale = 1000 if unit == "ms" else 1
    return {
        "aggregated_metrics": {
            "scenario": "D(60,20)",
            "num_concurrency": concurrency,
            "iteration_type": "num_concurrency",
            "run_duration": 2.5,
            "mean_output_throughput_tokens_per_s": 80.0,
            "mean_total_tokens_throughput_tokens_per_s": 320.0,
            "requests_per_second": 4.0,
            "num_error_requests": 1,
            "num_completed_requests": 10,
            "num_requests": 11,
            "stats": {
                "ttft": stat(0.035 * scale),
                "tpot": stat(0.0045 * scale),
                "e2e_latency": stat(0.12 * scale),
                "num_input_tokens": stat(60.0),
                "num_output_tokens": stat(20.0),
            },
        },
        "individual_request_metrics": [],
        "_time_unit": unit,
    }
