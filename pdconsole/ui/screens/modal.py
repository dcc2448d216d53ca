"""What comes up over a screen, asks something, and goes once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from textual.await_complete import AwaitComplete
from textual.screen import ModalScreen

from pdconsole.ui.actions import Action
from pdconsole.ui.widgets.parts import bindings_of

if TYPE_CHECKING:
    from pdconsole.ui.app import ConsoleApp

T = TypeVar("T")

LEAVE = Action(
    "dialog.leave", "leaves all as it was", "Nothing is taken", ("escape", "q"), "dialog"
)
# Where one types, what is no key alone must do.
LEAVE_PROMPT = Action("prompt.leave", "leaves", "Nothing is taken", ("escape",), "prompt")


class Modal(ModalScreen[T]):
    """A modal screen that is answered once.

    Keys and clicks that were on their way when it went come to it all the same: a second answer
    would take away the screen below, or end the console where there is none. `ACTIONS` become its
    bindings; ids of the same name in several dialogs are one entry of the keymap.
    """

    ACTIONS: ClassVar[tuple[Action, ...]] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        if cls.ACTIONS:
            cls.BINDINGS = [*bindings_of(cls.ACTIONS)]
        super().__init_subclass__(**kwargs)

    def key_of(self, action: Action) -> str:
        return cast("ConsoleApp", self.app).key_of(action)

    def keys_line(self) -> str:
        """What can be done here: `enter shows these   a all   esc leaves`."""
        told = ((self.key_of(action), action.name) for action in self.ACTIONS if action.hint)
        return "   ".join(f"{key} {name}" for key, name in told if key)

    def action_leave(self) -> None:
        self.dismiss(None)

    def dismiss(self, result: T | None = None) -> AwaitComplete:
        return super().dismiss(result) if self.is_active else AwaitComplete()
