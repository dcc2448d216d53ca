"""Whether P and D of the runs will take each other's KV. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pdconsole.measure.verdicts import verdict
from pdconsole.model.events import CheckResult
from pdconsole.model.plan import RunPlan
from pdconsole.profiles.schema import ClusterProfile, ModelProfile
from pdconsole.remote.values import Inventory
from pdconsole.serving.handshake import pairs, side_channel_refusal


def handshake_checks(
    inventories: Mapping[str, Inventory],
    runs: Sequence[RunPlan],
    cluster: ClusterProfile,
    model: ModelProfile,
) -> Iterator[CheckResult]:
    refusals = dict.fromkeys(side_channel_refusal(run, cluster) for run in runs)
    for refusal in refusals:
        if refusal:
            yield verdict(
                cluster.name,
                "side-channel",
                "fail",
                refusal,
                "correct the cluster profile, or place P and D on one node",
                hard=True,
            )
    yield from _model_paths(inventories, runs, model)


def _model_paths(
    inventories: Mapping[str, Inventory], runs: Sequence[RunPlan], model: ModelProfile
) -> Iterator[CheckResult]:
    """D answers every request with an error if its model's path is not spelt as P's is."""
    told: set[tuple[str, str]] = set()
    for p, d in (pair for run in runs for pair in pairs(run)):
        p_node, d_node = p.slots[0].node, d.slots[0].node
        if p_node == d_node or (p_node, d_node) in told:
            continue
        told.add((p_node, d_node))
        there, here = (_path(inventories.get(node), model.source) for node in (p_node, d_node))
        if not there or not here:
            continue
        same = there == here
        yield verdict(
            d_node,
            "model-path",
            "ok" if same else "fail",
            here if same else f"{here}, and {there} on {p_node}: P and D compare the path",
            "put the model at one path on all nodes and write that path, without ~, as the source "
            f"of model {model.name}",
            hard=True,
        )


def _path(inventory: Inventory | None, source: str) -> str:
    """What vLLM there takes the model's name for; empty if not known. Offline it puts the path in
    the hub's cache in place of a hub's name."""
    if inventory is None or inventory.looked is None:
        return ""
    seen = inventory.looked.models.get(source)
    if seen is None or not (seen.is_path or seen.offline):
        return ""
    return seen.folder
