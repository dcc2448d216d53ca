"""Ray on the nodes of a run: the command line of each, started for this run and ended with it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from ipaddress import ip_address

from pdconsole.profiles.schema import ClusterProfile, NodeProfile
from pdconsole.serving.errors import ServingError
from pdconsole.serving.plan import PlannedProcess
from pdconsole.serving.ray_ports import ray_ports
from pdconsole.serving.run_rules import node_of, url_of
from pdconsole.serving.worker_command import device_env

HEAD = "ray-head"
# Beside what its slots need: Serve's proxy, controller and ingress are lightweight.
SPARE_CPUS = 4
# <temp dir>/session_<date>_<time>_<micros>_<pid>/sockets/plasma_store must fit 107 bytes.
LONGEST_TEMP_DIR = 42

# $1: Ray's directory, or nothing for one of its own. $2: the agent, of which replicas take what
# tells their metrics as they are. The rest: the command line of Ray.
#
# A directory of its own is removed at the end; what Ray said of a failure is printed before. It is
# locked while anything of this Ray is there: what a killed one left goes with the next start.
IN_A_DIRECTORY = """\
unset RAY_ADDRESS RAY_NAMESPACE
dir=$1 own='' told=''
export PYTHONPATH="$2${PYTHONPATH:+:$PYTHONPATH}"
shift 2
if [ -z "$dir" ]; then
    find /tmp -maxdepth 1 -name 'pdconsole-ray.??????' -type d -user "$(id -u)" -mmin +1 \\
        -exec test -e {}/locked ';' -exec flock -n {} rm -rf {} ';' 2>/dev/null
    own=$(mktemp -d /tmp/pdconsole-ray.XXXXXX) || exit 1
    exec 9<"$own"
    flock -n 9 2>/dev/null && : >"$own/locked"  # nobody else removes what says nothing of it
    dir=$own/r  # Ray opens its directory to everybody, the one around it stays ours
fi
trap 'told=1' HUP INT TERM
"$@" --temp-dir "$dir" &
ray=$!
while wait $ray; code=$?; kill -0 $ray 2>/dev/null; do :; done
if [ -z "$told" ]; then
    tail -n 15 "$dir"/session_latest/logs/gcs_server.err "$dir"/session_latest/logs/raylet.err
fi 2>/dev/null
trap '' HUP INT TERM  # whoever ends what Ray left must not end this
for _ in 1 2 3 4 5; do
    [ -n "$own" ] && ! rm -rf "$own" || break  # what is ending may still write there
    sleep 0.5
done 2>/dev/null
exit $code
"""

# Ray listens on every interface, and whoever reaches it could run code on its nodes.
MODE, TOKEN = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"

BASE_ENV = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ten seconds by default, too coarse for what is sampled once a second.
    "RAY_metrics_report_interval_ms": "1000",
    # Nodes end soon when their head is gone; a minute by default.
    "RAY_gcs_rpc_server_reconnect_timeout_s": "10",
    # Whoever ends Ray has ended what it served.
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
}


def member_name(node: str) -> str:
    """Of Ray's process on a node that joins the head."""
    return f"ray-{node}"


def ray_process(
    node: NodeProfile,
    slots: Sequence[int],
    resources: Mapping[str, int],
    cluster: ClusterProfile,
    *,
    alone: bool,
) -> PlannedProcess:
    """Ray on one node, with exactly these slots of it. `alone`: no other node takes part.

    Its address has been checked.
    """
    ports = ray_ports(cluster, node)
    head = node_of(cluster, cluster.driver_node)
    is_head = node.name == head.name
    if is_head:
        url = dashboard_url(cluster, alone=alone)
        health = f"{url}/api/gcs_healthz"
    else:
        url = url_of(node.dial_address, ports.dashboard_agent_listen)
        health = f"{url}/api/local_raylet_healthz"
    held = tuple(sorted(slots))
    return PlannedProcess(
        name=HEAD if is_head else member_name(node.name),
        role="ray",
        node=node.name,
        slots=held,
        argv=(
            *("sh", "-c", IN_A_DIRECTORY, "sh", _temp_dir(node, cluster), "@agent@"),
            *cluster.ray.command,
            *("start", "--block", "--disable-usage-stats"),
            *(_head_flags(head, cluster, alone) if is_head else _join_flags(head, cluster)),
            *("--node-ip-address", node.dial_address),
            *("--node-name", node.name),
            *("--node-manager-port", str(ports.node_manager)),
            *("--object-manager-port", str(ports.object_manager)),
            *("--dashboard-agent-listen-port", str(ports.dashboard_agent_listen)),
            *("--dashboard-agent-grpc-port", str(ports.dashboard_agent_grpc)),
            *("--runtime-env-agent-port", str(ports.runtime_env_agent)),
            *("--metrics-export-port", str(ports.metrics_export)),
            *("--min-worker-port", str(ports.min_worker)),
            *("--max-worker-port", str(ports.max_worker)),
            *("--num-cpus", str(len(slots) + SPARE_CPUS)),
            *("--num-gpus", "0" if node.kind == "cpu" else str(len(slots))),
            *("--object-store-memory", str(cluster.ray.object_store_mib << 20)),
            *("--resources", json.dumps(resources, separators=(",", ":"))),
        ),
        env={
            **BASE_ENV,
            **auth_env(cluster),
            **cluster.env,
            # On the head only, but a node that listens on both must not meet them either.
            "AUTOSCALER_METRIC_PORT": str(ports.autoscaler_metrics),
            "DASHBOARD_METRIC_PORT": str(ports.dashboard_metrics),
            **device_env(node, held),
        },
        secrets=secrets(cluster),
        url=url,
        health_url=health,
        metrics_url=f"{url_of(node.dial_address, ports.metrics_export)}/metrics",
        stage=0 if is_head else 1,
    )


def auth_env(cluster: ClusterProfile) -> dict[str, str]:
    """How Ray that we start is protected; a profile that says so itself has its way."""
    return {MODE: "token"} if cluster.ray.start and MODE not in cluster.env else {}


def secrets(cluster: ClusterProfile) -> tuple[str, ...]:
    return (TOKEN,) if auth_env(cluster) else ()


def dashboard_url(cluster: ClusterProfile, *, alone: bool) -> str:
    """`alone`: nobody on another node needs it, so it stays on the head's loopback."""
    if not cluster.ray.start:
        return cluster.ray.dashboard.rstrip("/")
    head = node_of(cluster, cluster.driver_node)
    return url_of("127.0.0.1" if alone else head.dial_address, cluster.ray.ports.dashboard)


def gcs_address(cluster: ClusterProfile) -> str:
    if not cluster.ray.start:
        return cluster.ray.address
    head = node_of(cluster, cluster.driver_node)
    return url_of(head.dial_address, cluster.ray.ports.gcs).removeprefix("http://")


def head_address(cluster: ClusterProfile) -> str:
    """Where Serve's proxy listens: on the head alone, which of a joined cluster may be any node."""
    if not cluster.ray.start:
        return cluster.ray.address.rsplit(":", 1)[0].strip("[]")
    return node_of(cluster, cluster.driver_node).dial_address


def check_address(node: NodeProfile, cluster: ClusterProfile) -> None:
    """Ray knows nodes by IP addresses, and takes 127.0.0.1 for any of the machine's own."""
    try:
        found = ip_address(node.dial_address)
    except ValueError:
        found = None
    if found is not None and str(found) not in ("127.0.0.1", "::1"):
        if str(found) == node.dial_address:
            return
        raise ServingError(
            f"Ray compares addresses as text; write {found} as `address` of {node.name} in cluster "
            f"{cluster.name} instead of {node.dial_address}"
        )
    raise ServingError(
        f"Ray names its nodes by IP addresses that the others reach, and {node.name} is "
        f"{node.dial_address}; set `address` of this node in cluster {cluster.name}"
        + (", on one machine alone 127.0.0.2 will do" if found else "")
    )


def _temp_dir(node: NodeProfile, cluster: ClusterProfile) -> str:
    if not cluster.ray.temp_dir:
        return ""
    found = f"{cluster.ray.temp_dir.rstrip('/')}/{node.name}"
    if len(found.encode()) > LONGEST_TEMP_DIR:
        raise ServingError(
            f"{found} is too long for the sockets of Ray, {LONGEST_TEMP_DIR} characters at most; "
            f"shorten ray.temp_dir of cluster {cluster.name}, or leave it out"
        )
    return found


def _head_flags(head: NodeProfile, cluster: ClusterProfile, alone: bool) -> tuple[str, ...]:
    ports = ray_ports(cluster, head)
    return (
        "--head",
        *("--port", str(ports.gcs)),
        *("--dashboard-host", "127.0.0.1" if alone else head.dial_address),
        *("--dashboard-port", str(ports.dashboard)),
        *("--ray-client-server-port", str(ports.client_server)),
    )


def _join_flags(head: NodeProfile, cluster: ClusterProfile) -> tuple[str, ...]:
    return ("--address", gcs_address(cluster))
