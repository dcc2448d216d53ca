"""How replicas fit into nodes of given room: which nodes they take, and which slots there.

Nodes are numbers here, indices into a sequence of how many slots each has free.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from typing import TypeAlias

from pdconsole.model.layout import ReplicaGroup

# For each group the nodes of each of its replicas.
Seats: TypeAlias = dict[ReplicaGroup, list[tuple[int, ...]]]


def fit(groups: Sequence[ReplicaGroup], free: Sequence[int], nodes: Sequence[int]) -> Seats | None:
    """The groups on these nodes, filled one after another; None if they do not fit.

    Tries the groups in their order, then largest first. The latter finds a fit if there is one
    and sizes divide one another, as powers of two do.
    """
    largest_first = sorted(groups, key=lambda g: -g.tp_per_node)
    return _distribute(groups, free, nodes) or _distribute(largest_first, free, nodes)


def fit_fewest(
    groups: Sequence[ReplicaGroup], free: Sequence[int], nodes: Sequence[int]
) -> Seats | None:
    """The groups on as few of these nodes as possible, those with most room before others."""
    by_room = sorted(nodes, key=lambda i: -free[i])

    def fits(number: int) -> bool:
        return fit(groups, free, by_room[:number]) is not None

    number = 1 + bisect_left(range(1, len(by_room) + 1), True, key=fits)
    return fit(groups, free, sorted(by_room[:number]))


def divisions(
    groups: Sequence[ReplicaGroup], free: Sequence[int]
) -> Iterator[tuple[list[int], list[int]]]:
    """Ways to divide all nodes into some for `groups` and others, fewest for `groups` first.

    Nodes with the same room are alike, so the ways differ in how many of each kind are taken.
    """
    kinds: dict[int, list[int]] = {}
    for i in sorted(range(len(free)), key=lambda i: -free[i]):
        kinds.setdefault(free[i], []).append(i)
    alike = list(kinds.values())
    fewest = fit_fewest(groups, free, range(len(free))) or {}
    start = len({i for replicas in fewest.values() for nodes in replicas for i in nodes})
    for total in range(start, len(free)):
        for counts in _compositions(total, [len(nodes) for nodes in alike]):
            mine = [i for n, nodes in zip(counts, alike, strict=True) for i in nodes[:n]]
            others = [i for n, nodes in zip(counts, alike, strict=True) for i in nodes[n:]]
            yield sorted(mine), sorted(others)


def choose_slots(
    free: Collection[int], sizes: Sequence[tuple[str, int]]
) -> dict[str, tuple[int, ...]]:
    """Slots of one node for each named replica of that size; there must be room.

    In the order given, or largest first if more replicas stand on aligned blocks then.
    """
    orders = (sizes, sorted(sizes, key=lambda named: -named[1]))
    choices = [_take_slots(free, order) for order in orders]
    return min(choices, key=lambda choice: sum(not is_aligned(s) for s in choice.values()))


def is_aligned(slots: Sequence[int]) -> bool:
    """Whether the slots are a block such as 0-3 or 4-7."""
    return slots[0] % len(slots) == 0 and slots[-1] - slots[0] == len(slots) - 1


def _distribute(
    groups: Sequence[ReplicaGroup], free: Sequence[int], nodes: Sequence[int]
) -> Seats | None:
    left = {i: free[i] for i in nodes}
    seats: Seats = {}
    for group in groups:
        need = group.count * group.nodes
        parts: dict[int, int] = {}
        for i, room in left.items():
            # Parts of one replica stand on different nodes, so a node holds `count` at most.
            number = min(need, room // group.tp_per_node, group.count)
            if number:
                parts[i] = number
                left[i] = room - number * group.tp_per_node
                need -= number
            if not need:
                break
        if need:
            return None
        seats[group] = _combine(parts, group)
    return seats


def _combine(parts: dict[int, int], group: ReplicaGroup) -> list[tuple[int, ...]]:
    """The nodes of each replica of the group, when node i holds `parts[i]` parts of replicas."""
    if group.nodes == 1:
        return [(i,) for i, number in parts.items() for _ in range(number)]
    replicas = []
    for _ in range(group.count):
        # Taking from the nodes with most parts left never comes to a dead end (Gale-Ryser).
        nodes = sorted(parts, key=lambda i: -parts[i])[: group.nodes]
        for i in nodes:
            parts[i] -= 1
        replicas.append(tuple(sorted(nodes)))
    return replicas


def _compositions(total: int, limits: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Every way to write `total` as counts within `limits`, the first counts largest first."""
    if not limits:
        if total == 0:
            yield ()
        return
    least = max(0, total - sum(limits[1:]))
    for first in range(min(total, limits[0]), least - 1, -1):
        for rest in _compositions(total - first, limits[1:]):
            yield first, *rest


def _take_slots(
    free: Collection[int], sizes: Sequence[tuple[str, int]]
) -> dict[str, tuple[int, ...]]:
    left = set(free)
    end = max(left, default=-1) + 1
    chosen: dict[str, tuple[int, ...]] = {}
    for replica, size in sizes:
        # An aligned block, else neighbours, else whatever is free.
        starts = [*range(0, end, size), *range(end)]
        blocks = (tuple(range(start, start + size)) for start in starts)
        block = next((b for b in blocks if left.issuperset(b)), tuple(sorted(left)[:size]))
        left.difference_update(block)
        chosen[replica] = block
    return chosen
