"""Whether files of results have changed since they were read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

Stamp = frozenset[tuple[str, int, int]]


def stamp_of(directory: Path) -> Stamp:
    """Each file below it with its size and when it was written; what cannot be read has none."""
    return frozenset(_files(str(directory)))


def _files(directory: str) -> Iterator[tuple[str, int, int]]:
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.is_dir():
                    yield from _files(entry.path)
                else:
                    stat = entry.stat()
                    yield entry.path, stat.st_size, stat.st_mtime_ns
    except OSError:
        return
