"""The grid of GPUs: where replicas stand, and the keys and the mouse that place them."""

from __future__ import annotations

from typing import ClassVar

from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from pdconsole.model.feasible import VllmRules
from pdconsole.model.grid import Grid, Slot
from pdconsole.ui.actions import Action
from pdconsole.ui.grid_view import GridView
from pdconsole.ui.placing import Placing
from pdconsole.ui.placing_rules import Violation
from pdconsole.ui.widgets.parts import bindings_of

ACTIONS: tuple[Action, ...] = ()


class GridMessage(Message):
    def __init__(self, grid: GpuGrid) -> None:
        super().__init__()
        self.grid = grid

    @property
    def control(self) -> GpuGrid:
        return self.grid


class GpuGrid(ScrollView, can_focus=True):
    """`show` gives it what it shows; an edit makes another `placing`, and it tells which."""

    PART: ClassVar[str] = "grid"
    ACTIONS: ClassVar[tuple[Action, ...]] = ACTIONS
    BINDINGS: ClassVar = [*bindings_of(ACTIONS)]

    class Changed(GridMessage):
        """An edit by key or mouse; `placing.remark` says what it could not do."""

        def __init__(self, grid: GpuGrid, placing: Placing) -> None:
            super().__init__(grid)
            self.placing = placing

    class Moved(GridMessage):
        """The cursor is on another slot, or the selection is another; nothing was placed."""

        def __init__(self, grid: GpuGrid, slot: Slot, placing: Placing) -> None:
            super().__init__(grid)
            self.slot = slot
            self.placing = placing

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.cells = GridView()
        self.placing = Placing.on(Grid(()))
        self._rules: VllmRules | None = None
        self._kv_heads: int | None = None

    def show(self, cells: GridView, placing: Placing | None = None) -> None:
        """What is so on the nodes, and a placing from elsewhere; None keeps the one that is here.

        Keys may have gone on since a message was sent: `self.placing` is always the newest.
        """
        self.cells, self.placing = cells, placing or self.placing
        self.refresh()

    def judge(self, rules: VllmRules | None, kv_heads: int | None) -> None:
        """By which rules of vLLM `violations` are found, besides those of the grid."""
        self._rules, self._kv_heads = rules, kv_heads

    @property
    def violations(self) -> tuple[Violation, ...]:
        return self.placing.violations(self._rules, self._kv_heads)

    def render_line(self, y: int) -> Strip:
        return Strip.blank(self.size.width)
