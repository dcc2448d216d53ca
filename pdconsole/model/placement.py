"""Placements: a layout put on the grid, replica by replica."""

from __future__ import annotations

from typing import Literal

import msgspec

from pdconsole.model.grid import GeometryError, Slot
from pdconsole.model.layout import Layout, Role

Strategy = Literal["pack", "spread", "manual"]


class PlacementError(GeometryError):
    """A layout that cannot be put on the grid; says which rule and which slots."""

    def __init__(self, message: str, *, rule: str, slots: tuple[Slot, ...] = ()) -> None:
        super().__init__(message)
        self.rule = rule
        self.slots = slots


class Assignment(msgspec.Struct, frozen=True):
    """Where one replica stands; `slots` in rank order."""

    replica: str  # P1, D2, C3
    role: Role
    tp: int
    ep: bool
    slots: tuple[Slot, ...]


class Placement(msgspec.Struct, frozen=True):
    """Every replica of a layout on its slots."""

    layout: Layout
    strategy: Strategy
    assignments: tuple[Assignment, ...]
