"""llm-d's benchmark report, version 0.2: a YAML file a point, under the name its tools look for.

    <run>/benchmark_report_v0.2,_conc16.yaml

What its schema has no field for (layout, network, flags, intervals, what numbers per GPU are
divided by) is in the load's native configuration, under `pdconsole`.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pdconsole.model.layout import LayoutError, ReplicaGroup, parse_layout
from pdconsole.results.export.places import by_directory, original, point_names
from pdconsole.results.export.writing import ExportFile
from pdconsole.results.point_row import PointRow
from pdconsole.results.readers.llm_d import LATENCIES, ROLES, SLOTS_ARE, STATISTICS
from pdconsole.results.readers.ours import window_opened

VERSION = "0.2"

_UNKNOWN = "unknown"
_TOOLS = {"vllm bench serve": "vllm-benchmark"}  # as llm-d calls it; others by their own name
_ROLES = {ours: theirs for theirs, ours in ROLES.items()}
_OF_TOKENS = ("tpot", "itl")
# Whose times are known with their zone.
_KNOWN_ZONE = ("pdconsole", "guidellm")


def files(rows: Sequence[PointRow]) -> Iterator[ExportFile]:
    import yaml

    # The one of libyaml is five times as quick; a PyYAML without it has only the other.
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    for directory, found in by_directory(rows):
        for name, row in zip(point_names(found), found, strict=True):
            text = yaml.dump(
                report(row), Dumper=dumper, sort_keys=False, allow_unicode=True, width=100
            )
            yield ExportFile(directory / f"benchmark_report_v0.2,_{name}.yaml", text.encode())


def report(row: PointRow) -> dict[str, Any]:
    """The document of a point. Raises ResultError when its own file can no longer be read."""
    document = original(row)
    versions = _versions(document)
    scenario = {"stack": _stack(row, versions), "load": _load(row, versions)}
    return {
        "version": VERSION,
        "run": _run(row, row.source != "pdconsole" or window_opened(document) is not None),
        "scenario": {key: value for key, value in scenario.items() if value},
        "results": {"request_performance": {"aggregate": _aggregate(row)}},
    }


def _run(row: PointRow, is_start_of_window: bool) -> dict[str, Any]:
    name = Path(row.directory).name
    told = (
        row.session,
        name,
        Path(row.file).name,
        row.point,
        row.repeat,
        row.date,
        row.started_wall,
    )
    run: dict[str, Any] = {
        "uid": str(uuid.uuid5(uuid.NAMESPACE_URL, repr((*told, row.total_token_throughput)))),
        "eid": row.session or name,
        "description": f"{name} {row.point}" + (" (simulated)" if row.simulated else ""),
    }
    if row.simulated:
        run["keywords"] = ["simulated"]
    time = {"duration": f"PT{row.duration_s:.6f}S"}
    if row.started_wall is not None:
        time["start"] = _iso(row, row.started_wall)
        if is_start_of_window:  # in our older files the warm-up comes first
            time["end"] = _iso(row, row.started_wall + row.duration_s)
    return {**run, "time": time}


def _iso(row: PointRow, wall: float) -> str:
    """A time whose zone nobody knows is written without one."""
    stamp = datetime.fromtimestamp(wall, UTC)
    return (
        stamp.isoformat() if row.source in _KNOWN_ZONE else stamp.replace(tzinfo=None).isoformat()
    )


def _versions(document: dict[str, Any]) -> dict[str, str]:
    """Of vLLM and of pdconsole, where our own files tell."""
    told = (document.get("pdconsole") or {}).get("versions") or {}
    engines = {str(node["vllm"]) for node in (told.get("nodes") or {}).values() if "vllm" in node}
    return {
        "vllm": ", ".join(sorted(engines)) or _UNKNOWN,
        "pdconsole": str(told.get("pdconsole") or _UNKNOWN),
    }


def _stack(row: PointRow, versions: dict[str, str]) -> list[dict[str, Any]]:
    """A component a group of equal replicas; none where the layout is not known."""
    try:
        groups = parse_layout(row.layout).groups if row.layout != "?" else ()
    except LayoutError:
        return []
    return [_component(row, group, i, versions["vllm"]) for i, group in enumerate(groups)]


def _component(row: PointRow, group: ReplicaGroup, index: int, version: str) -> dict[str, Any]:
    hardware = row.gpu_model or _UNKNOWN
    if row.slot_kind != "gpu":
        hardware = f"{hardware}{SLOTS_ARE}{row.slot_kind}"
    standardized = {
        "kind": "inference_engine",
        "tool": "vllm",
        "tool_version": version,
        "role": _ROLES[group.role],
        "replicas": group.count,
        "model": {"name": row.model or _UNKNOWN},
        "accelerator": {
            "model": hardware,
            "count": group.tp,  # of one replica
            "parallelism": {
                "tp": group.tp,
                "ep": group.tp if group.ep else 1,
                "workers": group.nodes,
            },
        },
    }
    return {
        "metadata": {"label": f"{group.role}-{index}", "cfg_id": _hash(standardized)},
        "standardized": standardized,
        "native": {},
    }


def _load(row: PointRow, versions: dict[str, str]) -> dict[str, Any]:
    """Empty where nobody knows how long the prompts were: the schema wants it."""
    prompts = _length(row.input_len, row.input_tokens, row.completed)
    if prompts is None:
        return {}
    ours = row.source == "pdconsole"
    standardized: dict[str, Any] = {
        "tool": _TOOLS.get(row.source, row.source),
        "tool_version": versions["pdconsole"] if ours else _UNKNOWN,
        "source": "random" if ours else "unknown",
        "input_seq_len": prompts,
    }
    if answers := _length(row.output_len, row.output_tokens, row.completed):
        standardized["output_seq_len"] = answers
    if row.kind == "request_rate" and row.value:
        standardized["rate_qps"] = row.value
    if cap := row.max_concurrency or (row.kind == "concurrency" and row.value):
        standardized["concurrency"] = int(cap)
    return {
        "metadata": {"cfg_id": _hash(standardized), "description": row.workload},
        "standardized": standardized,
        "native": {"config": {"pdconsole": _beside(row)}},
    }


def _length(asked: int | None, total: int | None, requests: int) -> dict[str, Any] | None:
    """What was asked for; else the mean of what was sent."""
    if asked is not None:
        return {"distribution": "fixed", "value": asked}
    if not total or not requests:
        return None
    return {"distribution": "other", "value": total / requests}


def _beside(row: PointRow) -> dict[str, Any]:
    return {
        "source": row.source,
        "layout": row.layout,
        "placement": row.placement,
        "network": row.network,
        "mode": row.mode,
        "simulated": row.simulated,
        "repeat": row.repeat,
        "burstiness": row.burstiness,
        "gpus_loaded": row.gpus_loaded,
        "gpus_all": row.gpus_all,
        "tokens_per_s_per_loaded_gpu": row.tokens_per_s_per_gpu,
        "slot_kind": row.slot_kind,
        "flags": dict(row.flags),
        "bad": list(row.bad),
        "intervals_95": {name: list(bounds) for name, bounds in row.ci.items()},
    }


def _aggregate(row: PointRow) -> dict[str, Any]:
    sent = row.num_prompts
    requests: dict[str, Any] = {
        "total": row.completed + (row.failed or 0) if sent is None else sent
    }
    if row.failed is not None:
        requests["failures"] = row.failed
    for name, tokens in (("input_length", row.input_tokens), ("output_length", row.output_tokens)):
        if tokens is not None and row.completed:
            requests[name] = {"units": "count", "mean": tokens / row.completed}
    rates = {
        "input_token_rate": ("tokens/s", row.input_throughput),
        "output_token_rate": ("tokens/s", row.output_throughput),
        "total_token_rate": ("tokens/s", row.total_token_throughput),
        "request_rate": ("queries/s", row.request_throughput),
    }
    return {
        "requests": requests,
        "latency": {
            theirs: found for ours, theirs in LATENCIES.items() if (found := _statistics(row, ours))
        },
        "throughput": {
            name: {"units": units, "mean": value}
            for name, (units, value) in rates.items()
            if value is not None
        },
    }


def _statistics(row: PointRow, latency: str) -> dict[str, Any]:
    """Empty without a mean: the schema wants it."""
    told = {word: row.latency(latency, which) for which, word in STATISTICS.items()}
    if told["mean"] is None:
        return {}
    known = {word: value for word, value in told.items() if value is not None}
    return {"units": "ms/token" if latency in _OF_TOKENS else "ms", **known}


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
