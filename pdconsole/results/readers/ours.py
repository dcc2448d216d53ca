"""Our own points: the keys of `vllm bench serve`, and what it does not know under `pdconsole`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pdconsole.results.point_row import PointRow
from pdconsole.results.readers import bench_serve
from pdconsole.results.readers.fields import mapping, number
from pdconsole.results.readers.place import place_of

SOURCE = "pdconsole"

_NODE = re.compile(r"[=+,]([^:=+,\s]+):")
_SHARES_COUNTED = "slot (gpu-share)"  # what older files say that their numbers are per
_LOADED_ALONE = {"prefill-only": "P", "decode-only": "D"}
_THEIR_WORD = {"mean": "mean", "median": "p50"}


def recognises(document: Mapping[str, Any]) -> bool:
    return isinstance(document.get("pdconsole"), dict) and not bench_serve.missing(document)


def rows(path: Path, document: Mapping[str, Any]) -> list[PointRow]:
    ours = document["pdconsole"]
    workload = ours["workload"]
    gpus, gpus_all = _gpus(ours, str(workload.get("mode", "mixed")))
    place = place_of(path)
    row = PointRow(
        source=SOURCE,
        layout=str(ours["layout"]),
        gpus=gpus,
        gpus_all=gpus_all,
        placement=str(ours["placement"]["strategy"]),
        nodes=_nodes(str(ours["placement"].get("replicas", ""))),
        network=str(ours["network"]),
        gpu_model=str(document.get("hw") or ""),
        input_len=int(workload["input_len"]),
        output_len=int(workload["output_len"]),
        mode=str(workload.get("mode", "mixed")),
        simulated=bool(ours["simulated"]),
        slot_kind=str(ours.get("slot_kind", "gpu")),
        flags={str(f["name"]): str(f["evidence"]) for f in ours["flags"]},
        bad=tuple(str(f["name"]) for f in ours["flags"] if f.get("weight") == "bad"),
        session=str(ours["session"]),
        ci=_intervals(mapping(ours.get("intervals"))),
        started_wall=window_opened(document) or number(_window(document).get("started_wall")),
        repeat=place.repeat,
        group=place.group,
        **bench_serve.measured(path, document, gpus),
    )
    return [row]


def window_opened(document: Mapping[str, Any]) -> float | None:
    """Unix time; None in older files, which tell only when the driver was started."""
    return number(_window(document).get("t0_wall"))


def _window(document: Mapping[str, Any]) -> Mapping[str, Any]:
    return mapping(mapping(document.get("pdconsole")).get("window"))


def _gpus(ours: Mapping[str, Any], mode: str) -> tuple[int, int]:
    """Those that were loaded, and all.

    Older files of a GPU that replicas share count its slots; it is one, on each node.
    """
    loaded = int(ours["loaded_gpus"])
    whole = int(ours.get("gpus", loaded))
    replicas = str(mapping(ours.get("placement")).get("replicas", "")).split()
    if ours.get("per") != _SHARES_COUNTED or not replicas:
        return loaded, whole
    alone = [each for each in replicas if each.startswith(_LOADED_ALONE.get(mode, ""))]
    return _nodes(" ".join(alone or replicas)) or loaded, _nodes(" ".join(replicas)) or whole


def _nodes(replicas: str) -> int | None:
    """Of `C1=node1:0-1 C2=node2:0-1`: two."""
    return len(set(_NODE.findall(replicas))) or None


def _intervals(intervals: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    found: dict[str, tuple[float, float]] = {}
    for latency, by_statistic in intervals.items():
        for word, (low, high) in mapping(by_statistic).items():
            name = f"{latency.removesuffix('_ms')}_{_THEIR_WORD.get(word, word)}_ms"
            found[name] = (float(low), float(high))
    return found
