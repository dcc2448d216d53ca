"""Which screens there are, their order, and how to get at one without importing the others."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

import msgspec

from pdconsole.ui.actions import APP, Action

if TYPE_CHECKING:
    from pdconsole.ui.screens.console_screen import ConsoleScreen


class ScreenEntry(msgspec.Struct, frozen=True):
    """`short` is the title where there is little room."""

    name: str
    title: str
    short: str
    tooltip: str
    module: str
    class_name: str

    def load(self) -> type[ConsoleScreen]:
        return cast("type[ConsoleScreen]", getattr(import_module(self.module), self.class_name))


_SCREENS = "pdconsole.ui.screens"

SCREENS = (
    ScreenEntry(
        *("sessions", "Sessions", "Sess", "What was recorded in this workspace, and what runs"),
        *(f"{_SCREENS}.sessions", "SessionsScreen"),
    ),
    ScreenEntry(
        *("grid", "Grid", "Grid", "Nodes and GPUs: choose a layout, place it, launch it"),
        *(f"{_SCREENS}.grid", "GridScreen"),
    ),
    ScreenEntry(
        *(
            "experiment",
            "Experiment",
            "Exp",
            "An experiment's layouts and points, and how far it is",
        ),
        *(f"{_SCREENS}.experiment", "ExperimentScreen"),
    ),
    ScreenEntry(
        *(
            "live",
            "Live",
            "Live",
            "Charts, workers, requests of the open session, also in replay",
        ),
        *(f"{_SCREENS}.live", "LiveScreen"),
    ),
    ScreenEntry(
        *("compare", "Compare", "Comp", "The workspace's results side by side"),
        *(f"{_SCREENS}.compare", "CompareScreen"),
    ),
    ScreenEntry(
        *("logs", "Logs", "Logs", "The logs of the open session's workers"),
        *(f"{_SCREENS}.logs", "LogsScreen"),
    ),
    ScreenEntry(
        *("checks", "Checks", "Check", "The open session's preflight checks"),
        *(f"{_SCREENS}.checks", "ChecksScreen"),
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
