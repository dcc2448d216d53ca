"""Placements: what fits is placed by the rules, and what does not says which rule and slots."""

from itertools import combinations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdconsole.model.feasible import feasible, rules_for
from pdconsole.model.grid import Grid, GridNode, Slot
from pdconsole.model.layout import Layout, ReplicaGroup, parse_layout
from pdconsole.model.placement import Placement, PlacementError, parse_manual, place


def grid_of(*free: str, size: int = 8) -> Grid:
    """Nodes a, b, ... whose free slots are written out: `grid_of("01234567", "4567")`."""
    names = "abcdefgh"[: len(free)]
    return Grid(
        tuple(GridNode(name=name, slots=size) for name in names),
        frozenset(
            Slot(name, i)
            for name, digits in zip(names, free, strict=True)
            for i in range(size)
            if str(i) not in digits
        ),
    )


ALL, HIGH, LOW = "01234567", "4567", "0123"
EMPTY = grid_of(ALL, ALL)


@pytest.mark.parametrize(
    ("layout", "strategy", "placed"),
    [
        ("3P-TP2+1D-TP2", "pack", "P1=a:0-1 P2=a:2-3 P3=a:4-5 D1=a:6-7"),
        ("1P-TP1+1D-TP4", "pack", "P1=a:0 D1=a:4-7"),
        ("1P-TP4+1D-TP4", "spread", "P1=a:0-3 D1=b:0-3"),
        ("2P-TP4+1D-TP8", "pack", "P1=a:0-3 P2=a:4-7 D1=b:0-7"),
        ("1P-TP4+1D-TP8", "pack", "P1=a:0-3 D1=b:0-7"),
        ("1xTP16N2", "pack", "C1=a:0-7+b:0-7"),
        ("1xtpep4-1xtpep4", "pack", "P1/ep=a:0-3 D1/ep=a:4-7"),
    ],
)
def test_where_replicas_go_on_empty_nodes(layout, strategy, placed):
    placement = place(parse_layout(layout), EMPTY, strategy)
    assert str(placement) == placed
    assert placement.crosses_nodes == (placement.layout.is_pd and len(placement.nodes) == 2)


@pytest.mark.parametrize(
    ("free", "layout", "strategy", "placed"),
    [
        ((HIGH, ALL), "1P-TP2+1D-TP2", "pack", "P1=a:4-5 D1=a:6-7"),
        ((HIGH, ALL), "1xTP8", "pack", "C1=b:0-7"),
        # P1 on a would leave D1 without a node; so would P1 first on b without alignment.
        ((LOW, ALL), "1P-TP4+1D-TP8", "spread", "P1=a:0-3 D1=b:0-7"),
        (("0123467",), "1P-TP1+1D-TP4", "pack", "P1=a:4 D1=a:0-3"),
        (("0367",), "2xTP2", "pack", "C1=a:6-7 C2=a:0,3"),
    ],
)
def test_where_replicas_go_beside_others(free, layout, strategy, placed):
    assert str(place(parse_layout(layout), grid_of(*free), strategy)) == placed


@pytest.mark.parametrize(
    ("free", "layout", "strategy", "rule", "words", "slots"),
    [
        ((ALL, ALL), "17xTP1", "pack", "capacity", "needs 17 slots and 16 are free", 16),
        ((HIGH, LOW), "2xTP8", "pack", "capacity", "a has slots 4-7 free (others hold 0-3)", 8),
        (("0",), "1P-TP1+1D-TP1", "spread", "capacity", "a has slot 0 free (others hold", 7),
        ((HIGH, LOW), "1xTP8", "pack", "one-node", "a has slots 4-7 free (others hold 0-3)", 8),
        ((HIGH, LOW, ALL), "1P-TP8+1D-TP8", "pack", "node-boundary", "TP8 needs 8 of one", 8),
        ((ALL, ALL), "1xTP16", "pack", "node-boundary", "write TP16N2 to let it span 2 nodes", 16),
        ((ALL,), "1P-TP1+1D-TP1", "spread", "separate-nodes", "add a node", 8),
        ((ALL, ALL), "9P-TP1+1D-TP1", "spread", "separate-nodes", "do not fit so", 16),
        ((ALL, ALL), "4xTP2", "spread", "separate-nodes", "has neither: use pack", 0),
        ((ALL,), "4xTP2", "manual", "notation", "must say where", 0),
    ],
)
def test_what_does_not_fit_says_which_rule_and_slots(free, layout, strategy, rule, words, slots):
    with pytest.raises(PlacementError) as error:
        place(parse_layout(layout), grid_of(*free), strategy)
    assert (error.value.rule, len(error.value.slots)) == (rule, slots)
    assert words in str(error.value)


def test_only_allowed_nodes_are_used():
    layout = parse_layout("8xTP1")
    assert place(layout, EMPTY, "pack", allowed=["b"]).nodes == ("b",)
    with pytest.raises(PlacementError, match="no node may be used"):
        place(layout, EMPTY, "pack", allowed=[])
    with pytest.raises(PlacementError, match=r"'z'.* not there; nodes: a, b"):
        place(layout, EMPTY, "pack", allowed=["a", "z"])


def test_every_feasible_layout_of_two_nodes_packs_with_aligned_groups():
    for layout in feasible(2, 8, (1, 2, 4, 8), rules_for("0.33.0"), 8):
        placement = place(layout, EMPTY, "pack")
        assert len(placement.nodes) == 1 or layout.gpus > 8
        for assignment in placement.assignments:
            first = assignment.slots[0].index
            assert first % assignment.tp == 0
            assert assignment.slots[-1].index == first + assignment.tp - 1


@st.composite
def grids(draw):
    size = draw(st.sampled_from([4, 8]))
    free = draw(st.lists(st.sets(st.integers(0, size - 1)), min_size=1, max_size=4))
    return grid_of(*("".join(map(str, indices)) for indices in free), size=size)


@st.composite
def layouts(draw):
    def groups(role):
        group = st.builds(
            ReplicaGroup, st.just(role), st.integers(1, 5), st.sampled_from([1, 2, 4, 8])
        )
        return st.lists(group, min_size=1, max_size=2)

    if draw(st.booleans()):
        return Layout(tuple(draw(groups("collocated"))))
    return Layout((*draw(groups("prefill")), *draw(groups("decode"))))


def chunk_fits(sizes: list[int], room: list[int]) -> bool:
    """Whether replicas of these sizes fit, by trying each node for each, largest first."""
    if not sizes:
        return True
    size, *rest = sizes
    return any(
        chunk_fits(rest, [*room[:i], free - size, *room[i + 1 :]])
        for i, free in enumerate(room)
        if free >= size and free not in room[:i]
    )


def sizes_of(layout: Layout, *roles: str) -> list[int]:
    return sorted(
        (g.tp for g in layout.groups if g.role in roles for _ in range(g.count)), reverse=True
    )


def can_pack(layout: Layout, room: list[int], size: int) -> int | None:
    """The fewest nodes that hold the layout, by trying all sets of nodes."""
    sizes = sizes_of(layout, "prefill", "decode", "collocated")
    most = 1 if sum(sizes) <= size else len(room)
    for number in range(1, most + 1):
        if any(chunk_fits(sizes, list(some)) for some in combinations(room, number)):
            return number
    return None


def can_spread(layout: Layout, room: list[int]) -> bool:
    nodes = range(len(room))
    return layout.is_pd and any(
        chunk_fits(sizes_of(layout, "prefill"), [room[i] for i in mine])
        and chunk_fits(sizes_of(layout, "decode"), [room[i] for i in nodes if i not in mine])
        for number in nodes
        for mine in combinations(nodes, number)
    )


@settings(deadline=None)
@given(layouts(), grids(), st.sampled_from(["pack", "spread"]))
def test_places_exactly_what_fits_and_keeps_every_rule(layout, grid, strategy):
    room = [len(grid.free(node)) for node in grid.nodes]
    fewest = can_pack(layout, room, grid.nodes[0].slots)
    possible = can_spread(layout, room) if strategy == "spread" else fewest is not None
    try:
        placement = place(layout, grid, strategy)
    except PlacementError:
        placement = None
    assert (placement is not None) == possible
    if placement is None:
        return
    assert placement.layout == layout
    assert len(set(placement.slots)) == layout.gpus
    assert not grid.taken & set(placement.slots)
    assert all(len(a.nodes) == 1 for a in placement.assignments)
    if strategy == "pack":
        assert len(placement.nodes) == fewest
    else:
        prefill, decode = placement.of("prefill"), placement.of("decode")
        assert not {a.node for a in prefill} & {a.node for a in decode}
    assert msgspec.json.decode(msgspec.json.encode(placement), type=Placement) == placement
    manual = parse_manual(str(placement), grid, layout)
    assert manual.assignments == placement.assignments


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(2, 3), st.sampled_from([1, 2, 4, 8]))
def test_a_spanning_replica_takes_equal_parts_of_different_nodes(count, span, part):
    grid = grid_of(*[ALL] * 6)
    layout = Layout((ReplicaGroup("collocated", count, part * span, False, span),))
    # A replica's parts are on different nodes, so a node counts at most once for each replica.
    possible = 6 * min(8 // part, count) >= count * span
    try:
        placement = place(layout, grid, "pack")
    except PlacementError:
        placement = None
    assert (placement is not None) == possible
    for assignment in placement.assignments if placement else ():
        assert len(assignment.nodes) == span
        assert all(sum(s.node == n for s in assignment.slots) == part for n in assignment.nodes)
    if placement:
        assert parse_manual(str(placement), grid).assignments == placement.assignments


def test_a_thousand_nodes():
    grid = Grid(
        tuple(GridNode(name=f"n{i}", slots=8) for i in range(1000)),
        frozenset(Slot(f"n{i}", 0) for i in range(0, 1000, 2)),
    )
    packed = place(parse_layout("1000P-TP2+1000D-TP4"), grid, "pack")
    assert len(packed.slots) == 6000
    spread = place(parse_layout("200P-TP8+500D-TP4"), grid, "spread")
    assert len(spread.nodes) == 200 + 500 // 2  # of the nodes that are wholly free
    with pytest.raises(PlacementError) as error:
        place(parse_layout("501xTP8"), grid, "pack")
    assert error.value.rule == "node-boundary"
    assert len(str(error.value)) < 600


def test_a_manual_placement_is_read_whatever_its_order():
    placement = parse_manual("d1=b:0-3; P2/EP=a:3,2 p1/ep=a:0,1", EMPTY)
    assert str(placement) == "P1/ep=a:0-1 P2/ep=a:2-3 D1=b:0-3"
    assert placement.layout == parse_layout("2xtpep2-1xtp4")
    assert placement.strategy == "manual"


@pytest.mark.parametrize(
    ("text", "rule", "words"),
    [
        ("P1 a:0", "notation", "'P1'"),
        ("P1=a:0 D1=b:x", "notation", "'D1=b:x'"),
        ("P1=a: D1=b:0", "notation", "'P1=a:'"),
        ("P1=a:0 D1=c:0", "on-grid", "node 'c', which is not there; nodes: a, b"),
        ("P1=a:0 D1=b:6-8", "on-grid", "slots 0 to 7, not 6-8"),
        ("P1=a:0 D1=b:3-2", "on-grid", "not 3-2"),
        ("P1=a:0 P1=a:1 D1=b:0", "once", "P1 is placed twice"),
        ("P1=a:0-3 D1=a:3-4", "once", "P1 and D1 use the same slots: a:3"),
        ("P1=a:0,0 D1=a:1", "once", "P1 use the same slots: a:0"),
        ("P1=a:0-1+b:0 D1=b:4", "node-boundary", "equally many"),
        ("P1=a:0-1+a:2-3 D1=b:4", "node-boundary", "each named once"),
        ("P1=a:0", "layout", "only collocated ones"),
        ("", "layout", "no replicas"),
        ("P1=a:0 D1=b:4", "free", "Others hold b:4"),
        ("P1=a:0 D1=b:0", "layout", "is of 1P-TP1 + 1D-TP1, not of 1P-TP1 + 1D-TP2"),
    ],
)
def test_a_bad_manual_placement_says_which_rule(text, rule, words):
    with pytest.raises(PlacementError) as error:
        parse_manual(text, grid_of(ALL, LOW), parse_layout("1P-TP1+1D-TP2"))
    assert error.value.rule == rule
    assert words in str(error.value)


def test_a_recorded_placement_that_contradicts_itself_is_refused():
    good = msgspec.json.encode(parse_manual("P1=a:0-1 D1=b:0-1", EMPTY))
    for bad in (
        good.replace(b'"tp":2,"ep":false,"slots"', b'"tp":4,"ep":false,"slots"', 1),
        good.replace(b'"node":"b"', b'"node":"a"'),
        good.replace(b'"count":1', b'"count":2', 1),
    ):
        assert bad != good
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(bad, type=Placement)


def test_a_grid_names_what_is_wrong_with_it():
    node = GridNode(name="a", slots=8)
    with pytest.raises(ValueError, match="listed twice"):
        Grid((node, node))
    with pytest.raises(ValueError, match="a:8"):
        Grid((node,), frozenset({Slot("a", 8)}))
    with pytest.raises(ValueError, match="cannot be named 'a b'"):
        GridNode(name="a b", slots=8)
