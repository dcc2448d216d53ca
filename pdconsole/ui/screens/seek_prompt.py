"""Where to? A time is typed, and the replay goes there."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Input, Static

from pdconsole.ui.replay_track import parse_position, time_text
from pdconsole.ui.screens.modal import LEAVE_PROMPT, Modal

FORMS = "12:40   1:02:03   90s   3m   +30   -1:00   50%   end"


class SeekPrompt(Modal[float | None]):
    """Gives back the session second, or None."""

    DEFAULT_CSS = """
    SeekPrompt > Vertical {
        width: 62; height: auto; background: $surface; padding: 1 2;
        border: round $role-accent; border-title-color: $role-accent;
        border-subtitle-color: $role-muted;
    }
    SeekPrompt Input, SeekPrompt Input:focus {
        border: none; height: 1; padding: 0 1; background: $panel;
    }
    SeekPrompt Static { height: auto; color: $role-muted; margin-top: 1; }
    """
    ACTIONS: ClassVar = (LEAVE_PROMPT,)

    def __init__(self, t: float, end_t: float) -> None:
        super().__init__()
        self._t = t
        self._end_t = end_t

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = f"Go to   (at {time_text(self._t)} of {time_text(self._end_t)})"
            box.border_subtitle = f"enter goes there   {self.keys_line()}"
            yield Input(placeholder="time", id="seek-time")
            yield Static(FORMS, id="seek-said", markup=False)

    def on_mount(self) -> None:
        box = self.query_one(Input)
        box.cursor_blink = False
        box.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        self.query_one("#seek-said", Static).update(self._said(event.value))

    def _said(self, text: str) -> str:
        if not text.strip():
            return FORMS
        to = parse_position(text, self._t, self._end_t)
        return f"to {time_text(to)}" if to is not None else f"no time; write one as   {FORMS}"

    def on_input_submitted(self, event: Input.Submitted) -> None:
        to = parse_position(event.value, self._t, self._end_t)
        if to is not None:
            self.dismiss(to)
        elif not event.value.strip():
            self.dismiss(None)
