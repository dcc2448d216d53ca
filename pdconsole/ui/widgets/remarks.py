"""Sentences that wrap, and take as many lines as they need."""

from __future__ import annotations

from collections.abc import Sequence

from pdconsole.ui.widgets.frame_lines import Piece
from pdconsole.ui.widgets.piece_lines import PieceLines


class Remarks(PieceLines):
    DEFAULT_CSS = """
    Remarks { height: auto; text-wrap: wrap; text-overflow: fold; }
    """

    def say(self, lines: Sequence[Sequence[Piece]]) -> None:
        before = self.text
        super().say(lines)
        if self.text != before:
            self.refresh(layout=True)
