"""The engine's tests run where its stack is installed; elsewhere they skip and say so."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from console import Console
from engine_stack import HERE, STACK, ByHand, free_ports, shipped
from openssh_server import SSHD, Sshd


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not (STACK / "installed").exists():
        pytest.skip(f"no engine in {STACK}; install it with: sh tests/engine/install")
    folder = tmp_path_factory.mktemp("tiny")
    made = subprocess.run(
        [STACK / "bin/python", HERE / "tiny_model.py", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    return folder


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
    # A short path: UNIX sockets hold 108 bytes.
    root = Path(tempfile.mkdtemp(prefix="pdc-"))
    made = Console(root)
    try:
        yield made
    finally:
        made.end()
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def cpu_nodes(tiny_model: Path, console: Console) -> Iterator[list[Sshd]]:
    """The shipped cluster local-cpu of two nodes, n1 and n2: this machine, by two OpenSSH servers.

    n2 is dialled at 127.0.0.2. Each has the engine where the profile says.
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
            (servers[-1].home / "pdconsole-engine").symlink_to(STACK)
        # P and D compare the path too in their handshake, and the nodes' homes differ.
        console.change("models", "tiny", source=str(tiny_model))
        console.change("clusters", "local-cpu", **_cluster(console, servers))
        yield servers
    finally:
        for server in servers:
            server.clean_up()


def _cluster(console: Console, servers: list[Sshd]) -> dict[str, object]:
    known_hosts = console.runtime / "known_hosts"
    known_hosts.write_text("".join(server.known_hosts.read_text() for server in servers))
    node = shipped("clusters", "local-cpu")["nodes"][0]
    return {
        "nodes": [
            node
            | {"name": f"n{n}", "port": server.port, "address": f"127.0.0.{n}"}
            # On one machine, but each with slots of its own.
            | {"lock_dir": str(server.home / "locks")}
            for n, server in enumerate(servers, 1)
        ],
        "ssh": {
            "config": "",
            "known_hosts": str(known_hosts),
            "identity": [str(server.folder / "id") for server in servers],
        },
        "ports": {
            "worker": free_ports(4),
            "side_channel": free_ports(4),
            "router": free_ports(1),
            "router_metrics": free_ports(1),
        },
    }
