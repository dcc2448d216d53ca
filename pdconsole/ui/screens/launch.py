"""The question before a launch: which nodes and GPUs, and which load levels."""

from __future__ import annotations

from typing import ClassVar

import msgspec
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widgets import Button, Input, Static

from pdconsole.ui.actions import Action
from pdconsole.ui.grid_draft import levels
from pdconsole.ui.screens.modal import LEAVE_PROMPT, Modal

LEAVE = msgspec.structs.replace(LEAVE_PROMPT, priority=True)
YES = Action("launch.yes", "Yes", "Launch", ("y",), "launch", call="launch")
NO = Action("launch.no", "No", "Leave it", ("n", "q"), "launch", call="leave")
OTHER = Action(
    *("launch.other", "Other button", "Yes or no", ("left", "h", "right", "l"), "launch"),
)


class LaunchScreen(Modal[tuple[int, ...] | None]):
    """Gives back the concurrency levels, or None. The focus is on the levels; enter launches."""

    DEFAULT_CSS = """
    LaunchScreen #confirm Input {
        height: 1; border: none; padding: 0 1; background: $panel; width: 1fr;
    }
    LaunchScreen #levels-line { height: 1; }
    LaunchScreen #levels-line Static { width: 13; color: $role-muted; }
    LaunchScreen #levels-problem { height: 2; color: $role-fail; }
    """
    ACTIONS: ClassVar = (LEAVE, YES, NO, OTHER)

    def __init__(self, about: str, concurrency: tuple[int, ...]) -> None:
        super().__init__()
        self._about = about
        self._levels = concurrency

    def compose(self) -> ComposeResult:
        with Vertical(id="confirm") as box:
            box.border_title = "Launch?"
            yield Static(self._about, markup=False, id="confirm-about")
            with Horizontal(id="levels-line"):
                yield Static("concurrency", markup=False)
                text = " ".join(map(str, self._levels))
                field = Input(text, id="levels", compact=True, select_on_focus=False)
                field.cursor_blink = False
                yield field
            yield Static(id="levels-problem", markup=False)
            with Horizontal(id="confirm-buttons"):
                yield Button("Launch (enter)", id="yes", variant="error", compact=True)
                yield Button(f"No ({self.key_of(LEAVE)})", id="no", variant="primary", compact=True)

    def on_mount(self) -> None:
        self.query_one("#levels", Input).focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._read()

    def _read(self) -> tuple[int, ...] | None:
        said = self.query_one("#levels-problem", Static)
        try:
            found = levels(self.query_one("#levels", Input).value)
        except ValueError as e:
            said.update(f"✗ {e}")
            return None
        said.update("")
        return found

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.action_launch()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "yes":
            self.action_launch()
        else:
            self.action_leave()

    def action_other(self) -> None:
        self.focus_next()

    def action_launch(self) -> None:
        found = self._read()
        if found is not None:
            self.dismiss(found)
