"""All logs of a session as one list of lines, read piece by piece and while they grow.

Of a line only its place, level and time are kept in memory (about 40 bytes); its text is read from
the file when it is looked at. Lines are in the order of time, and those of one file never change
places. What a line says is bytes of unknown origin: it comes out as it is.
"""

from __future__ import annotations

import os
import re
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pdconsole.journal.errors import JournalError
from pdconsole.journal.log_lines import LineHeads

PIECE = 1 << 20
LONGEST = 1 << 16  # bytes shown of a line; the rest of a longer one is told as a number
ZONE_STEP_S = 1800.0
SLACK_S = 60.0
SOON_S = 180.0
_BLOCK = 1 << 16
_BLOCKS_KEPT = 64
_NAME = re.compile(r"(?:(?P<run>[^-]+)-)?(?P<process>.+?)(?:\.(?P<start>\d+))?\.log")

Ids = NDArray[np.int64]


class LogSource(msgspec.Struct, frozen=True):
    """One file: a process of a run on a node; `start` counts its starts."""

    node: str
    run: str
    process: str
    start: int
    path: Path

    @property
    def name(self) -> str:
        again = f".{self.start}" if self.start > 1 else ""
        return f"{self.run}·{self.process}{again}" if self.run else f"{self.process}{again}"


class LogBook:
    """`take_in` reads on; `select` gives the lines that pass; `text` reads one."""

    def __init__(self, directory: Path, start_wall: float) -> None:
        self.run_starts: Mapping[str, float] = {}  # run -> Unix time, as far as it is known
        self._directory = directory
        self._start_wall = start_wall
        self._files: list[_File] = []
        self._paths: set[Path] = set()
        self._source = _Numbers(np.int32)
        self._level = _Numbers(np.int8)
        self._offset = _Numbers(np.int64)
        self._length = _Numbers(np.int64)
        self._wall = _Numbers(np.float64)
        self._order: Ids = np.empty(0, np.int64)
        self._ordered = 0  # lines that have their place
        self._caught_up = False
        self._behind = True  # what was there when it was opened is not all in its order
        self._blocks: OrderedDict[tuple[int, int], bytes] = OrderedDict()

    @property
    def sources(self) -> tuple[LogSource, ...]:
        return tuple(f.source for f in self._files)

    def __len__(self) -> int:
        return len(self._source)

    # --- reading ---

    def take_in(self, budget: int = PIECE) -> bool:
        """Read up to `budget` bytes of what is new; True while there is more."""
        self._find_files()
        left = budget
        for index, file in enumerate(self._files):
            left -= self._read(index, file, left)
            if left <= 0:
                break
        self._caught_up = left > 0
        return not self._caught_up

    def _find_files(self) -> None:
        if not self._directory.is_dir():
            return
        for path in sorted(self._directory.glob("*/*.log")):
            if path in self._paths:
                continue
            self._paths.add(path)
            match = _NAME.fullmatch(path.name)
            if match is None:
                continue
            source = LogSource(
                node=path.parent.name,
                run=match["run"] or "",
                process=match["process"],
                start=int(match["start"] or 1),
                path=path,
            )
            self._files.append(_File(source, LineHeads(self._start_wall)))

    def _read(self, index: int, file: _File, budget: int) -> int:
        """Whole lines only: the last one may still be written. Returns the bytes read."""
        try:
            with file.source.path.open("rb") as opened:
                opened.seek(file.taken)
                data = opened.read(budget)
                if data and b"\n" not in data and len(data) == budget:
                    data += opened.readline()
        except FileNotFoundError:
            return 0  # deleted with its session
        except OSError as e:
            raise JournalError(f"cannot read {file.source.path}: {e.strerror}") from e
        end = data.rfind(b"\n") + 1
        if not end:
            return 0
        lines = data[: end - 1].split(b"\n")
        count = len(lines)
        levels, walls, lengths = [0] * count, [0.0] * count, [0] * count
        level, wall, read = file.level, file.wall, file.heads.read
        if wall is None:
            wall = self._began(file.source)
        for i, line in enumerate(lines):
            found, at, is_zoned = read(line)
            level = found or level
            if at is not None:
                # Lines of a file keep their order, whatever their clock did.
                wall = max(wall, at if is_zoned else at - self._shift(file, at))
            levels[i], walls[i], lengths[i] = level, wall, len(line)
        file.level, file.wall = level, wall
        sizes = np.array(lengths, np.int64)
        ends = np.cumsum(sizes + 1)
        self._source.extend(np.full(count, index, np.int32))
        self._level.extend(np.array(levels, np.int8))
        self._wall.extend(np.array(walls, np.float64))
        self._offset.extend(file.taken + ends - sizes - 1)
        self._length.extend(sizes)
        file.taken += end
        file.lines += count
        file.worst = max(file.worst, *levels)
        return len(data)

    def _began(self, source: LogSource) -> float:
        return self.run_starts.get(source.run, self._start_wall)

    def _shift(self, file: _File, at: float) -> float:
        """How far a clock that names no zone is from ours: whole half hours.

        Most processes say something soon after their run has begun. One that keeps still for long
        has the clock of another file rather than a zone of its own that happens to fit.
        """
        if file.shift is None:
            late = at - self._began(file.source)
            zone = float(np.floor((late + SLACK_S) / ZONE_STEP_S) * ZONE_STEP_S)
            known = [f.shift for f in self._files if f.shift is not None]
            nearest = min(
                (s for s in known if late - s >= -SLACK_S), key=lambda s: late - s, default=zone
            )
            soon = late - zone <= SOON_S and late - nearest >= ZONE_STEP_S
            file.shift = zone if soon else nearest
        return file.shift

    def _in_order(self) -> Ids:
        count = len(self)
        if count != self._ordered:
            walls = self._wall.values
            if self._behind:
                self._order = np.argsort(walls, kind="stable").astype(np.int64)
            else:
                # What is new goes to the end, so that no line that was seen changes its place.
                order = np.argsort(walls[self._ordered :], kind="stable") + self._ordered
                self._order = np.concatenate([self._order, order])
            self._ordered = count
        self._behind = self._behind and not self._caught_up
        return self._order

    # --- looking ---

    def select(self, *, least_level: int = 0, sources: Collection[int] | None = None) -> Ids:
        """The lines of these sources (None: all) that are at least that bad, in their order."""
        order = self._in_order()
        keep = np.ones(len(order), bool)
        if least_level:
            keep &= self._level.values[order] >= least_level
        if sources is not None:
            keep &= np.isin(self._source.values[order], list(sources))
        return order if keep.all() else order[keep]

    def counts(self) -> list[tuple[int, int]]:
        """For each source: its lines, and the worst level among them."""
        return [(f.lines, f.worst) for f in self._files]

    def source_of(self, line: int) -> int:
        return int(self._source.values[line])

    def level_of(self, line: int) -> int:
        return int(self._level.values[line])

    def wall_of(self, line: int) -> float:
        return float(self._wall.values[line])

    def first_at(self, ids: Ids, wall: float) -> int:
        """Where in `ids` the first line at or after `wall` is; len(ids) where there is none."""
        later = np.flatnonzero(self._wall.values[ids] >= wall)
        return int(later[0]) if len(later) else len(ids)

    def text(self, line: int) -> str:
        """What the line says, undecodable bytes as replacement characters, nothing else changed."""
        length = int(self._length.values[line])
        data = self._bytes(
            self.source_of(line), int(self._offset.values[line]), min(length, LONGEST)
        )
        cut = f" … {length - LONGEST:,} more bytes" if length > LONGEST else ""
        return data.decode("utf-8", "replace") + cut

    def find(self, ids: Ids, word: str, start: int, *, back: bool = False) -> Iterator[int | None]:
        """Looks for `word` in `ids` from index `start` on; gives None now and then while it looks,
        and last the index or -1."""
        step = -1 if back else 1
        for looked, index in enumerate(range(start, -1 if back else len(ids), step), 1):
            if has_word(self.text(int(ids[index])), word):
                yield index
                return
            if looked % 2000 == 0:
                yield None
        yield -1

    def _bytes(self, index: int, offset: int, length: int) -> bytes:
        first, last = offset // _BLOCK, (offset + max(length, 1) - 1) // _BLOCK
        data = b"".join(self._block(index, number) for number in range(first, last + 1))
        start = offset - first * _BLOCK
        return data[start : start + length]

    def _block(self, index: int, number: int) -> bytes:
        key = (index, number)
        found = self._blocks.get(key)
        file = self._files[index]
        # The last block of a file that grows was read when it was shorter.
        whole = min(_BLOCK, file.taken - number * _BLOCK)
        if found is None or len(found) < whole:
            try:
                fd = os.open(file.source.path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return b""
            try:
                found = os.pread(fd, _BLOCK, number * _BLOCK)
            finally:
                os.close(fd)
            self._blocks[key] = found
        self._blocks.move_to_end(key)
        if len(self._blocks) > _BLOCKS_KEPT:
            self._blocks.popitem(last=False)
        return found


def has_word(text: str, word: str) -> bool:
    """Upper case counts only where `word` has some."""
    return word in (text if word != word.lower() else text.lower())


class _File:
    """How far a file is read, and what the last line said."""

    def __init__(self, source: LogSource, heads: LineHeads) -> None:
        self.source = source
        self.heads = heads
        self.taken = 0
        self.lines = 0
        self.worst = 0
        self.level = 0  # of the last line
        self.wall: float | None = None
        self.shift: float | None = None


class _Numbers:
    """A numpy array that grows at its end."""

    def __init__(self, kind: type[np.generic]) -> None:
        self._room: NDArray[Any] = np.empty(1024, kind)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def values(self) -> NDArray[Any]:
        return self._room[: self._count]

    def extend(self, more: NDArray[Any]) -> None:
        count = self._count + len(more)
        if count > len(self._room):
            room = np.empty(max(count, 2 * len(self._room)), self._room.dtype)
            room[: self._count] = self.values
            self._room = room
        self._room[self._count : count] = more
        self._count = count
