"""A table of many rows drawn line by line: rows keep their place, the cursor keeps its row.

Columns have a least width; where all of them do not fit, those of the lowest priority are left
out, and what room is left goes to the flexible ones. Cells are data: no markup is read in them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

import msgspec
from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from pdconsole.ui.actions import Action
from pdconsole.ui.lines import printable
from pdconsole.ui.theme import colour
from pdconsole.ui.widgets.parts import bindings_of

GAP = 2


class Column(msgspec.Struct, frozen=True):
    """`width` is the least it needs; `flex` shares of what is left; low `priority` goes first."""

    key: str
    title: str
    width: int
    align: Literal["left", "right"] = "left"
    flex: int = 0
    priority: int = 9


class Cell(msgspec.Struct, frozen=True):
    text: str
    role: str = "text"
    sort: float | str | None = None  # what to sort by; None: the text


class Row(msgspec.Struct, frozen=True):
    key: str
    cells: tuple[Cell, ...]


def laid_out(columns: Sequence[Column], room: int) -> list[tuple[int, int]]:
    """(index of the column, width) of those that fit into `room` cells, in their order."""
    shown = list(range(len(columns)))

    def needed() -> int:
        return sum(columns[i].width for i in shown) + GAP * max(0, len(shown) - 1)

    while len(shown) > 1 and needed() > room:
        shown.remove(min(shown, key=lambda i: (columns[i].priority, -i)))
    spare = max(0, room - needed())
    shares = sum(columns[i].flex for i in shown)
    widths = []
    for i in shown:
        extra = spare * columns[i].flex // shares if shares else 0
        widths.append((i, min(columns[i].width, room) + extra))
    return widths


ACTIONS = (
    Action("table.down", "Down", "The next row", ("j", "down"), "table", hint=False),
    Action("table.up", "Up", "The row before", ("k", "up"), "table", hint=False),
    Action("table.top", "Top", "The first row", ("g", "home"), "table", hint=False),
    Action("table.bottom", "Bottom", "The last row", ("G", "end"), "table", hint=False),
    Action(
        *("table.page-down", "Page down", "A screenful on", ("ctrl+f", "pagedown"), "table"),
        hint=False,
    ),
    Action(
        *("table.page-up", "Page up", "A screenful back", ("ctrl+b", "pageup"), "table"),
        hint=False,
    ),
    Action("table.choose", "Choose", "Open or choose the row", ("enter",), "table", hint=False),
)


class RowTable(ScrollView, can_focus=True):
    """`show_rows` gives it its rows; it tells of the cursor, of a chosen row, of a heading."""

    PART: ClassVar[str] = "table"
    HELP: ClassVar[str] = "A table. Click a heading to sort by it, a row to choose it."
    ACTIONS: ClassVar[tuple[Action, ...]] = ACTIONS
    BINDINGS: ClassVar = [*bindings_of(ACTIONS)]
    DEFAULT_CSS = """
    RowTable { background: $surface; overflow-x: hidden; scrollbar-size-vertical: 1; }
    RowTable:focus { background: $surface; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = set()
    ALLOW_SELECT = False

    cursor: reactive[int] = reactive(0)

    class Moved(Message):
        """The cursor is on another row."""

        def __init__(self, table: RowTable, key: str) -> None:
            super().__init__()
            self.table = table
            self.key = key

        @property
        def control(self) -> RowTable:
            return self.table

    class Chosen(Moved):
        """Enter, or a click on the row under the cursor."""

    class Heading(Message):
        """A heading was clicked."""

        def __init__(self, table: RowTable, column: str) -> None:
            super().__init__()
            self.table = table
            self.column = column

        @property
        def control(self) -> RowTable:
            return self.table

    def __init__(
        self,
        columns: Sequence[Column],
        *,
        id: str | None = None,  # noqa: A002
        empty: str = "",
    ) -> None:
        super().__init__(id=id)
        self.columns = tuple(columns)
        self.empty = empty
        self.rows: tuple[Row, ...] = ()
        self.marked: frozenset[str] = frozenset()
        self.sorted_by = ""
        self.descending = False
        self._styles_of: dict[tuple[str, ...], Style] = {}

    # --- what it shows ---

    def show_rows(self, rows: Sequence[Row]) -> None:
        """Rows in their order; the cursor stays on its row, and repaints only what changed."""
        fresh = tuple(rows)
        if fresh == self.rows:
            return
        at = self.current_key
        self.rows = fresh
        keys = [row.key for row in fresh]
        self.cursor = keys.index(at) if at in keys else min(self.cursor, max(0, len(keys) - 1))
        self.virtual_size = Size(self.size.width, len(fresh) + 1)
        self.refresh()
        if self.current_key != at:
            self.post_message(self.Moved(self, self.current_key))

    def show_columns(self, columns: Sequence[Column]) -> None:
        """Other columns; rows that fit them are to follow at once."""
        if tuple(columns) != self.columns:
            self.columns = tuple(columns)
            self.refresh()

    def mark(self, keys: frozenset[str]) -> None:
        if keys != self.marked:
            self.marked = keys
            self.refresh()

    def show_order(self, column: str, descending: bool) -> None:
        """Which heading has the arrow; whoever gives the rows sorts them."""
        self.sorted_by, self.descending = column, descending
        self.refresh()

    @property
    def current_key(self) -> str:
        return self.rows[self.cursor].key if self.cursor < len(self.rows) else ""

    def move_to(self, key: str) -> None:
        for i, row in enumerate(self.rows):
            if row.key == key:
                self.cursor = i
                return

    # --- drawing ---

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._styles_of.clear()

    def _style(self, role: str, *more: str) -> Style:
        key = (role, *more, self.app.theme)
        found = self._styles_of.get(key)
        if found is None:
            variables = self.app.theme_variables
            back = variables["row-cursor"] if "cursor" in more else variables["surface"]
            found = Style(
                color=colour(self.app, role),
                bgcolor=back,
                bold="bold" in more or None,
                reverse=("cursor" in more and self.app.no_color) or None,
            )
            self._styles_of[key] = found
        return found

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        if y == 0:
            return self._heading(width)
        index = self.scroll_offset.y + y - 1
        if not self.rows and y == 2 and self.empty:
            text = set_cell_size("  " + self.empty, width)
            return Strip([Segment(text, self._style("muted"))], width)
        if index >= len(self.rows):
            return Strip.blank(width, self._style("text"))
        return self._row(index, width)

    def _cells(self, width: int, cell: Callable[[int, int], tuple[str, Style]]) -> list[Segment]:
        segments = []
        for n, (i, room) in enumerate(laid_out(self.columns, width - 3)):
            text, style = cell(i, room)
            if n:
                segments.append(Segment(" " * GAP, style))
            segments.append(Segment(_fitted(text, room, self.columns[i].align), style))
        return segments

    def _heading(self, width: int) -> Strip:
        style = self._style("muted", "bold")

        def cell(i: int, room: int) -> tuple[str, Style]:
            column = self.columns[i]
            arrow = ("▼" if self.descending else "▲") if column.key == self.sorted_by else ""
            title = column.title
            if arrow:
                title = set_cell_size(title, min(cell_len(title), max(0, room - 1))) + arrow
            return title, self._style("accent", "bold") if arrow else style

        segments = [Segment("  ", style), *self._cells(width, cell)]
        return Strip(segments).adjust_cell_length(width, style)

    def _row(self, index: int, width: int) -> Strip:
        row = self.rows[index]
        here = index == self.cursor and (self.has_focus or bool(self.current_key))
        more = ("cursor",) if here and self.has_focus else ()
        mark = "●" if row.key in self.marked else " "
        pointer = "▸" if here else " "

        def cell(i: int, room: int) -> tuple[str, Style]:
            found = row.cells[i] if i < len(row.cells) else Cell("")
            return printable(found.text), self._style(found.role, *more)

        lead = Segment(pointer + mark, self._style("accent", *more))
        segments = [lead, *self._cells(width, cell)]
        return Strip(segments).adjust_cell_length(width, self._style("text", *more))

    # --- moving ---

    def watch_cursor(self, old: int, new: int) -> None:
        if old == new:
            return
        self._keep_in_sight()
        self.refresh()
        self.post_message(self.Moved(self, self.current_key))

    def validate_cursor(self, value: int) -> int:
        return max(0, min(value, len(self.rows) - 1))

    def _keep_in_sight(self) -> None:
        # By force: what has just grown has its scroll bar only after the next layout.
        # The heading stays: the first line of the viewport is never a row.
        page = max(1, self.size.height - 1)
        top = self.scroll_offset.y
        if self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False, force=True)
        elif self.cursor >= top + page:
            self.scroll_to(y=self.cursor - page + 1, animate=False, force=True)

    def watch_has_focus(self, _has_focus: bool) -> None:
        super().watch_has_focus(_has_focus)
        self.refresh()

    def on_resize(self) -> None:
        self.virtual_size = Size(self.size.width, len(self.rows) + 1)
        self._keep_in_sight()
        self.refresh(Region(0, 0, self.size.width, self.size.height))

    @property
    def _page(self) -> int:
        return max(1, self.size.height - 2)

    def action_down(self) -> None:
        self.cursor += 1

    def action_up(self) -> None:
        self.cursor -= 1

    def action_top(self) -> None:
        self.cursor = 0

    def action_bottom(self) -> None:
        self.cursor = len(self.rows) - 1

    def action_page_down(self) -> None:
        self.cursor += self._page

    def action_page_up(self) -> None:
        self.cursor -= self._page

    def action_choose(self) -> None:
        if self.current_key:
            self.post_message(self.Chosen(self, self.current_key))

    def on_click(self, event: events.Click) -> None:
        if event.y == 0:
            self._click_heading(event.x - 2)
            return
        index = self.scroll_offset.y + event.y - 1
        if index >= len(self.rows):
            return
        if index == self.cursor and event.chain > 1:
            self.action_choose()
        self.cursor = index

    def _click_heading(self, x: int) -> None:
        left = 0
        for i, room in laid_out(self.columns, self.size.width - 3):
            if left <= x < left + room + GAP:
                self.post_message(self.Heading(self, self.columns[i].key))
                return
            left += room + GAP


def _fitted(text: str, room: int, align: str) -> str:
    length = cell_len(text)
    if length > room:
        return set_cell_size(text, max(0, room - 1)) + "…" if room > 0 else ""
    pad = " " * (room - length)
    return pad + text if align == "right" else text + pad


def sorted_rows(rows: Sequence[Row], column: int, *, descending: bool) -> list[Row]:
    """Stable; rows without a value come last either way."""

    def key(row: Row) -> tuple[int, float, str]:
        cell = row.cells[column]
        if isinstance(cell.sort, int | float):
            return (0, float(cell.sort), "")
        return (0, 0.0, (cell.sort or cell.text).casefold())

    def is_known(row: Row) -> bool:
        cell = row.cells[column]
        return cell.sort is not None or cell.text not in ("", "-", "?")

    known = [row for row in rows if is_known(row)]
    unknown = [row for row in rows if not is_known(row)]
    return sorted(known, key=key, reverse=descending) + unknown
