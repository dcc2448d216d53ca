"""Ray's own processes, started by a real `ray start`: they leave their group and rewrite their
names, and are found by the token in their environment all the same."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_node import Client, Node, carriers, running_node, until

RAY = Path(__file__).parents[2] / ".ray"
# Ray listens on all interfaces whatever it is told: here there is only a loopback.
OWN_NETWORK = ["unshare", "-n"] if os.geteuid() == 0 else ["unshare", "-rn"]
LONG_S = 120.0


def _has_own_network() -> bool:
    if shutil.which("unshare") is None:
        return False
    up = [*OWN_NETWORK, "sh", "-c", "ip link set lo up"]
    return subprocess.run(up, capture_output=True).returncode == 0


pytestmark = [
    pytest.mark.ray,
    pytest.mark.system,
    pytest.mark.skipif(not (RAY / "installed").exists(), reason="sh tests/ray/install first"),
    pytest.mark.skipif(not _has_own_network(), reason="needs unshare and iproute2"),
]


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    # Ray's sockets lie below it: a short name.
    home = Path(tempfile.mkdtemp(prefix="pdr", dir="/tmp"))
    python = home / "python"
    inside = f'ip link set lo up; exec {sys.executable} "$@"'
    python.write_text(f"#!/bin/sh\nexec {' '.join(OWN_NETWORK)} sh -c '{inside}' sh \"$@\"\n")
    python.chmod(0o700)
    monkeypatch.setattr("agent_node.PATIENCE_S", LONG_S)
    try:
        with running_node(home, str(python)) as node:
            yield node
    finally:
        shutil.rmtree(home, ignore_errors=True)


def start_ray(client: Client, node: Node, name: str, number: int) -> str:
    """Starts a head; returns its dashboard once that answers."""
    port = 17000 + 500 * number
    address = f"127.0.0.{number + 1}"
    named = {
        "--port": port,
        "--node-manager-port": port + 1,
        "--object-manager-port": port + 2,
        "--dashboard-agent-listen-port": port + 3,
        "--dashboard-agent-grpc-port": port + 4,
        "--runtime-env-agent-port": port + 5,
        "--ray-client-server-port": port + 6,
        "--metrics-export-port": port + 7,
        "--dashboard-port": port + 10,
        "--min-worker-port": port + 20,
        "--max-worker-port": port + 99,
        "--node-ip-address": address,
        "--dashboard-host": address,
        "--num-cpus": 1,
        "--num-gpus": 0,
        "--object-store-memory": 80_000_000,
        "--temp-dir": node.home / name,
    }
    words = [str(word) for pair in named.items() for word in pair]
    env = {
        "AUTOSCALER_METRIC_PORT": str(port + 8),
        "DASHBOARD_METRIC_PORT": str(port + 9),
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    ray = [str(RAY / "bin/ray"), "start", "--head", "--block", "--disable-usage-stats"]
    client.start(f"s/1/{name}", *ray, *words, env=env)
    dashboard = f"http://{address}:{port + 10}"
    until(lambda: version(client, dashboard), f"{name} answers")
    return dashboard


def version(client: Client, dashboard: str) -> str:
    asked = {"method": "GET", "url": f"{dashboard}/api/version", "headers": {}, "body": ""}
    answer = client.ask("http", timeout_s=5.0, **asked)
    if "ok" not in answer or answer["ok"]["status"] != 200:
        return ""
    return str(json.loads(base64.b64decode(answer["ok"]["body"]))["ray_version"])


def test_ending_a_head_ends_all_of_it_and_nothing_of_another_ray(node: Node) -> None:
    client = node.connect(end_grace_s=10, lease_s=600)
    client.hello(lease_s=600)
    start_ray(client, node, "ray-head", 1)
    other = start_ray(client, node, "other", 2)
    ours, theirs = (carriers(f"s/1/{name}", node.work_dir) for name in ("ray-head", "other"))
    assert len(ours) > 5, "gcs_server, raylet, dashboard, agents"
    client.ok("stop", tokens=["s/1/ray-head"], grace_s=10)
    assert carriers("s/1/ray-head", node.work_dir) == []
    assert set(theirs) <= set(carriers("s/1/other", node.work_dir))
    assert version(client, other)


def test_a_head_whose_first_process_is_killed_leaves_nothing(node: Node) -> None:
    client = node.connect(end_grace_s=10, lease_s=600)
    client.hello(lease_s=600)
    start_ray(client, node, "ray-head", 1)
    pid = next(p["pid"] for p in client.ok("processes")["processes"])
    os.kill(pid, 9)
    assert client.end_of("s/1/ray-head")["exit_code"] == -9
    assert carriers("s/1/ray-head", node.work_dir) == []
