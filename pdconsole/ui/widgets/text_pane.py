"""Lines of words to read, as wide as there is room, scrolled by keys and wheel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from pdconsole.ui.actions import Action
from pdconsole.ui.lines import printable
from pdconsole.ui.theme import colour
from pdconsole.ui.widgets.frame_lines import Piece
from pdconsole.ui.widgets.parts import bindings_of

Write = Callable[[int], Sequence[Sequence[Piece]]]


def _action(id: str, name: str, tooltip: str, *keys: str) -> Action:  # noqa: A002
    return Action(f"pane.{id}", name, tooltip, keys, "pane", hint=False)


ACTIONS = (
    _action("down", "Down", "A line down", "j", "down"),
    _action("up", "Up", "A line up", "k", "up"),
    _action("top", "Top", "The first line", "g", "home"),
    _action("bottom", "Bottom", "The last line", "G", "end"),
    _action("page-down", "Page down", "A screenful on", "ctrl+f", "pagedown"),
    _action("page-up", "Page up", "A screenful back", "ctrl+b", "pageup"),
)


class TextPane(ScrollView, can_focus=True):
    """`write` gives the lines for a width; it is asked again when the width changes."""

    PART: ClassVar[str] = "pane"
    HELP: ClassVar[str] = "Text to read; it scrolls."
    ACTIONS: ClassVar[tuple[Action, ...]] = ACTIONS
    BINDINGS: ClassVar = [*bindings_of(ACTIONS)]
    DEFAULT_CSS = """
    TextPane { background: $surface; overflow-x: hidden; scrollbar-size-vertical: 1; }
    TextPane:focus { background: $surface; }
    """
    ALLOW_SELECT = False

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._write: Write = lambda _width: ()
        self._subject: object = None
        self._lines: tuple[tuple[Piece, ...], ...] = ()
        self._written_for = 0

    def show(self, subject: object, write: Write) -> None:
        """Of another subject the first line is shown, else where one was."""
        self._write = write
        self._rewrite()
        if subject != self._subject:
            self._subject = subject
            self.scroll_to(y=0, animate=False)

    @property
    def text(self) -> str:
        return "\n".join("".join(p.text for p in line) for line in self._lines)

    def _rewrite(self) -> None:
        self._written_for = self.scrollable_content_region.width or self.size.width
        self._lines = tuple(map(tuple, self._write(max(self._written_for, 40))))
        self.virtual_size = Size(self.size.width, len(self._lines))
        self.refresh()

    def on_resize(self) -> None:
        if (self.scrollable_content_region.width or self.size.width) != self._written_for:
            self._rewrite()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self.refresh()

    def render_line(self, y: int) -> Strip:
        width, index = self.size.width, self.scroll_offset.y + y
        text = self._style(Piece(""))
        if index >= len(self._lines):
            return Strip.blank(width, text)
        segments = [Segment(printable(p.text), self._style(p)) for p in self._lines[index]]
        return Strip(segments).adjust_cell_length(width, text)

    def _style(self, piece: Piece) -> Style:
        return Style(
            color=colour(self.app, piece.role),
            bgcolor=self.app.theme_variables["surface"],
            bold=piece.bold or None,
        )

    # --- moving ---

    def action_down(self) -> None:
        self.scroll_relative(y=1, animate=False)

    def action_up(self) -> None:
        self.scroll_relative(y=-1, animate=False)

    def action_top(self) -> None:
        self.scroll_to(y=0, animate=False)

    def action_bottom(self) -> None:
        self.scroll_to(y=self.max_scroll_y, animate=False)

    def action_page_down(self) -> None:
        self.scroll_relative(y=max(1, self.size.height - 1), animate=False)

    def action_page_up(self) -> None:
        self.scroll_relative(y=-max(1, self.size.height - 1), animate=False)
