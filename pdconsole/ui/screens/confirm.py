"""A question before something that cannot be taken back."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widgets import Button, Static

from pdconsole.ui.actions import Action
from pdconsole.ui.screens.modal import Modal

YES = Action("confirm.yes", "Yes", "Do it", ("y",), "confirm", call="answer(True)")
NO = Action("confirm.no", "No", "Leave it", ("n", "escape", "q"), "confirm", call="answer(False)")
OTHER = Action(
    *("confirm.other", "Other button", "Yes or no", ("left", "h", "right", "l"), "confirm"),
)


class ConfirmScreen(Modal[bool]):
    """Says what will be touched; y or n, or a button. The focus is on No."""

    ACTIONS: ClassVar = (YES, NO, OTHER)

    def __init__(self, question: str, about: str, *, yes: str) -> None:
        super().__init__()
        self._question = question
        self._about = about
        self._yes = yes

    def compose(self) -> ComposeResult:
        with Vertical(id="confirm") as box:
            box.border_title = self._question
            yield Static(self._about, markup=False, id="confirm-about")
            with Horizontal(id="confirm-buttons"):
                yes, no = f"{self._yes} ({self.key_of(YES)})", f"No ({self.key_of(NO)})"
                yield Button(yes, id="yes", variant="error", compact=True)
                yield Button(no, id="no", variant="primary", compact=True)

    def on_mount(self) -> None:
        self.query_one("#no").focus()

    def action_answer(self, yes: bool) -> None:
        self.dismiss(yes)

    def action_other(self) -> None:
        self.focus_next()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes")
