"""Ports handed out to the processes of a run, such that no two ever meet."""

from __future__ import annotations

from pdconsole.profiles.schema import ClusterProfile, NodeProfile
from pdconsole.serving.errors import ServingError

LAST_PORT = 65535


def check_port(
    cluster: ClusterProfile, address: str, port: int, holder: str, field: str, other: str | None
) -> None:
    """`field` of the profile is where the port comes from, `other` who has it already.

    Raises ServingError.
    """
    if other is not None:
        raise ServingError(
            f"Port {port} of {address} is wanted by {other} and by {holder}; move {field} of "
            f"cluster {cluster.name} further from the others"
        )
    if port > LAST_PORT:
        raise ServingError(
            f"There is no port {port} for {holder}; lower {field} of cluster {cluster.name}"
        )


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
            check_port(self._cluster, address, port, holder, f"ports.{kind}", other)
            self._holders[address, port] = holder
        self._next[address, kind] = first + count
        return first
