"""The grid: nodes and their slots, and which slots others already hold."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

import msgspec

SlotKind = Literal["gpu", "gpu-share", "cpu"]

# A node's name stands in manual placements (`P1=a:0,1+b:0`), so it may not hold their punctuation.
_NODE_NAME = re.compile(r"[^\s=:+,]+")


class GeometryError(ValueError):
    """A grid, layout or placement that cannot be; str() is a sentence for people.

    A ValueError, so that decoding a bad value fails as msgspec.ValidationError.
    """


class Slot(msgspec.Struct, frozen=True, order=True):
    """What one rank of a replica occupies: a GPU, a share of one, or CPU cores. Prints as `a:0`."""

    node: str
    index: int

    def __str__(self) -> str:
        return f"{self.node}:{self.index}"


class GridNode(msgspec.Struct, frozen=True, kw_only=True):
    """A host with `slots` slots, numbered from 0."""

    name: str
    slots: int
    kind: SlotKind = "gpu"
    gpu_model: str = ""
    gpu_memory_mib: int = 0

    def __post_init__(self) -> None:
        if not _NODE_NAME.fullmatch(self.name):
            raise GeometryError(
                f"A node cannot be named {self.name!r}: leave out spaces and any of = : + ,"
            )
        if self.slots < 0:
            raise GeometryError(f"Node {self.name} cannot have {self.slots} slots.")


class Grid(msgspec.Struct, frozen=True):
    """All slots of a cluster; `taken` are those that others hold."""

    nodes: tuple[GridNode, ...]
    taken: frozenset[Slot] = frozenset()

    def __post_init__(self) -> None:
        sizes: dict[str, int] = {}
        for node in self.nodes:
            if node.name in sizes:
                raise GeometryError(f"Node {node.name} is listed twice; give each its own name.")
            sizes[node.name] = node.slots
        for slot in self.taken:
            if not 0 <= slot.index < sizes.get(slot.node, 0):
                raise GeometryError(f"Slot {slot} is marked as taken but is not on the grid.")

    def free(self, node: GridNode) -> tuple[int, ...]:
        """Indices of the node's slots that nobody holds, ascending."""
        return tuple(i for i in range(node.slots) if Slot(node.name, i) not in self.taken)


def format_indices(indices: Iterable[int]) -> str:
    """`0-3,6` of 0, 1, 2, 3, 6."""
    spans: list[list[int]] = []
    for index in sorted(indices):
        if spans and index == spans[-1][1] + 1:
            spans[-1][1] = index
        else:
            spans.append([index, index])
    return ",".join(f"{a}" if a == b else f"{a}-{b}" for a, b in spans)


def format_slots(slots: Iterable[Slot], *, most_nodes: int = 8) -> str:
    """`a:0-3 b:6` of the slots, by node; only the first `most_nodes` are written out."""
    by_node: dict[str, list[int]] = {}
    for slot in slots:
        by_node.setdefault(slot.node, []).append(slot.index)
    texts = [f"{node}:{format_indices(indices)}" for node, indices in by_node.items()]
    left_out = len(texts) - most_nodes
    shown = " ".join(texts[:most_nodes])
    return f"{shown} and {left_out} more nodes" if left_out > 0 else shown
