"""What breaks under Ray Serve ends in one sentence, and the next layout goes on."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from console import Console
from openssh_server import Sshd

from pdconsole.model import events as ev

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]

START_S = 240.0
LONG = {"warmup_rounds": 1, "window_rounds": 3, "min_window_s": 60, "max_window_s": 120}


def kill(console: Console, run: str, title: str) -> None:
    """Processes of Ray of this run whose title, or program, is this: as the kernel does it."""
    found = [
        pid
        for pid, token in console.ours().items()
        if token.split("/")[1] == run and title in program(pid)
    ]
    assert found, f"no {title} runs"
    for pid in found:
        os.kill(pid, signal.SIGKILL)


def program(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().partition(b"\0")[0].decode()
    except OSError:
        return ""


def in_window(run: str) -> Callable[[list[ev.Event]], bool]:
    def seen(events: list[ev.Event]) -> bool:
        points = [e for e in events if isinstance(e, ev.PointState)]
        return any((e.run, e.status) == (run, "window") for e in points)

    return seen


def test_a_replica_and_a_head_that_die_are_told_and_the_next_layout_goes_on(
    console: Console, ray_nodes: list[Sshd]
) -> None:
    console.change(
        "experiments",
        "tiny-pd",
        cluster="local-ray",
        runs=[{"layout": "1xTP1"}, {"layout": "1xTP1"}],
        concurrency=[1, 2],
        policy=LONG,
    )
    running = console.start("run", "tiny-pd", "--json")
    try:
        console.wait_for(in_window("1"), START_S)
        kill(console, "1", "ray::ServeReplica:pdconsole:LLMServer")
        console.wait_for(in_window("2"), START_S)
        used = directories(console)
        assert used
        kill(console, "2", "/gcs_server")
        out, err = running.communicate(timeout=START_S)
    finally:
        running.kill()
    summary: dict[str, Any] = json.loads(out)
    assert summary["status"] == "failed", err
    states = [e for e in console.events() if isinstance(e, ev.RunState)]
    told = {e.run: e.message for e in states if e.status == "failed"}
    assert set(told) == {"1", "2"}, told
    assert "C1 on n1" in told["1"], told
    assert "so its run ends here: " in told["2"], told
    assert " on n1 ended, saying: " in told["2"], told
    assert console.ours() == {}
    assert not [path for path in used if path.exists()]


def directories(console: Console) -> set[Path]:
    """Those that Ray was given for its sockets and logs."""
    found = set()
    for pid in console.ours():
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        if "--temp-dir" in words:
            found.add(Path(words[words.index("--temp-dir") + 1]))
    return found
