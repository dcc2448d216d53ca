"""The line in which a word to search or filter by is typed; hidden while it is not used."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding
from textual.message import Message
from textual.widgets import Input


class FilterBox(Input):
    """Enter keeps what was typed, escape takes it back; both return the focus to `returns_to`."""

    PART: ClassVar[str] = "search line"
    HELP: ClassVar[str] = "Type a piece of what you look for; enter keeps it, esc takes it back."
    BINDINGS: ClassVar = [Binding("escape", "give_up", "Clear", show=False)]

    class Changed(Input.Changed):
        """As typed."""

    class Left(Message):
        """The person is done; `text` is "" when it was taken back."""

        def __init__(self, box: FilterBox, text: str) -> None:
            super().__init__()
            self.box = box
            self.text = text

        @property
        def control(self) -> FilterBox:
            return self.box

    def __init__(self, placeholder: str, *, returns_to: str, id: str) -> None:  # noqa: A002
        super().__init__(placeholder=placeholder, id=id, compact=True)
        self.cursor_blink = False
        self._returns_to = returns_to
        self.display = False

    def ask(self) -> None:
        self.display = True
        # At once: what is typed right after the key that asked belongs in here.
        self.screen.set_focus(self)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self._leave()

    def action_give_up(self) -> None:
        self.value = ""
        self._leave()

    def _leave(self) -> None:
        self.display = bool(self.value)
        self.screen.set_focus(self.screen.query_one(self._returns_to))
        self.post_message(self.Left(self, self.value))
