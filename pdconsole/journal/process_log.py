"""A node's log file, copied byte for byte as it arrives.

The copy is as long as what has arrived, so its size is the node's offset to go on from, also after
a crash. A process that was started anew begins at 0 with other bytes: it gets a file of its own,
`P1.2.log` beside `P1.log`.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from types import TracebackType
from typing import Self

from pdconsole.journal.errors import JournalError
from pdconsole.journal.files import AppendOnlyFile


class ProcessLog:
    """Raises JournalError when the copy cannot be written; it then ends where it ended before."""

    def __init__(self, path: Path) -> None:
        self._first = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise JournalError(f"cannot make {path.parent}: {e.strerror}") from e
        self._generation = _latest_generation(path)
        with self._open() as file:
            self._size = file.size

    def _open(self) -> AppendOnlyFile:
        """Open only while it is written: a long session has more processes than a process may
        have files open."""
        return AppendOnlyFile(self.path)

    @property
    def path(self) -> Path:
        """Of the latest start."""
        if self._generation == 1:
            return self._first
        return self._first.with_name(f"{self._first.stem}.{self._generation}{self._first.suffix}")

    @property
    def next_offset(self) -> int:
        """Follow the node's file from here on."""
        return self._size

    def append(self, offset: int, data: bytes) -> int:
        """Take the node's bytes at `offset`; returns `next_offset`.

        What is here already is not written again. When bytes between are missing nothing is
        written, and the offset returned is smaller than `offset`: follow the file anew from there.
        """
        known = data[: max(0, self._size - offset)]
        with contextlib.ExitStack() as opened:
            file = opened.enter_context(self._open())
            if known and file.read(len(known), offset) != known:
                # Another process writes there now. Up to here its bytes were equal.
                same, known = file.read(offset, 0), b""
                self._generation += 1
                file = opened.enter_context(self._open())
                file.append(same)
            if offset + len(known) == file.size:
                file.append(data[len(known) :])
            self._size = file.size
        return self._size

    def close(self) -> None:
        return  # nothing is open between appends

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()


def _latest_generation(path: Path) -> int:
    pattern = re.compile(re.escape(path.stem) + r"\.(\d+)" + re.escape(path.suffix))
    numbers = [int(m[1]) for p in path.parent.iterdir() if (m := pattern.fullmatch(p.name))]
    return max(numbers, default=1)
