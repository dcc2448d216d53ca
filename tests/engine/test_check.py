"""`pdconsole check` on nodes with the real engine, through real OpenSSH."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest
import yaml
from console import Console
from openssh_server import Sshd

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(300)]


def check(console: Console, *words: str) -> tuple[int, dict[tuple[str, str], dict[str, Any]]]:
    done = console.run("check", *words, "--json")
    assert done.stdout, done.stderr
    found = {(r["node"], r["check"]): r for r in json.loads(done.stdout)["results"]}
    assert console.ours() == {}
    return done.returncode, found


def profile(console: Console, kind: str, name: str) -> dict[str, Any]:
    path = console.workspace / "profiles" / kind / f"{name}.yaml"
    loaded: dict[str, Any] = yaml.safe_load(path.read_text())
    return loaded


def test_a_node_with_the_real_engine(console: Console, cpu_nodes: list[Sshd]) -> None:
    code, found = check(console, "tiny-pd")
    bad = {name: r for name, r in found.items() if r["verdict"] != "ok"}
    assert (code, bad) == (0, {})
    assert found["n1", "vllm"]["value"].startswith("0.32.0")
    assert found["n1", "nixl"]["value"] == "1.5.1"
    assert found["n1", "ucx"]["value"].startswith("1.23.0: ")
    assert "tcp" in found["n1", "ucx"]["value"]
    assert found["n1", "model"]["value"] == profile(console, "models", "tiny")["source"]


def test_a_run_is_refused_where_the_model_is_missing_or_a_port_taken(
    console: Console, cpu_nodes: list[Sshd]
) -> None:
    port = profile(console, "clusters", "local-cpu")["ports"]["worker"]
    with socket.create_server(("127.0.0.1", port)):
        code, found = check(console, "tiny-pd")
    assert code == 1
    assert [name for name, r in found.items() if r["verdict"] == "fail"] == [("n1", "ports")]
    assert f"port {port} of " in found["n1", "ports"]["value"]

    console.change("models", "tiny", source="/no/such/model")
    refused = console.run("run", "tiny-pd", "--plain")
    assert refused.returncode != 0
    assert "check model failed: /no/such/model is not there" in refused.stdout + refused.stderr
    assert console.ours() == {}
