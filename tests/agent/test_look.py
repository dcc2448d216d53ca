"""The closer look at a node, through the zipapp as nodes run it."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from agent_node import Client, Node, pythons, until


@pytest.fixture(params=pythons())
def node(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Node]:
    made = Node(tmp_path, request.param)
    yield made
    made.clean_up()


def looked(client: Client, **asked: Any) -> dict[str, Any]:
    env = asked.pop("env", {})
    look = {"engine": [], "models": [], "ports": [], "variables": [], **asked}
    found = client.ok("inventory", version_commands={}, version_env=env, look=look)
    return dict(found["looked"])


def greeted(node: Node) -> Client:
    client = node.connect()
    client.hello()
    return client


def test_nothing_more_is_looked_at_unasked(node: Node) -> None:
    assert "looked" not in greeted(node).ok("inventory", version_commands={}, version_env={})


def test_a_port_that_is_taken_names_who_has_it(node: Node) -> None:
    client = greeted(node)
    script = (
        "import socket, time; s = socket.create_server(('127.0.0.1', 0));"
        "print(s.getsockname()[1], flush=True); time.sleep(1000)"
    )
    process = client.start("s/1/P1", sys.executable, "-c", script, records=True)
    client.ok("follow", token="s/1/P1", offsets={"records": 0})
    port = int(until(lambda: client.log("s/1/P1", "records").strip(), "the port"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        unused = free.getsockname()[1]
    ports = [
        ("127.0.0.1", port),
        ("127.0.0.1", unused),
        ("192.0.2.1", 8000),
        ("no.such.host.invalid", 8000),
    ]
    taken, foreign, unknown = looked(client, ports=ports)["ports"]
    assert (taken["port"], taken["kind"], taken["token"]) == (port, "taken", "s/1/P1")
    assert taken["pid"] == process["pid"]
    assert (foreign["address"], foreign["kind"]) == ("192.0.2.1", "foreign-address")
    assert (unknown["address"], unknown["kind"]) == ("no.such.host.invalid", "unknown-address")


def test_models_by_path_and_in_the_hubs_cache(node: Node) -> None:
    here = node.home / "models" / "tiny"
    here.mkdir(parents=True)
    (here / "config.json").write_text("{}")
    (here / "model.safetensors").write_bytes(b"")
    cached = node.home / "hf/hub/models--org--big/snapshots/abc"
    cached.mkdir(parents=True)
    (cached / "config.json").write_text("{}")
    sources = ["~/models/tiny", "~/models/absent", "org/big", "org/other"]
    found = looked(
        greeted(node),
        models=sources,
        env={"HF_HOME": str(node.home / "hf"), "HF_HUB_OFFLINE": "1"},
    )["models"]
    tiny, absent, big, other = (found[source] for source in sources)
    assert (tiny["folder"], tiny["found"], tiny["weights"]) == (str(here), True, 1)
    assert tiny["config_sha256"] == big["config_sha256"] != ""
    assert (absent["is_path"], absent["found"]) == (True, False)
    assert (big["is_path"], big["folder"], big["weights"]) == (False, str(cached), 0)
    assert (other["found"], other["offline"]) == (False, True)


def test_only_the_variables_that_are_asked_for_are_told(node: Node) -> None:
    node.env.update(NCCL_DEBUG="INFO", HF_TOKEN="secret")
    found = looked(greeted(node), variables=["NCCL_DEBUG", "UCX_TLS"])
    assert found["variables"] == {"NCCL_DEBUG": "INFO"}
    assert "secret" not in json.dumps(found)


def test_rdma_devices_tell_driver_and_state(node: Node, tmp_path: Path) -> None:
    root = tmp_path / "infiniband"
    driver = tmp_path / "drivers" / "efa"
    driver.mkdir(parents=True)
    for name, state in (("rdmap0s1", "4: ACTIVE"), ("rdmap0s2", "1: DOWN")):
        (root / name / "ports/1").mkdir(parents=True)
        (root / name / "ports/1/state").write_text(f"{state}\n")
        (root / name / "device").mkdir()
        (root / name / "device/driver").symlink_to(driver)
    node.env["PDCONSOLE_NIC_ROOT"] = str(root)
    found = looked(greeted(node))["devices"]
    assert [(d["name"], d["driver"], d["state"]) for d in found] == [
        ("rdmap0s1", "efa", "ACTIVE"),
        ("rdmap0s2", "efa", "DOWN"),
    ]


def test_the_engines_python_is_asked_by_the_agents_archive(node: Node) -> None:
    engine = looked(greeted(node), engine=[node.python, "@agent@", "engine"])["engine"]
    version = engine["python"].split(".")[:2]
    assert version[0] == "3"
    assert "trouble" not in engine
    assert "ucx" in engine or engine["ucx_trouble"]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["/no/such/python"], "No such file"),
        (["sh", "-c", "echo no JSON; echo it broke >&2; exit 3"], "it broke"),
        (["sh", "-c", "exit 3"], "ended with 3"),
    ],
)
def test_an_engine_that_cannot_be_asked_says_why(node: Node, argv: list[str], said: str) -> None:
    assert said in looked(greeted(node), engine=argv)["engine"]["trouble"]


# --- a Ray cluster's dashboard

RAY_NODES = [
    {
        "node_id": "0f",
        "node_ip": "10.0.0.1",
        "node_name": "n1",
        "state": "ALIVE",
        "state_message": None,
        "resources_total": {"GPU": 8.0, "CPU": 2.0, "node:10.0.0.1": 1.0},
    }
]
RAY_SAYS: dict[str, Any] = {
    "/api/version": {"version": "4", "ray_version": "2.60.0"},
    "/api/v0/nodes": {"result": True, "data": {"result": {"total": 1, "result": RAY_NODES}}},
    "/api/cluster_status": {
        "data": {"clusterStatus": {"loadMetricsReport": {"usageByNode": {"0f": {"GPU": [3, 8]}}}}}
    },
    "/api/serve/applications/": {
        "http_options": {"host": "127.0.0.1", "port": 8000},
        "applications": {
            "shop": {"status": "RUNNING", "route_prefix": "/shop", "source": "declarative"},
            "lab": {"status": "DEPLOYING", "route_prefix": None, "source": "imperative"},
        },
    },
}


@contextmanager
def dashboard(says: dict[str, Any], token: str = "") -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = says.get(self.path.partition("?")[0])
            allowed = self.headers.get("Authorization", "") == (f"Bearer {token}" if token else "")
            self.send_response(401 if not allowed else 404 if found is None else 200)
            self.end_headers()
            self.wfile.write(json.dumps(found).encode())

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


def test_a_ray_cluster_tells_nodes_and_applications(node: Node) -> None:
    with dashboard(RAY_SAYS) as url:
        found = looked(greeted(node), dashboard=url)["ray"]
    assert found["version"] == "2.60.0"
    (one,) = found["nodes"]
    assert (one["address"], one["state"], one["resources"]["GPU"]) == ("10.0.0.1", "ALIVE", 8)
    assert one["used"] == {"GPU": 3}
    assert found["apps"] == [
        {"name": "lab", "status": "DEPLOYING", "route": "", "declared": False},
        {"name": "shop", "status": "RUNNING", "route": "/shop", "declared": True},
    ]
    assert (found["http_host"], found["http_port"]) == ("127.0.0.1", 8000)


def test_a_ray_cluster_that_tells_no_usage(node: Node) -> None:
    with dashboard({**RAY_SAYS, "/api/cluster_status": None}) as url:
        found = looked(greeted(node), dashboard=url)["ray"]
    assert found["nodes"][0]["used"] is None


def test_no_dashboard_and_one_that_wants_a_token_say_so(node: Node) -> None:
    client = greeted(node)
    (node.home / "token").write_text("5e\n")
    with dashboard(RAY_SAYS, token="5e") as url:
        assert "RAY_AUTH_TOKEN_PATH" in looked(client, dashboard=url)["ray"]["trouble"]
        for env in ({"RAY_AUTH_TOKEN_PATH": "~/token"}, {"RAY_AUTH_TOKEN": "5e"}):
            found = looked(client, dashboard=url, env=env)["ray"]
            assert found["version"] == "2.60.0"
        env = {"RAY_AUTH_TOKEN_PATH": "~/absent"}
        assert "/absent: No such file" in looked(client, dashboard=url, env=env)["ray"]["trouble"]
    assert "does not answer" in looked(client, dashboard=url)["ray"]["trouble"]
    assert looked(client)["ray"] is None
