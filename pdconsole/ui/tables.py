"""Tables for the terminal, as text."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pdconsole.journal import SessionSummary
from pdconsole.ui.lines import duration, layout_name


def render(table: Table, width: int) -> str:
    """Plain text of a table, no wider than `width` columns."""
    out = io.StringIO()
    Console(file=out, width=width, color_system=None, highlight=False).print(table)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def table(columns: Sequence[tuple[str, str]], rows: Iterable[Sequence[str]], width: int) -> str:
    """`columns` are (title, how): `left`, `right`, or `fold` for the one that takes the rest."""
    drawn = Table(box=None, pad_edge=False, show_edge=False, header_style="none")
    for title, how in columns:
        drawn.add_column(
            title,
            justify="right" if how == "right" else "left",
            no_wrap=how != "fold",
            overflow="fold" if how == "fold" else "ellipsis",
        )
    for row in rows:
        drawn.add_row(*(Text(cell) for cell in row))
    return render(drawn, width)


def sessions_table(sessions: Sequence[SessionSummary], width: int) -> str:
    if not sessions:
        return "no sessions yet; `pdconsole run pd-ratio-sweep --quick` makes one"
    rows = [
        (
            s.name + (" (simulated)" if s.simulated else ""),
            s.status,
            duration(s.duration_s) if s.duration_s is not None else "-",
            size_text(s.size_bytes),
            ", ".join(layout_name(slug) for slug in s.layouts),
        )
        for s in sessions
    ]
    text = table(
        [
            ("session", "left"),
            ("status", "left"),
            ("took", "right"),
            ("size", "right"),
            ("layouts", "fold"),
        ],
        rows,
        width,
    )
    said = [f"{s.name}: {s.problem or s.message}" for s in sessions if s.problem or s.message]
    return "\n".join([text, *(["", *said] if said else [])])


def size_text(count: float) -> str:
    if count < 1000:
        return f"{count:.0f} B"
    if count < 1e6:
        return f"{count / 1e3:.1f} kB"
    return f"{count / 1e6:.1f} MB" if count < 1e9 else f"{count / 1e9:.1f} GB"
