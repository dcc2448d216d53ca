"""Placing by hand: what the keys make of it, and what holds whatever is pressed."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdconsole.model.feasible import rules_for
from pdconsole.model.grid import Grid, GridNode, Slot
from pdconsole.model.layout import parse_layout
from pdconsole.model.placement import Placement, PlacementError, parse_manual, place
from pdconsole.ui.placing import EDITS_KEPT, LETTER_OF, TP_KEYS, Placing
from pdconsole.ui.placing_moves import Shape


def grid_of(*sizes: int, taken: tuple[tuple[str, int], ...] = ()) -> Grid:
    nodes = tuple(
        GridNode(name=name, slots=size) for name, size in zip("abcdefgh", sizes, strict=False)
    )
    return Grid(nodes, frozenset(Slot(*slot) for slot in taken))


def slots(*names: str) -> list[Slot]:
    return [Slot(name[0], int(name[1:])) for name in names]


# --- any keys in any order ---

GRIDS = st.builds(
    lambda sizes, held: Grid(
        grid_of(*sizes).nodes,
        frozenset(s for s in (Slot("abcd"[n], i) for n, i in held) if n_slots(sizes, s) > s.index),
    ),
    st.lists(st.integers(1, 9), min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 8)), max_size=6),
)


def n_slots(sizes: list[int], slot: Slot) -> int:
    number = "abcd".index(slot.node)
    return sizes[number] if number < len(sizes) else 0


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("role"), st.sampled_from("PDC")),
        st.tuples(st.just("tp"), st.sampled_from(TP_KEYS)),
        st.tuples(
            st.just("move"),
            st.tuples(
                st.integers(-3, 3), st.integers(-2, 2), st.booleans(), st.integers(1, 3),
                st.sampled_from((0, 4)), st.booleans(),
            ),
        ),
        st.tuples(
            st.sampled_from(
                ("toggle", "grow", "node", "unselect", "clear", "clear-all", "undo", "redo", "ep")
            ),
            st.none(),
        ),
    ),
    max_size=40,
)  # fmt: skip


def after(placing: Placing, step: tuple[str, Any]) -> Placing:
    match step:
        case ("role", letter):
            return placing.with_role(letter)
        case ("tp", tp):
            return placing.with_tp(tp)
        case ("move", (dx, dy, extend, across, per_line, lengthways)):
            return placing.moved(dx, dy, Shape(across, per_line, lengthways), extend=extend)
        case ("toggle", _):
            return placing.toggled()
        case ("grow", _):
            return placing.anchored()
        case ("node", _):
            return placing.node_selected(placing.cursor.node)
        case ("unselect", _):
            return placing.unselected()
        case ("clear", _):
            return placing.cleared()
        case ("clear-all", _):
            return placing.all_cleared()
        case ("undo", _):
            return placing.undone()
        case ("redo", _):
            return placing.redone()
        case ("ep", _):
            return placing.with_ep()
    raise AssertionError(step)


def all_after(grid: Grid, steps: list[tuple[str, Any]]) -> list[Placing]:
    found = [Placing.on(grid)]
    for step in steps:
        found.append(after(found[-1], step))
    return found


@given(GRIDS, STEPS)
def test_no_slot_is_used_twice_and_replicas_are_whole(
    grid: Grid, steps: list[tuple[str, Any]]
) -> None:
    there = {Slot(node.name, i) for node in grid.nodes for i in range(node.slots)}
    for placing in all_after(grid, steps):
        used = [slot for a in placing.assignments for slot in a.slots]
        assert len(used) == len(set(used))
        assert there.issuperset(used)
        assert placing.cursor in there
        assert there.issuperset(placing.selection)
        for letter in LETTER_OF.values():
            names = [a.replica for a in placing.assignments if a.replica[0] == letter]
            assert names == [f"{letter}{n}" for n in range(1, len(names) + 1)]


@given(GRIDS, STEPS)
def test_undo_and_redo_are_inverse(grid: Grid, steps: list[tuple[str, Any]]) -> None:
    for before, now in pairwise(all_after(grid, steps)):
        if len(now.past) == len(before.past) + 1 and not now.future:
            undone = now.undone()
            assert undone._edit() == before._edit()
            assert undone.redone()._edit() == now._edit()
    back = now = all_after(grid, steps)[-1]
    for _ in range(len(now.past)):
        back = back.undone()
    assert back.assignments == ()
    for _ in range(len(now.past)):
        back = back.redone()
    assert back._edit() == now._edit()
    assert (back.past, back.future) == (now.past, now.future)


@given(GRIDS, STEPS)
def test_what_stands_without_violation_is_a_placement(
    grid: Grid, steps: list[tuple[str, Any]]
) -> None:
    placing = all_after(grid, steps)[-1]
    if not placing.assignments or placing.violations():
        with pytest.raises(PlacementError):
            placing.placement()
        return
    placement = placing.placement()
    assert placement.layout == placing.layout
    # It survives being written out and read, as it is sent to the runner.
    assert parse_manual(str(placement), grid).assignments == placement.assignments
    encoded = msgspec.json.encode(placement)
    assert msgspec.json.decode(encoded, type=Placement) == placement
    again = Placing.on(grid).placed(placement)
    assert again.placement() == placement


@given(
    st.sampled_from(("2P-TP2+1D-TP4", "8xTP1", "1P-TP8+1D-TP8", "1xTP16N2", "2xTPEP4")),
    st.sampled_from(("pack", "spread")),
)
def test_a_placement_comes_back_as_it_was(layout: str, strategy: Any) -> None:
    grid = grid_of(8, 8, 8, taken=(("c", 7),))
    try:
        placement = place(parse_layout(layout), grid, strategy)
    except PlacementError:
        return
    placing = Placing.on(grid).placed(placement)
    assert placing.placement() == placement
    assert placing.placed(placement) is placing
    assert placing.undone().assignments == ()


# --- what each key is for ---


def test_tp_and_role_keys_alone_place_a_layout() -> None:
    placing = Placing.on(grid_of(8, 8))
    placing = placing.with_tp(2).with_role("P").with_role("P").with_tp(4).with_role("D")
    assert str(placing.placement()) == "P1=a:0-1 P2=a:2-3 D1=a:4-7"
    assert str(placing.layout) == "2P-TP2 + 1D-TP4"
    assert placing.cursor == Slot("b", 0)


def test_the_cursor_goes_on_to_where_the_next_replica_fits() -> None:
    grid = grid_of(8, 8, 8, taken=(("b", 0),))
    placing = Placing.on(grid).with_tp(8).with_role("D")
    assert placing.cursor == Slot("c", 0)


def test_a_block_is_aligned_where_it_can_be() -> None:
    placing = Placing.on(grid_of(8)).at_slot(Slot("a", 5)).with_tp(4).with_role("P")
    assert [s.index for s in placing.assignments[0].slots] == [4, 5, 6, 7]
    beside = Placing.on(grid_of(8, taken=(("a", 4),))).at_slot(Slot("a", 3)).with_tp(2)
    assert [s.index for s in beside.with_role("D").assignments[0].slots] == [2, 3]


def test_a_selection_is_filled_and_divided_anew() -> None:
    placing = Placing.on(grid_of(8)).selected(slots("a0", "a1", "a2", "a3"))
    placing = placing.with_role("D")
    assert [a.tp for a in placing.assignments] == [1, 1, 1, 1]
    placing = placing.with_tp(4)
    assert str(placing.assignments[0].slots[-1]) == "a:3"
    assert [a.replica for a in placing.assignments] == ["D1"]
    changed = placing.with_role("P").with_tp(2)
    assert [(a.replica, a.tp) for a in changed.assignments] == [("P1", 2), ("P2", 2)]


def test_what_a_selection_has_too_much_is_said() -> None:
    placing = Placing.on(grid_of(8)).with_tp(2).selected(slots("a0", "a1", "a2"))
    placing = placing.with_role("P")
    assert [a.tp for a in placing.assignments] == [2]
    assert "1 of the selected GPUs" in placing.remark
    none = Placing.on(grid_of(2)).with_tp(4).selected(slots("a0", "a1")).with_role("P")
    assert none.assignments == ()
    assert "TP4 needs 4 GPUs" in none.remark
    assert none.moved(1, 0).remark == ""


def test_a_replica_over_two_nodes_takes_the_same_of_both() -> None:
    both = [*slots("a0", "a1"), *slots("b0", "b1")]
    placing = Placing.on(grid_of(4, 4)).with_tp(4).selected(both).with_role("C")
    assert str(placing.placement()) == "C1=a:0-1+b:0-1"
    assert str(placing.layout) == "1xTP4N2"


def test_a_replica_that_is_cut_is_gone() -> None:
    placing = Placing.on(grid_of(8)).with_tp(4).with_role("D").with_tp(1)
    placing = placing.selected(slots("a0")).with_role("P")
    assert [(a.replica, a.tp) for a in placing.assignments] == [("P1", 1)]


def test_role_key_on_a_replica_changes_its_role() -> None:
    placing = Placing.on(grid_of(8)).with_tp(2).with_role("P").with_role("P")
    placing = placing.at_slot(Slot("a", 1)).with_role("D")
    assert [(a.replica, a.slots[0].index) for a in placing.assignments] == [("P1", 2), ("D1", 0)]
    assert placing.with_role("D").remark.startswith("D1 stands here")


def test_clearing_renumbers() -> None:
    placing = Placing.on(grid_of(8)).with_role("P").with_role("P").with_role("P")
    placing = placing.at_slot(Slot("a", 0)).cleared()
    assert [a.replica for a in placing.assignments] == ["P1", "P2"]
    assert placing.cleared().remark == "Nothing is placed here."


def test_expert_parallel_is_switched() -> None:
    placing = Placing.on(grid_of(8)).with_tp(4).with_ep().with_role("D")
    assert str(parse_layout("1p-tp4+1d-tpep4")) == "1P-TP4 + 1D-TPEP4"
    assert placing.assignments[0].ep
    assert not placing.at_slot(Slot("a", 0)).with_ep().assignments[0].ep


# --- what is wrong ---


def test_violations_name_replicas_and_slots() -> None:
    grid = grid_of(8, 8)
    placing = Placing.on(grid).with_tp(4).with_role("P").with_tp(2).with_role("D")
    assert placing.violations() == ()
    (refused,) = placing.violations(rules_for("0.11.0"), 8)
    assert refused.text.startswith("P1 cannot pass KV to D1: prefill TP4 is larger")
    assert refused.slots == tuple(Slot("a", i) for i in range(6))
    assert placing.violations(rules_for("0.33.0"), 8) == ()
    # Others came and took a GPU after it was placed.
    held = placing.with_grid(grid_of(8, 8, taken=(("a", 5),)))
    assert [v.slots for v in held.violations()] == [(Slot("a", 5),)]
    with pytest.raises(PlacementError) as error:
        held.placement()
    assert (error.value.rule, error.value.slots) == ("free", (Slot("a", 5),))
    # A node left the cluster.
    gone = placing.with_grid(grid_of(4, 8))
    assert gone.violations()[0].rule == "on-grid"


def test_what_is_missing_marks_no_slot() -> None:
    placing = Placing.on(grid_of(8)).with_role("P")
    (missing,) = placing.violations()
    assert "needs a decode replica" in missing.text
    assert missing.slots == ()
    mixed = placing.with_role("D").with_role("C")
    assert mixed.violations()[0].slots == (Slot("a", 2),)
    assert mixed.layout is None


def test_held_gpus_are_left_out_unless_selected() -> None:
    placing = Placing.on(grid_of(4, taken=(("a", 0),)))
    assert "Others hold a:0" in placing.with_role("P").remark
    chosen = placing.toggled().with_role("P")
    assert [v.rule for v in chosen.violations()] == ["free", "layout"]


# --- moving ---


def test_moving_follows_how_the_grid_is_drawn() -> None:
    grid = grid_of(8, 8, 8, 8, 8)
    placing = Placing.on(grid)
    two = Shape(across=2)
    assert placing.moved(9, 0, two).cursor == Slot("b", 1)
    assert placing.moved(-1, 0, two).cursor == Slot("a", 0)
    assert placing.moved(3, 1, two).cursor == Slot("c", 3)
    assert placing.moved(8, 9, two).cursor == Slot("e", 0)
    folded = Shape(across=1, per_line=4)
    assert placing.moved(1, 1, folded).cursor == Slot("a", 5)
    assert placing.moved(1, 2, folded).cursor == Slot("b", 1)
    assert placing.moved(1, 2, folded).moved(0, -1, folded).cursor == Slot("a", 5)
    page = Shape(lengthways=True)
    assert placing.moved(0, 9, page).cursor == Slot("b", 1)
    assert placing.moved(2, 3, page).cursor == Slot("c", 3)


def test_extending_selects_a_rectangle_and_moving_on_ends_it() -> None:
    placing = Placing.on(grid_of(8, 8, 8, 8))
    two = Shape(across=2)
    wide = placing.moved(2, 0, two).moved(1, 0, two, extend=True).moved(0, 1, two, extend=True)
    assert list(wide.selection) == slots("a2", "a3", "c2", "c3")
    assert wide.moved(1, 0, two).selection == ()
    grown = placing.anchored().moved(2, 0, two)
    assert list(grown.selection) == slots("a0", "a1", "a2")
    assert list(grown.anchored().selection) == slots("a0", "a1", "a2")


def test_edits_that_are_kept_are_bounded() -> None:
    placing = Placing.on(grid_of(2))
    for _ in range(EDITS_KEPT):
        placing = placing.with_role("P").at_slot(Slot("a", 0)).cleared()
    assert len(placing.past) == EDITS_KEPT
