"""What `sh tests/ray/install` made, and a Ray cluster that somebody else started from it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

RAY = Path(os.environ.get("PDCONSOLE_RAY", Path(__file__).parents[2] / ".ray"))
APPLICATIONS = "/api/serve/applications/"

# Each port of Ray's, and one more for its second node.
_OF_RAY = (
    *("gcs", "dashboard", "client_server", "autoscaler_metrics", "dashboard_metrics"),
    *("node_manager", "object_manager", "dashboard_agent_listen", "dashboard_agent_grpc"),
    *("runtime_env_agent", "metrics_export"),
)
_WORKERS = 80  # on each of two nodes


def free_block() -> tuple[dict[str, int], dict[str, int]]:
    """`ports` and `ray.ports` of a cluster profile, all free on every interface.

    Below those that the kernel gives out by itself: Ray's workers come minutes later.
    """
    of_ours = {"worker": 0, "side_channel": 8, "router": 16, "router_metrics": 17}
    of_ray = {name: 20 + 2 * index for index, name in enumerate(_OF_RAY)}
    of_ray |= {"min_worker": 50, "max_worker": 50 + _WORKERS - 1}
    size = 50 + 2 * _WORKERS
    first = next(
        first
        for first in range(20_000 + os.getpid() % 7 * 500, 32_000, size)
        if all(_is_free(port) for port in range(first, first + size))
    )
    return tuple({name: first + n for name, n in of.items()} for of in (of_ours, of_ray))  # type: ignore[return-value]


def _is_free(port: int) -> bool:
    with socket.socket() as tried:
        try:
            tried.bind(("", port))
        except OSError:
            return False
    return True


class TheirRay:
    """A Ray cluster of one node that runs already, with Serve and an application of its own.

    It asks for a token, which is in a file.
    """

    def __init__(self, address: str, ports: dict[str, int], cpus: int) -> None:
        self.temp = Path(tempfile.mkdtemp(prefix="pdtheirs-"))
        self.token = self.temp / "token"
        self.token.write_text(secrets.token_hex(32))
        self.token.chmod(0o600)
        self.gcs = f"{address}:{ports['gcs']}"
        self.dashboard = f"http://127.0.0.1:{ports['dashboard']}"
        flags = {
            "port": ports["gcs"],
            "dashboard-port": ports["dashboard"],
            "ray-client-server-port": ports["client_server"],
            "node-manager-port": ports["node_manager"],
            "object-manager-port": ports["object_manager"],
            "dashboard-agent-listen-port": ports["dashboard_agent_listen"],
            "dashboard-agent-grpc-port": ports["dashboard_agent_grpc"],
            "runtime-env-agent-port": ports["runtime_env_agent"],
            "metrics-export-port": ports["metrics_export"],
            "min-worker-port": ports["min_worker"],
            "max-worker-port": ports["max_worker"],
            "node-ip-address": address,
            "num-cpus": cpus,
            "num-gpus": 0,
            "object-store-memory": 100 << 20,
            "temp-dir": self.temp / "r",
        }
        (self.temp / "shop.py").write_text(SHOP)
        with (self.temp / "log").open("wb") as log:
            self._head = subprocess.Popen(
                [RAY / "bin/ray", "start", "--head", "--block", "--disable-usage-stats"]
                + [word for name, value in flags.items() for word in (f"--{name}", str(value))],
                env={
                    **os.environ,
                    "PYTHONPATH": str(self.temp),
                    "RAY_AUTH_MODE": "token",
                    "RAY_AUTH_TOKEN_PATH": str(self.token),
                    "AUTOSCALER_METRIC_PORT": str(ports["autoscaler_metrics"]),
                    "DASHBOARD_METRIC_PORT": str(ports["dashboard_metrics"]),
                    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
                    "RAY_metrics_report_interval_ms": "1000",
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait(self) -> None:
        self._until(lambda: bool(self.get("/api/version")), "Ray's dashboard")

    def serve_an_application(self, port: int) -> None:
        document = {
            "proxy_location": "HeadOnly",
            "http_options": {"host": "127.0.0.2", "port": port},
            "applications": [
                {"name": "shop", "route_prefix": "/shop", "import_path": "shop:app"},
            ],
        }
        self._ask("PUT", APPLICATIONS, document)
        self._until(lambda: self.applications() == {"shop": "RUNNING"}, "their application")

    def take_it_away(self) -> None:
        self._ask("PUT", APPLICATIONS, {"applications": []})
        self._until(lambda: self.applications() == {}, "their application to end")

    def applications(self) -> dict[str, str]:
        found = self.get(APPLICATIONS).get("applications", {})
        return {name: app["status"] for name, app in found.items()}

    def get(self, path: str) -> dict[str, Any]:
        return self._ask("GET", path)

    def _ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        request = urllib.request.Request(
            self.dashboard + path,
            None if body is None else json.dumps(body).encode(),
            {
                "Content-Type": "application/json",
                "Authorization": f"Bearer {self.token.read_text()}",
            },
            method=method,
        )
        with urllib.request.urlopen(request, timeout=60) as reply:
            said = reply.read()
        # A PUT is answered with nothing.
        return dict(json.loads(said)) if said.startswith(b"{") else {}

    def _until(self, seen: Callable[[], bool], what: str) -> None:
        give_up = time.monotonic() + 90
        while True:
            trouble: object = ""
            try:
                if seen():
                    return
            except (OSError, ValueError, http.client.HTTPException) as error:
                trouble = repr(error)
            said = self._said()
            assert self._head.poll() is None, said
            assert time.monotonic() < give_up, f"{what} is not there: {trouble}; {said}"
            time.sleep(0.3)

    def _said(self) -> str:
        paths = [self.temp / "log", *self.temp.glob("r/session_latest/logs/dashboard*")]
        return "\n".join(path.read_text(errors="replace")[-1500:] for path in paths)

    def end(self) -> None:
        """All of its session: Ray's workers have process groups of their own."""
        self._head.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._head.wait(15)
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(ProcessLookupError, OSError):
                if os.getsid(int(entry.name)) == self._head.pid:
                    os.kill(int(entry.name), signal.SIGKILL)
        self._head.wait()
        shutil.rmtree(self.temp, ignore_errors=True)


SHOP = """\
from ray import serve


@serve.deployment(ray_actor_options={"num_cpus": 0})
class Shop:
    def __call__(self, request):
        return "open"


app = Shop.bind()
"""
