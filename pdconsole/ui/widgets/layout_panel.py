"""Beside the grid: the layout field, what is to be said of it, how it is placed, what fits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.widgets import Input

from pdconsole.ui.grid_draft import Draft
from pdconsole.ui.grid_words import foot_line, place_line, size_text, verdict_lines
from pdconsole.ui.widgets.feasible_list import FeasibleList
from pdconsole.ui.widgets.frame_lines import FrameLine, Piece
from pdconsole.ui.widgets.remarks import Remarks


class LayoutField(Input):
    """Any notation of a layout. Enter and escape go back to the grid."""

    PART: ClassVar[str] = "layout field"
    HELP: ClassVar[str] = (
        "A layout in any notation: 2P-TP2+1D-TP4, 2P-TP2 : 1D-TP4, p2xtp2-d1xtp4, 2xtp2-1xtp4, "
        "2ptp2-1dtp4, 8xTP1, 1xtpep4-1xtpep4. It is placed as you type; enter goes to the grid."
    )
    BINDINGS: ClassVar = [Binding("escape", "leave", "To the grid", show=False)]

    class Left(Message):
        """The person is done with it."""

    def __init__(self) -> None:
        super().__init__(placeholder="type a layout (i)", id="layout", compact=True)
        self.cursor_blink = False

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.action_leave()

    def action_leave(self) -> None:
        self.post_message(self.Left())


class LayoutPanel(Vertical):
    DEFAULT_CSS = """
    LayoutPanel { background: $surface; }
    LayoutPanel #layout-line { height: 1; }
    LayoutField { width: 1fr; height: 1; border: none; padding: 0 1; background: $panel; }
    LayoutField:focus { border: none; background: $panel; }
    LayoutPanel #layout-size { width: 15; }
    LayoutPanel Remarks { padding: 0 1; max-height: 9; background: $surface; }
    """

    class Typed(Message):
        """The text of the layout field was changed by a person."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._on_its_way: list[str] = []  # typed, and not in any draft yet

    def compose(self) -> ComposeResult:
        with Horizontal(id="layout-line"):
            yield LayoutField()
            yield FrameLine(id="layout-size")
        yield Remarks(id="verdict")
        yield FrameLine(id="place")
        yield FrameLine(id="foot")
        yield FeasibleList(id="feasible-list")

    @property
    def field(self) -> LayoutField:
        return self.query_one(LayoutField)

    @property
    def feasible(self) -> FeasibleList:
        return self.query_one(FeasibleList)

    def show(self, draft: Draft, trouble: str, keys: Mapping[str, str]) -> None:
        self._show_text(draft.text)
        size = size_text(draft)
        self.query_one("#layout-size", FrameLine).say([Piece(f"{size:>14} ", "muted")])
        self.query_one(Remarks).say(verdict_lines(draft, trouble))
        self.query_one("#place", FrameLine).say(place_line(draft, keys["auto-place"]))
        self.query_one("#foot", FrameLine).say(foot_line(keys))
        layout = draft.placing.layout
        self.feasible.show(draft.room, layout.slug if layout is not None else "")

    def _show_text(self, text: str) -> None:
        """A draft made before the last keys must not take them back, nor move the cursor."""
        if text in self._on_its_way:
            del self._on_its_way[: self._on_its_way.index(text) + 1]
        field = self.field
        if not self._on_its_way and field.value != text:
            with field.prevent(Input.Changed):
                field.value = text
                field.cursor_position = len(text)

    @on(Input.Changed, "#layout")
    def typed(self, event: Input.Changed) -> None:
        event.stop()
        self._on_its_way.append(event.value)
        self.post_message(self.Typed(event.value))
