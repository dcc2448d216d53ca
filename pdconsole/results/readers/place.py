"""What the names of a file and of the directories above it tell about what was measured."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from pdconsole.model.layout import Layout, LayoutError, ReplicaGroup, parse_layout
from pdconsole.results.names import NameFacts, parse_name
from pdconsole.results.readers.fields import count

_REPEAT = re.compile(r"_r(\d+)$")
_RUN_FILE = re.compile(r"^run=(\d+)$")  # vllm bench sweep
_RUN_DIRECTORY = re.compile(r"^(?:run|trial)_(\d+)$")  # aiperf, under profile_runs
# A directory of a single load: `…-concurrency16`, `c16`, `rate-2.5`.
_OF_ONE_POINT = re.compile(
    r"(?:^|[-_=])(?:c|cc|conc|concurrency|max[-_]concurrency|rr|rate|request[-_]rate|qps|rps)"
    r"[-_=]?\d+(?:\.\d+)?$",
    re.I,
)
_LEVELS_UP = 3


class Place(msgspec.Struct, frozen=True):
    name: NameFacts
    layout: Layout | None
    repeat: int
    group: str  # "" where it is the file's own directory

    @property
    def slug(self) -> str:
        return self.layout.slug if self.layout else "?"

    @property
    def gpus(self) -> int | None:
        return self.layout.gpus if self.layout else None

    @property
    def nodes(self) -> int | None:
        """Where the name says that all is packed on one."""
        return 1 if self.name.placement == "pack" else None


def place_of(path: Path, document: Mapping[str, Any] | None = None) -> Place:
    """The nearest name that tells a layout or lengths; then `--metadata` that somebody gave."""
    group, repeat = _group_of(path)
    above = list(path.parents)
    last = above.index(group) + _LEVELS_UP
    found = [parse_name(name) for name in (*(p.name for p in above[:last]), path.stem)]
    told = next((each for each in found if each.layout or each.input_len is not None), found[0])
    layout = told.layout or next((each.layout for each in found if each.layout), None)
    return Place(
        told,
        layout or (_layout_of_metadata(document) if document else None),
        repeat,
        "" if group == path.parent else str(group),
    )


def told_by(place: Place) -> dict[str, Any]:
    """What only names, or metadata that somebody gave, can tell."""
    return {
        "layout": place.slug,
        "gpus": place.gpus,
        "gpus_all": place.gpus,
        "placement": place.name.placement,
        "network": place.name.network,
        "nodes": place.nodes,
        "gpu_model": place.name.gpu_model,
    }


def _group_of(path: Path) -> tuple[Path, int]:
    """The directory whose points belong together, and which repetition of them this is."""
    directory, repeat = path.parent, 1
    if run := _RUN_FILE.match(path.stem):
        repeat = int(run[1]) + 1
    while directory.name:
        if run := _RUN_DIRECTORY.match(directory.name):
            repeat = int(run[1])
        elif directory.name != "profile_runs" and not _OF_ONE_POINT.search(directory.name):
            break
        directory = directory.parent
    if (again := _REPEAT.search(directory.name)) and repeat == 1:
        repeat = int(again[1])
    return directory, repeat


def _layout_of_metadata(document: Mapping[str, Any]) -> Layout | None:
    """`layout`, or the keys by which public collections name a deployment."""
    try:
        if isinstance(text := document.get("layout"), str):
            return parse_layout(text)
        prefill, decode = _group(document, "prefill"), _group(document, "decode")
        if prefill and decode:
            return Layout((prefill, decode))
        if prefill:
            return Layout((msgspec.structs.replace(prefill, role="collocated"),))
    except LayoutError:
        return None
    return None


def _group(document: Mapping[str, Any], role: str) -> ReplicaGroup | None:
    workers = count(document.get(f"{role}_num_workers"))
    tp = count(document.get(f"{role}_tp"))
    if not workers or not tp:
        return None
    ep = (count(document.get(f"{role}_ep")) or 1) > 1
    return ReplicaGroup("prefill" if role == "prefill" else "decode", workers, tp, ep)
