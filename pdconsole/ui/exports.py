"""What leaves the console for a file: copies, screenshots, crash reports."""

from __future__ import annotations

import time
from pathlib import Path


class ExportError(Exception):
    """A file could not be written; str() says which and why."""


def write_export(directory: Path, stem: str, suffix: str, text: str, wall: float) -> Path:
    """A new file `<stem>-<local time><suffix>`, readable by its owner only."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(wall))
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        number = 1
        while True:
            again = "" if number == 1 else f"-{number}"
            path = directory / f"{stem}-{stamp}{again}{suffix}"
            try:
                with path.open("x", encoding="utf-8") as file:
                    path.chmod(0o600)
                    file.write(text)
            except FileExistsError:
                number += 1
                continue
            return path
    except OSError as e:
        raise ExportError(f"cannot write to {directory}: {e.strerror}") from e
