"""What `vllm bench serve --save-result` writes, of any version; our own files begin so too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pdconsole.results.point_row import LATENCIES, STATISTICS, PointRow, per_gpu
from pdconsole.results.readers.fields import count, needed, number, wall
from pdconsole.results.readers.place import Place, place_of, told_by

SOURCE = "vllm bench serve"
NEEDED = ("duration", "completed", "request_throughput", "total_token_throughput")
# What the first versions, which knew no total, called its rates; a later one writes both.
_OLD_RATES = ("request_inthroughput", "input_throughput")

# Users write "unlimited" as a huge number, because inf did not always work.
UNLIMITED_RATE = 1e6

# Of each latency: our names of its statistics, and theirs.
_KEYS = {
    name: [
        (f"{name}_{which}_ms", f"{'median' if which == 'p50' else which}_{name}_ms")
        for which in STATISTICS
    ]
    for name in LATENCIES
}


def recognises(document: Mapping[str, Any]) -> bool:
    lacks = missing(document)
    return not lacks or (
        not {"duration", "completed"} & set(lacks) and any(key in document for key in _OLD_RATES)
    )


def missing(document: Mapping[str, Any]) -> list[str]:
    return [key for key in NEEDED if key not in document]


def rows(path: Path, document: Mapping[str, Any]) -> list[PointRow]:
    """The point of a file of somebody else."""
    place = place_of(path, document)
    duration = needed(document, "duration")
    ended = wall(document.get("date"))
    row = PointRow(
        source=SOURCE,
        **told_by(place),
        **lengths(place, document),
        # The stamp is of when the file was written.
        started_wall=None if ended is None else ended - duration,
        repeat=place.repeat,
        group=place.group,
        **measured(path, document, place.gpus),
    )
    return [row]


def measured(path: Path, document: Mapping[str, Any], gpus: int | None) -> dict[str, Any]:
    """What the keys of `vllm bench serve` tell, whoever wrote them."""
    kind, value = load(document)
    duration, completed = needed(document, "duration"), int(needed(document, "completed"))
    total = _total_rate(document, duration)
    return {
        "file": str(path),
        "model": str(document.get("model_id") or ""),
        "kind": kind,
        "value": value,
        "duration_s": duration,
        "completed": completed,
        "failed": count(document.get("failed")),
        "request_throughput": needed(document, "request_throughput")
        if "request_throughput" in document
        else completed / duration,
        "output_throughput": number(document.get("output_throughput")),
        "total_token_throughput": total,
        "tokens_per_s_per_gpu": per_gpu(total, gpus),
        "input_tokens": count(document.get("total_input_tokens")),
        "output_tokens": count(document.get("total_output_tokens")),
        "num_prompts": count(document.get("num_prompts")),
        "max_concurrency": count(document.get("max_concurrency")),
        "peak_concurrency": count(document.get("max_concurrent_requests")),
        "burstiness": number(document.get("burstiness")),
        "date": str(document.get("date") or ""),
        **_latencies(document),
    }


def _total_rate(document: Mapping[str, Any], duration: float) -> float:
    """The first versions wrote the totals alone."""
    if "total_token_throughput" in document:
        return needed(document, "total_token_throughput")
    tokens = needed(document, "total_input_tokens") + (
        number(document.get("total_output_tokens")) or 0.0
    )
    return tokens / duration


def lengths(place: Place, document: Mapping[str, Any]) -> dict[str, Any]:
    """Of the name; else of metadata, else of the totals where all requests were of one length."""
    done = count(document.get("completed"))
    found = {
        "input_len": place.name.input_len,
        "output_len": place.name.output_len,
    }
    for key, word, total in (
        ("input_len", "isl", "total_input_tokens"),
        ("output_len", "osl", "total_output_tokens"),
    ):
        if found[key] is None:
            found[key] = count(document.get(word)) or _each(document.get(total), done)
    return {**found, "mode": place.name.mode}


def _each(total: Any, requests: int | None) -> int | None:
    tokens = count(total)
    if not tokens or not requests or tokens % requests:
        return None
    return tokens // requests


def load(document: Mapping[str, Any]) -> tuple[str, float | None]:
    return load_of(number(document.get("request_rate")), number(document.get("max_concurrency")))


def load_of(rate: float | None, cap: float | None) -> tuple[str, float | None]:
    """Closed loop unless a real request rate is given; that may have a cap on concurrency too."""
    if rate is not None and 0 < rate < UNLIMITED_RATE:
        return "request_rate", rate
    return "concurrency", cap


def _latencies(document: Mapping[str, Any]) -> dict[str, float | None]:
    """Our names for what the file calls `median_ttft_ms`.

    Files say 0 where there was nothing to measure: no TPOT with a single output token.
    """
    found: dict[str, float | None] = {}
    for name, keys in _KEYS.items():
        told = {ours: number(document.get(theirs)) for ours, theirs in keys if theirs in document}
        if told.get(f"{name}_mean_ms") != 0 and told.get(f"{name}_p50_ms") != 0:
            found |= told
    return found
