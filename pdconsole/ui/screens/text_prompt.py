"""A line that must be right before it is taken; what is wrong is said while it is typed."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Input, Static

from pdconsole.ui.lines import printable
from pdconsole.ui.screens.modal import LEAVE_PROMPT, Modal


class TextPrompt(Modal[str | None]):
    """Gives back the text, or None. `problem` says why a text cannot be taken; "": it can."""

    DEFAULT_CSS = """
    TextPrompt > Vertical {
        width: 76; max-width: 96%; height: auto; background: $surface; padding: 1 2;
        border: round $role-accent; border-title-color: $role-accent;
        border-subtitle-color: $role-muted;
    }
    .-ascii TextPrompt > Vertical { border: ascii $role-accent; }
    TextPrompt Input, TextPrompt Input:focus {
        border: none; height: 1; padding: 0 1; background: $panel;
    }
    TextPrompt Static { height: auto; color: $role-muted; margin-top: 1; }
    TextPrompt Static.-wrong { color: $role-warn; }
    """
    ACTIONS: ClassVar = (LEAVE_PROMPT,)

    def __init__(self, title: str, forms: str, value: str, problem: Callable[[str], str]) -> None:
        super().__init__()
        self._title = title
        self._forms = forms
        self._value = value
        self._problem = problem

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = self._title
            box.border_subtitle = f"enter takes it   {self.keys_line()}"
            yield Input(self._value, placeholder="nothing", id="prompt")
            yield Static(self._forms, id="prompt-said", markup=False)

    def on_mount(self) -> None:
        box = self.query_one(Input)
        box.cursor_blink = False
        box.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        self._tell(self._problem(event.value))

    def _tell(self, wrong: str) -> None:
        said = self.query_one("#prompt-said", Static)
        said.update(printable(wrong or self._forms))
        said.set_class(bool(wrong), "-wrong")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if not self._problem(event.value):
            self.dismiss(event.value.strip())
