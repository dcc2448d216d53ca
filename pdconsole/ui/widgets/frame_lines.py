"""The lines around every screen: screens and session on top, a notice and key hints below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from rich.cells import cell_len
from textual import events
from textual.content import Content
from textual.style import Style
from textual.widget import Widget

from pdconsole.ui.lines import printable

GAP = "  "


class Piece(msgspec.Struct, frozen=True):
    """A word on a line: its colour by role, and the action a click on it calls."""

    text: str
    role: str = "text"
    click: str = ""
    bold: bool = False
    reverse: bool = False


def line_of(pieces: Sequence[Piece]) -> Content:
    """The pieces as one line; their text is data."""
    parts: list[Any] = []
    for piece in pieces:
        text = printable(piece.text)
        style = Style.parse(f"$role-{piece.role}")
        if piece.bold:
            style += Style(bold=True)
        if piece.reverse:
            style += Style(reverse=True)
        parts.append((text, style))
    return Content.assemble(*parts)


def fitting(pieces: Sequence[Sequence[Piece]], room: int) -> list[Piece]:
    """As many groups of pieces as fit into `room` cells, two spaces between them."""
    shown: list[Piece] = []
    used = 0
    for group in pieces:
        width = sum(cell_len(p.text) for p in group) + (len(GAP) if shown else 0)
        if used + width > room:
            break
        if shown:
            shown.append(Piece(GAP))
        shown += group
        used += width
    return shown


class FrameLine(Widget):
    """One line that is repainted only when what it says has changed."""

    DEFAULT_CSS = """
    FrameLine { height: 1; width: 1fr; text-wrap: nowrap; text-overflow: ellipsis; }
    """
    ALLOW_SELECT = False

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._pieces: tuple[Piece, ...] = ()

    def say(self, pieces: Sequence[Piece]) -> None:
        fresh = tuple(pieces)
        if fresh != self._pieces:
            self._pieces = fresh
            self.refresh()

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self._pieces)

    def render(self) -> Content:
        return line_of(self._pieces)

    async def on_click(self, event: events.Click) -> None:
        left = 0
        for piece in self._pieces:
            left += cell_len(piece.text)
            if event.x < left:
                if piece.click:
                    await self.app.run_action(piece.click, self.screen)
                return


class NoticeLine(FrameLine):
    """A sentence, as many lines as it needs; a click takes it away."""

    DEFAULT_CSS = """
    NoticeLine { height: auto; max-height: 5; text-wrap: wrap; }
    """

    def say(self, pieces: Sequence[Piece]) -> None:
        if tuple(pieces) != self._pieces:
            super().say(pieces)
            self.refresh(layout=True)

    async def on_click(self, event: events.Click) -> None:
        event.stop()
        await self.app.run_action("app.dismiss")


def spread(left: Sequence[Piece], right: Sequence[Piece], room: int) -> list[Piece]:
    """`left` at the left, `right` at the right; where both do not fit, `right` goes."""
    width = sum(cell_len(p.text) for p in left)
    other = sum(cell_len(p.text) for p in right)
    if width + other + 2 > room:
        return list(left)
    return [*left, Piece(" " * (room - width - other)), *right]
