"""Which charts the live screen shows."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.widgets import SelectionList, Static
from textual.widgets.selection_list import Selection

from pdconsole.ui.live_charts import CHARTS
from pdconsole.ui.screens.modal import Modal


class ChartChoice(Modal[tuple[str, ...] | None]):
    """Gives back the ids in their order, or None."""

    DEFAULT_CSS = """
    ChartChoice > Vertical {
        width: 76; height: auto; max-height: 90%; background: $surface; padding: 0 1;
        border: round $role-accent; border-title-color: $role-accent;
    }
    ChartChoice SelectionList { border: none; height: auto; background: $surface; padding: 0; }
    ChartChoice SelectionList:focus { border: none; }
    ChartChoice Static { height: 1; color: $role-muted; }
    """
    BINDINGS: ClassVar = [
        Binding("escape,q", "leave", "Leave as it was"),
        Binding("enter", "choose", "Show these", priority=True),
        Binding("a", "all", "All"),
        Binding("j", "move(1)", "Down", show=False),
        Binding("k", "move(-1)", "Up", show=False),
    ]

    def __init__(self, chosen: Collection[str]) -> None:
        super().__init__()
        self._chosen = frozenset(chosen)

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = "Charts"
            yield SelectionList[str](
                *(
                    Selection(f"{c.name:<12} {c.tooltip}", c.id, c.id in self._chosen)
                    for c in CHARTS
                )
            )
            yield Static("space marks   a all   enter shows these   esc leaves all as it was")

    def action_choose(self) -> None:
        marked = set(self.query_one(SelectionList).selected)
        self.dismiss(tuple(c.id for c in CHARTS if c.id in marked) or None)

    def action_all(self) -> None:
        self.query_one(SelectionList).select_all()

    def action_move(self, rows: int) -> None:
        box = self.query_one(SelectionList)
        (box.action_cursor_down if rows > 0 else box.action_cursor_up)()

    def action_leave(self) -> None:
        self.dismiss(None)
