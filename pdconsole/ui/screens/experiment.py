"""The screen Experiment."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.widgets import Static

from pdconsole.ui.screens.console_screen import ConsoleScreen


class ExperimentScreen(ConsoleScreen):
    NAME: ClassVar[str] = "experiment"
    TITLE: ClassVar[str] = "Experiment"

    def compose_body(self) -> ComposeResult:
        yield Static()
