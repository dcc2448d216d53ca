"""What holds for every run however it is started: versions, reach, what a person should know."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from pdconsole.model.feasible import rules_for
from pdconsole.model.plan import RunPlan
from pdconsole.profiles.schema import ClusterProfile, ModelProfile, NetworkProfile, NodeProfile
from pdconsole.serving.errors import ServingError
from pdconsole.serving.handshake import model_path_refusal, pairs, side_channel_refusal
from pdconsole.serving.vllm_versions import EngineRules, same_version


def engine_version(
    run: RunPlan, cluster: ClusterProfile, versions: Mapping[str, Mapping[str, str]]
) -> str:
    """The one vLLM version of the run's nodes; what the cluster profile says goes first.

    Empty if none of them is in `versions`: they were not asked. Raises ServingError where a node
    has no vLLM or nodes differ.
    """
    if cluster.engine.version != "auto":
        return cluster.engine.version
    nodes = run.placement.nodes
    if not any(node in versions for node in nodes):
        return ""
    found = {node: versions.get(node, {}).get("vllm", "") for node in nodes}
    without = [node for node in nodes if not found[node]]
    if without:
        raise ServingError(
            f"No vLLM was found on {' and '.join(without)}; install it there, name its command in "
            f"engine.vllm of cluster {cluster.name}, or write its version in engine.version"
        )
    first = nodes[0]
    for node in nodes:
        if not same_version(found[first], found[node]):
            raise ServingError(
                f"Node {first} has vLLM {found[first]} and {node} has {found[node]}; replicas of "
                "one run need one version: install the same on both, or place the run on one node"
            )
    return found[first]


def node_of(cluster: ClusterProfile, name: str) -> NodeProfile:
    for node in cluster.nodes:
        if node.name == name:
            return node
    known = ", ".join(node.name for node in cluster.nodes)
    raise ServingError(f"Node {name} is not in cluster {cluster.name}, which has {known}")


def check_run(
    run: RunPlan,
    cluster: ClusterProfile,
    model: ModelProfile,
    network: NetworkProfile | None,
    rules: EngineRules,
) -> None:
    workload = run.workload
    longest = workload.input_len + workload.output_len
    if longest > model.max_model_len:
        raise ServingError(
            f"Workload {workload.name} needs {longest} tokens a request, but model {model.name} is "
            f"served with max_model_len {model.max_model_len}; raise it in the model's profile or "
            "take a shorter workload"
        )
    _check_spans(run, cluster)
    if not run.placement.layout.is_pd:
        return
    if network is None:
        raise ServingError(f"Run {run.id} passes KV from P to D; name a network for it")
    reason = rules_for(rules.version).layout_refusal(run.placement.layout, model.kv_heads)
    if reason:
        raise ServingError(f"Layout {run.placement.layout} cannot be served: {reason}")
    check_reach(run, cluster, network)
    refusal = side_channel_refusal(run, cluster) or model_path_refusal(run, cluster, model)
    if refusal:
        raise ServingError(refusal)


def _check_spans(run: RunPlan, cluster: ClusterProfile) -> None:
    """A replica over several nodes is Ray's to start, and only where no node would hold it."""
    room = max(node.gpus for node in cluster.nodes)
    for assignment in run.placement.assignments:
        nodes = sorted(set(assignment.nodes))
        if len(nodes) == 1:
            continue
        where = f"{assignment.replica} spans {' and '.join(nodes)}"
        if cluster.orchestrator != "ray":
            raise ServingError(
                f"{where}; such replicas can be planned, but only Ray starts them (orchestrator: "
                "ray in the cluster's profile): choose a TP that fits one node"
            )
        if assignment.tp <= room:
            raise ServingError(
                f"{where}, and TP{assignment.tp} fits one node; write it without "
                f"N{len(nodes)}: only a replica that no node holds may span nodes"
            )


def check_reach(run: RunPlan, cluster: ClusterProfile, network: NetworkProfile) -> None:
    """The network must join every P with every D. Raises ServingError."""
    for p, d in pairs(run):
        p_node, d_node = p.slots[0].node, d.slots[0].node
        if network.across_nodes is False and p_node != d_node:
            raise ServingError(
                f"Network {network.name} works within one node, but {p.replica} is on {p_node} and "
                f"{d.replica} on {d_node}; place the run with pack, or choose a network that "
                "crosses nodes, such as srd or tcp"
            )
        if network.across_nodes is True and p_node == d_node:
            raise ServingError(
                f"Network {network.name} joins different nodes, but {p.replica} and {d.replica} "
                f"are both on {p_node}; place the run with spread, or choose another network"
            )


def url_of(address: str, port: int) -> str:
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"


def notes_of(
    run: RunPlan,
    environments: Iterable[Mapping[str, str]],
    network: NetworkProfile | None,
    rules: EngineRules,
) -> Iterator[str]:
    if rules.note:
        yield rules.note
    if run.workload.mode == "decode-only" and not rules.decode_bench:
        yield (
            f"vLLM {rules.version} has no DecodeBenchConnector: decode-only prompts are prefilled "
            "once before and answered from the prefix cache"
        )
    if network is not None and run.placement.layout.is_pd:
        if network.warning:
            yield f"network {network.name}: {network.warning}"
        if not rules.nixl_metrics:
            yield (
                f"vLLM {rules.version} has no NIXL metrics: it logs how many transfers succeeded, "
                "not their bytes"
            )
    loud = sorted(
        {
            name
            for env in environments
            for name in ("VLLM_LOGGING_LEVEL", "NIXL_LOG_LEVEL", "UCX_LOG_LEVEL")
            if env.get(name, "").upper() in ("DEBUG", "TRACE", "DATA")
        }
    )
    if loud:
        yield f"{' and '.join(loud)} ask for debug logging, which slows replicas down"
    if (
        not run.placement.layout.is_pd
        and len({group.tp for group in run.placement.layout.groups}) > 1
    ):
        yield "replicas of different TP get equal shares of the requests"
