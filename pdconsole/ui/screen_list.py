"""Which screens there are, their order, and how to get at one without importing the others."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

import msgspec

from pdconsole.ui.actions import APP, Action

if TYPE_CHECKING:
    from pdconsole.ui.screens.console_screen import ConsoleScreen


class ScreenEntry(msgspec.Struct, frozen=True):
    name: str
    title: str
    tooltip: str
    module: str
    class_name: str

    def load(self) -> type[ConsoleScreen]:
        return cast("type[ConsoleScreen]", getattr(import_module(self.module), self.class_name))


_SCREENS = "pdconsole.ui.screens"

SCREENS = (
    ScreenEntry(
        *("sessions", "Sessions", "What was recorded in this workspace, and what runs"),
        *(f"{_SCREENS}.sessions", "SessionsScreen"),
    ),
    ScreenEntry(
        *("live", "Live", "Charts, workers and requests of the open session, live or in replay"),
        *(f"{_SCREENS}.live", "LiveScreen"),
    ),
    ScreenEntry(
        *("logs", "Logs", "The logs of the open session's workers"),
        *(f"{_SCREENS}.logs", "LogsScreen"),
    ),
    ScreenEntry(
        *("checks", "Checks", "The open session's preflight checks"),
        *(f"{_SCREENS}.checks", "ChecksScreen"),
    ),
    ScreenEntry(
        *("compare", "Compare", "The workspace's results side by side"),
        *(f"{_SCREENS}.compare", "CompareScreen"),
    ),
)
HOME = SCREENS[0].name


def show_actions() -> tuple[Action, ...]:
    """One action for each screen, on its number and its function key."""
    return tuple(
        Action(
            id=f"app.show-{entry.name}",
            name=entry.title,
            tooltip=entry.tooltip,
            keys=(str(number), f"f{number + 1}"),
            scope=APP,
            hint=False,
            call=f"show('{entry.name}')",
        )
        for number, entry in enumerate(SCREENS, 1)
    )
