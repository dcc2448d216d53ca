"""`?`: what the focused part, the screen and the console can do, with the keys of now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from pdconsole.ui.actions import Action, key_label, keys_of
from pdconsole.ui.keymap import Keymap
from pdconsole.ui.screens.modal import Modal


def _action(id: str, name: str, tooltip: str, *keys: str, call: str = "") -> Action:  # noqa: A002
    return Action(f"help.{id}", name, tooltip, keys, "help", hint=not call, call=call)


class HelpSection:
    """A heading, what it says, and actions."""

    def __init__(self, title: str, text: str, actions: Sequence[Action]) -> None:
        self.title = title
        self.text = text
        self.actions = actions


class HelpScreen(Modal[None]):
    """Over the screen it explains; any of its keys closes it."""

    ACTIONS: ClassVar = (
        _action("dismiss", "closes", "Back to the screen", "escape", "q", "question_mark", "f1"),
        _action("down", "Down", "The next line", "j", "down", call="move(1)"),
        _action("up", "Up", "The line before", "k", "up", call="move(-1)"),
        _action("page-down", "On", "Ten lines on", "space", "pagedown", "ctrl+f", call="move(10)"),
        _action("page-up", "Back", "Ten lines back", "pageup", "ctrl+b", call="move(-10)"),
    )

    def __init__(self, sections: Sequence[HelpSection], keymap: Keymap, *, ascii_only: bool):
        super().__init__()
        self._sections = sections
        self._keymap = keymap
        self._ascii = ascii_only

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="help") as scroll:
            scroll.border_title = "Help"
            scroll.border_subtitle = self.keys_line()
            yield Static(self._content(), id="help-text")

    def action_move(self, rows: int) -> None:
        self.query_one("#help", VerticalScroll).scroll_relative(y=rows, animate=False)

    async def action_dismiss(self, result: None = None) -> None:
        self.dismiss(result)

    def _content(self) -> Content:
        parts: list[Any] = []
        keys = [
            ", ".join(key_label(k, ascii_only=self._ascii) for k in keys_of(action, self._keymap))
            for section in self._sections
            for action in section.actions
        ]
        width = max((len(k) for k in keys), default=0)
        names = max((len(a.name) for s in self._sections for a in s.actions), default=0)
        rest = iter(keys)
        for number, section in enumerate(self._sections):
            parts.append("\n\n" if number else "")
            parts.append((section.title, "bold $role-accent"))
            if section.text:
                parts.append(f"\n{section.text}")
            for action in section.actions:
                parts.append(("\n  " + next(rest).ljust(width) + "  ", "bold $role-text"))
                parts.append((action.name.ljust(names), "$role-text"))
                parts.append((f"  {action.tooltip}", "$role-muted"))
        return Content.assemble(*parts)
