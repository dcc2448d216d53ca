"""Placing replicas by hand: one immutable value, and what each key or drag makes of it. Pure.

A replica is whole or gone: no edit leaves a part of one behind, so a slot is never used twice.
Replicas are numbered by role without gaps, in the order in which they were placed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from pdconsole.model.feasible import VllmRules
from pdconsole.model.grid import Grid, Slot, format_slots
from pdconsole.model.layout import Layout, LayoutError, ReplicaGroup, Role
from pdconsole.model.placement import Assignment, Placement, PlacementError, Strategy
from pdconsole.ui.placing_moves import (
    ONE_BELOW_ANOTHER,
    Shape,
    between,
    first_slot,
    in_order,
    neighbour,
    number_of,
    slots_of,
)
from pdconsole.ui.placing_rules import Violation, violations

Letter = Literal["P", "D", "C"]
TP_KEYS = (1, 2, 4, 8)
EDITS_KEPT = 200

ROLE_OF: dict[str, Role] = {"P": "prefill", "D": "decode", "C": "collocated"}
LETTER_OF: dict[Role, str] = {role: letter for letter, role in ROLE_OF.items()}

_replace = msgspec.structs.replace


class Edit(msgspec.Struct, frozen=True):
    """What undo and redo bring back."""

    assignments: tuple[Assignment, ...]
    strategy: Strategy
    cursor: Slot
    selection: tuple[Slot, ...]


class Placing(msgspec.Struct, frozen=True):
    """A placement being made on `grid`, the cursor, and what is selected.

    `anchor` is where the selection began; while `growing`, each move extends it. A selection that
    was `picked` slot by slot stays when the cursor moves on, until it is used. `remark` says,
    for people, what the last key could not do; empty where it did all. `tp` and `ep` are of the
    next replica.
    """

    grid: Grid
    cursor: Slot
    assignments: tuple[Assignment, ...] = ()
    selection: tuple[Slot, ...] = ()
    anchor: Slot | None = None
    growing: bool = False
    picked: bool = False
    tp: int = 1
    ep: bool = False
    strategy: Strategy = "manual"
    remark: str = ""
    past: tuple[Edit, ...] = ()
    future: tuple[Edit, ...] = ()

    @classmethod
    def on(cls, grid: Grid) -> Placing:
        """Nothing placed yet, the cursor on the first slot."""
        return cls(grid, first_slot(grid))

    # --- what it is ---

    @property
    def layout(self) -> Layout | None:
        """The layout that the replicas make up; None while they make up none."""
        try:
            return Layout(tuple(_group_of(a) for a in self.assignments))
        except LayoutError:
            return None

    def placement(self) -> Placement:
        """What is placed. Raises PlacementError where it cannot stand so."""
        if not self.assignments:
            raise PlacementError("Nothing is placed yet.", rule="layout")
        for violation in violations(self.grid, self.assignments):
            raise PlacementError(violation.text, rule=violation.rule, slots=violation.slots)
        groups = tuple(_group_of(a) for a in self.assignments)
        return Placement(Layout(groups), self.strategy, self.assignments)

    def violations(
        self, rules: VllmRules | None = None, kv_heads: int | None = None
    ) -> tuple[Violation, ...]:
        """All that forbids it; with `rules`, also what vLLM refuses."""
        return violations(self.grid, self.assignments, rules, kv_heads)

    def at(self, slot: Slot) -> Assignment | None:
        return next((a for a in self.assignments if slot in a.slots), None)

    @property
    def here(self) -> Assignment | None:
        """The replica under the cursor."""
        return self.at(self.cursor)

    @property
    def can_undo(self) -> bool:
        return bool(self.past)

    @property
    def can_redo(self) -> bool:
        return bool(self.future)

    # --- the grid beneath ---

    def with_grid(self, grid: Grid) -> Placing:
        """The same on what the grid has become; replicas stay where they are."""
        if grid == self.grid:
            return self
        there = slots_of(grid)
        return _replace(
            self,
            grid=grid,
            cursor=self.cursor if self.cursor in there else first_slot(grid),
            selection=tuple(s for s in self.selection if s in there),
            anchor=self.anchor if self.anchor in there else None,
        )

    # --- moving and selecting ---

    def moved(
        self, dx: int, dy: int, shape: Shape = ONE_BELOW_ANOTHER, *, extend: bool = False
    ) -> Placing:
        """The cursor `dx` slots along and `dy` lines of slots down, on a grid drawn as `shape`.

        With `extend`, or after `anchored`, the selection grows with it; else it is gone.
        """
        slot = neighbour(self.grid, self.cursor, dx, dy, shape)
        return self.at_slot(slot, across=shape.across, extend=extend)

    def at_slot(self, slot: Slot, *, across: int = 1, extend: bool = False) -> Placing:
        """The cursor on that slot; the selection as in `moved`."""
        if not (extend or self.growing):
            kept = self.selection if self.picked else ()
            return _replace(self, cursor=slot, selection=kept, anchor=None, remark="")
        anchor = self.anchor or self.cursor
        found = between(self.grid, anchor, slot, across)
        return _replace(self, cursor=slot, selection=found, anchor=anchor, picked=False, remark="")

    def anchored(self) -> Placing:
        """A selection begins here and grows with every move; or that ends."""
        if self.growing:
            return _replace(self, growing=False)
        selection = (self.cursor,)
        return _replace(self, anchor=self.cursor, growing=True, selection=selection, remark="")

    def toggled(self, slot: Slot | None = None) -> Placing:
        """That slot, or the one under the cursor, in the selection or no more."""
        which = slot or self.cursor
        chosen = set(self.selection) ^ {which}
        return _replace(
            self,
            cursor=which,
            selection=in_order(self.grid, chosen),
            anchor=None,
            growing=False,
            picked=True,
            remark="",
        )

    def selected(self, slots: Iterable[Slot]) -> Placing:
        return _replace(
            self,
            selection=in_order(self.grid, slots),
            anchor=None,
            growing=False,
            picked=False,
            remark="",
        )

    def node_selected(self, node: str) -> Placing:
        """All slots of the node, or none if they all were."""
        found = next((n for n in self.grid.nodes if n.name == node), None)
        if found is None:
            return self
        slots = tuple(Slot(found.name, i) for i in range(found.slots))
        return self.selected(() if self.selection == slots else slots)

    def unselected(self) -> Placing:
        return _replace(self, selection=(), anchor=None, growing=False, picked=False, remark="")

    # --- editing ---

    def with_role(self, letter: Letter) -> Placing:
        """Replicas of that role on the selection, `tp` slots each; else one at the cursor.

        On a replica it changes the role of it. Without a selection the cursor goes on to the next
        free slot, so that the same key places the next replica.
        """
        role = ROLE_OF[letter]
        if self.selection:
            return self._fill(self.selection, role, self.tp)
        here = self.here
        if here is not None:
            if here.role == role:
                return self._remark(f"{here.replica} stands here already; x clears it.")
            rest = [a for a in self.assignments if a is not here]
            changed = _replace(here, role=role)
            return self._edited([*rest, changed])
        if self.cursor in self.grid.taken:
            return self._remark(f"Others hold {self.cursor}; choose another GPU.")
        slots = self._block_at(self.cursor)
        if slots is None:
            free = len(self._available(self.cursor.node))
            return self._remark(
                f"TP{self.tp} needs {self.tp} free GPUs of one node; {self.cursor.node} has {free}."
            )
        new = Assignment(letter, role, self.tp, self.ep and self.tp > 1, slots)
        placed = self._edited([*self.assignments, new])
        return _replace(placed, cursor=placed._next_room(slots[-1]))

    def with_tp(self, tp: int) -> Placing:
        """TP of the next replica; replicas in the selection are divided anew."""
        chosen = _replace(self, tp=tp, ep=self.ep and tp > 1, remark="")
        selection = set(self.selection)
        roles = {a.role for a in self.assignments if selection.intersection(a.slots)}
        if len(roles) != 1:
            return chosen
        return chosen._fill(self.selection, roles.pop(), tp)

    def with_ep(self) -> Placing:
        """Expert parallel or not: the selected replicas, the one at the cursor, else the next."""
        chosen = [a for a in self._touched(self.selection or (self.cursor,)) if a.tp > 1]
        if not chosen:
            return _replace(self, ep=not self.ep and self.tp > 1, remark="")
        ep = not all(a.ep for a in chosen)
        return self._edited([_replace(a, ep=ep) if a in chosen else a for a in self.assignments])

    def cleared(self) -> Placing:
        """Without the replicas that the selection, or the cursor, touches."""
        gone = self._touched(self.selection or (self.cursor,))
        if not gone:
            return self._remark("Nothing is placed here.")
        return self._edited([a for a in self.assignments if a not in gone])

    def all_cleared(self) -> Placing:
        return self._edited([]) if self.assignments else self

    def placed(self, placement: Placement) -> Placing:
        """Exactly that placement instead of what there was."""
        if (placement.assignments, placement.strategy) == (self.assignments, self.strategy):
            return self
        return self._kept(placement.assignments, placement.strategy)

    def undone(self) -> Placing:
        if not self.past:
            return self._remark("Nothing to undo.")
        return self._back_to(self.past[-1], self.past[:-1], (self._edit(), *self.future))

    def redone(self) -> Placing:
        if not self.future:
            return self._remark("Nothing to do again.")
        return self._back_to(self.future[0], (*self.past, self._edit()), self.future[1:])

    # --- how ---

    def _edit(self) -> Edit:
        return Edit(self.assignments, self.strategy, self.cursor, self.selection)

    def _back_to(self, edit: Edit, past: tuple[Edit, ...], future: tuple[Edit, ...]) -> Placing:
        return _replace(
            self,
            assignments=edit.assignments,
            strategy=edit.strategy,
            cursor=edit.cursor,
            selection=edit.selection,
            anchor=None,
            growing=False,
            picked=False,
            remark="",
            past=past,
            future=future,
        )

    def _kept(self, assignments: tuple[Assignment, ...], strategy: Strategy) -> Placing:
        return _replace(
            self,
            assignments=assignments,
            strategy=strategy,
            anchor=None,
            growing=False,
            picked=False,
            remark="",
            past=(*self.past, self._edit())[-EDITS_KEPT:],
            future=(),
        )

    def _edited(self, assignments: Sequence[Assignment]) -> Placing:
        return self._kept(_numbered(assignments), "manual")

    def _remark(self, text: str) -> Placing:
        return _replace(self, remark=text)

    def _touched(self, slots: Iterable[Slot]) -> list[Assignment]:
        wanted = set(slots)
        return [a for a in self.assignments if wanted.intersection(a.slots)]

    def _fill(self, slots: tuple[Slot, ...], role: Role, tp: int) -> Placing:
        """Replicas on all of the slots, in their order, none across nodes unless one must."""
        by_node: dict[str, list[Slot]] = {}
        for slot in slots:
            by_node.setdefault(slot.node, []).append(slot)
        sizes = {len(part) for part in by_node.values()}
        if len(slots) == tp and len(sizes) == 1:
            blocks = [slots]
        else:
            blocks = [
                tuple(part[i : i + tp])
                for part in by_node.values()
                for i in range(0, len(part) - tp + 1, tp)
            ]
        if not blocks:
            return self._remark(
                f"TP{tp} needs {tp} GPUs of one node; {format_slots(slots)} are selected."
            )
        gone = self._touched(slots)
        ep = tp > 1 and (self.ep or (bool(gone) and all(a.ep for a in gone)))
        new = [Assignment(LETTER_OF[role], role, tp, ep, block) for block in blocks]
        edited = self._edited([*(a for a in self.assignments if a not in gone), *new])
        over = len(slots) - tp * len(blocks)
        return edited._remark(f"{over} of the selected GPUs are left: TP{tp}.") if over else edited

    def _block_at(self, slot: Slot) -> tuple[Slot, ...] | None:
        """`tp` free slots of the node with this one: aligned, else neighbours, else the nearest."""
        free = self._available(slot.node)
        size, index = self.tp, slot.index
        if index not in free:
            return None
        aligned = index - index % size
        starts = [aligned, index, *range(index - 1, index - size, -1)]
        for start in starts:
            block = range(start, start + size)
            if free.issuperset(block):
                return tuple(Slot(slot.node, i) for i in block)
        nearest = sorted(free, key=lambda i: (abs(i - index), i))[:size]
        if len(nearest) < size:
            return None
        return tuple(Slot(slot.node, i) for i in sorted(nearest))

    def _available(self, name: str) -> set[int]:
        """Indices of the node's slots that nobody holds and no replica takes."""
        node = next((n for n in self.grid.nodes if n.name == name), None)
        if node is None:
            return set()
        used = {s.index for a in self.assignments for s in a.slots if s.node == name}
        return set(self.grid.free(node)) - used

    def _next_room(self, after: Slot) -> Slot:
        """The next free slot where another such replica fits; else any free one, else `after`."""
        number = number_of(self.grid, after.node)
        if number is None:
            return after
        used: dict[str, set[int]] = {}
        for slot in (s for a in self.assignments for s in a.slots):
            used.setdefault(slot.node, set()).add(slot.index)
        any_free = None
        start = after.index
        for node in self.grid.nodes[number:]:
            free = set(self.grid.free(node)) - used.get(node.name, set())
            first = min((i for i in free if i >= start), default=None)
            start = 0
            if first is None:
                continue
            if len(free) >= self.tp:
                return Slot(node.name, first)
            any_free = any_free or Slot(node.name, first)
        return any_free or after


def _group_of(assignment: Assignment) -> ReplicaGroup:
    return ReplicaGroup(assignment.role, 1, assignment.tp, assignment.ep, len(assignment.nodes))


def _numbered(assignments: Sequence[Assignment]) -> tuple[Assignment, ...]:
    """P1, P2, ... D1, ... C1, ...: each role numbered anew, in the order given."""
    found = []
    for role, letter in LETTER_OF.items():
        of_role = [a for a in assignments if a.role == role]
        found += [
            a if a.replica == f"{letter}{n}" else _replace(a, replica=f"{letter}{n}")
            for n, a in enumerate(of_role, 1)
        ]
    return tuple(found)
