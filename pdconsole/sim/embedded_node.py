"""A simulated node's directory: home, commands, GPUs, and the environment of a login there.

home/                 HOME of whoever logs in
bin/                  vllm, vllm-router, nvidia-smi, python3: in front of the machine's own PATH
gpus/                 what nvidia-smi says; see nvidia_smi.py
tmp/, run/            TMPDIR and XDG_RUNTIME_DIR, so that nodes share neither
host_key              of its ssh server
"""

from __future__ import annotations

import getpass
import importlib.metadata
import os
import shlex
import shutil
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path

import asyncssh

from pdconsole.sim import nvidia_smi
from pdconsole.sim.embedded_state import NodeSpec, write_whole
from pdconsole.sim.gpus import DRIVER_VERSION

_GPU_NAMESPACE = uuid.UUID("6d1f1a58-3a7e-4c0a-9b8e-0f6c7f6a2d11")
_KEPT_VARIABLES = ("LANG", "LC_ALL", "TZ", "PYTHONPATH")


class EmbeddedNode:
    """The files of one node under the embedded cluster's directory."""

    def __init__(self, spec: NodeSpec, directory: Path) -> None:
        self.spec = spec
        self.directory = directory
        self.host_key_path = directory / "host_key"

    @property
    def home(self) -> Path:
        return self.directory / "home"

    def prepare(self) -> None:
        """Make what is not there yet; what an earlier server left stays as it is."""
        for name in ("home", "bin", "gpus", "tmp", "run"):
            (self.directory / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        for index in range(self.spec.gpus):
            (self.directory / "gpus" / str(index)).mkdir(exist_ok=True)
        write_whole(self.directory / "gpus" / "inventory", self._inventory())
        for name, script in _commands().items():
            write_whole(self.directory / "bin" / name, script, mode=0o755)
        if not self.host_key_path.exists():
            key = asyncssh.generate_private_key("ssh-ed25519", comment=self.spec.name)
            write_whole(self.host_key_path, key.export_private_key().decode(), mode=0o600)

    def _inventory(self) -> str:
        model = self.spec.gpu_model
        name = model if "simulated" in model else f"{model} (simulated)"
        lines = []
        for index in range(self.spec.gpus):
            uid = uuid.uuid5(_GPU_NAMESPACE, f"{self.directory}/{index}")
            lines.append(f"{index},GPU-{uid},{self.spec.gpu_memory_mib},{name},{DRIVER_VERSION}\n")
        return "".join(lines)

    def environment(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """Of a login on this node."""
        user = getpass.getuser()
        path = inherited.get("PATH", os.defpath)
        return {
            **{name: inherited[name] for name in _KEPT_VARIABLES if name in inherited},
            "HOME": str(self.home),
            "PATH": f"{self.directory / 'bin'}:{path}",
            "USER": user,
            "LOGNAME": user,
            "SHELL": "/bin/sh",
            "HOSTNAME": self.spec.name,
            "TMPDIR": str(self.directory / "tmp"),
            "XDG_RUNTIME_DIR": str(self.directory / "run"),
            nvidia_smi.NODE_DIR_VARIABLE: str(self.directory),
        }


def _commands() -> dict[str, str]:
    """Shell scripts by the name of the command."""
    python = shlex.quote(sys.executable)
    # Site packages and environment cost nvidia-smi more than its own work.
    smi = f"exec {python} -I -S -E {shlex.quote(nvidia_smi.__file__)}"
    commands = {
        "python3": f"exec {python}",
        "vllm": f"exec {python} -P -m pdconsole.sim.worker",
        "nvidia-smi": smi,
    }
    router = _router_path()
    scripts = {name: f'#!/bin/sh\n{line} "$@"\n' for name, line in commands.items()}
    if router is not None:
        # The router itself does not know --version.
        scripts["vllm-router"] = (
            "#!/bin/sh\n"
            f'[ "$1" = --version ] && exec echo "vllm-router {_router_version()}"\n'
            f'exec {shlex.quote(router)} "$@"\n'
        )
    return scripts


def _router_path() -> str | None:
    beside = Path(sys.executable).with_name("vllm-router")
    return str(beside) if beside.exists() else shutil.which("vllm-router")


def _router_version() -> str:
    try:
        return importlib.metadata.version("vllm-router")
    except importlib.metadata.PackageNotFoundError:
        return "of unknown version"
