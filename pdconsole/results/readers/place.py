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
_RUN = re.compile(r"^run=(\d+)$")
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
    own = path.parent
    group = own.parent if _OF_ONE_POINT.search(own.name) else own
    names = [path.stem, *(parent.name for parent in list(path.parents)[:_LEVELS_UP])]
    found = [parse_name(name) for name in (names[1], names[0], *names[2:])]
    told = next((each for each in found if each.layout or each.input_len is not None), found[0])
    layout = told.layout or next((each.layout for each in found if each.layout), None)
    return Place(
        told,
        layout or (_layout_of_metadata(document) if document else None),
        _repeat(path, group),
        "" if group == own else str(group),
    )


def _repeat(path: Path, directory: Path) -> int:
    if run := _RUN.match(path.stem):
        return int(run[1]) + 1
    repeat = _REPEAT.search(directory.name)
    return int(repeat[1]) if repeat else 1


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
