"""Which workers, nodes and GPUs something concerns, in words for a confirmation. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from pdconsole.model.grid import Slot, format_indices
from pdconsole.model.placement import Placement
from pdconsole.model.state import State

NODES_NAMED = 8


def gpus_text(slots: Iterable[Slot]) -> str:
    """`GPUs 0-7 of node1 and 0-3 of node2`; of very many nodes only the first are named."""
    by_node: dict[str, set[int]] = {}
    for slot in slots:
        by_node.setdefault(slot.node, set()).add(slot.index)
    if not by_node:
        return "no GPUs"
    texts = [f"{format_indices(indices)} of {node}" for node, indices in by_node.items()]
    first = next(iter(by_node.values()))
    word = "GPU" if len(by_node) == 1 and len(first) == 1 else "GPUs"
    if len(texts) > NODES_NAMED:
        rest = len(texts) - NODES_NAMED
        return f"{word} {', '.join(texts[:NODES_NAMED])} and those of {rest} more nodes"
    return f"{word} {_listed(texts)}"


def placed_text(placement: Placement) -> str:
    """`P1 on node1:0,1, D1 on node1:2-5`."""
    return ", ".join(f"{a.replica} on {_where(a.slots)}" for a in placement.assignments)


def workers_text(state: State) -> str:
    """The workers that are up now, each with its node and GPUs; "" where there are none."""
    return ", ".join(
        f"{view.name} on {view.state.node}:{format_indices(view.state.slots)}"
        for view in state.processes.values()
        if view.state.slots and view.state.status not in ("stopped", "failed")
    )


def _where(slots: Iterable[Slot]) -> str:
    by_node: dict[str, list[int]] = {}
    for slot in slots:
        by_node.setdefault(slot.node, []).append(slot.index)
    return "+".join(f"{node}:{format_indices(indices)}" for node, indices in by_node.items())


def _listed(texts: list[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"
