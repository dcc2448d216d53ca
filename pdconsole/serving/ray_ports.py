"""Where Ray's own services listen, and the replicas' side channels that Ray Serve numbers."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from pdconsole.model.placement import Assignment
from pdconsole.model.plan import RunPlan
from pdconsole.profiles.schema import ClusterProfile, NodeProfile
from pdconsole.serving.errors import ServingError
from pdconsole.serving.port_table import LAST_PORT, PortTable, check_port

HEAD_ONLY = ("gcs", "dashboard", "client_server", "autoscaler_metrics", "dashboard_metrics")
EVERY_NODE = (
    *("node_manager", "object_manager", "dashboard_agent_listen", "dashboard_agent_grpc"),
    *("runtime_env_agent", "metrics_export"),
)
WORKERS = ("min_worker", "max_worker")


class NodeRayPorts(msgspec.Struct, frozen=True, kw_only=True):
    """Of one node; fields as in RayPorts."""

    gcs: int
    dashboard: int
    client_server: int
    autoscaler_metrics: int
    dashboard_metrics: int
    node_manager: int
    object_manager: int
    dashboard_agent_listen: int
    dashboard_agent_grpc: int
    runtime_env_agent: int
    metrics_export: int
    min_worker: int
    max_worker: int


def ray_ports(cluster: ClusterProfile, node: NodeProfile) -> NodeRayPorts:
    """Those of the profile; counted up where all nodes are one machine."""
    ports = cluster.ray.ports
    index = 0
    if cluster.fabric == "loopback" and cluster.ray.start:
        index = [other.name for other in cluster.nodes].index(node.name)
    workers = index * (ports.max_worker - ports.min_worker + 1)
    # The head's own are one for the whole cluster.
    head = {name: getattr(ports, name) for name in HEAD_ONLY}
    single = {name: getattr(ports, name) + index for name in EVERY_NODE}
    span = {name: getattr(ports, name) + workers for name in WORKERS}
    return NodeRayPorts(**head, **single, **span)


def side_channels(run: RunPlan, cluster: ClusterProfile) -> dict[str, int]:
    """role -> the first of its ports: Serve counts up by a replica's rank times its TP."""
    prefill = sum(a.tp for a in run.placement.of("prefill"))
    first = cluster.ports.side_channel
    return {"prefill": first, "decode": first + prefill}


def possible_on(cluster: ClusterProfile, node: NodeProfile) -> Iterator[int]:
    """Ports of a node beside its replicas' doors, whatever the run."""
    if not cluster.ray.start:
        return
    for _, port in _services(cluster, node):
        yield port


def _services(cluster: ClusterProfile, node: NodeProfile) -> Iterator[tuple[str, int]]:
    """Ray's own of a node: their names in RayPorts, and where they listen."""
    ports = ray_ports(cluster, node)
    for name in (*EVERY_NODE, *(HEAD_ONLY if node.name == cluster.driver_node else ())):
        yield name, getattr(ports, name)


def wanted_on_ray(run: RunPlan, cluster: ClusterProfile) -> dict[str, dict[tuple[str, int], str]]:
    """node -> (address, port) -> which part of this run would listen there.

    Ray's workers choose free ports within their range, so these are not told. Raises ServingError
    where two of ours would meet.
    """
    nodes = {node.name: node for node in cluster.nodes}
    driver = nodes[cluster.driver_node]
    table = PortTable(cluster)
    wanted = _Wanted(cluster)
    if cluster.ray.start:
        # Serve's proxy of a cluster that runs already may listen, and is then taken as it is.
        wanted.add(driver, cluster.ports.router, "Serve's proxy", "ports.router")
    wanted.add(
        driver, cluster.ports.router_metrics, "the application's door", "ports.router_metrics"
    )
    for assignment in run.placement.assignments:
        node = nodes[assignment.node]
        port = table.worker(assignment.replica, node)
        wanted.add(node, port, f"{assignment.replica}'s door", "ports.worker")
    for port, role, node in _side_channel_ports(run, cluster, nodes):
        wanted.add(node, port, f"a {role} replica's side channel", "ports.side_channel")
    if cluster.ray.start:
        used = dict.fromkeys((cluster.driver_node, *run.placement.nodes))
        for node in (nodes[name] for name in used):
            wanted.add_ray(node)
        wanted.check_workers([nodes[name] for name in used])
    return wanted.found


def _side_channel_ports(
    run: RunPlan, cluster: ClusterProfile, nodes: dict[str, NodeProfile]
) -> Iterator[tuple[int, str, NodeProfile]]:
    """Which of a role's replicas gets which rank is not known, so all of a role on each node."""
    for role, first in side_channels(run, cluster).items():
        of_role: tuple[Assignment, ...] = run.placement.of(role)  # type: ignore[arg-type]
        count = sum(a.tp for a in of_role)
        for name in dict.fromkeys(node for a in of_role for node in a.nodes):
            for port in range(first, first + count):
                yield port, role, nodes[name]


class _Wanted:
    """Holders of ports. Ray binds every interface, so addresses of one machine share its ports."""

    def __init__(self, cluster: ClusterProfile) -> None:
        self._cluster = cluster
        self._one_machine = cluster.fabric == "loopback"
        self._wide: dict[tuple[str, int], str] = {}  # (machine, port) -> holder
        self.found: dict[str, dict[tuple[str, int], str]] = {}

    def add(self, node: NodeProfile, port: int, holder: str, field: str) -> None:
        """A port at the node's own address."""
        other = self._at(node, port) or self._wide.get((self._machine(node), port))
        self._put(node, port, holder, field, other)

    def add_ray(self, node: NodeProfile) -> None:
        machine = self._machine(node)
        for name, port in _services(self._cluster, node):
            others = (
                held.get((other.dial_address, port))
                for other in self._cluster.nodes
                if self._machine(other) == machine
                for held in (self.found.get(other.name, {}),)
            )
            other = self._wide.get((machine, port)) or next(filter(None, others), None)
            holder = f"Ray's {name} on {node.name}"
            self._put(node, port, holder, f"ray.ports.{name}", other)
            self._wide[machine, port] = holder

    def check_workers(self, nodes: list[NodeProfile]) -> None:
        """No port of ours may lie in a range from which Ray's workers choose."""
        for node in nodes:
            ports = ray_ports(self._cluster, node)
            if ports.max_worker > LAST_PORT:
                raise ServingError(
                    f"There is no port {ports.max_worker} for Ray's workers on {node.name}; lower "
                    f"ray.ports.min_worker and max_worker of cluster {self._cluster.name}"
                )
            for other in self._cluster.nodes:
                if self._machine(other) != self._machine(node):
                    continue
                for (_, port), holder in self.found.get(other.name, {}).items():
                    if ports.min_worker <= port <= ports.max_worker:
                        raise ServingError(
                            f"Port {port} of {holder} lies among those of Ray's workers on "
                            f"{node.name}, {ports.min_worker} to {ports.max_worker}; move "
                            f"ray.ports.min_worker and max_worker of cluster {self._cluster.name}"
                        )

    def _machine(self, node: NodeProfile) -> str:
        return "" if self._one_machine else node.dial_address

    def _at(self, node: NodeProfile, port: int) -> str | None:
        return self.found.get(node.name, {}).get((node.dial_address, port))

    def _put(
        self, node: NodeProfile, port: int, holder: str, field: str, other: str | None
    ) -> None:
        check_port(self._cluster, node.dial_address, port, holder, field, other)
        self.found.setdefault(node.name, {})[node.dial_address, port] = holder
