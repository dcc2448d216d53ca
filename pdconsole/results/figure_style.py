"""Colours, markers and sizes of figures for print; told apart without colour too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

# Okabe and Ito's colours, which those with colour blindness can tell apart, then others.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MORE_COLOURS = (
    "#6A3D9A",
    "#8C564B",
    "#5F7F00",
    "#444444",
    "#B10026",
    "#00A5A8",
    "#9C8FD0",
    "#B8860B",
)
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h")

FRONTIER = "#B8B8B8"
FAINT = 0.3  # of what does not keep the promise
SETTINGS: dict[Any, Any] = {
    "font.size": 8.5,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "legend.fontsize": 7.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.6,
    "hatch.linewidth": 0.7,
    "pdf.fonttype": 42,  # text stays text
    "svg.hashsalt": "pdconsole",  # the same figure is the same file
}


class Look(msgspec.Struct, frozen=True):
    colour: str
    marker: str


def looks_of(labels: Sequence[str]) -> dict[str, Look]:
    """By label; no two alike before sixty."""
    colours = _COLOURS + _MORE_COLOURS
    return {
        label: Look(colours[i % len(colours)], _MARKERS[(i + i // len(colours)) % len(_MARKERS)])
        for i, label in enumerate(labels)
    }
