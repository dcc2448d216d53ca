"""From a placed run to its processes. Pure: profiles and versions in, command lines out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pdconsole.model.plan import RunPlan
from pdconsole.profiles.schema import ClusterProfile, ModelProfile, NetworkProfile
from pdconsole.serving.handshake import pairs
from pdconsole.serving.plan import DeploymentPlan, PlannedProcess
from pdconsole.serving.port_table import PortTable
from pdconsole.serving.ray_planning import plan_on_ray
from pdconsole.serving.router_command import ROUTER_ENV, metrics_host, router_argv
from pdconsole.serving.run_rules import check_run, engine_version, node_of, notes_of, url_of
from pdconsole.serving.vllm_versions import EngineRules, engine_rules
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
    check_run(run, cluster, model, network, rules)
    if cluster.orchestrator == "ray":
        return plan_on_ray(
            run, cluster=cluster, model=model, network=network, rules=rules, session=session
        )
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
        notes=tuple(notes_of(run, (worker.env for worker in workers), network, rules)),
        decodes_made_up_kv=makes_up_kv,
    )


def _sites(
    run: RunPlan, cluster: ClusterProfile, network: NetworkProfile | None, makes_up_kv: bool
) -> Iterator[WorkerSite]:
    ports = PortTable(cluster)
    tp_differs = any(p.tp != d.tp for p, d in pairs(run))
    for assignment in run.placement.assignments:
        node = node_of(cluster, assignment.slots[0].node)
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
    url = url_of(site.node.dial_address, site.port)
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
    node = node_of(cluster, cluster.driver_node)
    url = url_of(node.dial_address, cluster.ports.router)
    return PlannedProcess(
        name="router",
        role="router",
        node=node.name,
        argv=router_argv(workers, cluster=cluster, node=node),
        env=dict(ROUTER_ENV),
        url=url,
        health_url=f"{url}/readiness",
        metrics_url=f"{url_of(metrics_host(node), cluster.ports.router_metrics)}/metrics",
        stage=1,
    )
