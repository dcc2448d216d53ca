"""Looks at a cluster before anything is started on it. Pure: what the nodes told in, verdicts out.

A hard check that fails refuses the session; the others are shown and recorded.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence

from pdconsole.measure import engine_checks, node_checks, ray_checks
from pdconsole.measure.environment_checks import debug_env, environment_checks
from pdconsole.measure.gpu_checks import gpu_checks
from pdconsole.measure.handshake_checks import handshake_checks
from pdconsole.measure.login_environment import login_environment
from pdconsole.measure.verdicts import verdict
from pdconsole.model.events import CheckResult
from pdconsole.model.plan import RunPlan
from pdconsole.profiles.schema import ClusterProfile, ModelProfile, NetworkProfile, NodeProfile
from pdconsole.remote.values import ClockSeen, Inventory
from pdconsole.serving.errors import ServingError
from pdconsole.serving.ports import wanted_ports

OLDEST_PYTHON = (3, 9)
GIB = 1 << 30


@dataclasses.dataclass(frozen=True)
class _Use:
    """What is to happen on a node."""

    slots: Sequence[int]
    moves_kv: bool
    crosses_nodes: bool  # KV does
    networks: Sequence[NetworkProfile] = ()
    model: ModelProfile | None = None
    # None: not known, so that nothing refuses a run
    ports: Mapping[tuple[str, int], str] | None = None


def preflight(
    inventories: Mapping[str, Inventory],
    runs: Sequence[RunPlan],
    *,
    cluster: ClusterProfile,
    model: ModelProfile,
    networks: Mapping[str, NetworkProfile],
    session: str,
    clocks: Mapping[str, ClockSeen] | None = None,
    unreachable: Mapping[str, str] | None = None,
) -> list[CheckResult]:
    """Every check of every node that the runs use, in the order of the cluster's profile.

    `unreachable` says why a node has no inventory; `session` is ours, whose own processes and
    locks are not in the way.
    """
    slots = _slots_used(runs)
    results: list[CheckResult] = []
    try:
        ports = wanted_ports(runs, cluster)
    except ServingError as error:  # two of our own processes would listen on one
        ports = {}
        results.append(verdict(cluster.name, "ports", "fail", str(error), hard=True))
    for node in cluster.nodes:
        if node.name not in slots and node.name != cluster.driver_node:
            continue
        inventory = inventories.get(node.name)
        if inventory is None:
            reason = (unreachable or {}).get(node.name, "it did not answer")
            results.append(_unreachable(node, reason, cluster))
            continue
        moving = [run for run in runs if run.placement.layout.is_pd and _is_on(run, node.name)]
        use = _Use(
            slots=slots.get(node.name, ()),
            moves_kv=bool(moving),
            crosses_nodes=any(_crosses_nodes(run) for run in moving),
            networks=_networks(moving, networks),
            model=model,
            ports=ports.get(node.name, {}),
        )
        clock = (clocks or {}).get(node.name)
        results += _node_checks(node, inventory, clock, use, cluster, session)
    together = [list(_slots_used([run])) for run in runs]
    results += engine_checks.alike(inventories, together, cluster, hard=True)
    results += node_checks.models_alike(inventories, together, model)
    results += handshake_checks(inventories, runs, cluster, model)
    results += _ray_cluster(inventories, slots, together, cluster)
    results += environment_checks(runs, cluster=cluster, model=model, networks=networks)
    return results


def preflight_cluster(
    inventories: Mapping[str, Inventory],
    *,
    cluster: ClusterProfile,
    session: str,
    clocks: Mapping[str, ClockSeen] | None = None,
    unreachable: Mapping[str, str] | None = None,
) -> list[CheckResult]:
    """What can be said of a whole cluster before anybody knows what will run where.

    As `preflight` for runs on every GPU of it; a node without an inventory that is not in
    `unreachable` is left out.
    """
    results: list[CheckResult] = []
    for node in cluster.nodes:
        inventory = inventories.get(node.name)
        if inventory is None:
            if node.name in (unreachable or {}):
                results.append(_unreachable(node, (unreachable or {})[node.name], cluster))
            continue
        several = len(cluster.nodes) > 1
        use = _Use(slots=range(node.gpus), moves_kv=True, crosses_nodes=several)
        clock = (clocks or {}).get(node.name)
        results += _node_checks(node, inventory, clock, use, cluster, session)
    everywhere = [node.name for node in cluster.nodes]
    results += engine_checks.alike(inventories, [everywhere], cluster, hard=False)
    all_slots = {node.name: range(node.gpus) for node in cluster.nodes}
    results += _ray_cluster(inventories, all_slots, [everywhere], cluster)
    results.append(debug_env((), cluster))
    return results


def _ray_cluster(
    inventories: Mapping[str, Inventory],
    slots: Mapping[str, Sequence[int]],
    together: Sequence[Sequence[str]],
    cluster: ClusterProfile,
) -> Iterator[CheckResult]:
    if cluster.orchestrator != "ray":
        return
    # Whichever of them answers first, the head is on the driver node and belongs to each run.
    groups = [list(dict.fromkeys([cluster.driver_node, *nodes])) for nodes in together]
    yield from ray_checks.python_alike(inventories, groups)
    if cluster.ray.start:
        yield ray_checks.listens(cluster)
        return
    driver = inventories.get(cluster.driver_node)
    seen = driver.looked.ray if driver is not None and driver.looked is not None else None
    yield from ray_checks.joined(seen, slots, inventories, cluster)


def _slots_used(runs: Sequence[RunPlan]) -> dict[str, tuple[int, ...]]:
    used: dict[str, set[int]] = {}
    for run in runs:
        for assignment in run.placement.assignments:
            for slot in assignment.slots:
                used.setdefault(slot.node, set()).add(slot.index)
    return {node: tuple(sorted(indices)) for node, indices in used.items()}


def _is_on(run: RunPlan, node: str) -> bool:
    return any(slot.node == node for a in run.placement.assignments for slot in a.slots)


def _crosses_nodes(run: RunPlan) -> bool:
    return len(_slots_used([run])) > 1


def _networks(
    runs: Sequence[RunPlan], networks: Mapping[str, NetworkProfile]
) -> list[NetworkProfile]:
    """The networks that KV of these runs crosses, each once."""
    names = dict.fromkeys(run.network for run in runs)
    return [networks[name] for name in names if name in networks]


def _unreachable(node: NodeProfile, reason: str, cluster: ClusterProfile) -> CheckResult:
    by_hand = f"try `ssh {node.ssh_host}` by hand, then look at the cluster's profile"
    here = (
        "simulated nodes are processes of this machine: mend here what is named, and ask again;"
        " they are started anew"
    )
    return verdict(
        node.name,
        "reachable",
        "fail",
        reason,
        here if cluster.simulated else by_hand,
        hard=True,
    )


def _node_checks(
    node: NodeProfile,
    inventory: Inventory,
    clock: ClockSeen | None,
    use: _Use,
    cluster: ClusterProfile,
    session: str,
) -> Iterator[CheckResult]:
    yield verdict(node.name, "reachable", "ok", inventory.hostname, hard=True)
    if clock is not None:
        yield _clock(clock, cluster)
        yield from _said(node_checks.wall_clock(clock, cluster))
    yield _python(inventory)
    yield _disk(inventory, cluster)
    by_ray = cluster.orchestrator == "ray"
    is_driver = node.name == cluster.driver_node
    if use.slots:
        yield engine_checks.engine(inventory, cluster)
    if by_ray and (use.slots or is_driver):
        yield from ray_checks.versions(inventory, cluster)
    if is_driver and not by_ray:
        yield engine_checks.router(inventory, cluster)
    if use.moves_kv:
        yield from engine_checks.kv_transfer(
            inventory, cluster, crosses_nodes=use.crosses_nodes, networks=use.networks
        )
        yield from _fabric(inventory, cluster, use)
    if use.slots and use.model is not None:
        yield from _said(node_checks.model_present(inventory, use.model))
    yield from _said(login_environment(inventory, cluster, use.networks))
    yield from node_checks.ports_free(inventory, use.ports, cluster, session)
    yield from gpu_checks(node, inventory, use.slots, session)


def _said(result: CheckResult | None) -> tuple[CheckResult, ...]:
    return () if result is None else (result,)


def _fabric(inventory: Inventory, cluster: ClusterProfile, use: _Use) -> Iterator[CheckResult]:
    if cluster.fabric not in ("efa", "infiniband"):
        return
    yield _memlock(inventory, cluster)
    if inventory.looked is not None and not cluster.simulated:
        # Of a whole cluster nobody knows yet whether KV is to cross its nodes.
        needed = use.crosses_nodes and bool(use.networks)
        yield node_checks.rdma_devices(inventory, cluster, needed=needed)


def _clock(clock: ClockSeen, cluster: ClusterProfile) -> CheckResult:
    limit_ms = cluster.thresholds.clock_offset_ms
    bound_ms = clock.bound_s * 1e3
    return verdict(
        clock.node,
        "clock",
        "ok" if bound_ms <= limit_ms else "warn",
        f"known to within {bound_ms:.1f} ms",
        "events of this node cannot be placed in time more exactly; look for a slow or busy link",
        threshold=f"{limit_ms:g} ms",
    )


def _python(inventory: Inventory) -> CheckResult:
    oldest = ".".join(map(str, OLDEST_PYTHON))
    found = re.match(r"(\d+)\.(\d+)", inventory.python)
    good = found is not None and (int(found[1]), int(found[2])) >= OLDEST_PYTHON
    return verdict(
        inventory.node,
        "python",
        "ok" if good else "fail",
        inventory.python or "unknown",
        f"name a python of {oldest} or newer in engine.python of the cluster's profile",
        threshold=f">= {oldest}",
        hard=True,
    )


def _disk(inventory: Inventory, cluster: ClusterProfile) -> CheckResult:
    least = cluster.thresholds.disk_free_gib
    free = inventory.disk_free_bytes / GIB
    return verdict(
        inventory.node,
        "disk",
        "ok" if free >= least else "fail",
        f"{free:.1f} GiB free in {inventory.work_dir or cluster.work_dir}",
        "free some space there, or set work_dir to another disk",
        threshold=f">= {least:g} GiB",
        hard=True,
    )


def _memlock(inventory: Inventory, cluster: ClusterProfile) -> CheckResult:
    unlimited = inventory.memlock < 0
    return verdict(
        inventory.node,
        "memlock",
        "ok" if unlimited else "warn",
        "unlimited" if unlimited else f"{inventory.memlock / GIB:.2f} GiB",
        f"{cluster.fabric} registers the whole KV cache: set `* - memlock unlimited` in"
        " /etc/security/limits.conf and log in again",
        threshold="unlimited",
    )
