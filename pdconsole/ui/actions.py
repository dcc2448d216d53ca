"""What a person can do in the console: one registry for footer, palette, help and keymap. Pure."""

from __future__ import annotations

import msgspec

APP = "app"


class Action(msgspec.Struct, frozen=True):
    """`sessions.delete` of the screen `sessions` is carried out by its `action_delete`.

    `keys` are Textual's names, the first is the one shown. An action with `hint` false is left out
    of the footer, not of palette, help or keymap.
    """

    id: str
    name: str
    tooltip: str
    keys: tuple[str, ...]
    scope: str  # "app" or the name of a screen
    hint: bool = True
    priority: bool = False  # also while text is typed

    @property
    def method(self) -> str:
        """What Textual calls: `delete` for `action_delete`."""
        return self.id.partition(".")[2].replace("-", "_")

    @property
    def namespace(self) -> str:
        return "app" if self.scope == APP else "screen"
