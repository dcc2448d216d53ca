"""What `sh tests/engine/install` made, and vLLM servers started from it by hand."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from pdconsole.profiles import shipped_profiles

HERE = Path(__file__).parent
STACK = Path(os.environ.get("PDCONSOLE_ENGINE", HERE.parents[1] / ".engine"))
START_UP_S = 300.0


def shipped(kind: str, name: str) -> dict[str, Any]:
    path = shipped_profiles() / kind / f"{name}.yaml"
    loaded: dict[str, Any] = yaml.safe_load(path.read_text())
    return loaded


def free_ports(count: int) -> int:
    """The first of so many ports of loopback that are free in a row."""
    while True:
        with socket.socket() as any_free:
            any_free.bind(("127.0.0.1", 0))
            first = any_free.getsockname()[1]
        if first + count <= 65536 and all(_is_free(port) for port in range(first, first + count)):
            return int(first)


def _is_free(port: int) -> bool:
    with socket.socket() as tried:
        try:
            tried.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class ByHand:
    """P and D of the tiny model and vllm-router before them, each a process of its own."""

    def __init__(self, model: Path, logs: Path) -> None:
        self.model, self._logs = model, logs
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._commands: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {}
        self._ports = free_ports(7)
        worker, router = self._ports, self._ports + 4
        self.p, self.d = (f"http://127.0.0.1:{worker + n}" for n in (0, 1))
        self.router = f"http://127.0.0.1:{router}"

    def start(self) -> None:
        worker, side, router = self._ports, self._ports + 2, self._ports + 4
        env = shipped("clusters", "local-cpu")["env"] | shipped("networks", "shm")["env"]
        for n, (name, role) in enumerate({"P": "kv_producer", "D": "kv_consumer"}.items()):
            connector = {
                "kv_connector": "NixlConnector",
                "kv_role": role,
                "kv_buffer_device": "cpu",
                "kv_load_failure_policy": "fail",
            }
            self._start(
                name,
                *(f"{STACK}/bin/vllm", "serve", str(self.model), "--served-model-name", "tiny"),
                *("--host", "127.0.0.1", "--port", str(worker + n)),
                *("--max-model-len", "2048", "--num-gpu-blocks-override", "256"),
                *("--enforce-eager", "--no-enable-prefix-caching"),
                *("--kv-transfer-config", json.dumps(connector)),
                env=env
                | {
                    "VLLM_NIXL_SIDE_CHANNEL_HOST": "127.0.0.1",
                    "VLLM_NIXL_SIDE_CHANNEL_PORT": str(side + n),
                },
            )
        self._wait("P", f"{self.p}/health")
        self._wait("D", f"{self.d}/health")
        self._start(
            "router",
            *(f"{STACK}/bin/vllm-router", "--host", "127.0.0.1", "--port", str(router)),
            *("--prometheus-host", "127.0.0.1", "--prometheus-port", str(router + 1)),
            *("--vllm-pd-disaggregation", "--kv-connector", "nixl", "--policy", "round_robin"),
            *("--prefill", self.p, "--decode", self.d),
            *("--worker-startup-check-interval", "1"),
            env={},
        )
        self._wait("router", f"{self.router}/readiness")

    def start_anew(self, name: str) -> None:
        """Kill it at once, as the kernel does it, and start the same again."""
        os.killpg(self._processes[name].pid, signal.SIGKILL)
        self._processes[name].wait()
        argv, env = self._commands[name]
        self._start(name, *argv, env=env)
        self._wait(name, f"{getattr(self, name.lower())}/health")

    def start_another(self, name: str, argv: Sequence[str], env: dict[str, str]) -> str:
        """A server with these arguments on a port of its own; its URL."""
        url = f"http://127.0.0.1:{self._ports + 6}"
        self._start(name, *argv, "--port", str(self._ports + 6), env=env)
        self._wait(name, f"{url}/health")
        return url

    def end(self, name: str) -> None:
        os.killpg(self._processes[name].pid, signal.SIGKILL)
        self._processes.pop(name).wait()

    def log(self, name: str) -> str:
        return (self._logs / f"{name}.log").read_text(errors="replace")

    def complete(self, url: str, prompt: list[int], **fields: Any) -> dict[str, Any]:
        """The answer to 16 greedy tokens after `prompt`, with `token_ids` in it."""
        body = {
            "model": "tiny",
            "prompt": prompt,
            "max_tokens": 16,
            "temperature": 0,
            "ignore_eos": True,
            "return_token_ids": True,
        } | fields
        request = urllib.request.Request(
            f"{url}/v1/completions",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=120) as reply:
            answer: dict[str, Any] = json.load(reply)
        return answer

    def metric(self, url: str, name: str, label: str = "") -> float:
        with urllib.request.urlopen(f"{url}/metrics", timeout=30) as reply:
            text = reply.read().decode()
        sample = rf"^{re.escape(name)}{{[^}}]*{re.escape(label)}[^}}]*}} (\S+)"
        found = re.findall(sample, text, re.MULTILINE)
        assert found, f"{name} is not among the metrics"
        return sum(map(float, found))

    def stop(self) -> None:
        for process in self._processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self._processes.values():
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def _start(self, name: str, *argv: str, env: dict[str, str]) -> None:
        self._commands[name] = argv, env
        with (self._logs / f"{name}.log").open("wb") as log:
            self._processes[name] = subprocess.Popen(
                argv,
                env={**os.environ, **env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _wait(self, name: str, url: str) -> None:
        give_up = time.monotonic() + START_UP_S
        while True:
            try:
                with urllib.request.urlopen(url, timeout=5) as reply:
                    if reply.status == 200:
                        return
            except (urllib.error.URLError, OSError):
                pass
            alive = self._processes[name].poll() is None
            log = (self._logs / f"{name}.log").read_text(errors="replace")
            assert alive, f"{name} ended; it said:\n{log[-3000:]}"
            assert time.monotonic() < give_up, f"{name} is not up; it said:\n{log[-3000:]}"
            time.sleep(0.5)
