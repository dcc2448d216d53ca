"""Placements: a layout put on the grid, replica by replica."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from itertools import islice
from typing import Literal, NamedTuple

import msgspec

from pdconsole.model.grid import (
    GeometryError,
    Grid,
    GridNode,
    Slot,
    SlotKind,
    format_indices,
    format_slots,
)
from pdconsole.model.layout import Layout, LayoutError, ReplicaGroup, Role
from pdconsole.model.seating import Seats, choose_slots, divisions, fit, fit_fewest

Strategy = Literal["pack", "spread", "manual"]
PlacementRule = Literal[
    "capacity",  # not enough free slots
    "node-boundary",  # enough of them, but a replica does not span nodes
    "one-node",  # pack keeps on one node what fits on one
    "separate-nodes",  # spread keeps prefill and decode on different nodes
    "free",  # a slot that others hold
    "once",  # a slot or a replica named twice
    "on-grid",  # a node or slot that is not there
    "layout",  # the replicas are not those of the layout
    "notation",  # a manual placement that cannot be read
]

MANUAL_FORM = (
    "P1=a:0,1 D1=b:0-3 (replica=node:slots), C1=a:0-7+b:0-7 over two nodes, "
    "P1/ep=a:0-3 expert parallel"
)

_ROLE_ORDER: tuple[Role, ...] = ("prefill", "decode", "collocated")
_ROLE_OF: dict[str, Role] = {"P": "prefill", "D": "decode", "C": "collocated"}
_MANUAL = re.compile(r"(?P<replica>[PDC]\d{1,6})(?P<ep>/ep)?=(?P<where>\S+)", re.I | re.A)
_SPAN = re.compile(r"(\d{1,6})(?:-(\d{1,6}))?", re.A)
# Ways to divide unequal nodes between prefill and decode that `spread` tries; all there are,
# unless very many nodes have very different room.
_MOST_DIVISIONS = 5000
_MOST_SLOTS = 4096  # of a node that is not known yet


class PlacementError(GeometryError):
    """A layout that cannot be put on the grid.

    `rule` names what forbids it and `slots` the slots it is about: those in the way, else those
    that there are.
    """

    def __init__(self, message: str, *, rule: PlacementRule, slots: tuple[Slot, ...] = ()) -> None:
        super().__init__(message)
        self.rule: PlacementRule = rule
        self.slots = slots


class Assignment(msgspec.Struct, frozen=True):
    """Where one replica stands; `slots` in rank order, ascending on each node."""

    replica: str  # P1, D2, C3
    role: Role
    tp: int
    ep: bool
    slots: tuple[Slot, ...]

    def __post_init__(self) -> None:
        if not self.slots or len(self.slots) != self.tp:
            raise PlacementError(
                f"{self.replica} is TP{self.tp} but takes {len(self.slots)} slots.",
                rule="layout",
                slots=self.slots,
            )

    @property
    def nodes(self) -> tuple[str, ...]:
        """Its nodes in rank order; one, unless the layout lets the replica span nodes."""
        return tuple(dict.fromkeys(slot.node for slot in self.slots))

    @property
    def node(self) -> str:
        """The node of rank 0, where the replica serves."""
        return self.slots[0].node

    @property
    def number(self) -> int:
        return int(self.replica[1:])


def gpus_of(assignments: Iterable[Assignment], kind: SlotKind) -> int:
    """The GPUs of these replicas, each counted once: a node's `gpu-share` slots are of one GPU."""
    held = list(assignments)
    if kind == "gpu-share":
        return len({node for each in held for node in each.nodes})
    return sum(len(each.slots) for each in held)


class Placement(msgspec.Struct, frozen=True):
    """Every replica of a layout on its slots: P1, P2, ... then D1, D2, ..., or C1, C2, ..."""

    layout: Layout
    strategy: Strategy
    assignments: tuple[Assignment, ...]

    def __post_init__(self) -> None:
        _check_once(self.assignments)
        if Layout(tuple(map(_group_of, self.assignments))) != self.layout:
            raise PlacementError(
                f"The replicas placed do not make up {self.layout}.", rule="layout"
            )

    @property
    def slots(self) -> tuple[Slot, ...]:
        return tuple(slot for assignment in self.assignments for slot in assignment.slots)

    @property
    def nodes(self) -> tuple[str, ...]:
        """The nodes in use, in order of first use."""
        return tuple(dict.fromkeys(slot.node for slot in self.slots))

    @property
    def crosses_nodes(self) -> bool:
        """Whether KV may go from one node to another."""
        return self.layout.is_pd and len(self.nodes) > 1

    def of(self, role: Role) -> tuple[Assignment, ...]:
        return tuple(a for a in self.assignments if a.role == role)

    def __str__(self) -> str:
        """As a manual placement: `P1=a:0,1 D1=b:0-3`."""
        return " ".join(
            f"{a.replica}{'/ep' if a.ep else ''}={_format_where(a.slots)}" for a in self.assignments
        )


class _Room(NamedTuple):
    node: GridNode
    free: tuple[int, ...]


def place(
    layout: Layout, grid: Grid, strategy: Strategy, *, allowed: Collection[str] | None = None
) -> Placement:
    """The layout on free slots of the grid, or of its `allowed` nodes.

    `pack` takes one node if the layout fits on one, else as few nodes as it can, filled one after
    another. `spread` puts prefill and decode on different nodes, each on as few as it can. No
    replica spans nodes unless its group says so. TP groups take aligned slots where they can.
    Raises PlacementError. What fits is found if TP sizes divide one another, as powers of two do;
    for other sizes a fit may be missed, and a manual placement is the way out.
    """
    rooms = _rooms(grid, allowed)
    if strategy == "pack":
        seats = _pack(layout, rooms)
    elif strategy == "spread":
        seats = _spread(layout, rooms)
    else:
        raise PlacementError(
            f"A manual placement of {layout} must say where each replica goes: {MANUAL_FORM}.",
            rule="notation",
        )
    return Placement(layout, strategy, _assign(layout, rooms, seats))


def parse_manual(text: str, grid: Grid, layout: Layout | None = None) -> Placement:
    """The placement that `P1=a:0,1 D1=b:0-3` writes out; of `layout`, if one is given.

    Raises PlacementError if it cannot be read, is not on the grid, uses a slot twice or one that
    others hold, or is not of the layout.
    """
    nodes = {node.name: node for node in grid.nodes}
    found = [_parse_replica(piece, nodes) for piece in re.split(r"[\s;]+", text) if piece]
    found.sort(key=lambda a: (_ROLE_ORDER.index(a.role), a.number))
    _check_once(found)
    held = tuple(slot for a in found for slot in a.slots if slot in grid.taken)
    if held:
        raise PlacementError(
            f"Others hold {format_slots(held)}; free them or choose other slots.",
            rule="free",
            slots=held,
        )
    try:
        placed = Layout(tuple(_group_of(a) for a in found))
    except LayoutError as error:
        raise PlacementError(f"Placement {text!r}: {error}", rule="layout") from None
    if layout is not None and placed != layout:
        raise PlacementError(
            f"Placement {text!r} is of {placed}, not of {layout}; write out every replica of it.",
            rule="layout",
        )
    return Placement(placed, "manual", tuple(found))


def manual_layout(text: str) -> Layout:
    """The layout that a manual placement is of, whatever the grid. Raises PlacementError."""
    places = re.findall(r"[=+]([^\s;:+]+):", text)
    nodes = (GridNode(name=name, slots=_MOST_SLOTS) for name in dict.fromkeys(places))
    return parse_manual(text, Grid(nodes=tuple(nodes))).layout


# Reading manual placements


def _parse_replica(piece: str, nodes: dict[str, GridNode]) -> Assignment:
    match = _MANUAL.fullmatch(piece)
    if match is None:
        raise PlacementError(
            f"Cannot read {piece!r} in a manual placement; write {MANUAL_FORM}.", rule="notation"
        )
    replica = match["replica"].upper()
    parts = [_parse_where(part, piece, nodes) for part in match["where"].split("+")]
    if len({len(part) for part in parts}) > 1 or len({p[0].node for p in parts}) < len(parts):
        raise PlacementError(
            f"{piece!r} must take equally many slots on each of its nodes, each named once.",
            rule="node-boundary",
            slots=tuple(slot for part in parts for slot in part),
        )
    slots = tuple(slot for part in parts for slot in part)
    return Assignment(replica, _ROLE_OF[replica[0]], len(slots), bool(match["ep"]), slots)


def _parse_where(part: str, piece: str, nodes: dict[str, GridNode]) -> list[Slot]:
    """The slots of `a:0,2-3`, ascending."""
    name, _, list_of_slots = part.partition(":")
    spans = [_SPAN.fullmatch(span) for span in list_of_slots.split(",")]
    node = nodes.get(name)
    if node is None:
        known = ", ".join(islice(nodes, 8)) + (", ..." if len(nodes) > 8 else "")
        raise PlacementError(
            f"{piece!r} names node {name!r}, which is not there; nodes: {known}.", rule="on-grid"
        )
    slots = []
    for span in spans:
        if span is None:
            raise PlacementError(
                f"Cannot read the slots of {piece!r}; write {MANUAL_FORM}.", rule="notation"
            )
        first, last = int(span[1]), int(span[2] or span[1])
        if last < first or last >= node.slots:
            raise PlacementError(
                f"{piece!r}: node {name} has slots 0 to {node.slots - 1}, not {span[0]}.",
                rule="on-grid",
                slots=(Slot(name, last),),
            )
        slots += [Slot(name, index) for index in range(first, last + 1)]
    return sorted(slots)


def _format_where(slots: Sequence[Slot]) -> str:
    by_node: dict[str, list[int]] = {}
    for slot in slots:
        by_node.setdefault(slot.node, []).append(slot.index)
    return "+".join(f"{node}:{format_indices(indices)}" for node, indices in by_node.items())


def _check_once(assignments: Sequence[Assignment]) -> None:
    names = Counter(a.replica for a in assignments)
    twice = [name for name, times in names.items() if times > 1]
    if twice:
        raise PlacementError(f"Replica {twice[0]} is placed twice.", rule="once")
    uses = Counter(slot for a in assignments for slot in a.slots)
    shared = tuple(sorted(slot for slot, times in uses.items() if times > 1))
    if shared:
        users = [a.replica for a in assignments if shared[0] in a.slots]
        raise PlacementError(
            f"{' and '.join(dict.fromkeys(users))} use the same slots: {format_slots(shared)}.",
            rule="once",
            slots=shared,
        )


def _group_of(assignment: Assignment) -> ReplicaGroup:
    return ReplicaGroup(assignment.role, 1, assignment.tp, assignment.ep, len(assignment.nodes))


# Choosing nodes


def _rooms(grid: Grid, allowed: Collection[str] | None) -> list[_Room]:
    names = {node.name for node in grid.nodes}
    unknown = [name for name in allowed or () if name not in names]
    if unknown:
        raise PlacementError(
            f"Node {unknown[0]!r} is to be used but is not there; "
            f"nodes: {', '.join(islice(sorted(names), 8))}.",
            rule="on-grid",
        )
    return [_Room(n, grid.free(n)) for n in grid.nodes if allowed is None or n.name in allowed]


def _pack(layout: Layout, rooms: list[_Room]) -> Seats:
    free = [len(room.free) for room in rooms]
    # Spanning groups never fit a single node, so this asks whether the layout could.
    if any(fit(layout.groups, [size], [0]) for size in {room.node.slots for room in rooms}):
        on_one = (fit(layout.groups, free, [i]) for i in range(len(rooms)))
        if seats := next(filter(None, on_one), None):
            return seats
        raise PlacementError(
            f"{layout} fits on one node, so pack keeps it on one, but none has {layout.gpus} free "
            f"slots: {_describe(rooms)}. Free some, use a smaller layout, or place it manually.",
            rule="one-node",
            slots=_concerned(rooms),
        )
    if seats := fit_fewest(layout.groups, free, range(len(rooms))):
        return seats
    raise _refuse(layout, layout.groups, rooms)


def _spread(layout: Layout, rooms: list[_Room]) -> Seats:
    if not layout.is_pd:
        raise PlacementError(
            f"Spread puts prefill and decode on different nodes; {layout} has neither: use pack.",
            rule="separate-nodes",
        )
    prefill, decode = layout.of("prefill"), layout.of("decode")
    free = [len(room.free) for room in rooms]
    for groups in (prefill, decode, layout.groups):
        if fit(groups, free, range(len(rooms))) is None:
            raise _refuse(layout, groups, rooms)
    for mine, others in islice(divisions(prefill, free), _MOST_DIVISIONS):
        seats = fit(prefill, free, mine)
        rest = fit_fewest(decode, free, others) if seats else None
        if seats and rest:
            return seats | rest
    raise PlacementError(
        f"Spread puts prefill and decode of {layout} on different nodes, "
        f"and they do not fit so: {_describe(rooms)}. Free some, add a node, or use pack.",
        rule="separate-nodes",
        slots=_concerned(rooms),
    )


def _assign(layout: Layout, rooms: list[_Room], seats: Seats) -> tuple[Assignment, ...]:
    replicas: list[tuple[str, ReplicaGroup, tuple[int, ...]]] = []
    numbers: Counter[str] = Counter()
    on_node: dict[int, list[tuple[str, int]]] = {}
    for group in layout.groups:
        for nodes in seats[group]:
            numbers[group.letter] += 1
            name = f"{group.letter}{numbers[group.letter]}"
            replicas.append((name, group, nodes))
            for i in nodes:
                on_node.setdefault(i, []).append((name, group.tp_per_node))
    chosen = {i: choose_slots(rooms[i].free, sizes) for i, sizes in on_node.items()}
    return tuple(
        Assignment(
            name,
            group.role,
            group.tp,
            group.ep,
            tuple(Slot(rooms[i].node.name, index) for i in nodes for index in chosen[i][name]),
        )
        for name, group, nodes in replicas
    )


# Saying why not


def _refuse(layout: Layout, groups: Sequence[ReplicaGroup], rooms: list[_Room]) -> PlacementError:
    """Why the groups, all or a part of the layout, do not fit in the rooms."""
    need = sum(group.gpus for group in groups)
    there = sum(len(room.free) for room in rooms)
    where = _describe(rooms)
    if need > there:
        return PlacementError(
            f"{layout} needs {need} slots and {there} are free: {where}. "
            "Use a smaller layout, or free or add GPUs.",
            rule="capacity",
            slots=_concerned(rooms),
        )
    widest = max(groups, key=lambda g: g.tp_per_node)
    largest = max((room.node.slots for room in rooms), default=0)
    if widest.tp_per_node > largest:
        span = next((n for n in range(2, widest.tp + 1) if _spans(widest.tp, n, largest)), 0)
        advice = (
            f"write TP{widest.tp}N{span} to let it span {span} nodes" if span else "lower its TP"
        )
        return PlacementError(
            f"A TP{widest.tp} replica of {layout} needs {widest.tp_per_node} slots of one node and "
            f"the largest node has {largest}; {advice}.",
            rule="node-boundary",
            slots=_concerned(rooms),
        )
    return PlacementError(
        f"{layout} needs {need} slots and {there} are free, but not so that no replica spans nodes "
        f"(TP{widest.tp} needs {widest.tp_per_node} of one node): {where}. "
        "Free slots on one node, or lower its TP.",
        rule="node-boundary",
        slots=_concerned(rooms),
    )


def _spans(tp: int, nodes: int, largest: int) -> bool:
    return tp % nodes == 0 and tp // nodes <= largest


def _describe(rooms: list[_Room], most: int = 6) -> str:
    """`a has slots 0-3 free (others hold 4-7), b has none free`."""
    texts = []
    for node, free in rooms[:most]:
        held = sorted(set(range(node.slots)) - set(free))
        others = f" (others hold {format_indices(held)})" if held else ""
        slots = f"slot{'s' if len(free) > 1 else ''} {format_indices(free)}" if free else "none"
        texts.append(f"{node.name} has {slots} free{others}")
    if len(rooms) > most:
        texts.append(f"and {len(rooms) - most} more nodes")
    return ", ".join(texts) or "no node may be used"


def _concerned(rooms: list[_Room]) -> tuple[Slot, ...]:
    """The slots in the way; where others hold none, all there are."""
    held = [Slot(n.name, i) for n, free in rooms for i in sorted(set(range(n.slots)) - set(free))]
    return tuple(held) or tuple(Slot(n.name, i) for n, _ in rooms for i in range(n.slots))
