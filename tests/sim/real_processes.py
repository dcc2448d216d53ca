"""Simulated workers and a real router as processes, and a client that reads what they say."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pdconsole.measure.prometheus import parse, total

MODEL = "m"
PREFILL_ASK = {
    "do_remote_decode": True,
    "do_remote_prefill": False,
    "remote_engine_id": None,
    "remote_block_ids": None,
    "remote_host": None,
    "remote_port": None,
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Served:
    port: int
    process: subprocess.Popen[bytes]
    log: Path

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, path, data, {"Content-Type": "application/json", **headers})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def complete(self, prompt: Any, max_tokens: int = 3, **more: Any) -> tuple[int, Any]:
        headers = {"X-Request-Id": more.pop("request_id")} if "request_id" in more else {}
        body = {"model": MODEL, "prompt": prompt, "max_tokens": max_tokens, **more}
        status, answer = self.ask("POST", "/v1/completions", body, **headers)
        return status, json.loads(answer)

    def stream(self, prompt: Any, max_tokens: int = 3, **more: Any) -> list[Any]:
        """The events of a stream; [DONE] as text."""
        body = {"model": MODEL, "prompt": prompt, "max_tokens": max_tokens, "stream": True, **more}
        status, answer = self.ask("POST", "/v1/completions", body)
        assert status == 200, answer
        lines = [line for line in answer.decode().split("\n") if line]
        assert all(line.startswith("data: ") for line in lines)
        texts = [line.removeprefix("data: ") for line in lines]
        return [text if text == "[DONE]" else json.loads(text) for text in texts]

    def metric(self, name: str, **labels: str) -> float | None:
        return total(parse(self.ask("GET", "/metrics")[1].decode()), name, **labels)

    def wait_until_healthy(self, timeout_s: float = 60.0) -> None:
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                if self.ask("GET", "/health")[0] == 200:
                    return
            except OSError:
                assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)


@dataclass
class Processes:
    directory: Path
    env: dict[str, str]
    started: list[Served] = field(default_factory=list)

    def start(self, argv: list[str], port: int, **env: str) -> Served:
        log = self.directory / f"log-{len(self.started)}"
        with log.open("wb") as file:
            process = subprocess.Popen(
                argv,
                env={**os.environ, **self.env, **env},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        served = Served(port, process, log)
        self.started.append(served)
        return served

    def worker(self, *flags: str, tp: int = 2, **env: str) -> Served:
        port = free_port()
        argv = [sys.executable, "-m", "pdconsole.sim.worker", "serve", "some/model"]
        argv += ["--port", str(port), "--served-model-name", MODEL, "-tp", str(tp)]
        return self.start([*argv, "--max-model-len", "16000", *flags], port, **env)

    def kv_worker(self, role: str, tp: int = 2, *flags: str, **env: str) -> Served:
        config = {
            "kv_connector": "NixlConnector",
            "kv_role": role,
            "kv_connector_extra_config": {"backends": ["UCX"], "kv_lease_duration": 30},
        }
        side_channel = {
            "VLLM_NIXL_SIDE_CHANNEL_HOST": "127.0.0.1",
            "VLLM_NIXL_SIDE_CHANNEL_PORT": str(free_port()),
        }
        flags = ("--kv-transfer-config", json.dumps(config), *flags)
        return self.worker(*flags, tp=tp, **{**side_channel, **env})

    def router(self, *flags: str) -> Served:
        port = free_port()
        argv = [str(Path(sys.executable).with_name("vllm-router")), "--port", str(port)]
        argv += ["--prometheus-host", "127.0.0.1", "--prometheus-port", str(free_port())]
        argv += ["--worker-startup-check-interval", "1", "--disable-retries"]
        return self.start([*argv, "--disable-circuit-breaker", *flags], port)

    def stop(self) -> None:
        for served in self.started:
            served.process.terminate()
        for served in self.started:
            try:
                served.process.wait(10)
            except subprocess.TimeoutExpired:
                served.process.kill()
                served.process.wait()


@contextmanager
def processes(directory: Path, env: dict[str, str]) -> Iterator[Processes]:
    running = Processes(directory, env)
    try:
        yield running
    finally:
        running.stop()
