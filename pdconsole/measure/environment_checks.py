"""What can be seen in the profiles alone: variables and backends that would spoil the numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pdconsole.model.events import CheckResult
from pdconsole.model.plan import RunPlan
from pdconsole.profiles.schema import ClusterProfile, ModelProfile, NetworkProfile

# Values that make a log so loud that it costs time: 4 to 12 % of TPOT for vLLM, 5 to 10 times the
# transfer for NIXL.
LOUD: Mapping[str, frozenset[str]] = {
    "VLLM_LOGGING_LEVEL": frozenset({"DEBUG"}),
    "NIXL_LOG_LEVEL": frozenset({"DEBUG", "TRACE"}),
    "UCX_LOG_LEVEL": frozenset({"DEBUG", "TRACE", "REQ", "DATA", "ASYNC", "FUNC", "POLL"}),
    "NCCL_DEBUG": frozenset({"INFO", "TRACE"}),
}
# Transports that cannot carry KV between GPUs fast; with tcp and nothing else, KV goes by tcp.
# Between processes without GPUs shared memory is the fast one.
_SHARED_MEMORY = frozenset({"sm", "shm", "mm", "posix", "sysv", "cma", "knem", "xpmem"})
_SLOW_TLS = frozenset({"tcp", "self", "cuda_copy", "gdr_copy", "gdrcopy"})
TCP_ADVICE = "KV would go by TCP, 10 to 100 times slower"
LIBFABRIC_REASON = (
    "NIXL's LIBFABRIC backend on EFA gave corrupt output or hung with vLLM 0.11"
    " (vllm-project/vllm#27055)"
)


def environment_checks(
    runs: Sequence[RunPlan],
    *,
    cluster: ClusterProfile,
    model: ModelProfile,
    networks: Mapping[str, NetworkProfile],
) -> Iterator[CheckResult]:
    """Checks of the cluster as a whole; their `node` is the cluster's name."""
    yield from _context(runs, cluster, model)
    yield debug_env(_used(runs, networks), cluster)
    for network in _used(runs, networks):
        # Simulated replicas open no UCX.
        if cluster.fabric == "loopback" and network.backend == "UCX" and not cluster.simulated:
            yield _listens(network, cluster)
        if network.backend == "UCX":
            yield _transport(network, cluster)
        else:
            yield CheckResult(
                node=cluster.name,
                check="libfabric",
                verdict="warn",
                value=f"network {network.name} uses LIBFABRIC",
                advice=f"{network.warning or LIBFABRIC_REASON}; compare its output with that of"
                " srd before believing its speed",
            )


def _used(runs: Sequence[RunPlan], networks: Mapping[str, NetworkProfile]) -> list[NetworkProfile]:
    """The networks that KV will cross, each once."""
    names = dict.fromkeys(run.network for run in runs if run.placement.layout.is_pd)
    return [networks[name] for name in names if name in networks]


def _context(
    runs: Sequence[RunPlan], cluster: ClusterProfile, model: ModelProfile
) -> Iterator[CheckResult]:
    for workload in {run.workload.name: run.workload for run in runs}.values():
        longest = workload.input_len + workload.output_len
        if longest > model.max_model_len:
            yield CheckResult(
                node=cluster.name,
                check="context",
                verdict="fail",
                value=f"workload {workload.name} needs {longest} tokens a request",
                threshold=f"max_model_len {model.max_model_len}",
                advice=f"raise max_model_len in model {model.name}, or take a shorter workload",
                hard=True,
            )


def debug_env(networks: Sequence[NetworkProfile], cluster: ClusterProfile) -> CheckResult:
    """Whether variables ask for logs that cost time."""
    sources = [(f"cluster {cluster.name}", cluster.env)]
    sources += [(f"network {network.name}", network.env) for network in networks]
    loud = [
        f"{name}={env[name]} in {where}"
        for where, env in sources
        for name in LOUD
        if asks_for_debug(name, env.get(name, ""))
    ]
    return CheckResult(
        node=cluster.name,
        check="debug-env",
        verdict="warn" if loud else "ok",
        value="; ".join(loud) if loud else "no debug logging",
        advice="remove it: debug logging slows replicas and transfers down" if loud else "",
    )


def asks_for_debug(name: str, value: str) -> bool:
    return value.upper() in LOUD[name]


def _listens(network: NetworkProfile, cluster: ClusterProfile) -> CheckResult:
    """UCX opens a port for each process on every interface, unless it is told which."""
    devices = {**cluster.env, **network.env}.get("UCX_NET_DEVICES", "")
    return CheckResult(
        node=cluster.name,
        check=f"ucx-devices {network.name}",
        verdict="ok" if devices else "warn",
        value=f"UCX_NET_DEVICES={devices}" if devices else "UCX_NET_DEVICES is not set",
        advice=""
        if devices
        else "the fabric is loopback, yet replicas would listen on every"
        " interface of the node: write UCX_NET_DEVICES: lo into the env of the cluster",
    )


def _transport(network: NetworkProfile, cluster: ClusterProfile) -> CheckResult:
    asked = {**cluster.env, **network.env}.get("UCX_TLS", "")
    forced = only_tcp(asked, cluster) and "tcp" not in network.name.lower()
    return CheckResult(
        node=cluster.name,
        check=f"ucx-tls {network.name}",
        verdict="warn" if forced else "ok",
        value=f"UCX_TLS={asked}" if asked else "UCX chooses",
        advice=f"KV of network {network.name} would go by TCP, 10 to 100 times slower: remove"
        " UCX_TLS from the cluster's env, or name the fast transport in the network's"
        if forced
        else "",
    )


def only_tcp(transports: str, cluster: ClusterProfile) -> bool:
    """Whether nothing faster than TCP is left for KV by this UCX_TLS."""
    in_host_memory = all(node.kind == "cpu" for node in cluster.nodes)
    slow = _SLOW_TLS if in_host_memory else _SLOW_TLS | _SHARED_MEMORY
    names = {name.strip().lower() for name in transports.split(",")} - {""}
    return "tcp" in names and names <= slow
