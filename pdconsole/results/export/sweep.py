"""The layout of `vllm bench sweep serve`: a directory a combination of parameters, and in it
`run=N.json` and `summary.json`; above them `summary.csv`.

    <run>/BENCH--max_concurrency=16/run=0.json, run=1.json, summary.json
    <run>/summary.csv

Each run (a layout on a network under a workload) is an experiment of the sweep, its points are the
combinations, and runs that repeat it are run 1, 2, … of each. A `run=N.json` is the point's file
with what the sweep adds; points of other programs get the keys of `vllm bench serve`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import Any

from pdconsole.results.export.places import by_repeated_directory, original
from pdconsole.results.export.writing import ExportFile
from pdconsole.results.point_row import LATENCIES, STATISTICS, PointRow


def files(rows: Sequence[PointRow]) -> Iterator[ExportFile]:
    for directory, found in by_repeated_directory(rows):
        combinations: dict[str, list[PointRow]] = {}
        for row in found:
            combinations.setdefault(_combination_name(row), []).append(row)
        records: list[dict[str, Any]] = []
        for name, runs in combinations.items():
            of_it = []
            for number, row in enumerate(runs):
                document = _run(row, number)
                yield _json(directory / name / f"run={number}.json", document)
                of_it.append({k: v for k, v in document.items() if k != "pdconsole"})
            yield _json(directory / name / "summary.json", of_it)
            records += of_it
        yield ExportFile(directory / "summary.csv", _csv(records))


def _combination(row: PointRow) -> dict[str, Any]:
    """The parameters of `vllm bench serve` that differ between points."""
    if row.value is None:
        return {"_benchmark_name": Path(row.file).stem}
    if row.kind == "concurrency":
        return {"max_concurrency": int(row.value)}
    cap = {} if row.max_concurrency is None else {"max_concurrency": row.max_concurrency}
    return {"request_rate": row.value, **cap}


def _combination_name(row: PointRow) -> str:
    found = _combination(row)
    name = found.get("_benchmark_name") or "-".join(
        f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}" for k, v in found.items()
    )
    return f"BENCH--{name}"


def _run(row: PointRow, number: int) -> dict[str, Any]:
    told = {
        "layout": row.layout if row.layout != "?" else None,
        "placement": row.placement or None,
        "network": row.network or None,
        "num_gpus": row.gpus,  # those that were loaded: what numbers per GPU are divided by
        "simulated": row.simulated or None,
        "flags": "; ".join(row.flags) or None,
    }
    return {
        **(original(row) or _as_bench_serve(row)),
        **{key: value for key, value in told.items() if value is not None},
        "run_number": number,
        **_combination(row),
    }


def _as_bench_serve(row: PointRow) -> dict[str, Any]:
    """Under its keys, as far as it is known."""
    closed = row.kind == "concurrency"
    cap = row.max_concurrency
    if cap is None and closed and row.value is not None:
        cap = int(row.value)
    document: dict[str, Any] = {
        "date": _stamp(row),
        "backend": "openai",
        "model_id": row.model,
        "num_prompts": row.num_prompts,
        "request_rate": "inf" if closed else row.value,
        "burstiness": row.burstiness,
        "max_concurrency": cap,
        "duration": row.duration_s,
        "completed": row.completed,
        "failed": row.failed,
        "total_input_tokens": row.input_tokens,
        "total_output_tokens": row.output_tokens,
        "request_throughput": row.request_throughput,
        "output_throughput": row.output_throughput,
        "total_token_throughput": row.total_token_throughput,
        "max_concurrent_requests": row.peak_concurrency,
        "isl": row.input_len,
        "osl": row.output_len,
    }
    for latency in LATENCIES:
        for statistic in STATISTICS:
            value = row.latency(latency, statistic)
            if value is not None:
                word = "median" if statistic == "p50" else statistic
                document[f"{word}_{latency}_ms"] = value
    return document


def _stamp(row: PointRow) -> str | None:
    """When it ended, as the original's."""
    if row.started_wall is None:
        return row.date or None
    ended = datetime.fromtimestamp(row.started_wall + row.duration_s, UTC)
    return ended.strftime("%Y%m%d-%H%M%S")


def _json(path: PurePath, value: Any) -> ExportFile:
    return ExportFile(path, json.dumps(value, indent=4).encode() + b"\n")


def _csv(records: list[dict[str, Any]]) -> bytes:
    import pandas as pd

    return pd.DataFrame.from_records(records).to_csv().encode()
