"""What a growing sidecar of series holds where, and its series reduced to the columns of a chart.

Rows that are not in the sidecar yet, or never will be because it is lost, are held here, in blocks
of the same form.
"""

from __future__ import annotations

import math
import os
from array import array
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import repeat
from pathlib import Path

import msgspec
import numpy as np

from pdconsole.journal.files import AppendOnlyFile, replace_file
from pdconsole.journal.series import (
    BLOCK_ROWS,
    ORIGIN,
    BlockHead,
    Numbers,
    block_heads,
    block_numbers,
    block_of,
    extremes,
    record_of,
)
from pdconsole.model.series import SeriesKey, SeriesRow

CACHE_BYTES = 48 << 20
ANY = "*"


class SeriesView(msgspec.Struct, frozen=True, eq=False):
    """A series reduced to columns; the arrays are equally long.

    `t` are the columns' centres (session seconds), `low` and `high` the least and the greatest
    number in each; NaN where there is no sample. Columns begin at whole multiples of their width,
    so that a line does not tremble while a window moves on; one more than asked for may come.
    """

    key: str
    t: Numbers
    low: Numbers
    high: Numbers


class _Grid:
    """Columns of equal width over t0 to t1, and the extremes of what was put into each."""

    def __init__(self, t0: float, t1: float, columns: int) -> None:
        self.width_s = max(t1 - t0, 1e-6) / max(columns, 1)
        self._first = math.floor(t0 / self.width_s)
        count = math.floor(t1 / self.width_s) - self._first + 1
        self.begin = self._first * self.width_s
        self.end = (self._first + count) * self.width_s
        self.low: Numbers = np.full(count, np.nan)
        self.high: Numbers = np.full(count, np.nan)

    def put(self, t: Numbers, low: Numbers, high: Numbers) -> None:
        """Numbers at `t`, which may lie outside, in any order."""
        column = np.floor(t / self.width_s).astype(np.int64) - self._first
        inside = (column >= 0) & (column < len(self.low))
        column = column[inside]
        np.fmin.at(self.low, column, low[inside])
        np.fmax.at(self.high, column, high[inside])

    def view(self, key: str) -> SeriesView:
        centres = np.arange(0.5, len(self.low), dtype=np.float64)
        centres = (centres + self._first) * self.width_s
        return SeriesView(key, centres, self.low, self.high)


class _Found:
    """Numbers of many tables, to be put into a grid all at once."""

    def __init__(self) -> None:
        self._parts: list[tuple[Numbers, Numbers, Numbers]] = []
        self.rows: list[tuple[float, float]] = []  # t, value

    def add(self, t: Numbers, low: Numbers, high: Numbers) -> None:
        self._parts.append((t, low, high))

    def put_into(self, grid: _Grid) -> None:
        if self.rows:
            t, values = np.array(self.rows).T
            self._parts.append((t, values, values))
        if self._parts:
            t, low, high = (np.concatenate(part) for part in zip(*self._parts, strict=True))
            grid.put(t, low, high)


class _Block:
    """Some rows of one table, deflated, here or at an offset in the sidecar."""

    __slots__ = ("bytes", "columns", "high", "low", "rows", "where")

    def __init__(self, head: BlockHead, columns: dict[str, int], where: bytes | int) -> None:
        self.rows = head.rows
        self.bytes = head.bytes
        self.columns = columns  # and their places
        self.where = where
        self.low: Numbers = np.array(head.low, dtype=float)  # of each column
        self.high: Numbers = np.array(head.high, dtype=float)


class _Table:
    def __init__(self) -> None:
        self.names: dict[str, None] = {}  # of its columns, in the order of their coming
        self.blocks: list[_Block] = []
        self.rows: list[SeriesRow] = []  # not in a block yet
        self.stored = 0  # seq of the last row in the sidecar
        self._extremes: dict[str, tuple[array[float], array[float]]] = {}

    def extremes(self, name: str) -> tuple[Numbers, Numbers]:
        """The least and the greatest number of a column by block; NaN where it has none."""
        low, high = self._extremes.setdefault(name, (array("d"), array("d")))
        for block in self.blocks[len(low) :]:
            i = block.columns.get(name)
            low.append(math.nan if i is None else block.low[i])
            high.append(math.nan if i is None else block.high[i])
        return np.array(low), np.array(high)


class SeriesIndex:
    """The tables of the sidecar at `path`, which need not exist.

    Raises JournalError, from any method that reads, for a damaged one.
    """

    def __init__(self, path: Path) -> None:
        self.stored = 0  # seq of the last row in the sidecar
        self._path = path
        self._tables: dict[SeriesKey, _Table] = {}
        self._of_kind: dict[str, list[SeriesKey]] = {}
        self._keys: tuple[str, ...] = ()
        # Equal lists of columns are held once.
        self._columns: dict[tuple[str, ...], dict[str, int]] = {}
        self._end = 0  # of what was read of the sidecar
        self._fd = -1
        self._cache: OrderedDict[_Block, Numbers] = OrderedDict()
        self._cache_bytes = 0
        self.refresh()

    def refresh(self) -> None:
        """Take in the blocks that were written since; rows they hold are dropped here."""
        if self._fd < 0:
            if not self._path.exists():
                return
            self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        if os.fstat(self._fd).st_size <= self._end:
            return
        for head, start in block_heads(self._path, self._end):
            table = self._add(head, start)
            table.stored = head.seq
            if table.rows and table.rows[0].seq <= head.seq:
                table.rows = [row for row in table.rows if row.seq > head.seq]
            self.stored = max(self.stored, head.seq)
            self._end = start + head.bytes

    def add(self, row: SeriesRow) -> None:
        """Hold a row until the sidecar has it."""
        table = self._table(row.key)
        if row.seq <= table.stored:
            return
        table.rows.append(row)
        table.names.update(zip(row.values, repeat(None)))
        if len(table.rows) >= BLOCK_ROWS:
            self._add(*block_of(row.key, table.rows))
            table.rows.clear()

    def _add(self, head: BlockHead, where: bytes | int) -> _Table:
        columns = self._columns.get(head.columns)
        if columns is None:
            columns = {name: i for i, name in enumerate(head.columns)}
            self._columns[head.columns] = columns
        block = _Block(head, columns, where)
        if not head.low:
            block.low, block.high = extremes(self._numbers(block))
        table = self._table(head.key)
        table.blocks.append(block)
        table.names.update(zip(head.columns[2:], repeat(None)))
        return table

    def _table(self, key: SeriesKey) -> _Table:
        table = self._tables.get(key)
        if table is None:
            table = self._tables[key] = _Table()
            self._of_kind.setdefault(key[0], []).append(key)
        return table

    def keys(self) -> tuple[str, ...]:
        """`worker/1/P1/running`: kind, whom it is about, column."""
        count = sum(len(table.names) for table in self._tables.values())
        if count != len(self._keys):  # a name is never taken away
            self._keys = tuple(
                "/".join((*key, name))
                for key, table in self._tables.items()
                for name in table.names
            )
        return self._keys

    def view(self, keys: str | Sequence[str], t0: float, t1: float, columns: int) -> SeriesView:
        """The series over t0 to t1; several, and all that match one with `*` for parts of its key
        (but the kind), come as one."""
        grid = _Grid(t0, t1, columns)
        names = (keys,) if isinstance(keys, str) else keys
        found = _Found()
        for key in names:
            *about, name = key.split("/")
            for table in self._matching(tuple(about)):
                if name in table.names:
                    self._find(table, name, grid, found)
        found.put_into(grid)
        return grid.view(names[0] if len(names) == 1 else "")

    def _matching(self, about: SeriesKey) -> Iterator[_Table]:
        if ANY not in about:
            table = self._tables.get(about)
            if table is not None:
                yield table
            return
        for key in self._of_kind.get(about[0], ()):
            if len(key) == len(about) and all(
                want in (have, ANY) for want, have in zip(about, key, strict=True)
            ):
                yield self._tables[key]

    def _find(self, table: _Table, name: str, grid: _Grid, found: _Found) -> None:
        """Blocks that are short beside a column go there as a whole, others row by row."""
        first, last = table.extremes("t")
        inside = (last >= grid.begin) & (first < grid.end)
        short = inside & (last - first <= grid.width_s / 2)
        if short.any():
            low, high = table.extremes(name)
            found.add(first[short], low[short], high[short])
            found.add(last[short], low[short], high[short])
        for i in np.flatnonzero(inside & ~short):
            block = table.blocks[i]
            if name in block.columns:
                numbers = self._numbers(block)
                values = numbers[block.columns[name]]
                found.add(numbers[block.columns["t"]], values, values)
        found.rows += [(row.t, row.values[name]) for row in table.rows if name in row.values]

    def _numbers(self, block: _Block) -> Numbers:
        """A row of numbers for each column; the blocks that were used last are kept."""
        numbers = self._cache.get(block)
        if numbers is not None:
            self._cache.move_to_end(block)
            return numbers
        payload = block.where
        if isinstance(payload, int):
            payload = os.pread(self._fd, block.bytes, payload)
        numbers = block_numbers(self._path, payload, len(block.columns), block.rows)
        self._cache[block] = numbers
        self._cache_bytes += numbers.nbytes
        while self._cache_bytes > CACHE_BYTES:
            _, dropped = self._cache.popitem(last=False)
            self._cache_bytes -= dropped.nbytes
        return numbers

    def held(self) -> int:
        """How many rows are not in the sidecar."""
        return sum(
            len(table.rows) + sum(b.rows for b in table.blocks if isinstance(b.where, bytes))
            for table in self._tables.values()
        )

    def save(self) -> None:
        """Put all that is here into the sidecar. Raises JournalError if it cannot be written, or
        somebody else writes it."""
        data = bytearray(ORIGIN)
        for key, table in self._tables.items():
            for block in table.blocks:
                data += self._record(key, block)
            if table.rows:
                head, payload = block_of(key, table.rows)
                data += record_of(head, payload)
        # The lock keeps a runner from writing to the file that is about to be replaced.
        with AppendOnlyFile(self._path, exclusive=True):
            replace_file(self._path, bytes(data))

    def _record(self, key: SeriesKey, block: _Block) -> bytes:
        payload = block.where
        if isinstance(payload, int):
            payload = os.pread(self._fd, block.bytes, payload)
        head = BlockHead(
            key=key,
            columns=tuple(block.columns),
            rows=block.rows,
            seq=int(block.high[block.columns["seq"]]),
            bytes=len(payload),
            low=tuple(block.low.tolist()),
            high=tuple(block.high.tolist()),
        )
        return record_of(head, payload)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
