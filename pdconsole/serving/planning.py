"""From a placed run to its processes. Pure: profiles and versions in, command lines out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pdconsole.model.feasible import rules_for
from pdconsole.model.plan import RunPlan
from pdconsole.profiles.schema import ClusterProfile, ModelProfile, NetworkProfile, NodeProfile
from pdconsole.serving.errors import ServingError
from pdconsole.serving.handshake import model_path_refusal, pairs, side_channel_refusal
from pdconsole.serving.plan import DeploymentPlan, PlannedProcess
from pdconsole.serving.ports import PortTable
from pdconsole.serving.router_command import ROUTER_ENV, metrics_host, router_argv
from pdconsole.serving.vllm_versions import EngineRules, engine_rules, same_version
from pdconsole.serving.worker_command import KvPeer, WorkerSite, worker_argv, worker_env


def plan_deployment(
    run: RunPlan,
    *,
    cluster: ClusterProfile,
    model: ModelProfile,
    network: NetworkProfile | None,
    versions: Mapping[str, Mapping[str, str]],
    session: str,
) -> DeploymentPlan:
    """Every process of the run.

    `versions` are program versions by node, of which `vllm` is read; without any, the newest
    rules are used and a note says so. `network` may be None for collocated layouts. Raises
    ServingError for what cannot be started as asked.
    """
    rules = engine_rules(engine_version(run, cluster, versions))
    _check(run, cluster, model, network, rules)
    makes_up_kv = run.workload.mode == "decode-only" and rules.decode_bench
    # Simulated replicas answer from a prefix cache instead, and their points are flagged so.
    makes_up_kv = makes_up_kv and not cluster.simulated
    sites = tuple(_sites(run, cluster, network, makes_up_kv))
    workers = tuple(
        _worker(site, run=run, cluster=cluster, model=model, rules=rules) for site in sites
    )
    router = _router(workers, cluster)
    return DeploymentPlan(
        run=run.id,
        session=session,
        processes=(*workers, router),
        router_url=router.url,
        notes=tuple(_notes(run, workers, network, rules)),
        decodes_made_up_kv=makes_up_kv,
    )


def engine_version(
    run: RunPlan, cluster: ClusterProfile, versions: Mapping[str, Mapping[str, str]]
) -> str:
    """The one vLLM version of the run's nodes; what the cluster profile says goes first.

    Empty if none of them is in `versions`: they were not asked. Raises ServingError where a node
    has no vLLM or nodes differ.
    """
    if cluster.engine.version != "auto":
        return cluster.engine.version
    nodes = _nodes_of(run)
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


def _nodes_of(run: RunPlan) -> tuple[str, ...]:
    return tuple(
        dict.fromkeys(
            slot.node for assignment in run.placement.assignments for slot in assignment.slots
        )
    )


def _node(cluster: ClusterProfile, name: str) -> NodeProfile:
    for node in cluster.nodes:
        if node.name == name:
            return node
    known = ", ".join(node.name for node in cluster.nodes)
    raise ServingError(f"Node {name} is not in cluster {cluster.name}, which has {known}")


def _check(
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
    for assignment in run.placement.assignments:
        nodes = sorted({slot.node for slot in assignment.slots})
        if len(nodes) > 1:
            raise ServingError(
                f"{assignment.replica} spans {' and '.join(nodes)}; such replicas can be planned "
                "but not started by this version: choose a TP that fits one node"
            )
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


def _sites(
    run: RunPlan, cluster: ClusterProfile, network: NetworkProfile | None, makes_up_kv: bool
) -> Iterator[WorkerSite]:
    ports = PortTable(cluster)
    tp_differs = any(p.tp != d.tp for p, d in pairs(run))
    for assignment in run.placement.assignments:
        node = _node(cluster, assignment.slots[0].node)
        kv = None
        alone = makes_up_kv and assignment.role != "prefill"
        if not alone and assignment.role != "collocated" and network is not None:
            kv = KvPeer(
                network=network,
                side_channel_port=ports.side_channel(assignment.replica, node, assignment.tp),
                tp_differs=tp_differs,
            )
        port = ports.worker(assignment.replica, node)
        yield WorkerSite(assignment=assignment, node=node, port=port, kv=kv, makes_up_kv=alone)


def _worker(
    site: WorkerSite,
    *,
    run: RunPlan,
    cluster: ClusterProfile,
    model: ModelProfile,
    rules: EngineRules,
) -> PlannedProcess:
    url = _url(site.node.dial_address, site.port)
    return PlannedProcess(
        name=site.assignment.replica,
        role=site.assignment.role,
        node=site.node.name,
        tp=site.assignment.tp,
        slots=site.slots,
        argv=worker_argv(site, cluster=cluster, model=model, workload=run.workload, rules=rules),
        env=worker_env(site, cluster=cluster, model=model, rules=rules),
        url=url,
        health_url=f"{url}/health",
        metrics_url=f"{url}/metrics",
        stage=0,
    )


def _router(workers: Sequence[PlannedProcess], cluster: ClusterProfile) -> PlannedProcess:
    node = _node(cluster, cluster.driver_node)
    url = _url(node.dial_address, cluster.ports.router)
    return PlannedProcess(
        name="router",
        role="router",
        node=node.name,
        argv=router_argv(workers, cluster=cluster, node=node),
        env=dict(ROUTER_ENV),
        url=url,
        health_url=f"{url}/readiness",
        metrics_url=f"{_url(metrics_host(node), cluster.ports.router_metrics)}/metrics",
        stage=1,
    )


def _url(address: str, port: int) -> str:
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"


def _notes(
    run: RunPlan,
    workers: Sequence[PlannedProcess],
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
            for worker in workers
            for name in ("VLLM_LOGGING_LEVEL", "NIXL_LOG_LEVEL", "UCX_LOG_LEVEL")
            if worker.env.get(name, "").upper() in ("DEBUG", "TRACE", "DATA")
        }
    )
    if loud:
        yield f"{' and '.join(loud)} ask for debug logging, which slows replicas down"
    if not run.placement.layout.is_pd and len({worker.tp for worker in workers}) > 1:
        yield "replicas of different TP get equal shares of the requests"
