"""From a placed run to Ray on its nodes, the Serve application on it, and its replicas' doors."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from pdconsole.model.layout import Role
from pdconsole.model.placement import Assignment
from pdconsole.model.plan import RunPlan
from pdconsole.profiles.schema import ClusterProfile, ModelProfile, NetworkProfile, NodeProfile
from pdconsole.serving.engine_python import in_python_of
from pdconsole.serving.errors import ServingError
from pdconsole.serving.handshake import pairs
from pdconsole.serving.plan import DeploymentPlan, PlannedProcess
from pdconsole.serving.port_table import PortTable
from pdconsole.serving.ray_app import (
    APP,
    PIN,
    ServedRole,
    as_yaml,
    deployment_name,
    runtime_env,
    serve_document,
)
from pdconsole.serving.ray_nodes import (
    TOKEN,
    auth_env,
    check_address,
    dashboard_url,
    gcs_address,
    head_address,
    ray_process,
    secrets,
)
from pdconsole.serving.ray_ports import ray_ports, side_channels, wanted_on_ray
from pdconsole.serving.run_rules import node_of, notes_of, url_of
from pdconsole.serving.vllm_versions import EngineRules
from pdconsole.serving.worker_command import KvPeer

ROLES: tuple[Role, ...] = ("prefill", "decode", "collocated")
SERVE_STAGE = 2  # after Ray's head and the nodes that join it
POLL_S = 1.0
# A word of a spec that begins so is below the home of the node that reads it.
HOME = "@home@/"
OWN = "pdconsole_"  # begins the names of resources that only our nodes have


def plan_on_ray(
    run: RunPlan,
    *,
    cluster: ClusterProfile,
    model: ModelProfile,
    network: NetworkProfile | None,
    rules: EngineRules,
    session: str,
) -> DeploymentPlan:
    """Every process of the run. Raises ServingError for what cannot be started as asked."""
    makes_up_kv = run.workload.mode == "decode-only"
    if makes_up_kv and not rules.decode_bench:
        raise ServingError(
            f"vLLM {rules.version} has no DecodeBenchConnector, and Ray Serve's decode replicas "
            "have others prefill for them: decode-only cannot be loaded there; leave the mode out"
        )
    _check_nodes(run, cluster)
    _check_homes(run, cluster, model, network)
    wanted_on_ray(run, cluster)
    served = tuple(_served(run, cluster, model, network, makes_up_kv=makes_up_kv))
    document = serve_document(
        run, served, session=session, cluster=cluster, model=model, rules=rules
    )
    alone = set(run.placement.nodes) <= {cluster.driver_node}
    url = dashboard_url(cluster, alone=alone)
    ray = _ray_processes(served, cluster, alone=alone) if cluster.ray.start else ()
    app = _app(document, cluster, url)
    doors = tuple(_doors(served, cluster, model, url))
    return DeploymentPlan(
        run=run.id,
        session=session,
        processes=(*ray, *doors, app),
        router_url=app.url,
        notes=(
            *notes_of(
                run,
                [runtime_env(each, cluster=cluster, rules=rules) for each in served],
                network,
                rules,
            ),
            *_notes(run, served, cluster),
            _dashboard_note(url, cluster),
        ),
        decodes_made_up_kv=makes_up_kv,
        serve_config=as_yaml(document, tuple(_about(run, served, model, cluster, network, url))),
    )


def _about(
    run: RunPlan,
    served: tuple[ServedRole, ...],
    model: ModelProfile,
    cluster: ClusterProfile,
    network: NetworkProfile | None,
    url: str,
) -> Iterator[str]:
    yield f"{run.label}, {model.name}, {run.workload.slug} on {cluster.name}"
    yield f"By hand: serve deploy THIS -a {url}"
    if _below_home(cluster, model, network):
        yield "Ray knows no ~: write paths that begin with it out"
    own = sorted({name for e in served for b in e.bundles for name in b if name.startswith(OWN)})
    if own:
        yield f"The nodes need {' and '.join(own)} (ray start --resources), one for each rank there"


# --- what may be asked


def _check_nodes(run: RunPlan, cluster: ClusterProfile) -> None:
    nodes = [node_of(cluster, name) for name in run.placement.nodes]
    driver = node_of(cluster, cluster.driver_node)
    for node in (*((driver,) if cluster.ray.start else ()), *nodes):
        check_address(node, cluster)
    for node in nodes:
        if node.kind == "gpu-share":
            raise ServingError(
                f"Node {node.name} has shares of one GPU as slots, which are not given out to "
                "Ray; use orchestrator: direct there"
            )
    for role in ROLES:
        of_role = run.placement.of(role)
        _check_alike(role, of_role)
        kinds = {node_of(cluster, name).kind for a in of_role for name in a.nodes}
        if len(kinds) > 1:
            raise ServingError(
                f"The {role} replicas are on CPUs and on GPUs; one Serve deployment has one kind"
            )


def _below_home(
    cluster: ClusterProfile, model: ModelProfile, network: NetworkProfile | None
) -> list[str]:
    values = (model.source, *cluster.env.values(), *(network.env.values() if network else ()))
    return [value for value in values if value.startswith("~/")]


def _check_homes(
    run: RunPlan, cluster: ClusterProfile, model: ModelProfile, network: NetworkProfile | None
) -> None:
    """One config is for all nodes, with paths as they are for who puts it."""
    paths = _below_home(cluster, model, network)
    names = dict.fromkeys((cluster.driver_node, *run.placement.nodes))
    nodes = [node_of(cluster, name) for name in names]
    users = {node.user: node.name for node in nodes if node.user}
    if paths and len(users) > 1:
        raise ServingError(
            f"{paths[0]} is another path for the user of {' and '.join(users.values())} each, and "
            "Ray Serve gives one to all nodes; put it at one path on all and write it without ~"
        )


def _check_alike(role: Role, of_role: tuple[Assignment, ...]) -> None:
    shapes = {(a.tp, a.ep, len(a.nodes)) for a in of_role}
    if len(shapes) > 1:
        raise ServingError(
            f"With Ray Serve the {role} replicas are one deployment and so all alike, and "
            f"{' and '.join(a.replica for a in of_role)} differ in TP, expert parallelism or the "
            "number of their nodes; choose a layout with one kind a role, or orchestrator: direct"
        )


# --- the application


def _served(
    run: RunPlan,
    cluster: ClusterProfile,
    model: ModelProfile,
    network: NetworkProfile | None,
    *,
    makes_up_kv: bool,
) -> Iterator[ServedRole]:
    """One phase alone has the replicas of its role alone: those of an application with both are
    reached through each other."""
    left_out = {"decode-only": "prefill", "prefill-only": "decode"}.get(run.workload.mode)
    alone = left_out is not None
    tp_differs = any(p.tp != d.tp for p, d in pairs(run))
    channels = side_channels(run, cluster)
    for role in ROLES:
        of_role = run.placement.of(role)
        if not of_role or role == left_out:
            continue
        kv = None
        if role != "collocated" and not alone and network is not None:
            kv = KvPeer(network=network, side_channel_port=channels[role], tp_differs=tp_differs)
        yield ServedRole(
            role=role,
            assignments=of_role,
            kv=kv,
            makes_up_kv=makes_up_kv,
            deployment=deployment_name(role, model, alone=alone or role == "collocated"),
            bundles=tuple(_bundles(role, of_role, cluster)),
        )


def _bundles(
    role: Role, of_role: tuple[Assignment, ...], cluster: ClusterProfile
) -> Iterator[dict[str, float]]:
    """One a rank of a replica, pinned to where the placement has it.

    Bundles are a deployment's, not a replica's: where its replicas are on several nodes, each node
    is given as much of a resource of ours as the placement puts ranks there, and counting pins.
    """
    kind = "CPU" if node_of(cluster, of_role[0].node).kind == "cpu" else "GPU"
    ranks = of_role[0].tp // len(of_role[0].nodes)
    for part in range(len(of_role[0].nodes)):
        nodes = {a.nodes[part] for a in of_role}
        if len(nodes) == 1:
            pin = {f"node:{node_of(cluster, nodes.pop()).dial_address}": PIN}
        elif cluster.ray.start:
            pin = {_resource(role, part, of_role): 1.0}
        else:
            raise ServingError(
                f"The {role} replicas are on {' and '.join(sorted(nodes))}, and on a cluster that "
                "runs already Ray Serve puts all replicas of a role on one node or wherever it "
                "likes; place each role on one node, or let Ray be started (ray: start: true)"
            )
        for _ in range(ranks):
            yield {kind: 1, **pin}


def _resource(role: Role, part: int, of_role: tuple[Assignment, ...]) -> str:
    spans = len(of_role[0].nodes) > 1
    return f"{OWN}{role}" + (f"_{part}" if spans else "")


# --- processes


def _ray_processes(
    served: tuple[ServedRole, ...], cluster: ClusterProfile, *, alone: bool
) -> tuple[PlannedProcess, ...]:
    slots: dict[str, list[int]] = {cluster.driver_node: []}
    resources: dict[str, Counter[str]] = {}
    for each in served:
        names = {name for bundle in each.bundles for name in bundle}
        for assignment in each.assignments:
            for slot in assignment.slots:
                slots.setdefault(slot.node, []).append(slot.index)
                part = assignment.nodes.index(slot.node)
                name = _resource(each.role, part, each.assignments)
                if name in names:
                    resources.setdefault(slot.node, Counter())[name] += 1
    return tuple(
        ray_process(
            node_of(cluster, name), held, resources.get(name, Counter()), cluster, alone=alone
        )
        for name, held in slots.items()
    )


def _app(document: Mapping[str, Any], cluster: ClusterProfile, dashboard: str) -> PlannedProcess:
    """The router of the run: it puts the application to Serve, and takes it away at the end."""
    node = node_of(cluster, cluster.driver_node)
    spec = {
        "dashboard": dashboard,
        "app": APP,
        "config": document,
        "listen": [node.dial_address, cluster.ports.router_metrics],
        "startup_timeout_s": cluster.startup_timeout_s,
        "poll_s": POLL_S,
    }
    door = url_of(node.dial_address, cluster.ports.router_metrics)
    return PlannedProcess(
        name="router",
        role="router",
        node=node.name,
        argv=in_python_of(cluster.ray.command[0], "@agent@", "ray-app", "@dir@/spec.json"),
        env=_door_env(cluster),
        secrets=secrets(cluster),
        files={"spec.json": _told(spec)},
        url=url_of(head_address(cluster), cluster.ports.router),
        health_url=f"{door}/readiness",
        metrics_url=f"{_exporter(node, cluster)}/metrics",
        stage=SERVE_STAGE,
    )


def _doors(
    served: tuple[ServedRole, ...], cluster: ClusterProfile, model: ModelProfile, dashboard: str
) -> Iterator[PlannedProcess]:
    ports = PortTable(cluster)
    for each in served:
        on_node = Counter(a.node for a in each.assignments)
        before: Counter[str] = Counter()
        for a in each.assignments:
            node = node_of(cluster, a.node)
            port = ports.worker(a.replica, node)
            url = url_of(node.dial_address, port)
            spec = {
                "dashboard": dashboard,
                "app": APP,
                "deployment": each.deployment,
                "replica": a.replica,
                "node_ip": node.dial_address,
                "rank": before[a.node],
                "of": on_node[a.node],
                "metrics_url": f"{_exporter(node, cluster)}/metrics",
                "listen": [node.dial_address, port],
                "gcs": gcs_address(cluster),
                "model": model.served_name,
                "poll_s": POLL_S,
            }
            before[a.node] += 1
            yield PlannedProcess(
                name=a.replica,
                role=a.role,
                node=node.name,
                tp=a.tp,
                slots=tuple(slot.index for slot in a.slots if slot.node == a.node),
                holds_slots=not cluster.ray.start,
                argv=in_python_of(
                    cluster.ray.command[0], "@agent@", "ray-replica", "@dir@/spec.json"
                ),
                env=_door_env(cluster),
                secrets=secrets(cluster),
                files={"spec.json": _told(spec)},
                url=url,
                health_url=f"{url}/health",
                metrics_url=f"{url}/metrics",
                stage=SERVE_STAGE,
            )


def _exporter(node: NodeProfile, cluster: ClusterProfile) -> str:
    return url_of(node.dial_address, ray_ports(cluster, node).metrics_export)


def _door_env(cluster: ClusterProfile) -> dict[str, str]:
    """What concerns Ray: how it wants to be spoken to."""
    named = {name: value for name, value in cluster.env.items() if name.startswith("RAY_")}
    return {**auth_env(cluster), **named}


def _told(spec: Mapping[str, Any]) -> str:
    """The spec, with paths under the home of the node that reads it."""

    def at_home(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: at_home(each) for key, each in value.items()}
        if isinstance(value, list):
            return [at_home(each) for each in value]
        if isinstance(value, str) and value.startswith("~/"):
            return HOME + value[2:]
        return value

    return json.dumps(at_home(dict(spec)), indent=1)


# --- what a person should know


def _dashboard_note(url: str, cluster: ClusterProfile) -> str:
    where = f"{url}, on {cluster.driver_node} alone" if "//127.0.0.1:" in url else url
    if not secrets(cluster):
        return f"Ray's dashboard is at {where}"
    return (
        f"Ray's dashboard is at {where}; it asks for what Ray's processes on "
        f"{cluster.driver_node} have in their environment as {TOKEN}"
    )


def _notes(run: RunPlan, served: tuple[ServedRole, ...], cluster: ClusterProfile) -> Iterator[str]:
    if run.placement.layout.is_pd and len(served) == 1:
        role, other = ("decode", "prefill") if served[0].role == "decode" else ("prefill", "decode")
        mode = run.workload.mode
        yield f"{mode}: Ray Serve has the {role} replicas alone, {other} is not started"
    crowded = Counter(name for a in run.placement.assignments for name in a.nodes)
    if any(count > 1 for count in crowded.values()) and any(
        node_of(cluster, name).kind == "gpu" for name in crowded
    ):
        yield (
            "Ray gives out the GPUs of a node itself: each replica is on the node where the "
            "placement has it, but perhaps on other GPUs of it"
        )
    spanning = [a.replica for a in run.placement.assignments if len(a.nodes) > 1]
    if spanning:
        yield f"{' and '.join(spanning)} over several nodes: this was not tried on real nodes"
    if any(len([a for a in each.assignments if len(a.nodes) > 1]) > 1 for each in served):
        yield (
            "Which of these nodes make up one replica is Ray's choice: they may be paired "
            "otherwise than in the placement"
        )
