"""What breaks under a real engine ends in one sentence, and the next layout goes on."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from console import Console, environments
from engine_stack import STACK
from openssh_server import Sshd

from pdconsole.model import events as ev

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(900)]

START_S = 240.0
SHORT = {"warmup_rounds": 1, "window_rounds": 3, "min_window_s": 2, "max_window_s": 60}
LONG = {**SHORT, "min_window_s": 60, "max_window_s": 120}


def kill(console: Console, process: str) -> None:
    """Every process of a replica or the router at once, as the kernel does it."""
    found = [pid for pid, token in console.ours().items() if token.endswith(f"/{process}")]
    assert found, f"{process} does not run"
    for pid in found:
        os.kill(pid, signal.SIGKILL)


def waits_for(status: str, *, run: str, point: str) -> Callable[[list[ev.Event]], bool]:
    def seen(events: list[ev.Event]) -> bool:
        points = [e for e in events if isinstance(e, ev.PointState)]
        return any((e.run, e.point, e.status) == (run, point, status) for e in points)

    return seen


def failed(run: str) -> Callable[[list[ev.Event]], bool]:
    def seen(events: list[ev.Event]) -> bool:
        return any(
            isinstance(e, ev.RunState) and (e.run, e.status) == (run, "failed") for e in events
        )

    return seen


def launching(run: str) -> Callable[[list[ev.Event]], bool]:
    def seen(events: list[ev.Event]) -> bool:
        return any(
            isinstance(e, ev.ProcessState) and e.run == run and e.status == "loading"
            for e in events
        )

    return seen


def failures(console: Console) -> dict[str, str]:
    """run -> how it ended."""
    states = [e for e in console.events() if isinstance(e, ev.RunState)]
    return {e.run: e.message for e in states if e.status == "failed"}


def refused(console: Console, *words: str) -> str:
    done = console.run("run", "tiny-pd", "--json", *words)
    assert done.returncode != 0
    assert console.ours() == {}
    return re.sub(r"\s+", " ", done.stderr)


def test_replicas_and_router_that_die_are_told_and_the_next_layout_goes_on(
    console: Console, cpu_nodes: list[Sshd], tiny_model: Path
) -> None:
    # Each node has the model under a home of its own: a path that differs where ~ is written.
    for node in cpu_nodes:
        (node.home / "tiny").symlink_to(tiny_model)
    console.change("models", "tiny", source="~/tiny")
    across = {"layout": "1P-TP1+1D-TP1", "placement": "manual", "manual": "P1=n1:0 D1=n2:0"}
    console.change(
        "experiments",
        "tiny-pd",
        runs=[
            {**across, "network": "tcp"},
            {"layout": "1P-TP1+1D-TP1", "network": "tcp"},
            {"layout": "1P-TP1+1D-TP1", "network": "shm"},
            {"layout": "1xTP1"},
        ],
        concurrency=[1, 2],
        policy=LONG,
    )
    words = ("run", "tiny-pd", "--json", "--no-validate", "--ignore-checks")
    running = console.start(*words)
    try:
        console.wait_for(launching("2"), START_S)
        with listening_at(side_channel_of(console, "2", "D1")):
            console.wait_for(failed("2"), START_S)
        console.wait_for(waits_for("window", run="3", point="conc1"), START_S)
        kill(console, "D1")
        console.wait_for(waits_for("window", run="4", point="conc1"), START_S)
        kill(console, "router")
        out, err = running.communicate(timeout=START_S)
    finally:
        running.kill()
    summary: dict[str, Any] = json.loads(out)
    assert summary["status"] != "broken-off", err
    told = failures(console)
    assert set(told) == {"1", "2", "3", "4"}, told
    assert "D1 on n2: prefill and decode replicas do not fit together" in told["1"]
    assert "NIXL compatibility hash mismatch" in told["1"]
    assert "D1 on n1 cannot come up: another process listens on its side channel" in told["2"]
    assert "ZMQError: Address already in use" in told["2"]
    assert "D1 on n1 was killed by signal 9 in the middle of it" in told["3"]
    assert "; its last lines: " in told["3"]
    assert "the router on n1 was killed by signal 9 in the middle of it" in told["4"]
    assert console.ours() == {}


def side_channel_of(console: Console, run: str, process: str) -> int:
    for _, env in environments():
        if env.get("PDCONSOLE_TOKEN", "").endswith(f"/{run}/{process}"):
            return int(env["VLLM_NIXL_SIDE_CHANNEL_PORT"])
    raise AssertionError(f"{process} of run {run} does not run")


def listening_at(port: int) -> socket.socket:
    taken = socket.socket()
    taken.bind(("127.0.0.1", port))
    taken.listen()
    return taken


def test_what_a_look_at_the_nodes_shows_is_refused_before_anything_starts(
    console: Console, cpu_nodes: list[Sshd], tiny_model: Path
) -> None:
    across = "--manual=P1=n1:0 D1=n2:0"
    # A model whose path is another one on each node.
    for node in cpu_nodes:
        (node.home / "tiny").symlink_to(tiny_model)
    console.change("models", "tiny", source="~/tiny")
    said = refused(console, across, "--network=tcp")
    assert f"{cpu_nodes[1].home}/tiny" in said
    assert "P and D compare the path" in said
    # A model that is nowhere.
    console.change("models", "tiny", source="/nowhere/tiny")
    assert "/nowhere/tiny" in refused(console)
    console.change("models", "tiny", source=str(tiny_model))
    # Another vLLM on the second node.
    engine = cpu_nodes[1].home / "pdconsole-engine"
    engine.unlink()
    (engine / "bin").mkdir(parents=True)
    other = engine / "bin/vllm"
    other.write_text(f"#!/bin/sh\n# {STACK}/bin/python\necho 0.31.0\n")
    other.chmod(0o755)
    shutil.copy(STACK / "bin/vllm-router", engine / "bin/vllm-router")
    said = refused(console, across, "--network=tcp")
    assert re.search(r"0\.31\.0, and 0\.32\.0\S* on n1", said), said
    # A port that somebody else has.
    cluster = console.profile("clusters", "local-cpu")
    with listening_at(cluster["ports"]["worker"]):
        said = refused(console, "--layout=1xTP1")
    assert str(cluster["ports"]["worker"]) in said
    # A side channel that D would look for on its own node.
    console.change("clusters", "local-cpu", **{**cluster, "fabric": "ethernet"})
    said = refused(console, across, "--network=tcp")
    assert "D1 on n2 would look for P1's KV at 127.0.0.1, which is its own node" in said
    assert subprocess.run(["pgrep", "-f", f"{console.runtime}.*vllm serve"]).returncode == 1
