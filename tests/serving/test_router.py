"""The real router with our command line, in front of stub workers."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from serving_cases import P5, placed, planned, run_of

from pdconsole.profiles.schema import ClusterProfile
from pdconsole.serving.plan import DeploymentPlan
from pdconsole.serving.smoke import pair_of

ADDRESS = f"127.77.{os.getpid() >> 8 & 255}.{os.getpid() & 255 or 1}"
STUB = Path(__file__).with_name("stub_server.py")


def on_loopback() -> ClusterProfile:
    nodes = [node.model_copy(update={"address": ADDRESS}) for node in P5.nodes[:1]]
    router = [str(Path(sys.executable).with_name("vllm-router"))]
    engine = P5.engine.model_copy(update={"router": router})
    return P5.model_copy(update={"nodes": nodes, "engine": engine})


@contextlib.contextmanager
def deployed(layout: str, log: Path) -> Iterator[DeploymentPlan]:
    cluster = on_loopback()
    plan = planned(run_of(placed(layout, cluster=cluster)), cluster=cluster)
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for worker in plan.workers:
            command = [sys.executable, str(STUB), *worker.argv[3:]]
            processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
            wait_for(worker.health_url)
        with log.open("wb") as output:
            processes.append(
                subprocess.Popen(
                    plan.router.argv,
                    env=os.environ | plan.router.env,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
            )
        wait_for(plan.router.health_url)
        yield plan
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(20)


def wait_for(url: str) -> None:
    for _ in range(300):
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            urllib.request.urlopen(url, timeout=5)
            return
        time.sleep(0.1)
    raise AssertionError(f"{url} did not answer")


def complete(plan: DeploymentPlan, prompt: list[int]) -> str:
    body = {"model": "stub", "prompt": prompt, "max_tokens": 1}
    request = urllib.request.Request(
        f"{plan.router_url}/v1/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        return str(json.load(reply)["id"])


def test_pairs_are_mixed_long_prompts_pass_and_requests_are_not_logged(tmp_path: Path) -> None:
    log = tmp_path / "router.log"
    with deployed("2P-TP2+2D-TP2", log) as plan:
        with ThreadPoolExecutor(16) as pool:
            ids = list(pool.map(lambda i: complete(plan, [1000 + i] * 40), range(64)))
        pairs = Counter(pair_of(plan, request_id) for request_id in ids)
        assert set(pairs) == {(p, d) for p in ("P1", "P2") for d in ("D1", "D2")}
        assert sum(n for (p, _), n in pairs.items() if p == "P1") == 32
        complete(plan, list(range(100_000, 160_000)))
        with urllib.request.urlopen(plan.router.metrics_url, timeout=10) as reply:
            assert b"vllm_router_pd_prefill_requests_total" in reply.read()
        assert listeners(int(plan.router_url.rsplit(":", 1)[1])) == {ADDRESS}
        assert listeners(int(re.findall(r":(\d+)/", plan.router.metrics_url)[0])) == {ADDRESS}
        lines = log.read_text().splitlines()
    assert len([line for line in lines if not line.startswith("DEBUG: ")]) < 8, lines


def test_collocated_replicas_take_turns(tmp_path: Path) -> None:
    with deployed("4xTP2", tmp_path / "router.log") as plan:
        for i in range(8):
            complete(plan, [1000 + i] * 8)
        with urllib.request.urlopen(plan.router.metrics_url, timeout=10) as reply:
            text = reply.read().decode()
    done = re.findall(r"vllm_router_processed_requests_total\{[^}]*\} (\d+)", text)
    assert sorted(map(int, done)) == [2, 2, 2, 2]


def listeners(port: int) -> set[str]:
    """The IPv4 addresses on which this machine listens at `port`."""
    found = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        local, state = line.split()[1], line.split()[3]
        address, number = local.split(":")
        if state == "0A" and int(number, 16) == port:
            found.add(socket.inet_ntoa(bytes.fromhex(address)[::-1]))
    return found
