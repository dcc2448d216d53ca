"""Samplers: what is missing is absent, and nobody waits for a slow one."""

from __future__ import annotations

import stat
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from agent_node import Node, running_node, until

from pdconsole.agent.prometheus import Samples, parse

# Loops when asked to, as the real one does.
NVIDIA_SMI = """#!/bin/sh
case "$*" in
*--query-gpu=index,utilization*)
    while :; do
        echo '0, 97, 70000, 61, 512.25'
        echo '1, [N/A], 3, 40, [Not Supported]'
        case "$*" in *--loop-ms=*) sleep 0.2 ;; *) exit 0 ;; esac
    done ;;
*--query-gpu=*)
    echo '0, NVIDIA H100 80GB HBM3, 81559, 70000, GPU-aaa, 550.1'
    echo '1, NVIDIA H100 80GB HBM3, 81559, 3, GPU-bbb, 550.1' ;;
*--query-compute-apps=*) cat "$HOME/residents" ;;
esac
"""


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with running_node(tmp_path / "home") as node:
        node.env["PATH"] = f"{node.home}/bin:/usr/bin:/bin"
        yield node


def _install(node: Node, name: str, text: str) -> None:
    path = node.home / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


class _Target(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    connections = 0

    def setup(self) -> None:
        super().setup()
        type(self).connections += 1

    def do_GET(self) -> None:
        if self.path == "/slow":
            time.sleep(3)
        body = (
            f'# HELP n x\nn{{a="1"}} {time.monotonic()}\nstays 3\nh_bucket{{le="1"}} 5\n'.encode()
        )
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def target() -> Iterator[str]:
    _Target.connections = 0
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Target)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_metrics_come_from_the_fast_while_others_are_slow_or_dead(node: Node, target: str) -> None:
    client = node.connect()
    watch = {
        "metrics": {
            "fast": [f"{target}/metrics", 0.1],
            "slow": [f"{target}/slow", 0.1],
            "dead": ["http://127.0.0.1:1/metrics", 0.1],
        }
    }
    client.hello(watch=watch)

    def fast() -> list[dict[str, object]]:
        return [n for n in client.news if n["news"] == "metrics" and n["name"] == "fast"]

    until(lambda: len(fast()) >= 5, "the fast one is sampled")
    assert {n["name"] for n in client.news} == {"fast"}
    first, *later = fast()
    assert first["whole"]
    assert first["values"].keys() == {'n{a="1"}', "stays"}
    assert all(n["values"].keys() == {'n{a="1"}'} for n in later)
    assert _Target.connections == 2  # kept alive: one connection each
    client.ok("watch", watch={})
    assert client.ok("ping")


def test_gpus_through_one_looping_nvidia_smi(node: Node) -> None:
    _install(node, "nvidia-smi", NVIDIA_SMI)
    client = node.connect()
    client.hello(watch={"gpus_s": 0.2})
    until(lambda: len([n for n in client.news if n["news"] == "gpus"]) >= 2, "two samples")
    for sample in [n for n in client.news if n["news"] == "gpus"]:
        assert sample["gpus"] == [[0, 97, 70000, 61, 512.25], [1, None, 3, 40, None]]


def test_gpus_through_an_nvidia_smi_that_cannot_loop(node: Node) -> None:
    _install(
        node, "nvidia-smi", '#!/bin/sh\ncase "$*" in *loop*) exit 2;; esac\necho 0, 1, 2, 3, 4'
    )
    client = node.connect()
    client.hello(watch={"gpus_s": 0.1})
    until(lambda: len([n for n in client.news if n["news"] == "gpus"]) >= 3, "three samples")


def test_inventory_names_who_is_on_a_gpu(node: Node) -> None:
    _install(node, "nvidia-smi", NVIDIA_SMI)
    _install(node, "vllm", "#!/bin/sh\necho 'INFO 1.2.3.4 starting'\necho 0.11.0")
    _install(node, "broken", "#!/bin/sh\necho 9.9.9\nexit 1")
    client = node.connect()
    client.hello()
    ours = client.start("s/1/P1", "sleep", "1000")
    (node.home / "residents").write_text(
        f"GPU-aaa, {ours['pid']}, vllm, 70000\nGPU-bbb, 1, [Not Found], [N/A]\n"
    )
    commands = {
        "vllm": ["vllm", "--version"],
        "broken": ["broken"],
        "absent": ["no-such-command"],
        "interpreter": ["@python@", "-c", "print('Python 3.1.4')"],
    }
    found = client.ok("inventory", version_commands=commands, version_env={})
    assert (
        found["versions"].items()
        >= {"vllm": "0.11.0", "interpreter": "3.1.4", "driver": "550.1"}.items()
    )
    assert not found["versions"].keys() & {"broken", "absent"}
    first, second = found["gpus"]
    assert (first["name"], first["memory_mib"], first["uuid"]) == (
        "NVIDIA H100 80GB HBM3",
        81559,
        "GPU-aaa",
    )
    assert first["processes"][0]["token"] == "s/1/P1"
    assert (second["processes"][0]["token"], second["processes"][0]["memory_mib"]) == ("", None)
    assert found["simulated"]
    assert found["disk_free_bytes"] > 0


def test_no_nvidia_smi_is_no_gpus_and_no_error(node: Node) -> None:
    client = node.connect()
    client.hello(watch={"gpus_s": 0.1, "nics_s": 0.1})
    found = client.ok("inventory", version_commands={}, version_env={})
    assert (found["gpus"], found["gpu_trouble"]) == ([], "")


def test_a_failing_nvidia_smi_is_told(node: Node) -> None:
    _install(node, "nvidia-smi", "#!/bin/sh\necho 'NVIDIA-SMI has failed: no driver'\nexit 9")
    client = node.connect()
    client.hello()
    found = client.ok("inventory", version_commands={}, version_env={})
    assert found["gpus"] == []
    assert "no driver" in found["gpu_trouble"]


def test_nic_counters_that_a_device_lacks_are_absent(node: Node, tmp_path: Path) -> None:
    root = tmp_path / "infiniband"
    for device, port, name, text in [
        ("rdmap0", "1", "tx_bytes", "100\n"),
        ("rdmap0", "1", "rx_bytes", "7\n"),
        ("rdmap0", "1", "lifespan", "ten\n"),
        ("rdmap1", "1", "tx_bytes", "5\n"),
        ("mlx5_0", "2", "tx_bytes", "6\n"),
    ]:
        path = root / device / "ports" / port / "hw_counters" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    node.env["PDCONSOLE_NIC_ROOT"] = str(root)
    client = node.connect()
    client.hello(watch={"nics_s": 0.1})
    first = until(lambda: [n for n in client.news if n["news"] == "nics"], "a sample")[0]
    assert first["counters"] == {
        "rdmap0": {"tx_bytes": 100, "rx_bytes": 7},
        "rdmap1": {"tx_bytes": 5},
        "mlx5_0:2": {"tx_bytes": 6},
    }
    (root / "rdmap0/ports/1/hw_counters/tx_bytes").write_text("900\n")
    until(lambda: client.news[-1]["counters"]["rdmap0"]["tx_bytes"] == 900, "the counter moves")


def test_http_is_made_on_the_node(node: Node, target: str) -> None:
    client = node.connect()
    client.hello()
    request = {"method": "GET", "headers": {}, "body": "", "timeout_s": 5}
    assert client.ok("http", url=f"{target}/metrics", **request)["status"] == 200
    refused = client.error("http", url="http://127.0.0.1:1/health", **request)
    assert refused["kind"] == "http"
    assert "nothing listens there" in refused["message"]
    slow = client.error("http", url=f"{target}/slow", **{**request, "timeout_s": 0.2})
    assert "no answer within 0.2 s" in slow["message"]


def test_exposition_lines() -> None:
    text = (
        "# TYPE x counter\n"
        'x{model="a b",le="}"} 1.5\n'
        "plain 2 1700000000000\n"
        "nan NaN\n"
        'h_bucket{le="+Inf"} 9\n'
        "h_sum 3e2\n"
        "broken\n"
    )
    assert parse(text.split("\n")) == {'x{model="a b",le="}"}': 1.5, "plain": 2.0, "h_sum": 300.0}


def test_changes_add_up_to_the_whole() -> None:
    samples = Samples()
    seen: dict[str, float] = {}
    for text in ("a 1\nb 2\n", "a 1\nb 3\n", "a 1\nb 3\nc 4\n", "a 1\nc 4\nd 5\n", "a 1\n"):
        changed, whole = samples.update(text)
        seen = dict(changed) if whole else {**seen, **changed}
        assert seen == samples.values == parse(text.split("\n"))
