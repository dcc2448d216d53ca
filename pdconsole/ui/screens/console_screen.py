"""What all screens of the console share: a line on top, hints below, actions as bindings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, cast

from rich.cells import cell_len
from textual import events
from textual.app import ComposeResult
from textual.screen import Screen
from textual.widgets import Static

from pdconsole.model.state import State
from pdconsole.ui.actions import Action, hints
from pdconsole.ui.widgets.frame_lines import FrameLine, NoticeLine, Piece, fitting, spread
from pdconsole.ui.widgets.parts import actions_on, bindings_of

if TYPE_CHECKING:
    from pdconsole.ui.app import ConsoleApp
    from pdconsole.ui.session_source import SessionHistory

MIN_COLUMNS = 80
MIN_ROWS = 24


class ConsoleScreen(Screen[None]):
    """A screen names itself, lists its actions and shows what `refresh_from` gives it.

    `ACTIONS` become bindings by themselves. A screen composes its body in `compose_body`; what it
    has to say goes to `console.say`.
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
        yield FrameLine(id="top")
        yield from self.compose_body()
        yield NoticeLine(id="notice")
        yield FrameLine(id="hints")
        yield Static(id="too-small", markup=False)

    def compose_body(self) -> ComposeResult:
        yield from ()

    @property
    def hinted(self) -> tuple[Action, ...]:
        """Those for the line of hints, the most useful first; all are in the help."""
        return self.ACTIONS

    def refresh_from(self, history: SessionHistory | None, t: float, state: State) -> None:
        """Called on the visible screen at each tick, and when it becomes visible.

        `history` is None while no session is open; `state` is the state at session second `t`.
        """

    # --- the lines around the body ---

    def refresh_frame(self) -> None:
        """Top, notice and hints as they are now."""
        if not self.is_mounted:
            return
        width = self.size.width
        console = self.console
        self.query_one("#top", FrameLine).say(console.top_line(width))
        notice = self.query_one("#notice", NoticeLine)
        notice.display = bool(console.notice)
        notice.say(console.notice_line())
        self.query_one("#hints", FrameLine).say(self._hints(width))

    def _hints(self, width: int) -> list[Piece]:
        console = self.console

        def pieces(group: list[tuple[Action, str]], node: str) -> list[Piece]:
            keys = [
                Piece(f"{key} ", "accent", f"{node}.{action.method}", bold=True)
                for action, key in group
            ]
            return [*keys, Piece(group[0][0].hint_name, "muted", keys[0].click)]

        own = [
            pieces(group, node)
            for node, found in (("focused", actions_on(self.focused)), ("screen", self.hinted))
            for group in hints(found, console.keymap, ascii_only=console.ascii)
        ]
        always = [
            pieces(group, "app")
            for group in hints(console.ACTIONS, console.keymap, ascii_only=console.ascii)
        ]
        right = fitting(always, width - 2)
        room = width - sum(cell_len(p.text) for p in right) - 5
        left = fitting(own, room)
        return spread([Piece(" "), *left], [*right, Piece(" ")], width)

    # --- sizes ---

    def on_resize(self, event: events.Resize) -> None:
        width, height = event.size.width, event.size.height
        small = width < MIN_COLUMNS or height < MIN_ROWS
        self.set_class(small, "-too-small")
        self.set_class(width >= 120, "-wide")
        self.set_class(width >= 200, "-very-wide")
        self.set_class(height >= 40, "-tall")
        if small:
            self.query_one("#too-small", Static).update(
                f"{width}×{height} is too small: the console needs {MIN_COLUMNS}×{MIN_ROWS}. Make "
                "the window larger or the letters smaller. What runs goes on; q leaves."
            )
        self.refresh_frame()

    def show_rearranged(self) -> None:
        """After parts were shown, hidden or given other sizes by inline styles: what they show in
        their new places comes in one frame, not first what they showed before."""
        with self.app.batch_update():
            self._refresh_layout()
            self.console.refresh_visible()
            # What they repaint is in that frame; by itself it would come two frames later.
            self._compositor.update_widgets(set(self._compositor.visible_widgets))

    def on_screen_resume(self) -> None:
        self.console.refresh_visible()

    def on_descendant_focus(self) -> None:
        self.refresh_frame()
