"""Where a workspace's runner listens: a short 0700 directory of the user's own.

UNIX socket paths hold 108 bytes and do not work on NFS, so the workspace itself is no place for it.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path


class RuntimeDirError(Exception):
    """The runtime directory cannot be trusted or made."""


def runtime_dir() -> Path:
    """`$XDG_RUNTIME_DIR/pdconsole`, or `/tmp/pdconsole-<uid>`; made 0700 and checked to be ours."""
    base = os.environ.get("XDG_RUNTIME_DIR")
    usable = base and Path(base).is_dir() and os.access(base, os.W_OK)
    path = Path(base) / "pdconsole" if base and usable else Path(f"/tmp/pdconsole-{os.getuid()}")
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        info = path.lstat()
    except OSError as e:
        raise RuntimeDirError(f"cannot make {path}: {e.strerror}") from e
    ours = stat.S_ISDIR(info.st_mode) and info.st_uid == os.getuid()
    if not ours or info.st_mode & 0o077:
        raise RuntimeDirError(
            f"{path} is not a directory that only you can enter; remove it, or set XDG_RUNTIME_DIR"
        )
    return path


def workspace_key(workspace: Path) -> str:
    return hashlib.sha256(str(workspace.resolve()).encode()).hexdigest()[:12]


def socket_path(workspace: Path) -> Path:
    return runtime_dir() / f"runner-{workspace_key(workspace)}.sock"


def lock_path(workspace: Path) -> Path:
    return runtime_dir() / f"runner-{workspace_key(workspace)}.lock"


def log_path(workspace: Path) -> Path:
    return runtime_dir() / f"runner-{workspace_key(workspace)}.log"
