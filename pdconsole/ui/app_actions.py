"""What can be done on every screen."""

from __future__ import annotations

from pdconsole.ui.actions import APP, Action
from pdconsole.ui.screen_list import show_actions


def _quiet(id: str, name: str, tooltip: str, *keys: str, call: str = "") -> Action:  # noqa: A002
    return Action(f"app.{id}", name, tooltip, keys, APP, hint=False, call=call)


APP_ACTIONS = (
    Action("app.help", "help", "Explain what is here", ("question_mark", "f1"), APP),
    Action("app.palette", "commands", "Find an action by its name", ("ctrl+p", "colon"), APP),
    Action("app.quit", "quit", "Leave; the experiment goes on", ("q", "ctrl+q"), APP),
    *show_actions(),
    _quiet(
        *("next-screen", "Next screen", "The screen to the right", "right_square_bracket"),
        call="turn(1)",
    ),
    _quiet(
        *("previous-screen", "Previous screen", "The screen to the left", "left_square_bracket"),
        call="turn(-1)",
    ),
    _quiet("jump", "Jump", "Letters on all parts; type one to go there", "apostrophe", "ctrl+o"),
    _quiet("theme", "Theme", "The next theme; it is remembered", "T"),
    _quiet("ascii", "ASCII only", "Draw with plain characters; it is remembered", "A"),
    _quiet(
        *("screenshot", "Screenshot", "Write the screen to an SVG file", "ctrl+s"),
        call="take_screenshot",
    ),
    _quiet("copy-screen", "Copy screen", "The screen's text to clipboard and file", "Y"),
    _quiet("dismiss", "Dismiss", "Take the notice away", "escape"),
    Action(
        id="app.suspend",
        name="Suspend",
        tooltip="Back to the shell; `fg` comes back",
        keys=("ctrl+z",),
        scope=APP,
        hint=False,
        priority=True,
    ),
)
