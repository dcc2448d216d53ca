"""This machine as two nodes with a real engine, for tests of what `install` of theirs made."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from console import Console
from openssh_server import SSHD, Sshd

_TINY_MODEL = Path(__file__).parents[1] / "engine" / "tiny_model.py"


def tiny_model_of(stack: Path, folder: Path) -> Path:
    """The tiny model in this folder, made by the Python of a stack."""
    made = subprocess.run(
        [stack / "bin/python", _TINY_MODEL, folder],
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    return folder


@contextlib.contextmanager
def two_nodes(console: Console, stack: Path, name: str) -> Iterator[list[Sshd]]:
    """Two OpenSSH servers, in whose homes `name` is the stack."""
    if not Path(SSHD).exists():
        pytest.skip("needs the package openssh-server")
    servers: list[Sshd] = []
    try:
        for node in ("n1", "n2"):
            # Under the console's directory: by that it knows what it started.
            folder = console.runtime / node
            folder.mkdir()
            servers.append(Sshd(folder, simulated=False))
            (servers[-1].home / name).symlink_to(stack)
        yield servers
    finally:
        for server in servers:
            server.clean_up()


def ssh_to(console: Console, servers: list[Sshd]) -> dict[str, Any]:
    """`ssh` of a cluster profile."""
    known_hosts = console.runtime / "known_hosts"
    known_hosts.write_text("".join(server.known_hosts.read_text() for server in servers))
    return {
        "config": "",
        "known_hosts": str(known_hosts),
        "identity": [str(server.folder / "id") for server in servers],
    }
