"""Whether a node has the GPUs that its profile says, and who is on them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pdconsole.measure.verdicts import verdict
from pdconsole.model.events import CheckResult
from pdconsole.profiles.schema import NodeProfile
from pdconsole.remote.values import Inventory, NodeGpu

# A GPU without processes keeps some memory for its driver; more than this is somebody's whom the
# node cannot name, such as a container's.
IDLE_MEMORY_MIB = 2048


def gpu_checks(
    node: NodeProfile, inventory: Inventory, slots: Sequence[int], session: str
) -> Iterator[CheckResult]:
    if node.kind == "cpu" or not slots:
        return
    yield _gpu_count(node, inventory)
    held = [text for slot in slots if (text := _slot_holder(node, inventory, slot, session))]
    where = ", ".join(map(str, slots))
    yield verdict(
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
        return verdict(
            node.name,
            "gpu-count",
            "fail",
            value,
            f"the profile says {node.gpus}: correct `gpus` of node {node.name}, or see why"
            " nvidia-smi does not list them",
            threshold=f"{expected} x {node.gpu_model}",
            hard=True,
        )
    return verdict(
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
