"""Points made up, as readers give them."""

from __future__ import annotations

from typing import Any

from pdconsole.results.point_row import PointRow


def a_row(layout: str, concurrency: float, tpot: float, per_gpu: float, **more: Any) -> PointRow:
    """A closed-loop point on eight GPUs with this median TPOT (ms) and tok/s/GPU."""
    known: dict[str, Any] = {
        "file": f"results/{layout}/conc{concurrency:g}.json",
        "source": "vllm bench serve",
        "layout": layout,
        "gpus": 8,
        "gpus_all": 8,
        "placement": "pack",
        "network": "srd",
        "model": "m",
        "input_len": 5000,
        "output_len": 250,
        "mode": "mixed",
        "kind": "concurrency",
        "value": concurrency,
        "duration_s": 60.0,
        "completed": 600,
        "failed": 0,
        "request_throughput": per_gpu * 8 / 5250,
        "output_throughput": per_gpu * 8 * 250 / 5250,
        "total_token_throughput": per_gpu * 8,
        "tokens_per_s_per_gpu": per_gpu,
        "ttft_p50_ms": 200.0,
        "tpot_p50_ms": tpot,
        "e2el_mean_ms": 200.0 + 249 * tpot,
    }
    return PointRow(**(known | more))
