"""Every action there is, of the app, its screens and their parts: what a keymap may name."""

from __future__ import annotations

from importlib import import_module

import msgspec

from pdconsole.ui.actions import Action
from pdconsole.ui.app_actions import APP_ACTIONS
from pdconsole.ui.screen_list import SCREENS

_WIDGETS = "pdconsole.ui.widgets"
_NAMES = ("row_table", "log_view", "chart", "gpu_grid", "text_pane")
PARTS = tuple(f"{_WIDGETS}.{name}" for name in _NAMES)


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
    return tuple(found.values())
