"""What the names of a file and of the directories above it tell about what was measured."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
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
    """What names and metadata tell; None, "" and "?" where they do not."""

    name: NameFacts
    slug: str
    gpus: int | None
    repeat: int
    group: str  # "" where it is the file's own directory

    @property
    def nodes(self) -> int | None:
        """Where the name says that all is packed on one."""
        return 1 if self.name.placement == "pack" else None


def place_of(path: Path, document: Mapping[str, Any] | None = None) -> Place:
    """The nearest name that tells a layout or lengths; then `--metadata` that somebody gave."""
    place = _place_of_directory(path.parent)
    if run := _RUN_FILE.match(path.stem):
        place = msgspec.structs.replace(place, repeat=int(run[1]) + 1)
    if place.gpus is not None:
        return place
    of_file = parse_name(path.stem)
    layout = of_file.layout or (_layout_of_metadata(document) if document else None)
    knows_lengths = place.name.input_len is not None or of_file.input_len is None
    return msgspec.structs.replace(
        place,
        name=place.name if knows_lengths else of_file,
        slug=layout.slug if layout else "?",
        gpus=layout.gpus if layout else None,
    )


@lru_cache(maxsize=4096)
def _place_of_directory(directory: Path) -> Place:
    """Kept, since all files of a directory share it."""
    group, repeat = _group_of(directory)
    above = [directory, *directory.parents]
    found = [parse_name(parent.name) for parent in above[: above.index(group) + _LEVELS_UP]]
    told = next((each for each in found if each.layout or each.input_len is not None), found[0])
    layout = told.layout or next((each.layout for each in found if each.layout), None)
    return Place(
        told,
        layout.slug if layout else "?",
        layout.gpus if layout else None,
        repeat,
        "" if group == directory else str(group),
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


def _group_of(directory: Path) -> tuple[Path, int]:
    """The directory whose points belong together, and which repetition of them this is."""
    repeat = 1
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
