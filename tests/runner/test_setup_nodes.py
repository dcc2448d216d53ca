"""Setting a node up, over real OpenSSH."""

from __future__ import annotations

import os
import signal
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from openssh_server import SSHD, Sshd

import pdconsole.runner.setup_nodes as setup_nodes
from pdconsole.remote.errors import RemoteError
from pdconsole.remote.values import ProcessChanged, ProcessInfo, ProcessSpec
from pdconsole.runner.setup_nodes import carry_out_setup, plan_setup
from pdconsole.runner.user_errors import UserError
from pdconsole.serving.node_setup import By, SetupStep

pytestmark = pytest.mark.skipif(not Path(SSHD).exists(), reason="needs openssh-server")


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    (tmp_path / "node").mkdir()
    server = Sshd(tmp_path / "node")
    yield server
    server.clean_up()


@pytest.fixture
def workspace(tmp_path: Path, sshd: Sshd) -> Path:
    """With a cluster `mine` of one bare node."""
    profile = {
        "fabric": "ethernet",
        "nodes": [
            {
                "name": "a",
                "host": "127.0.0.1",
                "port": sshd.port,
                "gpus": 1,
                "gpu_model": "H100",
                "gpu_memory_mib": 81559,
            }
        ],
        "ssh": {
            "config": "",
            "known_hosts": str(sshd.known_hosts),
            "identity": [str(sshd.folder / "id")],
        },
        "engine": {"vllm": ["~/engine/bin/vllm", "serve"], "router": ["~/engine/bin/vllm-router"]},
    }
    path = tmp_path / "w/profiles/clusters/mine.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(yaml.safe_dump(profile))
    return tmp_path / "w"


def step(title: str, *commands: str, by: By = "run") -> SetupStep:
    return SetupStep(node="a", title=title, why="", by=by, commands=commands)


def test_a_bare_node_is_told_what_it_needs(workspace: Path) -> None:
    found = plan_setup(workspace, "mine", None)
    runs = [step.title for step in found if step.by == "run"]
    assert runs == ["environment of Python", "vLLM", "NIXL", "router"]
    with pytest.raises(UserError, match="simulated"):
        plan_setup(workspace, "embedded", None)


def test_steps_run_in_order_up_to_one_that_fails(workspace: Path, sshd: Sshd) -> None:
    said: list[str] = []
    steps = [
        step("first", 'echo "made in $HOME"', 'echo 1 >"$HOME"/order'),
        step("by hand", 'echo root >>"$HOME"/order', by="root"),
        step("second", 'echo 2 >>"$HOME"/order', "echo it broke >&2", "false", "echo never"),
        step("third", 'echo 3 >>"$HOME"/order'),
    ]
    with pytest.raises(UserError, match=r"a: second failed \(1\): it broke"):
        carry_out_setup(workspace, "mine", steps, said.append)
    assert (sshd.home / "order").read_text() == "1\n2\n"
    assert said[:3] == ["a: first begins", f"a: made in {sshd.home}", "a: first is done"]
    assert "a: never" not in said


class TwoNodes:
    """Node `a` is lost while its step runs; that of `b` ends after that."""

    def __init__(self, _cluster: object, names: list[str], _session: str, on_news: Any) -> None:
        self.tell = on_news
        self.clients = {name: types.SimpleNamespace(node=name) for name in names}
        for client in self.clients.values():
            client.start, client.follow = self.start, self.follow
            client.processes = self.lost if client.node == "a" else self.ends
        self.tokens: dict[str, str] = {}

    async def open(self) -> None:
        return

    async def start(self, spec: ProcessSpec) -> None:
        self.tokens[spec.token.split("/")[1]] = spec.token

    async def follow(self, _token: str) -> None:
        return

    async def lost(self) -> None:
        raise RemoteError("a", "unreachable", "the connection does not come back")

    async def ends(self) -> None:
        info = ProcessInfo(token=self.tokens["b"], pid=1, state="exited", exit_code=0)
        self.tell(ProcessChanged("b", info))

    async def end(self) -> list[RemoteError]:
        return []


def test_a_node_that_is_lost_ends_its_own_steps_only(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup_nodes, "SessionNodes", TwoNodes)
    monkeypatch.setattr(setup_nodes, "LOOK_S", 0.01)
    steps = [SetupStep(node=n, title="vLLM", why="", by="run", commands=("true",)) for n in "ab"]
    said: list[str] = []
    with pytest.raises(UserError, match=r"^a: vLLM: .*the connection does not come back$"):
        carry_out_setup(workspace, "mine", steps, said.append)
    assert "b: vLLM is done" in said


class TakesLong(TwoNodes):
    """Its step goes on for ever; `pdconsole setup` is told to end."""

    ended = False

    async def follow(self, _token: str) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    async def end(self) -> list[RemoteError]:
        type(self).ended = True
        return []


def test_a_set_up_that_is_told_to_end_leaves_nothing_on_its_nodes(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup_nodes, "SessionNodes", TakesLong)
    steps = [SetupStep(node="a", title="vLLM", why="", by="run", commands=("true",))]
    with pytest.raises(KeyboardInterrupt):
        carry_out_setup(workspace, "mine", steps, lambda _: None)
    assert TakesLong.ended
