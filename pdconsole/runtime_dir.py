"""The user's runtime directory: short, private, and there as long as background processes are.

Not `$XDG_RUNTIME_DIR`: logind removes that at the user's last logout, while the runner and the
embedded nodes go on. UNIX socket paths hold 108 bytes and do not work on NFS, so neither the home
nor the workspace will do.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

VARIABLE = "PDCONSOLE_RUNTIME_DIR"


class RuntimeDirError(Exception):
    """The runtime directory cannot be trusted or made."""


def runtime_dir() -> Path:
    """`/tmp/pdconsole-<uid>`, or what PDCONSOLE_RUNTIME_DIR names. Raises RuntimeDirError."""
    named = os.environ.get(VARIABLE)
    return private_dir(Path(named) if named else Path(f"/tmp/pdconsole-{os.getuid()}"))


def private_dir(path: Path) -> Path:
    """Make `path` 0700 if it is not there. Raises RuntimeDirError unless only we can enter it."""
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        info = path.lstat()
    except OSError as e:
        raise RuntimeDirError(
            f"cannot make {path}: {e.strerror}; name another directory in {VARIABLE}"
        ) from e
    ours = stat.S_ISDIR(info.st_mode) and info.st_uid == os.getuid()
    if not ours or info.st_mode & 0o077:
        raise RuntimeDirError(
            f"{path} is not a directory that only you can enter (0700); remove it, or name another "
            f"in {VARIABLE}"
        )
    return path
