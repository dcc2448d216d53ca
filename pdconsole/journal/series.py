"""The columnar sidecar of a recording: its time series, block by block, append-only.

The first line says by which version of the fold it was made; a file of another one is as good as
none. A block is one line of JSON that says what follows, then that many bytes: the columns one
after another as little-endian float64, deflated. A missing number is NaN; a column without any
number in a block is not there at all. All that is in here comes from the recording; if the file is
lost, or lags behind after a crash, `SeriesWriter` makes it good from there.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from pdconsole.journal.errors import JournalError
from pdconsole.journal.files import AppendOnlyFile
from pdconsole.journal.reader import read_events
from pdconsole.journal.session import EVENTS
from pdconsole.model.events import Event
from pdconsole.model.series import FOLD_VERSION, SeriesFold, SeriesKey, SeriesRow

BLOCK_ROWS = 256
# Rows wait this long, in session seconds, for others to share a block with: in a recording of days
# blocks of a few rows would be too many to open quickly. Until then they are in the recording only.
LONGEST_WAIT_S = 60.0

Numbers: TypeAlias = NDArray[np.float64]


class Origin(msgspec.Struct, frozen=True):
    """First line of a sidecar."""

    fold: int


class BlockHead(msgspec.Struct, frozen=True):
    key: tuple[str, ...]
    columns: tuple[str, ...]  # "seq" and "t" first
    rows: int
    seq: int  # of the last row
    bytes: int  # of the deflated columns
    # The least and the greatest number of each column, None where it has none: charts of a long
    # time are drawn from these alone. Files of before lack them.
    low: tuple[float | None, ...] = ()
    high: tuple[float | None, ...] = ()


class Series(msgspec.Struct, frozen=True):
    """One table: `seq`, `t` (session seconds) and every column are equally long; NaN is no number.

    Rows are in the order of the recording; after a lost connection t may go back.
    """

    key: SeriesKey
    seq: NDArray[np.int64]
    t: Numbers
    columns: dict[str, Numbers]

    def __len__(self) -> int:
        return len(self.t)


_encoder = msgspec.json.Encoder()
_head_decoder = msgspec.json.Decoder(BlockHead)
ORIGIN = _encoder.encode(Origin(FOLD_VERSION)) + b"\n"


class SeriesWriter:
    """Keeps the sidecar of a recording; opening it brings it up to date with the recording.

    Raises JournalError when the file cannot be written or another writer has it.
    """

    def __init__(self, path: Path, events_path: Path | None = None) -> None:
        """`events_path`: the recording; by default that of the session directory `path` is in."""
        events_path = events_path or path.parent.parent / EVENTS
        self._rows: dict[SeriesKey, list[SeriesRow]] = {}
        self._stored: dict[SeriesKey, int] = {}
        self._fold = SeriesFold()
        self._t = 0.0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise JournalError(f"cannot make {path.parent}: {e.strerror}") from e
        self._file = AppendOnlyFile(path, exclusive=True)
        try:
            end = len(ORIGIN) if is_current(path) else 0
            for head, start in block_heads(path):
                self._stored[head.key] = head.seq
                end = start + head.bytes
            self._file.cut(end)
            if end == 0:
                self._file.append(ORIGIN)
            if events_path.exists():
                for event in read_events(events_path):
                    self.add(event)
        except BaseException:
            self._file.close()
            raise

    def add(self, event: Event) -> None:
        """Take what the event contributes; what is stored already is not stored again."""
        self._t = event.t
        row = self._fold.row(event)
        if row is None or row.seq <= self._stored.get(row.key, 0):
            return
        rows = self._rows.setdefault(row.key, [])
        rows.append(row)
        if len(rows) >= BLOCK_ROWS:
            self._write(row.key)

    def flush(self) -> None:
        """Write what has waited long enough; may be called as often as is convenient."""
        for key, rows in list(self._rows.items()):
            if self._t - rows[0].t >= LONGEST_WAIT_S:
                self._write(key)

    def _write(self, key: SeriesKey) -> None:
        rows = self._rows[key]
        head, payload = block_of(key, rows)
        self._file.append(record_of(head, payload))
        self._stored[key] = rows[-1].seq
        del self._rows[key]

    def close(self) -> None:
        """Write all that has gathered, and let the file go."""
        try:
            for key in list(self._rows):
                self._write(key)
            self._file.sync()
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


def read_series(path: Path, keys: Iterable[SeriesKey] | None = None) -> dict[SeriesKey, Series]:
    """The tables of a sidecar, or those of some keys only; a torn tail is left out.

    An absent file has no tables: `SeriesWriter` makes it anew. Raises JournalError for a damaged
    one.
    """
    wanted = None if keys is None else frozenset(keys)
    blocks: dict[SeriesKey, list[tuple[BlockHead, Numbers]]] = {}
    if not path.exists():
        return {}
    with path.open("rb") as file:
        for head, start in block_heads(path):
            if wanted is None or head.key in wanted:
                file.seek(start)
                numbers = block_numbers(path, file.read(head.bytes), len(head.columns), head.rows)
                blocks.setdefault(head.key, []).append((head, numbers))
    return {key: _joined(key, found) for key, found in blocks.items()}


def series_keys(path: Path) -> list[SeriesKey]:
    """Which tables a sidecar has, in the order of their first rows; reads no numbers."""
    return list(dict.fromkeys(head.key for head, _ in block_heads(path))) if path.exists() else []


def block_of(key: SeriesKey, rows: list[SeriesRow]) -> tuple[BlockHead, bytes]:
    """The rows of one table as a block: its head and its deflated numbers."""
    names = tuple(dict.fromkeys(name for row in rows for name in row.values))
    numbers = np.full((2 + len(names), len(rows)), np.nan, dtype="<f8")
    for i, row in enumerate(rows):
        numbers[0, i] = row.seq
        numbers[1, i] = row.t
        for j, name in enumerate(names, 2):
            if name in row.values:
                numbers[j, i] = row.values[name]
    payload = zlib.compress(numbers.tobytes())
    low, high = extremes(numbers)
    head = BlockHead(
        key=key,
        columns=("seq", "t", *names),
        rows=len(rows),
        seq=rows[-1].seq,
        bytes=len(payload),
        low=tuple(low.tolist()),
        high=tuple(high.tolist()),
    )
    return head, payload


def record_of(head: BlockHead, payload: bytes) -> bytes:
    """A block as it stands in the file."""
    return _encoder.encode(head) + b"\n" + payload


def extremes(numbers: Numbers) -> tuple[Numbers, Numbers]:
    """The least and the greatest number of each column of a block; NaN where it has none."""
    return np.fmin.reduce(numbers, axis=1), np.fmax.reduce(numbers, axis=1)


def block_numbers(path: Path, payload: bytes, columns: int, rows: int) -> Numbers:
    """One row of numbers for each column."""
    try:
        numbers = np.frombuffer(zlib.decompress(payload), dtype="<f8")
        return numbers.reshape(columns, rows)
    except (zlib.error, ValueError) as e:
        raise _damaged(path) from e


def _joined(key: SeriesKey, blocks: list[tuple[BlockHead, Numbers]]) -> Series:
    rows = sum(head.rows for head, _ in blocks)
    names = dict.fromkeys(name for head, _ in blocks for name in head.columns)
    columns = {name: np.full(rows, np.nan) for name in names}
    at = 0
    for head, numbers in blocks:
        for name, values in zip(head.columns, numbers, strict=True):
            columns[name][at : at + head.rows] = values
        at += head.rows
    return Series(key, columns.pop("seq").astype(np.int64), columns.pop("t"), columns)


def is_current(path: Path) -> bool:
    """Whether the sidecar was made by this version of the fold."""
    with path.open("rb") as file:
        return file.read(len(ORIGIN)) == ORIGIN


def block_heads(path: Path, start: int = 0) -> Iterator[tuple[BlockHead, int]]:
    """The heads of the whole blocks from byte `start` on, each with the offset of its numbers.

    None of a file of another version.
    """
    if not is_current(path):
        return
    start = max(start, len(ORIGIN))
    with path.open("rb") as file:
        size = path.stat().st_size
        file.seek(start)
        while line := file.readline():
            start += len(line)
            try:
                head = _head_decoder.decode(line)
            except (msgspec.MsgspecError, UnicodeDecodeError) as e:
                if line.endswith(b"\n"):
                    raise _damaged(path) from e
                return
            if start + head.bytes > size:
                return
            yield head, start
            start = file.seek(head.bytes, 1)


def _damaged(path: Path) -> JournalError:
    return JournalError(
        f"{path} is damaged; delete it, and it is made again from the recording beside it"
    )
