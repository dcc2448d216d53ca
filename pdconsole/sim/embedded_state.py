"""The files by which the embedded cluster's server and those who need it find each other."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

SPEC_FILE = "spec.json"
STATE_FILE = "state.json"
LOCK_FILE = "server.lock"
CLIENT_KEY_FILE = "client_key"
KNOWN_HOSTS_FILE = "known_hosts"


class NodeSpec(msgspec.Struct, frozen=True):
    """A simulated node, as the cluster profile describes it."""

    name: str
    gpus: int
    gpu_model: str
    gpu_memory_mib: int


class EmbeddedSpec(msgspec.Struct, frozen=True):
    """What to simulate, and how long to wait for someone to come back, in seconds."""

    nodes: tuple[NodeSpec, ...]
    idle_s: float


class NodePlace(msgspec.Struct, frozen=True):
    name: str
    address: str
    port: int


class EmbeddedState(msgspec.Struct, frozen=True):
    """Written when all nodes listen."""

    pid: int
    user: str
    nodes: tuple[NodePlace, ...]


def write_whole(path: Path, text: str, mode: int = 0o600) -> None:
    """Readers see the old text or the new, never half of it."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(text)
    part.chmod(mode)
    part.replace(path)
