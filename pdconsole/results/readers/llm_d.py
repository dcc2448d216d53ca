"""llm-d's benchmark report of version 0.2 (0.2.1 too), a YAML or JSON file a load, whatever program
measured it.

Its time per output token is TPOT where it is there. Where only its "inter token latency" is,
programs that give one number a request (inference-perf, guidellm, aiperf) mean TPOT by it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from pdconsole.model.layout import Layout, LayoutError, ReplicaGroup, Role, parse_layout
from pdconsole.results.point_row import PointRow, per_gpu
from pdconsole.results.readers.bench_serve import load_of
from pdconsole.results.readers.fields import count, mapping, number, wall
from pdconsole.results.readers.place import place_of, told_by

SOURCE = "llm-d"
FILES = "benchmark_report_v0.2*"  # what its tools call them
SLOTS_ARE = ", slots are "  # how ours tell it behind the name of the GPU
_OF_FILE = re.compile(r"benchmark_report_v0\.2[.\d]*,_(.+)\.(?:yaml|yml|json)")

# Roles by its words, latencies and statistics by ours; what `export` writes too.
ROLES: dict[str, Role] = {"prefill": "prefill", "decode": "decode", "replica": "collocated"}
LATENCIES = {
    "ttft": "time_to_first_token",
    "tpot": "time_per_output_token",
    "itl": "inter_token_latency",
    "e2el": "request_latency",
}
_ONE_A_REQUEST = ("inference-perf", "guidellm", "aiperf")
STATISTICS = {
    "mean": "mean",
    "std": "stddev",
    "p50": "p50",
    "p90": "p90",
    "p95": "p95",
    "p99": "p99",
}
_MS = {"ms": 1.0, "s": 1e3, "us": 1e-3, "ms/token": 1.0, "s/token": 1e3}
_DURATION = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?")


def recognises(document: Mapping[str, Any]) -> bool:
    return str(document.get("version")).startswith("0.2") and bool(
        _at(document, "results", "request_performance", "aggregate")
    )


def is_beside_its_source(path: Path) -> bool:
    """Whether this report was made of a file beside it, which tells more and is read itself."""
    name = _OF_FILE.fullmatch(path.name)
    if name is None:
        return False
    return any(path.with_name(name[1] + suffix).is_file() for suffix in ("", ".json"))


def rows(path: Path, document: Mapping[str, Any]) -> list[PointRow]:
    told = _at(document, "results", "request_performance", "aggregate")
    requests, throughput = mapping(told.get("requests")), mapping(told.get("throughput"))
    load = _at(document, "scenario", "load", "standardized")
    ours = _at(document, "scenario", "load", "native", "config", "pdconsole")
    place = place_of(path)
    layout = _layout(document, ours)
    where = told_by(place)
    if layout is not None:
        where |= {"layout": layout.slug, "gpus": layout.gpus, "gpus_all": layout.gpus}
    where |= {key: ours[key] for key in ("placement", "network") if ours.get(key)}
    where["gpus"] = count(ours.get("gpus_loaded")) or where["gpus"]
    where["gpu_model"] = where["gpu_model"] or _gpu_model(document)
    completed = _completed(requests)
    per_second = _mean(throughput, "request_rate")
    duration = _duration_s(document) or (completed / per_second if per_second else None)
    if duration is None or duration <= 0:
        raise ValueError("it has no duration")
    if per_second is None:
        per_second = completed / duration
    inputs, outputs = (_mean(requests, name) for name in ("input_length", "output_length"))
    total = _mean(throughput, "total_token_rate")
    if total is None:
        total = ((inputs or 0.0) + (outputs or 0.0)) * per_second
    cap = count(load.get("concurrency"))
    kind, value = load_of(number(load.get("rate_qps")), cap)
    return [
        PointRow(
            file=str(path),
            source=SOURCE,
            **where,
            model=_model(document),
            input_len=_length(load, "input_seq_len", place.name.input_len, inputs),
            output_len=_length(load, "output_seq_len", place.name.output_len, outputs),
            mode=str(ours.get("mode") or place.name.mode),
            kind=kind,
            value=value,
            duration_s=duration,
            completed=completed,
            failed=count(requests.get("failures")),
            request_throughput=per_second,
            output_throughput=_mean(throughput, "output_token_rate"),
            total_token_throughput=total,
            tokens_per_s_per_gpu=per_gpu(total, where["gpus"]),
            **_latencies(mapping(told.get("latency")), str(load.get("tool") or "")),
            ci=_intervals(ours),
            input_tokens=None if inputs is None else round(inputs * completed),
            output_tokens=None if outputs is None else round(outputs * completed),
            num_prompts=count(requests.get("total")),
            max_concurrency=cap,
            burstiness=number(ours.get("burstiness")),
            started_wall=_started(document),
            repeat=count(ours.get("repeat")) or place.repeat,
            group=place.group,
            simulated=ours.get("simulated") is True,
            slot_kind=str(ours.get("slot_kind") or "gpu"),
            flags={str(name): str(text) for name, text in mapping(ours.get("flags")).items()},
            bad=tuple(name for name in mapping(ours.get("flags")) if name in _bad(ours)),
        )
    ]


def _bad(ours: Mapping[str, Any]) -> list[Any]:
    named = ours.get("bad")
    return named if isinstance(named, list) else []


def _at(document: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    for key in keys:
        document = mapping(document.get(key))
    return document


def _mean(of: Mapping[str, Any], name: str) -> float | None:
    return number(mapping(of.get(name)).get("mean"))


def _completed(requests: Mapping[str, Any]) -> int:
    total = count(requests.get("total"))
    if total is None:
        raise ValueError("it does not tell how many requests there were")
    others = (count(requests.get(name)) or 0 for name in ("failures", "incomplete"))
    return max(0, total - sum(others))


def _length(
    load: Mapping[str, Any], name: str, of_place: int | None, mean: float | None
) -> int | None:
    """As a name or the load tells, where all are of one length; else the mean of what was sent."""
    asked = mapping(load.get(name))
    fixed = number(asked.get("value")) if asked.get("distribution") == "fixed" else None
    value = of_place or fixed or mean
    return None if value is None else round(value)


def _latencies(told: Mapping[str, Any], tool: str) -> dict[str, Any]:
    names = dict(LATENCIES)
    if tool.startswith(_ONE_A_REQUEST) and _mean(told, names["tpot"]) is None:
        names["tpot"] = names.pop("itl")
    found: dict[str, Any] = {}
    for name, theirs in names.items():
        metric = mapping(told.get(theirs))
        if not number(metric.get("mean")):  # zeros where nothing was streamed
            continue
        unit = str(metric.get("units"))
        if unit not in _MS:
            raise ValueError(f"nobody knows its unit of time {unit!r}")
        for which, word in STATISTICS.items():
            value = number(metric.get(word))
            found[f"{name}_{which}_ms"] = None if value is None else value * _MS[unit]
    return found


def _duration_s(document: Mapping[str, Any]) -> float | None:
    """ISO 8601, or what YAML made of it."""
    value = _at(document, "run", "time").get("duration")
    if isinstance(value, int | float):
        return number(value)
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return days * 86_400 + hours * 3600 + minutes * 60 + seconds or None


def _started(document: Mapping[str, Any]) -> float | None:
    start = _at(document, "run", "time").get("start")
    return wall(start.isoformat() if isinstance(start, datetime) else start)


def _engines(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    stack = mapping(document.get("scenario")).get("stack")
    parts = [_at(mapping(each), "standardized") for each in stack or ()]
    return [each for each in parts if each.get("kind") == "inference_engine"]


def _layout(document: Mapping[str, Any], ours: Mapping[str, Any]) -> Layout | None:
    """Of the engines; none where one of them is more than replicas of a TP group."""
    try:
        if isinstance(slug := ours.get("layout"), str) and slug != "?":
            return parse_layout(slug)
        groups = [_group(each) for each in _engines(document)]
        known = tuple(group for group in groups if group is not None)
        return Layout(known) if known and len(known) == len(groups) else None
    except LayoutError:
        return None


def _group(engine: Mapping[str, Any]) -> ReplicaGroup | None:
    role = ROLES.get(str(engine.get("role")))
    parallel = _at(engine, "accelerator", "parallelism")
    tp = count(parallel.get("tp"))
    plain = all((count(parallel.get(name)) or 1) == 1 for name in ("dp", "pp", "workers"))
    replicas = count(engine.get("replicas")) or 1
    if role is None or not tp or not plain:
        return None
    return ReplicaGroup(role, replicas, tp, (count(parallel.get("ep")) or 1) > 1)


def _model(document: Mapping[str, Any]) -> str:
    names = (str(_at(each, "model").get("name") or "") for each in _engines(document))
    return ", ".join(dict.fromkeys(name for name in names if name not in ("", "unknown")))


def _gpu_model(document: Mapping[str, Any]) -> str:
    names = (str(_at(each, "accelerator").get("model") or "") for each in _engines(document))
    told = (name.split(SLOTS_ARE)[0] for name in names)
    return ", ".join(dict.fromkeys(name for name in told if name not in ("", "unknown")))


def _intervals(ours: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    return {
        str(name): (float(low), float(high))
        for name, (low, high) in mapping(ours.get("intervals_95")).items()
    }
