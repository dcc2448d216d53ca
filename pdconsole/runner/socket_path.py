"""Where a workspace's runner listens, holds its lock and writes its log."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pdconsole.runtime_dir import runtime_dir


def socket_path(workspace: Path) -> Path:
    return _path(workspace, "sock")


def lock_path(workspace: Path) -> Path:
    return _path(workspace, "lock")


def log_path(workspace: Path) -> Path:
    return _path(workspace, "log")


def _path(workspace: Path, ending: str) -> Path:
    """Raises RuntimeDirError when there is no private place for it."""
    key = hashlib.sha256(str(workspace.resolve()).encode()).hexdigest()[:12]
    return runtime_dir() / f"runner-{key}.{ending}"
