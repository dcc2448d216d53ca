"""The network test as a command: which slots it takes, and that it ends what it started."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml

import pdconsole.runner.netbench as netbench
from pdconsole.profiles import shipped_profiles
from pdconsole.runner.netbench import network_test
from pdconsole.runner.user_errors import UserError


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """With a cluster `mine` of two nodes of two GPUs."""
    node = {"host": "192.0.2.1", "gpus": 2, "gpu_model": "H100", "gpu_memory_mib": 81559}
    profile = {
        "fabric": "ethernet",
        "nodes": [{"name": name, **node} for name in ("a", "b")],
        "engine": {"vllm": ["vllm", "serve"], "router": ["vllm-router"]},
    }
    own = tmp_path / "w"
    for kind in ("models", "networks", "workloads", "experiments"):
        (own / "profiles").mkdir(parents=True, exist_ok=True)
        (own / "profiles" / kind).symlink_to(shipped_profiles() / kind)
    (own / "profiles/clusters").mkdir()
    (own / "profiles/clusters/mine.yaml").write_text(yaml.safe_dump(profile))
    return own


def asked(workspace: Path, nodes: str, said: list[str] | None = None) -> list[dict[str, Any]]:
    return network_test(
        workspace,
        cluster="mine",
        model="gpt-oss-120b",
        networks=["tcp"],
        nodes=nodes,
        tokens=None,
        ignore_checks=True,
        say=(said if said is not None else []).append,
    )


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ("a:0,b:9", "there is no b:9; node b has slots 0 to 1"),
        ("a:0,c:0", "the cluster has no node c; its nodes: a, b"),
        ("a:0,a:0", "names one slot twice"),
        ("a:0", "names not two slots"),
        ("a:0,b", "names not two slots"),
        ("a:0,b:0-1", "names not two slots"),
    ],
)
def test_slots_that_are_not_are_refused_in_the_words_they_were_asked_in(
    workspace: Path, nodes: str, said: str
) -> None:
    with pytest.raises(UserError) as refused:
        asked(workspace, nodes)
    assert f"--nodes {nodes}" in str(refused.value)
    assert said in str(refused.value)
    assert "D1" not in str(refused.value)


class Nodes:
    """They answer, and tell whether they were ended."""

    ended = False

    def __init__(self, *_: Any, **__: Any) -> None:
        self.clients: dict[str, Any] = {}

    async def open(self) -> dict[str, Any]:
        return {}

    async def end(self) -> list[Any]:
        await asyncio.sleep(0.01)
        Nodes.ended = True
        return []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.usefixtures("heard_signals")
def test_one_that_is_told_to_end_ends_its_nodes_first(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    stopped = []

    async def under_way(*_: Any, **__: Any) -> Any:
        try:
            os.kill(os.getpid(), number)
            await asyncio.sleep(60)
        finally:
            stopped.append("both ends")

    monkeypatch.setattr(Nodes, "ended", False)
    monkeypatch.setattr(netbench, "SessionNodes", Nodes)
    monkeypatch.setattr(netbench, "bench_and_write", under_way)
    with pytest.raises(KeyboardInterrupt):
        asked(workspace, "a:0,b:1")
    assert stopped == ["both ends"]
    assert Nodes.ended
