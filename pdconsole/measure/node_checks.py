"""What a closer look at a node found: models, ports, RDMA devices, its time of day. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pdconsole.measure.verdicts import verdict
from pdconsole.model.events import CheckResult
from pdconsole.profiles.schema import ClusterProfile, ModelProfile
from pdconsole.remote.values import ClockSeen, Inventory, ModelSeen, PortTaken, RdmaDevice

# Fabric -> the kernel drivers of its devices.
_DRIVERS: Mapping[str, tuple[str, ...]] = {
    "efa": ("efa",),
    "infiniband": ("mlx5_core", "mlx4_core"),
}


# --- models


def model_present(inventory: Inventory, model: ModelProfile) -> CheckResult | None:
    """None where nobody looked for this model."""
    seen = inventory.looked.models.get(model.source) if inventory.looked else None
    if seen is None:
        return None
    trouble, advice = _model_trouble(seen, model)
    if not trouble:
        return verdict(inventory.node, "model", "ok", seen.folder)
    if seen.is_path or seen.offline:
        return verdict(inventory.node, "model", "fail", trouble, advice, hard=True)
    return verdict(
        inventory.node,
        "model",
        "unknown",
        trouble,
        "vLLM downloads it at its first start, which may take longer than startup_timeout_s:"
        f" download it on the node before, with `hf download {model.source}`",
    )


def _model_trouble(seen: ModelSeen, model: ModelProfile) -> tuple[str, str]:
    if seen.is_path:
        advice = f"copy the model there, or correct `source` in model {model.name}"
        where = model.source
    else:
        advice = (
            f"download it on the node with `hf download {model.source}`; HF_HUB_OFFLINE keeps vLLM"
            " from doing so"
        )
        where = f"{model.source} in the hub's cache"
    if not seen.found:
        return f"{where} is not there" if seen.is_path else f"no {where}", advice
    if not seen.config_sha256:
        return f"{seen.folder} has no config.json", advice
    if not seen.weights and model.engine_args.get("load-format") != "dummy":
        return f"{seen.folder} has no weights", advice
    return "", ""


def models_alike(
    inventories: Mapping[str, Inventory], groups: Sequence[Sequence[str]], model: ModelProfile
) -> Iterator[CheckResult]:
    """P and D compare the model's name, not what is in it."""
    told: set[str] = set()
    for nodes in groups:
        digests = {
            name: seen.config_sha256
            for name in nodes
            if name in inventories
            and (looked := inventories[name].looked) is not None
            and (seen := looked.models.get(model.source)) is not None
            and seen.config_sha256
        }
        if len(digests) < 2:
            continue
        first, *rest = digests
        for name in rest:
            if name in told:
                continue
            told.add(name)
            same = digests[name] == digests[first]
            yield verdict(
                name,
                "model-equal",
                "ok" if same else "fail",
                f"config.json {'as' if same else 'differs from that'} on {first}",
                f"bring the same model to all nodes: {model.source}",
                hard=True,
            )


# --- ports


def ports_free(
    inventory: Inventory,
    wanted: Mapping[tuple[str, int], str] | None,
    cluster: ClusterProfile,
    session: str,
) -> Iterator[CheckResult]:
    """`wanted`: what would listen where; None: anything might, so that nothing refuses a run."""
    if inventory.looked is None:
        return
    taken = [
        port
        for port in inventory.looked.ports
        if wanted is None or (port.address, port.port) in wanted
    ]
    wrong = [port for port in taken if port.kind in ("foreign-address", "unknown-address")]
    if wrong:
        yield _address(inventory, wrong[0])
        return
    held = [port for port in taken if not (session and port.token.startswith(f"{session}/"))]
    count = len(wanted) if wanted is not None else 0
    yield verdict(
        inventory.node,
        "ports",
        "ok" if not held else ("warn" if wanted is None else "fail"),
        "; ".join(_holder(port, wanted or {}) for port in held[:3])
        or (f"{count} free" if wanted is not None else "all free"),
        f"end it (`pdconsole clean {cluster.name}` ends what is left of ours), or move `ports` in"
        f" cluster {cluster.name}",
        hard=wanted is not None,
    )


def _address(inventory: Inventory, port: PortTaken) -> CheckResult:
    reason = "is not an address of this node"
    if port.kind == "unknown-address":
        reason = f"has no address there: {port.message}"
    return verdict(
        inventory.node,
        "address",
        "fail",
        f"{port.address} {reason}",
        f"write into `address` of node {inventory.node} the one by which the other nodes reach it",
        hard=True,
    )


def _holder(port: PortTaken, wanted: Mapping[tuple[str, int], str]) -> str:
    who = "another user's process"
    if port.token:
        who = f"session {port.token.split('/')[0]} (process {port.pid})"
    elif port.pid:
        who = f"process {port.pid} ({port.name}) of user {port.user}"
    elif port.kind == "refused":
        who = f"nobody, but it cannot be used: {port.message}"
    use = wanted.get((port.address, port.port), "")
    return f"port {port.port}{f' of {use}' if use else ''} is taken by {who}"


# --- time of day


def wall_clock(clock: ClockSeen, cluster: ClusterProfile) -> CheckResult | None:
    if clock.wall_offset_s is None:
        return None
    offset_ms = clock.wall_offset_s * 1e3
    limit_ms = cluster.thresholds.clock_offset_ms
    good = abs(offset_ms) <= limit_ms + clock.bound_s * 1e3
    return verdict(
        clock.node,
        "wall-clock",
        "ok" if good else "warn",
        f"{offset_ms:+.0f} ms from here",
        "times in its logs differ by so much; set it with NTP (chrony, systemd-timesyncd)",
        threshold=f"{limit_ms:g} ms",
    )


# --- RDMA devices


def rdma_devices(inventory: Inventory, cluster: ClusterProfile, *, needed: bool) -> CheckResult:
    """For fabrics efa and infiniband; `needed`: KV is to cross nodes."""
    wanted = _DRIVERS[cluster.fabric]
    found = inventory.looked.devices if inventory.looked else ()
    # A driver that is not told may be the right one.
    devices = [device for device in found if device.driver in ("", *wanted)]
    value, advice, good = _devices_said(devices, found, cluster.fabric)
    return verdict(
        inventory.node,
        cluster.fabric,
        "ok" if good else ("fail" if needed else "warn"),
        value,
        advice,
        hard=needed,
    )


def _devices_said(
    devices: Sequence[RdmaDevice], all_found: Sequence[RdmaDevice], fabric: str
) -> tuple[str, str, bool]:
    kind = "EFA" if fabric == "efa" else "InfiniBand"
    if not devices:
        others = ", ".join(sorted({d.driver for d in all_found}))
        value = f"no {kind} device{f'; there are some of {others}' if others else ''}"
        return value, f"install its driver, or correct `fabric` ({fabric}) of the cluster", False
    locked = [d.name for d in devices if not d.usable]
    if locked:
        value = f"{len(locked)} of {len(devices)} may not be opened, such as {locked[0]}"
        advice = "let this user read and write /dev/infiniband/uverbs*; pass them to a container"
        return value, advice, False
    idle = [d.name for d in devices if d.state not in ("", "ACTIVE")]
    if idle:
        value = f"{len(idle)} of {len(devices)} are not active, such as {idle[0]}"
        return value, "see `ibv_devinfo` and the kernel's log on the node", False
    return f"{len(devices)} devices, active", "", True
