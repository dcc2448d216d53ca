"""genai-bench: a file a load in an experiment's directory, beside `experiment_metadata.json`.

Its latencies are in the unit that the file names. Its throughputs are the tokens of requests that
count over the whole run: where it left out requests as warm-up, they are too low by that share,
and the point says so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pdconsole.results.errors import ResultError
from pdconsole.results.point_row import PointRow, per_gpu
from pdconsole.results.readers.fields import count, mapping, needed, number
from pdconsole.results.readers.place import place_of, told_by

SOURCE = "genai-bench"
METADATA = "experiment_metadata.json"

_LATENCIES = {"ttft": "ttft", "tpot": "tpot", "e2el": "e2e_latency"}
_STATISTICS = {
    "mean": "mean",
    "std": "stddev",
    "p50": "p50",
    "p90": "p90",
    "p95": "p95",
    "p99": "p99",
}
# D(input,output), N(mean,deviation)/(mean,deviation), U(least,most)/(least,most)
_FIXED = re.compile(r"D\((\d+),(\d+)\)")
_SPREAD = re.compile(r"([NU])\((\d+),(\d+)\)/\((\d+),(\d+)\)")


def recognises(document: Mapping[str, Any]) -> bool:
    return "run_duration" in mapping(document.get("aggregated_metrics"))


def rows(path: Path, document: Mapping[str, Any]) -> list[PointRow]:
    told = document["aggregated_metrics"]
    stats = mapping(told["stats"])
    experiment = _experiment(path.with_name(METADATA))
    place = place_of(path)
    where = told_by(place)
    if where["gpus"] is None:
        where["gpus"] = where["gpus_all"] = count(experiment.get("server_gpu_count"))
    where["gpu_model"] = where["gpu_model"] or str(experiment.get("server_gpu_type") or "")
    duration = needed(told, "run_duration")
    total = needed(told, "mean_total_tokens_throughput_tokens_per_s")
    concurrency = number(told.get("num_concurrency"))
    input_len, output_len = _lengths(str(told.get("scenario") or ""), stats)
    model = experiment.get("model") or experiment.get("api_model_name")
    completed = int(needed(told, "num_completed_requests"))
    counted = _counted(stats)
    whole = counted in (None, completed)  # else its tokens are not those of all that finished
    return [
        PointRow(
            file=str(path),
            source=SOURCE,
            **where,
            model=str(model or ""),
            input_len=place.name.input_len or input_len,
            output_len=place.name.output_len or output_len,
            mode=place.name.mode,
            kind="concurrency",
            value=concurrency,
            duration_s=duration,
            completed=completed,
            failed=count(told.get("num_error_requests")),
            request_throughput=needed(told, "requests_per_second"),
            output_throughput=number(told.get("mean_output_throughput_tokens_per_s")),
            total_token_throughput=total,
            tokens_per_s_per_gpu=per_gpu(total, where["gpus"]),
            **_latencies(stats, 1.0 if document.get("_time_unit") == "ms" else 1e3),
            input_tokens=_total(stats, "num_input_tokens") if whole else None,
            output_tokens=_total(stats, "num_output_tokens") if whole else None,
            num_prompts=count(told.get("num_requests")),
            max_concurrency=count(concurrency),
            repeat=place.repeat,
            group=place.group,
            flags={} if whole else _left_out(completed, counted or 0),
        )
    ]


def _total(stats: Mapping[str, Any], name: str) -> int | None:
    return count(mapping(stats.get(name)).get("sum"))


def _counted(stats: Mapping[str, Any]) -> int | None:
    """How many requests its latencies and tokens are of; None where it cannot be told."""
    tokens = mapping(stats.get("num_input_tokens"))
    total, mean = number(tokens.get("sum")), number(tokens.get("mean"))
    return round(total / mean) if total and mean else None


def _left_out(completed: int, counted: int) -> dict[str, str]:
    left = completed - counted
    return {
        "requests-left-out": f"{left} of {completed} requests are not in its latencies and tokens,"
        f" but in its time: its token rates are {100 * left / completed:.0f} % too low"
    }


def _experiment(path: Path) -> Mapping[str, Any]:
    """What was asked for; empty where somebody passed on the results alone."""
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as e:
        raise ResultError(f"cannot read {path}: {e}") from e
    return mapping(found)


def _lengths(scenario: str, stats: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Of the scenario, on average; of one that does not tell, the means of what was sent."""
    if fixed := _FIXED.fullmatch(scenario):
        return int(fixed[1]), int(fixed[2])
    if spread := _SPREAD.fullmatch(scenario):
        a, b, c, d = map(int, spread.groups()[1:])
        return (a, c) if spread[1] == "N" else ((a + b) // 2, (c + d) // 2)
    means = [
        number(mapping(stats.get(name)).get("mean"))
        for name in ("num_input_tokens", "num_output_tokens")
    ]
    lengths = [round(mean) if mean else None for mean in means]
    return lengths[0], lengths[1]


def _latencies(stats: Mapping[str, Any], scale: float) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, theirs in _LATENCIES.items():
        told = mapping(stats.get(theirs))
        if not number(told.get("mean")):  # zero where a task has no such thing
            continue
        for which, word in _STATISTICS.items():
            value = number(told.get(word))
            found[f"{name}_{which}_ms"] = None if value is None else value * scale
    return found
