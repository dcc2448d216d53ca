"""Regimes as a strip: the winner's letter along a logarithmic axis, certainty under it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pdconsole.model.regimes import Axis, Certainty
from pdconsole.results.letters import letters_of
from pdconsole.results.panel import Panel
from pdconsole.results.regime_table import ShownRegime, range_heading, shown_regimes

WIDEST = 100
MARKS: dict[Certainty, str] = {"clear": "█", "tie": "░", "unknown": "?", "alone": "·"}


def strip_lines(panel: Panel, axis: Axis, width: int) -> list[str]:
    """Two lines and a scale of it; empty where there is no second layout, or no range."""
    regimes = sorted(shown_regimes(panel, axis), key=lambda regime: regime.low)
    if not regimes or len(panel.labels) < 2 or regimes[0].low >= regimes[-1].high:
        return []
    columns = min(width - 4, WIDEST)
    found = [_at(regimes, i, columns) for i in range(columns)]
    letters = letters_of(panel.labels)
    digits = 1 if axis == "latency" else panel.axes.digits()
    low, high = (f"{x:,.{digits}f}" for x in (regimes[0].low, regimes[-1].high))
    name = range_heading(panel, axis)
    scale = f"{low} {name.center(max(0, columns - len(low) - len(high) - 2))} {high}"
    return [
        f"  {''.join(letters.get(regime.winner, ' ') for regime in found)}",
        f"  {''.join(MARKS[regime.certainty] for regime in found)}",
        f"  {scale}",
    ]


def strip_legend(panel: Panel) -> str:
    found = {regime.certainty for regime in panel.regimes("latency")}
    found |= {regime.certainty for regime in panel.regimes("throughput")}
    return "  ".join(f"{mark} {word}" for word, mark in MARKS.items() if word in found)


def _at(regimes: Sequence[ShownRegime], column: int, columns: int) -> ShownRegime:
    """The regime at the middle of a column."""
    low, high = regimes[0].low, regimes[-1].high
    position = low * math.exp(math.log(high / low) * (column + 0.5) / columns)
    return next((regime for regime in regimes if position <= regime.high), regimes[-1])
