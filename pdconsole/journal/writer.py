"""Writes a recording: one event a line, stamped, buffered, whole lines only."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import msgspec

from pdconsole import __version__
from pdconsole.journal.clock import SYSTEM_CLOCK, Clock
from pdconsole.journal.errors import DiskFullError, JournalError
from pdconsole.journal.files import AppendOnlyFile
from pdconsole.journal.reader import last_line, read_header
from pdconsole.model import events as ev

E = TypeVar("E", bound=ev.Event)

# After these the file is forced to disk: what a resume decides by must survive a power failure.
DURABLE = (
    ev.SessionOpened,
    ev.EpochOpened,
    ev.SessionState,
    ev.RunState,
    ev.PointState,
    ev.PointResult,
)
BUFFER = 1 << 16
LARGEST_TORN_HEADER = 1 << 12


class JournalWriter:
    """Appends to a session's events.jsonl, which it creates with its header.

    On a recording that exists it cuts a torn tail, continues seq, and continues t from the wall
    clock. `flush` is to be called a few times a second; state changes flush and sync by themselves.

    Raises JournalError when another writer has the file, a newer pdconsole wrote it, or it cannot
    be written; after DiskFullError the events stay buffered, and a later flush may succeed.
    """

    def __init__(
        self, path: Path, *, clock: Clock = SYSTEM_CLOCK, session: str | None = None
    ) -> None:
        self.path = path
        self.seq = 0
        self._clock = clock
        self._buffer = bytearray()
        self._file = AppendOnlyFile(path, exclusive=True)
        self._origin = clock.monotonic()
        try:
            self._resume()
            if self._file.size == 0:
                self.append(
                    ev.Header(
                        schema=ev.SCHEMA_VERSION,
                        session=session or path.parent.name,
                        pdconsole=__version__,
                    )
                )
                self.flush()
        except BaseException:
            self._file.close()
            raise

    def _resume(self) -> None:
        """Cut what a crash left half-written, and take seq and t from the last good line."""
        last = last_line(self.path)
        if last is None:
            if self._file.size > LARGEST_TORN_HEADER:
                raise JournalError(f"{self.path} is no pdconsole recording; it was left as it is")
            self._file.cut(0)
            return
        stamp, end = last
        header = read_header(self.path)
        self._file.cut(end)
        self.seq = stamp.seq
        elapsed = self._clock.wall() - (header.wall - header.t)
        self._origin = self._clock.monotonic() - max(stamp.t, elapsed)

    def append(self, event: E) -> E:
        """Stamp the event with seq, t and wall, take it into the recording and return it."""
        self.seq += 1
        stamped = msgspec.structs.replace(
            event,
            seq=self.seq,
            t=round(self._clock.monotonic() - self._origin, 6),
            wall=round(self._clock.wall(), 6),
        )
        self._buffer += ev.encode(stamped)
        self._buffer += b"\n"
        if isinstance(stamped, DURABLE):
            self.flush(sync=True)
        elif len(self._buffer) >= BUFFER:
            self.flush()
        return stamped

    def flush(self, *, sync: bool = False) -> None:
        """Write what is buffered; with `sync` return when it is on the disk."""
        if self._buffer:
            try:
                self._file.append(self._buffer, record_end=b"\n")
            except DiskFullError as e:
                del self._buffer[: e.kept]
                raise
            self._buffer.clear()
        if sync:
            self._file.sync()

    @property
    def t(self) -> float:
        """Seconds since the session's start, now."""
        return self._clock.monotonic() - self._origin

    def close(self) -> None:
        """Write and sync what is buffered, and let the file go."""
        try:
            self.flush(sync=True)
        finally:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()
