"""What all screens of the console share: a line on top, hints below, actions as bindings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual.app import ComposeResult
from textual.binding import Binding
from textual.screen import Screen
from textual.widgets import Static

from pdconsole.model.state import State
from pdconsole.ui.actions import Action

if TYPE_CHECKING:
    from pdconsole.ui.app import ConsoleApp
    from pdconsole.ui.session_source import SessionHistory


def bindings_of(actions: Iterable[Action]) -> list[Binding]:
    """Actions as Textual's bindings; the ids are those of the keymap."""
    return [
        Binding(
            ",".join(action.keys),
            f"{action.namespace}.{action.method}",
            action.name,
            show=action.hint,
            tooltip=action.tooltip,
            priority=action.priority,
            id=action.id,
        )
        for action in actions
        if action.keys
    ]


class ConsoleScreen(Screen[None]):
    """A screen names itself, lists its actions and shows what `refresh_from` gives it.

    `ACTIONS` become bindings by themselves. A screen composes its body in `compose_body`.
    """

    NAME: ClassVar[str] = ""
    TITLE: ClassVar[str] = ""
    ACTIONS: ClassVar[tuple[Action, ...]] = ()
    HELP: ClassVar[str] = ""  # a few lines for `?`

    def __init_subclass__(cls, **kwargs: Any) -> None:
        # Textual reads BINDINGS when the class is made.
        cls.BINDINGS = [*bindings_of(cls.ACTIONS)]
        super().__init_subclass__(**kwargs)

    @property
    def console(self) -> ConsoleApp:
        return cast("ConsoleApp", self.app)

    def compose(self) -> ComposeResult:
        yield Static(id="top")
        yield from self.compose_body()
        yield Static(id="hints")

    def compose_body(self) -> ComposeResult:
        yield from ()

    def refresh_from(self, history: SessionHistory | None, t: float, state: State) -> None:
        """Called on the visible screen at each tick, and when it becomes visible.

        `history` is None while no session is open; `state` is the state at session second `t`.
        """
