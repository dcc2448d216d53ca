"""Where the cursor goes and what two slots span, on a grid drawn in rows of nodes. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from pdconsole.model.grid import Grid, Slot


class Shape(msgspec.Struct, frozen=True):
    """How the grid is drawn: nodes in a row, and slots on a line of a node (0: all on one)."""

    across: int = 1
    per_line: int = 0
    lengthways: bool = False  # slots below one another; nodes are turned like pages


ONE_BELOW_ANOTHER = Shape()


def first_slot(grid: Grid) -> Slot:
    node = next((n for n in grid.nodes if n.slots), None)
    return Slot(node.name if node else "", 0)


def slots_of(grid: Grid) -> set[Slot]:
    return {Slot(node.name, i) for node in grid.nodes for i in range(node.slots)}


def number_of(grid: Grid, name: str) -> int | None:
    """Which of the grid's nodes is called so."""
    return next((i for i, node in enumerate(grid.nodes) if node.name == name), None)


def neighbour(grid: Grid, slot: Slot, dx: int, dy: int, shape: Shape) -> Slot:
    """`dx` slots along, on through the nodes of the grid, then `dy` lines of slots down."""
    number = number_of(grid, slot.node)
    if number is None:
        return slot
    if shape.lengthways:
        number, index = _along(grid, number, slot.index, dy)
        number = max(0, min(number + dx, len(grid.nodes) - 1))
        return _within(grid, number, index)
    number, index = _along(grid, number, slot.index, dx)
    for _ in range(abs(dy)):
        number, index = _step(grid, number, index, 1 if dy > 0 else -1, shape)
    return _within(grid, number, index)


def _along(grid: Grid, number: int, index: int, by: int) -> tuple[int, int]:
    nodes = grid.nodes
    index += by
    while index < 0 and number > 0:
        number -= 1
        index += nodes[number].slots
    while index >= nodes[number].slots and number + 1 < len(nodes):
        index -= nodes[number].slots
        number += 1
    return number, index


def _step(grid: Grid, number: int, index: int, down: int, shape: Shape) -> tuple[int, int]:
    """One line of slots down, or up: within the node, else in the row of nodes there."""
    nodes = grid.nodes
    line = shape.per_line or nodes[number].slots
    inside = index + down * line
    if 0 <= inside < nodes[number].slots:
        return number, inside
    target = number + down * shape.across
    if not 0 <= target < len(nodes):
        last = len(nodes) - 1
        if down < 0 or number // shape.across == last // shape.across:
            return number, index
        target = last  # the last row is shorter
    column = index % line
    if down > 0:
        return target, column
    lines = max(0, nodes[target].slots - 1 - column) // line
    return target, column + lines * line


def _within(grid: Grid, number: int, index: int) -> Slot:
    node = grid.nodes[number]
    return Slot(node.name, max(0, min(index, node.slots - 1)))


def between(grid: Grid, one: Slot, other: Slot, across: int) -> tuple[Slot, ...]:
    """The slots of the rectangle that two span: rows and columns of nodes, a range of slots."""
    a, b = number_of(grid, one.node), number_of(grid, other.node)
    if a is None or b is None:
        return ()
    rows = sorted((a // across, b // across))
    columns = sorted((a % across, b % across))
    low, high = sorted((one.index, other.index))
    return tuple(
        Slot(node.name, index)
        for row in range(rows[0], rows[1] + 1)
        for node in grid.nodes[row * across : (row + 1) * across][columns[0] : columns[1] + 1]
        for index in range(low, min(high, node.slots - 1) + 1)
    )


def in_order(grid: Grid, slots: Iterable[Slot]) -> tuple[Slot, ...]:
    """Each once, as on the grid; those that are not on it are left out."""
    wanted: dict[str, set[int]] = {}
    for slot in slots:
        wanted.setdefault(slot.node, set()).add(slot.index)
    return tuple(
        Slot(node.name, index)
        for node in grid.nodes
        if node.name in wanted
        for index in sorted(wanted[node.name])
        if index < node.slots
    )
