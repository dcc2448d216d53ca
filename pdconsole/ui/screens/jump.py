"""Letters over the parts of the screen below; one of them moves the focus there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.widget import Widget
from textual.widgets import Static

from pdconsole.ui.jump import Target
from pdconsole.ui.screens.modal import Modal


class JumpScreen(Modal[Widget | None]):
    """Answers with the part of the letter, or of the click; any other key takes it away."""

    AUTO_FOCUS = ""
    DEFAULT_CSS: ClassVar[str] = """
    JumpScreen { background: transparent; layers: below above; }
    JumpScreen .letter {
        layer: above; width: 3; height: 1; color: $role-warn; text-style: bold reverse;
    }
    """

    def __init__(self, targets: Sequence[Target]) -> None:
        super().__init__()
        self._targets = {target.letter: target for target in targets}

    def compose(self) -> ComposeResult:
        for target in self._targets.values():
            label = Static(f" {target.letter} ", classes="letter", markup=False)
            label.styles.position = "absolute"
            label.styles.offset = (target.at.x, target.at.y)
            yield label

    def on_key(self, event: events.Key) -> None:
        event.stop()
        target = self._targets.get(event.key)
        self.dismiss(target.widget if target is not None else None)

    def on_click(self, event: events.Click) -> None:
        for target in self._targets.values():
            if target.widget.region.contains(event.screen_x, event.screen_y):
                self.dismiss(target.widget)
                return
        self.dismiss(None)
