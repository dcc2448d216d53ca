"""The screen Grid."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.widgets import Static

from pdconsole.ui.screens.console_screen import ConsoleScreen


class GridScreen(ConsoleScreen):
    NAME: ClassVar[str] = "grid"
    TITLE: ClassVar[str] = "Grid"

    def compose_body(self) -> ComposeResult:
        yield Static()
