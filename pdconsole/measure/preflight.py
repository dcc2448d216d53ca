"""Looks at a cluster before anything is started on it. Pure: what the nodes told in, verdicts out.

A hard check that fails refuses the session; the others are shown and recorded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pdconsole.measure.environment_checks import debug_env, environment_checks
from pdconsole.model.events import CheckResult, Verdict
from pdconsole.model.feasible import rules_for
from pdconsole.model.plan import RunPlan
from pdconsole.profiles.schema import ClusterProfile, ModelProfile, NetworkProfile, NodeProfile
from pdconsole.remote.values import ClockSeen, Inventory, NodeGpu

OLDEST_PYTHON = (3, 9)
GIB = 1 << 30
# A GPU without processes keeps some memory for its driver; more than this is somebody's whom the
# node cannot name, such as a container's.
IDLE_MEMORY_MIB = 2048


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
    for node in cluster.nodes:
        if node.name not in slots and node.name != cluster.driver_node:
            continue
        inventory = inventories.get(node.name)
        if inventory is None:
            reason = (unreachable or {}).get(node.name, "it did not answer")
            results.append(_unreachable(node, reason))
            continue
        results.append(_result(node.name, "reachable", "ok", inventory.hostname, hard=True))
        results += _node_checks(
            node,
            inventory,
            cluster,
            (clocks or {}).get(node.name),
            has_replicas=node.name in slots,
            moves_kv=_moves_kv(runs, node.name),
        )
        results += _gpu_checks(node, inventory, slots.get(node.name, ()), session)
    results += _same_engine(inventories, [list(_slots_used([run])) for run in runs], hard=True)
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
                results.append(_unreachable(node, (unreachable or {})[node.name]))
            continue
        results.append(_result(node.name, "reachable", "ok", inventory.hostname, hard=True))
        clock = (clocks or {}).get(node.name)
        results += _node_checks(
            node, inventory, cluster, clock, has_replicas=True, moves_kv=len(cluster.nodes) > 1
        )
        results += _gpu_checks(node, inventory, range(node.gpus), session)
    results += _same_engine(inventories, [[node.name for node in cluster.nodes]], hard=False)
    results.append(debug_env((), cluster))
    return results


def _slots_used(runs: Sequence[RunPlan]) -> dict[str, tuple[int, ...]]:
    used: dict[str, set[int]] = {}
    for run in runs:
        for assignment in run.placement.assignments:
            for slot in assignment.slots:
                used.setdefault(slot.node, set()).add(slot.index)
    return {node: tuple(sorted(indices)) for node, indices in used.items()}


def _result(
    node: str, check: str, verdict: Verdict, value: str, advice: str = "", **rest: Any
) -> CheckResult:
    return CheckResult(
        node=node,
        check=check,
        verdict=verdict,
        value=value,
        advice="" if verdict == "ok" else advice,
        **rest,
    )


def _unreachable(node: NodeProfile, reason: str) -> CheckResult:
    return _result(
        node.name,
        "reachable",
        "fail",
        reason,
        f"try `ssh {node.ssh_host}` by hand, then look at the cluster's profile",
        hard=True,
    )


def _node_checks(
    node: NodeProfile,
    inventory: Inventory,
    cluster: ClusterProfile,
    clock: ClockSeen | None,
    *,
    has_replicas: bool,
    moves_kv: bool,
) -> Iterator[CheckResult]:
    if clock is not None:
        yield _clock(clock, cluster)
    yield _python(inventory)
    yield _disk(inventory, cluster)
    if has_replicas:
        yield _engine(inventory, cluster)
    if node.name == cluster.driver_node:
        yield _router(inventory, cluster)
    if cluster.fabric in ("efa", "infiniband") and moves_kv:
        yield _memlock(inventory, cluster)


def _moves_kv(runs: Sequence[RunPlan], node: str) -> bool:
    return any(
        run.placement.layout.is_pd and slot.node == node
        for run in runs
        for assignment in run.placement.assignments
        for slot in assignment.slots
    )


def _clock(clock: ClockSeen, cluster: ClusterProfile) -> CheckResult:
    limit_ms = cluster.thresholds.clock_offset_ms
    bound_ms = clock.bound_s * 1e3
    return _result(
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
    return _result(
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
    return _result(
        inventory.node,
        "disk",
        "ok" if free >= least else "fail",
        f"{free:.1f} GiB free in {inventory.work_dir or cluster.work_dir}",
        "free some space there, or set work_dir to another disk",
        threshold=f">= {least:g} GiB",
        hard=True,
    )


def _engine(inventory: Inventory, cluster: ClusterProfile) -> CheckResult:
    found = inventory.versions.get("vllm", "")
    asked = cluster.engine.version
    version = found if asked == "auto" else asked
    command = " ".join(cluster.engine.vllm)
    if not found:
        # The node may have it where only the profile knows, so a stated version is believed.
        refuse = asked == "auto" and not cluster.simulated
        return _result(
            inventory.node,
            "vllm",
            "fail" if refuse else "warn",
            f"`{command}` did not tell its version",
            "install vLLM there, or give the command's full path in engine.vllm and its version in"
            " engine.version",
            hard=refuse,
        )
    if asked != "auto" and found.split("+")[0] != asked.split("+")[0]:
        return _result(
            inventory.node,
            "vllm",
            "warn",
            f"{found}, but the profile says {asked}",
            "set engine.version to auto, or install what it says",
        )
    note = rules_for(version).note
    return _result(
        inventory.node, "vllm", "warn" if note else "ok", version, note, threshold=">= 0.11.0"
    )


def _router(inventory: Inventory, cluster: ClusterProfile) -> CheckResult:
    version = inventory.versions.get("vllm-router", "")
    command = " ".join(cluster.engine.router)
    return _result(
        inventory.node,
        "router",
        "ok" if version else "fail",
        version or f"`{command}` did not tell its version",
        "install it there (`pip install vllm-router`), or give its full path in engine.router",
        hard=True,
    )


def _memlock(inventory: Inventory, cluster: ClusterProfile) -> CheckResult:
    unlimited = inventory.memlock < 0
    return _result(
        inventory.node,
        "memlock",
        "ok" if unlimited else "warn",
        "unlimited" if unlimited else f"{inventory.memlock / GIB:.2f} GiB",
        f"{cluster.fabric} registers the whole KV cache: set `* - memlock unlimited` in"
        " /etc/security/limits.conf and log in again",
        threshold="unlimited",
    )


def _gpu_checks(
    node: NodeProfile, inventory: Inventory, slots: Sequence[int], session: str
) -> Iterator[CheckResult]:
    if node.kind == "cpu" or not slots:
        return
    yield _gpu_count(node, inventory)
    held = [text for slot in slots if (text := _slot_holder(node, inventory, slot, session))]
    where = ", ".join(map(str, slots))
    yield _result(
        node.name,
        "gpus-free",
        "fail" if held else "ok",
        "; ".join(held) if held else f"GPU {where}",
        "wait for it, end it (`pdconsole clean` ends what is left of ours), or place the runs on"
        " other GPUs",
        hard=True,
    )


def _gpu_count(node: NodeProfile, inventory: Inventory) -> CheckResult:
    expected = 1 if node.kind == "gpu-share" else node.gpus
    count = len(inventory.gpus)
    other = sorted({g.name for g in inventory.gpus if node.gpu_model not in g.name})
    value = f"{count} x {inventory.gpus[0].name}" if count else "no GPU"
    if inventory.gpu_trouble:
        value = f"nvidia-smi fails: {inventory.gpu_trouble}"
    if count < expected:
        return _result(
            node.name,
            "gpu-count",
            "fail",
            value,
            f"the profile says {node.gpus}: correct `gpus` of node {node.name}, or see why"
            " nvidia-smi does not list them",
            threshold=f"{expected} x {node.gpu_model}",
            hard=True,
        )
    return _result(
        node.name,
        "gpu-count",
        "warn" if other or count > expected else "ok",
        f"{count} x {' and '.join(other)}" if other else value,
        f"the profile says {node.gpus} x {node.gpu_model}; results will name that",
        threshold=f"{expected} x {node.gpu_model}",
    )


def _slot_holder(node: NodeProfile, inventory: Inventory, slot: int, session: str) -> str:
    """Who is in the way on a slot; empty if nobody."""
    for lock in inventory.locks:
        if lock.slot == slot and not lock.ours and lock.session != session:
            return f"GPU {slot} is locked by session {lock.session or '?'} of {lock.user or '?'}"
    index = 0 if node.kind == "gpu-share" else slot
    gpu = next((g for g in inventory.gpus if g.index == index), None)
    return "" if gpu is None else _gpu_holder(gpu, session, shared=node.kind == "gpu-share")


def _gpu_holder(gpu: NodeGpu, session: str, *, shared: bool) -> str:
    others = [p for p in gpu.processes if not p.token.startswith(f"{session}/")]
    if others and not shared:
        first = others[0]
        whose = (
            f"session {first.token.split('/')[0]}" if first.token else f"user {first.user or '?'}"
        )
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        name = f" ({first.name})" if first.name else ""
        return f"GPU {gpu.index} is used by process {first.pid}{name} of {whose}{more}"
    if not gpu.processes and not shared and gpu.memory_used_mib > IDLE_MEMORY_MIB:
        return f"GPU {gpu.index} has {gpu.memory_used_mib} MiB in use by a process not seen here"
    return ""


def _same_engine(
    inventories: Mapping[str, Inventory], groups: Iterable[Sequence[str]], *, hard: bool
) -> Iterator[CheckResult]:
    """Replicas of one run need one version: the two sides compare it in their handshake.

    `groups` are the nodes that work together; a node is told about once.
    """
    told: set[tuple[str, str]] = set()
    for nodes in groups:
        versions = {
            node: inventories[node].versions.get("vllm", "")
            for node in nodes
            if node in inventories
        }
        known = {node: version.split("+")[0] for node, version in versions.items() if version}
        if len(known) < 2:
            continue
        first, *rest = known
        for node in rest:
            if (first, node) in told:
                continue
            told.add((first, node))
            same = known[node] == known[first]
            yield _result(
                node,
                "vllm-equal",
                "ok" if same else ("fail" if hard else "warn"),
                versions[node] if same else f"{versions[node]}, and {versions[first]} on {first}",
                "install one version on all nodes, or place each run on one node",
                hard=hard,
            )
