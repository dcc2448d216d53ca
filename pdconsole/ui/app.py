"""The console: screens over one recorded session and one workspace."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from textual.app import App

from pdconsole.journal.clock import SYSTEM_CLOCK, Clock
from pdconsole.model.state import State
from pdconsole.ui.actions import APP, Action
from pdconsole.ui.screens.console_screen import ConsoleScreen, bindings_of
from pdconsole.ui.session_source import SessionHistory

TICK_S = 0.5

ACTIONS = (
    Action("app.quit", "Quit", "Close the console; the experiment goes on", ("q", "ctrl+q"), APP),
)


class ConsoleApp(App[None]):
    """`tick` is called at 2 Hz by a timer; tests give `tick_s=None` and call it themselves."""

    BINDINGS: ClassVar = [*bindings_of(ACTIONS)]

    def __init__(
        self,
        workspace: Path,
        *,
        open_session: str | None = None,
        at: float | None = None,
        speed: float = 1.0,
        clock: Clock = SYSTEM_CLOCK,
        tick_s: float | None = TICK_S,
    ) -> None:
        super().__init__()
        self.workspace = workspace
        self.clock = clock
        self.history: SessionHistory | None = None
        self.t = 0.0
        self.state = State()
        self._first = (open_session, at, speed)
        self._tick_s = tick_s

    def on_mount(self) -> None:
        if self._tick_s is not None:
            self.set_interval(self._tick_s, self.tick)

    def tick(self) -> None:
        """Take in what was recorded, then let the visible screen show it."""
        if self.history is not None:
            self.history.poll()
            self.state = self.history.latest()
            self.t = self.state.t
        if isinstance(self.screen, ConsoleScreen):
            self.screen.refresh_from(self.history, self.t, self.state)
