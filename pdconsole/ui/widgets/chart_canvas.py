"""Lines by column become dots, and dots become characters. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from pdconsole.ui.widgets.chart_columns import Bools, Columns, Ints
from pdconsole.ui.widgets.chart_data import LineKind
from pdconsole.ui.widgets.chart_scale import Scale

Codes: TypeAlias = npt.NDArray[np.uint32]
Inks: TypeAlias = npt.NDArray[np.uint8]

MARKERS = "*o+x#@%&"  # of the series, in ASCII
NOBODY = 255

_BRAILLE = 0x2800
_BITS = ((0, 3), (1, 4), (2, 5), (6, 7))  # of the dots of a character, by row and column
_DOTS_OF = np.array([bin(code).count("1") for code in range(256)], np.uint8)
_DASHES: dict[LineKind, Bools] = {
    "dashed": np.array([1, 1, 1, 1, 0, 0], bool),
    "dotted": np.array([1, 0], bool),
}


def dots(columns: Columns, scale: Scale, rows: int, kind: LineKind, first: int) -> Bools:
    """`rows` × columns; `first` is the number of the first column, to which dashes are bound."""
    top, bottom, there = _bars(columns, scale, rows)
    low, high = _joined(top, bottom, there & columns.joined)
    shown = there
    if kind != "solid":
        pattern = _DASHES[kind]
        on = pattern[(np.arange(len(top)) + first) % len(pattern)]
        shown = there & (on | _stands_out(top, bottom, there, columns.joined))
    row = np.arange(rows)[:, None]
    drawn: Bools = (row >= low) & (row <= high) & shown
    return drawn


def _bars(columns: Columns, scale: Scale, rows: int) -> tuple[Ints, Ints, Bools]:
    there = ~np.isnan(columns.low)
    per_row = (rows - 1) / (scale.high - scale.low)
    ends = np.stack([columns.high, columns.low])
    ends[:, ~there] = scale.low
    top, bottom = np.clip(np.rint((scale.high - ends) * per_row), 0, rows - 1).astype(np.int64)
    return top, bottom, there


def _joined(top: Ints, bottom: Ints, joined: Bools) -> tuple[Ints, Ints]:
    """Bars of columns that go on from the one before are drawn out until they meet half way."""
    top, bottom = top.copy(), bottom.copy()
    before = np.roll(top, 1), np.roll(bottom, 1)
    falls = joined & (top > before[1] + 1)
    rises = joined & (bottom < before[0] - 1)
    falls[0] = rises[0] = False
    middle = (top + before[1]) // 2
    i = np.flatnonzero(falls)
    new_top, new_bottom = top.copy(), bottom.copy()
    new_bottom[i - 1] = np.maximum(new_bottom[i - 1], middle[i])
    new_top[i] = np.minimum(new_top[i], middle[i] + 1)
    middle = (bottom + before[0]) // 2
    i = np.flatnonzero(rises)
    new_top[i - 1] = np.minimum(new_top[i - 1], middle[i] + 1)
    new_bottom[i] = np.maximum(new_bottom[i], middle[i])
    return new_top, new_bottom


def _stands_out(top: Ints, bottom: Ints, there: Bools, joined: Bools) -> Bools:
    """Columns that a dash pattern must not leave out: alone, steep, or a peak of 2 dots or more."""
    before = joined & there
    before[0] = False
    after = np.append(before[1:], False)
    left_top, left_bottom = np.roll(top, 1), np.roll(bottom, 1)
    right_top, right_bottom = np.roll(top, -1), np.roll(bottom, -1)
    highest = np.minimum(np.where(before, left_top, top), np.where(after, right_top, top))
    lowest = np.maximum(
        np.where(before, left_bottom, bottom), np.where(after, right_bottom, bottom)
    )
    steep = np.maximum(lowest, bottom) - np.minimum(highest, top) >= 4
    peak = (~before | (top <= left_top - 2)) & (~after | (top <= right_top - 2))
    trough = (~before | (bottom >= left_bottom + 2)) & (~after | (bottom >= right_bottom + 2))
    kept: Bools = (~before & ~after) | steep | peak | trough
    return kept


def braille(layers: Sequence[Bools]) -> tuple[Codes, Inks]:
    """Characters, 4 × 2 dots each, and whose colour they take: of who has most of the dots."""
    codes = [_braille_codes(layer) for layer in layers]
    together = np.bitwise_or.reduce(codes)
    owner = np.argmax([_DOTS_OF[code] for code in codes], axis=0).astype(np.uint8)
    owner[together == 0] = NOBODY
    return np.where(together == 0, ord(" "), _BRAILLE + together.astype(np.uint32)), owner


def _braille_codes(layer: Bools) -> Inks:
    bits = layer.view(np.uint8)
    code = np.zeros((layer.shape[0] // 4, layer.shape[1] // 2), np.uint8)
    for y, row in enumerate(_BITS):
        for x, bit in enumerate(row):
            code |= bits[y::4, x::2] << bit
    return code


def plain(layers: Sequence[Bools]) -> tuple[Codes, Inks]:
    """One character a dot: each series has its own; where they meet the first is seen."""
    owner = np.argmax(layers, axis=0).astype(np.uint8)
    owner[~np.any(layers, axis=0)] = NOBODY
    markers = np.array([ord(MARKERS[i % len(MARKERS)]) for i in range(len(layers))], np.uint32)
    shown = np.where(owner == NOBODY, ord(" "), markers[np.minimum(owner, len(layers) - 1)])
    return shown.astype(np.uint32), owner
