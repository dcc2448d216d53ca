"""How much of each node is drawn, and where: from the room there is and the nodes there are. Pure.

Coordinates are cells of the terminal, (0, 0) at the top left of the whole grid.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from pdconsole.ui.placing_moves import Shape

# A box of every value a GPU; a box of its load; a character a GPU; one node, a line a GPU.
Level = Literal["full", "compact", "overview", "node"]
LEVELS: tuple[Level, ...] = ("overview", "compact", "full")

LEAST_CELL, WIDEST_CELL, WIDEST_COMPACT = 5, 16, 7
NAME_ROOM = 14  # longer names of nodes are cut where they stand at the left
MARK = 2  # how a node is reached, before its name
PAD = 2  # border and space at each side of a full box
FULL_LINES = 6  # of one line of cells: index, border, use, memory, temperature, border
COMPACT_LINES = 3
GAP = 3  # between nodes of an overview
TITLE = HEADING = 1


class Arrangement(msgspec.Struct, frozen=True):
    """Nodes of `node_width` x `node_height`, `across` in a row.

    `cell` is the width of a slot, `per_line` how many stand on one line, `name` the room of a
    node's name at its left, with the mark before it.
    """

    level: Level
    nodes: int
    slots: int  # of the largest node
    across: int
    cell: int
    per_line: int
    name: int
    node_width: int
    node_height: int

    @property
    def rows(self) -> int:
        """Rows of nodes."""
        return -(-self.nodes // self.across)

    @property
    def height(self) -> int:
        return self.rows * self.node_height

    @property
    def shape(self) -> Shape:
        return Shape(self.across, self.per_line, self.level == "node")

    @property
    def lines(self) -> int:
        """Lines that one line of slots takes."""
        return {"full": FULL_LINES, "compact": COMPACT_LINES}.get(self.level, 1)

    @property
    def slots_left(self) -> int:
        """Columns of a node before its first slot."""
        return {"full": PAD, "node": 0}.get(self.level, self.name)

    @property
    def slots_top(self) -> int:
        """Lines of a node before its first slot."""
        return {"full": TITLE, "node": TITLE + HEADING}.get(self.level, 0)

    def corner(self, node: int) -> tuple[int, int]:
        """Left column and top line of a node."""
        row, column = divmod(node, self.across)
        return column * self.node_width, row * self.node_height

    def slot_lines(self, node: int, index: int) -> tuple[int, int]:
        """First line of a slot and the line after its last."""
        top = self.corner(node)[1] + self.slots_top + index // self.per_line * self.lines
        return top, top + self.lines

    def node_at(self, x: int, y: int) -> int | None:
        if x < 0 or y < 0 or x >= self.across * self.node_width:
            return None
        node = y // self.node_height * self.across + x // self.node_width
        return node if node < self.nodes else None

    def slot_at(self, x: int, y: int, *, near: bool = False) -> tuple[int, int] | None:
        """(node, slot) at a place; `near`: the slot of that node that is nearest to it."""
        node = self.node_at(x, y)
        if node is None:
            return None
        left, top = self.corner(node)
        column, line = x - left - self.slots_left, y - top - self.slots_top
        lines = -(-self.slots // self.per_line)
        if near:
            column = max(0, min(column, self.per_line * self.cell - 1))
            line = max(0, min(line, lines * self.lines - 1))
        if not (0 <= column < self.per_line * self.cell and 0 <= line < lines * self.lines):
            return None
        index = line // self.lines * self.per_line + column // self.cell
        return (node, index) if index < self.slots else None


def arranged(
    width: int,
    height: int,
    *,
    nodes: int,
    slots: int,
    longest_name: int,
    level: Level | None = None,
) -> Arrangement:
    """The level asked for; else the one that says most of those that fit without scrolling."""
    room = max(width, 20), max(height, 4)
    names = MARK + min(longest_name, NAME_ROOM)
    if level == "node":
        return _node(room[0], nodes, slots)
    if level is not None:
        return _best(level, room, nodes, slots, names)
    for candidate in reversed(LEVELS):
        found = _best(candidate, room, nodes, slots, names)
        if found.height <= room[1]:
            return found
    return found


def _best(level: Level, room: tuple[int, int], nodes: int, slots: int, names: int) -> Arrangement:
    """Nodes whole on one line if they can be; with the widest cells that leave all in sight."""
    if level == "overview":
        return _overview(room[0], nodes, slots, names)
    make, widest = (_full, WIDEST_CELL) if level == "full" else (_compact, WIDEST_COMPACT)
    cells = range(widest, LEAST_CELL - 1, -1)
    made = [make(room[0], nodes, slots, names, cell) for cell in cells]
    unbroken = [at for at in made if at.per_line >= slots]
    shown = unbroken or made
    return next((at for at in shown if at.height <= room[1]), shown[-1])


def _line_of(slots: int, cells: int) -> int:
    """Slots on a line: all, or the largest even part of them that fits."""
    lines = 1
    while slots > 1 and -(-slots // lines) > max(1, cells):
        lines += 1
    return max(1, -(-slots // lines))


def _full(width: int, nodes: int, slots: int, names: int, cell: int) -> Arrangement:
    per_line = _line_of(slots, (width - 2 * PAD) // cell)
    box = per_line * cell + 2 * PAD + 1
    across = max(1, (width + 1) // box)
    height = TITLE + FULL_LINES * -(-max(slots, 1) // per_line) + 1
    return Arrangement("full", nodes, slots, across, cell, per_line, names, box, height)


def _compact(width: int, nodes: int, slots: int, names: int, cell: int) -> Arrangement:
    left = names + 1
    per_line = _line_of(slots, (width - left) // cell)
    box = left + per_line * cell + 2
    across = max(1, (width + 2) // box)
    height = COMPACT_LINES * -(-max(slots, 1) // per_line)
    return Arrangement("compact", nodes, slots, across, cell, per_line, left, box, height)


def _overview(width: int, nodes: int, slots: int, names: int) -> Arrangement:
    left = names + 1
    per_line = _line_of(slots, width - left)
    box = left + per_line + GAP
    across = max(1, (width + GAP) // box)
    height = -(-max(slots, 1) // per_line)
    return Arrangement("overview", nodes, slots, across, 1, per_line, left, box, height)


def _node(width: int, nodes: int, slots: int) -> Arrangement:
    height = TITLE + HEADING + max(slots, 1) + 2
    return Arrangement("node", nodes, slots, 1, width, 1, 0, width, height)
