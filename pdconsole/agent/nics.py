"""Hardware counters of RDMA devices, kept open between samples."""

from __future__ import annotations

import os
from typing import Dict, List, Tuple

ROOT = "/sys/class/infiniband"


def names(root: str = ROOT) -> List[str]:
    try:
        return sorted(os.listdir(root))
    except FileNotFoundError:
        return []


class NicCounters:
    """`<root>/<device>/ports/<port>/hw_counters/*`. What a device lacks is absent, not zero."""

    def __init__(self, root: str = ROOT) -> None:
        self._files: List[Tuple[str, str, int]] = []
        for device in names(root):
            ports = os.path.join(root, device, "ports")
            for port in names(ports):
                label = device if port == "1" else f"{device}:{port}"
                folder = os.path.join(ports, port, "hw_counters")
                for name in names(folder):
                    self._open(label, name, os.path.join(folder, name))

    def _open(self, label: str, name: str, path: str) -> None:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return  # write-only knobs such as `lifespan` of some drivers, or a device going away
        self._files.append((label, name, fd))

    def read(self) -> Dict[str, Dict[str, int]]:
        counters: Dict[str, Dict[str, int]] = {}
        for label, name, fd in self._files:
            try:
                counters.setdefault(label, {})[name] = int(os.pread(fd, 64, 0))
            except (OSError, ValueError):
                continue  # the device is gone, or this is not a counter: absent
        return counters

    def close(self) -> None:
        for _, _, fd in self._files:
            os.close(fd)
        self._files.clear()
