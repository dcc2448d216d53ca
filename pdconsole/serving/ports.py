"""Which ports the processes of a run listen on, such that no two ever meet."""

from __future__ import annotations

from collections.abc import Iterable

from pdconsole.model.plan import RunPlan
from pdconsole.profiles.schema import ClusterProfile, NodeProfile
from pdconsole.serving.errors import ServingError

LAST_PORT = 65535


class PortTable:
    """Hands out ports, counting up from the cluster profile's bases on each address.

    Raises ServingError where a port is already somebody else's.
    """

    def __init__(self, cluster: ClusterProfile) -> None:
        self._cluster = cluster
        self._next: dict[tuple[str, str], int] = {}  # (address, kind) -> port
        self._holders: dict[tuple[str, int], str] = {}
        router_node = next(n for n in cluster.nodes if n.name == cluster.driver_node)
        self._take(router_node, "router", "router", cluster.ports.router, 1)
        self._take(
            router_node, "router's metrics", "router_metrics", cluster.ports.router_metrics, 1
        )

    def worker(self, replica: str, node: NodeProfile) -> int:
        return self._take(node, replica, "worker", self._cluster.ports.worker, 1)

    def side_channel(self, replica: str, node: NodeProfile, tp: int) -> int:
        """The first of `tp` ports: vLLM 0.11.0 listens on one for each rank, later ones on one."""
        holder = f"{replica}'s side channel"
        return self._take(node, holder, "side_channel", self._cluster.ports.side_channel, tp)

    def _take(self, node: NodeProfile, holder: str, kind: str, base: int, count: int) -> int:
        address = node.dial_address
        first = self._next.get((address, kind), base)
        for port in range(first, first + count):
            other = self._holders.get((address, port))
            if other is not None:
                raise ServingError(
                    f"Port {port} of {address} is wanted by {other} and by {holder}; move "
                    f"ports.{kind} of cluster {self._cluster.name} further from the others"
                )
            if port > LAST_PORT:
                raise ServingError(
                    f"There is no port {port} for {holder}; lower ports.{kind} of cluster "
                    f"{self._cluster.name}"
                )
            self._holders[address, port] = holder
        self._next[address, kind] = first + count
        return first


def possible_ports(cluster: ClusterProfile, node: NodeProfile) -> tuple[tuple[str, int], ...]:
    """(address, port) of all that any run could have listen on this node; never refuses."""
    address, ports = node.dial_address, cluster.ports
    slots = sum(n.gpus for n in cluster.nodes if n.dial_address == address)
    found = [base + i for base in (ports.worker, ports.side_channel) for i in range(slots)]
    if node.name == cluster.driver_node:
        found += [ports.router, ports.router_metrics]
    return tuple((address, port) for port in sorted(set(found)) if port <= LAST_PORT)


def wanted_ports(
    runs: Iterable[RunPlan], cluster: ClusterProfile
) -> dict[str, dict[tuple[str, int], str]]:
    """node -> (address, port) -> which process of these runs would listen there.

    Raises ServingError as PortTable does.
    """
    nodes = {node.name: node for node in cluster.nodes}
    wanted: dict[str, dict[tuple[str, int], str]] = {}
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
