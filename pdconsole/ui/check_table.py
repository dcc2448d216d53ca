"""Checks for the terminal, as text."""

from __future__ import annotations

import shutil

from pdconsole.model.survey import Checking
from pdconsole.ui.tables import table


def checks_text(found: Checking, *, every: bool) -> str:
    """A table of what is not well, or of all, with advice under it and a count last."""
    shown = [r for r in found.results if every or r.verdict != "ok"]
    width = shutil.get_terminal_size((120, 40)).columns
    rows = [
        (
            result.node,
            result.check,
            f"{result.verdict}{' (refuses)' if result.hard and result.verdict == 'fail' else ''}",
            result.value,
            result.advice,
        )
        for result in shown
    ]
    columns = [
        ("node", "left"),
        ("check", "left"),
        ("verdict", "left"),
        ("found", "fold"),
        ("advice", "fold"),
    ]
    lines = [table(columns, rows, width), ""] if rows else []
    counts = {
        verdict: sum(result.verdict == verdict for result in found.results)
        for verdict in ("ok", "warn", "fail", "unknown")
    }
    said = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    lines.append(f"{found.cluster}: {said or 'nothing was checked'}")
    if any(result.hard and result.verdict == "fail" for result in found.results):
        lines.append("a run is refused, unless with --ignore-checks")
    return "\n".join(lines)
