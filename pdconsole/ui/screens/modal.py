"""What comes up over a screen, asks something, and goes once."""

from __future__ import annotations

from typing import TypeVar

from textual.await_complete import AwaitComplete
from textual.screen import ModalScreen

T = TypeVar("T")


class Modal(ModalScreen[T]):
    """A modal screen that is answered once.

    Keys and clicks that were on their way when it went come to it all the same: a second answer
    would take away the screen below, or end the console where there is none.
    """

    def dismiss(self, result: T | None = None) -> AwaitComplete:
        return super().dismiss(result) if self.is_active else AwaitComplete()
