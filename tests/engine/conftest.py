"""The engine's tests run where its stack is installed; elsewhere they skip and say so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from console import Console, own_console
from engine_stack import STACK, ByHand, free_ports, shipped
from openssh_server import Sshd
from real_nodes import ssh_to, tiny_model_of, two_nodes


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not (STACK / "installed").exists():
        pytest.skip(f"no engine in {STACK}; install it with: sh tests/engine/install")
    return tiny_model_of(STACK, tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def by_hand(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ByHand]:
    """One P, one D and a router, for the tests of a module that need no console."""
    servers = ByHand(tiny_model, tmp_path_factory.mktemp("logs"))
    try:
        servers.start()
        yield servers
    finally:
        servers.stop()


@pytest.fixture
def console() -> Iterator[Console]:
    with own_console() as made:
        yield made


@pytest.fixture
def cpu_nodes(tiny_model: Path, console: Console) -> Iterator[list[Sshd]]:
    """The shipped cluster local-cpu of two nodes, n1 and n2: this machine, by two OpenSSH servers.

    n2 is dialled at 127.0.0.2. Each has the engine where the profile says.
    """
    with two_nodes(console, STACK, "pdconsole-engine") as servers:
        # P and D compare the path too in their handshake, and the nodes' homes differ.
        console.change("models", "tiny", source=str(tiny_model))
        console.change("clusters", "local-cpu", **_cluster(console, servers))
        yield servers


def _cluster(console: Console, servers: list[Sshd]) -> dict[str, object]:
    node = shipped("clusters", "local-cpu")["nodes"][0]
    return {
        "nodes": [
            node
            | {"name": f"n{n}", "port": server.port, "address": f"127.0.0.{n}"}
            # On one machine, but each with slots of its own.
            | {"lock_dir": str(server.home / "locks")}
            for n, server in enumerate(servers, 1)
        ],
        "ssh": ssh_to(console, servers),
        "ports": {
            "worker": free_ports(4),
            "side_channel": free_ports(4),
            "router": free_ports(1),
            "router_metrics": free_ports(1),
        },
    }
