"""The list of feasible layouts with its filters."""

from __future__ import annotations

from typing import ClassVar

import msgspec
from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import Input

from pdconsole.model.layout import Layout
from pdconsole.ui.feasible_layouts import Found, Room, Wanted, find_layouts
from pdconsole.ui.widgets.filter_box import FilterBox
from pdconsole.ui.widgets.frame_lines import FrameLine, Piece, spread
from pdconsole.ui.widgets.row_table import Cell, Column, Row, RowTable

COLUMNS = (Column("layout", "layout", 18, flex=1), Column("gpus", "GPUs", 4, "right"))


class FeasibleList(Vertical):
    """Rows are layouts; one that is chosen is told as `Chosen`."""

    DEFAULT_CSS = """
    FeasibleList { height: 1fr; min-height: 5; }
    FeasibleList RowTable { height: 1fr; }
    """
    PART: ClassVar[str] = "feasible layouts"

    class Chosen(Message):
        def __init__(self, layout: Layout) -> None:
            super().__init__()
            self.layout = layout

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.wanted = Wanted()
        self.found = Found()
        self._room: Room | None = None
        self._made_for: tuple[Room | None, Wanted] | None = None

    def compose(self) -> ComposeResult:
        yield FrameLine(id="feasible-head")
        yield FrameLine(id="feasible-filters")
        yield FilterBox("only layouts with …", returns_to="#feasible", id="feasible-filter")
        yield RowTable(COLUMNS, id="feasible")

    # --- what it shows ---

    def show(self, room: Room, standing: str) -> None:
        """`standing` is the slug of the layout that stands on the grid, which is marked."""
        self._room = room
        self._lay_out()
        self.query_one(RowTable).mark(frozenset({standing} - {""}))

    def on_resize(self) -> None:
        self._say_head()

    def _lay_out(self) -> None:
        room = self._room
        if room is None or self._made_for == (room, self.wanted):
            return
        self._made_for = (room, self.wanted)
        self.found = find_layouts(room, self.wanted)
        table = self.query_one(RowTable)
        table.empty = "no layout is like that; ask for others above" if room.gpus else "no GPUs yet"
        table.show_rows([_row(layout, room) for layout in self.found.layouts])
        table.refresh()
        self._say_head()

    def _say_head(self) -> None:
        room = self._room
        if room is None:
            return
        width = self.size.width
        head = [Piece(" feasible", "text", bold=True)]
        count = [Piece(f"{self.found.text} ", "muted")]
        self.query_one("#feasible-head", FrameLine).say(spread(head, count, width))
        gpus, tp, kind = self.wanted.text(room).split(" · ")
        dot = Piece(" · ", "muted")
        self.query_one("#feasible-filters", FrameLine).say(
            [
                Piece(" "),
                Piece(gpus, "accent", "screen.more_gpus"),
                *(dot, Piece(tp, "accent", "screen.next_tp")),
                *(dot, Piece(kind, "accent", "screen.next_kind")),
            ]
        )

    # --- filters ---

    def want(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self._lay_out()

    def more_gpus(self, *, less: bool = False) -> None:
        if self._room is not None:
            self.want(self.wanted.with_more(self._room, less=less))

    def next_tp(self) -> None:
        if self._room is not None:
            self.want(self.wanted.with_next_tp(self._room))

    def next_kind(self) -> None:
        self.want(self.wanted.with_next_kind())

    def exactly(self) -> None:
        self.want(msgspec.structs.replace(self.wanted, exact=not self.wanted.exact))

    def ask_words(self) -> None:
        self.query_one(FilterBox).ask()

    @on(Input.Changed, "#feasible-filter")
    def typed(self, event: Input.Changed) -> None:
        event.stop()
        self.want(msgspec.structs.replace(self.wanted, words=event.value))

    @on(RowTable.Chosen)
    def chosen(self, event: RowTable.Chosen) -> None:
        event.stop()
        for layout in self.found.layouts:
            if layout.slug == event.key:
                self.post_message(self.Chosen(layout))
                return


def _row(layout: Layout, room: Room) -> Row:
    # What others hold leaves no room for it now.
    role = "text" if layout.gpus <= room.free else "muted"
    gpus = f"{layout.gpus}" if layout.gpus <= room.free else f"{layout.gpus} !"
    return Row(layout.slug, (Cell(str(layout), role), Cell(gpus, role, float(layout.gpus))))
