"""The command palette: every action of the app, the screen and the focused part, by name."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from textual.await_complete import AwaitComplete
from textual.command import CommandList, CommandPalette, DiscoveryHit, Hit, Hits, Provider
from textual.widgets import Input

from pdconsole.ui.actions import Action
from pdconsole.ui.widgets.parts import actions_on

if TYPE_CHECKING:
    from pdconsole.ui.app import ConsoleApp


class ActionPalette(CommandPalette):
    """Textual's palette with a cursor that does not blink, and that goes once, as `Modal` does."""

    def on_mount(self) -> None:
        for box in self.query(Input):
            box.cursor_blink = False

    def dismiss(self, result: None = None) -> AwaitComplete:
        return super().dismiss(result) if self.is_active else AwaitComplete()

    def _gather_commands(self, search_value: str) -> Any:
        """What was typed may come when the palette has gone, and with it the list to fill."""
        return super()._gather_commands(search_value) if self.is_active else None

    def _action_command_list(self, action: str) -> None:
        """Textual's own looks for rows by lines that a list not laid out yet does not have."""
        if self.query_one(CommandList).scrollable_content_region:
            super()._action_command_list(action)


class ActionsProvider(Provider):
    """Finds actions by name, tooltip or id; shows the key each has now."""

    def _found(self) -> Iterator[tuple[Action, str, partial[Any]]]:
        console = cast("ConsoleApp", self.app)
        for node, owner in (
            ("screen", self.screen),
            ("app", console),
            ("focused", self.focused),
        ):
            for action in actions_on(owner):
                target = owner if node == "focused" else None
                # By the time it runs the palette is gone, and the focus is where it was.
                run = partial(
                    console.run_action,
                    action.method if target is not None else f"{node}.{action.method}",
                    target,
                )
                yield action, console.key_of(action), run

    async def discover(self) -> Hits:
        for action, key, run in self._found():
            yield DiscoveryHit(_line(action, key), run, action.name, action.tooltip)

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        for action, key, run in self._found():
            score = max(
                matcher.match(action.name),
                matcher.match(action.id) * 0.9,
                matcher.match(action.tooltip) * 0.6,
            )
            if score > 0:
                yield Hit(score, _line(action, key), run, action.name, action.tooltip)


def _line(action: Action, key: str) -> str:
    return f"{action.name}  ({key})" if key else action.name
