"""A few lines of words, repainted only when they have changed."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content
from textual.widget import Widget

from pdconsole.ui.widgets.frame_lines import Piece, line_of


class PieceLines(Widget):
    DEFAULT_CSS = """
    PieceLines { width: 1fr; height: 1fr; text-wrap: nowrap; text-overflow: ellipsis; }
    """
    ALLOW_SELECT = False

    def __init__(
        self,
        *,
        id: str | None = None,  # noqa: A002
        classes: str | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes)
        self._lines: tuple[tuple[Piece, ...], ...] = ()

    def say(self, lines: Sequence[Sequence[Piece]]) -> None:
        fresh = tuple(tuple(line) for line in lines)
        if fresh != self._lines:
            self._lines = fresh
            self.refresh()

    @property
    def text(self) -> str:
        return "\n".join("".join(p.text for p in line) for line in self._lines)

    def render(self) -> Content:
        return Content("\n").join(line_of(line) for line in self._lines)
