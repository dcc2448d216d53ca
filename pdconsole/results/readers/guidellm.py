"""guidellm's `benchmarks.json`: several loads a file.

Its "inter token latency" is one number a request, decode time over the tokens after the first, of
which it takes the distribution over tokens: that is TPOT here. Its "time per output token" has the
first token in it and is nothing here; of gaps between single tokens its file tells nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pdconsole.results.point_row import STATISTICS, PointRow, per_gpu
from pdconsole.results.readers.fields import count, mapping, number
from pdconsole.results.readers.place import place_of, told_by

SOURCE = "guidellm"
LEVEL = 0.95  # of the intervals of a point

# Name in the file, and what makes ms of it.
_LATENCIES = {
    "ttft": ("time_to_first_token_ms", 1.0),
    "tpot": ("inter_token_latency_ms", 1.0),
    "e2el": ("request_latency", 1e3),
}


def recognises(document: Mapping[str, Any]) -> bool:
    benchmarks = document.get("benchmarks")
    return (
        isinstance(benchmarks, list)
        and bool(benchmarks)
        and all(mapping(mapping(each).get("metrics")) for each in benchmarks)
    )


def rows(path: Path, document: Mapping[str, Any]) -> list[PointRow]:
    model, asked = _model(document), _asked(document)
    return [_row(path, each, model, asked) for each in document["benchmarks"]]


def _row(
    path: Path, benchmark: Mapping[str, Any], model: str, asked: Mapping[str, Any]
) -> PointRow:
    metrics = mapping(benchmark["metrics"])
    place = place_of(path)
    totals = mapping(metrics.get("request_totals") or benchmark.get("request_totals"))
    duration = number(benchmark.get("duration")) or 0.0
    if duration <= 0:
        raise ValueError("one of its benchmarks has no duration")
    completed = count(totals.get("successful")) or 0
    inputs, outputs = _sum(metrics, "prompt_token_count"), _sum(metrics, "output_token_count")
    out_per_second = _mean(metrics, "output_tokens_per_second")
    total = _mean(metrics, "tokens_per_second") or ((inputs or 0) + (outputs or 0)) / duration
    kind, value, cap, burstiness = _load(benchmark)
    most = number(mapping(_of(metrics, "request_concurrency", "total")).get("max"))
    return PointRow(
        file=str(path),
        source=SOURCE,
        **told_by(place),
        model=model,
        input_len=place.name.input_len
        or count(asked.get("prompt_tokens"))
        or _length(metrics, "prompt_token_count"),
        output_len=place.name.output_len
        or count(asked.get("output_tokens"))
        or _length(metrics, "output_token_count"),
        mode=place.name.mode,
        kind=kind,
        value=value,
        duration_s=duration,
        completed=completed,
        failed=count(totals.get("errored")),
        request_throughput=_mean(metrics, "requests_per_second") or completed / duration,
        output_throughput=out_per_second,
        total_token_throughput=total,
        tokens_per_s_per_gpu=per_gpu(total, place.gpus),
        **_latencies(metrics),
        ci=_intervals(metrics, benchmark),
        input_tokens=count(inputs),
        output_tokens=count(outputs),
        num_prompts=count(totals.get("total")),
        max_concurrency=cap,
        peak_concurrency=count(most),
        burstiness=burstiness,
        started_wall=number(benchmark.get("start_time")),
        repeat=place.repeat,
        group=place.group,
        flags=_flags(benchmark),
    )


def _of(metrics: Mapping[str, Any], name: str, status: str = "successful") -> Mapping[str, Any]:
    return mapping(mapping(metrics.get(name)).get(status))


def _mean(metrics: Mapping[str, Any], name: str) -> float | None:
    return number(_of(metrics, name).get("mean"))


def _sum(metrics: Mapping[str, Any], name: str) -> float | None:
    return number(_of(metrics, name).get("total_sum"))


def _length(metrics: Mapping[str, Any], name: str) -> int | None:
    mean = _mean(metrics, name)
    return round(mean) if mean else None


def _latencies(metrics: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, (theirs, scale) in _LATENCIES.items():
        summary = _of(metrics, theirs)
        if not number(summary.get("mean")):  # zeros where nothing was streamed
            continue
        percentiles = mapping(summary.get("percentiles"))
        told = {
            "mean": summary.get("mean"),
            "std": summary.get("std_dev"),
            **{which: percentiles.get(which) for which in ("p50", "p90", "p95", "p99")},
        }
        for which, value in told.items():
            found_value = number(value)
            found[f"{name}_{which}_ms"] = None if found_value is None else found_value * scale
    return found


def _intervals(
    metrics: Mapping[str, Any], benchmark: Mapping[str, Any]
) -> dict[str, tuple[float, float]]:
    """Of what is one value a request, where the file has them for 95 %."""
    if mapping(benchmark.get("config")).get("confidence") != LEVEL:
        return {}
    found: dict[str, tuple[float, float]] = {}
    for name, (theirs, scale) in _LATENCIES.items():
        summary = _of(metrics, theirs)
        told = {"mean": summary.get("mean_ci"), **mapping(summary.get("percentile_cis"))}
        for which in STATISTICS:
            bounds = mapping(told.get(which))
            low, high = number(bounds.get("lower")), number(bounds.get("upper"))
            if low is not None and high is not None:
                found[f"{name}_{which}_ms"] = (low * scale, high * scale)
    return found


def _load(
    benchmark: Mapping[str, Any],
) -> tuple[str, float | None, int | None, float | None]:
    """Kind and value of the load, the cap on concurrency, burstiness."""
    config = mapping(benchmark.get("config")) or mapping(benchmark.get("args"))
    strategy = mapping(config.get("strategy"))
    cap = count(strategy.get("max_concurrency"))
    match strategy.get("type_"):
        case "synchronous":
            return "concurrency", 1.0, 1, None
        case "concurrent":
            streams = number(strategy.get("streams"))
            return "concurrency", streams, count(streams), None
        case "poisson":
            return "request_rate", number(strategy.get("rate")), cap, 1.0
        case "constant":
            return "request_rate", number(strategy.get("rate")), cap, None
        case _:
            return "concurrency", None if cap is None else float(cap), cap, None


def _asked(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The lengths of synthetic prompts, where all are of one kind; files tell them since 0.8."""
    data = mapping(mapping(document.get("config")).get("spec")).get("data")
    only = mapping(data[0]) if isinstance(data, list) and len(data) == 1 else {}
    turns = number(only.get("turns"))
    return only if only.get("kind") == "synthetic_text" and turns in (None, 1) else {}


def _model(document: Mapping[str, Any]) -> str:
    """In older files of the arguments themselves, of which the backend was a name."""
    config = mapping(document.get("config"))
    arguments = mapping(config.get("spec")) or config or mapping(document.get("args"))
    return str(mapping(arguments.get("backend")).get("model") or arguments.get("model") or "")


def _flags(benchmark: Mapping[str, Any]) -> dict[str, str]:
    """What guidellm itself warns of."""
    texts = [str(mapping(w).get("message") or w) for w in benchmark.get("warnings") or ()]
    return {"warned": "guidellm warns: " + "; ".join(texts)} if texts else {}
