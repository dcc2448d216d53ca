"""What the grid shows, node by node, and which nodes look otherwise after a change."""

from __future__ import annotations

from collections.abc import Sequence

from pdconsole.model.feasible import VllmRules
from pdconsole.model.grid import Grid, Slot
from pdconsole.model.placement import Assignment
from pdconsole.ui.grid_arrangement import Arrangement
from pdconsole.ui.grid_view import GridView, NodeView, unreachable
from pdconsole.ui.placing import Placing
from pdconsole.ui.placing_rules import Violation
from pdconsole.ui.widgets.gpu_cells import compact_line, full_line
from pdconsole.ui.widgets.gpu_looks import Bit, NodeLook, look_at
from pdconsole.ui.widgets.gpu_overview import node_line, overview_line


class GridPicture:
    """Cells, what is placed on them, and what is wrong with it; nodes are looked up once."""

    def __init__(self) -> None:
        self.cells = GridView()
        self.placing = Placing.on(Grid(()))
        self.violations: tuple[Violation, ...] = ()
        self.rules: tuple[VllmRules | None, int | None] = (None, None)
        self.more: tuple[Violation, ...] = ()  # that are known elsewhere
        self._numbers: dict[str, int] = {}
        self._placed: dict[Slot, Assignment] = {}
        self._bad: frozenset[Slot] = frozenset()
        self._selected: frozenset[Slot] = frozenset()
        self._looks: dict[int, NodeLook] = {}

    def number(self, node: str) -> int | None:
        return self._numbers.get(node)

    @property
    def here(self) -> NodeView | None:
        """The node at the cursor."""
        number = self.number(self.placing.cursor.node)
        return self.cells.nodes[number] if number is not None else None

    def take_cells(self, cells: GridView) -> set[int]:
        """Show these from now on; returns the numbers of the nodes that look otherwise."""
        changed = _changed_nodes(self.cells, cells)
        self.cells = cells
        self._numbers = {node.name: number for number, node in enumerate(cells.nodes)}
        return self._anew(changed) | self.take(self.placing)

    def take(self, placing: Placing) -> set[int]:
        """Show that placing, judged anew; returns the numbers of the nodes that look otherwise."""
        old, self.placing = self.placing, placing
        bad, selected = self._bad, self._selected
        if placing.assignments is not old.assignments:
            self._placed = {slot: a for a in placing.assignments for slot in a.slots}
        own = placing.violations(*self.rules)
        found = (*own, *unreachable(self.cells.nodes, placing.assignments), *self.more)
        self.violations = tuple(dict.fromkeys(found))
        self._bad = frozenset(slot for v in self.violations for slot in v.slots)
        self._selected = frozenset(placing.selection)
        edited = set(placing.assignments) ^ set(old.assignments)
        slots = {slot for a in edited for slot in a.slots}
        slots |= (bad ^ self._bad) | (selected ^ self._selected) | {old.cursor, placing.cursor}
        return self._anew({slot.node for slot in slots})

    def line(self, number: int, line: int, at: Arrangement) -> list[Bit]:
        """One line of a node."""
        node = self._looks.get(number)
        if node is None:
            view = self.cells.nodes[number]
            cursor = self.placing.cursor
            node = look_at(view, self._placed, cursor, self._selected, self._bad)
            self._looks[number] = node
        match at.level:
            case "full":
                return full_line(node, line, at, self._facts(node.view))
            case "compact":
                return compact_line(node, line, at)
            case "overview":
                return overview_line(node, line, at)
            case "node":
                return node_line(node, line, at, self._facts(node.view))

    def slots_of(self, violations: Sequence[Violation]) -> list[Slot]:
        """Those that are shown, in the order of the violations."""
        return [slot for v in violations for slot in v.slots if slot.node in self._numbers]

    def _anew(self, names: set[str]) -> set[int]:
        numbers = {self._numbers[name] for name in names if name in self._numbers}
        for number in numbers:
            self._looks.pop(number, None)
        return numbers

    def _facts(self, node: NodeView) -> str:
        fabric = self.cells.fabric
        nics = f"{fabric} × {len(node.nics)}" if node.nics and fabric else fabric
        return " · ".join(word for word in (nics, "simulated" * self.cells.simulated) if word)


def _changed_nodes(old: GridView, new: GridView) -> set[str]:
    """Nodes that look otherwise, or stand elsewhere, than before."""
    if (old.simulated, old.fabric, len(old.nodes)) != (new.simulated, new.fabric, len(new.nodes)):
        return {node.name for node in new.nodes}
    pairs = zip(old.nodes, new.nodes, strict=True)
    return {after.name for before, after in pairs if before is not after and before != after}
