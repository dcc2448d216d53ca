"""aiperf's files of a profile: one line a request, and their summary.

    <run>/conc16/profile_export.jsonl, profile_export_aiperf.json

Only points with their requests beside them can be written so. Requests of the window are of its
phase "profiling", failed ones too, those before of "warmup"; those of the drain are left out, since
aiperf would count them. Token counts are the server's. Times of day follow from the window's start;
in older files, which do not tell it, the first request is taken to have been sent when the driver
was started.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pdconsole.results.errors import ResultError
from pdconsole.results.export.places import by_directory, original, point_names
from pdconsole.results.export.writing import ExportFile
from pdconsole.results.point_row import PointRow
from pdconsole.results.requests import read_requests

SCHEMA_VERSION = "1.4"  # of the summary; of aiperf 0.13

_PHASES = {"warmup": "warmup", "window": "profiling"}
_PERCENTILES = (1, 5, 10, 25, 50, 75, 90, 95, 99)
_GAP_DIGITS_MS = 3  # gaps are float32 of a microsecond's resolution


def fitting(rows: Sequence[PointRow]) -> tuple[list[PointRow], list[str]]:
    """The points that have their requests, and a sentence about the others."""
    found = [row for row in rows if row.requests_file is not None]
    without = [row for row in rows if row.requests_file is None]
    if not without:
        return found, []
    points = "1 point" if len(without) == 1 else f"{len(without)} points"
    return found, [
        f"{points} without requests beside them, of which aiperf has a record each, such as "
        f"{without[0].file}"
    ]


def files(rows: Sequence[PointRow]) -> Iterator[ExportFile]:
    for directory, found in by_directory(rows):
        for name, row in zip(point_names(found), found, strict=True):
            records = _records(row)
            lines = "".join(json.dumps(each, separators=(",", ":")) + "\n" for each in records)
            summary = json.dumps(_summary(row, records), indent=2) + "\n"
            yield ExportFile(directory / name / "profile_export.jsonl", lines.encode())
            yield ExportFile(directory / name / "profile_export_aiperf.json", summary.encode())


def _records(row: PointRow) -> list[dict[str, Any]]:
    """In the order of sending. Raises ResultError when the requests cannot be read."""
    if row.requests_file is None:
        raise ResultError(f"the requests of {row.file} are not beside it")
    sent = sorted(read_requests(row.requests_file).to_pylist(), key=lambda each: each["index"])
    if not sent:
        raise ResultError(f"{row.requests_file} holds no request")
    known = (original(row).get("pdconsole") or {}).get("window") or {}
    since = known.get("t0_node_t") if known.get("t0_wall") is not None else None
    if since is None:  # an older file: the driver's start is taken for the first request's
        since = min(each["sent_node_t"] for each in sent)
    wall_ns = round((row.started_wall or 0.0) * 1e9)

    def ns(node_t: float) -> int:
        return wall_ns + int((node_t - since) * 1e9)

    return [_record(each, ns) for each in sent if each["phase"] in _PHASES]


def _record(request: dict[str, Any], ns: Callable[[float], int]) -> dict[str, Any]:
    start, end = request["sent_node_t"], request["last_token_node_t"]
    phase = _PHASES[request["phase"]]
    record: dict[str, Any] = {
        "metadata": {
            "session_num": request["index"],
            "x_request_id": request["request_id"] or None,
            "turn_index": 0,
            "credit_issued_ns": ns(request["scheduled_node_t"]),
            "request_start_ns": ns(start),
            "request_end_ns": ns(start if end is None else end),
            "worker_id": "pdconsole",
            "record_processor_id": "pdconsole",
            "benchmark_phase": phase,
            "phase_name": phase,
            "phase_kind": phase,
            "was_cancelled": False,
        },
        "metrics": {} if request["error"] else _metrics(request),
    }
    if request["error"]:
        record["error"] = {"message": request["error"]}
    return record


def _metrics(request: dict[str, Any]) -> dict[str, Any]:
    """Its TPOT is their "inter token latency", its gaps their "inter chunk latency"."""
    tpot = request["tpot_ms"] if request["output_tokens"] > 1 else None
    gaps = [round(gap, _GAP_DIGITS_MS) for gap in request["gaps_ms"] or ()]
    told = {
        "request_latency": (request["e2el_ms"], "ms"),
        "time_to_first_token": (request["ttft_ms"], "ms"),
        "inter_token_latency": (tpot, "ms"),
        "inter_chunk_latency": (gaps or None, "ms"),
        "output_token_throughput_per_user": (1e3 / tpot if tpot else None, "tokens/sec/user"),
        "input_sequence_length": (request["input_tokens"], "tokens"),
        "output_sequence_length": (request["output_tokens"], "tokens"),
    }
    return {
        name: {"value": value, "unit": unit}
        for name, (value, unit) in told.items()
        if value is not None
    }


def _summary(row: PointRow, records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    counted = [each["metadata"] for each in records if _counts(each)]
    whole = {
        "request_throughput": ("requests/sec", row.request_throughput),
        "request_count": ("requests", row.completed),
        "error_request_count": ("requests", row.failed or None),
        "output_token_throughput": ("tokens/sec", row.output_throughput),
        "total_token_throughput": ("tokens/sec", row.total_token_throughput),
        "benchmark_duration": ("sec", row.duration_s),
        "total_isl": ("tokens", row.input_tokens),
        "total_osl": ("tokens", row.output_tokens),
        "total_output_tokens": ("tokens", row.output_tokens),
    }
    return {
        "schema_version": SCHEMA_VERSION,
        **{
            name: {"unit": u, "avg": value}
            for name, (u, value) in whole.items()
            if value is not None
        },
        **_statistics(records),
        "input_config": _config(row, sum(_counts(each) for each in records)),
        "was_cancelled": False,
        "is_complete": True,
        "error_summary": _errors(records),
        "start_time": _stamp(min((each["request_start_ns"] for each in counted), default=0)),
        "end_time": _stamp(max((each["request_end_ns"] for each in counted), default=0)),
        "pdconsole": {
            "layout": row.layout,
            "session": row.session,
            "simulated": row.simulated,
            "flags": dict(row.flags),
        },
    }


def _stamp(wall_ns: int) -> str:
    """UTC, written without its zone as aiperf writes local time."""
    return datetime.fromtimestamp(wall_ns / 1e9, UTC).replace(tzinfo=None).isoformat()


def _counts(record: dict[str, Any]) -> bool:
    return bool(record["metadata"]["benchmark_phase"] == "profiling")


def _statistics(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of the requests that count; of gaps over all of them."""
    import numpy as np

    values: dict[str, list[float]] = {}
    units: dict[str, str] = {}
    for record in filter(_counts, records):
        for name, metric in record["metrics"].items():
            units[name] = metric["unit"]
            value = metric["value"]
            values.setdefault(name, []).extend(value if isinstance(value, list) else [value])
    found: dict[str, Any] = {}
    for name, all_of_them in values.items():
        array = np.asarray(all_of_them, dtype=float)
        at = np.percentile(array, _PERCENTILES)
        found[name] = {
            "unit": units[name],
            "avg": float(array.mean()),
            **{f"p{q}": float(value) for q, value in zip(_PERCENTILES, at, strict=True)},
            "min": float(array.min()),
            "max": float(array.max()),
            "std": float(array.std()),
            "count": len(array),
            "sum": float(array.sum()),
        }
    return found


def _errors(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    counts: dict[str, int] = {}
    for record in records:
        if _counts(record) and "error" in record:
            message = record["error"]["message"]
            counts[message] = counts.get(message, 0) + 1
    return [{"error_details": {"message": m}, "count": count} for m, count in counts.items()]


def _config(row: PointRow, requests: int) -> dict[str, Any]:
    """The part of aiperf's configuration that says what the load was."""
    lengths = {"isl": row.input_len, "osl": row.output_len}
    prompts = {k: {"mean": float(v), "stddev": 0.0} for k, v in lengths.items() if v is not None}
    return {
        "models": {"items": [{"name": row.model or Path(row.directory).name}]},
        # Not where it was: that is the deployment's affair, and aiperf wants a URL.
        "endpoint": {"urls": ["http://localhost"], "type": "completions", "streaming": True},
        "datasets": [
            {"name": "main", "type": "synthetic", "entries": max(1, requests), "prompts": prompts}
        ],
        "phases": [{"name": "profiling", "kind": "profiling", **_load(row, max(1, requests))}],
    }


def _load(row: PointRow, requests: int) -> dict[str, Any]:
    if row.kind == "request_rate":
        return {"type": "poisson", "requests": requests, "rate": row.value}
    return {"type": "concurrency", "requests": requests, "concurrency": int(row.value or 1)}
