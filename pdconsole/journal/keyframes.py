"""The keyframes of a recording: places in it at which the state is known.

The state at any time is that of the last keyframe before it plus the few events between. Keyframes
are made by reading the recording, by the runner while it records as by whoever looks back, so both
hold the same. The sidecar is a line that says what it was made of and by, then a line of JSON for
each keyframe with so many bytes after it: the state, deflated. All in it comes from the recording:
it may be deleted at any time.
"""

from __future__ import annotations

import functools
import hashlib
import os
import zlib
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from pdconsole.journal import marks
from pdconsole.journal.errors import JournalError
from pdconsole.journal.files import AppendOnlyFile, replace_file
from pdconsole.journal.marks import Mark, marks_of
from pdconsole.journal.reader import JournalTail, Position
from pdconsole.model import events as ev
from pdconsole.model import state as model_state
from pdconsole.model.state import State, reduce

# About a thousand events: read and folded within some 10 ms.
EVERY_BYTES = 1 << 18
CHECKED_BYTES = 1 << 10


class Keyframe(msgspec.Struct, frozen=True):
    """`offset`, `seq` and `lines` are the place, as in `Position`."""

    offset: int
    seq: int
    lines: int
    t: float  # the latest up to here
    check: int  # CRC-32 of the recording's last CHECKED_BYTES up to here
    requests: int  # finished since the keyframe before
    marks: tuple[Mark, ...]  # since the keyframe before
    inflated: int  # bytes of the state
    bytes: int  # of the state, deflated

    @property
    def position(self) -> Position:
        return Position(self.offset, self.seq, self.lines)


# Where every recording begins; no file holds it.
BEGINNING = Keyframe(
    offset=0, seq=0, lines=0, t=float("-inf"), check=0, requests=0, marks=(), inflated=0, bytes=0
)


class Origin(msgspec.Struct, frozen=True):
    """First line of a sidecar: other code or another recording would make other keyframes."""

    code: str
    recording: int  # CRC-32 of the header line


_encoder = msgspec.json.Encoder()
_origin_decoder = msgspec.json.Decoder(Origin)
_keyframe_decoder = msgspec.json.Decoder(Keyframe)
_state_encoder = msgspec.msgpack.Encoder()
_state_decoder = msgspec.msgpack.Decoder(State)


class KeyframeFold:
    """Folds a recording from a keyframe on, as far as it goes, and makes the next keyframes."""

    def __init__(
        self, path: Path, start: Keyframe, state: State, *, every: int = EVERY_BYTES
    ) -> None:
        self.state = state
        self.t = max(start.t, 0.0)  # of the latest event
        self.marks: list[Mark] = []  # since the last keyframe
        self._requests = 0  # since then
        self._last = start
        self._every = every
        # A keyframe can only be where a chunk ends.
        self._tail = JournalTail(path, start=start.position, chunk=max(every // 4, 1))

    @property
    def offset(self) -> int:
        return self._tail.offset

    def poll(self) -> list[ev.AnyEvent]:
        """The next events, folded; an empty list means that there are no more yet."""
        events = self._tail.poll()
        for event in events:
            self.state = reduce(self.state, event)
            self.t = max(self.t, event.t)
            self.marks.extend(marks_of(event, self.state))
            self._requests += isinstance(event, ev.RequestFinished)
        return events

    def keyframe(self) -> tuple[Keyframe, bytes] | None:
        """The keyframe that is due here, with its deflated state; None while none is.

        Where states are large keyframes are fewer, so that they stay smaller than the recording.
        """
        if self._tail.offset - self._last.offset < max(self._every, self._last.inflated):
            return None
        inflated = _state_encoder.encode(self.state)
        deflated = zlib.compress(inflated, 1)
        position = self._tail.position
        keyframe = Keyframe(
            offset=position.offset,
            seq=position.seq,
            lines=position.lines,
            t=self.t,
            check=_check(self._tail.path, position.offset),
            requests=self._requests,
            marks=tuple(self.marks),
            inflated=len(inflated),
            bytes=len(deflated),
        )
        self._last, self._requests = keyframe, 0
        self.marks.clear()
        return keyframe, deflated

    def close(self) -> None:
        self._tail.close()


class Keyframes:
    """The keyframes of one recording: `BEGINNING`, those of its sidecar, then what is added."""

    def __init__(self, path: Path, events_path: Path) -> None:
        """Takes what is good in the sidecar at `path`; the rest is as if it were not there."""
        self._path = path
        self._known: list[Keyframe] = [BEGINNING]
        self._deflated: list[bytes | int] = [b""]  # or where in the sidecar
        self.end = 0  # of what is good in the sidecar
        self._fd = -1
        if path.exists():
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            self._read(events_path)

    def _read(self, events_path: Path) -> None:
        with self._path.open("rb") as file:
            size = self._path.stat().st_size
            if file.readline() != _origin(events_path):
                return
            self.end = file.tell()
            while keyframe := _next_keyframe(file.readline()):
                start = file.tell()
                if start + keyframe.bytes > size:
                    break
                self._known.append(keyframe)
                self._deflated.append(start)
                file.seek(keyframe.bytes, os.SEEK_CUR)
        # A power failure may have taken lines that keyframes were already made of.
        while len(self) > 1 and self[-1].check != _check(events_path, self[-1].offset):
            self._known.pop()
            self._deflated.pop()
        if len(self) > 1:
            self.end = int(self._deflated[-1]) + self[-1].bytes

    def __len__(self) -> int:
        return len(self._known)

    def __getitem__(self, i: int) -> Keyframe:
        return self._known[i]

    def __iter__(self) -> Iterator[Keyframe]:
        return iter(self._known)

    def at(self, t: float) -> int:
        """The last keyframe with nothing in it that is later than `t`."""
        return max(0, bisect_right(self._known, t, key=lambda keyframe: keyframe.t) - 1)

    def at_seq(self, seq: int) -> int:
        """The last keyframe with nothing in it that comes after event `seq`."""
        return bisect_right(self._known, seq, key=lambda keyframe: keyframe.seq) - 1

    def state(self, i: int) -> State:
        """Raises JournalError if the sidecar was damaged."""
        keyframe, deflated = self[i], self._deflated[i]
        if keyframe.offset == 0:
            return State()
        if isinstance(deflated, int):
            deflated = os.pread(self._fd, keyframe.bytes, deflated)
        try:
            return _state_decoder.decode(zlib.decompress(deflated))
        except (zlib.error, msgspec.MsgspecError) as e:
            raise JournalError(
                f"{self._path} is damaged; delete it, and it is made again from the recording"
            ) from e

    def add(self, keyframe: Keyframe, deflated: bytes) -> None:
        self._known.append(keyframe)
        self._deflated.append(deflated)

    def added(self) -> int:
        """How many are not in the sidecar."""
        return sum(isinstance(deflated, bytes) for deflated in self._deflated[1:])

    def save(self, events_path: Path) -> None:
        """Put all of them into the sidecar. Raises JournalError if it cannot be written."""
        data = bytearray(_origin(events_path))
        for keyframe, deflated in zip(self._known[1:], self._deflated[1:], strict=True):
            if isinstance(deflated, int):
                deflated = os.pread(self._fd, keyframe.bytes, deflated)
            data += _record(keyframe, deflated)
        replace_file(self._path, bytes(data))

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class KeyframeWriter:
    """Keeps the sidecar of a recording while that is written.

    Raises JournalError when the sidecar cannot be written, another writer has it, or the recording
    cannot be read.
    """

    def __init__(self, path: Path, events_path: Path, *, every: int = EVERY_BYTES) -> None:
        """Goes on from the last good keyframe; `catch_up` then makes what is missing."""
        self._file = AppendOnlyFile(path, exclusive=True)
        try:
            keyframes = Keyframes(path, events_path)
            try:
                state = keyframes.state(-1)
            finally:
                keyframes.close()
            self._file.cut(keyframes.end)
            if keyframes.end == 0:
                self._file.append(_origin(events_path))
            self._fold = KeyframeFold(events_path, keyframes[-1], state, every=every)
        except BaseException:
            self._file.close()
            raise

    def catch_up(self) -> None:
        """Read what was recorded since; call it after each flush of the recording, so that no
        keyframe is made of what is not written yet."""
        while self._fold.poll():
            made = self._fold.keyframe()
            if made is not None:
                self._file.append(_record(*made))

    def close(self) -> None:
        self._fold.close()
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


def _record(keyframe: Keyframe, deflated: bytes) -> bytes:
    return _encoder.encode(keyframe) + b"\n" + deflated


def _next_keyframe(line: bytes) -> Keyframe | None:
    """None at the end, be it torn or damaged."""
    try:
        return _keyframe_decoder.decode(line) if line.endswith(b"\n") else None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _origin(events_path: Path) -> bytes:
    with events_path.open("rb") as file:
        header = file.readline()
    return _encoder.encode(Origin(_code(), zlib.crc32(header))) + b"\n"


@functools.cache
def _code() -> str:
    """Of all that keyframes follow from: what another `reduce` makes is another state."""
    digest = hashlib.sha256()
    for name in (__file__, marks.__file__, ev.__file__, model_state.__file__):
        digest.update(Path(name).read_bytes())
    return digest.hexdigest()


def _check(path: Path, offset: int) -> int:
    """CRC-32 of the recording just before `offset`; -1 if it is not that long."""
    size = min(CHECKED_BYTES, offset)
    with path.open("rb") as file:
        file.seek(offset - size)
        data = file.read(size)
    return zlib.crc32(data) if len(data) == size else -1
