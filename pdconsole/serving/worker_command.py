"""The command line and the environment of one vLLM replica."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from pdconsole.model.layout import Role
from pdconsole.model.placement import Assignment
from pdconsole.model.workload import Workload
from pdconsole.profiles.schema import ClusterProfile, ModelProfile, NetworkProfile, NodeProfile
from pdconsole.serving.errors import ServingError
from pdconsole.serving.vllm_versions import ABORT_TIMEOUT_S, KV_LEASE_S, EngineRules

HYBRID_MANAGER = "disable-hybrid-kv-cache-manager"
NO_STATS = "disable-log-stats"

# Filling the cache once, at start, keeps it out of what is measured; versions that do not know the
# setting fill the blocks of each request as it is scheduled.
DECODE_BENCH: dict[str, Any] = {
    "kv_connector": "DecodeBenchConnector",
    "kv_role": "kv_both",
    "kv_connector_extra_config": {"startup_fill": True},
}


class KvPeer(msgspec.Struct, frozen=True, kw_only=True):
    """How a prefill or decode replica passes KV on."""

    network: NetworkProfile
    side_channel_port: int
    tp_differs: bool  # some P and some D of the run differ in TP


class WorkerSite(msgspec.Struct, frozen=True, kw_only=True):
    """Where one replica stands."""

    assignment: Assignment
    node: NodeProfile
    port: int
    kv: KvPeer | None = None  # None: it hands nothing over
    makes_up_kv: bool = False  # decodes from KV of its own making

    @property
    def slots(self) -> tuple[int, ...]:
        return tuple(slot.index for slot in self.assignment.slots)


def worker_argv(
    site: WorkerSite,
    *,
    cluster: ClusterProfile,
    model: ModelProfile,
    workload: Workload,
    rules: EngineRules,
) -> tuple[str, ...]:
    caches = workload.prefix_caching and not site.makes_up_kv
    argv = [
        *cluster.engine.vllm,
        model.source,
        *("--host", site.node.dial_address),
        *("--port", str(site.port)),
        *("--served-model-name", model.served_name),
        *("--tensor-parallel-size", str(site.assignment.tp)),
        *("--max-model-len", str(model.max_model_len)),
        # Explicit either way: the default differs between versions, and results must say which.
        "--enable-prefix-caching" if caches else "--no-enable-prefix-caching",
        # A line for every scrape and every request would bury the lines that matter.
        "--disable-uvicorn-access-log",
    ]
    if rules.per_request_metrics and not model.engine_args.get(NO_STATS):
        argv.append("--enable-per-request-metrics")  # vLLM refuses both together
    if site.assignment.ep:
        argv.append("--enable-expert-parallel")
    for name, value in model.engine_args.items():
        argv += _flag(name, value)
    config = DECODE_BENCH if site.makes_up_kv else None
    if site.kv is not None:
        config = kv_transfer_config(site.assignment.role, site.kv, site.node, rules)
    if config is not None:
        if HYBRID_MANAGER not in model.engine_args:
            # P and D refuse each other's KV unless both have it on or both off, and before 0.18
            # no KV connector works with it.
            argv.append(f"--{HYBRID_MANAGER}")
        argv += ["--kv-transfer-config", json.dumps(config, separators=(",", ":"))]
    return tuple(argv)


def kv_transfer_config(
    role: Role, kv: KvPeer, node: NodeProfile, rules: EngineRules
) -> dict[str, Any]:
    """The value of --kv-transfer-config; keys that this version does not know are left out."""
    split = {"prefill": "kv_producer", "decode": "kv_consumer"}
    extra: dict[str, Any] = {"backends": [kv.network.backend]}
    if rules.kv_lease:
        extra["kv_lease_duration"] = KV_LEASE_S
    config: dict[str, Any] = {
        "kv_connector": "NixlConnector",
        "kv_role": split[role] if rules.split_kv_roles else "kv_both",
    }
    if node.kind == "cpu":
        config["kv_buffer_device"] = "cpu"
    if rules.load_failure_policy:
        # A failed transfer must show as an error, not as a prefill that D quietly did itself.
        config["kv_load_failure_policy"] = "fail"
    config["kv_connector_extra_config"] = {**extra, **kv.network.connector_extra}
    return config


# Set for every replica, and for those that hand KV over, whatever a node's login has; only
# profiles overrule it. DEBUG costs 4 to 12 % of TPOT with vLLM, 5 to 10 times with NIXL.
QUIET = {"VLLM_LOGGING_LEVEL": "INFO"}
QUIET_TRANSFERS = {"NIXL_LOG_LEVEL": "INFO"}


def worker_env(
    site: WorkerSite, *, cluster: ClusterProfile, model: ModelProfile, rules: EngineRules
) -> dict[str, str]:
    """Every variable that is set for the replica, beyond what the node's login has.

    Raises ServingError where a profile sets a variable that the placement decides.
    """
    env = dict(QUIET)
    if site.kv is not None:
        env |= QUIET_TRANSFERS
    env |= cluster.env
    if site.kv is not None:
        env |= site.kv.network.env
    placed = dict(_placed_env(site, rules))
    for name in placed.keys() & env.keys():
        raise ServingError(
            f"{name} is set in the env of cluster {cluster.name} or of its network, but the "
            "placement decides it; remove it from the profile"
        )
    if cluster.simulated:
        placed |= _simulation_env(site, model)
    return {**env, **placed}


def device_env(node: NodeProfile, slots: Sequence[int]) -> dict[str, str]:
    """By which a process sees these slots of a node and no others."""
    if node.kind == "cpu":
        return {}
    # The slots of a shared GPU are shares of the node's one.
    visible = "0" if node.kind == "gpu-share" else ",".join(map(str, slots))
    # The order makes indices mean what nvidia-smi shows.
    return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": visible}


def _placed_env(site: WorkerSite, rules: EngineRules) -> Iterator[tuple[str, str]]:
    yield from device_env(site.node, site.slots).items()
    if site.kv is None:
        return
    yield "VLLM_NIXL_SIDE_CHANNEL_HOST", site.node.dial_address
    yield "VLLM_NIXL_SIDE_CHANNEL_PORT", str(site.kv.side_channel_port)
    if not rules.kv_lease:
        yield "VLLM_NIXL_ABORT_REQUEST_TIMEOUT", str(ABORT_TIMEOUT_S)
    if not rules.nixl_metrics:
        yield "NIXL_TELEMETRY_ENABLE", "1"
    if site.kv.tp_differs:
        # D takes a share of the heads of each of P's blocks, so heads must be outermost in them.
        yield "VLLM_KV_CACHE_LAYOUT", "HND"


def _simulation_env(site: WorkerSite, model: ModelProfile) -> Mapping[str, str]:
    if model.engine_model is None:
        raise ServingError(
            f"Model {model.name} has no engine_model, so it cannot be simulated; add the section "
            "to its profile, or use a cluster of real GPUs"
        )
    tp = site.assignment.tp
    if tp not in model.engine_model.tp:
        known = ", ".join(map(str, sorted(model.engine_model.tp)))
        raise ServingError(
            f"Model {model.name} has no engine_model constants for TP{tp} (it has TP {known}); "
            "choose such a layout, or add them to its profile"
        )
    env = {"PDCONSOLE_SIM_ENGINE": model.engine_model.model_dump_json()}
    if site.kv is not None:
        link = site.kv.network.sim
        if link is None:
            raise ServingError(
                f"Network {site.kv.network.name} has no sim section, so it cannot be simulated; "
                "add one to its profile, or choose another network"
            )
        env["PDCONSOLE_SIM_LINK"] = link.model_dump_json()
    return env


def _flag(name: str, value: str | int | float | bool) -> list[str]:
    """`true` is the bare flag, `false` its `--no-` form."""
    if isinstance(value, bool):
        return [f"--{name}" if value else f"--no-{name}"]
    return [f"--{name}", str(value)]
