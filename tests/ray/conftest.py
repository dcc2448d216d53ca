"""The tests with real Ray run where its stack is installed; elsewhere they skip and say so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from console import Console, own_console
from openssh_server import Sshd
from ray_stack import RAY, free_block
from real_nodes import ssh_to, tiny_model_of, two_nodes


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not (RAY / "installed").exists():
        pytest.skip(f"no Ray in {RAY}; install it with: sh tests/ray/install")
    return tiny_model_of(RAY, tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def console() -> Iterator[Console]:
    with own_console() as made:
        yield made


@pytest.fixture
def ray_nodes(tiny_model: Path, console: Console) -> Iterator[list[Sshd]]:
    """The shipped cluster local-ray: this machine as two nodes, by two OpenSSH servers.

    Each has Ray where the profile says.
    """
    with two_nodes(console, RAY, "pdconsole-ray") as servers:
        # P and D compare the path too in their handshake, and the nodes' homes differ.
        console.change("models", "tiny", source=str(tiny_model))
        console.change("clusters", "local-ray", **_cluster(console, servers))
        yield servers


def _cluster(console: Console, servers: list[Sshd]) -> dict[str, Any]:
    cluster = console.profile("clusters", "local-ray")
    ports, ray_ports = free_block()
    return {
        "nodes": [
            node | {"port": server.port}
            for node, server in zip(cluster["nodes"], servers, strict=True)
        ],
        "ssh": ssh_to(console, servers),
        "ports": ports,
        "ray": cluster["ray"] | {"ports": ray_ports},
    }
