"""Which ports the processes of runs listen on."""

from __future__ import annotations

from collections.abc import Iterable

from pdconsole.model.plan import RunPlan
from pdconsole.profiles.schema import ClusterProfile, NodeProfile
from pdconsole.serving.port_table import LAST_PORT, PortTable
from pdconsole.serving.ray_ports import possible_on, wanted_on_ray


def possible_ports(cluster: ClusterProfile, node: NodeProfile) -> tuple[tuple[str, int], ...]:
    """(address, port) of all that any run could have listen on this node; never refuses."""
    address, ports = node.dial_address, cluster.ports
    slots = sum(n.gpus for n in cluster.nodes if n.dial_address == address)
    found = [base + i for base in (ports.worker, ports.side_channel) for i in range(slots)]
    if node.name == cluster.driver_node:
        found += [ports.router, ports.router_metrics]
    if cluster.orchestrator == "ray":
        found += possible_on(cluster, node)
    return tuple((address, port) for port in sorted(set(found)) if port <= LAST_PORT)


def wanted_ports(
    runs: Iterable[RunPlan], cluster: ClusterProfile
) -> dict[str, dict[tuple[str, int], str]]:
    """node -> (address, port) -> which process of these runs would listen there.

    Raises ServingError as PortTable does.
    """
    nodes = {node.name: node for node in cluster.nodes}
    wanted: dict[str, dict[tuple[str, int], str]] = {}
    if cluster.orchestrator == "ray":
        for run in runs:
            for name, held in wanted_on_ray(run, cluster).items():
                wanted.setdefault(name, {}).update(held)
        return wanted
    for run in runs:
        table = PortTable(cluster)
        router = nodes[cluster.driver_node]
        for port, name in (
            (cluster.ports.router, "the router"),
            (cluster.ports.router_metrics, "the router's metrics"),
        ):
            wanted.setdefault(router.name, {})[router.dial_address, port] = name
        for a in run.placement.assignments:
            node = nodes[a.slots[0].node]
            on_node = wanted.setdefault(node.name, {})
            if a.role != "collocated":
                first = table.side_channel(a.replica, node, a.tp)
                for port in range(first, first + a.tp):
                    on_node[node.dial_address, port] = f"{a.replica}'s side channel"
            on_node[node.dial_address, table.worker(a.replica, node)] = a.replica
    return wanted
