"""Reads a recording, whole or while it grows.

A line without its newline is a torn tail: not there yet, or never finished. Types this version
does not know are passed over. A jump in seq becomes a `note` in the stream, so that live, watch and
replay all show it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from pdconsole.journal.errors import JournalError
from pdconsole.model.events import SCHEMA_VERSION, AnyEvent, Note, decode

CHUNK = 1 << 20


class Stamp(msgspec.Struct, frozen=True):
    """What every line has, whatever its type."""

    type: str
    seq: int = 0
    t: float = 0.0
    wall: float = 0.0


_stamp_decoder = msgspec.json.Decoder(Stamp)


class Position(msgspec.Struct, frozen=True):
    """A place between two lines: what has been read up to there."""

    offset: int = 0  # bytes
    seq: int = 0  # of the line before
    lines: int = 0


START = Position()


class JournalTail:
    """Follows a recording from `start` on; holds at most one chunk of it in memory.

    Raises JournalError when there is no recording, a newer pdconsole wrote it, or it is damaged.
    """

    def __init__(self, path: Path, *, chunk: int = CHUNK, start: Position = START) -> None:
        self.path = path
        self.offset = start.offset  # end of the last line taken
        self.seq = start.seq  # of the last line taken
        self.unknown = 0  # lines of unknown types passed over
        self._lines = start.lines
        self._chunk = chunk
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as e:
            raise JournalError(f"no recording at {path}: {e.strerror}") from e

    def poll(self) -> list[AnyEvent]:
        """The next events; an empty list means that there are no more yet."""
        events: list[AnyEvent] = []
        while not events:
            block = self._next_lines()
            if not block:
                break
            self._take(block, events)
        return events

    def take(self, size: int) -> list[AnyEvent]:
        """The events of the next `size` bytes, which must be whole lines."""
        block = os.pread(self._fd, size, self.offset)
        if len(block) < size or not block.endswith(b"\n"):
            raise self._cut()
        events: list[AnyEvent] = []
        self._take(block, events)
        return events

    @property
    def position(self) -> Position:
        return Position(self.offset, self.seq, self._lines)

    def _cut(self) -> JournalError:
        return JournalError(f"{self.path} was cut while it was read; open it again")

    def _next_lines(self) -> bytes:
        """The whole lines of the next chunk, or of a larger one where a line does not fit."""
        size = self._chunk
        while True:
            data = os.pread(self._fd, size, self.offset)
            end = data.rfind(b"\n") + 1
            if end:
                return data[:end]
            if len(data) < size:
                if os.fstat(self._fd).st_size < self.offset:
                    raise self._cut()
                return b""
            size *= 2

    def _take(self, block: bytes, events: list[AnyEvent]) -> None:
        for line in block[:-1].split(b"\n"):
            self._lines += 1
            if self._lines == 1:
                check_header(self.path, line)
            try:
                event = decode(line)
                stamp = _stamp_decoder.decode(line) if event is None else event
            except (msgspec.MsgspecError, UnicodeDecodeError) as e:
                raise JournalError(
                    f"{self.path}: line {self._lines} is damaged ({e}); what is before it can be "
                    f"read from a copy made with `head -n {self._lines - 1}`"
                ) from e
            if stamp.seq != self.seq + 1:
                events.append(self._gap(stamp))
            self.seq = stamp.seq
            if event is None:
                self.unknown += 1
            else:
                events.append(event)
        self.offset += len(block)

    def _gap(self, found: AnyEvent | Stamp) -> Note:
        expected = self.seq + 1
        if found.seq < expected:
            what = f"event {found.seq} comes after event {self.seq}"
        elif found.seq == expected + 1:
            what = f"event {expected} is missing from the recording"
        else:
            what = f"events {expected} to {found.seq - 1} are missing from the recording"
        return Note(
            seq=found.seq,
            t=found.t,
            wall=found.wall,
            level="warning",
            message=what,
            subject=self.path.name,
        )

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()


def read_events(path: Path) -> Iterator[AnyEvent]:
    """All events of a recording up to its (perhaps torn) end, in the order of the file.

    Raises JournalError as `JournalTail` does.
    """
    with JournalTail(path) as tail:
        while events := tail.poll():
            yield from events


def read_header(path: Path) -> Stamp:
    """The stamp of the header. Raises JournalError as `check_header` does."""
    with path.open("rb") as file:
        line = file.readline()
    check_header(path, line)
    return _stamp_decoder.decode(line)


def check_header(path: Path, line: bytes) -> None:
    """Raises JournalError unless the first line is a header of a schema this version reads."""
    try:
        header: Any = msgspec.json.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        header = None
    if not isinstance(header, dict) or header.get("type") != "header":
        raise JournalError(f"{path} is no pdconsole recording: its first line is no header")
    schema = header.get("schema", SCHEMA_VERSION)
    if not isinstance(schema, int) or schema > SCHEMA_VERSION:
        raise JournalError(
            f"{path} was recorded by pdconsole {header.get('pdconsole', '?')} with schema {schema};"
            f" this pdconsole reads up to schema {SCHEMA_VERSION}: upgrade it"
        )


def last_line(path: Path) -> tuple[Stamp, int] | None:
    """The stamp of the last whole, good line and the offset after it; None when there is none."""
    size = 1 << 16
    with path.open("rb") as file:
        length = file.seek(0, os.SEEK_END)
        while True:
            start = max(0, length - size)
            file.seek(start)
            data = file.read(length - start)
            stop = data.rfind(b"\n")
            while stop >= 0:
                before = data.rfind(b"\n", 0, stop)
                if before < 0 and start > 0:
                    break  # it begins before this piece of the file
                try:
                    return _stamp_decoder.decode(data[before + 1 : stop]), start + stop + 1
                except (msgspec.MsgspecError, UnicodeDecodeError):
                    stop = before
            if start == 0:
                return None
            size *= 4
