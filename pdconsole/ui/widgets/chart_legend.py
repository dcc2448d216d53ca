"""The legend of a chart: who is who and what each is now, in the room there is. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

import msgspec
from rich.cells import cell_len, set_cell_size

from pdconsole.ui.widgets.chart_canvas import MARKERS
from pdconsole.ui.widgets.chart_cells import Ink
from pdconsole.ui.widgets.chart_columns import Columns, last_values
from pdconsole.ui.widgets.chart_data import ChartData, LineKind, SeriesStyle
from pdconsole.ui.widgets.chart_scale import value_text

TAG_CELLS = 3
FORMS = 4

Piece: TypeAlias = tuple[str, int]  # text, ink
Item: TypeAlias = tuple[Piece, ...]

_SAMPLES: dict[LineKind, str] = {"solid": "⠒⠒⠒", "dashed": "⠒ ⠒", "dotted": "⠂⠂⠂"}
_PADDED = 6


def tags(series: Sequence[SeriesStyle]) -> tuple[str, ...]:
    """What tells each series from the others in at most TAG_CELLS cells.

    The label where all are short, else the first letter by which all differ, else A, B, C.
    """
    labels = [s.label for s in series]
    found = labels
    if any(cell_len(label) > TAG_CELLS for label in labels):
        letters = ([label[i : i + 1] for label in labels] for i in range(8))
        fallback = [chr(ord("A") + i % 26) for i in range(len(labels))]
        apart = (c for c in letters if len(set(c)) == len(c) and "".join(c).isalnum() and all(c))
        found = next(apart, fallback)
    given = [s.tag or tag for s, tag in zip(series, found, strict=True)]
    return tuple(set_cell_size(tag, min(TAG_CELLS, cell_len(tag))) for tag in given)


def values(
    data: ChartData,
    series: Sequence[SeriesStyle],
    columns: Mapping[str, Columns],
    at: tuple[int, int] | None,
) -> tuple[str, ...]:
    """The number of each series: in the columns `at` (begin, end), or now; `–` where none is."""
    return tuple(_now(data, s.key) if at is None else _at(columns.get(s.key), at) for s in series)


def _at(columns: Columns | None, at: tuple[int, int]) -> str:
    found = columns.near(*at) if columns is not None else None
    if found is None:
        return "–"
    low, high = (value_text(v) for v in found)
    return low if low == high else f"{low}–{high}"


def _now(data: ChartData, key: str) -> str:
    if key in data.current:
        return value_text(data.current[key])
    line = data.lines.get(key)
    found = last_values(line, data.t1) if line is not None else None
    if found is None or (data.gap_s > 0 and data.t1 - found[0] > 2 * data.gap_s):
        return "–"
    low, high = value_text(found[1]), value_text(found[2])
    return high if low == high else f"≤{high}"


def items(
    series: Sequence[SeriesStyle], shown: Sequence[str], *, ascii_only: bool, form: int
) -> list[Item]:
    """Form 0 is the most generous, the last of FORMS the tightest."""
    made: list[Item] = []
    names = tags(series)
    # Labels begin with their tags, or all are told.
    telling = not all(s.label.startswith(n) for s, n in zip(series, names, strict=True))
    for i, (s, value) in enumerate(zip(series, shown, strict=True)):
        ink = Ink.SERIES + i
        sample = MARKERS[i % len(MARKERS)] if ascii_only else _SAMPLES[s.line]
        extra = f"{names[i]}:" if telling else ""
        name = f"{sample} {extra}{s.label}"
        if form == 2:
            name = f"{sample[0]}{extra}{s.label}" if ascii_only else extra + s.label
        elif form == 3:
            name = names[i]
        text = f" {value:<{_PADDED}}" if form == 0 else f" {value}"
        made.append(((name, ink), (text, Ink.VALUE)))
    return made


def width_of(item: Item) -> int:
    return sum(cell_len(text) for text, _ in item)


class Row(msgspec.Struct, frozen=True):
    """Items that stand in one row, `space` blank cells apart; `whole`: none was left out."""

    items: tuple[Item, ...]
    space: int
    whole: bool = True


def one_row(
    series: Sequence[SeriesStyle], shown: Sequence[str], room: int, *, ascii_only: bool
) -> Row:
    """The most generous form that fits in `room` cells, or as much as fits of the tightest."""
    for form in range(FORMS):
        made = items(series, shown, ascii_only=ascii_only, form=form)
        space = 1 if form == FORMS - 1 else 2
        if sum(width_of(item) + space for item in made) - space <= room:
            return Row(tuple(made), space)
    fitting: list[Item] = []
    for item in made:
        room -= width_of(item) + 1
        if room < 0:
            break
        fitting.append(item)
    return Row(tuple(fitting), 1, whole=False)


def rows(made: Sequence[Item], width: int) -> Iterator[Row]:
    """Items broken into rows of `width` cells."""
    row: list[Item] = []
    used = 0
    for item in made:
        size = width_of(item)
        if row and used + size > width:
            yield Row(tuple(row), 2)
            row, used = [], 0
        row.append(item)
        used += size + 2
    if row:
        yield Row(tuple(row), 2)
