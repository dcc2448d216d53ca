"""Points as text: a flat table where there is room for it, else one block a run."""

from __future__ import annotations

import textwrap
from collections.abc import Container, Sequence
from itertools import groupby
from string import ascii_lowercase

from pdconsole.results.axes import Axes
from pdconsole.results.point_row import PointRow

# What slots that are no GPUs of their own make of numbers.
SLOTS = {
    "gpu-share": "replicas share a GPU, which counts once",
    "cpu": "slots are CPU, and share the cores of their node",
}
LEFT = frozenset({"layout", "network", "placement", "point", "flags"})


_SHOWN = ("ttft p50", "ttft p99", "tpot p50", "tpot p99")
ON_FRONTIER = "*"


def unit_of(rows: Sequence[PointRow]) -> str:
    """What numbers are divided by: `slot` where all of them were measured on CPU."""
    return "GPU" if not rows or any(row.slot_kind != "cpu" for row in rows) else "slot"


def points_table(
    rows: Sequence[PointRow],
    width: int,
    axes: Axes | None = None,
    best: Container[tuple[str, str]] = (),
) -> str:
    """The table of points of one setting, at most `width` columns wide if it can be.

    `best` are the (file, point) of those on the frontier, which get a star.
    """
    axes = axes or Axes()
    letters, repeats = _flag_letters(rows), repeat_marks(rows)
    cells = [
        (
            _identity(row, repeats.get(row.directory, "")),
            _numbers(row, letters, axes, (row.file, row.point) in best),
        )
        for row in rows
    ]
    legend = _legend(rows, letters, repeats, axes)
    if any((row.file, row.point) in best for row in rows):
        legend.insert(1, f"{ON_FRONTIER} = on the frontier: no point is better in both")
    unit = unit_of(rows)
    head = _head(unit, axes)
    flat = [head, *(one + other for one, other in cells)]
    for gap in ("  ", " "):
        lines = aligned(flat, gap)
        if max(map(len, lines)) <= width:
            break
    else:
        lines = _blocks(cells, head, unit, width)
    return "\n".join([*lines, *wrapped(legend, width)])


def _head(unit: str, axes: Axes) -> tuple[str, ...]:
    return (
        *("layout", f"{unit}s", "network", "placement"),
        *("point", "req/s", "out tok/s", *_throughput_column(axes, unit)),
        *("TTFT p50", "p99", "TPOT p50", "p99", *_more(axes), "flags"),
    )


def _throughput_column(axes: Axes, unit: str) -> tuple[str, ...]:
    """The heading of the throughput that is looked at, where the table would not have it."""
    heading = axes.throughput.unit(unit)
    return () if heading in ("req/s", "out tok/s") else (heading,)


def _more(axes: Axes) -> tuple[str, ...]:
    """The heading of the latency that is looked at, where the table would not have it."""
    axis = axes.latency
    if f"{axis.name} {axis.statistic}" in _SHOWN:
        return ()
    if axis.inverted:
        return (f"{axis.unit} {axis.statistic}",)
    name = axis.name if len(axis.terms) > 1 else axis.name.upper()
    return (f"{name} {axis.statistic}",)


def repeat_marks(rows: Sequence[PointRow]) -> dict[str, str]:
    """`[1]`, `[2]` for directories that nothing but their names tells apart."""
    directories: dict[tuple[str, ...], dict[str, None]] = {}
    for row in rows:
        directories.setdefault(_identity(row, ""), {})[row.directory] = None
    repeated = [each for each in directories.values() if len(each) > 1]
    return {path: f"[{i}]" for each in repeated for i, path in enumerate(each, 1)}


def _identity(row: PointRow, repeat: str) -> tuple[str, ...]:
    gpus = "-" if row.gpus is None else str(row.gpus)
    return row.layout + repeat, gpus, row.network or "-", row.placement or "-"


def _numbers(row: PointRow, letters: dict[str, str], axes: Axes, is_best: bool) -> tuple[str, ...]:
    throughput, divisor = axes.throughput.value(row), axes.throughput.divisor(row)
    shown = _number(throughput, axes.digits())
    if throughput is None:
        shown = "?"
    elif axes.throughput.per != "deployment":
        shown += f" ÷{divisor}"
    return (
        row.point + ON_FRONTIER * is_best,
        f"{row.request_throughput:.2f}",
        _number(row.output_throughput, 0),
        *(shown for _ in _throughput_column(axes, "GPU")),
        _number(row.ttft_p50_ms, 0),
        _number(row.ttft_p99_ms, 0),
        _number(row.tpot_p50_ms, 1),
        _number(row.tpot_p99_ms, 1),
        *(_number(axes.latency.value(row), 1) for _ in _more(axes)),
        "".join(letters[mark] for mark in _marks(row)),
    )


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def _marks(row: PointRow) -> list[str]:
    """What a reader must know of a number: its flags, and whether it was ever real."""
    marks = ["simulated"] if row.simulated else []
    if row.slot_kind != "gpu":
        marks.append(SLOTS[row.slot_kind])
    return [*marks, *row.flags]


def _flag_letters(rows: Sequence[PointRow]) -> dict[str, str]:
    names = dict.fromkeys(mark for row in rows for mark in _marks(row))
    single = dict(zip(names, ascii_lowercase, strict=False))
    return {name: single.get(name, "*") for name in names}


def _legend(
    rows: Sequence[PointRow], letters: dict[str, str], repeats: dict[str, str], axes: Axes
) -> list[str]:
    lines = [f"{axes.throughput.explanation(unit_of(rows), rows)}; latencies in ms"]
    layouts = {row.directory: row.layout for row in rows}
    lines += [f"{layouts[path]}{mark} = {path}" for path, mark in repeats.items()]
    for name, letter in letters.items():
        marked = [row for row in rows if name in _marks(row)]
        evidence = next((row.flags[name] for row in marked if row.flags.get(name)), "")
        count = "all points" if len(marked) == len(rows) else f"{len(marked)} of {len(rows)} points"
        example = f", such as: {evidence}" if evidence else ""
        lines.append(f"{letter} = {name} ({count}{example})")
    return lines


def wrapped(lines: Sequence[str], width: int) -> list[str]:
    """The lines, broken where they are wider than `width`."""
    return [
        part
        for line in lines
        for part in textwrap.wrap(line, width, subsequent_indent="    ", break_on_hyphens=False)
    ]


def _blocks(
    cells: Sequence[tuple[tuple[str, ...], tuple[str, ...]]],
    head: tuple[str, ...],
    unit: str,
    width: int,
) -> list[str]:
    """One heading a run, its points below; all blocks in the same columns.

    Where there is no room for all, throughputs go that are not looked at.
    """
    rows = [head[4:], *(numbers for _, numbers in cells)]
    lines = _fitted(rows, width - 2)
    for spare in ("out tok/s", "req/s"):
        if max(map(len, lines)) > width - 2:
            i = rows[0].index(spare)
            rows = [(*row[:i], *row[i + 1 :]) for row in rows]
            lines = _fitted(rows, width - 2)
    found = [f"  {lines[0]}"]
    rest = iter(lines[1:])
    for (layout, gpus, network, placement), group in groupby(cells, key=lambda cell: cell[0]):
        about = [layout, f"{gpus} {unit}s", network, placement]
        found.append("  ".join(part for part in about if not part.startswith("-")))
        found.extend(f"  {next(rest)}" for _ in group)
    return found


def _fitted(rows: Sequence[Sequence[str]], width: int) -> list[str]:
    lines = aligned(rows, "  ")
    return lines if max(map(len, lines)) <= width else aligned(rows, " ")


def aligned(rows: Sequence[Sequence[str]], gap: str, left: Container[str] = LEFT) -> list[str]:
    """Lines of cells under their headings (the first row), as wide as the widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        gap.join(
            cell.ljust(width) if heading in left else cell.rjust(width)
            for cell, width, heading in zip(row, widths, rows[0], strict=True)
        ).rstrip()
        for row in rows
    ]
