"""Every action there is, of the app, its screens and their parts: what a keymap may name."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import msgspec

from pdconsole.ui.actions import Action
from pdconsole.ui.app_actions import APP_ACTIONS
from pdconsole.ui.screen_list import SCREENS
from pdconsole.ui.screens.modal import Modal

_WIDGETS = "pdconsole.ui.widgets"
_NAMES = ("row_table", "log_view", "chart", "gpu_grid", "text_pane")
PARTS = tuple(f"{_WIDGETS}.{name}" for name in _NAMES)
_SCREENS = "pdconsole.ui.screens"
_DIALOGS = (
    *("add_layout", "chart_choice", "confirm", "help", "launch", "launch_plan"),
    *("profile_choice", "request_choice", "seek_prompt", "text_prompt"),
)
DIALOGS = tuple(f"{_SCREENS}.{name}" for name in _DIALOGS)


def every_dialog() -> tuple[type[Modal[Any]], ...]:
    """What comes up over a screen and has keys of its own."""
    for module in DIALOGS:
        import_module(module)
    return tuple(kind for kind in Modal.__subclasses__() if kind.__module__ in DIALOGS)


def every_action() -> tuple[Action, ...]:
    """Each once. Those of a screen have it as their scope, wherever it has them from: they share
    its keys. Imports all screens."""
    found: dict[str, Action] = {action.id: action for action in APP_ACTIONS}
    for entry in SCREENS:
        for action in entry.load().ACTIONS:
            found.setdefault(action.id, msgspec.structs.replace(action, scope=entry.name))
    for module in PARTS:
        for action in import_module(module).ACTIONS:
            found.setdefault(action.id, action)
    for dialog in every_dialog():
        for action in dialog.ACTIONS:
            found.setdefault(action.id, action)
    return tuple(found.values())
