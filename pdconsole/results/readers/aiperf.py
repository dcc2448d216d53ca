"""aiperf's `profile_export_aiperf.json`: one load a file.

Its "inter token latency" is one number a request, decode time over the tokens after the first:
that is TPOT here. Its "inter chunk latency" is the gap between two chunks of a stream: ITL here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pdconsole.results.point_row import PointRow, per_gpu
from pdconsole.results.readers.bench_serve import load_of
from pdconsole.results.readers.fields import count, mapping, number, wall
from pdconsole.results.readers.place import place_of, told_by

SOURCE = "aiperf"
PHASES, MANIFEST = "phases", "phase_manifest.json"

_LATENCIES = {
    "ttft": "time_to_first_token",
    "tpot": "inter_token_latency",
    "itl": "inter_chunk_latency",
    "e2el": "request_latency",
}
_MS = {"ns": 1e-6, "us": 1e-3, "ms": 1.0, "s": 1e3, "sec": 1e3}
_STATISTICS = {
    "mean": "avg",
    "std": "std",
    "p50": "p50",
    "p90": "p90",
    "p95": "p95",
    "p99": "p99",
}


def recognises(document: Mapping[str, Any]) -> bool:
    # An aggregate of several runs has its statistics under "metrics".
    return "request_throughput" in _metrics(document) and "input_config" in document


def is_of_phases(directory: Path) -> bool:
    """Whether it holds a run's phases one by one, its warm-up too: the run is beside it."""
    return directory.name == PHASES and directory.with_name(MANIFEST).is_file()


def rows(path: Path, document: Mapping[str, Any]) -> list[PointRow]:
    metrics = _metrics(document)
    config = mapping(document["input_config"])
    if not {"phases", "loadgen"} & set(config):  # GenAI-Perf's files look like it otherwise
        raise ValueError("it does not tell its load; files of GenAI-Perf are not read")
    place = place_of(path)
    duration = _duration_s(metrics)
    requests = _value(metrics, "request_count")
    per_second = _value(metrics, "request_throughput")
    if requests is None or per_second is None:
        raise ValueError("it has no finished request")
    inputs = _value(metrics, "total_isl") or _sum(metrics, "input_sequence_length")
    outputs = _value(metrics, "total_osl") or _sum(metrics, "output_sequence_length")
    out_per_second = _value(metrics, "output_token_throughput")
    if duration <= 0:
        raise ValueError("it has no duration")
    total = _value(metrics, "total_token_throughput")
    if total is None:  # the first versions do not tell it
        total = ((inputs or 0.0) + (outputs or 0.0)) / duration
    load = _load(config)
    cap = count(load.get("concurrency"))
    kind, value = load_of(number(load.get("rate")), cap)
    name = place.name
    return [
        PointRow(
            file=str(path),
            source=SOURCE,
            **told_by(place),
            model=_model(config),
            input_len=name.input_len or _length(config, metrics, "isl", "input_sequence_length"),
            output_len=name.output_len or _length(config, metrics, "osl", "output_sequence_length"),
            mode=name.mode,
            kind=kind,
            value=value,
            duration_s=duration,
            completed=int(requests),
            failed=int(_value(metrics, "error_request_count") or 0),
            request_throughput=per_second,
            output_throughput=out_per_second,
            total_token_throughput=total,
            tokens_per_s_per_gpu=per_gpu(total, place.gpus),
            **_latencies(metrics),
            input_tokens=count(inputs),
            output_tokens=count(outputs),
            num_prompts=count(load.get("requests")),
            max_concurrency=cap,
            burstiness=_burstiness(load) if kind == "request_rate" else None,
            started_wall=wall(document.get("start_time")),
            repeat=place.repeat,
            group=place.group,
            # Our own, that were exported so.
            simulated=mapping(document.get("pdconsole")).get("simulated") is True,
            flags=_flags(document),
            date=str(document.get("start_time") or ""),
        )
    ]


def _metrics(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The first versions had them under "records"."""
    return mapping(document.get("records")) or document


def _value(metrics: Mapping[str, Any], name: str) -> float | None:
    return number(mapping(metrics.get(name)).get("avg"))


def _sum(metrics: Mapping[str, Any], name: str) -> float | None:
    metric = mapping(metrics.get(name))
    mean, requests = number(metric.get("avg")), _value(metrics, "request_count")
    told = number(metric.get("sum"))
    if told is not None or mean is None or requests is None:
        return told
    return mean * requests


def _length(
    config: Mapping[str, Any], metrics: Mapping[str, Any], asked: str, measured: str
) -> int | None:
    """What was asked for, else the mean of what was sent."""
    sets = [mapping(each) for each in config.get("datasets") or ()]
    prompts = mapping(sets[0].get("prompts")) if sets else {}
    mean = number(mapping(prompts.get(asked)).get("mean"))
    if mean is None:
        mean = _value(metrics, measured)
    return None if mean is None else round(mean)


def _duration_s(metrics: Mapping[str, Any]) -> float:
    metric = mapping(metrics.get("benchmark_duration"))
    value = number(metric.get("avg"))
    if value is not None:
        return value * _to_ms(metric, "sec") / 1e3
    requests, per_second = _value(metrics, "request_count"), _value(metrics, "request_throughput")
    if not requests or not per_second:
        raise ValueError("it has no duration")
    return requests / per_second


def _to_ms(metric: Mapping[str, Any], usual: str) -> float:
    unit = str(metric.get("unit", usual))
    if unit not in _MS:
        raise ValueError(f"nobody knows its unit of time {unit!r}")
    return _MS[unit]


def _latencies(metrics: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, theirs in _LATENCIES.items():
        metric = mapping(metrics.get(theirs))
        if not metric:
            continue
        scale = _to_ms(metric, "ms")
        for which, word in _STATISTICS.items():
            value = number(metric.get(word))
            found[f"{name}_{which}_ms"] = None if value is None else value * scale
    return found


def _load(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of what is measured; before configuration 2.0 of the load generator. Phases of different
    loads have none in common."""
    measured = [
        phase
        for phase in config.get("phases") or ()
        if isinstance(phase, dict)
        and phase.get("kind") != "warmup"
        and not phase.get("exclude_from_results")
    ]
    if measured:
        loads = [(each.get("rate"), each.get("concurrency")) for each in measured]
        return measured[0] if loads.count(loads[0]) == len(loads) else {}
    old = mapping(config.get("loadgen"))
    return {
        "concurrency": old.get("concurrency"),
        "rate": old.get("request_rate"),
        "requests": old.get("request_count"),
        "type": old.get("request_rate_mode"),
    }


def _burstiness(load: Mapping[str, Any]) -> float | None:
    return 1.0 if load.get("type") == "poisson" else number(load.get("smoothness"))


def _model(config: Mapping[str, Any]) -> str:
    items = mapping(config.get("models")).get("items") or ()
    names = [str(mapping(item).get("name")) for item in items]
    return ", ".join(names or map(str, mapping(config.get("endpoint")).get("model_names") or ()))


def _flags(document: Mapping[str, Any]) -> dict[str, str]:
    if document.get("was_cancelled") is True:
        return {"incomplete": "aiperf was cancelled"}
    if document.get("is_complete") is False:
        reason = document.get("incomplete_reason")
        return {"incomplete": f"aiperf did not finish: {reason or 'it does not say why'}"}
    return {}
