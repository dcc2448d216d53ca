"""The feasible layouts of a grid, and one layout explained."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from pdconsole.model.feasible import feasible, rules_for
from pdconsole.model.grid import Grid, GridNode
from pdconsole.model.layout import Layout, LayoutForm, format_layout, parse_layout
from pdconsole.model.placement import PlacementError, place
from pdconsole.profiles import ModelProfile, Profiles

MOST_LISTED = 5000


def feasible_layouts(
    workspace: Path,
    *,
    cluster: str | None,
    nodes: int,
    gpus_per_node: int,
    tp_degrees: tuple[int, ...],
    version: str,
    model: str,
    kind: str,
    ep: bool,
    gpus: int | None,
) -> dict[str, Any]:
    """Every layout that fits, as plain values for text or JSON; at most MOST_LISTED are listed."""
    profiles = Profiles.open(workspace)
    nodes, gpus_per_node = _size(profiles, cluster, nodes, gpus_per_node)
    rules = rules_for(version)
    found: list[Layout] = []
    more = False
    for layout in feasible(
        nodes,
        gpus_per_node,
        tp_degrees,
        rules,
        _kv_heads(profiles.model(model)),
        pd=kind != "collocated",
        collocated=kind != "pd",
        ep=ep,
        gpus=gpus,
    ):
        if len(found) == MOST_LISTED:
            more = True
            break
        found.append(layout)
    return {
        "nodes": nodes,
        "gpus_per_node": gpus_per_node,
        "vllm": rules.version,
        "note": rules.note,
        "truncated": more,
        "layouts": [
            {"slug": layout.slug, "layout": str(layout), "gpus": layout.gpus} for layout in found
        ],
    }


def explain_layout(
    workspace: Path,
    text: str,
    *,
    cluster: str | None,
    nodes: int,
    gpus_per_node: int,
    tp_degrees: tuple[int, ...],
    version: str,
    model: str,
    kind: str,
    ep: bool,
    gpus: int | None,
) -> dict[str, Any]:
    """One layout: its forms, what the rules of a vLLM say, and where it would be placed."""
    profiles = Profiles.open(workspace)
    nodes, gpus_per_node = _size(profiles, cluster, nodes, gpus_per_node)
    layout = parse_layout(text)
    rules = rules_for(version)
    grid = Grid(tuple(GridNode(name=f"node{i}", slots=gpus_per_node) for i in range(1, nodes + 1)))
    placements: dict[str, str] = {}
    for strategy in ("pack", "spread") if layout.is_pd else ("pack",):
        try:
            placements[strategy] = str(place(layout, grid, strategy))
        except PlacementError as e:
            placements[strategy] = f"does not fit: {e}"
    return {
        "layout": str(layout),
        "slug": layout.slug,
        "gpus": layout.gpus,
        "forms": [format_layout(layout, form) for form in get_args(LayoutForm)],
        "vllm": rules.version,
        "note": rules.note,
        "refused": rules.layout_refusal(layout, _kv_heads(profiles.model(model))) or "",
        "placements": placements,
    }


def _size(profiles: Profiles, cluster: str | None, nodes: int, per_node: int) -> tuple[int, int]:
    if cluster is None:
        return nodes, per_node
    found = profiles.cluster(cluster)
    return len(found.nodes), min(node.gpus for node in found.nodes)


def _kv_heads(model: ModelProfile) -> int:
    return model.kv_heads


def layouts_text(found: dict[str, Any]) -> str:
    lines: list[str] = []
    if "layouts" in found:
        for entry in found["layouts"]:
            lines.append(f"{entry['gpus']:>5} GPUs  {entry['layout']:<28} {entry['slug']}")
        count = len(found["layouts"])
        where = f"{found['nodes']} × {found['gpus_per_node']} GPUs, vLLM {found['vllm']}"
        lines.append(f"{count} layouts on {where}")
        if found["truncated"]:
            lines.append("there are more; narrow them with --gpus, --tp or --kind")
    else:
        lines.append(f"{found['layout']}   {found['gpus']} GPUs, files say {found['slug']}")
        lines.append("also written " + ", ".join(dict.fromkeys(found["forms"])))
        verdict = found["refused"] or "allowed"
        lines.append(f"vLLM {found['vllm']}: {verdict}")
        lines += [f"{strategy:<7} {where}" for strategy, where in found["placements"].items()]
    if found["note"]:
        lines.append(found["note"])
    return "\n".join(lines)
