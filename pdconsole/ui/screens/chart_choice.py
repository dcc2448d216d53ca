"""Which charts the live screen shows."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import SelectionList, Static
from textual.widgets.selection_list import Selection

from pdconsole.ui.actions import Action
from pdconsole.ui.live_charts import CHARTS
from pdconsole.ui.screens.modal import LEAVE, Modal


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
    ACTIONS: ClassVar = (
        Action("charts.all", "all", "Mark all", ("a",), "charts"),
        Action(
            id="charts.choose",
            name="shows these",
            tooltip="Those that are marked",
            keys=("enter",),
            scope="charts",
            priority=True,
        ),
        LEAVE,
        Action(
            "charts.down", "Down", "The next chart", ("j",), "charts", hint=False, call="move(1)"
        ),
        Action(
            "charts.up", "Up", "The chart before", ("k",), "charts", hint=False, call="move(-1)"
        ),
    )

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
            yield Static(f"space marks   {self.keys_line()}")

    def action_choose(self) -> None:
        marked = set(self.query_one(SelectionList).selected)
        self.dismiss(tuple(c.id for c in CHARTS if c.id in marked) or None)

    def action_all(self) -> None:
        self.query_one(SelectionList).select_all()

    def action_move(self, rows: int) -> None:
        box = self.query_one(SelectionList)
        (box.action_cursor_down if rows > 0 else box.action_cursor_up)()
