"""A rectangle of characters, each with an ink. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum

import msgspec
import numpy as np
from rich.cells import get_character_cell_size

from pdconsole.ui.lines import printable
from pdconsole.ui.widgets.chart_canvas import Codes, Inks
from pdconsole.ui.widgets.chart_columns import Bools

_TAKEN = 0  # the right half of a wide character


class Ink(IntEnum):
    """What a cell shows; the widget gives each its style. Series are SERIES, SERIES + 1, …"""

    BLANK = 0
    TITLE = 1
    UNIT = 2
    AXIS = 3
    TICK = 4
    GRID = 5
    GUIDE = 6
    CURSOR = 7
    CURSOR_TIME = 8
    MARK = 9
    FLAG = 10
    VALUE = 11
    SIMULATED = 12
    STALE = 13
    WARM_UP = 14
    SERIES = 16


SELECTED = 128  # added to an ink


class Cells(msgspec.Struct, frozen=True, eq=False):
    """Characters and inks, `height` × `width`."""

    codes: Codes
    inks: Inks

    @classmethod
    def blank(cls, width: int, height: int) -> Cells:
        return cls(
            np.full((height, width), ord(" "), np.uint32), np.zeros((height, width), np.uint8)
        )

    @property
    def width(self) -> int:
        return int(self.codes.shape[1])

    @property
    def height(self) -> int:
        return int(self.codes.shape[0])

    def put(self, x: int, y: int, text: str, ink: int, *, limit: int | None = None) -> int:
        """Write `text` as data, cut at `limit` or the right edge; the x after it."""
        end = self.width if limit is None else min(limit, self.width)
        if x >= 0 and x + len(text) <= end and text.isascii() and text.isprintable():
            after = x + len(text)
            self.codes[y, x:after] = np.frombuffer(text.encode("ascii"), np.uint8)
            self.inks[y, x:after] = ink
            return after
        for character in printable(text):
            size = get_character_cell_size(character)
            if x + size > end:
                break
            if size and x >= 0:
                self.codes[y, x] = ord(character)
                self.codes[y, x + 1 : x + size] = _TAKEN
                self.inks[y, x : x + size] = ink
            x += size
        return x

    def fill(self, rows: slice, columns: slice, character: str, ink: int) -> None:
        """The same character, one cell wide, in a whole rectangle."""
        self.codes[rows, columns] = ord(character)
        self.inks[rows, columns] = ink

    def is_blank(self, x: int, y: int, width: int) -> bool:
        """Whether no line is drawn in these cells; what lies outside is not blank."""
        if x < 0 or y < 0 or y >= self.height or x + width > self.width:
            return False
        return bool(np.all(self.inks[y, x : x + width] < Ink.SERIES))

    def runs(self, y: int) -> Iterator[tuple[str, int]]:
        """Row `y` as pieces of one ink each."""
        inks = self.inks[y]
        ends = np.flatnonzero(np.diff(inks)) + 1
        text = self.codes[y].tobytes().decode("utf-32-le")
        wide = "\0" in text
        begin = 0
        for end in (*ends.tolist(), self.width):
            piece = text[begin:end]
            yield (piece.replace("\0", "") if wide else piece), int(inks[begin])
            begin = end

    def text(self) -> str:
        return "\n".join("".join(piece for piece, _ in self.runs(y)) for y in range(self.height))

    def changed_rows(self, before: Cells) -> Bools:
        """Which rows differ; all of them after a change of size."""
        if before.codes.shape != self.codes.shape:
            return np.ones(self.height, bool)
        differs: Bools = ((self.codes != before.codes) | (self.inks != before.inks)).any(axis=1)
        return differs
