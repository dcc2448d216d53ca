"""Jump mode: a letter on each part of a screen that takes keys. Pure but for asking the screen."""

from __future__ import annotations

from typing import Any, NamedTuple

from textual.geometry import Offset
from textual.screen import Screen
from textual.widget import Widget

LETTERS = "asdfghjklqwertyuiopzxcvbnm"  # those under the fingers come first


class Target(NamedTuple):
    letter: str
    widget: Widget
    at: Offset  # on the screen: its first cell in sight


def targets(screen: Screen[Any]) -> list[Target]:
    """The parts in sight that can have the focus, from the top left to the bottom right."""
    seen = []
    for widget in screen.focus_chain:
        region = widget.region.intersection(screen.region)
        if region.area:
            seen.append((region.offset, widget))
    seen.sort(key=lambda found: (found[0].y, found[0].x))
    return [Target(letter, widget, at) for letter, (at, widget) in zip(LETTERS, seen, strict=False)]
