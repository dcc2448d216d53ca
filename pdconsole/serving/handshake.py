"""What would make D refuse P's KV, or not find it, as far as profiles show."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from pdconsole.model.placement import Assignment
from pdconsole.model.plan import RunPlan
from pdconsole.profiles.schema import ClusterProfile, ModelProfile, NodeProfile


def pairs(run: RunPlan) -> Iterator[tuple[Assignment, Assignment]]:
    """Every P with every D."""
    by_role = {
        role: [a for a in run.placement.assignments if a.role == role]
        for role in ("prefill", "decode")
    }
    for p in by_role["prefill"]:
        for d in by_role["decode"]:
            yield p, d


def side_channel_refusal(run: RunPlan, cluster: ClusterProfile) -> str:
    """Empty if D, which dials P's side channel at the address of P's node, can reach it."""
    if cluster.fabric == "loopback" or cluster.simulated:
        return ""
    for p, d, p_node, d_node in _across_nodes(run, cluster):
        if is_loopback(p_node.dial_address):
            return (
                f"{d.replica} on {d_node.name} would look for {p.replica}'s KV at "
                f"{p_node.dial_address}, which is its own node: set `address` of node "
                f"{p_node.name} in cluster {cluster.name} to what the other nodes reach it at"
            )
    return ""


def model_path_refusal(run: RunPlan, cluster: ClusterProfile, model: ModelProfile) -> str:
    """Empty if P and D are given one path, which they compare; ~ is one for each user."""
    if not model.source.startswith("~") or cluster.simulated:
        return ""
    for p, d, p_node, d_node in _across_nodes(run, cluster):
        if p_node.user and d_node.user and p_node.user != d_node.user:
            return (
                f"Source {model.source} of model {model.name} is another path for "
                f"{p_node.user} on {p_node.name} ({p.replica}) than for {d_node.user} on "
                f"{d_node.name} ({d.replica}), and P and D compare the path; put the model at one "
                "path on both and write it without ~"
            )
    return ""


def _across_nodes(
    run: RunPlan, cluster: ClusterProfile
) -> Iterator[tuple[Assignment, Assignment, NodeProfile, NodeProfile]]:
    nodes = {node.name: node for node in cluster.nodes}
    for p, d in pairs(run):
        p_node, d_node = nodes.get(p.slots[0].node), nodes.get(d.slots[0].node)
        if p_node is not None and d_node is not None and p_node is not d_node:
            yield p, d, p_node, d_node


def is_loopback(address: str) -> bool:
    if address == "localhost" or address.startswith("localhost."):
        return True
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False
