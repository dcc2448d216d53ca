"""Reads points: our JSON, and what `vllm bench serve --save-result` wrote, of any version."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from pdconsole.model.layout import Layout, LayoutError, parse_layout
from pdconsole.results.directory import read_run_file
from pdconsole.results.errors import ResultError
from pdconsole.results.names import NameFacts, parse_name
from pdconsole.results.network_tests import is_network_test

# `vllm bench serve` users write "unlimited" as a huge number, because inf did not always work.
UNLIMITED_RATE = 1e6

_THEIR_WORD = {"p50": "median"}
_NEEDED = ("duration", "completed", "request_throughput", "total_token_throughput")


class PointRow(msgspec.Struct, frozen=True, kw_only=True):
    """One measured point, whoever wrote it. None and "" where the file does not tell.

    Latencies in ms, throughputs a second; `gpus` is the denominator of `tokens_per_s_per_gpu`.
    """

    file: str
    source: str  # pdconsole | vllm bench serve
    layout: str  # slug; "?" when neither file nor name tells
    gpus: int | None
    placement: str
    network: str
    model: str
    gpu_model: str = ""
    input_len: int | None
    output_len: int | None
    mode: str
    kind: str  # concurrency | request_rate
    value: float | None
    duration_s: float
    completed: int
    failed: int | None
    request_throughput: float
    output_throughput: float | None
    total_token_throughput: float
    tokens_per_s_per_gpu: float | None
    ttft_mean_ms: float | None = None
    ttft_p50_ms: float | None = None
    ttft_p99_ms: float | None = None
    tpot_mean_ms: float | None = None
    tpot_p50_ms: float | None = None
    tpot_p99_ms: float | None = None
    itl_p50_ms: float | None = None
    itl_p99_ms: float | None = None
    e2el_p50_ms: float | None = None
    e2el_p99_ms: float | None = None
    simulated: bool = False
    slot_kind: str = "gpu"
    flags: dict[str, str] = {}  # name -> evidence
    session: str = ""
    date: str = ""

    @property
    def directory(self) -> str:
        return str(Path(self.file).parent)

    @property
    def point(self) -> str:
        """`c=16`, `rr=4`."""
        if self.value is None:
            return "?"
        return f"{'c' if self.kind == 'concurrency' else 'rr'}={self.value:g}"

    @property
    def workload(self) -> str:
        """`itl5000 otl250 mixed`, as far as it is known."""
        lengths = (("itl", self.input_len), ("otl", self.output_len))
        parts = [f"{name}{value}" for name, value in lengths if value is not None]
        return " ".join([*parts, self.mode]).strip() or "unknown workload"


def read_point(path: Path) -> PointRow:
    """One point. Raises ResultError when the file is no point's result."""
    document = _read_document(path)
    missing = [key for key in _NEEDED if not isinstance(document.get(key), int | float)]
    if missing:
        raise ResultError(f"{path} is no benchmark result: it lacks {', '.join(missing)}")
    try:
        return _row(path, document)
    except (TypeError, ValueError, KeyError, LayoutError) as e:
        raise ResultError(f"{path} is no benchmark result that can be read: {e}") from e


def read_directory(directory: Path) -> tuple[list[PointRow], list[ResultError]]:
    """The points of a directory in the order of load, and what could not be read."""
    rows: list[PointRow] = []
    problems: list[ResultError] = []
    for path in _point_files(directory):
        try:
            rows.append(read_point(path))
        except ResultError as e:
            problems.append(e)
    rows.sort(key=lambda row: (row.kind, row.value or 0.0, row.file))
    if not rows and not problems and not any(map(is_network_test, directory.glob("*.json"))):
        problems.append(_nothing(directory))
    return rows, problems


def _point_files(directory: Path) -> Iterator[Path]:
    for path in sorted(directory.glob("*.json")):
        if is_network_test(path):
            continue
        # `vllm bench serve` writes a second file of another form beside each result.
        if not path.name.startswith(".") and not path.name.endswith(".pytorch.json"):
            yield path


def _nothing(directory: Path) -> ResultError:
    if not directory.is_dir():
        return ResultError(f"{directory} is no directory")
    try:
        meta = read_run_file(directory)
    except ResultError as e:
        return e
    state = f" (its run is {meta.get('status')})" if meta else ""
    return ResultError(f"{directory} holds no results{state}")


def _read_document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except OSError as e:
        raise ResultError(f"cannot read {path}: {e.strerror}") from e
    except ValueError as e:
        raise ResultError(f"{path} is damaged, or holds more than one result: {e}") from e
    if not isinstance(document, dict):
        raise ResultError(f"{path} is no benchmark result: it holds no object")
    return document


def _row(path: Path, document: Mapping[str, Any]) -> PointRow:
    name = parse_name(path.parent.name)
    ours = document.get("pdconsole")
    where = _from_ours(ours, document) if isinstance(ours, dict) else _from_name(name, document)
    kind, value = _load(document)
    total = float(document["total_token_throughput"])
    gpus = where["gpus"]
    return PointRow(
        file=str(path),
        model=str(document.get("model_id") or ""),
        kind=kind,
        value=value,
        duration_s=float(document["duration"]),
        completed=int(document["completed"]),
        failed=_int(document.get("failed")),
        request_throughput=float(document["request_throughput"]),
        output_throughput=_float(document.get("output_throughput")),
        total_token_throughput=total,
        tokens_per_s_per_gpu=total / gpus if gpus else None,
        date=str(document.get("date") or ""),
        **_latencies(document),
        **where,
    )


def _latencies(document: Mapping[str, Any]) -> dict[str, Any]:
    """Our names for what the file calls `median_ttft_ms`; means of TTFT and TPOT only.

    Files say 0 where there was nothing to measure: no TPOT with a single output token.
    """
    wanted = [(name, which) for name in ("ttft", "tpot") for which in ("mean", "p50", "p99")]
    wanted += [(name, which) for name in ("itl", "e2el") for which in ("p50", "p99")]
    return {
        f"{name}_{which}_ms": _float(document.get(f"{_THEIR_WORD.get(which, which)}_{name}_ms"))
        or None
        for name, which in wanted
    }


def _load(document: Mapping[str, Any]) -> tuple[str, float | None]:
    """Closed loop unless a real request rate is given; that may have a cap on concurrency too."""
    rate = document.get("request_rate")
    if isinstance(rate, int | float) and 0 < rate < UNLIMITED_RATE:
        return "request_rate", float(rate)
    return "concurrency", _float(document.get("max_concurrency"))


def _from_ours(ours: Mapping[str, Any], document: Mapping[str, Any]) -> dict[str, Any]:
    workload = ours["workload"]
    return {
        "source": "pdconsole",
        "layout": str(ours["layout"]),
        "gpus": int(ours["loaded_gpus"]),
        "placement": str(ours["placement"]["strategy"]),
        "network": str(ours["network"]),
        "gpu_model": str(document.get("hw") or ""),
        "input_len": int(workload["input_len"]),
        "output_len": int(workload["output_len"]),
        "mode": str(workload.get("mode", "mixed")),
        "simulated": bool(ours["simulated"]),
        "slot_kind": str(ours.get("slot_kind", "gpu")),
        "flags": {str(f["name"]): str(f["evidence"]) for f in ours["flags"]},
        "session": str(ours["session"]),
    }


def _from_name(name: NameFacts, document: Mapping[str, Any]) -> dict[str, Any]:
    """What only the directory's name, or `--metadata` that somebody gave, can tell."""
    layout = name.layout or _layout_of_metadata(document)
    return {
        "source": "vllm bench serve",
        "layout": layout.slug if layout else "?",
        "gpus": layout.gpus if layout else None,
        "placement": name.placement,
        "network": name.network,
        "gpu_model": name.gpu_model,
        "input_len": name.input_len,
        "output_len": name.output_len,
        "mode": name.mode,
    }


def _layout_of_metadata(document: Mapping[str, Any]) -> Layout | None:
    text = document.get("layout")
    return parse_layout(text) if isinstance(text, str) else None


def _float(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _int(value: Any) -> int | None:
    return int(value) if isinstance(value, int | float) else None
