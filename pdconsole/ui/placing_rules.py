"""What forbids replicas to stand as they were placed, in words, with the slots. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from pdconsole.model.feasible import VllmRules
from pdconsole.model.grid import Grid, Slot, format_slots
from pdconsole.model.placement import Assignment, PlacementRule


class Violation(msgspec.Struct, frozen=True):
    """`rule` is model.placement's; "layout" for what the replicas together cannot be.

    No slots: something is missing, and none that are there are wrong.
    """

    text: str
    slots: tuple[Slot, ...]
    rule: PlacementRule = "layout"


def violations(
    grid: Grid,
    assignments: Sequence[Assignment],
    rules: VllmRules | None = None,
    kv_heads: int | None = None,
) -> tuple[Violation, ...]:
    """All there are, those of single replicas first; `rules` adds what vLLM refuses."""
    found = [*_off_grid(grid, assignments), *_held(grid, assignments), *_roles(assignments)]
    if rules is not None:
        found += _refused(assignments, rules, kv_heads)
    return tuple(found)


def _off_grid(grid: Grid, assignments: Sequence[Assignment]) -> Iterator[Violation]:
    sizes = {node.name: node.slots for node in grid.nodes}
    for a in assignments:
        off = tuple(s for s in a.slots if s.index >= sizes.get(s.node, 0))
        if off:
            text = f"{a.replica} stands on {format_slots(off)}, which is not there."
            yield Violation(text, off, "on-grid")


def _held(grid: Grid, assignments: Sequence[Assignment]) -> Iterator[Violation]:
    for a in assignments:
        held = tuple(s for s in a.slots if s in grid.taken)
        if held:
            text = f"{a.replica} stands on {format_slots(held)}, which others hold."
            yield Violation(text, held, "free")


def _roles(assignments: Sequence[Assignment]) -> Iterator[Violation]:
    roles = {a.role for a in assignments}
    if "collocated" in roles and len(roles) > 1:
        slots = _slots(a for a in assignments if a.role == "collocated")
        text = "Collocated replicas cannot stand beside prefill and decode ones."
        yield Violation(text, slots)
    elif roles == {"prefill"}:
        yield Violation("Prefill needs a decode replica; none is placed.", ())
    elif roles == {"decode"}:
        yield Violation("Decode needs a prefill replica; none is placed.", ())


def _refused(
    assignments: Sequence[Assignment], rules: VllmRules, kv_heads: int | None
) -> Iterator[Violation]:
    """One for each pair of prefill and decode TP that cannot pass KV."""
    prefill = [a for a in assignments if a.role == "prefill"]
    decode = [a for a in assignments if a.role == "decode"]
    for p_tp in sorted({a.tp for a in prefill}):
        for d_tp in sorted({a.tp for a in decode}):
            reason = rules.refusal(p_tp, d_tp, kv_heads)
            if reason is None:
                continue
            ps = [a for a in prefill if a.tp == p_tp]
            ds = [a for a in decode if a.tp == d_tp]
            text = f"{names_of(ps)} cannot pass KV to {names_of(ds)}: {reason}."
            yield Violation(text, _slots([*ps, *ds]))


def names_of(assignments: Sequence[Assignment], most: int = 4) -> str:
    """`P1, P2 and 3 more`."""
    names = [a.replica for a in assignments]
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def _slots(assignments: Iterable[Assignment]) -> tuple[Slot, ...]:
    return tuple(slot for a in assignments for slot in a.slots)
