"""The tests with real Ray run where its stack is installed; elsewhere they skip and say so."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from console import Console
from openssh_server import SSHD, Sshd
from ray_stack import ENGINE_TESTS, RAY, free_block, shipped_cluster


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not (RAY / "installed").exists():
        pytest.skip(f"no Ray in {RAY}; install it with: sh tests/ray/install")
    folder = tmp_path_factory.mktemp("tiny")
    made = subprocess.run(
        [RAY / "bin/python", ENGINE_TESTS / "tiny_model.py", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    return folder


@pytest.fixture
def console() -> Iterator[Console]:
    # A short path: UNIX sockets hold 108 bytes.
    root = Path(tempfile.mkdtemp(prefix="pdc-"))
    made = Console(root)
    try:
        yield made
    finally:
        made.end()
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def ray_nodes(tiny_model: Path, console: Console) -> Iterator[list[Sshd]]:
    """The shipped cluster local-ray: this machine as two nodes, by two OpenSSH servers.

    Each has Ray where the profile says.
    """
    if not Path(SSHD).exists():
        pytest.skip("needs the package openssh-server")
    servers: list[Sshd] = []
    try:
        for name in ("n1", "n2"):
            # Under the console's directory: by that it knows what it started.
            folder = console.runtime / name
            folder.mkdir()
            servers.append(Sshd(folder, simulated=False))
            (servers[-1].home / "pdconsole-ray").symlink_to(RAY)
        # P and D compare the path too in their handshake, and the nodes' homes differ.
        console.change("models", "tiny", source=str(tiny_model))
        console.change("clusters", "local-ray", **_cluster(console, servers))
        yield servers
    finally:
        for server in servers:
            server.clean_up()


def _cluster(console: Console, servers: list[Sshd]) -> dict[str, Any]:
    known_hosts = console.runtime / "known_hosts"
    known_hosts.write_text("".join(server.known_hosts.read_text() for server in servers))
    cluster = shipped_cluster()
    ports, ray_ports = free_block()
    return {
        "nodes": [
            node | {"port": server.port}
            for node, server in zip(cluster["nodes"], servers, strict=True)
        ],
        "ssh": {
            "config": "",
            "known_hosts": str(known_hosts),
            "identity": [str(server.folder / "id") for server in servers],
        },
        "ports": ports,
        "ray": cluster["ray"] | {"ports": ray_ports},
    }
