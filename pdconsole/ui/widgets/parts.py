"""Parts of screens that have actions of their own: their bindings, and what `?` says of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from textual.binding import Binding

from pdconsole.ui.actions import Action

if TYPE_CHECKING:
    from textual.dom import DOMNode


def bindings_of(actions: Iterable[Action]) -> list[Binding]:
    """Actions as Textual's bindings of the class that carries them out; ids are the keymap's."""
    return [
        Binding(
            ",".join(action.keys),
            action.method,
            action.name,
            show=action.hint,
            tooltip=action.tooltip,
            priority=action.priority,
            id=action.id,
        )
        for action in actions
        if action.keys
    ]


def actions_on(node: DOMNode | None) -> tuple[Action, ...]:
    """The actions of a widget, a screen or the app itself."""
    found = getattr(node, "ACTIONS", ())
    return tuple(a for a in found if isinstance(a, Action))


def title_of(node: DOMNode) -> str:
    """What a screen or part of it is called in the help."""
    return str(getattr(node, "TITLE", None) or getattr(node, "PART", "here"))


def help_of(node: DOMNode) -> str:
    return str(getattr(node, "HELP", ""))
