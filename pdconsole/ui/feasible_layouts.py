"""The layouts that are possible on a cluster, narrowed by what a person looks for. Pure."""

from __future__ import annotations

from itertools import islice
from typing import Literal

import msgspec

from pdconsole.model.feasible import VllmRules, feasible
from pdconsole.model.layout import Layout
from pdconsole.ui.lines import counted

MOST = 2000  # so many are looked at; more than anyone reads, and quick to make

Kind = Literal["all", "pd", "collocated"]
KINDS: tuple[Kind, ...] = ("all", "pd", "collocated")
KIND_WORDS: dict[Kind, str] = {"all": "all kinds", "pd": "P and D", "collocated": "collocated"}

_replace = msgspec.structs.replace


class Room(msgspec.Struct, frozen=True):
    """What layouts are made for. `free` slots are there now; `degrees` are the TP that can be."""

    nodes: int
    gpus_per_node: int
    degrees: tuple[int, ...]
    rules: VllmRules
    kv_heads: int | None
    free: int

    @property
    def gpus(self) -> int:
        return self.nodes * self.gpus_per_node


class Wanted(msgspec.Struct, frozen=True):
    """The filters. `gpus` 0 is a node's worth; `exact` that many and not fewer; `tp` 0 is any."""

    gpus: int = 0
    exact: bool = False
    tp: int = 0
    kind: Kind = "all"
    words: str = ""

    def most(self, room: Room) -> int:
        return min(self.gpus or room.gpus_per_node, room.gpus)

    def with_more(self, room: Room, *, less: bool = False) -> Wanted:
        """Twice or half as many GPUs, in steps that stop at a node and at the whole cluster."""
        steps = _steps(room)
        now = self.most(room)
        after = [s for s in steps if (s < now if less else s > now)]
        return _replace(self, gpus=(after[-1] if less else after[0]) if after else now)

    def with_next_tp(self, room: Room) -> Wanted:
        degrees = (0, *room.degrees)
        at = degrees.index(self.tp) if self.tp in degrees else 0
        return _replace(self, tp=degrees[(at + 1) % len(degrees)])

    def with_next_kind(self) -> Wanted:
        return _replace(self, kind=KINDS[(KINDS.index(self.kind) + 1) % len(KINDS)])

    def text(self, room: Room) -> str:
        """`up to 8 GPUs · any TP · all kinds`."""
        gpus = counted(self.most(room), "GPU")
        tp = f"TP{self.tp} only" if self.tp else "any TP"
        how_many = f"exactly {gpus}" if self.exact else f"up to {gpus}"
        return f"{how_many} · {tp} · {KIND_WORDS[self.kind]}"


class Found(msgspec.Struct, frozen=True):
    """`layouts` are those wanted, fewest GPUs first, of `total` on that many GPUs.

    `more`: there are others that were not looked at.
    """

    layouts: tuple[Layout, ...] = ()
    total: int = 0
    more: bool = False

    @property
    def text(self) -> str:
        plus = "+" if self.more else ""
        return f"{len(self.layouts):,} of {self.total:,}{plus}"


def find_layouts(room: Room, wanted: Wanted) -> Found:
    """All that fit the empty cluster, by GPUs, at most MOST of them; then only those wanted."""
    most = wanted.most(room)
    sizes = (most,) if wanted.exact else range(1, most + 1)
    every = (
        layout
        for gpus in sizes
        for layout in feasible(
            room.nodes,
            room.gpus_per_node,
            room.degrees,
            room.rules,
            room.kv_heads,
            gpus=gpus,
        )
    )
    looked_at = list(islice(every, MOST + 1))
    more = len(looked_at) > MOST
    looked_at = looked_at[:MOST]
    return Found(tuple(x for x in looked_at if _is_wanted(x, wanted)), len(looked_at), more)


def _is_wanted(layout: Layout, wanted: Wanted) -> bool:
    if wanted.kind != "all" and layout.is_pd != (wanted.kind == "pd"):
        return False
    if wanted.tp and any(group.tp != wanted.tp for group in layout.groups):
        return False
    if not wanted.words.strip():
        return True
    text = f"{layout} {layout.slug}".casefold()
    return all(word in text for word in wanted.words.casefold().split())


def _steps(room: Room) -> list[int]:
    steps = {room.gpus_per_node, room.gpus}
    step = 1
    while step < room.gpus:
        steps.add(step)
        step *= 2
    return sorted(s for s in steps if s)
